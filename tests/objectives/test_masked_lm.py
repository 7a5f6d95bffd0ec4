"""The loss of a masked language model: cross-entropy of the hidden tokens, and of nothing else."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.objectives.test_masking import VOCABULARY, Vocabulary, rows
from toolkit.models.cross_entropy import IGNORED
from toolkit.models.task import Given, Mean
from toolkit.objectives.masked_lm import STEP, MaskedLMTask
from toolkit.spec.model import BERT, resolve_architecture
from toolkit.spec.objective import MaskedLM


@pytest.fixture(scope="module")
def task() -> MaskedLMTask:
    spec = BERT(kind="bert", n_layers=1, d_model=32, n_heads=2)
    arch = resolve_architecture(spec, vocab_size=VOCABULARY, sequence_length=40)
    task = MaskedLMTask(MaskedLM(kind="masked_lm"), Given(arch, tokenizer=Vocabulary()))
    task.initialise(0)
    torch.nn.init.normal_(task.trunk.embed.weight, generator=torch.Generator().manual_seed(0))
    return task


@given(rows(), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_it_is_cross_entropy_over_the_hidden_tokens(task: MaskedLMTask, batch, seed: int) -> None:
    tokens, lengths = batch
    real = torch.arange(tokens.shape[1]) < lengths[:, None]
    given_batch = {"inputs": tokens, "targets": tokens.masked_fill(~real, IGNORED)}
    read = []
    hook = task.head.dense.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0].shape[0]))
    task.eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        loss = task(given_batch)
    hook.remove()
    torch.manual_seed(seed)
    masked, chosen = task._masking.hide(tokens, lengths)
    logits = task.head(task.trunk(masked, lengths)[chosen])
    count = int(chosen.sum())
    expected = (
        F.cross_entropy(logits, tokens[chosen], reduction="sum") * task.weight(given_batch) / max(count, 1)
    )
    torch.testing.assert_close(loss.total, expected, atol=1e-4, rtol=1e-4)
    accuracy = loss.metrics["accuracy"]
    assert isinstance(accuracy, Mean)
    assert (int(accuracy.total), int(accuracy.units)) == (
        int((logits.argmax(1) == tokens[chosen]).sum()),
        count,
    )
    assert all(n % STEP == 0 for n in read)
