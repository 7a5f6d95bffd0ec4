"""What a user reads when something is wrong, and the exit status that goes with it."""

import pytest

from toolkit.store.lease import hold
from toolkit.store.runs import RunFolder

CASES = {
    "two mistakes in a spec": (
        ("plan", "tiny.toml", "model.n_head=4", "train.duration=8M token"),
        'override "model.n_head=4"  model.n_head: unknown key. Did you mean n_heads?\n'
        'override "train.duration=8M token"  train.duration: '
        '"8M token" has no unit I know. Write tokens, steps or epochs.\n'
        "2 errors. Nothing was run.\n",
    ),
    "no such file": (
        ("run", "tinny.toml"),
        "tinny.toml  no such file. Did you mean tiny.toml?\n1 error. Nothing was run.\n",
    ),
    "no such stage": (
        ("run", "tiny.toml", "--stage", "coder"),
        'error: tiny has no stage "coder". It has: pretrain.\n',
    ),
    "a device": (
        ("run", "tiny.toml", "--device", "gpu"),
        'override "run.device=gpu"  run.device: '
        'must be "auto", "cpu", "mps", "cuda" or "cuda:N", not "gpu".\n'
        "1 error. Nothing was run.\n",
    ),
    "a name": (
        ("run", "tiny.toml", "--as", "../out"),
        "error: '../out' cannot name a run: use up to 64 lower-case letters, digits, '.', '_' and '-', "
        "beginning with a letter or a digit.\n",
    ),
    "no run at all": (
        ("show", "tiny"),
        "error: no run tiny/pretrain in runs. There is no run there yet: `tk run SPEC` starts one.\n",
    ),
    "a preset": (
        ("new", "mine", "--preset", "gpt5"),
        'error: --preset: there is no "gpt5". There are: gpt2, llama, qwen3.\n',
    ),
    "an option": (
        ("sample", "tiny", "--top-p", "2"),
        "Usage: tk sample",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_told_in_words_and_leaves_nothing(desk, case: str) -> None:
    arguments, text = CASES[case]
    before = sorted(desk.folder.rglob("*"))
    printed = desk.tk(*arguments, status=2)
    assert printed == text if text.endswith("\n") else printed.startswith(text)
    assert sorted(desk.folder.rglob("*")) == before


def test_a_near_run_is_named(finished) -> None:
    assert "no run tny/pretrain in runs. Did you mean tiny/pretrain?" in finished.tk("show", "tny", status=2)
    text = finished.tk("sample", "tiny@step_7", status=2)
    assert text == (
        "error: tiny/pretrain has no checkpoint @step_7. It has @step_20, @step_30; @last and @best too.\n"
    )


def test_only_debug_gives_a_traceback(desk) -> None:
    assert "Traceback" not in desk.tk("show", "tiny", status=2)
    assert "Traceback" in desk.tk("--debug", "show", "tiny", status=1)
    assert "Traceback" in desk.tk("show", "tiny", "--debug", status=1)


def test_an_unreadable_file_is_a_failure_not_a_fault(desk) -> None:
    folder = desk.folder / "folder"
    folder.mkdir()
    assert desk.tk("new", "mine", "-o", folder / "none" / "x.toml", status=1) == (
        f"error: {folder}/none/x.toml: No such file or directory\n"
    )


def test_a_held_run_is_not_replaced(finished) -> None:
    run = RunFolder(finished.runs, "tiny")
    with hold(run):
        text = finished.tk("run", "tiny.toml", "--replace", status=1)
    assert text.startswith("error: tiny/pretrain is held by process ")
    assert run.exists()


def test_what_a_file_holds_does_not_drive_the_terminal(finished) -> None:
    text = finished.tk("show", "\x1b[31mtiny\x9b", status=2)
    assert "\x1b" not in text
    assert "\\x1b[31mtiny" in text
