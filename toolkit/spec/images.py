"""Sources of images and of sound, for models that read patches."""

from typing import Annotated, Literal

from pydantic import Field

from toolkit.spec.section import Allowed, Section

Weight = Annotated[float, Field(gt=0)]
ImageSize = Annotated[
    int | tuple[int, int], Allowed("a number of pixels, or a list of two: height and width")
]
Shape = tuple[int, int, int]
"""Channels, height, width."""


class DigitsSource(Section):
    """1,797 scans of handwritten digits, 8x8 pixels, that scikit-learn ships, with labels. Needs no network."""

    kind: Literal["digits"]
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""


class FolderSource(Section):
    """Image files below a folder. The first folders below it name the classes, where there are some."""

    kind: Literal["folder"]
    path: str
    """The folder, relative to the working folder."""
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""


class ParquetSource(Section):
    """Parquet files with a column of images, as the `datasets` library writes them."""

    kind: Literal["parquet"]
    path: str
    """A file, a folder or a glob (`**` included), relative to the working folder."""
    image_key: str = "image"
    """The column that holds the images."""
    label_key: str | None = "label"
    """The column that holds labels, for the scores during training; it may be missing."""
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""


class AudioSource(Section):
    """Recordings as log-mel spectrograms: images of one channel, with time from left to right."""

    kind: Literal["audio"]
    path: str
    """A folder of .wav or .flac files (the first folders below it name the classes), or Parquet files."""
    audio_key: str = "audio"
    """The column that holds the recordings, in Parquet files."""
    label_key: str | None = "label"
    """The column that holds labels, for the scores during training; it may be missing."""
    sample_rate: int = Field(default=16_000, ge=1000, le=192_000)
    """Samples a second; recordings of another rate are resampled."""
    seconds: float = Field(default=1.0, gt=0, le=600)
    """Length of a spectrogram: shorter recordings are followed by silence, longer ones are cut."""
    hop_ms: float = Field(default=10.0, gt=0)
    """Milliseconds from one column of the spectrogram to the next."""
    window_ms: float = Field(default=25.0, gt=0)
    """Milliseconds of sound behind each column."""
    mel_bands: int = Field(default=64, ge=8, le=512)
    """Rows of the spectrogram: bands of frequency, spaced as the ear tells them apart."""
    weight: Weight = 1.0
    """Share of the rows drawn from this source, relative to the other weights."""

    @property
    def columns(self) -> int:
        """Width of a spectrogram."""
        return max(1, round(1000 * self.seconds / self.hop_ms))
