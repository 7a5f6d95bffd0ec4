"""A sound spec, and a way to load a text as a file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from toolkit.spec.errors import SpecErrors
from toolkit.spec.load import LoadedSpec, load_spec

SOUND = """\
name = "tiny"
seed = 3

[data]
sequence_length = 64
tokenizer = { kind = "bpe", vocab_size = 512 }
sources = [{ kind = "files", path = "a.txt" }, { kind = "python_stdlib", weight = 2.0 }]

[model]
kind = "gpt"
n_layers = 2
d_model = 64
n_heads = 4

[objective]
kind = "causal_lm"

[train]
duration = "100 steps"
batch = "1Ki tokens"
optimizer = { kind = "muon", lr = 0.02 }
schedule = { kind = "linear", cooldown = 0.7 }

[run]
checkpoint_every = "2 minutes"
keep = { last = 2, best = 1 }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(folder: Path) -> Callable[..., LoadedSpec]:
    def load(text: str = SOUND, *overrides: str) -> LoadedSpec:
        Path("s.toml").write_text(text, encoding="utf-8")
        return load_spec("s.toml", overrides)

    return load


@pytest.fixture
def mistakes(load: Callable[..., LoadedSpec]) -> Callable[..., str]:
    """The error text of a spec that can't be loaded."""

    def mistakes(text: str = SOUND, *overrides: str) -> str:
        with pytest.raises(SpecErrors) as caught:
            load(text, *overrides)
        return str(caught.value)

    return mistakes
