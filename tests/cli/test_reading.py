"""`tk ls`, `show`, `diff` and `plan`, in words and in JSON."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys

from toolkit.plan.plan import Plan
from toolkit.store.runs import RunFolder
from toolkit.store.status import Status, read_status, write_status


def test_ls_gives_a_line_a_run(finished) -> None:
    header, line = finished.tk("ls").splitlines()
    assert header.split() == ["RUN", "STATE", "STEP", "VAL/LOSS", "BITS/BYTE", "UPDATED"]
    assert re.fullmatch(r"tiny/pretrain  finished  30/30 +[\d.]+ +[\d.]+  \d{4}-\d\d-\d\d \d\d:\d\d", line)
    (entry,) = json.loads(finished.tk("ls", "--json"))
    assert (entry["run"], entry["state"], entry["step"], entry["steps"]) == (
        "tiny/pretrain",
        "finished",
        30,
        30,
    )


def test_ls_passes_over_what_is_no_run_and_tells_of_what_it_cannot_read(desk) -> None:
    assert desk.tk("ls") == "No runs in runs yet: `tk run SPEC` begins one.\n"
    assert json.loads(desk.tk("ls", "--json")) == []
    good, bad = RunFolder(desk.runs, "good"), RunFolder(desk.runs, "bad")
    for run in (good, bad):
        run.create()
        write_status(run, Status(state="running", step=3, pid=1))
    bad.status.write_text('{"state": "flying"}')
    (desk.runs / "notes.txt").write_text("mine")
    lines = desk.tk("ls").splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["bad/pretrain", "unreadable"],
        ["good/pretrain", "dead"],
    ]


def test_show_puts_plan_and_actual_side_by_side(finished) -> None:
    text = finished.tk("show", "tiny")
    assert re.search(r"^parameters +49,440 +49,440 +1$", text, re.M)
    assert re.search(r"^flops +993,116,160 +993,116,160 +1$", text, re.M)
    assert re.search(r"^step_30 +[0-9a-f]{12} +\d+ KiB +[\d.]+ +[\d.]+  best$", text, re.M)
    assert max(map(len, text.splitlines())) <= 80


def test_show_has_stable_keys(finished) -> None:
    shown = json.loads(finished.tk("show", "tiny", "--json"))
    keys = "run path state step steps attempt reason updated metrics best fingerprint parent spec plan actual"
    assert list(shown) == [*keys.split(), "checkpoints"]
    assert shown["state"] == "finished"
    assert shown["parent"] is None
    assert shown["step"] == 30
    assert shown["best"]["metric"] == "val/loss"
    assert {"train/loss", "val/loss", "val/bits_per_byte", "perf/tokens_per_second"} <= shown[
        "metrics"
    ].keys()
    assert shown["actual"].keys() == {"parameters", "tokens", "flops", "seconds", "peak_memory"}
    assert Plan.model_validate(shown["plan"]).fingerprint == shown["fingerprint"]
    assert [item["step"] for item in shown["checkpoints"]] == [20, 30]
    for item in shown["checkpoints"]:
        assert os.path.isdir(finished.folder / item["path"])  # noqa: PTH112
        assert re.fullmatch(r"[0-9a-f]{64}", item["id"])
        assert "val/loss" in item["metrics"]


def test_show_takes_the_newest_checkpoint_where_no_end_was_told(finished, desk) -> None:
    shutil.copytree(finished.runs, desk.runs)
    run = RunFolder(desk.runs, "tiny")
    lines = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(line for line in lines if b'"kind":"finished"' not in line))
    actual = json.loads(desk.tk("show", "tiny", "--json"))["actual"]
    assert actual.keys() == {"tokens", "flops", "seconds"}
    assert actual["flops"] == 993_116_160


def test_hostile_files_are_shown_not_obeyed(finished, desk) -> None:
    shutil.copytree(finished.runs, desk.runs)
    run = RunFolder(desk.runs, "tiny")
    status = read_status(run)
    assert status is not None
    reason = "out of \x1b]0;mine\x07 memory\u202e"
    write_status(run, status.model_copy(update={"state": "failed", "reason": reason}))
    text = desk.tk("show", "tiny")
    assert "reason       out of \\x1b]0;mine\\x07 memory\\u202e\n" in text
    raw = desk.tk("show", "tiny", "--json")
    assert raw.isascii()
    assert json.loads(raw)["reason"] == reason


def test_diff_marks_what_changes_the_result(finished, desk) -> None:
    shutil.copytree(finished.runs, desk.runs)
    shutil.copytree(desk.runs / "tiny", desk.runs / "other")
    events = desk.runs / "other/pretrain/events.jsonl"
    text = events.read_text().replace('"lr":0.02', '"lr":0.03').replace('"device":"cpu"', '"device":"auto"')
    events.write_text(text)
    printed = desk.tk("diff", "tiny", "other")
    assert printed.splitlines()[:3] == [
        "* train.optimizer.lr: 0.02 -> 0.03",
        '  run.device: "cpu" -> "auto"',
        "* changes the result",
    ]
    assert re.search(r"^val/loss +([\d.]+) +\1 +0$", printed, re.M)
    told = json.loads(desk.tk("diff", "tiny", "other", "--json"))
    assert told["spec"][0] == {
        "key": "train.optimizer.lr",
        "before": 0.02,
        "after": 0.03,
        "identity": True,
    }
    assert told["metrics"]["val/loss"]["a"] == told["metrics"]["val/loss"]["b"]
    assert desk.tk("diff", "tiny", "tiny").startswith("The specs are equal.\n")


def test_plan_tells_what_is_done_already(finished, desk) -> None:
    assert "done         nothing yet\n" in desk.tk("plan", "tiny.toml")
    text = finished.tk("plan", "tiny.toml")
    assert "done         finished at step 30 of 30\n" in text
    assert max(map(len, text.splitlines())) <= 80
    text = finished.tk("plan", "tiny.toml", "seed=4")
    assert "done         finished at step 30 of 30, but with another spec: --as or --replace\n" in text
    told = json.loads(finished.tk("plan", "tiny.toml", "--json"))
    (stage,) = told.pop("stages")
    assert Plan.model_validate(stage.pop("plan")) == Plan.model_validate(told)
    assert stage == {
        "run": "tiny/pretrain",
        "stage": "pretrain",
        "parent": None,
        "state": "finished",
        "done": "finished at step 30 of 30",
    }
    assert Plan.model_validate(told).steps == 30


def test_colour_is_for_terminals_that_want_it(finished) -> None:
    def on_terminal(**more: str) -> str:
        master, slave = pty.openpty()
        environment = {**finished.environment, "TERM": "xterm", **more}
        command = [sys.executable, "-m", "toolkit", "ls"]
        subprocess.run(command, cwd=finished.folder, env=environment, stdout=slave, check=True)
        os.close(slave)
        text = os.read(master, 65536).decode()
        os.close(master)
        return text

    assert "\x1b[32mfinished\x1b[0m" in on_terminal()
    assert "\x1b" not in on_terminal(NO_COLOR="1")
    assert "\x1b" not in on_terminal(TERM="dumb")
    assert "\x1b" not in finished.tk("ls")
