"""A look at a test window is recognised by what its rows hold, counted once each, and cannot be taken back quietly."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import IntegrityError
from lineupiq.data.making import Cleaning, make_panel
from lineupiq.scoring.ledger import LEDGER, ledger_path, look_sentence, looks_at, read_ledger, record_look, window_of

KIND = {
    "binary": lambda r, n: r.integers(0, 2, n),
    "multiclass": lambda r, n: r.integers(-1, 2, n),
    "regression": lambda r, n: r.normal(size=n),
    "counts": lambda r, n: r.poisson(30, n),
}


def league(seed, kind, symbols=8, days=260, features=("x", "z"), start="2021-01-04", names=None):
    "Seeded rows of several symbols; the same seed and symbol give the same rows, however many there are."
    parts = []
    for k in range(symbols):
        rng = np.random.default_rng([seed, k])
        frame = pd.DataFrame({"symbol": names[k] if names else f"s{k}", "time": pd.date_range("2020-01-01", periods=900)})
        frame["label"] = KIND[kind](rng, 900)
        for name in ("x", "z", "v"):
            frame[name] = rng.normal(size=900).cumsum()
        parts.append(frame[(frame["time"] >= start)].iloc[:days])
    return make_panel(
        pd.concat(parts),
        list(features),
        task="regression" if kind == "counts" else kind,
        name=f"league {seed}",
        cleaning=Cleaning(sort=True),
    )


def every(panel):
    return np.arange(len(panel))


def look(panel, path, rows=None, **how):
    return record_look(
        panel,
        every(panel) if rows is None else rows,
        path=path,
        **({"command": "train", "run": "r", "models": ["m"], "metric": "rmse"} | how),
    )


@pytest.mark.parametrize("kind", list(KIND))
def test_the_same_rows_are_known_whatever_they_are_called(kind, tmp_path):
    panel, path = league(0, kind), tmp_path / "a" / LEDGER
    assert look(panel, path) == []
    renamed = league(0, kind, names=[f"player {9 - k}" for k in range(8)])  # the symbols' order changes with their names
    mixed = np.random.default_rng(1).permutation(len(panel))
    moved = path.rename(tmp_path / "elsewhere.jsonl")
    for n, (rows, of) in enumerate([(None, renamed), (mixed, panel), (None, replace(panel, name="other", frame=panel.frame.copy()))], 1):
        before = look(of, moved, rows)
        assert len(before) == n and all(b.share == 1 and b.outcomes for b in before)
    text = tmp_path / "rows.csv"  # written as text and read again
    panel.frame.to_csv(text, index=False, float_format="%.9g")
    again = make_panel(pd.read_csv(text).drop(columns=["label_end", "weight"]), ["x", "z"], task=panel.task, name="csv")
    assert looks_at(again, every(again), moved)[1][0].share == 1


@pytest.mark.parametrize("kind", list(KIND))
def test_overlapping_windows_count_by_the_shared_part(kind):
    panel = league(0, kind)
    window = window_of(panel, every(panel))
    cases = {
        "shifted by a week": (league(0, kind, start="2021-01-11"), 253 / 260),
        "two symbols more": (league(0, kind, symbols=10), 0.8),
        "half the symbols": (league(0, kind, symbols=4), 1.0),
        "twelve weeks more": (league(0, kind, days=344), 260 / 344),
        "the last half": (league(0, kind, start="2021-05-14", days=130), 1.0),
    }
    for what, (other, expected) in cases.items():
        share, outcomes = window_of(other, every(other)).same_as(window)
        assert outcomes and abs(share - expected) < 0.09, (what, share, expected)


@pytest.mark.parametrize("kind", list(KIND))
def test_unrelated_rows_of_the_same_days_are_not_the_same(kind):
    window = window_of(p := league(0, kind), every(p))
    for seed in range(1, 9):
        other = league(seed, kind)
        assert window_of(other, every(other)).same_as(window) == (0.0, False)
    later = league(0, kind, start="2021-11-01")  # the same league, afterwards
    assert window_of(later, every(later)).same_as(window) == (0.0, False)


def test_another_outcome_or_other_features_of_the_same_rows_are_recognised():
    panel = league(0, "multiclass")
    window = window_of(panel, every(panel))
    fresh = panel.frame.assign(label=np.random.default_rng(5).integers(-1, 2, len(panel)))
    share, outcomes = window_of(make_panel(fresh, ["x", "z"], task="multiclass", horizon=20), every(panel)).same_as(window)
    assert share == 1 and not outcomes
    other = league(0, "multiclass", features=("v",))  # not one feature in common: known by its outcomes
    share, outcomes = window_of(other, every(other)).same_as(window)
    assert share == 1 and outcomes


def test_what_the_sentence_says(tmp_path):
    panel, path = league(0, "binary"), tmp_path / LEDGER
    assert look_sentence(look(panel, path)) == ""
    second = look_sentence(look(panel, path, command="evaluate"))
    assert "second look at this test window" in second and "(train, r)" in second
    part = look_sentence(look(league(0, "binary", days=500), path))
    assert "third look at a part of this test window" in part and "%" in part
    assert looks_at(panel, every(panel), path)[0] == 3


def test_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.delenv("LINEUPIQ_LEDGER", raising=False)
    assert ledger_path(tmp_path / "experiments" / "runs") == (tmp_path / "experiments" / LEDGER).resolve()
    # a new output does not make old rows new
    assert ledger_path(tmp_path / "experiments" / "b") == ledger_path(tmp_path / "experiments" / "a")
    monkeypatch.setenv("LINEUPIQ_LEDGER", str(tmp_path / "mine.jsonl"))
    assert ledger_path("anything") == tmp_path / "mine.jsonl"


def test_a_changed_ledger_is_noticed_and_a_torn_line_is_not_counted(tmp_path):
    panel, path = league(0, "binary", days=40), tmp_path / LEDGER
    for k in range(4):
        look(panel, path, run=f"r{k}")
    whole = path.read_text()
    lines = whole.splitlines()
    for bad in (
        [lines[0], *lines[2:]],
        [lines[0].replace("r0", "rx"), *lines[1:]],
        [lines[1], lines[0], *lines[2:]],
        lines[1:],
        [lines[0], "{}", *lines[1:]],
        [lines[0], "[1]", *lines[1:]],
        ["nonsense", *lines],
    ):
        path.write_text("\n".join(bad) + "\n")
        with pytest.raises(IntegrityError, match="the ledger of looks was changed") as err:
            look(panel, path)
        assert "restore the file" in str(err.value) and err.value.exit_code == 4
        assert path.read_text() == "\n".join(bad) + "\n"  # nothing was added to it
    for torn in (whole + '{"when', whole[:-5], whole + "\x00\x00"):
        path.write_text(torn)
        counted = len(read_ledger(path))
        assert counted == torn.count("\n") and len(look(panel, path)) == counted and len(read_ledger(path)) == counted + 1


def _many(path, start, count):
    panel = league(start, "binary", days=30)
    for k in range(count):
        look(panel, path, run=f"{start}_{k}")


def test_eight_writers_lose_no_line(tmp_path):
    path, context = tmp_path / LEDGER, multiprocessing.get_context("spawn")
    workers = [context.Process(target=_many, args=(path, s, 6)) for s in range(8)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(120)
    entries = read_ledger(path)
    assert len(entries) == 48 and len({e["run"] for e in entries}) == 48


def test_killed_writers_leave_a_ledger_that_can_be_read(tmp_path):
    path = tmp_path / LEDGER
    code = textwrap.dedent(f"""
        import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
        from pathlib import Path
        from test_ledger import league, look
        panel = league(0, "binary", days=30)
        print("ready", flush=True)
        while True: look(panel, Path({str(path)!r}))
    """)
    rng, seen = np.random.default_rng(0), 0
    for _ in range(4):
        worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        worker.stdout.readline()
        time.sleep(float(rng.uniform(0.02, 0.3)))
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        entries = read_ledger(path)
        assert len(entries) >= seen
        seen = len(entries)
    assert len(look(league(0, "binary", days=30), path)) == seen > 0
    assert all("league" not in json.dumps(e) for e in read_ledger(path))  # no name of a source or a path in it
