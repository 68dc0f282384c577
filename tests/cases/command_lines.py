"""Command lines as people, schedules and malice write them: every command and option that there is, on a small world of files, some of them damaged.

python tests/cases/command_lines.py SEED…       what these cases are, and what becomes of them
"""

import contextlib
import io
import json
import logging
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml

import lineupiq
import lineupiq.base as base

LIMIT = 120  # seconds after which a command hangs
CODES = (0, *range(2, 11))  # 1 is a bug; nothing here sends a signal
CHEAP = ("ridge", "logistic", "prior", "ewma", "last_value")  # what `all` means here
NAME, OTHER = "table_h1_ridge", "games_h1_logistic"  # published
DEEP = "[" * 100_000


# --- the command's own tree ---


def commands() -> dict[tuple[str, ...], list[Any]]:
    "Every command with its parameters, as typer holds them; a new one is here at once."
    import typer

    from lineupiq.cli import program

    out: dict[tuple[str, ...], list[Any]] = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        if hasattr(node, "commands"):
            for name, below in node.commands.items():
                walk(below, (*path, name))
        else:
            out[path] = list(node.params)

    walk(typer.main.get_command(program.app), ())
    return out


def variables() -> list[str]:
    "Every variable of the environment that the package names."
    text = "".join(p.read_text(encoding="utf-8") for p in sorted(Path(lineupiq.__file__).parent.rglob("*.py")))
    return sorted(set(re.findall(r"\bLINEUPIQ_[A-Z_]+[A-Z]\b", text)) - {"LINEUPIQ_NUM_THREADS"}) + [
        "LINEUPIQ_NUM_THREADS",
        "HOME",
        "GITHUB_STEP_SUMMARY",
        "NO_COLOR",
        "TZ",
    ]


# --- values ---

