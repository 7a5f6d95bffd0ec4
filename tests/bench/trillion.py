"""Unit costs of preparing and reading a corpus, and what they come to for a trillion tokens.

python tests/bench/trillion.py --megabytes 60    # text generated from the standard library; some minutes

Times are CPU seconds of a process and its threads: they say the same beside other programs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import tracemalloc
from collections import defaultdict
from pathlib import Path

import numpy as np

from tests.bench.data_speed import generated
from toolkit.data.crew import Crew
from toolkit.data.order import Order
from toolkit.data.prepare import prepare
from toolkit.data.progress import Silent
from toolkit.data.shared import SharedCache
from toolkit.data.sources import open_source, share
from toolkit.data.training import train
from toolkit.spec.data import BPETokenizer, Data

FILES = 8
TRILLION = 1e12
CORES = 128
SEQUENCE_LENGTH = 2048


def cpu() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class Phases(Silent):
    """CPU seconds by the first word of each phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._phase, self._begin = "opening", cpu()

    def start(self, phase: str, total: int | None) -> None:
        self.close()
        self._phase = phase.partition(" ")[0]

    def close(self) -> None:
        now = cpu()
        self.seconds[self._phase] += now - self._begin
        self._begin = now


def data_of(folder: Path) -> Data:
    source = {"kind": "files", "path": str(folder / "texts")}
    tokenizer = {"kind": "pretrained", "path": str(folder / "tokenizer")}
    return Data.model_validate(
        {"sequence_length": SEQUENCE_LENGTH, "sources": [source], "tokenizer": tokenizer}
    )


def measure(act: str, folder: Path) -> dict[str, float]:
    """In a process of its own: its seconds and its peak memory in bytes."""
    share.SHARE_BYTES = 1 << 20  # a share a file
    phases = Phases()
    crew = Crew(0, 2) if act == "crew" else None
    cache = folder / {"crew": "two", "pull": "three"}.get(act, "one")
    shared = SharedCache(str(folder / "shared")) if act in ("push", "pull") else None
    dataset = prepare(data_of(folder), cache=cache, shared=shared, crew=crew, progress=phases)
    phases.close()
    result = dict(phases.seconds)
    if act == "read":
        rows, rounds = 64, 200
        begin = cpu()
        for step in range(rounds):
            dataset.train.rows(step, 0, rows, seed=1, batch_rows=rows)
        result = {"seconds": cpu() - begin, "tokens": rows * rounds * SEQUENCE_LENGTH}
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result["trained_on"] = dataset.facts.train.tokens + dataset.facts.validation.tokens
    result["documents"] = dataset.facts.train.documents + dataset.facts.validation.documents
    result["duplicates"] = dataset.facts.sources[0].duplicates
    return result


def child(act: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.trillion", "--act", act, "--folder", str(folder)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def generate(folder: Path, size: int) -> int:
    """Files of JSONL and a tokenizer of 32,768 tokens; the bytes of text."""
    texts = list(generated(size))
    (folder / "texts").mkdir()
    for number in range(FILES):
        lines = [json.dumps({"text": text}) + "\n" for text in texts[number::FILES]]
        (folder / "texts" / f"{number}.jsonl").write_text("".join(lines))
    (folder / "tokenizer").mkdir()
    trained = train(BPETokenizer(kind="bpe", vocab_size=32_768), texts[: 24_000_000 // 4300])
    (folder / "tokenizer" / "tokenizer.json").write_bytes(trained.json)
    return sum(len(text.encode()) for text in texts)


def order_memory() -> tuple[int, int]:
    """Peak bytes of the order of a trillion tokens in rows, for one batch of 4,096 rows; and the rows."""
    rows = int(TRILLION / SEQUENCE_LENGTH)
    tracemalloc.start()
    Order(1, (1.0,), (rows,), (7,)).picks(np.arange(10**9, 10**9 + 4096, dtype=np.int64))
    return tracemalloc.get_traced_memory()[1], rows


def run(megabytes: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = generate(folder, int(megabytes * 1e6))
        one, crew = child("one", folder), child("crew", folder)
        read, push, pull = child("read", folder), child("push", folder), child("pull", folder)
        begin = cpu()
        open_source(data_of(folder).sources[0]).identity()  # type: ignore[arg-type]
        hashing = cpu() - begin
        sizes: dict[str, int] = defaultdict(int)
        for path in (folder / "one" / "tokens").rglob("*"):
            if path.is_file():
                sizes[path.suffix or path.name] += path.stat().st_size
        for index in (folder / "one" / "tokens").glob("*/source.json"):
            index.unlink()
        again = child("one", folder)
    tokens, documents = one["trained_on"], one["documents"]
    memory, rows = order_memory()

    def line(what: str, value: float, unit: str, whole: str) -> None:
        print(f"| {what} | {value:.3g} {unit} | {whole} |")

    def hours(per_token: float) -> str:
        return f"{per_token * TRILLION / 3600:,.1f} h"

    def on_cores(per_gigabyte: float) -> str:
        per_token = per_gigabyte * text / tokens / 1e9
        return f"{hours(per_token)} of a core, {hours(per_token / CORES)} on {CORES}"

    def terabytes(per_token: float) -> str:
        return f"{per_token:,.2f} TB"

    each = documents / tokens
    print(f"{text / 1e6:.0f} MB of text, {tokens / 1e6:.2f} M tokens, {documents:,.0f} documents")
    print(f"{text / tokens:.2f} bytes a token, {one['duplicates']:,.0f} duplicates")
    print("| cost | here | a trillion tokens |\n| --- | --- | --- |")
    ids, rest = sizes[".tokens"] / tokens, (sizes[".pieces"] + sizes[".ends"]) / tokens
    line("ids on disk", ids, "bytes/token", terabytes(ids))
    line("documents on disk", sizes[".documents"] / documents, "bytes each", terabytes(32 * each))
    line("rows on disk", rest, "bytes/token", terabytes(rest))
    line("hashing the files", hashing / text * 1e9, "CPU s/GB", hours(hashing / tokens))
    for name, found in (("one worker", one), ("one of two workers", crew)):
        per_gigabyte = found["tokenising"] / text * 1e9
        line(f"tokenising, {name}", per_gigabyte, "CPU s/GB", on_cores(per_gigabyte))
    line("joining", crew["joining"] / tokens * 1e9, "ns/token", hours(crew["joining"] / tokens))
    line("packing", one["packing"] / tokens * 1e9, "ns/token", hours(one["packing"] / tokens))
    line("peak of one worker", one["peak"] / 1e9, "GB", "the same and its documents' hashes")
    line("hashes, joining", 16, "bytes/document", f"{16 * each * TRILLION / 1e9:,.0f} GB")
    for found, phase in ((push, "pushing"), (pull, "pulling")):
        per_token = found[phase] / tokens
        line(f"{phase}, to a folder", per_token * 1e9, "CPU ns/token", hours(per_token))
    speed = read["tokens"] / read["seconds"]
    line("reading batches", speed / 1e6, "M tokens/s of a core", hours(1 / speed))
    line("order of the rows", memory / 1e6, "MB", f"the same: {rows:,} rows")
    skipping = again["tokenising"] / text * 1e9
    line("finding the place again", skipping, "CPU s/GB", f"{0.256 * skipping:.1f} s a share of 256 MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--act", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.act:
        print(json.dumps(measure(arguments.act, arguments.folder)))
    else:
        run(arguments.megabytes)


if __name__ == "__main__":
    main()
