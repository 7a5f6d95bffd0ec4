"""Which runs a measurement needs, and what its report says of known outcomes."""

from pathlib import Path

import pytest

from toolkit.evals.transfer.design import (
    Design,
    Trial,
    folder_name,
    make_jobs,
    make_spec,
    parse_labels,
    to_toml,
)
from toolkit.evals.transfer.report import Pretraining, make_report, to_json
from toolkit.evals.transfer.results import Outcome, choose_rates
from toolkit.plan.errors import PlanError
from toolkit.spec.load import load_spec
from toolkit.spec.spec import Spec
from toolkit.spec.train import Muon
from toolkit.store.runs import NAME

SPEC = Spec.model_validate(
    {
        "name": "news",
        "seed": 4,
        "parent": "gpt/pretrain",
        "finetune": {
            "topic": {
                "kind": "classify",
                "tune": {"kind": "lora"},
                "pool": "mean",
                "data": {"kind": "files", "path": "rows.jsonl"},
                "optimizer": {"kind": "muon", "lr": 0.01},
            }
        },
    }
)

OPTIMIZER = Muon(kind="muon", lr=0.01)


def design(**changes: object) -> Design:
    fields = {
        "name": "news.transfer",
        "stage": "topic",
        "parent": "gpt/pretrain",
        "labels": (10, 100),
        "total": 100,
        "rates": (0.5, 1.0, 2.0),
        "seeds": (5, 6),
        "tuning_seed": 4,
        "steps": 50,
    }
    return Design(**{**fields, **changes})  # type: ignore[arg-type]


def test_labels_are_shares_or_counts() -> None:
    assert parse_labels("1%,3%,10%,30%,100%", 5000) == (50, 150, 500, 1500, 5000)
    assert parse_labels("100, 50,1%", 5000) == (50, 100)
    assert parse_labels("0.001%", 5000) == (1,)
    for wrong in ("0", "101%", "6000", "many", "-3", "", "nan%", "1e999"):
        with pytest.raises(PlanError, match=r"labels there are|neither a count"):
            parse_labels(wrong, 5000)


def test_both_arms_get_the_same_rates_labels_steps_and_seeds() -> None:
    plan = design()
    tuning = plan.tuning()
    assert len(tuning) == 2 * 2 * 3
    assert {trial.seed for trial in tuning} == {4}
    chosen = dict.fromkeys([(arm, n) for arm in ("parent", "scratch") for n in (10, 100)], 2.0)
    trials = plan.measured(chosen)
    for arm in ("parent", "scratch"):
        assert [(t.labels, t.seed) for t in trials if t.arm == arm] == [(10, 5), (10, 6), (100, 5), (100, 6)]
    assert design(rates=(1.0,)).tuning() == []
    names = [plan.run_stage(trial) for trial in (*tuning, *trials)]
    assert len(set(names)) == len(names)
    long = design(stage="a" * 64).run_stage(Trial("scratch", 10**9, 0.3, 2**40))
    assert all(NAME.fullmatch(name) and "." not in name for name in (*names, long))


def test_a_trial_is_a_spec_that_runs_by_itself(tmp_path: Path) -> None:
    plan = design()
    for trial in (Trial("parent", 10, 2.0, 5), Trial("scratch", 100, 1.0, 6)):
        made = make_spec(SPEC, plan, trial, OPTIMIZER)
        (section,) = made.finetune.values()
        assert section.start == trial.arm
        assert section.data.limit == (10 if trial.labels == 10 else None)
        assert section.tune.kind == ("lora" if trial.arm == "parent" else "full")
        assert section.optimizer.lr == 0.01 * trial.rate
        assert section.optimizer.embedding_lr == 0.01 * trial.rate
        assert (str(section.duration), made.seed) == ("50 steps", trial.seed)
        path = tmp_path / "trial.toml"
        path.write_text(to_toml(made))
        assert load_spec(path).spec == made
    (job,) = make_jobs(SPEC, plan, [Trial("parent", 10, 2.0, 5)], tmp_path, {"parent": OPTIMIZER}, keep=False)
    assert (job.stage, job.quiet, job.keep_weights) == ("topic-n10-parent-x2-s5", True, False)


