"""A retraining from its reason to production: a better challenger is promoted, decay is seen, a killed one goes on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import good_frame

from lineupiq.base import Busy, ConfigError, IntegrityError
from lineupiq.core.files import one_at_a_time
from lineupiq.store.layout import Store, text_of
from lineupiq.workflows import train as commands
from lineupiq.workflows.requests import TrainRequest
from lineupiq.workflows.later_requests import RetrainRequest
from lineupiq.workflows.retrain import run_retrain


@pytest.fixture
def live(table, in_process, tmp_path, monkeypatch):
    "A model in production that learned the wrong sign, and newer rows in which the truth shows."
    monkeypatch.setenv("LINEUPIQ_LEDGER", str(tmp_path / "looks.jsonl"))
    monkeypatch.chdir(tmp_path)
    frame = good_frame(1600)
    frame["y"] = frame["x1"] + 0.5 * frame["x2"] + 3.2 * np.random.default_rng(1).normal(size=len(frame))
    wrong = frame.head(800).assign(x1=-frame["x1"])
    about = table(wrong)
    [run] = commands.run_training(
        TrainRequest.from_mapping({"data": str(about), "model": "ridge", "output": tmp_path / "runs", "val": 0.2, "test_share": 0.3})
    )
    from lineupiq.store.versions import promote

    promote(Store(), run.published["name"], force=True, reason="a trial")
    newer = tmp_path / "newer.csv"
    frame.to_csv(newer, index=False)
    (tmp_path / "gate.yaml").write_text("window: 365D\nmin_rows: 50\n")
    return RetrainRequest(run.published["name"], path=(str(newer),), gate=tmp_path / "gate.yaml")


def test_a_better_challenger_is_promoted_once(live, tmp_path):
    told = run_retrain(replace(live, decay=0.1))
    assert told["status"] == "promoted" and told["exit_code"] == 0, told
    assert told["reasons"][0]["condition"] == "decay" and told["reasons"][0]["holds"] is True
    store = Store()
    assert store.linked(live.name) == told["train"]["version"] == "1.1.0"
    state = json.loads(Path(told["state"]).read_text())
    assert list(state["steps"]) == ["check", "train", "validate", "promote"] and state["status"] == "promoted"
    again = run_retrain(replace(live, schedule="7D"))
    assert again["status"] == "not needed" and len(store.versions(live.name)) == 2


@pytest.mark.parametrize("step", ["_train_step", "_validate_step", "_promote_step"])
def test_a_killed_retraining_goes_on_at_its_step(live, monkeypatch, step):
    from lineupiq.workflows import retrain as here

    true = getattr(here, step)

    def killed(*a):
        if step != "_promote_step":  # the work was done, and the power went before it was written down
            true(*a)
        raise KeyboardInterrupt

    monkeypatch.setattr(here, step, killed)
    with pytest.raises(KeyboardInterrupt):
        run_retrain(live)
    monkeypatch.setattr(here, step, true)
    told = run_retrain(live)
    assert told["resumed"] and told["status"] == "promoted" and len(Store().versions(live.name)) == 2


def test_two_at_once_and_a_dry_run(live, tmp_path):
    folder = Path("experiments/retrain") / live.name
    with one_at_a_time(folder / ".lock", "it is being retrained"), pytest.raises(Busy):
        run_retrain(live)
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    plan = run_retrain(live, dry_run=True)
    assert plan["status"] == "would train" and plan["plan"]["flags"]["path"] and sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_too_few_rows_for_the_gate_is_not_a_pass(live):
    strict = Path("strict.yaml")
    strict.write_text("min_rows: 100000\n")
    told = run_retrain(replace(live, gate=strict))
    assert told["exit_code"] == 3 and told["validate"]["verdict"] == "UNJUDGED" and Store().linked(live.name) == "1.0.0"


def test_requests_that_a_schedule_must_not_keep(live, tmp_path):
    "A typo is said at once, not in the week in which something is due."
    for wrong in (
        {"schedule": "7"},
        {"schedule": "soon"},
        {"seed": -1},
        {"data": "nosuch"},
        {"path": ("/nonexist",)},
        {"watch": "nope.yaml"},
    ):
        with pytest.raises(ConfigError):
            RetrainRequest.from_mapping({"name": live.name, **wrong})


def test_a_version_that_is_gone_and_a_damaged_old_one(live):
    "An open retraining whose version was pruned trains anew; another version's damage is not its own."
    store, name = Store(), live.name
    old = store.folder(name, text_of(store.versions(name)[0]))
    run_retrain(live)
    folder = Path("experiments/retrain") / name
    state = json.loads((folder / "state.json").read_text())
    gone = state["steps"]["train"]["version"]
    state["status"], state["steps"]["train"]["version"] = "open", "77.0.0"
    (folder / "state.json").write_text(json.dumps(state))
    told = run_retrain(live)
    assert told["train"]["version"] not in ("77.0.0", None) and store.versions(name) and gone
    assert old.exists()
    (folder / "state.json").write_text("3")
    with pytest.raises(IntegrityError):
        run_retrain(live)


def test_a_test_too_short_for_a_verdict_is_made_longer(table, in_process, tmp_path, monkeypatch):
    "The version in production kept thirty days; ninety are kept when it is trained anew on newer rows, and it says what they cost."
    monkeypatch.setenv("LINEUPIQ_LEDGER", str(tmp_path / "looks.jsonl"))
    monkeypatch.chdir(tmp_path)
    from lineupiq.store.versions import promote

    frame = good_frame(1600)
    frame.to_csv(tmp_path / "newer.csv", index=False)
    [run] = commands.run_training(
        TrainRequest.from_mapping({"data": str(table(frame.head(1200))), "model": "ridge", "output": tmp_path / "runs", "test_share": 0.05})
    )
    promote(Store(), run.published["name"], force=True, reason="a trial")
    said = []
    told = run_retrain(RetrainRequest(run.published["name"], path=(str(tmp_path / "newer.csv"),)), show=said.append)
    assert (
        told["validate"]["window"]["days"] >= 90
        and told["validate"]["verdict"] in ("PROMOTE", "REJECT", "INCONCLUSIVE")
        and told["exit_code"] in (0, 5)
    )
    assert any("are kept for the verdict instead of 5%" in line and "rows do not train for it" in line for line in said)
