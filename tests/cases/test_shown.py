"""Names that would do something where they are shown: on a terminal, in a log, in Markdown, in a spreadsheet, in a message."""

import csv
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import good_frame

from lineupiq.base import DataError, NotifyError
from lineupiq.cli.program import exit_code
from lineupiq.core.text import csv_text, markdown, visible
from lineupiq.report.document import Document, Section, Table, page_html, page_markdown
from lineupiq.store.layout import Store
from lineupiq.store.versions import promote, publish, repair
from lineupiq.tracking.notify import Message, destinations, markdown_text, slack_text
from lineupiq.workflows.predict import written

ROOT = Path(__file__).resolve().parents[2]
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
ODD = {
    "escape": "\x1b[2J\x1b[1;31mgone",
    "title": "\x1b]0;owned\x07",
    "c1": "\x9b31mred",
    "null": "a\x00b",
    "back": "ok\b\bno",
    "return": "fine\rerror",
    "bidi": "\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "half": "\udcff",
    "line": "a\u2028b",
    "delete": "a\x7fb",
}
# what a file system and a CSV take
EVERY = "".join(ODD[k] for k in ("escape", "title", "c1", "back", "return", "bidi", "isolate", "line", "delete"))
FINE = ("São Paulo", "李", "🏈", "Zürich", "שלום", "naïve_name")
HOSTILE = "@everyone ![x](https://evil.example/a.png) <img src=x> | `rm` [see](http://evil.example) #12"


@pytest.fixture
def said(capsys, in_process):
    "Run a command as people see it; (code, standard output and error together)."

    def run(*argv):
        capsys.readouterr()
        code = exit_code([str(a) for a in argv])
        told = capsys.readouterr()
        return code, told.out + told.err

    return run


def clean(text: str) -> bool:
    return not RAW.search(text)


@pytest.mark.parametrize("word", [EVERY, ODD["null"], ODD["half"]], ids=["every", "null", "half"])
def test_what_is_typed_is_not_obeyed(said, word):
    for argv in (
        ["train", f"--{word}"],
        ["train", "--n-splits", word],
        ["models", word, word],
        [word],
        ["verify", word],
        ["config", "check", word],
        ["train", "--data", f"{word}.yaml", "--model", "ridge"],
        ["train", "--data", "noise-bars", "--model", word],
        ["predict", "--model", f"./{word}"],
        ["history", "--at", word],
        ["rollback", "nobody", "--reason", word],
        ["sources", word],
        ["train", "--data", "noise-bars", "--model", "ridge"],
        ["retrain", "--all", "--notify", word],
        ["drift", word],
        ["job", "show", word],
        ["export", "--run", word, "--output", "x.onnx"],
    ):
        for more in ([], ["--json"]):
            code, text = said(*argv, *more)
            assert code not in (0, 1) and clean(text), (argv, code, text)


@pytest.mark.parametrize("fine", FINE)
def test_other_scripts_stay_as_they_are(said, fine):
    assert visible(fine) == fine
    for argv in (
        ["verify", "nobody", fine],
        ["train", "--data", f"{fine}.yaml", "--model", "ridge"],
        ["predict", "--model", f"./{fine}", "--json"],
    ):
        assert fine in said(*argv)[1], argv


@pytest.mark.filterwarnings("ignore:Glyph")
def test_columns_symbols_and_files(said, table, tmp_path, caplog):
    word, frame = EVERY.replace("\r", ""), good_frame(120)
    frame["shop"] = frame["shop"].map({"a": f"a{word}", "b": "São"})
    frame = frame.rename(columns={"x1": f"x{word}", "y": f"y{word}"})
    place = tmp_path / f"here{word}"
    place.mkdir()
    features = {f"x{word}": "numeric", "x2": "numeric"}
    for argv, changes in (
        (["--model", "ridge"], {}),
        (["--model", "ridge", "--json"], {}),
        (["--model", "ridge"], {"features": {f"z{word}": "numeric"}}),
        (["--model", "ridge"], {"label": f"q{word}"}),
        (["--model", "ridge"], {"time": f"x{word}"}),
        (["--model", "logistic"], {"task": "multiclass"}),
    ):
        about = table(frame, folder=place, **({"label": f"y{word}", "features": features} | changes))
        code, text = said("train", "--data", about, *argv, "--output", tmp_path / "out")
        assert code != 1 and clean(text), (argv, changes, text)
        if not changes:
            assert code == 0, text
    for report in (tmp_path / "out").rglob("report.*"):
        if report.suffix in (".md", ".html"):
            assert clean(report.read_text()), report
    assert clean(caplog.text.replace("\n", ""))
    [page, *_] = (tmp_path / "out").rglob("report.md")
    assert markdown(f"x{word}") in page.read_text()