TEXTS = [
    "",
    " ",
    "-",
    "--",
    "-1",
    "None",
    "null",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "-0",
    "0",
    "1.5",
    "1,2",
    ",",
    ",,",
    "٣",
    "１２",
    "é",
    "\udce4",
    "a\u202eb",
    "\x1b[31m",
    "a\nb",
    "a\tb",
    "a\rb",
    "\x7f",
    "\u2028",
    "x" * 300,
    "x" * 5000,
    "..",
    ".",
    "~",
    "~nosuchuser/x",
    "a/b",
    "a\\b",
    "CON",
    ":",
    "::",
    "@",
    "x@1.0.0",
    "name:9.9.9",
    "latest",
    "all",
    "{}",
    "[]",
    '{"a": NaN}',
    DEEP[:3000],
    "%s",
    "{0}",
    "$HOME",
    "=1+1",
    "*",
    "?",
    "a=b",
    "=",
    "==",
    "a=",
    "=b",
    "a=[",
    "a={x: [",
    "a=.nan",
    "a=1e400",
    "a=" + "9" * 400,
    "!!python/object/apply:os.getcwd []",
    "a=!!python/name:os.getcwd",
    "'",
    '"',
    "`id`",
    "; ls",
    "\\",
    "😀",
    "true",
    "yes",
    "False",
    "bars",
    "xgbost",
    "http://127.0.0.1:9/x",
    "file:///dev/null/x",
    "sqlite:///x.db",
    "sqlite:////dev/null/x.db",
    "sqlite://",
    "mysql://u:p@127.0.0.1:9/x",
    "postgresql://127.0.0.1:9/x",
    "journal://x",
    "redis://127.0.0.1:9",
    "https://[::1",
    "://",
    "urls",
    "github",
    "slack",
    "none",
]
INTS = [
    "0",
    "1",
    "2",
    "3",
    "5",
    "-1",
    "-5",
    "+2",
    "02",
    "0x2",
    "1_0",
    "1.0",
    "1e3",
    "2147483648",
    "9" * 19,
    "9" * 30,
    "9" * 5000,
    "-" + "9" * 30,
    "nan",
    "inf",
    "",
    "x",
    " 3 ",
    "٣",
    "1,2",
    "4294967295",
    "4294967296",
]
FLOATS = [
    "0",
    "0.5",
    "1",
    "0.999999",
    "-1",
    "2",
    "1e-320",
    "1e400",
    "-1e400",
    "1e308",
    "nan",
    "inf",
    "-inf",
    "NaN",
    "Infinity",
    "",
    "x",
    "0,5",
    ".5",
    "5.",
    "1_0.0",
    "٠.٥",
    "1e-400",
    "0.05",
    "0.2",
]
TIMES = [
    "2021-03-01",
    "2021-02-30",
    "2021-13-45",
    "0001-01-01",
    "9999-12-31",
    "2262-04-12",
    "1677-01-01",
    "2021",
    "2021-03",
    "20210301",
    "2021-03-01T00:00:00Z",
    "2021-03-01T00:00:00+25:00",
    "2021-03-01 10:00 America/New_York",
    "1614556800",
    "1e400",
    "-1",
    "now",
    "today",
    "nan",
    "NaT",
    "2021-02-01:2021-03-01",
    "2021-03-01:2021-02-01",
    "2021-03-01:",
    ":2021-03-01",
    ":",
    "2021:2022",
    "a:b",
    "2021-03-01:2021-03-01",
    "2021-02-01:2021-02-10:2021-03-01",
]
LENGTHS = [
    "7D",
    "0D",
    "-1D",
    "1h",
    "1e9D",
    "9999999999D",
    "9" * 30 + "D",
    "nanD",
    "1M",
    "1Y",
    "P1D",
    "7",
    "D",
    "7X",
    "1.5D",
    " 7D",
    "1D1h",
    "５D",
    "inf",
    "",
    "3W",
    "NaT",
    "1ns",
    "5T",
]
VERSIONS = [
    "1.0.0",
    "1.1.0",
    "v1.1.0",
    "9.9.9",
    "1.0",
    "1",
    "",
    "latest",
    "1.0.0-rc1",
    "01.0.0",
    "1.0.0\n",
    "999999999.0.0",
    "9999999999.0.0",
    "-1.0.0",
    "１.0.0",
    "1.0.0.0",
    "production",
    "../1.0.0",
]
NAMES = [
    NAME,
    OTHER,
    "nobody",
    "..",
    ".",
    "",
    "a/b",
    "CON",
    "-",
    ":",
    "latest",
    "x@1.0.0",
    "name:9.9.9",
    NAME.upper(),
    NAME + " ",
    "x" * 64,
    "x" * 65,
    "é",
    "\udce4",
    "a\nb",
    "\x1b[2J",
    "a__b",
    "_a",
    "archive",
    "production",
    "VERSION",
    "table",
]
PLACES = [
    "table.yaml",
    "later.yaml",
    "games.yaml",
    "rows.csv",
    "later.csv",
    "bars",
    "nfl",
    "runs",
    "models",
    "models/journal.jsonl",
    "gate.yaml",
    "drift.yaml",
    "training.yaml",
    "tuning.yaml",
    "ridge.yaml",
    "experiment.yaml",
    "{run}",
    "{stopped}",
    "{run}/config.yaml",
    "models/archive/table_h1_ridge/v1.0.0",
    "models/archive/table_h1_ridge/v1.0.0/bundle",
    "tuning",
    "tuning/best_hyperparameters.json",
    "odd/pipe",
    "odd/loop",
    "odd/folder",
    "odd/empty",
    "odd/empty.yaml",
    "odd/empty.csv",
    "odd/latin1.yaml",
    "odd/binary",
    "odd/binary.csv",
    "odd/deep.yaml",
    "odd/deep.json",
    "odd/dangling",
    "odd/socket",
    "odd/aliases.yaml",
    "odd/tags.yaml",
    "odd/self.yaml",
    "odd/twice.yaml",
    "odd/list.yaml",
    "odd/wide.csv",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/proc/self/mem",
    "/proc/1/none",
    "nowhere",
    "nowhere/x.yaml",
    "rows.csv/x",
    "odd/locked",
    "odd/locked/x.csv",
    ".",
    "..",
    "",
    "x" * 300,
    "x" * 300 + ".yaml",
    "d/" * 2500,
    "\udce4.yaml",
    "a\nb.csv",
    "~",
    "~nosuchuser/x",
    "table.yaml ",
    "TABLE.YAML",
    "file:table.yaml",
    "new.csv",
    "new.parquet",
    "new/new.onnx",
    "new.json",
    "keys/key",
    "keys/key.pub",
    "experiments/retrain",
    "experiments/jobs",
    "job.ipynb",
    "odd/job.ipynb",
    "s3://bucket/x.csv",
    "http://127.0.0.1:9/x.csv",
]
GOOD: dict[str, list[str]] = {  # by an option's name
    "data": ["table.yaml", "later.yaml", "games.yaml", "history.yaml", "bars", "nfl-games", "nfl-players", "sp500", "league", "noise-bars"],
    "model": [*CHEAP, "svm", "xgboost", "elo", "voting", "all", NAME, f"{NAME}@staging", f"{NAME}:1.0.0", "{run}", "{run}:ridge"],
    "horizon": ["1", "5", "5,10", "h5"],
    "symbol": ["a", "b", "a,b", "NOISE0", "ES"],
    "position": ["QB", "WR", "qb"],
    "target": ["passing_yards", "receiving_yards"],
    "path": ["bars", "nfl", "rows.csv", "later.csv", "rows.csv,later.csv"],
    "timezone": ["UTC", "America/New_York", "Mars/Base"],
    "stamp": ["open", "close"],
    "time_format": ["%Y-%m-%d", "%d/%m/%Y", "%Q"],
    "time_unit": ["s", "ms", "ns", "fortnight"],
    "session": ["rth", "eth", "24x7", "XNYS"],
    "labels_within": ["session"],
    "barriers": ["atr", "2,1", "1:1"],
    "weights": ["quality", "none"],
    "source_option": ["seasons=2", "n=200", "n_bars=300", "symbols=1"],
    "config": ["ridge.yaml", "gate.yaml", "drift.yaml", "experiment.yaml"],
    "training_config": ["training.yaml"],
    "embargo": LENGTHS,
    "schedule": LENGTHS,
    "window": LENGTHS,
    "since": TIMES,
    "at": TIMES,
    "train_until": TIMES,
    "test": TIMES,
    "walk_forward": TIMES,
    "train_from": TIMES,
    "calibrate": ["auto", "sigmoid", "isotonic", "temperature", "none"],
    "metric": ["rmse", "mae", "log_loss", "val_rmse", "brier"],
    "device": ["cpu", "cuda", "auto"],
    "acknowledge": [*CHEAP],
    "best": ["tuning/best_hyperparameters.json"],
    "n_trials": ["1", "2", "0", "-1", "nan", "", "x", "1.5"],
    "outer": ["2", "1", "0", "-1", "x"],
    "n_splits": ["2", "3", "5"],
    "seq_len": ["1", "3", "20"],
    "experiment": ["try"],
    "tracking_uri": ["off", "http://127.0.0.1:9"],
    "uri": ["off", "sqlite:///m.db"],
    "part": ["major", "minor", "patch"],
    "resume": ["{stopped}", "{run}", "{stopped_id}"],
    "output": ["runs", "new", "new/new", "new.csv", "new.parquet", "new.onnx"],
    "method": ["random", "grid", "bayes", "tpe"],
    "sampler": ["tpe", "random", "cmaes"],
    "pruner": ["none", "median", "hyperband"],
    "n_jobs": ["1", "2", "0", "-1", "x"],
    "storage": ["sqlite:///s.db", "journal.log"],
    "study": ["try"],
    "space": ["tuning.yaml"],
    "choice": ["best", "one-se"],
    "run": ["{run}", "{stopped}"],
    "family": ["boosting", "classical", "neural"],
    "check": [*CHEAP, "table.yaml", "bars"],
    "rows": ["50", "100"],
    "cuts": ["1", "2"],
    "plant": ["future", "none", "shift"],
    "splitter": ["kfold", "walk-forward", "purged"],
    "arg": ["n_splits=3", "k=v"],
    "name": [NAME, OTHER, "drift", "train", "ridge", "training", "table", "job.ipynb"],
    "version": VERSIONS,
    "reason": ["it is better"],
    "key": ["keys/key"],
    "new_key": ["keys/new"],
    "keep": ["0", "1", "5"],
    "gate": ["gate.yaml"],
    "watch": ["drift.yaml"],
    "parameter": ["data=table.yaml", "model=ridge", "n=3", "result=x", "job_id=x"],
    "notify": ["none", "github", "http://127.0.0.1:9/x"],
    "timeout": ["1", "30"],
    "time_limit": ["0.001", "60"],
    "file": ["table.yaml", "ridge.yaml", "training.yaml", "gate.yaml", "experiment.yaml"],
    "format": ["onnx", "pmml"],
    "rolls": ["2021-02-01", "rolls.csv"],
    "trading_cost": ["0.001"],
    "decay": ["0.1"],
    "intervals": ["0.9"],
    "val": ["0.2"],
    "test_share": ["0.2"],
    "n": ["100"],
}
WHOLE = ("n_trials", "outer", "n_jobs")  # larger ones are work that somebody asked for, not a hang
SENSIBLE = [
    "train --data table.yaml --model ridge --output runs --no-mlflow",
    "train --data table.yaml --model prior --output new",
    "train --data games.yaml --model logistic --output new --calibrate sigmoid",
    "train --resume {stopped}",
    "train --data table.yaml --config ridge.yaml --output new",
    "train --data bars --path bars --horizon 5 --model prior",
    "train --data table.yaml --training-config training.yaml --model ewma",
    "train --data table.yaml --model ridge --use-best --best tuning/best_hyperparameters.json",
    "train --data history.yaml --model ridge",
    "train --data table.yaml --model ridge --walk-forward 2021-02-01:2021-03-10",
    "train --list-models",
    "train --data nfl-games --path nfl --model elo",
    "tune --data table.yaml --model ridge --n-trials 1",
    "tune --data table.yaml --model ridge --n-trials 2 --output new --space tuning.yaml",
    "experiment --config experiment.yaml",
    "models",
    "models --check prior",
    "sources",
    "sources bars",
    "sources --check table.yaml",
    "sources --check bars --path bars --horizon 5",
    f"predict --model {NAME}",
    f"predict --model {NAME} --data later.yaml --output new.csv",
    f"predict --model {NAME}:1.1.0 --path later.csv --all-later",
    "predict --model {run} --path later.csv",
    "evaluate --run {run} --path later.csv",
    "evaluate --run {run} --data later.yaml --since 2021-04-01",
    "export --run {run} --output new.onnx --path later.csv",
    f"validate {NAME} --data later.yaml --config gate.yaml",
    f"validate {NAME} --path later.csv --version 1.1.0",
    f"promote {NAME} 1.1.0 --force --reason better",
    f"promote {NAME}",
    f"rollback {NAME} --reason worse",
    f"history {NAME}",
    "history --at 2026-01-01",
    f"sign {NAME} 1.0.0 --key keys/key",
    "sign --new-key keys/new",
    "verify",
    f"verify {NAME}",
    "doctor",
    f"doctor {OTHER}",
    f"archive {NAME} --reason old",
    f"prune {NAME} --keep 0",
    f"prune {NAME} 1.2.0",
    f"drift {NAME} --data later.yaml --config drift.yaml",
    f"drift {NAME} --path later.csv --window 20D",
    f"retrain {NAME} --dry-run",
    f"retrain {NAME} --path later.csv --gate gate.yaml",
    f"retrain {NAME} --drift --watch drift.yaml --data later.yaml",
    "retrain --all",
    "job --status",
    "job train --parameters",
    "job drift -p name=table_h1_ridge",
    "job job.ipynb --timeout 30",
    "audit cv --data table.yaml --n-splits 3",
    "audit cv --run {run}",
    "audit cv --data table.yaml --splitter kfold --arg n_splits=3",
    "audit leak --data table.yaml --model ridge --rows 60 --cuts 1",
    "audit leak --run {run}",
    "version list",
    f"version show {NAME}",
    f"version show {NAME} 1.0.0",
    f"version bump {NAME} --part major",
    "track status",
    "track sync",
    "config show ridge",
    "config show table",
    "config check ridge.yaml",
    "config check table.yaml",
    "config check training.yaml",
    "config check experiment.yaml",
    "config check gate.yaml",
]
CONTEXTS = {
    "LINEUPIQ_DATA_DIR": "nfl",
    "LINEUPIQ_TRACKING_URI": "off",
    "LINEUPIQ_SPOOL": "spool",
    "HOME": "home",
    "LINEUPIQ_NUM_THREADS": "1",
}


