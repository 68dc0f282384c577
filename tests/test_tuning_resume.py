"""Searches that are killed: exactly as many finished trials as were asked for, nothing running, no number twice."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

KILLS = int(os.environ.get("LINEUPIQ_TEST_KILLS", 80))
WORKER = """
import os, random, signal, sys, time
import numpy as np, pandas as pd
from lineupiq.base import ModelConfig, TrainingMetrics
from lineupiq.core.arrays import ArrayModel
from lineupiq.core.space import Float, Space
from lineupiq.data.panel import make_panel
from lineupiq.registry import ModelRegistry
from lineupiq.tuning.objective import development_panel
from lineupiq.tuning.search import tune_model
from lineupiq.tuning.settings import SearchSettings
from dataclasses import dataclass


@dataclass
class SayConfig(ModelConfig):
    x: float = 0.0


class Say(ArrayModel):
    Config = SayConfig
    def _fit(self, X, y, X_val, y_val, w): self.native = self.config.x; time.sleep(0.002); return TrainingMetrics(0.0)
    def _predict(self, X): return np.full(len(X), self.native)
    def _save_native(self, folder): ...
    def _load_native(self, folder): ...


toys = ModelRegistry(); toys.register("say", family="toy")(Say)
n = 120
frame = pd.DataFrame({"symbol": "a", "time": pd.date_range("2020", periods=n), "a": np.random.default_rng(0).normal(size=n), "label": .5 + .1 * np.where(np.arange(n) % 2, 1, -1)})
frame["label_end"] = frame["time"] + pd.Timedelta(days=1)
dev = development_panel(make_panel(frame, ["a"], task="regression", name="half"))
def run(callback=None):
    return tune_model(dev, "say", SearchSettings(n_trials=int(sys.argv[2]), storage=sys.argv[1], study="killed", space=Space({"x": Float(0, 1)}), n_splits=2, sampler="random", seed=5), callback=callback, among=toys)


rng, lived = random.Random(7), 0
for k in range(int(sys.argv[3])):  # children that begin with everything imported, and are killed at random times
    hear, tell = os.pipe()
    child = os.fork()
    if not child:
        run(lambda facts: os.write(tell, b"."))
        os._exit(0)
    if k % 5:  # four of five are among their trials by then; the fifth may be killed while the study is opened
        os.read(hear, 1)
    time.sleep(rng.uniform(0, 0.3))
    os.kill(child, signal.SIGKILL)
    lived += os.waitpid(child, 0)[1] == 0
    os.close(hear), os.close(tell)
print("ended by themselves:", lived, flush=True)
if sys.argv[3] == "0":
    print("done", run().counts, flush=True)
