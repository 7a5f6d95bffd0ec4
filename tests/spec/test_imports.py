"""A spec is loaded without what only its errors, or training, need."""

import subprocess
import sys
from pathlib import Path

SPEC = Path(__file__).parents[2] / "specs" / "gpt_small.toml"


def test_a_sound_spec_needs_neither_torch_nor_the_position_parser() -> None:
    code = f"""
import sys
from toolkit.spec.load import load_spec
load_spec({str(SPEC)!r})
print(*sorted({{"torch", "numpy", "tree_sitter", "transformers", "rich", "asyncio"}} & sys.modules.keys()))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