# --- the world ---


@dataclass
class World:
    "A folder in which commands run; what they change is put back."

    root: Path  # w, the folder of the commands, is in it
    keep: Path = field(init=False)
    there: dict[str, tuple] = field(init=False)
    words: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.root.resolve()
        self.here = self.root / "in" / "w"
        self.here.mkdir(parents=True)
        with self.entered({}), quick():
            self._build()
        run, stopped = (
            next(p.parent for p in sorted(self.here.glob("runs/*/status.json"), reverse=True) if json.loads(p.read_text())["status"] == s)
            for s in ("done", "interrupted")
        )
        self.words = {
            "{run}": str(run.relative_to(self.here)),
            "{stopped}": str(stopped.relative_to(self.here)),
            "{stopped_id}": stopped.name,
        }
        self.keep = self.root / "keep"
        self.there = self.seen()
        for name in self.there:
            _copy(self.root / "in" / name, self.keep / name)

    def _build(self) -> None:
        "Tables, runs, a store, a search, a job."
        from conftest import good_frame
        from mutations import clean_inputs

        from lineupiq.training import runs

        about = {
            "path": "rows.csv",
            "task": "regression",
            "time": "day",
            "symbol": "shop",
            "label": "y",
            "label_lag": "12h",
            "features": {"x1": "numeric", "x2": "numeric"},
        }
        rows = good_frame(240)
        rows[:140].to_csv("rows.csv", index=False)
        rows.to_csv("later.csv", index=False)
        good_frame(140, "binary", seed=1).to_csv("games.csv", index=False)
        write = lambda name, value: Path(name).write_text(yaml.safe_dump(value, sort_keys=False))  # noqa: E731
        write("table.yaml", about)
        write("later.yaml", about | {"path": "later.csv"})
        write("games.yaml", about | {"path": "games.csv", "task": "binary"})
        write("history.yaml", about | {"history": {"y": {"last": [1], "mean": ["7D"]}}, "calendar": ["weekday"]})
        write(
            "experiment.yaml",
            {
                "experiment": {"name": "small", "description": "x"},
                "models": [{"name": "ridge", "config_path": "ridge.yaml"}],
                "data": {"source": "table.yaml", "path": None},
                "mlflow": {"tracking_uri": "off", "experiment_name": "x"},
                "output": {"base_dir": "experiments/runs"},
                "training": {"seed": 4},
            },
        )
        write("ridge.yaml", {"model": {"name": "ridge"}, "hyperparameters": {"alpha": 1.0}})
        write("gate.yaml", {"min_rows": 20, "draws": 100, "level": 0.9, "window": "40D"})
        write("drift.yaml", {"min_rows": 20, "draws": 100, "window": "40D", "alerts": ["none"]})
        write("training.yaml", {"seed": 3, "val": 0.2, "walk_forward": "2021-02-01:2021-03-01"})
        write("tuning.yaml", {"n_trials": 1, "spaces": {"ridge": {"alpha": {"low": 0.1, "high": 1.0, "log": True}}}})
        for kind in ("bars", "nfl"):
            clean_inputs()[kind].write(Path(kind))
        write("job.ipynb", NOTEBOOK)
        Path("job.ipynb").write_text(json.dumps(NOTEBOOK))
        for folder in ("home", "keys", "spool", "experiments/jobs"):
            Path(folder).mkdir(parents=True)
        for line in (
            "train --data table.yaml --model ridge --output runs|train --data table.yaml --model ridge --output runs --seed 2|train "
            "--data table.yaml --model ridge --output runs --seed 3|train --data games.yaml --model logistic --output runs|promote "
            f"{NAME} 1.0.0 --force --reason first|promote {OTHER} 1.0.0 --force --reason first|"
            f"tune --data table.yaml --model ridge --n-trials 1|sign --new-key keys/key|sign {NAME} 1.1.0 --key keys/key|drift {NAME} "
            "--data later.yaml --config drift.yaml|experiment --config experiment.yaml"
        ).split("|"):
            assert (told := answer(line.split())).code in (0, 3, 9), (line, told.code, told.err)
        with mock.patch.object(runs, "score_set", side_effect=KeyboardInterrupt):
            assert answer("train --data table.yaml --model ridge --output runs --seed 9".split()).code == 130
        oddities(Path("odd"))
        for p in [*Path().rglob("*.png"), *Path().rglob("*.html")]:
            p.unlink()

    @contextmanager
    def entered(self, env: dict[str, str]) -> Iterator[None]:
        "Its folder and its environment."
        before, was = dict(os.environ), Path.cwd()
        os.chdir(self.here)
        for key in [k for k in os.environ if k.startswith("LINEUPIQ_")]:
            del os.environ[key]
        os.environ.update(
            {k: str(self.here / v) if v in ("nfl", "spool", "home") else v for k, v in CONTEXTS.items()} | {"OMP_NUM_THREADS": "1"} | env
        )
        try:
            yield
        finally:
            os.chdir(was)
            os.environ.clear()
            os.environ.update(before)

    def seen(self) -> dict[str, tuple]:
        "Every name, with what tells a change."
        out, top = {}, str(self.root / "in")
        todo = [top]
        while todo:
            with os.scandir(todo.pop()) as entries:
                for e in entries:
                    s = e.stat(follow_symlinks=False)
                    kind = stat.S_IFMT(s.st_mode)
                    plain = kind == stat.S_IFREG
                    out[e.path[len(top) + 1 :]] = (
                        kind,
                        s.st_mode,
                        *((s.st_size, s.st_mtime_ns) if plain else (os.readlink(e.path),) if e.is_symlink() else ()),
                    )
                    if kind == stat.S_IFDIR:
                        todo.append(e.path)
        return out

    def restore(self) -> None:
        "Everything as it was built."
        now = self.seen()
        for name in sorted(set(now) - set(self.there)) + [
            n for n in self.there if n in now and now[n] != self.there[n] and now[n][0] != stat.S_IFDIR
        ]:
            _remove(self.root / "in" / name)
        for name in sorted(self.there):
            if not os.path.lexists(self.root / "in" / name) or now.get(name) != self.there[name]:
                _copy(self.keep / name, self.root / "in" / name)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _copy(one: Path, two: Path) -> None:
    two.parent.mkdir(parents=True, exist_ok=True)
    mode = one.lstat().st_mode
    if stat.S_ISDIR(mode):
        if two.is_symlink() or (two.exists() and not two.is_dir()):
            two.unlink()
        two.mkdir(exist_ok=True)
        two.chmod(stat.S_IMODE(mode))
        return
    _remove(two)
    if stat.S_ISLNK(mode):
        two.symlink_to(os.readlink(one))
    elif stat.S_ISFIFO(mode):
        os.mkfifo(two)
    elif stat.S_ISSOCK(mode):
        _socket(two)
    else:
        shutil.copy2(one, two)