def test_what_stands_in_a_store(said, tmp_path, monkeypatch):
    store = Store(tmp_path / "models")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "w").write_text("w")
    publish(
        store,
        "QB_yards",
        tmp_path / "source",
        {"metrics": {"score": 1.0, "metric": ODD["escape"]}, "model": ODD["bidi"], "run_id": ODD["c1"]},
    )
    promote(store, "QB_yards", force=True, reason=f"better {ODD['escape']} {ODD['bidi']} São")
    for odd in ("escape", "c1", "bidi"):
        (store.root / "archive" / f"x{ODD[odd]}").mkdir()
        (store.root / "archive" / "QB_yards" / f"x{ODD[odd]}").mkdir()
    for argv in (
        ["verify"],
        ["history"],
        ["version", "list"],
        ["version", "show", "QB_yards", "1.0.0"],
        ["doctor"],
        ["drift", "QB_yards"],
        ["validate", "QB_yards"],
    ):
        for more in ([], ["--json"]):
            code, text = said(*argv, *more)
            assert code != 1 and clean(text), (argv, text)
    assert "São" in said("history")[1]


def test_json_is_the_same_json(capsys):
    from lineupiq.cli.app import say

    value = {f"a{w}": [w, {"b": f"{w}\n"}] for w in ODD.values()} | {"fine": list(FINE)}
    say(value, True)
    line = capsys.readouterr().out
    assert clean(line) and json.loads(line) == value and all(f in line for f in FINE)


