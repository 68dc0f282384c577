"""Bad input of what markets, records, histories and packages bring: refused by name, or read as what it is; never a traceback, never a row
that is lost in silence."""

import json
import logging
import os
import resource
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import ConfigError, DataError, EnvironmentFault, UntrustedArtifact
from lineupiq.data.bars import Market, Stamps, mark_segments, read_bars
from lineupiq.data.dates import calendar_columns, calendar_entries
from lineupiq.data.history import history_columns
from lineupiq.data.history_words import history_entries
from lineupiq.data.labels import bars_panel
from lineupiq.data.panel import Feature, Panel, clean_time
from lineupiq.data.making import make_panel
from lineupiq.data.request import DataRequest
from lineupiq.data.simulate import noise_bars
from lineupiq.data.sources import SOURCES, Sources, source_of
from lineupiq.data.tables import table_panel
from lineupiq.production.record import Forecast, Forecaster, ForecastRecord
from lineupiq.workflows import at_close
from lineupiq.workflows.at_close import read_predictions


@pytest.fixture(scope="module")
def hours():
    "Hourly bars of one symbol, without its name."
    return noise_bars(600, symbols=1, seed=5, freq="1h").drop(columns="symbol")


def save(folder, frame, name="x.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / name, index=False)
    return folder


# --- contracts and rolls ---


def contracts(n, names=("H4", "M4", "U4")):
    return np.array(names)[np.arange(n) * len(names) // n]


def test_contracts_in_other_spellings(tmp_path, hours):
    "Space around a name is no other contract; another case, and a name that is blank, are refused."
    name, raw = contracts(len(hours)), Market(rolls=("raw",))
    seventh = np.arange(len(hours)) % 7 == 3
    spaced = save(tmp_path / "a", hours.assign(raw=np.where(seventh, np.char.add(name, " "), name)))
    assert read_bars(spaced, market=raw)["roll"].value_counts().tolist() == [200] * 3
    for k, (other, words) in enumerate({"case": "differ only in case", "": "contract is not said", "  ": "contract is not said"}.items()):
        wrong = np.where(seventh, np.char.lower(name) if other == "case" else other, name)
        with pytest.raises(DataError, match=words):
            read_bars(save(tmp_path / f"b{k}", hours.assign(raw=wrong)), market=raw)


def test_bars_without_a_contract_beside_others(tmp_path, hours):
    "Each missing name was a segment of its own, too short for a row: half of the rows were lost without a word."
    half = len(hours) // 2
    folder = save(tmp_path / "two", hours[:half].assign(contract="H4"), "ES_2024-01.csv")
    save(folder, hours[half:], "ES_2024-02.csv")
    with pytest.raises(DataError, match="not said, beside others") as said:
        read_bars(folder)
    assert "300 rows" in said.value.found and "--rolls" in said.value.fix
    assert read_bars(folder, market=Market(rolls=(str(hours["time"][half].date()),)))["roll"].max() == 1  # dates say it instead
    none = read_bars(save(tmp_path / "none", hours.assign(contract=np.nan)))
    assert mark_segments(none).max() == 0 and len(bars_panel(none, 5, keep_unlabelled=True)) == len(hours) - 50
    save(folder, hours[half - 20 :].assign(contract="M4"), "ES_2024-02.csv")
    with pytest.raises(DataError, match="contract of a bar differently") as said:  # the same prices, so that nothing else tells
        read_bars(folder)
    assert "H4 and M4" in said.value.found


@pytest.mark.parametrize(
    "wrong",
    [
        ["2024-03-15;2024-06-21"],
        ["2024Q1"],
        ["2024"],
        ["9999-01-01"],
        ["0001-01-01"],
        ["2024-01-10", "2024-02-10T00:00Z"],
        ["2024-02-30"],
        ["2024-01-10", "raw"],
    ],
)
def test_rolls_that_are_no_dates(tmp_path, hours, wrong):
    with pytest.raises(ConfigError, match="neither a column, a file nor dates") as said:
        read_bars(save(tmp_path, hours), market=Market(rolls=tuple(wrong)))
    assert wrong[0] in said.value.found and said.value.expected


def test_rolls_of_other_symbols(tmp_path, hours, caplog):
    "A symbol in other letters is refused; one without a roll is told."
    two = pd.concat([hours.assign(symbol=s) for s in ("ES", "NQ")])
    folder, rolls = save(tmp_path / "in", two), tmp_path / "rolls.csv"
    day = hours["time"][300].date()
    rolls.write_text(f"date,symbol\n{day},ES\n{day},nq\n")
    with pytest.raises(DataError, match="otherwise than the bars") as said:
        read_bars(folder, market=Market(rolls=(str(rolls),)))
    assert said.value.found == "'nq'" and said.value.expected == "'NQ'"
    rolls.write_text(f"date,symbol\n{day},ES\n{day},ZB\n")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        read = read_bars(folder, market=Market(rolls=(str(rolls),)))
    assert "NQ: the file of rolls has none" in caplog.text and read.groupby("symbol")["roll"].max().tolist() == [1, 0]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "lineupiq"):
        read_bars(folder, symbols=["ES"], market=Market(rolls=(str(rolls),)))
    assert "rolls" not in caplog.text  # a file of rolls of the whole exchange is nothing to tell


def test_a_name_too_long_for_a_file(tmp_path, hours):
    (tmp_path / "x.yaml").write_text(f"source: bars\npath: in\nrolls: {'x' * 300}.csv\n")
    save(tmp_path / "in", hours)
    assert DataRequest(str(tmp_path / "x.yaml")).named.rolls == ("x" * 300 + ".csv",)


def test_a_later_roll_or_session_changes_no_earlier_row(tmp_path):
    "Rolls to come, other prices after a day and a later session change no feature, and no label that was known."
    when = pd.date_range("2024-01-01", "2024-02-20", freq="30min", tz="UTC", inclusive="left")
    bars = noise_bars(len(when), symbols=1, seed=3, regime="constant").assign(time=when).drop(columns="symbol")
    cut = pd.Timestamp("2024-02-05", tz="UTC")
    late = (bars["time"] >= cut).to_numpy()
    other = bars.assign(**{p: bars[p] * np.where(late, 1.3, 1) for p in ("open", "high", "low", "close")})
    read = lambda name, frame, rolls: bars_panel(
        read_bars(save(tmp_path / name, frame), stamp="open", market=Market("eth", "session", rolls)), 5, keep_unlabelled=True
    ).frame.set_index("time")  # noqa: E731
    now, then = (
        read("a", bars, ("2024-01-15",)),
        read("b", pd.concat([other[~late], other[late][::1]]), ("2024-01-15", "2024-02-05", "2024-02-12")),
    )
    names = [c for c in now if c.endswith(("return", "_14", "_20")) or c in ("open", "close", "roll", "session")]
    before = now.index <= cut
    pd.testing.assert_frame_equal(now.loc[before, names], then.loc[then.index <= cut, names], check_exact=True)
    known = now[before & (now["label_end"] < cut - pd.Timedelta("1D"))]
    assert len(known) > 300
    pd.testing.assert_series_equal(known["label"], then.loc[known.index, "label"])


# --- sessions and zones ---


@pytest.mark.parametrize("first", ["2262-03-20", "1677-10-01"])
def test_sessions_at_the_ends_of_time(tmp_path, first):
    bars = (
        noise_bars(100, symbols=1, freq="30min")
        .assign(time=pd.date_range(first, periods=100, freq="30min", tz="UTC"))
        .drop(columns="symbol")
    )
    for session in ("rth", "24x7", "XNYS"):
        with pytest.raises(DataError, match="no session is known of such times"):
            read_bars(save(tmp_path, bars), market=Market(session))


@pytest.mark.parametrize("zone", ["Mars", "A" * 300, "America", "../x"])
def test_a_zone_that_is_none(tmp_path, hours, zone):
    "Times with an offset need no zone, but whoever names one means it."
    with pytest.raises(ConfigError, match="unknown time zone"):
        read_bars(save(tmp_path, hours), timezone=zone)
    with pytest.raises(ConfigError, match="unknown time zone"):
        clean_time(hours["time"], "time", zone)
    days = pd.date_range("2024-01-01", periods=60)
    for k, time in enumerate((days.astype(str), days.tz_localize("UTC").astype(str))):
        save(tmp_path / f"t{k}", pd.DataFrame({"day": time, "loaves": np.arange(60) % 7}), "t.csv")
        said = {
            "task": "regression",
            "time": "day",
            "label": "loaves",
            "label_lag": "14h",
            "timezone": zone,
            "calendar": ["weekday"],
            "path": str(tmp_path / f"t{k}/t.csv"),
        }
        with pytest.raises(ConfigError, match="unknown time zone"):
            table_panel(said)
    assert Stamps("Europe/Berlin").timezone == "Europe/Berlin"


def test_a_symbol_that_brings_no_row_is_told(tmp_path, hours, caplog):
    both = pd.concat([hours.assign(symbol="A"), hours[:9].assign(symbol="B")])
    with caplog.at_level(logging.WARNING, "lineupiq"):
        panel = bars_panel(read_bars(save(tmp_path, both)), 5, keep_unlabelled=True)
    assert set(panel.frame["symbol"]) == {"A"} and "no row comes of 1 symbol(s)" in caplog.text and caplog.text.rstrip().endswith(": B")


# --- histories and calendars ---


def test_a_window_longer_than_time(tmp_path):
    "Its beginning lies before the first moment that a 64-bit time can say; it began in the future instead."
    rows = pd.DataFrame({"time": pd.date_range("1930-01-01", periods=40), "x": np.arange(40.0)})
    entries, problems = history_entries({"x": {"mean": ["106751D"], "last": ["106751D"]}})
    made = history_columns(rows, entries)
    assert (
        not problems
        and np.isnan(made["x_mean_106751D"][0])
        and made["x_mean_106751D"][39] == np.arange(39).mean()
        and made["x_last_106751D"].isna().all()
    )


def test_a_region_that_ends_in_nothing():
    [entry], _ = calendar_entries([{"holidays": "DE-"}])
    with pytest.raises(ConfigError, match="no holidays of 'DE-'"):
        calendar_columns(pd.Series(pd.date_range("2024-01-01", periods=3)), [entry])


# --- the record of predictions ---


def old_lines(file, lines):
    "A record of an earlier release, whose lines are no chain."
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def chained(file, symbol="X"):
    "One forecast, recorded."
    moment = np.datetime64("2024-01-05T10:00", "ns")
    forecast = Forecast(symbol, moment, moment + np.timedelta64(1, "h"), [0.3, 0.7], 1.0)
    return ForecastRecord(file).write(
        Forecaster("m", "1.0.0", None, "binary", 1, (0, 1)), [forecast], "d", pd.Timestamp("2024-01-05T10:00:30Z").to_pydatetime()
    )


LINE = {
    "bar": "2024-01-05T10:00:00Z",
    "symbol": "X",
    "prob_0": 0.3,
    "model": "m",
    "version": "1.0.0",
    "written": "2024-01-05T10:00:30Z",
    "late": False,
}


@pytest.mark.parametrize(
    "bad",
    [
        "null",
        "[]",
        "5",
        "[" * 100_000,
        "\0\0",
        {"bar": None},
        {"bar": "NaT"},
        {"bar": 5},
        {"bar": "2024-01-05T11:00:00"},
        {"bar": "2300-01-01T00:00Z"},
        {"written": None},
        {"written": "2024-01-05"},
        {"symbol": None},
        {"symbol": ["X"]},
        {"late": "no"},
        {"version": 1},
    ],
    ids=str,
)
def test_a_damaged_line_is_passed_over_and_named(tmp_path, caplog, bad):
    "One without its bar stopped every later prediction: nothing is later than no time."
    text = bad if isinstance(bad, str) else json.dumps(LINE | bad)
    (tmp_path / "p.jsonl").write_text(
        json.dumps(LINE) + "\n" + text + "\n" + json.dumps(LINE | {"bar": "2024-01-05T06:00:00-05:00"}) + "\n"
    )
    with caplog.at_level(logging.WARNING, "lineupiq"):
        told = read_predictions(tmp_path / "p.jsonl")
    assert "line 2 was torn or damaged" in caplog.text
    assert (
        told["bar"].tolist() == [pd.Timestamp("2024-01-05T10:00Z"), pd.Timestamp("2024-01-05T11:00Z")]
        and str(told["bar"].dtype) == "datetime64[ns, UTC]"
    )


@pytest.mark.parametrize("symbol", ["a\u2028b", "a\x85b", "a\nb\x0b", os.fsdecode(b"ES\xff"), "=1+1", "x" * 300])
def test_any_symbol_stays_on_its_line(tmp_path, symbol):
    "A line that ended within a name was torn, and its bar predicted again at every run."
    old_lines(tmp_path / "p.jsonl", [LINE | {"symbol": symbol}] * 2)
    assert read_predictions(tmp_path / "p.jsonl")["symbol"].tolist() == [symbol] * 2
    assert chained(tmp_path / "c.jsonl", symbol).new == 1 and chained(tmp_path / "c.jsonl", symbol).same == 1
    assert read_predictions(tmp_path / "c.jsonl")["symbol"].tolist() == [symbol]


def test_a_record_that_cannot_be_read_or_written(tmp_path):
    (tmp_path / "p.jsonl").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot"):
        read_predictions(tmp_path / "p.jsonl")
    with pytest.raises(UntrustedArtifact, match="no plain file"):
        chained(tmp_path / "p.jsonl")
    assert read_predictions(tmp_path / "nowhere" / "p.jsonl").empty
    with pytest.raises(EnvironmentFault, match="not a regular file"):
        read_predictions("/dev/full")  # which never ends
    with pytest.raises(ConfigError, match="output: expected a folder"):
        at_close.predict_at_close(at_close.CloseRequest("m", output="o\0x"))


def test_a_clock_that_went_back(tmp_path, monkeypatch, caplog):
    "What was written later than now is told: a bar may have been predicted before it was over."
    panel = bars_panel(noise_bars(80, symbols=1, freq="1h"), 5, keep_unlabelled=True)
    found = SimpleNamespace(
        name="m", version="1.0.0", source={"data": "bars"}, where="m 1.0.0", bundle=SimpleNamespace(about={"trained_until": "2100-01-01"})
    )
    monkeypatch.setattr(at_close, "_model", lambda ask: found)
    monkeypatch.setattr(at_close, "source_panel", lambda *asked, **more: panel)
    ask, now = at_close.CloseRequest("m", output=str(tmp_path)), pd.Timestamp(panel.times[-1], tz="UTC")
    (tmp_path / "m").mkdir()
    old_lines(at_close.predictions_file("m", tmp_path), [LINE | {"written": (now + pd.Timedelta("1h")).isoformat()}])
    for hours, told in ((0, True), (2, False)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "lineupiq"):
            at_close.predict_at_close(ask, (now + pd.Timedelta(hours=hours)).to_pydatetime)
        assert ("1 prediction(s) were written later than now" in caplog.text) == told


def test_a_disk_that_fills_up(tmp_path):
    "A part is written without an error; the run must not say that all of it was, and the next one takes the torn line away."
    file, old = tmp_path / "p.jsonl", resource.getrlimit(resource.RLIMIT_FSIZE)
    chained(file)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 50, old[1]))
        with pytest.raises(EnvironmentFault, match="cannot write"):
            chained(file, "Y")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, before)
    chained(file, "Z")
    assert read_predictions(file)["symbol"].tolist() == ["X", "Z"]


