"""How fast documents become shards, and how much memory that takes.

python tests/bench/data_speed.py                  # speed against the bare tokenizer, on the standard library
python tests/bench/data_speed.py --gigabytes 1    # peak memory and time for a JSONL file of that size
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Tokenizer

from toolkit.data.prepare import prepare
from toolkit.data.progress import Silent
from toolkit.data.sources import documents, open_source
from toolkit.data.tokenise import tokenise
from toolkit.data.training import train
from toolkit.spec.data import BPETokenizer, Data, FilesSource, PythonStdlibSource

STDLIB = PythonStdlibSource(kind="python_stdlib")


def measure_speed(repeats: int) -> None:
    """The best of some repeats each, taken in turn."""
    texts = [document.text for document in documents(STDLIB)]
    size = sum(len(text.encode()) for text in texts)
    tokenizer = train(BPETokenizer(kind="bpe"), texts)
    raw = Tokenizer.from_str(tokenizer.json.decode())
    times: dict[str, list[float]] = {"encode_batch": [], "encode_batch_fast": [], "tokenise": []}
    for _ in range(repeats):
        for name in ("encode_batch", "encode_batch_fast"):
            start = time.perf_counter()
            getattr(raw, name)(texts, add_special_tokens=False)
            times[name].append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            tokenise(open_source(STDLIB), tokenizer, Path(folder), Silent())
            times["tokenise"].append(time.perf_counter() - start)
    best = {name: min(taken) for name, taken in times.items()}
    for name, taken in best.items():
        print(f"{name:18} {size / taken / 1e6:6.2f} MB/s")
    print(
        f"documents to shards: {best['encode_batch'] / best['tokenise']:.0%} of the speed of raw encode_batch"
    )


def measure_memory(gigabytes: float, kind: str) -> None:
    """Prepares generated JSONL in a process of its own and prints that one's peak."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = Path(folder, "documents.jsonl")
        with path.open("w") as file:
            for text in generated(int(gigabytes * 1e9)):
                file.write(json.dumps({"text": text}) + "\n")
        print(f"{path.stat().st_size / 1e9:.2f} GB of JSONL")
        start = time.perf_counter()
        command = [sys.executable, __file__, "--prepare", str(path), "--tokenizer", kind]
        subprocess.run(command, check=True)
        taken = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"prepared in {taken:.0f} s, peak memory {peak / 1e9:.2f} GB")


def generated(size: int) -> Iterator[str]:
    """Distinct documents of 200 to 8,000 characters, cut from the standard library."""
    text = "\n".join(document.text for document in documents(STDLIB))
    source = random.Random(0)
    written = 0
    while written < size:
        start = source.randrange(len(text))
        yield text[start : start + source.randint(200, 8000)]
        written += 4300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--gigabytes", type=float)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokenizer", default="bpe")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.prepare:
        source = FilesSource(kind="files", path=arguments.prepare)
        data = Data(sources=(source,), tokenizer={"kind": arguments.tokenizer})
        cache = Path(arguments.prepare).parent / "cache"
        facts = prepare(data, cache=cache).facts
        print(f"{facts.train.documents} documents, {facts.train.tokens / 1e6:.1f} M tokens to train on")
    elif arguments.gigabytes:
        measure_memory(arguments.gigabytes, arguments.tokenizer)
    else:
        measure_speed(arguments.repeats)


if __name__ == "__main__":
    main()
