from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolkit.store.errors import BadName, StoreError, UnknownRun
from toolkit.store.events import append_event
from toolkit.store.runs import RunFolder, find_runs, open_run, parse_reference, runs_root, set_aside


def start(root: Path, name: str, stage: str = "pretrain") -> RunFolder:
    run = RunFolder(root, name, stage)
    run.create()
    append_event(run, "created")
    return run


@pytest.mark.parametrize(
    "name", ["", "..", ".", "/etc", "a/b", "-rf", "A", "a b", "a\0", "a\n", "ä", ".hidden", "x" * 65]
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(BadName, match="cannot name a run"):
        RunFolder(Path("runs"), name)
    with pytest.raises(BadName):
        RunFolder(Path("runs"), "good", name)


@given(st.text(max_size=20))
def test_no_reference_leads_out_of_the_root(text: str) -> None:
    root = Path("/somewhere/runs")
    try:
        run, _ = parse_reference(text, root)
    except BadName:
        return
    assert run.path.parent.parent == root
    assert ".." not in run.path.parts


@pytest.mark.parametrize(
    ("text", "run", "selector"),
    [
        ("gpt_small", "gpt_small/pretrain", None),
        ("gpt_small/coder", "gpt_small/coder", None),
        ("gpt_small@best", "gpt_small/pretrain", "best"),
        ("gpt_small/coder@step_2000", "gpt_small/coder", "step_2000"),
        ("runs/gpt_small/coder/", "gpt_small/coder", None),
    ],
)
def test_references(text: str, run: str, selector: str | None) -> None:
    found, what = parse_reference(text, Path("runs"))
    assert (str(found), what) == (run, selector)


@pytest.mark.parametrize("text", ["", "@best", "a/b/c", "a@", "a//b"])
def test_references_that_are_none(text: str) -> None:
    with pytest.raises(BadName):
        parse_reference(text, Path("runs"))


def test_find_runs_lists_pretrain_first_and_passes_over_the_rest(tmp_path: Path) -> None:
    for name, stage in [("b", "pretrain"), ("a", "coder"), ("a", "pretrain"), ("a", "chat")]:
        start(tmp_path, name, stage)
    (tmp_path / "c" / "empty").mkdir(parents=True)
    (tmp_path / ".hidden" / "pretrain").mkdir(parents=True)
    (tmp_path / "README").write_text("not a run")
    assert [str(run) for run in find_runs(tmp_path)] == ["a/pretrain", "a/chat", "a/coder", "b/pretrain"]
    assert list(find_runs(tmp_path / "nowhere")) == []


def test_an_unknown_run_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownRun) as caught:
        open_run(tmp_path, "gpt_smal")
    assert str(caught.value) == (
        f"no run gpt_smal/pretrain in {tmp_path}. There is no run there yet: `tk run SPEC` starts one."
    )
    start(tmp_path, "gpt_small")
    with pytest.raises(UnknownRun) as caught:
        open_run(tmp_path, "gpt_smal")
    assert str(caught.value) == f"no run gpt_smal/pretrain in {tmp_path}. Did you mean gpt_small/pretrain?"
    with pytest.raises(UnknownRun, match=r"There is gpt_small/pretrain\.$"):
        open_run(tmp_path, "gpt_small/chat")
    with pytest.raises(BadName, match="names a checkpoint"):
        open_run(tmp_path, "gpt_small@best")
    assert open_run(tmp_path, "gpt_small").exists()


def test_root_comes_from_the_caller_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TK_RUNS", raising=False)
    assert runs_root() == Path("runs")
    monkeypatch.setenv("TK_RUNS", "/scratch/runs")
    assert runs_root() == Path("/scratch/runs")
    assert runs_root(Path("here")) == Path("here")


def test_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "runs"
    root.mkdir()
    (root / "gpt_small").symlink_to(outside)
    with pytest.raises(StoreError, match="leaves the runs folder"):
        RunFolder(root, "gpt_small").create()
    assert list(outside.iterdir()) == []


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "scratch")
    assert start(tmp_path / "runs", "a").exists()


def test_a_run_set_aside_is_whole_and_out_of_sight(tmp_path: Path) -> None:
    for _ in range(2):
        run = start(tmp_path, "a")
        aside = set_aside(run)
        assert (aside / "events.jsonl").is_file()
        assert not run.path.exists()
        assert list(find_runs(tmp_path)) == []
    assert len(list((tmp_path / "a").iterdir())) == 2
