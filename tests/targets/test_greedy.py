"""Many prompts at once give what each gives alone."""

import random

import pytest

from tests.models.conftest import VARIANTS, architecture
from toolkit.models.build import build_head, build_trunk
from toolkit.models.generate import generate
from toolkit.models.greedy import greedy
from toolkit.models.initialise import initialise


@pytest.mark.parametrize("variant", ["gpt2", "qwen3", "grouped"])
def test_rows_together_are_rows_alone(variant: str) -> None:
    arch = architecture(**VARIANTS[variant])
    trunk = build_trunk(arch)
    head = build_head(arch, trunk)
    initialise(trunk, head, seed=3)
    rng = random.Random(0)
    prompts = [[rng.randrange(97) for _ in range(rng.randint(1, 18))] for _ in range(70)]
    alone = [list(generate(trunk, head, ids, max_new_tokens=6, temperature=0)) for ids in prompts]
    assert greedy(trunk, head, prompts, max_new_tokens=6) == alone
    stop = alone[0][3]
    ended = [ids[: ids.index(stop)] if stop in ids else ids for ids in alone]
    assert greedy(trunk, head, prompts, max_new_tokens=6, stop_ids={stop}) == ended


def test_texts_end_where_the_model_does() -> None:
    arch = architecture()
    trunk = build_trunk(arch)
    head = build_head(arch, trunk)
    initialise(trunk, head, seed=0)
    short, full = greedy(trunk, head, [[1, 2], [1] * 24], max_new_tokens=40)
    assert (len(short), len(full)) == (23, 1)
    assert greedy(trunk, head, [[1]], max_new_tokens=0) == [[]]
    with pytest.raises(ValueError, match="nothing to continue"):
        greedy(trunk, head, [[]], max_new_tokens=1)
    with pytest.raises(ValueError, match="more than the model takes"):
        greedy(trunk, head, [[1] * 25], max_new_tokens=1)
