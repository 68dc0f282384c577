"""The command line itself: every row of the fault table L1–L5 and S1."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import good_frame, refused

from lineupiq.base import BadName, ConfigError
from lineupiq.core.files import check_name, parse_version
from lineupiq.training.server import can_fork

ROOT = Path(__file__).resolve().parent.parent
LINEUPIQ = [sys.executable, "-c", "import sys; sys.argv[0] = 'lineupiq'; from lineupiq.cli.program import main; main()"]


def run(*argv, cwd=None, env=None, **kwargs):
    "The command in a process of its own."
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LINEUPIQ_NUM_THREADS": "1", **(env or {})}
    return subprocess.run([*LINEUPIQ, *map(str, argv)], cwd=cwd, env=env, text=True, capture_output=True, timeout=120, **kwargs)


def test_L1_unknown_option(cli):
    for argv, word in (
        (["train", "--modle", "ridge"], "--model"),
        (["trian"], "train"),
        (["config", "chekc", "x.yaml"], "check"),
        (["evaluate", "--rum", "x"], "--run"),
    ):
        answer = cli(*argv)
        assert answer.code == 2 and answer.error["type"] == "UsageError" and word in answer.error["what"], answer.out
        assert "Usage: lineupiq" in answer.err and word in answer.err and "Traceback" not in answer.err
    for argv, word in ((["config", "check"], "file"), (["evaluate"], "--run"), (["train", "--n-splits", "many"], "--n-splits")):
        answer = cli(*argv)
        assert answer.code == 2 and word in answer.err and "Usage: lineupiq" in answer.err, answer.err


def test_L1_in_a_shell():
    bare = run("train", "--model")
    assert bare.returncode == 2 and "--model" in bare.stderr and "requires an argument" in bare.stderr
    said = run("train", "--modle", "ridge")
    assert said.returncode == 2 and "--model" in said.stderr and "Usage: lineupiq train" in said.stderr and said.stdout == ""


BAD_VERSIONS = ["1.2", "v01.2.0", "1.2.0-rc1", "01.2.0", "1.2.0.0", "1.2.x", "", " 1.2.0", "1.2.0\n", "latest", "１.2.0", "-1.2.0"]


@pytest.mark.parametrize("version", BAD_VERSIONS)
def test_L2_strict_versions(cli, version):
    with pytest.raises(ConfigError, match="not a version[\\s\\S]*MAJOR.MINOR.PATCH"):
        parse_version(version)
    refused(
        cli("predict", f"--model=mine:{version}", "--path", "x.csv"), 2, "ConfigError", "not a version", "MAJOR.MINOR.PATCH such as 1.2.0"
    )


def test_L2_versions_that_are_fine(cli):
    assert parse_version("1.2.0") == parse_version("v1.2.0") == (1, 2, 0)
    answer = cli("predict", "--model", "no_such_model:v1.2.0", "--path", "x.csv")
    assert answer.code in (2, 3, 4) and "not a version" not in answer.err


def children(pid):
    "Processes below a process, from /proc."
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(parts[1]) == pid and parts[0] != "Z":
            found += [int(stat.parent.name), *children(int(stat.parent.name))]
    return found


def alive(pid):
    "Whether a process still runs."
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_L3_signals(tmp_path, table, name, code):
    about = table(good_frame(20_000))
    slow = tmp_path / "slow.yaml"
    slow.write_text("n_estimators: 100000\nnum_boost_round: 100000\nearly_stopping: false\n")
    command = subprocess.Popen(
        [
            *LINEUPIQ,
            "train",
            "--data",
            str(about),
            "--model",
            "xgboost",
            "--config",
            str(slow),
            "--output",
            str(tmp_path / "out"),
            "--json",
        ],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LINEUPIQ_NUM_THREADS": "1"},
        start_new_session=True,
        # whoever began the tests may have turned it off
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out").glob("*/.work/*.job.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)
        below = children(command.pid)
        assert below, "no worker began"
        started = time.monotonic()
        command.send_signal(getattr(signal, name))
        out, err = command.communicate(timeout=30)
    finally:
        command.kill()
    assert time.monotonic() - started < 10
    assert command.returncode == code, err
    assert "Traceback" not in err + out and json.loads(out)["exit_code"] == code
    assert not [pid for pid in below if alive(pid)]  # no orphan
    [run_dir] = (tmp_path / "out").iterdir()
    status = json.loads((run_dir / "status.json").read_text())
    assert (status["status"], status["exit_code"]) == ("interrupted", code)
    left = {p.name for p in run_dir.rglob("*")}
    assert not [n for n in left if n.endswith(".tmp") or n == ".work"] and "bundle.json" not in left and "model.json" not in left
    after = run("predict", "--model", run_dir, "--json")
    assert after.returncode == 2 and "did not finish" in after.stdout


@pytest.mark.skipif(not can_fork(), reason="workers are fresh interpreters here")
@pytest.mark.parametrize("victim", ["worker", "server", "command"])
def test_killed_outright(tmp_path, table, victim):
    "SIGKILL, as the kernel sends it where memory is short: whoever is left says so and ends, and nobody is orphaned."
    about, slow = table(good_frame(20_000)), tmp_path / "slow.yaml"
    slow.write_text("n_estimators: 100000\nnum_boost_round: 100000\nearly_stopping: false\n")
    command = subprocess.Popen(
        [
            *LINEUPIQ,
            "train",
            "--data",
            str(about),
            "--model",
            "xgboost",
            "--config",
            str(slow),
            "--output",
            str(tmp_path / "out"),
            "--json",
            "--no-mlflow",
        ],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LINEUPIQ_NUM_THREADS": "1"},
    )
    try:
        deadline, pids = time.monotonic() + 60, []
        while len(pids) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            pids = children(command.pid)
        server, worker = pids
        os.kill({"worker": worker, "server": server, "command": command.pid}[victim], signal.SIGKILL)
        out, err = command.communicate(timeout=30)
    finally:
        command.kill()
    deadline = time.monotonic() + 5
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]
    if victim == "command":
        assert command.returncode == -9
    else:
        said = json.loads(out)
        assert (
            said["error"]["type"] == "JobError"
            and "killed by signal 9" in said["error"]["found"]
            and "memory" in said["error"]["fix"]
            and command.returncode == said["exit_code"] != 0
        )


def test_L4_closed_stdout(tmp_path, table):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LINEUPIQ_NUM_THREADS": "1"}
    for argv in (["models"], ["config", "show", "xgboost"], ["models", "--json"]):
        command = subprocess.Popen([*LINEUPIQ, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
        command.stdout.close()  # the reader has gone away before the first line
        err = command.stderr.read()
        assert command.wait(60) == 0 and err == "", err
    about = table(good_frame())
    command = subprocess.Popen(
        [*LINEUPIQ, "train", "--data", str(about), "--model", "prior", "--output", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    command.stdout.close()
    err = command.stderr.read()
    assert command.wait(120) == 0 and "Traceback" not in err and "BrokenPipe" not in err
    [run_dir] = (tmp_path / "out").iterdir()
    assert json.loads((run_dir / "status.json").read_text())["status"] == "done"  # exit 0 says that the run is there, and it is
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            said = subprocess.run([*LINEUPIQ, "models"], stdout=full, stderr=subprocess.PIPE, env=environment, text=True)
        assert said.returncode == 7 and "No space left" in said.stderr and "Traceback" not in said.stderr


def shell(line, tmp_path):
    "A command line with its streams as a shell closes them."
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LINEUPIQ_NUM_THREADS": "1", "LINEUPIQ_MODELS_DIR": str(tmp_path / "models")}
    return subprocess.run(
        ["sh", "-c", line.replace("lineupiq", shlex.join(LINEUPIQ), 1)], cwd=tmp_path, env=env, capture_output=True, timeout=120
    )


@pytest.mark.parametrize("streams", ["2>&-", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
def test_L4_closed_and_full_streams_change_no_code(tmp_path, streams):
    for line, code in (("verify nobody", 4), ("train --nope", 2), ("version list", 0)):
        said = shell(f"lineupiq {line} {streams}", tmp_path)
        assert said.returncode == code and said.stderr == b"", (line, said)
        assert code == 0 or said.stdout == b"", said.stdout  # what belongs on standard error is not printed on standard output


def test_paths_and_texts_that_are_no_utf8(tmp_path):
    for line, code in (
        ("verify '\udce4bc'", 2),
        ("train --data '\udce4.yaml' --model ridge", 2),
        ("history --at '\udce4'", 2),
        ("train --data noise-bars --model 'ri\udce4dge'", 2),
        ("predict --model 'd\udce4r/x' --path x.csv", 2),
    ):
        said = shell(f"lineupiq {line}", tmp_path)
        assert said.returncode == code and b"Traceback" not in said.stderr, (line, said)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_work_is_said_before_training(cli, tmp_path, monkeypatch, table):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path / "file"))
    monkeypatch.chdir(tmp_path)
    refused(
        cli("train", "--data", table(good_frame()), "--model", "ridge", "--output", tmp_path / "out"),
        7,
        "EnvironmentFault",
        "a file where the folder of models belongs",
    )
    refused(
        cli("train", "--data", table(good_frame()), "--model", "", "--output", tmp_path / "out"), 2, "ConfigError", "which one is trained"
    )
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path / "models"))
    refused(cli("retrain", "nobody", "--output", tmp_path / "states"), 4, "NotFound", "no model 'nobody'")
    assert not (tmp_path / "out").exists() and not (tmp_path / "states").exists() and not (tmp_path / "models").exists()


def test_a_model_that_fails_its_checks_is_no_bug(cli, monkeypatch):
    from lineupiq.workflows import configs

    monkeypatch.setattr(configs, "check_report", lambda name, show, as_json: show({"model": name, "fail": 1}) or 1)
    assert cli("models", "--check", "ridge").code == 10


def test_L5_bare_environment(tmp_path, table):
    bare = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "LANG": "C",
        "LC_ALL": "C",
        "HOME": "/proc/nonexistent",
        "LINEUPIQ_NUM_THREADS": "1",
        "TERM": "dumb",
    }
    frame = good_frame()
    frame["shop"] = frame["shop"].map({"a": "Zürich", "b": "東京"})
    about = table(frame)
    said = subprocess.run(
        [*LINEUPIQ, "train", "--data", str(about), "--model", "prior", "--output", str(tmp_path / "out")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=bare,
        timeout=120,
    )
    assert said.returncode == 0 and b"Traceback" not in said.stderr, said.stderr.decode()
    told = said.stderr.decode()
    # no terminal, no colours
    assert "] prior: done, " in told and "{" not in told and "\x1b" not in said.stdout.decode() + said.stderr.decode()


def test_L5_unwritable_places(cli, table, tmp_path):
    about = table(good_frame())
    target = "/proc/nonexistent/runs" if Path("/proc").exists() else str(tmp_path / "rows.csv" / "runs")
    refused(cli("train", "--data", about, "--model", "ridge", "--output", target), 7, "EnvironmentFault", "cannot", target)
    in_a_file = tmp_path / "rows.csv" / "runs"
    refused(cli("train", "--data", about, "--model", "ridge", "--output", in_a_file), 7, "EnvironmentFault", str(in_a_file))


@pytest.mark.skipif(not shutil.which("setpriv") or os.geteuid() != 0, reason="needs root and setpriv to become somebody without permission")
def test_L5_no_permission(tmp_path, table):
    about = table(good_frame())
    for folder in [tmp_path, *tmp_path.parents][:4]:
        if folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    said = subprocess.run(
        [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            *LINEUPIQ,
            "train",
            "--data",
            str(about),
            "--model",
            "prior",
            "--output",
            str(closed / "runs"),
            "--json",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": "/proc/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
    )
    if "Permission denied" in said.stderr and str(ROOT) in said.stderr:
        pytest.skip("the library's own folder is closed to others")
    assert said.returncode == 7 and "Permission denied" in said.stdout and str(closed) in said.stdout and "Traceback" not in said.stderr
    assert list(closed.iterdir()) == []


BAD_NAMES = [
    "../../etc/passwd",
    "/abs",
    "a\x00b",
    "",
    "..",
    ".",
    "-rf",
    "QB points",
    "QB_points\n",
    "ＱＢ",
    "a" * 300,
    "a__b",
    "_a",
    "a_",
    "1a",
    "a/b",
    "a\\b",
    "a.b",
    "ä",
    "a\u202eb",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_S1_names(cli, name):
    touched = []
    sys.addaudithook(
        lambda event, args: (
            touched.append((event, args))
            if watching and event in ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove")
            else None
        )
    )
    watching = [True]
    try:
        with pytest.raises(BadName, match="cannot become a path"):
            check_name(name)
    finally:
        watching.clear()
    assert touched == []  # before any filesystem call
    answer = refused(cli("version", "show", "--", name), 2, "BadName", "cannot become a path", "letters and digits")
    assert re.search(r"[^\x20-\x7e]", answer.error["found"]) is None  # shown, but harmless


@pytest.mark.parametrize("name", BAD_NAMES)
def test_S1_what_names_a_model_is_a_name_or_a_path(cli, name):
    "With a slash, or where it begins with a dot, it is a path, and there is no model; everything else is held to the rules of names."
    answer = cli("predict", f"--model={name}", "--path", "x.csv")
    assert answer.code == 2 and answer.error["type"] == ("ConfigError" if "/" in name or name.startswith(".") or not name else "BadName"), (
        answer.out
    )


def test_S1_names_of_tables(cli, table):
    for name in ("../../etc/passwd", "/abs", "", "-rf", "ＱＢ", "a" * 65):
        refused(cli("train", "--data", table(good_frame(), name=name), "--model", "ridge"), 2, "BadName", "cannot become a path")
    assert check_name("QB_passing_yards") == "QB_passing_yards" and check_name("a" * 64)