def _socket(path: Path) -> None:
    was = Path.cwd()
    os.chdir(path.parent)  # an address has room for a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path.name)
    finally:
        os.chdir(was)


NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "id": "a",
            "metadata": {"tags": ["parameters"]},
            "source": "n = 1\njob_id = ''\nresult = ''",
            "outputs": [],
            "execution_count": None,
        }
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


def oddities(folder: Path) -> None:
    "Files that are none, or not what their names say."
    (folder / "folder").mkdir(parents=True)
    (folder / "locked").mkdir(mode=0o000)
    os.mkfifo(folder / "pipe")
    _socket(folder / "socket")
    (folder / "loop").symlink_to("loop")
    (folder / "loop.ipynb").symlink_to("loop.ipynb")
    (folder / "dangling").symlink_to("nowhere")
    said = {
        "empty": b"",
        "empty.yaml": b"",
        "empty.csv": b"",
        "latin1.yaml": "name: Zürich\n".encode("latin-1"),
        "binary": bytes(range(256)) * 20,
        "binary.csv": bytes(range(256)) * 20,
        "deep.yaml": DEEP.encode(),
        "deep.json": DEEP.encode(),
        "list.yaml": b"- 1\n- 2\n",
        "twice.yaml": b"seed: 1\nseed: 2\n",
        "aliases.yaml": (
            "a0: &a0 [x, x]\n"
            + "".join(
                f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}, *a{k - 1}, *a{k - 1}, *a{k - 1}, *a{k - 1}, *a{k - 1}, *a{k - 1}]\n"
                for k in range(1, 12)
            )
        ).encode(),
        "tags.yaml": b"seed: !!python/object/apply:os.mkdir [pwned]\n",
        "self.yaml": b"&a {seed: *a}\n",
        "wide.csv": (",".join(f"c{k}" for k in range(3000)) + "\n" + ",".join("1" * 3000) + "\n").encode(),
        "job.ipynb": b'{"cells": 5}',
    }
    for name, raw in said.items():
        (folder / name).write_bytes(raw)


