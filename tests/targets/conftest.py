"""A tokenizer, forms and small tasks with every weight random."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from toolkit.data.encoders import TextEncoder
from toolkit.data.tokenizer import END_OF_TEXT, TextTokenizer
from toolkit.engine.tasks import TASKS
from toolkit.evals.prediction import collate
from toolkit.models.task import Batch, Given
from toolkit.spec.model import GPT, resolve_architecture
from toolkit.spec.target import Finetune
from toolkit.targets.registry import TARGETS
from toolkit.targets.target import Example, Form, TargetTask

LONGEST = 64
DATA = {"kind": "files", "path": "rows.jsonl"}
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    """Bytes with a few merges, and the special tokens of a chat model."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("e", "r"), ("Ġ", "a")]
    vocabulary = {token: i for i, token in enumerate([*alphabet, *("".join(pair) for pair in merges)])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(
        [AddedToken(name, special=True) for name in (END_OF_TEXT, "<|im_start|>", "<|im_end|>")]
    )
    return TextTokenizer(backend.to_str().encode())


MakeForm = Callable[..., Form]
MakeTask = Callable[..., TargetTask]


def section(**options: Any) -> Any:
    return TypeAdapter(Finetune).validate_python({"data": DATA, **options})


@pytest.fixture
def make_form(tokenizer: TextTokenizer) -> MakeForm:
    def make(longest: int = LONGEST, **options: Any) -> Form:
        found = section(**options)
        return TARGETS[found.kind].form(found, TextEncoder(tokenizer, longest), longest)

    return make


@pytest.fixture
def make_task(tokenizer: TextTokenizer) -> MakeTask:
    def make(labels: Sequence[str] = (), **options: Any) -> TargetTask:
        found = section(**options)
        arch = resolve_architecture(
            GPT(kind="gpt", n_layers=2, d_model=32, n_heads=4),
            vocab_size=tokenizer.vocab_size,
            sequence_length=96,
        )
        task = TASKS[found.kind](found, Given(arch, tuple(labels), tokenizer))
        task.initialise(0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in task.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        assert isinstance(task, TargetTask)
        return task.eval()

    return make


def batch_of(form: Form, examples: Sequence[Example]) -> Batch:
    return collate(examples, form.fill)


def encoded(form: Form, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Example], tuple[str, ...]]:
    labels = form.labels(rows)
    return [form.example(row, labels) for row in rows], labels
