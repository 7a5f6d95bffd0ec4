"""The in-context score of an evaluation."""

from types import SimpleNamespace

import pytest
import torch

from toolkit.models.cross_entropy import IGNORED, linear_cross_entropy, token_losses
from toolkit.models.task import Given
from toolkit.objectives.causal_lm import CausalLMTask
from toolkit.spec.model import GPT, resolve_architecture
from toolkit.spec.objective import CausalLM

END = 0


@pytest.fixture
def task() -> CausalLMTask:
    arch = resolve_architecture(
        GPT(kind="gpt", n_layers=1, d_model=16, n_heads=2), vocab_size=11, sequence_length=16
    )
    made = CausalLMTask(
        CausalLM(kind="causal_lm"), Given(arch, tokenizer=SimpleNamespace(end_of_text_id=END))
    )
    made.initialise(0)
    return made.eval()


def rows(n: int = 6) -> dict[str, torch.Tensor]:
    tokens = torch.randint(1, 11, (n, 17), generator=torch.Generator().manual_seed(0))
    tokens[:3, 0] = END
    return {"inputs": tokens[:, :-1].clone(), "targets": tokens[:, 1:].clone()}


def test_windows_are_of_equal_width_and_of_the_rows_that_one_document_fills(task: CausalLMTask) -> None:
    batch = rows()
    batch["inputs"][1, 9] = END  # another document begins
    batch["targets"][4, -1] = IGNORED  # not filled to the end
    losses = torch.arange(6 * 16, dtype=torch.float32).view(6, 16)
    found = task._by_position(batch, losses)
    full = [0, 2, 3, 5]
    for name, places in (("loss_early", [2, 3]), ("loss_late", [14, 15])):
        assert float(found[name].units) == 8
        assert float(found[name].total) == float(losses[full][:, places].sum())


def test_an_evaluation_tells_the_score_and_the_same_loss(task: CausalLMTask) -> None:
    batch = rows()
    with torch.inference_mode():
        evaluated = task(batch)
    trained = task(batch)
    assert trained.metrics == {}
    assert float(evaluated.total) == pytest.approx(float(trained.total.detach()), rel=1e-6)
    means = {name: float(mean.total / mean.units) for name, mean in evaluated.metrics.items()}
    score = task.derived({"loss": 1.0, **means})["in_context"]
    assert score == pytest.approx(means["loss_late"] - means["loss_early"])
    assert task.derived({"loss": 1.0}) == {}


def test_a_model_that_copies_has_a_score_below_zero(task: CausalLMTask) -> None:
    """Losses that fall along the row, as with a model that learns from what it reads."""
    losses = torch.linspace(3, 1, 16).expand(6, 16)
    found = task._by_position(rows(), losses)
    means = {name: float(mean.total / mean.units) for name, mean in found.items()}
    assert task.derived(means)["in_context"] == pytest.approx(-12 * 2 / 15, rel=1e-5)


def test_rows_too_short_and_models_without_a_tokenizer_have_no_score(task: CausalLMTask) -> None:
    short = {name: value[:, :7] for name, value in rows().items()}
    assert task._by_position(short, torch.zeros(6, 7)) == {}
    task.end_of_text = None
    assert task._by_position(rows(), torch.zeros(6, 16)) == {}


@pytest.mark.parametrize("softcap", [None, 4.0])
@pytest.mark.parametrize("with_bias", [False, True])
def test_token_losses_are_the_parts_of_the_sum(
    softcap: float | None, with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.models.cross_entropy.CHUNK_LOGITS", 300)
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 16, generator=generator) for n in (50, 23))
    bias = torch.randn(23, generator=generator) if with_bias else None
    targets = torch.randint(23, (50,), generator=generator)
    targets[::5] = IGNORED
    losses = token_losses(hidden, weight, targets, softcap, bias)
    assert (losses[::5] == 0).all()
    whole = linear_cross_entropy(hidden, weight, targets, softcap, bias)
    assert float(losses.sum()) == pytest.approx(float(whole), rel=1e-6)
    one = linear_cross_entropy(hidden[7:8], weight, targets[7:8], softcap, bias)
    assert float(losses[7]) == pytest.approx(float(one), rel=1e-5)