def test_from_scratch_there_is_no_head_to_ask() -> None:
    fields = SPEC.model_dump(mode="json", exclude_unset=True)
    fields["finetune"]["topic"] |= {"tune": {"kind": "head"}, "pool": "surprisal"}
    spec = Spec.model_validate(fields)
    for arm, tune, pool in (("parent", "head", "surprisal"), ("scratch", "full", None)):
        made = make_spec(spec, design(), Trial(arm, 10, 1.0, 5), OPTIMIZER)  # type: ignore[arg-type]
        (section,) = made.finetune.values()
        assert (section.tune.kind, section.pool) == (tune, pool)
        assert Spec.model_validate(made.model_dump(mode="json", exclude_unset=True)) == made


def test_the_folder_has_a_name_that_can_be_one() -> None:
    assert folder_name(SPEC) == "news.transfer"
    assert NAME.fullmatch(folder_name(SPEC.model_copy(update={"name": "a" * 64})))
    with pytest.raises(PlanError, match="can't name a run"):
        folder_name(SPEC, "A/b")


def outcome(arm: str, labels: int, rate: float, seed: int, score: float) -> Outcome:
    curve = tuple((flops, score * flops / 100) for flops in (25.0, 50.0, 100.0))
    trial = Trial(arm, labels, rate, seed)  # type: ignore[arg-type]
    return Outcome(trial, "", "val/accuracy", True, score, 100.0, 1.0, curve)


def test_the_rate_that_scores_best_is_chosen_of_equals_the_smaller() -> None:
    scores = {0.5: 0.4, 1.0: 0.6, 2.0: 0.6}
    found = [
        outcome(a, n, r, 4, s) for a in ("parent", "scratch") for n in (10, 100) for r, s in scores.items()
    ]
    assert set(choose_rates(design(), found).values()) == {1.0}
    with pytest.raises(PlanError, match="no rate works for 100 labels from scratch"):
        choose_rates(design(), found[:9])


def test_a_report_of_known_outcomes() -> None:
    plan = design(rates=(1.0,))
    scores = {("parent", 10): (0.6, 0.62), ("scratch", 10): (0.3, 0.32), ("parent", 100): (0.8, 0.82)}
    scores["scratch", 100] = (0.9, 0.92)
    found = [
        outcome(arm, n, 1.0, seed, score)
        for (arm, n), pair in scores.items()
        for seed, score in zip(plan.seeds, pair, strict=True)
    ]
    chosen = dict.fromkeys(scores, 1.0)
    report = make_report(plan, chosen, [], found, Pretraining(1000.0, 60.0), failed=["x"])
    few, many = report.rows
    assert few.gain == pytest.approx(0.3)
    # From scratch: 0.31 at 10 and 0.91 at 100, so 0.61 half way over the logarithm.
    assert few.labels_from_scratch.value == pytest.approx(10**1.5)
    assert few.labels_saved == pytest.approx(10**1.5 - 10)
    # The parent's mean curve passes 0.31 between 50 and 100 FLOPs: 100 * 0.31 / 0.61.
    assert few.compute["parent"].value == pytest.approx(100 * 0.31 / 0.61)
    assert few.compute["scratch"].value == pytest.approx(100)
    assert few.pays_back_after == 21
    assert many.gain == pytest.approx(-0.1)
    assert many.pays_back_after is None
    text = " ".join(report.notes)
    assert "1 runs failed" in text
    assert "one pretraining" in text
    fields = to_json(report)
    assert fields["rows"][0]["labels_from_scratch"]["bound"] == "at"
    assert fields["rows"][0]["parent"]["n"] == 2


def test_overlapping_bars_are_said() -> None:
    plan = design(rates=(1.0,), labels=(10,))
    found = [outcome("parent", 10, 1.0, s, v) for s, v in ((5, 0.5), (6, 0.9))]
    found += [outcome("scratch", 10, 1.0, s, v) for s, v in ((5, 0.4), (6, 0.8))]
    report = make_report(
        plan, {("parent", 10): 1.0, ("scratch", 10): 1.0}, [], found, Pretraining(None, None)
    )
    assert report.rows[0].apart is False
    assert any("overlap" in note for note in report.notes)
    assert any("not known" in note for note in report.notes)
