"""From a field of a row to what a trunk reads, by the parent's modality."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from toolkit.data.images.pixels import decode_image
from toolkit.data.images.sound import decode_sound, spectrogram
from toolkit.data.tokenizer import TextTokenizer
from toolkit.spec.data import Data
from toolkit.spec.images import AudioSource, Shape


class Encoded(NamedTuple):
    """The input of a row."""

    fields: Mapping[str, Any]
    """`inputs`, token ids or an array of fixed shape; `segments`, of each id, where the model tells texts apart."""
    cut: bool
    """Whether it was longer than the model takes."""


class Encoder(Protocol):
    """Turns the fields of a row into a trunk's inputs."""

    default_key: str
    """The field that holds the input where the spec doesn't say."""
    fill: int
    """What the inputs are padded with."""

    def encode(self, parts: Sequence[Any]) -> Encoded:
        """One or two fields of a row. Raises ValueError for what can't be read."""

    def identity(self) -> Any:
        """JSON that changes whenever the result may."""


class TextEncoder:
    """A text as `EOT ids`, as documents begin in pretraining; a pair has an EOT between. An imported model has what it
    was trained with around them. Cut at the end, of a pair the longer one first.
    """

    default_key = "text"

    def __init__(self, tokenizer: TextTokenizer, longest: int) -> None:
        self.tokenizer = tokenizer
        self._longest = longest
        self._frame = tokenizer.frame
        self.fill = tokenizer.end_of_text_id

    def encode(self, parts: Sequence[Any]) -> Encoded:
        texts = [as_text(part) for part in parts]
        if not any(text.strip() for text in texts):
            raise ValueError("the text is empty")
        ids = [self.tokenizer.encode(text) for text in texts]
        room = self._longest - self._frame.size(len(parts))
        excess = sum(map(len, ids)) - room
        if excess > 0:
            long, *short = sorted(ids, key=len, reverse=True)
            kept = max(len(long) - excess, -(-room // len(ids)))
            del long[kept:]
            for other in short:
                del other[room - kept :]
        fields = {"inputs": self._frame.around(ids)}
        segments = self._frame.segments(len(ids[0]), len(ids[1])) if len(ids) == 2 else None
        if segments is not None:
            fields["segments"] = segments
        return Encoded(fields, excess > 0)

    def identity(self) -> Any:
        return ["text", self.tokenizer.fingerprint, self._longest]


class ImageEncoder:
    """An image as uint8 (channels, height, width)."""

    default_key = "image"
    fill = 0

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def encode(self, parts: Sequence[Any]) -> Encoded:
        return Encoded({"inputs": decode_image(single(parts), self._shape)}, False)

    def identity(self) -> Any:
        return ["image", self._shape]


class AudioEncoder:
    """A recording as its log-mel spectrogram, uint8 (1, bands, columns)."""

    default_key = "audio"
    fill = 0

    def __init__(self, source: AudioSource) -> None:
        self._source = source

    def encode(self, parts: Sequence[Any]) -> Encoded:
        samples, rate = decode_sound(single(parts))
        cut = len(samples) > rate * self._source.seconds
        return Encoded({"inputs": spectrogram(samples, rate, self._source)}, cut)

    def identity(self) -> Any:
        return ["audio", self._source.model_dump(exclude={"path", "audio_key", "label_key", "weight"})]


def image_encoder(data: Data, source: object) -> Encoder:
    """The encoder of a source's images or recordings, for rows of `data`."""
    return AudioEncoder(source) if isinstance(source, AudioSource) else ImageEncoder(data.image_shape)


def single(parts: Sequence[Any]) -> Any:
    """The one field of a row. Raises ValueError for two, which only texts can be."""
    if len(parts) != 1:
        raise ValueError("two fields can't be read as one image; name one input_key")
    return parts[0]


def as_text(value: object) -> str:
    """A field that must hold text. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError(f"text was expected, not {type(value).__name__}")  # noqa: TRY004 - of the row, not the code
    return value