# --- commands in this process ---


@dataclass
class Said:
    "What a command did."

    code: Any
    out: str
    err: str
    seconds: float = 0.0


class Hang(BaseException):
    "The alarm rang."


def _ring(*_: Any) -> None:
    raise Hang


def answer(argv: list[str]) -> Said:
    "Run a command here; what it raises is its code."
    from lineupiq.cli.program import exit_code

    out, err, started = io.StringIO(), io.StringIO(), time.monotonic()
    before = signal.signal(signal.SIGALRM, _ring)
    handler = logging.StreamHandler(err)
    logging.getLogger("lineupiq").addHandler(handler)
    signal.alarm(LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code: Any = exit_code(argv)
    except Hang:
        code = "hang"
    except BaseException as problem:  # SystemExit is one, too: a command returns its code
        import traceback

        code = f"{type(problem).__name__}: {problem}"
        err.write("".join(traceback.format_exception(problem)))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        logging.getLogger("lineupiq").removeHandler(handler)
    return Said(code, out.getvalue(), err.getvalue(), time.monotonic() - started)


def _no_picture(figure: Any, to: Any, **how: Any) -> None:
    "Figures are made, and not painted."
    to.write(b"picture") if hasattr(to, "write") else Path(to).write_bytes(b"picture")


@contextmanager
def quick() -> Iterator[None]:
    "Trainings stay in this process, `all` is a handful, the S&P is short, figures are not painted, and a job's kernel is not started."
    import typer

    from lineupiq.base import JobError
    from lineupiq.cli import program
    from lineupiq.data import bars
    from lineupiq.jobs import runner
    from lineupiq.registry import registry
    from lineupiq.workflows import train

    settings, listed, embedded, made = train.run_settings, registry().list_models, bars.sp500_bars, typer.main.get_command(program.app)

    def no_kernel(notebook: Path, out: Path, values: Any, box: dict[str, Any], tell: Any) -> None:
        box["error"] = JobError("no kernel here")
        box["over"].set()

    with (
        mock.patch.object(train, "run_settings", lambda *asked: replace(settings(*asked), isolate=False, draws=100)),
        mock.patch.object(type(registry()), "list_models", lambda *a, **k: [m for m in listed(*a[1:], **k) if m["name"] in CHEAP]),
        mock.patch.object(typer.main, "get_command", lambda app: made),
        mock.patch("matplotlib.figure.Figure.savefig", _no_picture),
        mock.patch.object(bars, "sp500_bars", lambda: embedded().groupby("symbol").tail(150).reset_index(drop=True)),
        mock.patch.object(runner, "_execute", no_kernel),
    ):
        yield


# --- cases ---


def pick(rng: np.random.Generator, values: Any) -> Any:
    return values[int(rng.integers(len(values)))]


def value_for(rng: np.random.Generator, param: Any) -> str:
    "A right value, a wrong one of the type, or anything."
    name = param.name.removeprefix("as_")
    kind = str(param.type_descriptor.annotation)
    typed = INTS if "int" in kind else FLOATS if "float" in kind else PLACES if "Path" in kind else TEXTS
    good = GOOD.get(name, typed)
    if name in WHOLE:
        return pick(rng, good)
    at = rng.random()
    if at < 0.5:
        return pick(rng, good)
    if at < 0.9:
        return pick(
            rng,
            NAMES
            if name in ("name", "model")
            else VERSIONS
            if name == "version"
            else PLACES
            if name in ("data", "path", "output", "run", "check") and rng.random() < 0.7
            else typed,
        )
    return pick(rng, pick(rng, [TEXTS, INTS, FLOATS, TIMES, LENGTHS, VERSIONS, NAMES, PLACES]))


def option_for(rng: np.random.Generator, param: Any) -> list[str]:
    "An option with its value, in one of its forms; an argument."
    if param.param_type_name == "argument":
        return [value_for(rng, param)]
    flag = pick(rng, [*param.opts, *param.secondary_opts])
    if param.is_flag:
        return [flag if rng.random() < 0.95 else f"{flag}={value_for(rng, param)}"]
    value = value_for(rng, param)
    return [flag] if rng.random() < 0.02 else [f"{flag}={value}"] if rng.random() < 0.3 and flag.startswith("--") else [flag, value]


JUNK = [
    "--",
    "-h",
    "--help",
    "--version",
    "--debug",
    "-",
    "--nope",
    "--nope=1",
    "-x",
    "-vvv",
    "---",
    "--=",
    "--json=1",
    "--no-json",
    "extra",
    "--data",
    "--model",
    "--output",
    "-p",
    "--config-file",
    "@args.txt",
    "\udce4",
    "--\udce4",
    "--é",
    "x" * 3000,
    "--" + "x" * 3000,
]


def bent(rng: np.random.Generator, argv: list[str], start: int, params: list[Any]) -> list[str]:
    "A line with one thing changed."
    argv, how = list(argv), rng.random()
    at = int(rng.integers(start, len(argv))) if len(argv) > start else None
    if how < 0.45 or at is None:
        new = option_for(rng, pick(rng, params))
        place = int(rng.integers(start, len(argv) + 1)) if rng.random() < 0.2 else len(argv)
        return argv[:place] + new + argv[place:]
    if how < 0.68:  # another value of an option that is there
        named = {flag: p for p in params for flag in p.opts}
        if at > 0 and argv[at - 1] in named and not getattr(named[argv[at - 1]], "is_flag", False):
            argv[at] = value_for(rng, named[argv[at - 1]])
        else:
            argv[at] = pick(rng, pick(rng, [TEXTS, NAMES, VERSIONS, PLACES, TIMES]))
    elif how < 0.76:
        del argv[at]
    elif how < 0.82:
        argv[at:at] = argv[at : at + int(rng.integers(1, 3))]
    elif how < 0.86:
        argv[start:] = [argv[start + int(k)] for k in rng.permutation(len(argv) - start)]
    elif how < 0.95:
        argv.insert(at, pick(rng, JUNK))
    else:
        text = argv[int(rng.integers(len(argv)))]
        k = int(rng.integers(len(text) + 1))
        argv[argv.index(text)] = text[:k] + pick(rng, ["", "x", "-", "=", " ", "\n", "é", "\udce4"]) + text[k + 1 :]
    return argv


@dataclass
class Case:
    "A command line, the environment and what was done to files before."

    seed: int
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    damage: list[tuple[str, int]] = field(default_factory=list)  # a file, the seed of what is done to it
    did: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        env = " ".join(f"{k}={ascii(v)[:80]}" for k, v in self.env.items())
        line = shlex.join(self.argv).encode("unicode_escape").decode()
        return f"{self.seed}: {env} lineupiq {line if len(line) < 1500 else line[:1500] + ' …'} {self.did or ''}"


def case(seed: int, world: World, tree: dict[tuple[str, ...], list[Any]], env_names: list[str]) -> Case:
    "The case of a seed."
    rng = np.random.default_rng([19, seed])
    path = pick(rng, list(tree))
    if path[0] in HEAVY and rng.random() < 0.7:
        path = pick(rng, list(tree))
    right = [words for line in SENSIBLE if tuple((words := line.split())[: len(path)]) == path]
    argv = pick(rng, right if right and rng.random() < 0.95 else [list(path)])
    damaged = rng.random() < 0.3
    for _ in range(int(pick(rng, [0, 0, 0, 1] if damaged else [0, 1, 1, 1, 2, 2, 3, 5]))):
        argv = bent(rng, argv, len(path) if rng.random() < 0.97 else 0, tree[path])
    if rng.random() < 0.75:
        argv = [*argv, "--json"]
    for word, meant in world.words.items():
        argv = [a.replace(word, meant) for a in argv]
    env = {}
    if rng.random() < 0.12:
        env[pick(rng, env_names)] = pick(rng, pick(rng, [TEXTS, PLACES, INTS])).replace("\0", "")
    damage = []
    if damaged:
        files = sorted(
            n
            for n, (kind, *_) in world.there.items()
            if kind == stat.S_IFREG and n.startswith("w/") and not n.startswith(("w/odd", "w/keys"))
        )
        wanted = _near(files, argv)
        damage = [
            (_one_of(rng, wanted if wanted and rng.random() < 0.85 else files, argv), int(rng.integers(2**31)))
            for _ in range(1 + (rng.random() < 0.2))
        ]
    return Case(seed, argv, env, damage)


HEAVY = ("train", "train-all", "tune", "experiment", "retrain", "audit", "models", "sources", "job")  # take seconds where they succeed
READS = {
    "train": ("w/*.yaml", "w/runs/", "w/*.csv", "w/tuning/best"),
    "train-all": ("w/*.yaml", "w/runs/", "w/*.csv", "w/tuning/best"),
    "tune": ("w/*.yaml", "w/tuning", "w/*.csv"),
    "experiment": ("w/experiment", "w/ridge", "w/table"),
    "job": ("w/job", "w/drift"),
    "config": ("w/*.yaml",),
    "sources": ("w/table", "w/rows", "w/bars"),
    "evaluate": ("w/runs/", "w/later"),
    "export": ("w/runs/",),
    "audit": ("w/runs/", "w/table", "w/rows"),
    "track": ("w/spool",),
    "drift": ("w/models", "w/experiments", "w/drift", "w/later"),
    "validate": ("w/models", "w/gate", "w/later"),
    "predict": ("w/models", "w/runs", "w/later", "w/rows"),
    "retrain": ("w/models", "w/gate", "w/drift", "w/later", "w/runs", "w/experiments"),
}


def _near(files: list[str], argv: list[str]) -> list[str]:
    "Files that such a command reads."
    starts = READS.get(argv[0] if argv else "", ("w/models",))
    return [
        f
        for f in files
        if any(
            f.endswith(".yaml") and f.count("/") == 1
            if s == "w/*.yaml"
            else f.endswith(".csv") and f.count("/") == 1
            if s == "w/*.csv"
            else f.startswith(s)
            for s in starts
        )
    ]


def _one_of(rng: np.random.Generator, files: list[str], argv: list[str]) -> str:
    "A file; each kind as often as another, and those of what the line names first."
    named = [f for f in files if any(len(a) > 3 and a in f for a in argv)]
    some = named if named and rng.random() < 0.6 else files
    name = pick(rng, sorted({f.rpartition("/")[2] for f in some}))
    return pick(rng, [f for f in some if f.endswith("/" + name)])


# --- damage ---

ODD: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    5,
    10**30,
    -(10**30),
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\0",
    "\ud800",
    "1",
    "nan",
    "../x",
    "a" * 5000,
    "2021-01-01",
    "2021-13-45",
    [],
    {},
    [[1]],
    ["a"],
    [None],
    {"a": 1},
    {"": {}},
    [1, 2, 3],
    "ridge",
    "table.yaml",
    "\x1b[31m",
    10**400,
]


