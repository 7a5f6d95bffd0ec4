"""Small corpora, and real ones where they are."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.spec.data import Data, FilesSource

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "text"

WORDS = ["the", "model", "code", "naïve", "東京", "🎉", "return", "a.b", "(x)", "=", "1", "<|endoftext|>"]


def make_texts(count: int, seed: int = 0, longest: int = 60) -> list[str]:
    """Distinct texts of up to `longest` words."""
    source = random.Random(seed)
    return [
        f"{seed}.{number} " + " ".join(source.choices(WORDS, k=source.randint(1, longest)))
        for number in range(count)
    ]


def write_jsonl(path: Path, texts: list[str]) -> Path:
    """One `{"text": …}` a line."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture
def real() -> Callable[[str], Path]:
    """The path of a real sample; skips where the samples are not."""

    def find(name: str) -> Path:
        if not (REAL / name).exists():
            pytest.skip("the shared samples are not here")
        return REAL / name

    return find


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def corpus_file(tmp_path: Path) -> Path:
    """A JSONL file of 300 short documents."""
    return write_jsonl(tmp_path / "corpus.jsonl", make_texts(300))


def files_data(*paths: Path, **changes: object) -> Data:
    """A `[data]` of these files, with a bytes tokenizer and rows of 64."""
    fields: dict[str, object] = {
        "sequence_length": 64,
        "validation": 0.1,
        "tokenizer": {"kind": "bytes"},
        "sources": [FilesSource(kind="files", path=str(path)) for path in paths],
    }
    return Data.model_validate(fields | changes)
