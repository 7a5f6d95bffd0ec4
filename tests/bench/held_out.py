"""What `xz -9e` makes of the held-out documents of a spec, to stand beside a model's bits per byte.

python tests/bench/held_out.py [SPEC] [KEY=VALUE ...]
"""

import lzma
import sys
from pathlib import Path

from toolkit.data.sources import documents
from toolkit.data.split import as_hashes, cutoff, digest
from toolkit.spec.load import load_spec

SPEC = Path(__file__).parents[2] / "specs" / "gpt_small.toml"


def main() -> None:
    arguments = sys.argv[1:] or [str(SPEC)]
    data = load_spec(arguments[0], arguments[1:]).spec.data
    texts = {document.text.encode(): document.origin for s in data.sources for document in documents(s)}
    hashes = as_hashes([digest(text) for text in texts])
    limit = cutoff(data.validation, hashes)
    held_out = [text for text, (first, _) in zip(texts, hashes.tolist(), strict=True) if first < limit]
    for text in held_out:
        print(f"{len(text):9,}  {texts[text]}")
    whole = b"".join(held_out)
    packed = len(lzma.compress(whole, preset=9 | lzma.PRESET_EXTREME))
    bits = 8 * packed / len(whole)
    print(f"{len(held_out)} documents, {len(whole):,} bytes, xz -9e: {bits:.3f} bits a byte")


if __name__ == "__main__":
    main()
