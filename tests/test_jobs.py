"""Jobs that fail, hang, are killed and stopped: what a schedule sees of them, and what they leave behind. Table J of the faults, J-term and
N-leak."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import psutil
import pytest

from lineupiq.base import Busy, ConfigError
from lineupiq.core.files import load_json
from lineupiq.jobs import runner as jobs
from lineupiq.jobs.parameters import JOBS, job_notebook, parameters_of
from lineupiq.jobs.runner import job_lock, run_job, sweep_jobs

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = "number: int = 1  # any\nmarker: str = ''\njob_id: str = ''\nresult: str = 'result.json'"
FINISH = "from lineupiq.jobs.runner import finish\nfinish(result, job_id, 0, {'number': number})"


@pytest.fixture
def book(tmp_path):
    "A notebook of some cells, with a parameters cell."

    def make(*cells, name="own_job", parameters=PARAMETERS) -> str:
        nb = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(nbformat.v4.new_code_cell, cells)]
        )
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(nb, path)
        return str(path)

    return make


def marked(marker: str) -> list[psutil.Process]:
    "Processes that were started with a mark in their environment."
    out = []
    for p in psutil.process_iter():
        try:
            if p.environ().get("LINEUPIQ_TEST_MARK") == marker and p.status() != psutil.STATUS_ZOMBIE:
                out.append(p)
        except psutil.Error:
            continue
    return out


def none_left(marker: str, within: float = 5.0) -> list[psutil.Process]:
    "What is still there after some seconds."
    until = time.monotonic() + within
    while (left := marked(marker)) and time.monotonic() < until:
        time.sleep(0.1)
    return left


def start(tmp_path: Path, *argv: str, mark: str = "") -> subprocess.Popen:
    "The command in a process of its own."
    env = {**os.environ, "LINEUPIQ_TEST_MARK": mark, "PYTHONDONTWRITEBYTECODE": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "lineupiq", *argv],
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(path: Path, pattern: str, text: str, seconds: float = 120) -> None:
    "Until a file that matches has a text in it."
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(text in p.read_text(errors="replace") for p in path.glob(pattern) if p.is_file()):
            return
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in {pattern}")


# ---- the notebooks that ship


@pytest.mark.parametrize("job", JOBS)
def test_job_notebooks_hold_parameters_and_calls_only(job):
    name, path = job_notebook(job)
    nb = json.loads(path.read_text(encoding="utf-8"))
    code = ["".join(c["source"]) for c in nb["cells"] if c["cell_type"] == "code"]
    assert not any(re.search(r"^\s*(def|class|while|try)\b|default_exp|#\| *export", c, re.M) for c in code)
    known = parameters_of(path)
    assert {"job_id", "result"} <= set(known) and all(p.help for p in known.values()), "every parameter says what it is"
    assert re.search(r"finish\(\s*result,\s*job_id", code[-1])


def test_the_parameters_tag_survives_cleaning(tmp_path):
    from nbdev.clean import clean_nb

    for job in JOBS:
        nb = nbformat.read(job_notebook(job)[1], as_version=4)
        clean_nb(nb, allowed_cell_metadata_keys=["tags"])
        assert sum("parameters" in c.metadata.get("tags", []) for c in nb.cells) == 1
    assert re.search(r"^allowed_cell_metadata_keys *= *tags", (ROOT / "settings.ini").read_text(), re.M)


@pytest.mark.slow
def test_a_wheel_contains_the_notebooks_and_configurations(tmp_path):
    copy = tmp_path / "project"  # building writes beside the sources
    for part in ("lineupiq", "nbs/jobs"):
        shutil.copytree(ROOT / part, copy / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("setup.py", "settings.ini", "pyproject.toml", "README.md"):
        shutil.copy2(ROOT / part, copy / part)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, copy], check=True, timeout=300
    )
    [wheel] = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"lineupiq/notebooks/{job}.ipynb" for job in JOBS} | {
        "lineupiq/configs/experiments/baseline.yaml",
        "lineupiq/configs/experiments/production.yaml",
    } <= inside


# ---- table J, in this process


def test_J7_wrong_parameters_stop_before_anything_runs(book, tmp_path):
    for given, said in ((["numbr=2"], "did you mean 'number'"), (["number=two"], "expected int"), (["result=x"], "unknown parameter")):
        with pytest.raises(ConfigError, match=re.escape(said)):
            run_job(book(FINISH), given, tmp_path / "jobs")
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        run_job("trian", output=tmp_path / "jobs")
    for text in ("[]", "3", '{"cells": null}', '{"cells": ["a"]}', "[" * 100_000):
        Path(odd := tmp_path / "odd.ipynb").write_text(text)
        with pytest.raises(ConfigError, match="not a notebook"):
            run_job(str(odd), output=tmp_path / "jobs")
    with pytest.raises(ConfigError, match="marker: expected str"):
        run_job(book(FINISH), ["marker=\udcff"], tmp_path / "jobs")
    assert not (tmp_path / "jobs").exists()


def test_J1_a_failing_cell(book, tmp_path):
    end = run_job(
        book("print('before')", "for i in range(40): print('line', i)\nraise ZeroDivisionError('no')", FINISH),
        output=tmp_path / "jobs",
        to=["none"],
    )
    cell = end.status["failed_cell"]
    assert end.code == 8 and cell["number"] is not None and "ZeroDivisionError" in cell["tail"][-1] and len(cell["tail"]) <= 20
    assert sorted(p.name for p in end.folder.iterdir()) == ["log.jsonl", "notebook.ipynb", "status.json"] and not list(
        (tmp_path / "jobs").glob(".*.tmp")
    )
    message = jobs.job_message(end)
    assert not message.ok and any("ZeroDivisionError" in line for line in message.lines)
    lines = [json.loads(t) for t in (end.folder / "log.jsonl").read_text().splitlines()]
    assert [x["event"] for x in lines][0] == "started" and lines[-1] | {"time": 0} == {
        "time": 0,
        "job": "own_job",
        "event": "ended",
        "status": "failed",
        "exit_code": 8,
        "seconds": lines[-1]["seconds"],
    }
    assert all(x["time"].endswith("+00:00") for x in lines) and re.fullmatch(r"own_job_\d{8}_\d{6}", end.status["job_id"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell, code, kind",
    [
        ("from lineupiq.base import DataError; raise DataError('no rows')", 3, "DataError"),
        ("from lineupiq.base import LeakError; raise LeakError('x')", 10, "LeakError"),
        ("from lineupiq.jobs.runner import finish; finish(result, job_id, 5)", 5, None),
        ("from lineupiq.jobs.runner import finish; finish(result, job_id, 9)", 9, None),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 8, "DeadKernel"),
        ("number", 8, "NoResult"),
        ("from lineupiq.jobs.runner import finish; finish(result, 'another_1')", 8, "NoResult"),
        ("open(result, 'w').write('{')", 8, "NoResult"),
        ("from lineupiq.jobs.runner import finish; finish(result, job_id, 77)", 2, "ConfigError"),
        ("from lineupiq.core.files import dump_json; dump_json({'job_id': job_id, 'exit_code': 77}, result)", 8, "NoResult"),
        ("raise SystemExit(3)", 8, "SystemExit"),
    ],
)
def test_J2_J3_what_a_job_says_of_itself(book, tmp_path, cell, code, kind):
    end = run_job(book(cell), output=tmp_path / "jobs", to=["none"])
    assert end.code == code and (end.status.get("error") or {}).get("type") == kind, end.status


@pytest.mark.slow
def test_J8_a_job_that_hangs_leaves_no_child(book, tmp_path, monkeypatch):
    monkeypatch.setenv("LINEUPIQ_TEST_MARK", mark := f"hang{os.getpid()}")
    cell = (
        "import signal, subprocess, sys, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nsubprocess.Popen([sys.executable, '-c', "
        "'import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(300)'])\nwhile True: time.sleep(1)"
    )
    started = time.monotonic()
    end = run_job(book(cell), output=tmp_path / "jobs", timeout=6, to=["none"])
    left = [p for p in none_left(mark) if p.pid != os.getpid()]
    assert end.code == 8 and end.status["status"] == "timeout" and left == [] and time.monotonic() - started < 25


DETACHED = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)"


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells, timeout, status",
    [
        ((DETACHED, FINISH), None, "done"),
        ((DETACHED + "\nimport time; time.sleep(300)",), 6, "timeout"),
        ((DETACHED + "\n1 / 0",), None, "failed"),
        ((DETACHED + "\nimport os, signal, time; time.sleep(3); os.kill(os.getpid(), signal.SIGKILL)",), None, "failed"),
    ],
)
def test_a_child_in_a_session_of_its_own_ends_with_the_job(book, tmp_path, monkeypatch, cells, timeout, status):
    monkeypatch.setenv("LINEUPIQ_TEST_MARK", mark := f"apart{os.getpid()}")
    end = run_job(book(*cells), output=tmp_path / "jobs", timeout=timeout, to=["none"])
    assert end.status["status"] == status and [p for p in none_left(mark) if p.pid != os.getpid()] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        "import pathlib, shutil; shutil.rmtree(pathlib.Path(result).parent)",
        "import pathlib, shutil; place = pathlib.Path(result).parent; shutil.rmtree(place); place.write_text('')",
        "import os; os.mkdir(result)",
        "import pathlib; pathlib.Path(result).parent.joinpath('status.json').mkdir()",
        "open(result, 'w').write('[' * 100_000)",
        "open(result, 'w').write('[' * 400 + ']' * 400)",
        "open(result, 'w').write('{\"job_id\": \"' + job_id + '\", \"exit_code\": true}')",
        "from lineupiq.jobs.runner import finish; finish(result, job_id, True)",
        "raise ValueError('\\udcff')",
    ],
)
def test_whatever_a_notebook_does_to_its_folder_has_an_end(book, tmp_path, monkeypatch, cell):
    told = []
    monkeypatch.setattr(jobs, "notify", lambda message, whom: told.append(message) or [])
    end = run_job(book(cell), output=tmp_path / "jobs", to=["none"])
    assert (
        end.code in ((8, 2) if "finish" in cell else (8,))
        and load_json(end.folder / "status.json")["status"] == "failed"
        and not told[0].ok
    )
    assert [p.name for p in (tmp_path / "jobs").iterdir() if not p.name.endswith(".lock")] == [end.status["job_id"]]


def test_J6_the_second_is_busy_and_touches_nothing(tmp_path):
    with job_lock("train", tmp_path):
        before = sorted(p.name for p in tmp_path.iterdir())
        started = time.monotonic()
        with pytest.raises(Busy):
            run_job("train", output=tmp_path, to=["none"])
        assert time.monotonic() - started < 5 and sorted(p.name for p in tmp_path.iterdir()) == before
    assert Busy("x").exit_code == 6


def test_what_a_killed_job_left_is_shown(tmp_path):
    for name in (".train_20260105_020000.tmp", ".tune_20260105_020000.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notebook.ipynb").write_text("{}")
    [one] = sweep_jobs("train", tmp_path)
    assert load_json(one / "status.json")["exit_code"] == 137 and (tmp_path / ".tune_20260105_020000.tmp").exists()


def test_J9_durations_are_monotonic(book, tmp_path, monkeypatch):
    class Jumpy(jobs.datetime):
        @classmethod
        def now(cls, tz=None):
            Jumpy.hours -= 1
            return super().now(tz) + __import__("datetime").timedelta(hours=Jumpy.hours)

    Jumpy.hours = 0
    monkeypatch.setattr(jobs, "datetime", Jumpy)
    end = run_job(book(FINISH), output=tmp_path / "jobs", to=["none"])
    assert end.code == 0 and 0 < end.status["seconds"] < 120


# ---- stopping, from outside


@pytest.mark.slow
@pytest.mark.parametrize("which, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_L3_a_signal_stops_the_job_cleanly(book, tmp_path, which, code):
    mark = f"stop{os.getpid()}{code}"
    path = book("import time, pathlib\ntry:\n    time.sleep(300)\nfinally:\n    pathlib.Path(marker).write_text('tidied')", FINISH)
    child = start(tmp_path, "job", path, "-p", f"marker={tmp_path / 'tidied'}", "--notify", "none", mark=mark)
    wait_for(tmp_path, "experiments/jobs/.own_job_*.tmp/log.jsonl", '"number": 2')
    time.sleep(1)
    child.send_signal(which)
    started = time.monotonic()
    assert child.wait(30) == code and time.monotonic() - started < 12
    [folder] = (tmp_path / "experiments" / "jobs").glob("own_job_*")
    assert (tmp_path / "tidied").exists() and load_json(folder / "status.json")["exit_code"] == code and none_left(mark) == []
    assert "Traceback" not in child.stderr.read()


@pytest.mark.slow
def test_a_killed_command_takes_its_kernel_along(book, tmp_path):
    mark = f"gone{os.getpid()}"
    child = start(tmp_path, "job", book("import time; time.sleep(300)"), "--notify", "none", mark=mark)
    wait_for(tmp_path, "experiments/jobs/.own_job_*.tmp/log.jsonl", '"number": 2')
    child.kill()
    child.wait()
    assert none_left(mark) == []


KILLS = int(os.environ.get("LINEUPIQ_TEST_JOB_KILLS", 20))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_J_term_a_search_that_is_stopped_again_and_again(tmp_path):
    "SIGTERM, SIGINT and SIGKILL at random times in a search of 40 trials: 40 finished in the end, nothing running, nothing left."
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng, mark, storage = random.Random(11), f"term{os.getpid()}", f"sqlite:///{tmp_path}/study.db"
    argv = [
        "job",
        "tune",
        "-p",
        "data=league",
        "-p",
        "model=logistic",
        "-p",
        "n_trials=40",
        "-p",
        f"storage={storage}",
        "-p",
        'flags={"study": "stopped", "n_jobs": 1, "pruner": "none"}',
        "-p",
        "mlflow=false",
        "--notify",
        "none",
    ]
    codes, best = [], []
    for k in range(KILLS):
        child = start(tmp_path, *argv, mark=mark)
        time.sleep(rng.uniform(0, 20))
        which = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)[k % 3]
        child.send_signal(which)
        codes.append((which.name, child.wait(30)))
        assert none_left(mark) == [], "no process is left after five seconds"
        if (tmp_path / "study.db").exists() and "stopped" in optuna.get_all_study_names(storage=storage):
            done = [t.value for t in optuna.load_study(study_name="stopped", storage=storage).trials if t.state.name == "COMPLETE"]
            best += [min(done)] if done else []
    last = start(tmp_path, *argv, mark=mark)
    out, err = last.communicate(timeout=400)
    assert last.returncode == 0, err[-2000:]
    trials = optuna.load_study(study_name="stopped", storage=storage).trials
    states = [t.state.name for t in trials]
    print("J-term", {s: states.count(s) for s in set(states)}, codes)
    assert states.count("COMPLETE") == 40 and "RUNNING" not in states and [t.number for t in trials] == list(range(len(trials)))
    assert all(b <= a for a, b in zip(best, best[1:], strict=False)) and none_left(mark) == []
    assert {c for name, c in codes if name == "SIGTERM"} <= {143, 0, -15} and {c for name, c in codes if name == "SIGINT"} <= {130, 0, -2}


# ---- secrets

CANARIES = {
    "LINEUPIQ_SLACK_WEBHOOK": "https://hooks.slack.com/services/T0/B0/canaryslack",
    "LINEUPIQ_NOTIFY_URLS": "discord://123456789012345678/canarydiscordcanarydiscord",
    "GITHUB_TOKEN": "canarytoken1",
    "DB_PASSWORD": "canarypassword1",
    "TRACKER_URL": "postgresql://me:canarydb12@db.test/x",
}


def canaries(folder: Path, *texts: str) -> list[str]:
    found = [str(p) for p in folder.rglob("*") if p.is_file() and p.suffix != ".ipynb_source" and b"canary" in p.read_bytes()]
    return found + [t[:200] for t in texts if "canary" in t]


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        "import os; print(sorted(os.environ.items()))\n" + FINISH,
        "import os; raise ValueError(os.environ['DB_PASSWORD'] + os.environ['TRACKER_URL'])",
        "import os; from lineupiq.jobs.runner import finish; finish(result, job_id, 0, {'where': os.environ['TRACKER_URL']})",
        "import os; from lineupiq.base import DataError; raise DataError(os.environ['DB_PASSWORD'])",
    ],
)
def test_N_leak_no_secret_in_anything_that_a_job_writes(book, tmp_path, monkeypatch, cell, capsys):
    for k, v in CANARIES.items():
        monkeypatch.setenv(k, v)
    summary = tmp_path / "jobs" / "summary.md"
    summary.parent.mkdir()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    lines = []
    end = run_job(book(cell), output=tmp_path / "jobs", to=["github"], say=lines.append)
    said = capsys.readouterr()
    assert summary.exists() and canaries(tmp_path / "jobs", json.dumps(end.record()), *lines, said.out, said.err) == []
    assert (
        "canary"
        not in subprocess.run(
            [sys.executable, "-m", "lineupiq", "job", "--status", "--json"], cwd=tmp_path, capture_output=True, text=True
        ).stdout
    )


# ---- from the command line


def test_the_command_says_what_a_job_takes(cli):
    told = cli("job", "validate", "--parameters").value
    assert {"name", "window", "promote"} <= {p["name"] for p in told["parameters"]}
    assert (
        cli("job").code == 2
        and cli("job", "trian").code == 2
        and cli("retrain").code == 2
        and cli("job", "train", "-p", "modle=x").code == 2
    )
    assert (
        cli("track", "status").value["tracker"] == "off"
        and cli("track", "sync").code == 2
        and cli("experiment", "--config", "nothing.yaml").code == 2
    )


def test_experiments_that_ship_are_valid():
    from lineupiq.workflows.experiment import experiment_config, grid

    assert [len(grid(experiment_config(name))) for name in ("baseline", "production")] == [10, 4]


def test_an_experiment_says_what_is_wrong_before_its_first_cell(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, state = tmp_path / "e.yaml", tmp_path / "experiments" / "runs" / "n" / "state.json"
    for more in (
        "data: {source: noise-barz}",
        "data: {source: nowhere.yaml}",
        "training: {test_share: 7}",
        "training: {time_limit: -1}",
        "training: 0",
        "horizons: 0",
    ):
        file.write_text(f"experiment: {{name: n}}\nmodels: [prior]\n{more}\n")
        assert cli("experiment", "--config", file).code == 2 and not state.parent.exists(), more
    file.write_text("experiment: {name: n}\nmodels: [prior]\ndata: {source: noise-bars}\n")
    state.parent.mkdir(parents=True)
    for text in ("[]", "null", '{"format": 1}', '{"format": 1, "cells": []}', '{"format": 7, "cells": {}}', '{"form'):
        state.write_text(text)
        assert "--fresh" in cli("experiment", "--config", file).error["fix"]
    assert cli("experiment", "--config", file).code == 4
    state.unlink()
    assert {c["horizon"] for c in cli("experiment", "--config", file).value["cells"]} == {5, 20} and len(load_json(state)["cells"]) == 2, (
        "the source's own horizons"
    )