"""


def start(url: str, n: int, folder: Path, kills: int = 0) -> subprocess.Popen:
    "A process that searches, or one whose children do and are killed."
    script = folder / "worker.py"
    script.write_text(WORKER)
    return subprocess.Popen(
        [sys.executable, str(script), url, str(n), str(kills)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )


def finish(url: str, n: int, folder: Path) -> str:
    "Run to the end."
    p = start(url, n, folder)
    said, err = p.communicate(timeout=900)
    assert p.returncode == 0, err[-2000:]
    return said


def check(url: str, n: int, ended: tuple[str, ...] = ("lost", "surplus")) -> dict:
    "N finished, none running, numbers once each and without gaps, the same proposals as without kills."
    import optuna

    trials = optuna.load_study(study_name="killed", storage=url).trials
    states = [t.state.name for t in trials]
    assert states.count("COMPLETE") + states.count("PRUNED") == n, {s: states.count(s) for s in set(states)}
    assert states.count("RUNNING") == states.count("WAITING") == 0
    assert sorted(t.number for t in trials) == list(range(len(trials)))
    assert {t.user_attrs.get("kind", "lost") for t in trials if t.state.name == "FAIL"} <= set(ended)
    return {s: states.count(s) for s in sorted(set(states))}


@pytest.fixture
def postgres():
    "A throw-away server; skipped where there are no binaries."
    found = [p for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))] or (
        [Path(shutil.which("initdb"))] if shutil.which("initdb") else []
    )
    pytest.importorskip("psycopg")
    if not found:
        pytest.skip("no PostgreSQL server here")
    binaries, home = found[-1].parent, Path(tempfile.mkdtemp(prefix="lineupiq-pg-"))  # not in pytest's folders, which later runs clear away
    data = home / "pg"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    data.mkdir()
    as_user = []
    if os.getuid() == 0:
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(data, "postgres", "postgres")
        for folder in (data, *data.parents):
            if folder != Path("/") and folder != Path("/tmp"):
                folder.chmod(folder.stat().st_mode | 0o011)
    run = lambda *a: subprocess.run([*as_user, *a], check=True, capture_output=True, cwd="/")  # noqa: E731
    run(str(binaries / "initdb"), "-D", str(data), "-A", "trust", "-N", "-U", "postgres")
    run(
        str(binaries / "pg_ctl"),
        "-D",
        str(data),
        "-w",
        "-l",
        str(data / "log"),
        "-o",
        f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={data} -c fsync=off",
        "start",
    )
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(home, ignore_errors=True)


def kill_and_finish(url: str, folder: Path, kills: int, n: int) -> dict:
    "Kill a search at random times, then let it end."
    p = start(url, n, folder, kills)
    said, err = p.communicate(timeout=1800)
    assert p.returncode == 0, err[-2000:]
    finish(url, n, folder)
    found = check(url, n)
    assert "ended by themselves: 0" in said, "the search was over before it could be killed: raise n"
    assert kills < 20 or found.get("FAIL", 0) >= kills // 10, "the kills missed the trials"
    return found | {"kills": kills}


@pytest.mark.slow
def test_killed_on_sqlite(tmp_path, capsys):
    "80 kills over a file."
    found = kill_and_finish(f"sqlite:///{tmp_path}/s.db", tmp_path, KILLS, KILLS * 12)
    import sqlite3

    assert sqlite3.connect(tmp_path / "s.db").execute("pragma integrity_check").fetchone() == ("ok",)
    with capsys.disabled():
        print("sqlite:", found)


@pytest.mark.slow
def test_killed_on_postgres(tmp_path, postgres, capsys):
    "80 kills over a server."
    found = kill_and_finish(postgres, tmp_path, KILLS, KILLS * 12)
    with capsys.disabled():
        print("postgresql:", found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_eight_workers(tmp_path, kind, request, capsys):
    "Eight processes that begin at once on a fresh storage share 160 trials."
    url = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else request.getfixturevalue("postgres")
    workers = [start(url, 160, tmp_path) for _ in range(8)]
    for p in workers:
        _, err = p.communicate(timeout=500)
        assert p.returncode == 0, err[-1500:]
    found = check(url, 160)
    with capsys.disabled():
        print(f"8 workers, {kind}:", found)


def test_killed_a_few_times(tmp_path):
    "The same with two kills, for every commit."
    kill_and_finish(f"sqlite:///{tmp_path}/s.db", tmp_path, 5, 60)


def test_parts_are_the_whole(tmp_path):
    "12 + 13 trials in two processes are the 25 of one."
    import optuna

    a, b = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    finish(a, 25, tmp_path)
    finish(b, 12, tmp_path)
    finish(b, 25, tmp_path)
    one, two = ([(t.number, t.params, t.value) for t in optuna.load_study(study_name="killed", storage=url).trials] for url in (a, b))
    assert one == two


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_signals(tmp_path, sent):
    "Ctrl-C and SIGTERM on the command: the trial under way has failed, the others are kept, the rerun ends with N."
    import optuna

    url = f"sqlite:///{tmp_path}/s.db"
    code = "import lineupiq.cli.tune; from lineupiq.cli.program import main; main()"
    args = [
        sys.executable,
        "-c",
        code,
        "tune",
        "--model",
        "logistic",
        "--data",
        "sp500",
        "--horizon",
        "20",
        "--n-splits",
        "3",
        "--storage",
        url,
        "--study",
        "killed",
        "--output",
        str(tmp_path / "out"),
        "--json",
    ]
    p = subprocess.Popen([*args, "--n-trials", "400"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    for line in p.stderr:
        if '"event": "trial"' in line:
            break
    p.send_signal(sent)
    p.communicate(timeout=120)
    assert p.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143}[sent]
    states = [t.state.name for t in optuna.load_study(study_name="killed", storage=url).trials]
    assert "RUNNING" not in states and states.count("COMPLETE") >= 1
    had = states.count("COMPLETE") + states.count("PRUNED")
    done = subprocess.run([*args, "--n-trials", str(had + 1)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-800:]
    check(url, had + 1, ("lost", "surplus", "stopped"))  # a signal that a trial lives to see is written down as such
