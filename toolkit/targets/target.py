"""What supervised tasks have in common: a form for their rows, and a head on the trunk."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from toolkit.models.build import build_head, build_trunk
from toolkit.models.head import MaskedLMHead
from toolkit.models.initialise import initialise
from toolkit.models.linear import Linear
from toolkit.models.neck import build_neck
from toolkit.models.pooling import pooled, pooled_by_surprisal
from toolkit.models.structure import structure_flops
from toolkit.models.task import Batch, Given, Task, Vocabulary
from toolkit.spec.target import Finetune

Values = Mapping[str, Any]


class Frame(Protocol):
    """What stands around the texts that a model reads."""

    @property
    def before(self) -> tuple[int, ...]: ...
    @property
    def between(self) -> tuple[int, ...]: ...
    @property
    def after(self) -> tuple[int, ...]: ...
    def segments(self, first: int, second: int) -> list[int] | None: ...


class Pieces(Protocol):
    """A stream of ids as a stream of text."""

    def push(self, token_id: int) -> str: ...
    def flush(self) -> str: ...


class Reader(Vocabulary, Protocol):
    """What targets ask of a tokenizer of text."""

    @property
    def end_of_text(self) -> str: ...
    @property
    def frame(self) -> "Frame": ...
    def token(self, token_id: int) -> str: ...
    @property
    def special_tokens(self) -> Mapping[str, int]: ...
    @property
    def chat_template(self) -> str | None: ...
    def guard(self, text: str) -> str: ...
    def encode_markup(self, text: str) -> list[int]: ...
    def encode_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]: ...
    def encode_words(self, words: Sequence[str]) -> tuple[list[int], list[int]]: ...
    def decoder(self) -> Pieces: ...


class Encoded(Protocol):
    """The input of a row."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """What the trunk reads, by its name in a batch: `inputs`, and `segments` where it tells texts apart."""

    @property
    def cut(self) -> bool: ...


class Encoder(Protocol):
    """What makes the fields of a row into a trunk's inputs, by its modality."""

    default_key: str
    fill: int

    def encode(self, parts: Sequence[Any]) -> Encoded: ...
    def identity(self) -> Any: ...


class Example(NamedTuple):
    """A row ready for the model."""

    fields: Mapping[str, Any]
    """Lists of ids, numbers, or arrays of one shape, by the name that the task reads them under."""
    tokens: int = 1
    """Units of its loss."""
    bytes: int = 0
    """UTF-8 bytes that the loss is the code length of; 0 where it is of none."""
    cut: bool = False


class Form(ABC):
    """How a target reads a row.

    Args:
        encoder: Makes the inputs.
        longest: Most positions of a row.
    """

    def __init__(self, section: Any, encoder: Encoder, longest: int) -> None:
        self.section = section
        self.encoder = encoder
        self.longest = longest

    @property
    def fill(self) -> dict[str, int]:
        """What lists are filled up with, by name."""
        return {"inputs": self.encoder.fill, "targets": -100}

    def identity(self) -> Any:
        """JSON that changes whenever the examples may."""
        keys = {
            name: value for name, value in self.section.model_dump(mode="json").items() if name in self.keys
        }
        return [type(self).__name__, keys, self.encoder.identity(), self.longest]

    keys: ClassVar[frozenset[str]] = frozenset()
    """Options of the section that change the examples."""

    def labels(self, rows: Iterable[Values]) -> tuple[str, ...]:
        """Names of the classes; none for a target without classes. Raises ValueError."""
        return ()

    @abstractmethod
    def example(self, row: Values, labels: tuple[str, ...]) -> Example:
        """Raises ValueError for a row that can't be used."""

    def question(self, row: Values, labels: tuple[str, ...]) -> Example:
        """A row to be answered: the fields that `TargetTask.predict` reads; labels are not looked at. Raises ValueError
        for a row that can't be read."""
        encoded, _ = self.read(row)
        return Example(encoded.fields, cut=encoded.cut)

    def row(self, text: str) -> Values:
        """The row that a line of text stands for. Raises ValueError where a row is more than a text."""
        asked = self.section.input_key
        if isinstance(asked, tuple) and len(asked) > 1:
            raise ValueError(f"a row has the fields {', '.join(asked)}: write it as JSON")
        return {asked if isinstance(asked, str) else asked[0] if asked else self.encoder.default_key: text}

    def present(self, row: Values, answer: dict[str, Any]) -> dict[str, Any]:
        """What `TargetTask.predict` found for a row, in terms of the row."""
        return answer

    @property
    def tokenizer(self) -> Reader:
        """The parent's. Raises ValueError where it reads no text."""
        found: Reader | None = getattr(self.encoder, "tokenizer", None)
        if found is None:
            raise ValueError(f'"{self.section.kind}" reads text, and its parent does not')
        return found

    def read(self, row: Values) -> tuple[Encoded, tuple[str, ...]]:
        """The encoded input of a row and the keys that it was read from."""
        asked = self.section.input_key
        keys = (asked,) if isinstance(asked, str) else (asked or (self.encoder.default_key,))
        return self.encoder.encode([field_of(row, key) for key in keys]), keys


