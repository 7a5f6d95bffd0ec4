"""Blocks that can't be divided are refused before anything runs, with what could be written."""

import pytest

from toolkit.plan.division import check_division, degrees
from toolkit.plan.errors import PlanError
from toolkit.plan.plan import make_plan
from toolkit.spec.run import Parallel
from toolkit.spec.tune import FullTune, LoraTune


@pytest.mark.parametrize(
    ("model", "tensor", "message"),
    [
        (
            {"n_heads": 6},
            4,
            r"tensor: 4 does not divide n_heads = 6, which.*Write 2, or leave it out\.",
        ),
        (
            {"n_heads": 6, "n_kv_heads": 3, "d_ff": 1536},
            2,
            r"does not divide n_kv_heads = 3, which.*Write 3, or leave",
        ),
        (
            {"n_heads": 6, "n_kv_heads": 1},
            2,
            r"does not divide n_kv_heads = 1, which lie on its ranks\. Leave it",
        ),
        ({"n_heads": 6, "d_ff": 1027}, 3, r"does not divide d_ff = 1027, which"),
    ],
)
def test_heads_and_hidden_values_are_divided_evenly(spec, machine, model, tensor, message):
    with pytest.raises(PlanError, match=message):
        make_plan(spec(model=model, run={"parallel": {"tensor": tensor}}), machine=machine)


def test_an_even_division_changes_nothing_of_the_result(spec, machine):
    divided = make_plan(spec(run={"parallel": {"tensor": 2}}), machine=machine)
    assert divided.fingerprint == make_plan(spec(), machine=machine).fingerprint


def test_what_has_no_such_blocks_is_refused(spec, machine):
    arch = make_plan(spec(), machine=machine).architecture
    check_division(arch, 2, "chat", FullTune(kind="full"))
    with pytest.raises(
        PlanError, match=r'tensor: 2 does not go with tune = { kind = "lora" }\. Leave it out'
    ):
        check_division(arch, 2, "chat", LoraTune(kind="lora"))
    with pytest.raises(PlanError, match=r'tensor: 2 does not go with "contrastive"'):
        check_division(arch, 2, "contrastive", None)
    check_division(arch, 1, "contrastive", LoraTune(kind="lora"))


def test_the_ranks_are_divided_without_a_rest():
    assert degrees(Parallel(replicate=2, tensor=2), 12) == (2, 3, 2)
    assert degrees(Parallel(tensor=4), 4) == (1, 1, 4)
    for parallel, world, message in (
        (
            Parallel(tensor=2),
            3,
            r"tensor 2, which 3 ranks can't be divided into\. Start a multiple of 2 with --nproc",
        ),
        (Parallel(replicate=2, shard=2), 1, r"shard 2, which 1 rank can't .*Start 4 with --nproc, or change"),
    ):
        with pytest.raises(PlanError, match=message):
            degrees(parallel, world)