# --- packages ---


class Point:
    "An entry point as importlib has it."

    def __init__(self, name, load):
        self.name, self.load, self.value, self.dist = name, load, "package:function", None


def rows():
    rng, time = np.random.default_rng(0), pd.date_range("2024-01-01", periods=80)
    return make_panel(
        pd.DataFrame(
            {"symbol": "a", "time": time, "label": rng.normal(size=80), "x": rng.normal(size=80), "label_end": time + pd.Timedelta("1h")}
        ),
        [Feature("x")],
        task="regression",
        name="own",
    )


class Own(BaseException):
    "What no `except Exception` catches."


def thrown(error):
    def throw():
        print("before it falls")
        raise error

    return throw


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), Own("x"), RecursionError(), OSError(5, "gone")], ids=repr)
def test_whatever_a_package_raises(error, capsys):
    "At its import it is the package that cannot be used; in its builder, the source that failed."
    with pytest.raises(ConfigError, match="cannot be used"):
        Sources(lambda: [Point("bad", thrown(error))])["bad"]
    with pytest.raises(DataError, match="failed") as said:
        Sources(lambda: [Point("bad", lambda: thrown(error))])["bad"].panel({})
    assert type(error).__name__ in said.value.found
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("before it falls") == 2  # standard output is the command's answer


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_is_no_fault_of_a_package(error):
    with pytest.raises(error):
        Sources(lambda: [Point("bad", lambda: thrown(error()))])["bad"].panel({})


