"""From a recording to its log-mel spectrogram, an image of one channel."""

import io
import wave
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.data.images.pixels import Pixels, image_bytes
from toolkit.spec.images import AudioSource

DECIBELS = 80.0
"""What is so much quieter than a recording's loudest place counts as silence."""

Samples = NDArray[np.float64]


def decode_sound(value: Any) -> tuple[Samples, int]:
    """Samples from -1 to 1, the mean over channels, and their number a second. Raises ValueError.

    PCM files of any width are read by the standard library, others by soundfile, where it is installed.
    """
    content = image_bytes(value)
    try:
        with wave.open(io.BytesIO(content)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            return _from_pcm(file.readframes(file.getnframes()), width, channels), rate
    except (wave.Error, EOFError):
        pass
    try:
        import soundfile
    except ImportError:
        raise ValueError("not a PCM .wav file; `pip install soundfile` reads other kinds of sound") from None
    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float64", always_2d=True)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"not a recording that can be read: {error}") from error
    return samples.mean(1), rate


def _from_pcm(frames: bytes, width: int, channels: int) -> Samples:
    if width == 1:  # the only unsigned one
        samples = (np.frombuffer(frames, np.uint8).astype(np.float64) - 128) / 128
    elif width == 3:
        low, middle, high = np.frombuffer(frames, np.uint8).reshape(-1, 3).T.astype(np.int32)
        whole = low | (middle << 8) | (high << 16)
        samples = np.where(whole >= 1 << 23, whole - (1 << 24), whole) / float(1 << 23)
    else:
        samples = np.frombuffer(frames, f"<i{width}").astype(np.float64) / float(1 << 8 * width - 1)
    mono: Samples = samples[: len(samples) // channels * channels].reshape(-1, channels).mean(1)
    return mono


def spectrogram(samples: Samples, rate: int, source: AudioSource) -> Pixels:
    """Log-mel energies, uint8 (1, mel_bands, columns): high sounds above, 255 the loudest, 0 silence.

    Short recordings are followed by silence, long ones cut. Raises ValueError for one without samples.
    """
    if not len(samples):
        raise ValueError("the recording is empty")
    samples = resample(samples, rate, source.sample_rate)
    hop = source.sample_rate * source.hop_ms / 1000
    window = max(2, round(source.sample_rate * source.window_ms / 1000))
    length = round(hop * source.columns)
    padded = np.zeros(length + window)
    kept = samples[:length]
    padded[window // 2 : window // 2 + len(kept)] = kept
    starts = np.round(np.arange(source.columns) * hop).astype(np.int64)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[starts] * np.hanning(window)
    size = 1 << (window - 1).bit_length()
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    energy = power @ mel_filters(source.mel_bands, size, source.sample_rate).T
    level = 10 * np.log10(np.maximum(energy, 1e-12))
    shade = np.clip((level - max(level.max(), -60.0)) / DECIBELS + 1, 0, 1)
    pixels: Pixels = np.round(255 * shade.T[::-1]).astype(np.uint8)[None]
    return pixels


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """The same sound with `wanted` samples a second, by Fourier transform: what these can't hold is left out."""
    if rate == wanted:
        return samples
    length = max(1, round(len(samples) * wanted / rate))
    sound: Samples = np.fft.irfft(np.fft.rfft(samples), length) * (length / len(samples))
    return sound


@cache
def mel_filters(bands: int, size: int, rate: int) -> NDArray[np.float64]:
    """Triangles over the frequencies of a transform of `size`, (bands, size // 2 + 1), equally spaced in mel."""

    def mel(hertz: float) -> float:
        return 2595 * float(np.log10(1 + hertz / 700))

    edges = 700 * (10 ** (np.linspace(0, mel(rate / 2), bands + 2) / 2595) - 1)
    places = np.fft.rfftfreq(size, 1 / rate)
    rising = (places - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - places) / np.diff(edges)[1:, None]
    filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    # A band narrower than the transform's steps takes the nearest frequency.
    for band in np.flatnonzero(filters.sum(1) == 0):
        filters[band, np.abs(places - edges[band + 1]).argmin()] = 1
    return filters
