"""A run that was killed goes on where it was, and ends as if nobody had killed it."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import Answer, good_frame

from lineupiq.core.files import load_json

GRU = {
    "model": {"name": "gru"},
    "hyperparameters": {"hidden_size": 4, "num_layers": 1, "seq_len": 3, "early_stopping": False, "epochs": 40, "n_jobs": 1},
}
BOOSTER = {"model": {"name": "lightgbm"}, "hyperparameters": {"num_boost_round": 20, "n_jobs": 1}}


def contents(folder: Path) -> dict[str, str]:
    "Every file below a folder, by its digest."
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def predictions(run: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(run / "predictions" / f"{part}_predictions.parquet") for part in ("val", "test")])


def said(answer: Answer, code: int, kind: str, *words: str) -> None:
    "A refusal; unlike elsewhere, there are models, those of the run."
    assert (answer.code, answer.error["type"]) == (code, kind), (answer.code, answer.err[-500:])
    assert not [w for w in words if w not in answer.err], answer.err


@pytest.fixture
def stopped(table, cli, tmp_path, monkeypatch):
    "A run that was stopped before it was scored."
    from lineupiq.training import runs

    about, score = table(good_frame()), runs.score_set
    with monkeypatch.context() as broken:
        broken.setattr(runs, "score_set", lambda *asked: (_ for _ in ()).throw(KeyboardInterrupt))
        assert cli("train", "--data", about, "--model", "ridge", "--seed", 7, "--no-publish", "--no-mlflow").code == 130
    assert runs.score_set is score
    [run] = (tmp_path / "out").iterdir()
    return run


def test_the_request_is_recorded_before_the_first_fit(table, cli, tmp_path, monkeypatch):
    from lineupiq.training import runs

    seen = []
    monkeypatch.setattr(
        runs,
        "run_model",
        lambda *asked, **more: (
            seen.append(yaml.safe_load(next((tmp_path / "out").glob("*/config.yaml")).read_text())),
            (_ for _ in ()).throw(KeyboardInterrupt),
        )[1],
    )
    cli("train", "--data", table(good_frame()), "--model", "ridge", "--seed", 7, "--no-mlflow")
    assert len(seen) == 1 and seen[0]["request"] | {"output": "", "data": ""} == {
        "data": "",
        "model": ["ridge"],
        "output": "",
        "seed": 7,
        "mlflow": False,
    }
    assert seen[0]["given"]["ridge"] == {"random_seed": 7}


def test_what_contradicts_the_record_is_refused(stopped, cli):
    before = contents(stopped)
    said(
        cli("train", "--resume", stopped.name, "--seed", 8, "--model", "gru"),
        2,
        "ConfigError",
        "--seed: 8 contradicts",
        "asked for 7",
        "--model: gru contradicts",
    )
    said(
        cli("train", "--resume", stopped, "--walk-forward", "2021-02-01:2021-03-01"),
        2,
        "ConfigError",
        "--walk-forward: 2021-02-01:2021-03-01 contradicts",
    )
    said(cli("train", "--resume", stopped.name, output=stopped.parent.parent / "elsewhere"), 2, "ConfigError", "no such run")
    assert contents(stopped) == before


def test_what_repeats_the_record_is_no_contradiction(stopped, cli):
    answer = cli(
        "train", "--resume", stopped.name, "--seed", 7, "--model", "ridge", "--no-publish", "--data", stopped.parent.parent / "table.yaml"
    )
    assert answer.code == 0 and Path(answer.value["run_dir"]) == stopped and load_json(stopped / "status.json")["status"] == "done"


def test_an_unknown_run_names_the_nearest(stopped, cli):
    said(cli("train", "--resume", stopped.name + "x"), 2, "ConfigError", "no such run", f"did you mean '{stopped.name}'")


def test_a_run_that_has_ended_is_not_touched(stopped, cli):
    assert cli("train", "--resume", stopped).code == 0
    before = contents(stopped.parent)
    again = cli("train", "--resume", stopped)
    assert again.code == 0 and again.value["status"] == "done" and again.value["run_id"] == stopped.name
    assert contents(stopped.parent) == before


def test_other_rows_are_refused(stopped, cli, table):
    table(good_frame(seed=1))
    said(cli("train", "--resume", stopped), 3, "DataError", "changed since the run began")
    table(good_frame())
    assert cli("train", "--resume", stopped).code == 0


def test_a_run_that_is_under_way_is_left_alone(stopped, cli):
    from lineupiq.training.unfinished import one_process

    with one_process(stopped):
        said(cli("train", "--resume", stopped), 6, "Busy", "under way in another process")


def test_a_look_is_written_once(stopped, cli, monkeypatch):
    "Stopped after the look, before the pages."
    from lineupiq.training import runs

    with monkeypatch.context() as broken:
        broken.setattr(runs, "_write_pages", lambda *asked: (_ for _ in ()).throw(KeyboardInterrupt))
        assert cli("train", "--resume", stopped).code == 130
    answer = cli("train", "--resume", stopped)
    assert answer.code == 0 and answer.value["looks"] == {"before": [], "sentence": ""}


KILLED = """
import os, signal
from lineupiq.nets.loop import TrainingRun
from lineupiq.workflows.requests import TrainRequest
from lineupiq.workflows.train import run_training
keep = TrainingRun.to_bytes
def killed(self, done=False):
    if self.facts["epoch"] == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return keep(self, done)
