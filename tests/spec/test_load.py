"""From file and overrides to a spec: what extends, what overrides, what can't be read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.spec.conftest import SOUND
from toolkit.spec.data import BytesTokenizer, FilesSource, UnigramTokenizer
from toolkit.spec.duration import BatchSize, TrainLength
from toolkit.spec.errors import SpecErrors
from toolkit.spec.load import LoadedSpec, load_spec
from toolkit.spec.spec import Spec
from toolkit.spec.train import AdamW, CosineSchedule, LinearSchedule, Muon

Load = Callable[..., LoadedSpec]
Mistakes = Callable[..., str]


def failure(path: str, *overrides: str) -> str:
    with pytest.raises(SpecErrors) as caught:
        load_spec(path, overrides)
    return str(caught.value)


def test_a_sound_file(load: Load) -> None:
    loaded = load()
    assert loaded.text == SOUND.encode()
    assert loaded.path == Path("s.toml")
    assert loaded.spec.train.duration == TrainLength(100, "steps")
    assert loaded.spec.data.sources[0] == FilesSource(kind="files", path="a.txt")
    assert loaded.spec.run.checkpoint_every.seconds == 120


def test_windows_line_ends_and_byte_order_mark(folder: Path) -> None:
    Path("w.toml").write_bytes(b"\xef\xbb\xbf" + SOUND.replace("\n", "\r\n").encode())
    assert load_spec("w.toml").spec.name == "tiny"


def test_the_same_models_from_python(load: Load) -> None:
    values = load().spec.model_dump(mode="json")
    assert Spec(**values) == load().spec
    assert Spec.model_validate_json(load().spec.model_dump_json()) == load().spec
    values["model"]["n_heads"] = 5
    with pytest.raises(ValidationError, match="d_model: 64 is not divisible by n_heads = 5"):
        Spec(**values)
    values["model"]["n_heads"] = 4
    values["train"]["batch"] = "1 tokens"
    with pytest.raises(ValidationError, match=r"train\.batch: .* is less than one row"):
        Spec(**values)


def test_specs_are_frozen(load: Load) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load().spec.data.sequence_length = 3


def test_overrides(load: Load) -> None:
    spec = load(
        SOUND,
        "name=other",
        "train.duration=2 epochs",
        'train.batch="64 rows"',
        "data.sources.0.path=x=y.txt",
        "data.sources.1.weight=3",
        "run.prompts=['a', 'b']",
        "run.rates.per_hour=2.5",
    ).spec
    assert spec.name == "other"
    assert spec.train.duration == TrainLength(2, "epochs")
    assert spec.train.batch == BatchSize(64, "rows")
    assert spec.data.sources[0] == FilesSource(kind="files", path="x=y.txt")
    assert spec.data.sources[1].weight == 3
    assert spec.run.prompts == ("a", "b")
    assert spec.run.rates.per_hour == 2.5


def test_an_override_of_a_kind_starts_its_table_afresh(load: Load) -> None:
    spec = load(SOUND, "train.optimizer.betas=[0.8, 0.9]", "train.optimizer.kind=adamw").spec
    assert spec.train.optimizer == AdamW(kind="adamw", betas=(0.8, 0.9))


def test_an_override_of_a_table_that_the_file_leaves_out_starts_from_its_default(load: Load) -> None:
    short = SOUND.replace('schedule = { kind = "linear", cooldown = 0.7 }\n', "")
    short = "\n".join(line for line in short.splitlines() if not line.startswith("sources"))
    spec = load(short, "train.schedule.warmup=0.1", "data.sources.0.weight=2").spec
    assert spec.train.schedule == LinearSchedule(kind="linear", warmup=0.1)
    assert [source.kind for source in spec.data.sources] == ["python_stdlib"]
    assert spec.data.sources[0].weight == 2


def test_mistakes_in_overrides_name_the_override(mistakes: Mistakes) -> None:
    text = SOUND.replace("n_layers", "n_layer")
    overrides = ["train.duration=8M token", "model.heads=3", "oops", "name.x=1", "data.sources.2.path=x"]
    assert mistakes(text, *overrides).splitlines() == [
        "s.toml:11:1  model.n_layer: unknown key. Did you mean n_layers?",
        'override "oops"  not an override. Write KEY=VALUE, like train.duration=500 steps.',
        'override "name.x=1"  name is not a table.',
        'override "data.sources.2.path=x"  data.sources is a list of 2; its items count from 0.',
        'override "model.heads=3"  model.heads: unknown key. Did you mean n_heads?',
        'override "train.duration=8M token"  train.duration: "8M token" has no unit I know. '
        "Write tokens, steps or epochs.",
        "6 errors. Nothing was run.",
    ]


def test_an_override_stays_one_value(load: Load, mistakes: Mistakes) -> None:
    spec = load(SOUND, 'description=x"\n[run]\ndevice="cpu"').spec
    assert spec.description == 'x"\n[run]\ndevice="cpu"'
    assert spec.run.device == "auto"
    assert "seed: must be a whole number" in mistakes(SOUND, "seed=1\nname = 'x'")


def test_extends_merges_tables_and_replaces_lists_and_kinds(folder: Path) -> None:
    Path("sub").mkdir()
    Path("base.toml").write_text(SOUND)
    Path("sub/mid.toml").write_text('extends = "../base.toml"\n[train]\nschedule = { kind = "cosine" }\n')
    Path("top.toml").write_text(
        'extends = "sub/mid.toml"\nname = "top"\n[data]\nsources = [{ kind = "python_stdlib" }]\n'
        'tokenizer = { kind = "bytes" }\n[train]\noptimizer.ns_steps = 3\n'
    )
    loaded = load_spec("top.toml")
    spec = loaded.spec
    assert [str(path) for path in loaded.extends] == ["sub/mid.toml", "sub/../base.toml"]
    assert loaded.text == Path("top.toml").read_bytes()
    assert (spec.name, spec.seed) == ("top", 3)
    assert len(spec.data.sources) == 1
    assert spec.data.tokenizer == BytesTokenizer(kind="bytes")
    assert spec.train.optimizer == Muon(kind="muon", lr=0.02, ns_steps=3)
    assert spec.train.schedule == CosineSchedule(kind="cosine")
    assert load_spec("top.toml", ["data.tokenizer.kind=unigram"]).spec.data.tokenizer == UnigramTokenizer(
        kind="unigram"
    )


def test_mistakes_point_into_the_file_that_holds_them(folder: Path) -> None:
    Path("base.toml").write_text(SOUND.replace("seed = 3", "seed = -3").replace("n_heads = 4", "n_heads = 5"))
    Path("top.toml").write_text(
        'extends = "base.toml"\n[model]\nd_model = 64\nlayers = 1\n[train]\nbatch = 3\n'
    )
    assert failure("top.toml").splitlines() == [
        "top.toml:3:11  model.d_model: 64 is not divisible by n_heads = 5. "
        "Change one of them, or set head_dim.",
        "top.toml:4:1  model.layers: unknown key. Did you mean n_layers?",
        "top.toml:6:9  train.batch: 3 has no unit. Write a number and a unit in quotes, "
        'like "16k tokens" or "500 rows".',
        "base.toml:2:8  seed: must be a whole number at least 0 and below 9223372036854775808, not -3.",
        "4 errors. Nothing was run.",
    ]


def test_a_spec_cannot_extend_itself(folder: Path) -> None:
    Path("a.toml").write_text('extends = "b.toml"\n')
    Path("b.toml").write_text('name = "b"\nextends = "./a.toml"\n')
    assert "b.toml:2:11  extends: a.toml extends this file in turn." in failure("a.toml")


def test_a_missing_base_is_named_where_it_is_asked_for(folder: Path) -> None:
    Path("base.toml").write_text(SOUND)
    Path("top.toml").write_text('name = "x"\nextends = "bsae.toml"\n')
    assert failure("top.toml").splitlines() == [
        "top.toml:2:11  extends: bsae.toml: no such file. Did you mean base.toml?",
        "1 error. Nothing was run.",
    ]


def test_a_missing_file_names_the_nearest(folder: Path) -> None:
    Path("specs").mkdir()
    Path("specs/gpt_small.toml").write_text(SOUND)
    near = "no such file. Did you mean specs/gpt_small.toml?\n1 error. Nothing was run."
    assert failure("specs/gpt_smal.toml") == f"specs/gpt_smal.toml  {near}"
    assert failure("specs/gpt_small") == f"specs/gpt_small  {near}"
    assert failure("nowhere/x.toml").startswith("nowhere/x.toml  no such file: there is no folder nowhere.")


def test_what_is_not_a_text_file(folder: Path) -> None:
    Path("folder.toml").mkdir()
    os.mkfifo("pipe.toml")
    Path("latin.toml").write_bytes(b'name = "x"\ndescription = "\xe9t\xe9"\n')
    Path("big.toml").write_bytes(b"#" * 1_000_001)
    assert failure("folder.toml").startswith(
        "folder.toml  not a file. Name a spec, a file that ends in .toml."
    )
    assert failure("pipe.toml").startswith("pipe.toml  not a file.")
    assert failure("latin.toml").startswith(
        "latin.toml:2:16  byte 0xe9 is not UTF-8. Save the file as UTF-8."
    )
    assert failure("big.toml").startswith("big.toml  larger than 1,000,000 bytes.")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(folder: Path) -> None:
    Path("s.toml").write_text(SOUND)
    Path("s.toml").chmod(0)
    assert failure("s.toml").startswith("s.toml  can't be read: Permission denied.")
