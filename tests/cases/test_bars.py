"""Bars as people have them: each kind of file in several forms, through the function, and one of each kind through the command."""
import logging

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import DataError
from lineupiq.data.bars import mark_segments, read_bars
from lineupiq.data.labels import bars_panel, label_bars
from lineupiq.data.simulate import noise_bars

PRICES = ["open", "high", "low", "close"]


@pytest.fixture(scope="module")
def hours():
    "Hourly bars of one symbol, without its name."
    return noise_bars(900, symbols=1, seed=5, freq="1h").drop(columns="symbol")


def write(folder, name, frame, **how):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / name, index=False, **how)
    return folder


# --- who a row is about ---

def test_files_of_months_are_one_symbol(tmp_path, hours):
    "Monthly, daily and dated files of one symbol are joined without a break."
    for forms in (["BTCUSDT-1h-2023-01.csv", "BTCUSDT-1h-2023-02.csv"], ["BTCUSDT-1h-2023-01-15.csv", "BTCUSDT-1h-2023-01-16.csv"], ["BTCUSDT_2023-01-01_2023-01-31.csv", "BTCUSDT_2023-02-01_2023-02-28.csv"], ["BTCUSDT 2022.csv", "BTCUSDT 2023.csv"]):
        folder = tmp_path / forms[0]
        write(folder, forms[0], hours[:400]), write(folder, forms[1], hours[400:])
        read = read_bars(folder)
        assert read["symbol"].unique().tolist() == ["BTCUSDT"] and len(read) == 900
        assert mark_segments(read).max() == 0


@pytest.mark.parametrize("pair", [("BRK.A", "BRK.B"), ("SH_600519", "SH_601318"), ("000001.SZ", "000001.SH"), ("BTC-USD", "BTC-EUR"), ("ES_H4", "ES_M4")])
def test_tickers_are_kept_apart(tmp_path, hours, pair):
    for k, name in enumerate(pair):
        write(tmp_path, f"{name}.csv", hours.assign(**{p: hours[p] * (1 + 24 * k) for p in PRICES}))
    assert read_bars(tmp_path).groupby("symbol").size().to_dict() == {name: 900 for name in pair}


def test_one_symbol_with_two_prices_is_refused(tmp_path, hours):
    write(tmp_path, "a/X.csv", hours), write(tmp_path, "b/X.csv", hours.assign(**{p: hours[p] * 2 for p in PRICES}))
    with pytest.raises(DataError, match="different prices") as said:
        read_bars(tmp_path)
    assert "symbol-from" in said.value.fix and "900 bar" in said.value.found
    assert sorted(read_bars(tmp_path, symbol_from="folder")["symbol"].unique()) == ["a", "b"]
    write(tmp_path, "b/X.csv", hours)
    assert len(read_bars(tmp_path)) == 900  # equal ones are one


@pytest.mark.parametrize("codes", [("000001", "600519"), ("TRUE", "FALSE"), ("INF", "NAN"), ("1E5", "0x1A")])
def test_codes_are_text(tmp_path, hours, codes):
    write(tmp_path, "x.csv", pd.concat([hours.assign(ticker=c) for c in codes]))
    assert read_bars(tmp_path)["symbol"].unique().tolist() == sorted(codes)
    assert read_bars(tmp_path, symbols=codes[0])["symbol"].unique().tolist() == [codes[0]]


def test_space_around_a_symbol_is_taken_off(tmp_path, hours, caplog):
    write(tmp_path, "x.csv", hours.assign(symbol=["AAPL", "AAPL ", " AAPL"] * 300))
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert read_bars(tmp_path).groupby("symbol").size().to_dict() == {"AAPL": 900}
    assert "space around 600 value(s)" in caplog.text
    write(tmp_path, "x.csv", hours.assign(symbol=["AAPL", "aapl", "AAPL"] * 300))
    with pytest.raises(DataError, match="only in case"):
        read_bars(tmp_path)


# --- times ---

def test_times_say_what_they_mean(tmp_path, hours):
    "Epochs by their size, dates of eight digits, AM and PM, day first where the column says so, a date beside a clock."
    want = hours["time"].dt.tz_localize(None)
    epoch = hours["time"].astype("int64")
    forms = {"s": epoch // 10**9, "ms": epoch // 10**6, "us": epoch // 10**3, "iso": hours["time"].astype(str), "am": want.dt.strftime("%Y-%m-%d %I:%M %p"), "eu": want.dt.strftime("%d.%m.%Y %H:%M"),
             "us_": want.dt.strftime("%m/%d/%Y %H:%M"), "month": want.dt.strftime("%d-%b-%Y %H:%M:%S"), "mt": want.dt.strftime("%Y.%m.%d %H:%M")}
    for name, stamps in forms.items():
        got = read_bars(write(tmp_path / name, "X.csv", hours.assign(time=stamps)))["time"]
        assert (got.dt.tz_localize(None) if got.dt.tz is not None else got).reset_index(drop=True).equals(want.dt.as_unit("ns")), name
    split = hours.drop(columns="time").assign(Date=want.dt.strftime("%Y%m%d").astype(int), Time=want.dt.strftime("%H%M%S").astype(int))
    assert read_bars(write(tmp_path / "two", "X.csv", split))["time"].equals(want.dt.as_unit("ns"))