def test_logs_of_the_library_and_of_the_command(caplog):
    log = logging.getLogger("lineupiq")
    for word in ODD.values():
        log.warning("the column %s is empty", f"{word}\nERROR all is lost")
    assert all(clean(r.getMessage()) and "\n" not in r.getMessage() for r in caplog.records) and len(caplog.records) == len(ODD)
    script = (
        "import logging, sys, warnings; import lineupiq.cli.program as p\n"
        "def stand_in(argv): logging.getLogger('papermill').warning('cell \\x1b[2J of %s', '\\u202ex'); "
        "logging.getLogger('lineupiq').error('a\\x9bb'); warnings.warn('c\\x1b]0;t\\x07'); p._fail(ValueError('d\\x1bc'), 3, True); "
        "return 3\n"
        "p.exit_code = stand_in; p.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    )
    text = (done.stdout + done.stderr).decode()
    assert done.returncode == 3 and clean(text) and text.count("\\u001b") >= 4 and "a\\u009bb" in text, text


def test_errors_of_libraries_that_quote_data(said, monkeypatch):
    from lineupiq.workflows import configs

    for err in (
        DataError("odd", where=ODD["escape"], found=ODD["bidi"]),
        ValueError(f"could not convert string to float: {ODD['c1']}"),
        KeyError(ODD["escape"]),
        OSError(5, "no", ODD["escape"]),
    ):
        monkeypatch.setattr(configs, "model_table", lambda *a, err=err: (_ for _ in ()).throw(err))
        for more in ([], ["--json"]):
            assert clean(said("models", *more)[1]), err
    monkeypatch.setenv("LINEUPIQ_DEBUG", "1")
    assert clean(said("models")[1])


# --- Markdown


def test_markdown_of_reports_calls_nobody():
    frame = pd.DataFrame({HOSTILE: [HOSTILE], "n": [1.5]})
    text = page_markdown(Document(HOSTILE, HOSTILE, [HOSTILE], [Section(HOSTILE, [HOSTILE, Table(frame, HOSTILE)])], HOSTILE))
    shown = re.sub(r"\\.", "", text)  # what is escaped stands there as itself
    assert (
        "@everyone" not in text
        and "://" not in text
        and "<img" not in text
        and "](" not in shown
        and "`" not in shown
        and "#12" not in text
    )
    rows = [line for line in shown.splitlines() if line.startswith("|")]
    assert [r.count("|") for r in rows] == [3, 3, 3]
    assert "<img" not in page_html(Document(HOSTILE, HOSTILE, [HOSTILE], [], ODD["bidi"])) and clean(
        page_html(Document(ODD["escape"], ODD["c1"], about=ODD["bidi"])).replace("\n", "")
    )


def test_messages_call_nobody():
    message = Message(HOSTILE + ODD["escape"], [HOSTILE + ODD["bidi"]], {HOSTILE: HOSTILE, ODD["c1"]: ODD["null"]})
    text = re.sub(r"\\.", "", markdown_text(message))
    assert "@everyone" not in text and "://" not in text and "<img" not in text and "](" not in text and "`" not in text
    assert clean(markdown_text(message)) and clean(slack_text(message)) and "<" not in slack_text(message)


def test_an_unknown_destination_is_not_repeated(said, caplog):
    for token in ("T0SECRET/B0SECRET/x", "hooks.slack.com/services/T0SECRET", "xoxb-SECRET", "slackSECRET", "SECRET@host"):
        with pytest.raises(NotifyError, match="unknown destination") as err:
            destinations([token])
        assert "SECRET" not in str(err.value) + repr(err.value)
        for argv in (["retrain", "--all"], ["retrain", "nobody"], ["job", "drift"]):
            code, text = said(*argv, "--notify", token)
            assert code == 2 and "unknown destination" in text and "SECRET" not in text + caplog.text, (argv, code, text)
            assert "SECRET" not in said(*argv, "--notify", token, "--json")[1]


# --- CSV

FORMULAS = ["=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"]
KEPT = ["-3.2", "+4", "-inf", "1e5", "São", "a=b", "", "'=1", " =1"]


def test_cells_that_a_spreadsheet_would_run(tmp_path):
    frame = pd.DataFrame(
        {
            "symbol": FORMULAS + KEPT,
            "prediction": [-3.25] * (len(FORMULAS) + len(KEPT)),
            "=col": pd.Categorical(FORMULAS + KEPT),
            "at": pd.Timestamp("2024-01-02", tz="UTC"),
        }
    )
    written(frame, tmp_path / "p.csv", False)
    with open(tmp_path / "p.csv", newline="", encoding="utf-8") as f:
        head, *rows = csv.reader(f)
    assert head == ["symbol", "prediction", "'=col", "at"] and {r[1] for r in rows} == {"-3.25"}
    for j in (0, 2):
        assert [r[j] for r in rows] == [f"'{t}" for t in FORMULAS] + KEPT
    tame = frame[~frame["symbol"].str.contains("\r")]
    assert csv_text(tame, escape=False) == tame.to_csv(index=False)
    written(frame, tmp_path / "q.csv", False, csv_escape=False)
    assert pd.read_csv(tmp_path / "q.csv", keep_default_na=False)["symbol"].tolist()[:5] == FORMULAS[:5]


def test_the_option_of_the_command(cli, table, tmp_path):
    frame = good_frame(160)
    frame["shop"] = frame["shop"].map({"a": "=HYPERLINK(1)", "b": "-3.2"})
    frame.loc[frame.index[-4:], "y"] = float("nan")
    told = cli("train", "--data", table(frame, upcoming=True), "--model", "ridge")
    assert told.code == 0, told.err
    for flags, first in (([], "'=HYPERLINK(1)"), (["--no-csv-escape"], "=HYPERLINK(1)"), (["--csv-escape"], "'=HYPERLINK(1)")):
        assert cli("predict", "--model", told.runs()[0], "--output", tmp_path / "p.csv", *flags).code == 0
        assert set(pd.read_csv(tmp_path / "p.csv", dtype=str)["shop"]) == {first, "-3.2"}
    assert cli("predict", "--model", told.runs()[0], "--output", tmp_path / "p.parquet").code == 0
    assert set(pd.read_parquet(tmp_path / "p.parquet")["shop"]) == {"=HYPERLINK(1)", "-3.2"}
    repair(Store(tmp_path / "models"))
