"""`tk run` and what is done with a run, end to end."""

import json
import shutil
import time

from toolkit.store.events import read_events
from toolkit.store.runs import RunFolder
from toolkit.store.status import read_status


def test_a_run_is_printed_and_kept(finished) -> None:
    run = RunFolder(finished.runs, "tiny")
    assert run.spec.read_bytes() == finished.spec.read_bytes()
    assert run.console.read_text() in finished.printed
    assert "finished     tiny/pretrain at step 30: val/loss " in finished.printed
    kinds = [event["kind"] for event in read_events(run) if event["kind"] != "exported"]  # by tests of export
    assert kinds[-1] == "finished"


def test_a_finished_run_is_left_alone(finished) -> None:
    run = RunFolder(finished.runs, "tiny")
    before = run.events.read_bytes()
    text = finished.tk("run", "tiny.toml", 'run.checkpoint_every="1 minute"')
    assert text.startswith("tiny/pretrain is finished: step 30  val/")
    assert run.events.read_bytes() == before


def test_another_spec_under_a_name_is_refused_with_two_ways_on(finished) -> None:
    changes = ("train.duration=40 steps", "model.d_ff=64", "description=other", "run.micro_batch=1")
    assert finished.tk("run", "tiny.toml", *changes, status=2) == (
        "error: tiny/pretrain was begun with another spec:\n"
        "* model.d_ff: open -> 64\n"
        '* train.duration: "30 steps" -> "40 steps"\n'
        "Two ways on:\n"
        "  --as NEW_NAME  runs this one beside it\n"
        "  --replace      sets the old run aside and begins again\n"
    )


def test_a_run_that_died_before_its_plan_is_known_by_its_spec(finished, desk) -> None:
    shutil.copytree(finished.runs, desk.runs)
    RunFolder(desk.runs, "tiny").plan.unlink()
    arguments = ("run", "tiny.toml", f"data.sources.0.path={finished.folder / 'texts'}")
    assert "is finished" in desk.tk(*arguments)
    assert "was begun with another spec" in desk.tk(*arguments, "seed=4", status=2)


def test_replace_sets_aside_and_as_names_the_run(finished, desk) -> None:
    shutil.copytree(finished.runs / "tiny", desk.runs / "mine")
    run = RunFolder(desk.runs, "mine")
    first = run.events.read_bytes()
    text = desk.tk("run", "tiny.toml", "train.duration=3 steps", "--as", "mine", "--replace")
    (aside,) = (desk.runs / "mine").glob(".replaced-pretrain-*")
    assert text.startswith(f"mine/pretrain is set aside as runs/mine/{aside.name}\n")
    assert (aside / "events.jsonl").read_bytes() == first
    status = read_status(run)
    assert status is not None
    assert (status.state, status.step) == ("finished", 3)
    assert json.loads(desk.tk("show", "mine", "--json"))["plan"]["name"] == "mine"
    assert len(json.loads(desk.tk("ls", "--json"))) == 1


def test_rows_that_are_not_there_are_told_before_the_pretraining(desk) -> None:
    spec = desk.spec.read_text()
    rows = 'data = { kind = "files", path = "nowhere.jsonl" }'
    desk.spec.write_text(f'{spec}\n[finetune.topic]\nkind = "classify"\n{rows}\n')
    assert "nowhere.jsonl: no such file or folder" in desk.tk("run", "tiny.toml", status=2)
    assert not RunFolder(desk.runs, "tiny").exists()


def test_a_running_run_saves_and_stops_when_asked(desk) -> None:
    run = RunFolder(desk.runs, "tiny")
    process = desk.start("run", "tiny.toml", "train.duration=1M steps", "run.evaluate_every=1M steps")
    end = time.monotonic() + 60
    while not (status := read_status(run)) or status.step == 0:
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    saved = desk.tk("checkpoint", "tiny", "--wait")
    assert saved.startswith("tiny/pretrain saved step ")
    assert process.poll() is None
    stopped = desk.tk("stop", "tiny", "--wait")
    assert stopped.startswith("tiny/pretrain is stopped at step ")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 75
    assert out.rstrip().endswith("the work is saved.")
    assert int(saved.split()[3].rstrip(":")) <= int(stopped.split()[-1].rstrip("."))
    text = "tiny/pretrain is not running: it is stopped. Nothing was asked of it.\n"
    assert desk.tk("stop", "tiny", "--wait") == text
    assert desk.tk("checkpoint", "tiny", status=1) == text
