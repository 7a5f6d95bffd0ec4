"""`tk sample`, `export` and `verify` on a run that was carried out."""

import json
import shutil
from pathlib import Path

import pytest

from toolkit.evals.sampling import continuation, load_for_sampling
from toolkit.interop.errors import InteropError
from toolkit.interop.export import export_checkpoint
from toolkit.store.checkpoints import CheckpointStore, find_checkpoint
from toolkit.store.errors import BadFile, CorruptCheckpoint
from toolkit.store.runs import RunFolder


@pytest.fixture
def checkpoint(finished):
    return find_checkpoint("tiny", finished.runs)[1]


@pytest.fixture
def copied(finished, desk):
    """A desk with a copy of the run, to be damaged."""
    shutil.copytree(finished.runs, desk.runs)
    return desk


def test_equal_seeds_write_equal_text(finished, checkpoint) -> None:
    model = load_for_sampling(checkpoint)
    ids = {"max_tokens": 20, "seed": 5}
    text = "".join(continuation(model, "lorem", **ids))
    assert text == "".join(continuation(model, "lorem", **ids))
    assert text != "".join(continuation(model, "lorem", max_tokens=20, seed=6))
    told = json.loads(
        finished.tk(
            "sample",
            "tiny",
            "lorem",
            "--seed",
            "5",
            "--max-tokens",
            "20",
            "--top-k",
            "0",
            "--json",
            "-n",
            "2",
        )
    )
    assert told["checkpoint"] == checkpoint.id
    assert [item["seed"] for item in told["samples"]] == [5, 6]
    assert told["samples"][0] == {"prompt": "lorem", "text": text, "seed": 5}


def test_pieces_join_to_whole_characters(checkpoint) -> None:
    model = load_for_sampling(checkpoint)
    # At this temperature bytes come almost at random, so most are no whole character.
    pieces = list(continuation(model, "ä😀", max_tokens=80, temperature=5.0, seed=1))
    text = "".join(pieces)
    assert len(pieces) > 20
    assert not text.startswith(("ä", "😀"))
    text.encode()


def test_a_damaged_checkpoint_does_not_write(copied) -> None:
    _, checkpoint = find_checkpoint("tiny@best", copied.runs)
    weights = checkpoint.path / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CorruptCheckpoint, match=r"weights.safetensors is damaged"):
        load_for_sampling(checkpoint)
    text = copied.tk("verify", "tiny", status=1)
    assert text.splitlines()[0].startswith("intact   step-00000020  ")
    assert text.splitlines()[1] == (
        "damaged  step-00000030  weights.safetensors is damaged: its sha256 is not that of the manifest"
    )
    (checkpoint.path / "MANIFEST.json").unlink()
    told = json.loads(copied.tk("verify", "tiny", "--json", status=1))
    assert told["intact"] is False
    assert told["checkpoints"][1]["problem"] == "MANIFEST.json is missing"


def test_verify_replays_to_equal_bits(finished) -> None:
    text = finished.tk("verify", "tiny", "--resume")
    assert text.startswith("intact   step-00000020  ")
    assert "10 steps from 20 to 30 replayed; weights and optimizer state are equal bit for bit." in text


def test_an_export_writes_what_tk_writes(finished, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "out"
    printed = finished.tk("export", "tiny@best", folder)
    assert printed.startswith(f"tiny/pretrain at step 30 is in {folder}:\n  README.md\n  config.json\n")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("lorem ip", return_tensors="pt")
    theirs = model.generate(**inputs, max_new_tokens=20, do_sample=False)
    ours = finished.tk("sample", "tiny@best", "lorem ip", "--temperature", "0", "--max-tokens", "20")
    assert tokenizer.decode(theirs[0], skip_special_tokens=True) == ours.removesuffix("\n")


def test_the_model_card_tells_where_the_model_comes_from(finished, checkpoint, tmp_path: Path) -> None:
    card = (export_checkpoint(checkpoint, tmp_path / "out").folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert f"| checkpoint | {checkpoint.id} |" in card
    assert f"| val/loss | {checkpoint.metrics['val/loss']:.4f} |" in card
    assert "| length | 30 of 30 steps, " in card
    assert "| source 1 | files texts" in card
    assert str(finished.folder) not in card


def test_an_export_replaces_nothing_but_an_export(checkpoint, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_checkpoint(checkpoint, out)
    with pytest.raises(InteropError, match=r"is not empty. Name another folder, or add --replace"):
        export_checkpoint(checkpoint, out)
    (out / "stale.bin").touch()
    export_checkpoint(checkpoint, out, replace=True)
    assert not (out / "stale.bin").exists()
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")
    with pytest.raises(InteropError, match=r"is not an earlier export"):
        export_checkpoint(checkpoint, other, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "thesis"]
    assert (other / "chapter.txt").read_text() == "years of work"


def test_a_model_of_no_known_family_is_refused_with_the_reason(copied, tmp_path: Path) -> None:
    run = RunFolder(copied.runs, "tiny")
    checkpoint = CheckpointStore(run).resolve("last")
    plan = checkpoint.path / "plan.json"
    plan.write_text(plan.read_text().replace('"logit_softcap": null', '"logit_softcap": 15.0'))
    with pytest.raises(InteropError, match=r"no exportable family has logit_softcap = 15.0"):
        export_checkpoint(checkpoint, tmp_path / "out")
    plan.write_text("{}")
    with pytest.raises(BadFile, match=r"is not a plan that this version of tk reads"):
        export_checkpoint(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_new_spec_is_planned_as_it_stands(desk) -> None:
    text = desk.tk("new", "mine", "--preset", "llama", "--files", str(desk.folder / "texts"))
    assert text == "mine.toml is written. Edit it, then:\n  tk plan mine.toml\n  tk run mine.toml\n"
    assert "model        llama, " in desk.tk("plan", "mine.toml")
    assert "mine.toml exists already" in desk.tk("new", "mine", status=2)
    assert desk.tk("new", "mine", "-o", "-").startswith("# `tk run mine.toml` trains it")
    assert json.loads(desk.tk("schema"))["properties"].keys() > {"data", "model", "train"}