def test_times_that_mean_two_things_are_refused(tmp_path, hours):
    epoch = hours["time"].astype("int64")
    days = pd.Series(pd.date_range("2020-01-01", periods=900).strftime("%Y%m%d").astype(int))
    changed = (epoch // 10**6).where(np.arange(900) < 500, epoch // 10**3)
    for name, stamps, how, word in (("mixed", changed, {}, "two units"), ("mixed2", changed, {"time_unit": "us"}, "two units"), ("unit", days, {"time_unit": "s"}, "leave the unit out"),
                                    ("short", pd.Series(["03/04/2020"] * 900), {}, "told apart"), ("serial", pd.Series(np.arange(43831, 44731)), {}, "no unit fits"), ("wrong", epoch // 10**6, {"time_unit": "s"}, "their size says ms")):
        with pytest.raises(DataError) as said:
            read_bars(write(tmp_path / name, "X.csv", hours.assign(time=stamps)), **how)
        assert word in str(said.value), (name, str(said.value))
    assert str(read_bars(write(tmp_path / "days", "X.csv", hours.assign(time=days)))["time"].min()) == "2020-01-01 00:00:00"


# --- folders and forms ---

def test_forms_of_files(tmp_path, hours, caplog):
    text = hours.to_csv(index=False)
    mt5 = hours.assign(d=hours["time"].dt.strftime("%Y.%m.%d"), t=hours["time"].dt.strftime("%H:%M:%S"))[["d", "t", *PRICES, "volume"]].set_axis([f"<{c}>" for c in "DATE TIME OPEN HIGH LOW CLOSE TICKVOL".split()], axis=1)
    yf = hours[["time", "close", "high", "low", "open", "volume"]]
    klines = hours.assign(time=hours["time"].astype("int64") // 10**6, end=hours["time"].astype("int64") // 10**6 + 3_599_999, **{k: 1 for k in "abcde"})[["time", *PRICES, "volume", "end", *"abcde"]]
    forms = {"blank": "\n" + text, "url": "https://www.example.org\n" + text, "semi": text.replace(",", ";"), "tab": text.replace(",", "\t"), "mt5": mt5.to_csv(index=False, sep="\t"), "dup": text.replace("volume", "volume,note,note", 1).replace("\n", ",1,2\n").replace("note,1,2", "note", 1),
             "yf": "Price,Close,High,Low,Open,Volume\nTicker,X,X,X,X,X\nDate,,,,,\n" + yf.to_csv(index=False, header=False), "klines": klines.to_csv(index=False, header=False)}
    for name, body in forms.items():
        path = tmp_path / name / "X.csv"
        path.parent.mkdir()
        path.write_text(body)
        assert np.allclose(read_bars(path)["close"], hours["close"]), name
    (tmp_path / "u16.csv").write_text(text, encoding="utf-16")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert len(read_bars(tmp_path / "u16.csv")) == 900
    assert "UTF-16" in caplog.text
    (tmp_path / "bare.csv").write_text("\n".join(text.splitlines()[1:]))
    with pytest.raises(DataError, match="first line is not a header"):
        read_bars(tmp_path / "bare.csv")


def test_what_else_lies_in_a_folder(tmp_path, hours, caplog):
    write(tmp_path, "GOOD.csv", hours), write(tmp_path, "BAD.csv", hours.assign(high=hours["low"] * 0.5))
    (tmp_path / "README.txt").write_text("These bars, as I got them,\nare, well, mine.\n")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert len(read_bars(tmp_path, symbols="GOOD")) == 900
    assert "README.txt" in caplog.text and "BAD.csv" in caplog.text
    with pytest.raises(DataError, match="BAD.csv"):
        read_bars(tmp_path)


@pytest.mark.parametrize("name", ["Volume BTC", "tick_volume", "qty", "Vol."])
def test_volume_is_taken_or_missed_aloud(tmp_path, hours, caplog, name):
    with caplog.at_level(logging.WARNING, "lineupiq"):
        read = read_bars(write(tmp_path, "X.csv", hours.rename(columns={"volume": name})))
    assert ("no column was taken for volume" in caplog.text) if read["volume"].isna().all() else (f"'{name}'" in caplog.text)


# --- scales ---

def test_scales(tmp_path, hours, caplog):
    late = np.arange(900) >= 600
    for ratio in (0.25, 0.5, 10.0):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "lineupiq"):
            read_bars(write(tmp_path, "X.csv", hours.assign(**{p: hours[p] * np.where(late, ratio, 1) for p in PRICES})))
        assert "a split" in caplog.text and str(hours["time"][600].date()) in caplog.text
    with pytest.raises(DataError, match="fifty times"):
        read_bars(write(tmp_path, "X.csv", hours.assign(**{p: hours[p] * np.where(np.arange(900) == 600, 100, 1) for p in PRICES})))
    two = pd.concat([hours[:300], hours[300:].assign(time=pd.date_range("2030-01-01", periods=600, freq="5min", tz="UTC"))])
    with pytest.raises(DataError, match="different lengths"):
        read_bars(write(tmp_path, "X.csv", two))


# --- rows that are no observations ---

def walk(seed, form, n=2400, freq="1h"):
    "A driftless walk with its closed hours, and the same one with these filled in one of the forms that people have."
    every = pd.date_range("2023-01-02", periods=n, freq=freq, tz="UTC")
    open_ = {"weekends": every.dayofweek < 5, "nights": (every.hour >= 8) & (every.hour < 22), "halts": ~np.isin(np.arange(n) // 24, [20, 47, 71]), "tail": np.arange(n) < 2000}[form.split("_")[0]]
    traded = noise_bars(int(open_.sum()), symbols=1, seed=seed, regime="constant").assign(time=every[open_])
    every, open_ = every[np.argmax(open_):], open_[np.argmax(open_):]
    gaps = traded.set_index("time").reindex(every).reset_index(names="time")
    if form.endswith("copied"):
        filled = gaps.ffill()
    else:
        last = gaps["close"].ffill()
        filled = gaps.assign(**{p: gaps[p].fillna(last) for p in PRICES}, symbol="NOISE0", volume=gaps["volume"].fillna(0.0) if "volume" in form else np.nan)
    return traded if "volume" in form or form.endswith("copied") else traded.assign(volume=np.nan), filled, ~open_


FORMS = ("weekends_volume", "weekends_copied", "weekends", "nights_volume", "nights", "halts_volume", "halts", "tail_volume", "tail_copied", "tail")


@pytest.mark.parametrize("form", FORMS)
def test_fillers_are_no_outcomes(form):
    "With volume the panel is that of the bars without fillers; without volume all but the beginnings of the runs go."
    traded, filled, gap = walk(3, form)
    labels = label_bars(filled, 5)
    told = (labels["invalid_reason"] == "flat").to_numpy()
    assert not told[~gap].any() and told[gap].mean() > (0.999 if "volume" in form or "copied" in form else 0.8)
    if "volume" in form or "copied" in form:
        assert bars_panel(filled, 5).frame.equals(bars_panel(traded, 5).frame)


def test_a_dead_symbol_is_refused(hours):
    dead = hours.assign(symbol="D", volume=0.0, **dict.fromkeys(PRICES, 7.0))
    with pytest.raises(DataError, match="(?s)never trades.*D"):
        bars_panel(pd.concat([hours.assign(symbol="A"), dead]), 5)


# --- and through the command ---

def test_commands(cli, tmp_path, hours, caplog):
    "One of each kind: said, with the exit code of the kind."
    def train(*more):
        return cli("train", "--data", "bars", "--model", "prior", "--horizon", 5, "--no-publish", "--path", tmp_path / "in", *more)
    folder = tmp_path / "in"
    write(folder, "X.csv", hours.assign(time=hours["time"].astype("int64") // 10**9))
    assert train("--time-unit", "s").code == 0
    assert train("--time-unit", "ms").code == 3
    write(folder, "X.csv", hours.assign(time=hours["time"].dt.strftime("%d/%m/%Y %H:%M")))
    assert train("--time-format", "%d/%m/%Y %H:%M", "--stamp", "open").code == 0
    write(folder, "X.csv", walk(3, "weekends_volume")[1].drop(columns="symbol"))
    assert train().code == 0 and "no observations" in caplog.text
    other = walk(3, "weekends_volume")[1].drop(columns="symbol")
    write(folder, "b/X.csv", other.assign(**{p: other[p] * 2 for p in PRICES}))
    assert "symbol-from" in train().err and train("--symbol-from", "folder", "--symbol", "b").code == 0


@pytest.mark.slow
def test_no_skill_on_walks_with_fillers(tmp_path):
    "Ten forms of fillers on ten walks each: better than the rule no more often than chance allows, and not more often than without fillers."
    from lineupiq.training.runs import TrainSettings, train_models
    better = {"filled": 0, "traded": 0}
    for form in FORMS:
        for seed in range(100, 110):
            panels = [bars_panel(bars, 5, keep_unlabelled=True) for bars in walk(seed, form, n=6000)[:2]]
            shown = None
            for name, panel in zip(("traded", "filled"), panels, strict=True):
                if shown is None or not panel.frame.equals(panels[0].frame):
                    board = train_models(panel, ["logistic"], settings=TrainSettings(tmp_path / name / form / str(seed), isolate=False, draws=200)).board
                    shown = bool(board.set_index("model").loc["logistic", "skill_low"] > 0)
                better[name] += shown
    print(better)
    assert better["filled"] <= 7 and better["filled"] <= max(better["traded"], 3), better
