"""Table M: trackers that are not there, locked, old or damaged, and eight processes on a fresh database."""

import json
import multiprocessing
import os
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from lineupiq.base import ConfigError, IntegrityError
from lineupiq.tracking.spool import Tracked, keep, tracked_run, waiting
from lineupiq.tracking.tracker import _copying, check_database, deliver, sync, track, tracking_uri, try_deliver

RUN = dict(params={"model": "ridge"}, metrics=[("train_loss", 1.0, 0), ("train_loss", 0.5, 1)], start=1000, end=2000)


@pytest.fixture
def blackhole():
    "A server that takes calls and never answers."
    listener = socket.create_server(("127.0.0.1", 0))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return f"http://127.0.0.1:{s.getsockname()[1]}"


@pytest.mark.slow
def test_M_down_a_training_goes_on(cli, table, tmp_path, monkeypatch, blackhole):
    "A closed port and a server that never answers: exit 0, at most ten seconds and the start of a process later, and the run waits."
    from conftest import good_frame

    pytest.importorskip("mlflow")
    about = table(good_frame())
    monkeypatch.setenv("LINEUPIQ_TRACKING_URI", "off")
    began = time.monotonic()
    assert cli("train", "--data", about, "--model", "ridge").code == 0
    usual = time.monotonic() - began
    for uri in (closed_port(), blackhole):
        monkeypatch.setenv("LINEUPIQ_TRACKING_URI", uri)
        had, began = len(waiting()), time.monotonic()
        answer = cli("train", "--data", about, "--model", "ridge")
        added = time.monotonic() - began - usual
        print(f"M-down {uri}: {added:.1f} s longer")
        assert answer.code == 0 and len(waiting()) == had + 1 and added < 13
    monkeypatch.setenv("LINEUPIQ_TRACKING_URI", uri := f"sqlite:///{tmp_path}/ml.db")
    assert cli("track", "status").value["tracker"] == uri
    assert cli("track", "sync").code == 0 and waiting() == [] and cli("track", "sync").code == 0
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.`lineupiq.whole` = 'yes'")
    assert len(runs) == 2 and all(r.info.status == "FINISHED" for r in runs)


@pytest.mark.slow
def test_M2_a_locked_database(tmp_path):
    "Somebody holds the file for half a minute: delivery waits for it; held for longer, the run waits in the spool."
    pytest.importorskip("mlflow")
    uri, file = f"sqlite:///{tmp_path}/ml.db", tmp_path / "ml.db"
    assert track(Tracked("first", **RUN), "demo", uri).state == "delivered"

    def hold(seconds: float) -> threading.Thread:
        ready = threading.Event()

        def body() -> None:
            with sqlite3.connect(file, isolation_level=None) as db:
                db.execute("BEGIN EXCLUSIVE")
                ready.set()
                time.sleep(seconds)
                db.execute("ROLLBACK")

        thread = threading.Thread(target=body)
        thread.start()
        ready.wait()
        return thread

    thread = hold(30)
    began = time.monotonic()
    found = track(Tracked("second", **RUN), "demo", uri)
    print(f"M2: held for 30 s, {found.state} after {time.monotonic() - began:.1f} s {found.reason}")
    thread.join()
    if found.state == "waiting":
        assert [d.state for d in sync(uri)] == ["delivered"]
    thread = hold(12)
    assert try_deliver(keep(Tracked("third", **RUN), "demo"), uri, seconds=6).state == "waiting"
    thread.join()
    assert [d.state for d in sync(uri)] == ["delivered"] and sync(uri) == []
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id], "tags.`lineupiq.whole` = 'yes'")
    assert sorted(r.info.run_name for r in runs) == ["first", "second", "third"]


def deliver_many(uri: str, spool: str, number: int, runs: int, metrics: int, told: str) -> None:
    "A process that delivers runs; the seconds of each run, and of each writing of metrics, are noted."
    from mlflow.tracking import MlflowClient

    os.environ["LINEUPIQ_SPOOL"] = spool
    took, failed, calls, plain = [], [], [], MlflowClient.log_batch

    def timed(*args, **kw):
        began = time.monotonic()
        plain(*args, **kw)
        calls.append(time.monotonic() - began)

    MlflowClient.log_batch = timed
    for k in range(runs):
        path = keep(
            Tracked(f"p{number} r{k}", {"k": str(k)}, [(f"m{j}", float(j), 0) for j in range(metrics)], start=1000, end=2000), "crowd"
        )
        began = time.monotonic()
        try:
            deliver(path, uri)
        except Exception as err:  # counted
            failed.append(f"{type(err).__name__}: {err}"[:200])
        took.append(time.monotonic() - began)
    Path(told).write_text(json.dumps({"took": took, "failed": failed, "calls": calls}))