def _nested(depth: int) -> Any:
    out: Any = []
    for k in range(depth):
        out = {"a": out} if k % 2 else [out]
    return out


def twisted(value: Any, rng: np.random.Generator) -> Any:
    "A structure with one part that is missing, another, of another type, or misspelt."
    place, key, way = None, None, value
    while isinstance(way, (dict, list)) and way and (place is None or rng.random() < 0.8):
        place = way
        key = pick(rng, list(way)) if isinstance(way, dict) else int(rng.integers(len(way)))
        way = place[key]
    new = _nested(int(pick(rng, [5, 60, 400]))) if rng.random() < 0.05 else pick(rng, ODD)
    if place is None:
        return new
    how = rng.random()
    if how < 0.2:
        del place[key]
    elif how < 0.3 and isinstance(place, dict):
        place[pick(rng, [str(key) + "x", "", "é", str(key).upper(), "\x1b[1m"])] = place.pop(key)
    elif how < 0.36 and isinstance(place, dict):
        place[pick(rng, ["new", "__class__", "0", "n"])] = new
    elif how < 0.44 and isinstance(place[key], (int, float)) and not isinstance(place[key], bool):
        place[key] = pick(rng, [-place[key], place[key] + 1, str(place[key]), 10**12, float(place[key])])
    else:
        place[key] = new
    return value