def text_of(row: Values, key: str) -> str:
    """A field that must hold some text. Raises ValueError."""
    value = field_of(row, key)
    if not isinstance(value, str):
        raise ValueError(f'field "{key}" holds no text but {type(value).__name__}')  # noqa: TRY004 - of the row
    if not value.strip():
        raise ValueError(f'the text of field "{key}" is empty')
    return value


def field_of(row: Values, key: str) -> Any:
    """A field that must be there. Raises ValueError, naming those there are."""
    if row.get(key) is None:
        known = ", ".join(sorted(map(str, row))[:12])
        what = "is empty" if key in row else "is missing"
        raise ValueError(f'field "{key}" {what}; the row has {known}')
    return row[key]


class TargetTask(Task):
    """A supervised task."""

    form: ClassVar[type[Form]]

    @abstractmethod
    def predict(self, batch: Batch) -> list[dict[str, Any]]:
        """What a user sees of each row: JSON values."""


class HeadTask(TargetTask):
    """A head of its own on the trunk: a matrix, and under it what the architecture asks for."""

    bias: ClassVar[bool] = False

    def __init__(self, section: Finetune, given: Given) -> None:
        super().__init__()
        self.given = given
        self._scored: tuple[Batch, Tensor] | None = None
        self.trunk = build_trunk(given.architecture)
        self.neck = build_neck(given.architecture)
        self.score = Linear(given.architecture.d_model, section.outputs(len(given.labels)), bias=self.bias)

    def initialise(self, seed: int) -> None:
        initialise(self.trunk, *([] if self.neck is None else [self.neck]), seed=seed)
        fill_head(self.score, "score", seed)

    def head_parameters(self) -> list[nn.Parameter]:
        return [self.score.weight]

    def hidden(self, batch: Batch) -> Tensor:
        """The trunk's last hidden states, (rows, positions, d_model)."""
        segments = {"segments": batch["segments"]} if "segments" in batch else {}
        hidden: Tensor = self.trunk(batch["inputs"], batch.get("lengths"), **segments)
        return hidden

    def scored(self, vectors: Tensor) -> Tensor:
        """The head's outputs in float32, (..., outputs), of vectors (..., d_model)."""
        scores: Tensor = self.score(vectors if self.neck is None else self.neck(vectors))
        return scores.float()

    @property
    def head_weights(self) -> int:
        """Weights of the head's matrices."""
        parts = [self.score, *([] if self.neck is None else self.neck.modules())]
        return sum(part.weight.numel() for part in parts if isinstance(part, Linear))


class PooledTask(HeadTask):
    """One vector a row under the head. Frozen trunks hand in their vectors as `features`, computed once."""

    def __init__(self, section: Finetune, given: Given) -> None:
        super().__init__(section, given)
        self.pool: str | None = getattr(section, "pool", None)
        self.head: MaskedLMHead | None = None
        """The parent's own, by its name there, which never moves."""
        if self.pool == "surprisal":
            head = build_head(given.architecture, self.trunk)
            assert isinstance(head, MaskedLMHead), "the plan checks that the parent has one"
            self.head = head.requires_grad_(False)

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        if self.head is not None:
            initialise(self.trunk, self.head, seed=seed)

    def weight(self, batch: Batch) -> int:
        return len(next(iter(batch.values())))

    def features(self, batch: Batch) -> Tensor:
        """One vector a row, (rows, d_model), in float32: the head's few products are cheap."""
        if "features" in batch:
            return batch["features"]
        hidden, lengths = self.hidden(batch), batch.get("lengths")
        if self.head is None:
            return pooled(self.trunk, hidden, lengths, self.pool).float()
        special = () if self.given.tokenizer is None else self.given.tokenizer.special_ids
        ids = torch.tensor(special, dtype=torch.long, device=hidden.device)
        return pooled_by_surprisal(self.head, hidden, batch["inputs"], lengths, ids)

    def scores(self, batch: Batch) -> Tensor:
        """The head's outputs in float32, (rows, outputs)."""
        return self.scored(self.features(batch))

    def scores_of_loss(self, batch: Batch) -> Tensor:
        """`scores`; an evaluation that observes the batch next finds them again in `scores_again`."""
        scores = self.scores(batch)
        self._scored = None if self.training else (batch, scores)
        return scores

    def scores_again(self, batch: Batch) -> Tensor:
        """The scores that the loss of this very batch was made of, if it was the last; else anew."""
        (known, scores), self._scored = self._scored or (None, None), None
        return scores if known is batch and scores is not None else self.scores(batch)

    def forward_flops(self, sequence_length: int) -> float:
        trunk = structure_flops(self.trunk, None, sequence_length) * sequence_length
        if self.head is not None:
            trunk += 2 * (self.head.dense.weight.numel() + self.head.weight.numel()) * sequence_length
        return trunk + 2 * self.head_weights


class PositionsTask(HeadTask):
    """The head on every position."""

    def scores(self, batch: Batch) -> Tensor:
        """Its outputs in float32, (rows, positions, outputs)."""
        return self.scored(self.hidden(batch))

    def forward_flops(self, sequence_length: int) -> float:
        trunk = structure_flops(self.trunk, None, sequence_length)
        return (trunk + 2 * self.head_weights) * sequence_length


@torch.no_grad()
def fill_head(head: Linear, name: str, seed: int) -> None:
    """Small random weights from (seed, name), and no bias."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * 0.02 / math.sqrt(2))
    if head.bias is not None:
        head.bias.zero_()