def broken(change):
    def build() -> Panel:
        made = rows()
        for k, v in change(made).items():
            setattr(made, k, v)
        return made

    return build


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: {"frame": p.frame.assign(time=p.frame["time"].where(p.frame.index != 5))}, "missing time"),
        (lambda p: {"frame": p.frame.assign(time=pd.NaT)}, "missing time"),
        (lambda p: {"frame": p.frame[::-1].reset_index(drop=True)}, "backwards"),
        (lambda p: {"frame": p.frame.drop(columns="x")}, "no column 'x'"),
        (lambda p: {"frame": p.frame.drop(columns="weight")}, "no column 'weight'"),
        (lambda p: {"frame": p.frame.assign(x="text")}, "text"),
        (lambda p: {"frame": p.frame.assign(x=np.inf)}, "infinit"),
        (lambda p: {"frame": p.frame.assign(label_end=p.frame["time"] - pd.Timedelta("5D"))}, "ends before"),
        (lambda p: {"frame": pd.concat([p.frame, p.frame[-1:]], ignore_index=True)}, "two rows"),
        (lambda p: {"frame": None}, "another type"),
        (lambda p: {"features": None}, "another type"),
        (lambda p: {"name": 5}, "another type"),
        (lambda p: {"task": "guess"}, "guess"),
    ],
)
def test_a_panel_that_did_not_come_from_make_panel(change, words):
    with pytest.raises(DataError, match="returned a panel that cannot be used") as said:
        source_of("own", broken(change)).panel({})
    assert words in said.value.found and "lineupiq sources --check own" in said.value.fix
    assert len(source_of("own", broken(lambda p: {})).panel({})) == 80


def test_a_fault_of_one_package_leaves_the_list(cli, monkeypatch):
    "By the command: the list is whole, and JSON in spite of what a package prints."
    monkeypatch.setattr(SOURCES, "_points", lambda: [Point("bad", thrown(GeneratorExit())), Point("ends", lambda: thrown(SystemExit(0)))])
    vars(SOURCES).pop("claims", None)
    try:
        listed = {r["name"]: r for r in cli("sources").value["sources"]}
        assert not listed["bad"]["available"] and listed["ends"]["available"] and listed["bars"]["available"]
        ended = cli("train", "--data", "ends", "--model", "ridge")
        assert ended.code == 3 and "SystemExit" in ended.err
    finally:
        vars(SOURCES).pop("claims", None)
        SOURCES._done.clear()
        SOURCES._registered.pop("ends", None), SOURCES._registered.pop("bad", None)
    assert "bad" not in sys.modules