@pytest.mark.slow
def test_M_conc_eight_processes_on_a_fresh_database(tmp_path, capsys):
    "No process destroys another's tables; every metric arrives."
    pytest.importorskip("mlflow")
    uri, context = f"sqlite:///{tmp_path}/ml.db", multiprocessing.get_context("spawn")
    crowd = [
        context.Process(target=deliver_many, args=(uri, str(tmp_path / f"spool{i}"), i, 20, 20, str(tmp_path / f"told{i}")))
        for i in range(8)
    ]
    for p in crowd:
        p.start()
    for p in crowd:
        p.join(600)
    told = [json.loads((tmp_path / f"told{i}").read_text()) for i in range(8)]
    assert [f for t in told for f in t["failed"]] == []
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("crowd").experiment_id], max_results=1000)
    first, later, calls = (
        [t["took"][0] for t in told],
        sorted(s for t in told for s in t["took"][1:]),
        sorted(s for t in told for s in t["calls"]),
    )
    with capsys.disabled():
        print(
            f"M-conc: {sum(len(r.data.metrics) for r in runs)} of 3200 metrics, {len(runs)} runs; the first run of a process "
            f"{max(first):.1f} s with the tables' layout, "
            f"later ones p50 {later[len(later) // 2]:.2f} s, p99 {later[int(0.99 * len(later))]:.2f} s; a writing of metrics p50 "
            f"{calls[len(calls) // 2]:.3f} s, p99 {calls[int(0.99 * len(calls))]:.2f} s"
        )
    assert len(runs) == 160 and all(len(r.data.metrics) == 20 and r.info.status == "FINISHED" for r in runs)


@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_M_down_is_asked_once_and_shows_no_secret(tmp_path, blackhole, monkeypatch, kind):
    "Of three runs that wait one is tried; what MLflow says of the address has no secret in it."
    pytest.importorskip("mlflow")
    monkeypatch.setattr("lineupiq.tracking.tracker.SECONDS", 4.0)  # three times that
    for k in range(3):
        keep(Tracked(f"r{k}", **RUN), "demo", tmp_path)
    where, lines = (closed_port() if kind == "closed" else blackhole).removeprefix("http://"), []
    began = time.monotonic()
    found = sync(f"http://me:canarypw1@{where}/?token=canarytoken1", tmp_path, show=lines.append)
    assert [d.state for d in found] == ["waiting"] * 3 and len(lines) == 3 and time.monotonic() - began < 20
    assert [d.reason for d in found[1:]] == ["not tried: the tracker did not answer"] * 2 and found[0].reason
    assert "canary" not in str(found) + str(lines)


def test_a_damaged_file_of_the_spool_is_named(tmp_path):
    good = json.loads(keep(Tracked("r", **RUN), "demo", tmp_path / "good").read_text())
    for bad in ([], {}, good | {"format": 2}, good | {"number": "' or '1"}, good | {"run": {"name": 1}}):
        (tmp_path / "x.json").write_text(json.dumps(bad))
        (tmp_path / "x.json.lock").touch()
        with pytest.raises(IntegrityError, match="remove it, or mend it"):
            deliver(tmp_path / "x.json", f"sqlite:///{tmp_path}/ml.db")
        assert not (tmp_path / "x.json.lock").exists() and not (tmp_path / "ml.db").exists()


def test_M4_M5_old_and_damaged_stores(tmp_path, cli):
    for uri in ("mlruns", f"file://{tmp_path}/mlruns"):
        with pytest.raises(ConfigError, match="migrate-filestore"):
            tracking_uri(uri)
    pages = os.urandom(16384)
    (tmp_path / "ml.db").write_bytes(b"SQLite format 3\x00" + pages)
    with pytest.raises(IntegrityError) as err:
        check_database(f"sqlite:///{tmp_path}/ml.db")
    assert err.value.exit_code == 4 and (tmp_path / "ml.db").exists(), "moved aside only on request"


def test_a_run_says_its_rows_its_losses_and_where_its_model_is(cli, table, tmp_path):
    """Of a boosted model the losses are those of the fit that validation stopped, though the model that is kept was trained on more rows
    without any."""
    from conftest import good_frame

    answer = cli("train", "--data", table(good_frame(400, "binary"), "binary"), "--model", "xgboost", "--no-publish")
    assert answer.code == 0, answer.err
    run_dir = Path(answer.value["run_dir"])
    report = json.loads((run_dir / "reports" / "xgboost_report.json").read_text())
    kept = json.loads(next((run_dir / "models").glob("xgboost_*/model/model.json")).read_text())["metrics"]["history"]
    told = tracked_run(run_dir)
    losses = {name: [(v, step) for k, v, step in told.metrics if k == name] for name in ("train_loss", "val_loss")}
    assert "val_loss" not in kept and len(losses["val_loss"]) == len(losses["train_loss"]) == report["training_metrics"]["total_epochs"] > 1
    assert [step for _, step in losses["val_loss"]] == list(range(len(losses["val_loss"]))) and min(losses["val_loss"])[0] == report[
        "training_metrics"
    ]["val_loss"]
    assert (
        (int(told.params["n_train"]), int(told.params["n_val"])) == (report["folds"][-1]["rows_train"], report["folds"][-1]["rows_val"])
        and told.params["seq_length"] == "1"
        and told.params["n_features"] == "2"
    )
    names = {Path(a).name for a in told.artifacts}
    assert {"predictions", "xgboost_report.json"} <= names and any(n.startswith("xgboost_") and n.endswith("_h1") for n in names), names
    assert {"val_accuracy", "test_accuracy", "val_log_loss", "test_log_loss"} <= {k for k, _, _ in told.metrics}


def test_large_artifacts_get_time(tmp_path):
    (tmp_path / "weights").write_bytes(bytes(10_000_000))
    spooled = keep(Tracked("r", **RUN, artifacts=[str(tmp_path / "weights")]), "demo", tmp_path / "spool")
    assert _copying(spooled) == pytest.approx(2.0) and _copying(tmp_path / "nothing.json") == 0