def spoilt(raw: bytes, rng: np.random.Generator) -> bytes:
    "Bytes that are cut, turned, doubled, emptied, or in another encoding."
    k = int(rng.integers(len(raw) + 1))
    flip = bytearray(raw or b"x")
    flip[min(k, len(flip) - 1)] ^= 1 << int(rng.integers(8))
    return pick(
        rng,
        [
            raw[:k],
            bytes(flip),
            raw + raw,
            b"",
            b"\xef\xbb\xbf" + raw,
            raw.decode("latin-1").encode("utf-16"),
            raw[:k] + b"\xff\xfe\x80" + raw[k:],
            raw[:k] + b"\0" * 30 + raw[k:],
            raw.replace(b"\n", b"\r\n"),
            raw[k:],
            b"null",
            b"[]",
            b"{}",
            b"5",
            DEEP.encode(),
            raw + b"\n}",
            raw.replace(b'"', b"'"),
        ],
    )


def texted(text: str, rng: np.random.Generator) -> str:
    "A table or a log with other lines or cells."
    lines = text.splitlines() or [""]
    k, how = int(rng.integers(len(lines))), rng.random()
    if how < 0.2:
        del lines[k]
    elif how < 0.3:
        lines.insert(k, lines[int(rng.integers(len(lines)))])
    elif how < 0.4:
        lines.insert(k, pick(rng, ["", "null", "{}", "[]", ",,,,,,,", "x", '{"n": 1}', DEEP]))
    else:
        cells = lines[k].split(",")
        cells[int(rng.integers(len(cells)))] = str(
            pick(rng, ["", "nan", "inf", "1e400", "x", "-1", "2021-13-45", "\x00", "é", "9" * 400, '"', "=1+1", "\x1b[31m"])
        )
        lines[k] = ",".join(cells)
    return "\n".join(lines) + "\n"


def dumped(value: Any, rng: np.random.Generator) -> str:
    text = json.dumps(value, indent=None if rng.random() < 0.2 else 1)
    if rng.random() < 0.1 and text.startswith("{") and len(text) > 2:
        text = text.replace("{", '{"format": 7, "format": 8, ', 1)
    return text


def damage(path: Path, seed: int) -> str:
    "Do something to a file, and say what."
    rng = np.random.default_rng([20, seed])
    if not path.is_file():  # damaged before
        return f"{path.name}: nothing"
    how = rng.random()
    if how < 0.06:
        what = pick(rng, ["gone", "folder", "pipe", "loop", "full folder"])
        _remove(path)
        {
            "gone": lambda: None,
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "loop": lambda: path.symlink_to(path.name),
            "full folder": lambda: (path / "x").mkdir(parents=True),
        }[what]()
        return f"{path.name}: {what}"
    raw = path.read_bytes()
    what = "bytes"
    try:
        if how < 0.2 or not raw:
            raise ValueError
        if path.suffix in (".json", ".ipynb", ".head"):
            new, what = dumped(twisted(json.loads(raw), rng), rng).encode("utf-8", "replace"), "json"
        elif path.suffix in (".yaml", ".yml"):
            new, what = (
                yaml.safe_dump(twisted(yaml.safe_load(raw), rng), sort_keys=False, allow_unicode=bool(rng.integers(2))).encode(
                    "utf-8", "surrogatepass"
                ),
                "yaml",
            )
        elif path.suffix == ".jsonl" and rng.random() < 0.6:
            lines = raw.decode().splitlines()
            k = int(rng.integers(len(lines)))
            lines[k] = json.dumps(twisted(json.loads(lines[k]), rng))
            new, what = ("\n".join(lines) + "\n").encode(), "line"
        elif path.suffix in (".jsonl", ".csv", ".txt", "") or path.name == "VERSION":
            new, what = texted(raw.decode(), rng).encode("utf-8", "replace"), "text"
        elif path.suffix == ".parquet":
            new, what = parquet(path, rng), "parquet"
        else:
            new = spoilt(raw, rng)
    except (ValueError, RecursionError, OverflowError, yaml.YAMLError, TypeError):
        new = spoilt(raw, rng)
    path.write_bytes(new)
    sealed = reseal(path) if rng.random() < 0.8 else ""
    return f"{path}: {what}{sealed}: {ascii(new[:0] if what == 'parquet' else _difference(raw, new))}"


