"""N-leak: secrets in the environment, in addresses and in files; every command, doing its work and failing; nothing that is said or written
has them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import good_frame

WORD = "canary7f3a"
SECRETS = {
    "LINEUPIQ_SLACK_WEBHOOK": f"https://hooks.slack.com/services/T0/B0/{WORD}slack",
    "DB_PASSWORD": f"{WORD}db",
    "GITHUB_TOKEN": f"{WORD}gh",
    "API_KEY": f"{WORD}key",
    "LINEUPIQ_NOTIFY_URLS": f"json://user:{WORD}note@127.0.0.1:9/x",
}
TRACKER = f"http://me:{WORD}track@127.0.0.1:9"
STORAGE = f"postgresql+psycopg://me:{WORD}pg@127.0.0.1:9/none?password={WORD}q"


def leaks(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and WORD.encode() in p.read_bytes()]


@pytest.fixture
def say(tmp_path, table):
    "A command in a process of its own; what it said is searched."
    about = table(good_frame(400))
    env = {
        **os.environ,
        **SECRETS,
        "LINEUPIQ_TRACKING_URI": TRACKER,
        "LINEUPIQ_LEDGER": str(tmp_path / "ledger.jsonl"),
        "PYTHONDONTWRITEBYTECODE": "",
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    heard = []

    def run(*argv, **more) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "lineupiq", *map(str, argv)],
            cwd=tmp_path,
            env={**env, **more},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        heard.append(argv)
        assert WORD not in done.stdout + done.stderr, (argv, (done.stdout + done.stderr)[-600:])
        return done.returncode

    run.table, run.heard, run.folder = about, heard, tmp_path
    return run


def test_N_leak_sample(say):
    "A tracker that does not answer, a storage that is not there, a job that tells nobody it can reach."
    assert say("train", "--data", say.table, "--model", "ridge") == 0
    assert say("tune", "--data", say.table, "--model", "ridge", "--n-trials", "2", "--storage", STORAGE) != 0
    assert say("track", "status") == 0
    assert leaks(say.folder) == []


@pytest.mark.slow
def test_N_leak_every_command(say):
    "All of them: at work, refused, and failing."
    from lineupiq.cli.program import LIFE

    table, name = say.table, "table_h1_ridge"
    assert say("train", "--data", table, "--model", "ridge,ewma") == 0
    [run] = [p.parent for p in say.folder.glob("experiments/runs/*/status.json")]
    for argv in (
        ("validate", name),
        ("promote", name, "--force", "--reason", "a try"),
        ("version", "list"),
        ("version", "show", name),
        ("version", "bump", name),
        ("history",),
        ("verify",),
        ("doctor",),
        ("predict", "--model", name, "--all-later"),
        ("predict", "--model", run, "--all-later"),
        ("evaluate", "--run", run),
        ("export", "--run", run, "--output", "m.onnx"),
        ("drift", name),
        ("retrain", name),
        ("retrain", name, "--dry-run"),
        ("rollback", name),
        ("archive", name),
        ("prune", name, "--keep", "0"),
        ("sign", "--new-key", "k.pem"),
        ("sign", name, "--key", "k.pem"),
        ("models",),
        ("config", "show", "training"),
        ("config", "check", table),
        ("audit", "cv", "--data", table),
        ("audit", "leak", "--data", table, "--model", "ridge"),
        ("track", "status"),
        ("track", "sync"),
        ("tune", "--data", table, "--model", "ridge", "--n-trials", "2"),
        ("tune", "--data", table, "--model", "ridge", "--n-trials", "2", "--storage", STORAGE),
        ("job", "train", "-p", f"data={table}", "-p", "model=ridge"),
        ("job", "train", "-p", "data=nowhere.yaml"),
        ("job", "tune", "-p", f"data={table}", "-p", "model=ridge", "-p", f"storage={STORAGE}"),
        ("job", "--status"),
    ):
        say(*argv)
    (say.folder / "small.yaml").write_text(f"experiment: {{name: small}}\nhorizons: [1]\nmodels: [ridge]\ndata: {{source: {table}}}\n")
    say("experiment", "--config", "small.yaml")
    bad = say.folder / "bad.yaml"
    bad.write_text(f"name: x\npath: rows.csv\npassword: {WORD}yaml\ntask: ${{DB_PASSWORD}}\n")
    assert say("config", "check", bad) == 2
    for argv in (
        ("train", "--data", bad, "--model", "ridge"),
        ("train", "--data", table, "--model", "ridge", "--tracking-uri", TRACKER),
        ("--debug", "train", "--data", "nowhere.yaml", "--model", "ridge"),
        ("job", "train", "-p", f"data={table}", "-p", "model=ridge", "--notify", SECRETS["LINEUPIQ_SLACK_WEBHOOK"]),
        ("job", "train", "--notify", f"https://me:{WORD}x@evil.example/{WORD}"),
    ):
        say(*argv)
    assert {str(a[0]) for a in say.heard} >= set(LIFE), set(LIFE) - {str(a[0]) for a in say.heard}
    bad.unlink()  # the one file that was given a secret
    found = leaks(say.folder)
    print(
        f"N-leak: {len(say.heard)} commands, {sum(p.is_file() for p in say.folder.rglob('*'))} files, {len(found)} with a secret",
        json.dumps(found[:5]),
    )
    assert found == []