TrainingRun.to_bytes = killed
run_training(TrainRequest.from_mapping({"data": "table.yaml", "model": "gru", "config": "gru.yaml", "output": "out", "publish": False, "mlflow": False}).in_process())
"""


def test_a_killed_network_goes_on_from_its_checkpoint(table, cli, tmp_path, monkeypatch):
    "SIGKILL in its sixth epoch, and the command goes on at the fifth."
    from lineupiq.nets.loop import TrainingRun

    about, config = table(good_frame()), tmp_path / "gru.yaml"
    config.write_text(yaml.safe_dump(GRU))
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    [run] = (tmp_path / "out").iterdir()
    assert not (run / "status.json").exists()
    asked = ["--data", about, "--model", "gru", "--no-publish", "--no-mlflow"]
    config.write_text("model: {name: gru}\nhyperparameters: {hidden_size: 8}\n")  # is not read again
    monkeypatch.chdir(tmp_path)  # where the command was given: its paths mean the same files
    epochs, note = [], TrainingRun.note
    with monkeypatch.context() as watched:
        watched.setattr(TrainingRun, "note", lambda self, *told: epochs.append(self.facts["epoch"]) or note(self, *told))
        assert cli("train", "--resume", run.name, *asked, "--config", config).code == 0
    assert epochs[0] == 5
    config.write_text(yaml.safe_dump(GRU))
    whole = cli("train", *asked, "--config", config, output=tmp_path / "whole")
    pd.testing.assert_frame_equal(predictions(run), predictions(Path(whole.value["run_dir"])), check_exact=True)
    assert {p.name for p in run.iterdir()} == {p.name for p in Path(whole.value["run_dir"]).iterdir()}


def lineupiq(*argv, cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "lineupiq", *map(str, argv)],
        cwd=cwd,
        env={**os.environ, "LINEUPIQ_LEDGER": str(cwd / "ledger")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_training_ends_like_one_that_was_not(table, tmp_path):
    "SIGKILL while the network trains; its worker dies with it, and the command goes on from the checkpoint."
    about = table(good_frame())
    for name, config in (("gru", GRU), ("booster", BOOSTER)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    asked = [
        "--data",
        about.name,
        "--model",
        "ridge,gru,lightgbm",
        "--config",
        "gru.yaml",
        "--config",
        "booster.yaml",
        "--no-mlflow",
        "--no-publish",
    ]
    running = lineupiq("train", *asked, "--output", "killed", cwd=tmp_path)
    while not (found := list(tmp_path.glob("killed/*/checkpoints/gru_*.safetensors"))):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    run = found[0].parent.parent
    assert (
        not (run / "status.json").exists()
        and (run / ".unfinished" / "ridge.json").exists()
        and not (run / ".unfinished" / "gru.json").exists()
    )
    (tmp_path / "gru.yaml").write_text("model: {name: gru}\nhyperparameters: {hidden_size: 8}\n")  # is not read again
    going = lineupiq("train", "--resume", run.name, "--output", "killed", cwd=tmp_path)
    told, errors = going.communicate()
    assert going.returncode == 0, errors
    assert "done before: ridge; to do: gru (from its checkpoint), lightgbm" in told
    (tmp_path / "gru.yaml").write_text(yaml.safe_dump(GRU))
    whole = lineupiq("train", *asked, "--output", "whole", cwd=tmp_path)
    assert whole.communicate() and whole.returncode == 0
    [other] = (tmp_path / "whole").iterdir()
    pd.testing.assert_frame_equal(predictions(run), predictions(other), check_exact=True)
    assert {p.name for p in run.iterdir()} == {p.name for p in other.iterdir()}
