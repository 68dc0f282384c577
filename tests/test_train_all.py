"""Every target of a source: a round that is killed goes on, and what is done stays done."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import good_frame

from lineupiq.workflows.later_requests import TrainAllRequest
from lineupiq.workflows.train_all import run_train_all, status_text


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for name, value in (
        ("LINEUPIQ_MODELS_DIR", tmp_path / "models"),
        ("LINEUPIQ_LEDGER", tmp_path / "ledger.jsonl"),
        ("LINEUPIQ_SPOOL", tmp_path / "spool"),
        ("LINEUPIQ_TRACKING_URI", "off"),
    ):
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_killed_round_goes_on_and_trains_nothing_twice(place):
    asked = ["train-all", "--data", "noise-bars", "--horizon", "3,5,20", "--model", "logistic", "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lineupiq", *asked],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"LINEUPIQ_NUM_THREADS": "2"},
    )
    done, until = place / "experiments" / "train_all" / "noise_bars" / "targets", time.monotonic() + 240
    while not list(done.glob("*.json")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {p.name: json.loads(p.read_text())["run_dir"] for p in done.glob("*.json")}
    assert kept, "one target was done when the round was killed"
    time.sleep(2)  # trainings notice that nobody waits for them
    lines = []
    found = run_train_all(
        TrainAllRequest.from_mapping({"data": "noise-bars", "horizon": "3,5,20", "model": "logistic", "jobs": 2}), lines.append
    )
    assert any(f"3 targets of noise-bars, {len(kept)} of them done before" in line for line in lines), lines
    assert [r["state"] for r in found.rows] == ["done"] * 3 and found.exit_code == 0, status_text(found)
    assert {f"{r['key']}.json": r["run_dir"] for r in found.rows}.items() >= kept.items()
    told = json.loads((found.folder / "status.json").read_text())
    assert [t["target"] for t in told["targets"]] == ["h3", "h5", "h20"] and all(t["published"] for t in told["targets"])


def test_a_process_that_dies_is_a_target_that_failed(place, monkeypatch):
    import lineupiq.workflows.beside as here

    monkeypatch.setattr(here, "CHILD", "import os; print('gone', flush=True); os._exit(9)")
    found = run_train_all(TrainAllRequest.from_mapping({"data": "noise-bars", "model": "logistic", "jobs": 2}))
    assert [r["state"] for r in found.rows] == ["failed", "failed"] and found.exit_code == 8
    assert "exit code 9" in found.rows[0]["error"] and "gone" in (found.folder / "status.html").read_text()


def test_the_job_trains_again_what_has_grown(cli, table, place):
    """The job, and the command after it: the same rows are left alone, a table that has grown is trained again, and rows that cannot be
    read change nothing."""
    frame = good_frame(300)
    about = table(frame[:260], name="shops", label_lag="20h")
    said = ["train-all", "--data", about, "--model", "ridge"]
    job = cli("job", "train_all", "-p", f"data={about}", "-p", "model=ridge")
    assert job.code == 0, job.err
    [done] = (place / "experiments" / "train_all").glob("*/targets/*.json")
    first = json.loads(done.read_text())
    assert first["state"] == "done" and first["published"]
    again = cli(*said)
    assert again.code == 0 and "so it is not trained again" in again.out + again.err
    assert json.loads(done.read_text()) == first
    frame.to_csv(place / "rows.csv", index=False)
    grown = cli(*said)
    assert grown.code == 0 and "260 known outcomes" in grown.out + grown.err and "now 300" in grown.out + grown.err
    assert (newer := json.loads(done.read_text()))["run_dir"] != first["run_dir"]
    (place / "rows.csv").unlink()
    assert cli(*said).code in (2, 3) and json.loads(done.read_text()) == newer