def _difference(one: bytes, two: bytes) -> bytes:
    k = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    return two[max(0, k - 30) : k + 60]


def parquet(path: Path, rng: np.random.Generator) -> bytes:
    "The same table with other columns, types or rows."
    import pandas as pd

    frame = pd.read_parquet(path)
    column = pick(rng, list(frame.columns))
    change = pick(
        rng,
        [
            lambda f: f.drop(columns=column),
            lambda f: f.rename(columns={column: str(column) + "x"}),
            lambda f: f.assign(**{str(column): "x"}),
            lambda f: f.assign(**{str(column): np.nan}),
            lambda f: f.assign(**{str(column): np.inf}),
            lambda f: f[:0],
            lambda f: f[:1],
            lambda f: pd.concat([f, f]),
            lambda f: f[::-1],
            lambda f: f.assign(**{str(column): None}),
            lambda f: f.astype(str),
            lambda f: f.assign(**{str(column): pd.Timestamp("2300-01-01", unit=None).as_unit("us")}),
            lambda f: f.assign(**{str(column): [[1]] * len(f)}),
            lambda f: pd.DataFrame(),
            lambda f: f.reset_index(drop=True).iloc[:, ::-1],
        ],
    )
    buffer = io.BytesIO()
    change(frame).to_parquet(buffer)
    return buffer.getvalue()


def reseal(path: Path) -> str:
    "Digests of manifests above a file, and of the journal's line that names the version's, as who forges them writes them."
    from lineupiq.core.files import MANIFEST, sha256_file

    said = ""
    for folder in path.parents:
        manifest = folder / MANIFEST
        if not manifest.is_file() or (path.name == MANIFEST and folder == path.parent):
            continue
        try:
            told = json.loads(manifest.read_bytes())
            for name in told["files"]:
                if (folder / name).is_file():
                    told["files"][name] = {"sha256": sha256_file(folder / name), "bytes": (folder / name).stat().st_size}
            was, _ = sha256_file(manifest), manifest.write_text(json.dumps(told))
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            continue
        said = ", sealed"
        journal = Path("models/journal.jsonl")
        if journal.is_file():
            _rechain(journal, was, sha256_file(manifest))
    return said


def _rechain(journal: Path, was: str, now: str) -> None:
    from lineupiq.core.journal import GENESIS, line_digest

    prev, out = GENESIS, []
    try:
        lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
        lines = [told for told in lines if isinstance(told, dict)]
    except ValueError:  # it was damaged before
        return
    for told in lines:
        told["prev"] = prev
        if told.get("digest") == was:
            told["digest"] = now
        out.append(json.dumps(told, ensure_ascii=False).encode())
        prev = line_digest(out[-1])
    journal.write_bytes(b"\n".join(out) + b"\n")
    _remove(journal.with_suffix(".head"))


# --- what is a fault ---

KNOWN = {n for n, c in vars(base).items() if isinstance(c, type) and issubclass(c, base.LineupIQError)} | {"UsageError"}


def judge(said: Said, one: Case, before: dict[str, tuple], after: dict[str, tuple]) -> list[str]:
    "What is wrong with an answer; empty where nothing is."
    out = [] if said.code in CODES and not isinstance(said.code, bool) else [f"code {said.code}"]
    if "Traceback" in said.err + said.out and "--debug" not in one.argv and "LINEUPIQ_DEBUG" not in one.env:
        out.append("traceback")
    told = said.out.strip().splitlines()
    if said.code in (2, 3, 4, 6, 7, 8) and not (said.err.strip() or told):
        out.append("no word")
    if "--json" in one.argv and said.code != 0 and told and told[-1].startswith("{"):
        try:
            error = json.loads(told[-1]).get("error")
            if (
                isinstance(error, dict)
                and "type" in error
                and "exit_code" in json.loads(told[-1])
                and error["type"] not in KNOWN
                and said.code != 8
            ):
                out.append(f"raw {error['type']}")
        except ValueError:
            out.append("no JSON")
    new = [n for n in after if n not in before]
    if litter := [n for n in new if n.endswith((".tmp", "/.work")) or "pwned" in n]:
        out.append(f"left {litter[:3]}")
    if said.code == 2 and (litter := [n for n in new if not n.endswith(("lock", "journal.head"))]):
        out.append(f"left by a refusal {litter[:3]}")
    return out


def run(one: Case, world: World) -> tuple[Said, list[str]]:
    "Run a case, judge it, and put the world back."
    logs = set(Path(tempfile.gettempdir()).glob("lineupiq-*.log"))
    with world.entered(one.env):
        try:
            for name, how in one.damage:
                with contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):  # a second one
                    one.did.append(damage(Path(name.removeprefix("w/")), how))
            before = world.seen()
            said = answer(one.argv)
            after = world.seen()
        finally:
            world.restore()
    faults = judge(said, one, before, after)
    for log in set(Path(tempfile.gettempdir()).glob("lineupiq-*.log")) - logs:
        said.err += log.read_text(encoding="utf-8", errors="replace")[-3000:]
        log.unlink()
    return said, faults


def main(seeds: list[int]) -> None:
    "Show cases."
    tree, env_names = commands(), variables()
    with tempfile.TemporaryDirectory() as folder, quick():
        world = World(Path(folder) / "world")
        for seed in seeds:
            one = case(seed, world, tree, env_names)
            said, faults = run(one, world)
            print(
                one,
                f"→ {said.code} in {said.seconds:.1f} s",
                faults or "",
                ascii((said.err or said.out)[:300]) if not faults else said.err[-3000:],
                sep="\n   ",
                flush=True,
            )


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    main([int(a) for a in sys.argv[1:]])
