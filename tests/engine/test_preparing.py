"""Processes that prepare a corpus together make what one makes; ranks use the time in which they would wait."""

import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.data.test_prepare import content
from tests.data.test_shared import Watch
from toolkit.engine.datasets import prepare_stage
from toolkit.spec.spec import PRETRAIN, Spec

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from harness import Bench, wait_until

SHORT = "data.validation=0.002"
"""All that is held out is read at the end."""


def write_texts(folder: Path, files: int, size: int) -> None:
    """Files of JSONL, each of `size` characters and more."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(2000)]
    for number in range(files):
        texts = []
        while sum(map(len, texts)) < size:
            texts.append(" ".join(rng.choices(words, k=2000)))
        (folder / f"{number:02}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))


def spec_of(folder: Path, processes: int) -> Spec:
    return Spec.model_validate(
        {
            "name": "x",
            "data": {
                "sequence_length": 64,
                "tokenizer": {"kind": "bytes"},
                "sources": [{"kind": "files", "path": str(folder)}],
            },
            "model": {"kind": "gpt", "n_layers": 1, "d_model": 32, "n_heads": 2},
            "objective": {"kind": "causal_lm"},
            "train": {"duration": "2 steps", "batch": "8 rows"},
            "run": {"tokenise_processes": processes},
        }
    )


def test_two_processes_make_what_one_makes(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts", 10, 1_100_000)
    one, two = Watch(), Watch()
    for processes, watch in ((1, one), (2, two)):
        cache = tmp_path / str(processes)
        prepare_stage(
            spec_of(tmp_path / "texts", processes), PRETRAIN, None, None, cache=cache, progress=watch
        )
    made_here = sum(phase.startswith("tokenising share") for phase in two.phases)
    assert "tokenising" in one.phases
    assert 0 < made_here < 10, "the other process made some"
    assert content(tmp_path / "2") == content(tmp_path / "1")


@pytest.mark.long
def test_two_ranks_divide_a_corpus_are_stopped_and_go_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    shutil.rmtree(tmp_path / "texts")
    write_texts(tmp_path / "texts", 12, 1_300_000)
    arguments = ("data.tokenizer={kind='bpe',vocab_size=600}", "train.duration=3 steps", SHORT)
    bench.run("one", *arguments)
    cache = tmp_path / "cache"
    expected = content(cache)
    shutil.rmtree(cache)

    process = bench.start("two", *arguments, "--nproc", "2")
    wait_until(lambda: any(cache.glob("shares/*-00001/source.json")) or process.poll() is not None)
    assert not any(cache.glob("tokens/*/source.json"))
    bench.tk("stop", "two")
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 75, printed
    before = time.time()
    printed = bench.run("two", *arguments, "--nproc", "2")
    assert time.time() - before < 120, printed
    assert content(cache) == expected
    assert not list((cache / "shares").iterdir())


@pytest.mark.long
def test_a_rank_killed_while_tokenising_comes_back(tmp_path: Path) -> None:
    import psutil

    bench = Bench(tmp_path)
    shutil.rmtree(tmp_path / "texts")
    write_texts(tmp_path / "texts", 12, 1_300_000)
    bench.run("one", "train.duration=3 steps", SHORT)
    cache = tmp_path / "cache"
    expected = content(cache)
    shutil.rmtree(cache)
    process = bench.start("two", "train.duration=3 steps", SHORT, "--nproc", "2", "--max-restarts", "1")
    wait_until(lambda: any(cache.glob("shares/*-00001/source.json")) or process.poll() is not None)
    ranks = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.environ().get("RANK") == "1"
    ]
    assert ranks
    ranks[-1].send_signal(signal.SIGKILL)
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == 0, printed
    assert "rank 1 was ended by SIGKILL" in printed
    assert content(cache) == expected
