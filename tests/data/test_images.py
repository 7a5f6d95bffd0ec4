"""Images and recordings: decoded once, held out by content, the same in every order of reading."""

import io
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.data.errors import DataError
from toolkit.data.images.pixels import decode_image
from toolkit.data.images.prepare import prepare_images
from toolkit.data.images.sound import decode_sound, mel_filters, resample, spectrogram
from toolkit.data.sources import documents
from toolkit.data.training import train
from toolkit.spec.data import (
    BPETokenizer,
    BytesTokenizer,
    CharactersTokenizer,
    Data,
    FastaSource,
    UnigramTokenizer,
    WordPieceTokenizer,
)
from toolkit.spec.images import AudioSource

pil = pytest.importorskip("PIL.Image")
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def png(array: np.ndarray[Any, Any], form: str = "PNG") -> bytes:
    file = io.BytesIO()
    pil.fromarray(array).save(file, form)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty images of two classes, one of them broken and one twice."""
    rng = np.random.default_rng(0)
    for number in range(30):
        place = tmp_path / "images" / ("cats", "dogs")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02}.png").write_bytes(png(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)))
    (tmp_path / "images" / "cats" / "40.png").write_bytes(b"\x89PNG\r\n\x1a\nnot an image")
    (tmp_path / "images" / "dogs" / "41.png").write_bytes((place / "29.png").read_bytes())
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def prepared(tmp_path: Path, source: dict[str, Any], **options: Any) -> Any:
    data = Data(**{"sources": ({**source},), "validation": 0.2, **options})
    return prepare_images(data, cache=tmp_path / "cache")


def test_a_folder_names_classes_and_broken_images(folder: Path, tmp_path: Path) -> None:
    data = prepared(tmp_path, {"kind": "folder", "path": str(folder)}, image_size=8)
    (source,) = data.facts.sources
    assert data.facts.labels == ("cats", "dogs")
    assert data.facts.shape == (3, 8, 8)
    assert source.skipped == 1
    assert source.first_skipped.startswith(f"{folder / 'cats' / '40.png'}: not an image that can be read")
    assert source.duplicates == 1
    assert data.train.n_rows + data.validation.n_rows == 30
    assert data.validation.n_rows >= 1
    everything = data.validation.table(0, 100)
    assert everything["inputs"].dtype == np.uint8
    assert everything["inputs"].shape == (data.validation.n_rows, 3, 8, 8)
    assert set(everything["label"]) <= {0, 1}


def test_batches_don_t_depend_on_how_they_are_divided(folder: Path, tmp_path: Path) -> None:
    split = prepared(tmp_path, {"kind": "folder", "path": str(folder)}, image_size=8).train
    whole = split.rows(7, 0, 12, seed=3, batch_rows=12)
    parts = [split.rows(7, start, start + 4, seed=3, batch_rows=12) for start in (0, 4, 8)]
    for name, array in whole.items():
        assert np.array_equal(array, np.concatenate([part[name] for part in parts]))
    epoch = [split.rows(step, 0, 1, seed=3, batch_rows=1)["inputs"].tobytes() for step in range(split.n_rows)]
    assert len(set(epoch)) == split.n_rows


def test_an_unlabelled_folder_has_no_labels(folder: Path, tmp_path: Path) -> None:
    data = prepared(tmp_path, {"kind": "folder", "path": str(folder / "cats")}, image_size=8)
    assert data.facts.labels == ()
    assert data.train.rows(0, 0, 2, seed=1, batch_rows=2).keys() == {"inputs"}


@pytest.mark.parametrize("streaming", [True, False])
def test_images_of_a_hub_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 12, 12, 3), dtype=np.uint8)
    columns = {
        "picture": [*map(png, pixels), b"\x89PNG\r\n\x1a\nnot an image"],
        "kind": [number % 2 for number in range(21)],
    }
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set" / "train-00000-of-00001.parquet")
    source = {"kind": "hub", "path": str(tmp_path / "set"), "streaming": streaming}
    data = prepared(tmp_path, {**source, "image_key": "picture", "label_key": "kind"}, image_size=12)
    assert data.facts.labels == ("cat", "dog")
    assert data.facts.sources[0].skipped == 1
    stored = {
        image.tobytes(): label
        for part in (data.train, data.validation)
        for image, label in zip(
            *(part.table(0, part.n_rows)[key] for key in ("inputs", "label")), strict=True
        )
    }
    expected = {image.transpose(2, 0, 1).tobytes(): number % 2 for number, image in enumerate(pixels)}
    assert stored == expected
    with pytest.raises(DataError, match="image_key"):
        prepared(tmp_path, {**source, "image_key": "photo"}, image_size=12)


def test_nothing_is_decoded_twice(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"kind": "folder", "path": str(folder)}
    first = prepared(tmp_path, source, image_size=8)
    monkeypatch.setattr("toolkit.data.encoders.decode_image", None)
    again = prepared(tmp_path, source, image_size=8)
    assert again.facts == first.facts
    assert np.array_equal(again.train.table(0, 5)["inputs"], first.train.table(0, 5)["inputs"])
    other = prepared(tmp_path, source, image_size=8, validation=0.4)
    assert other.validation.n_rows > first.validation.n_rows


def test_what_is_no_image_folder_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file below it ends in"):
        prepared(
            tmp_path,
            {"kind": "folder", "path": str(folder.parent / "images" / "empty")} | _empty(folder),
            image_size=8,
        )


def _empty(folder: Path) -> dict[str, str]:
    place = folder.parent / "texts"
    place.mkdir()
    (place / "a.txt").write_text("text")
    return {"path": str(place)}


def test_images_of_every_mode_become_the_asked_shape() -> None:
    rng = np.random.default_rng(0)
    for array in (
        rng.integers(0, 256, (9, 7), dtype=np.uint8),
        rng.integers(0, 256, (9, 7, 4), dtype=np.uint8),
        rng.integers(0, 65536, (9, 7), dtype=np.uint16),
    ):
        for shape in ((1, 6, 6), (3, 12, 8)):
            pixels = decode_image(png(array), shape)
            assert pixels.shape == shape
            assert pixels.dtype == np.uint8
    square = np.zeros((8, 16, 3), np.uint8)
    square[:, 4:12] = 255
    assert (decode_image({"bytes": png(square), "path": None}, (3, 8, 8)) == 255).all()  # the middle is kept


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"GIF89a and no more", "not an image that can be read"),
        ({"bytes": None, "path": "/etc/passwd"}, "names a file and does not hold it"),
        (7, "an image was expected, not int"),
    ],
)
def test_what_is_no_image_is_said(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_image(value, (3, 8, 8))


def wav(samples: np.ndarray[Any, Any], rate: int, width: int = 2, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(width)
        out.setframerate(rate)
        scaled = np.round(samples * (2 ** (8 * width - 1) - 1)).astype(np.int64)
        if width == 1:
            scaled += 128
        out.writeframes(b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in scaled))
    return file.getvalue()


def tone(hertz: float, rate: int, seconds: float = 0.5) -> np.ndarray[Any, Any]:
    return 0.8 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_recordings_of_every_width_are_read(width: int) -> None:
    sound = tone(440, 8000)
    samples, rate = decode_sound(wav(sound, 8000, width))
    assert rate == 8000
    assert np.abs(samples - sound).max() < 2.0 ** (3 - 8 * width) + 1e-9
    stereo, _ = decode_sound(wav(np.repeat(sound, 2), 8000, width, channels=2))
    assert np.allclose(stereo, samples)
    with pytest.raises(ValueError, match=r"not a PCM|not a recording"):
        decode_sound(b"RIFF....WAVE")


def test_a_tone_is_a_line_at_its_height() -> None:
    source = AudioSource(kind="audio", path="x", sample_rate=8000, seconds=1.0, mel_bands=40)
    picture = spectrogram(tone(1000, 8000), 8000, source)
    assert picture.shape == (1, 40, 100)
    rows = picture[0, :, 10:40].argmax(0)
    assert rows.min() == rows.max()
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42) / 2595) - 1)
    band = 39 - rows[0]  # high sounds stand above
    assert edges[band] <= 1000 <= edges[band + 2]
    assert (picture[0, :, 60:] == 0).all()  # silence follows a short recording
    higher = spectrogram(tone(2000, 8000), 8000, source)
    assert higher[0, :, 10:40].argmax(0)[0] < rows[0]


def test_another_rate_is_the_same_sound() -> None:
    assert np.allclose(resample(tone(440, 16000), 16000, 8000)[50:-50], tone(440, 8000)[50:-50], atol=1e-3)
    filters = mel_filters(64, 256, 8000)
    assert (filters.sum(1) > 0).all()
    assert filters.min() >= 0


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the sample data")
def test_real_photographs_speech_and_proteins(tmp_path: Path) -> None:
    photographs = {"kind": "parquet", "path": str(SHARED / "images" / "cifar10.test.parquet")}
    data = prepared(tmp_path, photographs, image_size=32)
    assert len(data.facts.labels) == 10
    assert data.train.n_rows + data.validation.n_rows == 2000
    speech = {
        "kind": "audio",
        "path": str(SHARED / "audio" / "spoken_digits.test.parquet"),
        "sample_rate": 8000,
    }
    data = prepared(tmp_path, speech)
    assert data.facts.labels == tuple("0123456789")
    assert data.facts.shape == (1, 64, 100)
    proteins = FastaSource(kind="fasta", path=str(SHARED / "protein" / "families.fasta"))
    texts = [document.text for document in documents(proteins)]
    assert len(texts) == 7789
    assert set("".join(texts)) <= set("ABCDEFGHIKLMNPQRSTUVWXYZ")


def test_fasta(tmp_path: Path) -> None:
    file = tmp_path / "a.fasta"
    file.write_text(">one some words\nACDE\nfg-h*\n;a remark\n\n>two\n>three\nMK\n")
    source = FastaSource(kind="fasta", path=str(file))
    assert [document.text for document in documents(source)] == ["ACDEFGH", "", "MK"]
    file.write_text("ACDE\n")
    with pytest.raises(DataError, match=r"a.fasta:1: not FASTA"):
        list(documents(source))


@pytest.mark.parametrize(
    "spec",
    [
        BPETokenizer(kind="bpe", vocab_size=300, mask_token=True),
        UnigramTokenizer(kind="unigram", vocab_size=320, mask_token=True),
        BytesTokenizer(kind="bytes", mask_token=True),
        CharactersTokenizer(kind="characters", vocab_size=40, mask_token=True),
        WordPieceTokenizer(kind="wordpiece", vocab_size=320),
    ],
    ids=lambda spec: spec.kind,
)
def test_tokenizers_with_a_mask(spec: Any) -> None:
    texts = ["the quick brown fox jumps over the lazy dog, and_on it goes"] * 20
    tokenizer = train(spec, texts)
    assert tokenizer.mask_id is not None
    assert tokenizer.mask_id in tokenizer.special_ids
    assert tokenizer.end_of_text_id in tokenizer.special_ids
    assert tokenizer.vocab_size <= spec.vocab_size
    assert tokenizer.mask_id not in tokenizer.encode("a [MASK] in a text is a text")
    ids = tokenizer.encode(texts[0])
    heads, tails = tokenizer.word_edges
    words, word = [], [ids[0]]
    for before, after in pairwise(ids):
        if heads[after] and tails[before]:
            word.append(after)
        else:
            words.append(word)
            word = [after]
    spelled = [tokenizer.decode(part).strip() for part in [*words, word]]
    assert {"quick", "jumps", "lazy"} <= set(spelled)
