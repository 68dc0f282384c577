"""Bars as people have them: each kind of file in several forms, through the function, and one of each kind through the command."""

import logging

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import ConfigError, DataError
from lineupiq.data.bars import Market, mark_segments, read_bars
from lineupiq.data.indicators import BAR_FEATURES, bar_features
from lineupiq.data.labels import bars_panel, label_bars
from lineupiq.data.simulate import noise_bars
from lineupiq.data.sources import load_panel

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
    for forms in (
        ["BTCUSDT-1h-2023-01.csv", "BTCUSDT-1h-2023-02.csv"],
        ["BTCUSDT-1h-2023-01-15.csv", "BTCUSDT-1h-2023-01-16.csv"],
        ["BTCUSDT_2023-01-01_2023-01-31.csv", "BTCUSDT_2023-02-01_2023-02-28.csv"],
        ["BTCUSDT 2022.csv", "BTCUSDT 2023.csv"],
    ):
        folder = tmp_path / forms[0]
        write(folder, forms[0], hours[:400]), write(folder, forms[1], hours[400:])
        read = read_bars(folder)
        assert read["symbol"].unique().tolist() == ["BTCUSDT"] and len(read) == 900
        assert mark_segments(read).max() == 0


@pytest.mark.parametrize(
    "pair", [("BRK.A", "BRK.B"), ("SH_600519", "SH_601318"), ("000001.SZ", "000001.SH"), ("BTC-USD", "BTC-EUR"), ("ES_H4", "ES_M4")]
)
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
    forms = {
        "s": epoch // 10**9,
        "ms": epoch // 10**6,
        "us": epoch // 10**3,
        "iso": hours["time"].astype(str),
        "am": want.dt.strftime("%Y-%m-%d %I:%M %p"),
        "eu": want.dt.strftime("%d.%m.%Y %H:%M"),
        "us_": want.dt.strftime("%m/%d/%Y %H:%M"),
        "month": want.dt.strftime("%d-%b-%Y %H:%M:%S"),
        "mt": want.dt.strftime("%Y.%m.%d %H:%M"),
    }
    for name, stamps in forms.items():
        got = read_bars(write(tmp_path / name, "X.csv", hours.assign(time=stamps)))["time"]
        assert (got.dt.tz_localize(None) if got.dt.tz is not None else got).reset_index(drop=True).equals(want.dt.as_unit("ns")), name
    split = hours.drop(columns="time").assign(Date=want.dt.strftime("%Y%m%d").astype(int), Time=want.dt.strftime("%H%M%S").astype(int))
    assert read_bars(write(tmp_path / "two", "X.csv", split))["time"].equals(want.dt.as_unit("ns"))


def test_times_that_mean_two_things_are_refused(tmp_path, hours):
    epoch = hours["time"].astype("int64")
    days = pd.Series(pd.date_range("2020-01-01", periods=900).strftime("%Y%m%d").astype(int))
    changed = (epoch // 10**6).where(np.arange(900) < 500, epoch // 10**3)
    for name, stamps, how, word in (
        ("mixed", changed, {}, "two units"),
        ("mixed2", changed, {"time_unit": "us"}, "two units"),
        ("unit", days, {"time_unit": "s"}, "leave the unit out"),
        ("short", pd.Series(["03/04/2020"] * 900), {}, "told apart"),
        ("serial", pd.Series(np.arange(43831, 44731)), {}, "no unit fits"),
        ("wrong", epoch // 10**6, {"time_unit": "s"}, "their size says ms"),
    ):
        with pytest.raises(DataError) as said:
            read_bars(write(tmp_path / name, "X.csv", hours.assign(time=stamps)), **how)
        assert word in str(said.value), (name, str(said.value))
    assert str(read_bars(write(tmp_path / "days", "X.csv", hours.assign(time=days)))["time"].min()) == "2020-01-01 00:00:00"


# --- folders and forms ---


def test_forms_of_files(tmp_path, hours, caplog):
    text = hours.to_csv(index=False)
    mt5 = hours.assign(d=hours["time"].dt.strftime("%Y.%m.%d"), t=hours["time"].dt.strftime("%H:%M:%S"))[
        ["d", "t", *PRICES, "volume"]
    ].set_axis([f"<{c}>" for c in "DATE TIME OPEN HIGH LOW CLOSE TICKVOL".split()], axis=1)
    yf = hours[["time", "close", "high", "low", "open", "volume"]]
    klines = hours.assign(
        time=hours["time"].astype("int64") // 10**6, end=hours["time"].astype("int64") // 10**6 + 3_599_999, **{k: 1 for k in "abcde"}
    )[["time", *PRICES, "volume", "end", *"abcde"]]
    forms = {
        "blank": "\n" + text,
        "url": "https://www.example.org\n" + text,
        "semi": text.replace(",", ";"),
        "tab": text.replace(",", "\t"),
        "mt5": mt5.to_csv(index=False, sep="\t"),
        "dup": text.replace("volume", "volume,note,note", 1).replace("\n", ",1,2\n").replace("note,1,2", "note", 1),
        "yf": "Price,Close,High,Low,Open,Volume\nTicker,X,X,X,X,X\nDate,,,,,\n" + yf.to_csv(index=False, header=False),
        "klines": klines.to_csv(index=False, header=False),
    }
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
    open_ = {
        "weekends": every.dayofweek < 5,
        "nights": (every.hour >= 8) & (every.hour < 22),
        "halts": ~np.isin(np.arange(n) // 24, [20, 47, 71]),
        "tail": np.arange(n) < 2000,
    }[form.split("_")[0]]
    traded = noise_bars(int(open_.sum()), symbols=1, seed=seed, regime="constant").assign(time=every[open_])
    every, open_ = every[np.argmax(open_) :], open_[np.argmax(open_) :]
    gaps = traded.set_index("time").reindex(every).reset_index(names="time")
    if form.endswith("copied"):
        filled = gaps.ffill()
    else:
        last = gaps["close"].ffill()
        filled = gaps.assign(
            **{p: gaps[p].fillna(last) for p in PRICES}, symbol="NOISE0", volume=gaps["volume"].fillna(0.0) if "volume" in form else np.nan
        )
    return traded if "volume" in form or form.endswith("copied") else traded.assign(volume=np.nan), filled, ~open_


FORMS = (
    "weekends_volume",
    "weekends_copied",
    "weekends",
    "nights_volume",
    "nights",
    "halts_volume",
    "halts",
    "tail_volume",
    "tail_copied",
    "tail",
)


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


# --- sessions and rolls ---


def clock(freq="30min", first="2024-03-04", last="2024-03-16", zone="UTC", seed=8):
    "Bars round the clock, stamped with their opening, with New York's time beside them."
    when = pd.date_range(first, last, freq=freq, tz=zone, inclusive="left")
    return noise_bars(len(when), symbols=1, seed=seed, regime="constant").assign(time=when).drop(columns="symbol")


def new_york(bars):
    return bars["time"].dt.tz_convert("America/New_York")


@pytest.mark.parametrize(("first", "last", "change"), [("2024-03-04", "2024-03-16", "spring"), ("2024-10-28", "2024-11-09", "autumn")])
def test_sessions_keep_the_wall_clock(tmp_path, caplog, first, last, change):
    """Thirteen half hours from 10:00 to 16:00 in New York on each day, on either side of a change of the clock; the same from naive stamps
    of that zone."""
    bars = clock(first=first, last=last)
    with caplog.at_level(logging.WARNING, "lineupiq"):
        day = read_bars(write(tmp_path / "utc", "ES.csv", bars), stamp="open", market=Market("rth"))
    told = new_york(day)
    assert "are outside the session rth" in caplog.text and f"{len(bars) - len(day)} of {len(bars)} bars" in caplog.text
    assert (
        told.dt.strftime("%H:%M").agg(["min", "max"]).tolist() == ["10:00", "16:00"]
        and day.groupby(told.dt.date).size().tolist() == [13] * 10
    )
    local = bars.assign(time=new_york(bars).dt.tz_localize(None))
    local = local[~local["time"].duplicated(keep=False)]  # the hour that is there twice says nothing of which it is
    naive = read_bars(write(tmp_path / "naive", "ES.csv", local), stamp="open", timezone="America/New_York", market=Market("rth"))
    assert (naive["time"].dt.tz_convert("UTC") == day["time"].dt.tz_convert("UTC")).all() and np.allclose(naive["close"], day["close"])
    with pytest.raises(ConfigError, match="(?s)zone.*--timezone"):
        read_bars(tmp_path / "naive", stamp="open", market=Market("rth"))
    night = read_bars(tmp_path / "utc", stamp="open", market=Market("eth", "session"))
    assert not new_york(night).dt.strftime("%H:%M").isin(["17:30", "18:00"]).any()
    whole = night.groupby("session").size().iloc[1:-1]
    assert whole.tolist() == [46] * len(whole) and whole.index.dayofweek.max() == 4


def test_edges_follow_the_stamp(tmp_path):
    "The same bars stamped with the close give the same session; a stamp that is read the wrong way moves both edges by a bar."
    bars = clock()
    opened = read_bars(write(tmp_path / "a", "ES.csv", bars), stamp="open", market=Market("09:30-16:00 America/New_York"))
    closed = read_bars(
        write(tmp_path / "b", "ES.csv", bars.assign(time=bars["time"] + pd.Timedelta("30min"))),
        market=Market("09:30-16:00 America/New_York"),
    )
    pd.testing.assert_frame_equal(opened, closed)
    wrong = read_bars(tmp_path / "a", market=Market("09:30-16:00 America/New_York"))
    assert (wrong["close"].to_numpy()[:5] != opened["close"].to_numpy()[:5]).all()
    # hours as they are sold: the last has thirty minutes
    thin = bars[new_york(bars).dt.strftime("%H:%M").between("09:30", "15:59")][lambda t: new_york(t).dt.minute == 30]
    hourly = read_bars(write(tmp_path / "c", "ES.csv", thin), stamp="open", market=Market("rth"))
    assert new_york(hourly).dt.strftime("%H:%M").iloc[[0, 6]].tolist() == ["10:30", "16:00"]
    with pytest.raises(DataError, match="no session"):
        read_bars(write(tmp_path / "d", "ES.csv", clock("1D", last="2024-06-01")), market=Market("rth"))


def test_half_days_and_holidays_are_the_exchange_s(tmp_path):
    pytest.importorskip("exchange_calendars", reason="the extra calendars")
    bars = read_bars(
        write(tmp_path, "ES.csv", clock(first="2024-07-01", last="2024-07-06")), stamp="open", market=Market("XNYS", "session")
    )
    assert bars.groupby("session").size().to_dict() == {
        pd.Timestamp(d): n for d, n in (("2024-07-01", 13), ("2024-07-02", 13), ("2024-07-03", 7), ("2024-07-05", 13))
    }
    with pytest.raises(ConfigError, match="did you mean 'XNYS'"):
        read_bars(tmp_path, stamp="open", market=Market("XNYZ"))


def test_no_label_reaches_into_the_next_session(tmp_path, caplog):
    "Within the session the night is in no return, no range and no label; without it labels run on."
    bars = clock(first="2024-01-01", last="2024-04-01")
    day = read_bars(write(tmp_path, "ES.csv", bars), stamp="open", market=Market("rth", "session"))
    # a night that moves more than any day
    jumps = day.assign(**{p: day[p] * np.exp(0.05 * pd.factorize(day["session"])[0]) for p in PRICES})
    columns = ["return_1", "volatility_20", "natr_14", "rsi_14", "macd"]
    pd.testing.assert_frame_equal(bar_features(jumps)[columns], bar_features(day)[columns], rtol=1e-9, atol=1e-9)
    assert np.allclose(bar_features(jumps)["gap"].diff().dropna().abs().max(), 0.05, atol=0.03)
    pd.testing.assert_frame_equal(
        label_bars(jumps, 5).drop(columns="return_to_end"), label_bars(day, 5).drop(columns="return_to_end"), rtol=1e-6
    )
    labels = label_bars(day, 1)  # a time-out of two bars
    known = labels["label"].notna()
    assert (labels["label_end"][known] <= day.groupby("session")["time"].transform("max")[known]).all()
    left = day.groupby("session").cumcount(ascending=False)
    assert (known == ((left >= 2) & ~labels["invalid_reason"].isin(["warm_up", "flat", "both_barriers"]))).all(), (
        "by the clock alone, never by what was touched"
    )
    assert (label_bars(read_bars(tmp_path, stamp="open", market=Market("rth")), 5)["label_end"].dt.date > day["time"].dt.date).sum() > 100
    with caplog.at_level(logging.WARNING, "lineupiq"):
        bars_panel(day, 5)
    assert "the session ends before their time-out at horizon 5" in caplog.text


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_clock_is_no_skill(tmp_path, seed):
    "On a walk the share of each label does not depend on how much of the session is left."
    day = read_bars(
        write(tmp_path, "ES.csv", clock("5min", "2024-01-01", "2024-04-01", seed=seed)), stamp="open", market=Market("rth", "session")
    )
    labels = label_bars(day, 5)
    left = day.groupby("session").cumcount(ascending=False)
    late, early = ((labels["label"][labels["label"].notna() & where] == 0).mean() for where in (left.between(12, 24), left > 40))
    assert abs(late - early) < 0.03 and labels["label"][left < 12].isna().all()


def contracts(n=1500, every=250, seed=11):
    "A continuous file: one symbol, contracts with a basis between them."
    bars = noise_bars(n, symbols=1, seed=seed, freq="1h").drop(columns="symbol")
    number = np.arange(n) // every
    level = np.array([1.0, 1.12, 0.95, 1.3, 1.01, 1.2, 0.9])[number % 7]
    return bars.assign(
        root="ES", symbol_raw=[f"ES{'HMUZ'[k % 4]}{4 + k // 4}" for k in number], **{p: bars[p] * level for p in PRICES}
    ), number


def test_rolls_are_those_of_a_loop_over_contracts(tmp_path, caplog):
    bars, number = contracts()
    with caplog.at_level(logging.WARNING, "lineupiq"):
        plain = read_bars(write(tmp_path, "es.csv", bars.drop(columns="symbol_raw")), symbol_from="column:root")
    write(tmp_path, "es.csv", bars)
    rolled = read_bars(tmp_path, symbol_from="column:root", market=Market(rolls=("symbol_raw",)))
    assert (
        rolled["symbol"].unique().tolist() == ["ES"]
        and rolled["roll"].tolist() == number.tolist()
        and plain["close"].equals(rolled["close"])
    )
    made, labels = bar_features(rolled), label_bars(rolled, 20)
    returns = pd.concat([np.log(g["close"] / g["close"].shift().fillna(g["open"])) for _, g in rolled.groupby("roll")])
    assert np.allclose(made["return_1"][1:], returns[1:]) and np.allclose(made["volatility_50"][51:], returns.rolling(50).std()[51:])
    chained = np.exp(returns.cumsum())
    assert np.allclose(made["return_20"][20:], np.log(chained).diff(20)[20:]) and made["bar_number"].tolist() == list(range(len(bars)))
    known = labels["label"].notna()
    assert (labels["label_end"][known] <= rolled.groupby("roll")["time"].transform("max")[known]).all()
    left = rolled.groupby("roll").cumcount(ascending=False)
    assert (
        labels["invalid_reason"][left < 50].isin(["unfinished", "both_barriers", "warm_up"]).all()
        and known[(left >= 50) & (rolled.index > 50)].mean() > 0.95
    )
    for k, group in rolled.groupby("roll"):
        alone = label_bars(group.assign(atr_14=made["atr_14"], segment=0).reset_index(drop=True), 20)  # a table that ends with the contract
        both = known[group.index].to_numpy() & alone["label"].notna().to_numpy()
        assert k == 0 or both.sum() > 150
        assert (alone["label"].to_numpy()[both] == labels["label"][group.index].to_numpy()[both]).all() and both.sum() == known[
            group.index
        ].sum()
    dates = [str((bars["time"][250 * k]).date()) for k in range(1, 6)]
    by_date = read_bars(tmp_path, symbol_from="column:root", market=Market(rolls=tuple(dates)))
    assert by_date["roll"].max() == 5
    pd.DataFrame({"date": dates}).to_csv(tmp_path / "rolls.txt.csv", index=False)
    assert read_bars(tmp_path / "es.csv", symbol_from="column:root", market=Market(rolls=(str(tmp_path / "rolls.txt.csv"),)))[
        "roll"
    ].equals(by_date["roll"])


def test_a_jump_tells_of_rolls_and_a_roll_is_no_jump(tmp_path, caplog):
    bars, number = contracts(600, 300)
    half = bars.assign(**{p: bars[p] / np.where(number, 2.24, 1) for p in PRICES})  # the basis is 1.12: half the price
    with caplog.at_level(logging.WARNING, "lineupiq"):
        read_bars(write(tmp_path, "es.csv", half), symbol_from="column:root")
    assert "--rolls" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "lineupiq"):
        read_bars(tmp_path, symbol_from="column:root", market=Market(rolls=("symbol_raw",)))  # the same bars
    assert "a split" not in caplog.text


@pytest.mark.parametrize("cut", [400, 740, 1100])
def test_a_later_roll_changes_no_bit(cut):
    "Other prices, other contracts and another basis after a bar; or history rescaled from the newest contract."
    bars, number = contracts()
    rolled = bars.assign(symbol="ES", roll=number)
    other = rolled.copy()
    other.loc[cut:, PRICES] *= np.repeat(np.random.default_rng(cut).uniform(0.5, 2, -(-(len(bars) - cut) // 60)), 60)[
        : len(bars) - cut, None
    ]
    other.loc[cut:, "roll"] = 100 + np.arange(len(bars) - cut) // 60
    names = [f.name for f in BAR_FEATURES]
    pd.testing.assert_frame_equal(bar_features(other)[names][:cut], bar_features(rolled)[names][:cut], check_exact=True)
    then, now = label_bars(rolled, 5), label_bars(other, 5)
    settled = (then["label_end"] < rolled["time"][cut]).to_numpy()
    room = settled & (np.arange(len(bars)) < cut - 12)  # a contract that ends at the cut leaves the last time-out before it without labels
    pd.testing.assert_frame_equal(then[room].drop(columns="uniqueness"), now[room].drop(columns="uniqueness"), check_exact=True)
    assert now["label"][cut - 12 : cut].isna().all()
    last = rolled.groupby("roll")["close"].last().shift().to_numpy()[1:]
    ratio = rolled.groupby("roll")["open"].first().to_numpy()[1:] / last
    back = np.concatenate([np.cumprod(ratio[::-1])[::-1], [1.0]])[number]  # back-adjusted: history is rescaled by every later roll
    adjusted = rolled.assign(**{p: rolled[p] * back for p in PRICES}).drop(columns="roll")
    scale_free = [n for n in names if n != "gap"]
    pd.testing.assert_frame_equal(bar_features(adjusted)[scale_free][1:], bar_features(rolled)[scale_free][1:], rtol=1e-7, atol=1e-9)


FUTURES = "source: bars\npath: in\nsymbol: root\nsymbols: [ES]\nstamp: open\nsession: rth\nlabels_within: session\nrolls: symbol_raw\n"


def futures(folder):
    "Half hours round the clock of two symbols, four contracts each, and the YAML that describes them."
    bars = clock(first="2024-01-01", last="2024-07-01")
    name = "ES" + pd.Series(["H4", "M4", "U4", "Z4"]).take(np.arange(len(bars)) * 4 // len(bars)).to_numpy()
    es = bars.assign(root="ES", symbol_raw=name, **{p: bars[p] * (1 + 0.1 * (np.arange(len(bars)) * 4 // len(bars))) for p in PRICES})
    write(folder / "in", "globex.csv", pd.concat([es, es.assign(root="NQ", **{p: es[p] * 3 for p in PRICES})]))
    (folder / "futures.yaml").write_text(FUTURES)
    return folder / "futures.yaml"


@pytest.mark.slow
def test_a_yaml_of_bars(cli, tmp_path):
    "What the YAML says is what the flags say; the audit poisons the file behind it; wrong words end with 2."
    about = futures(tmp_path)
    said = cli("train", "--data", about, "--model", "prior", "--horizon", 1, "--no-publish")
    assert said.code == 0, said.err
    flags = [
        "--path",
        tmp_path / "in",
        "--symbol-from",
        "column:root",
        "--symbol",
        "ES",
        "--stamp",
        "open",
        "--session",
        "rth",
        "--labels-within",
        "session",
        "--rolls",
        "symbol_raw",
    ]
    same = cli("train", "--data", "bars", *flags, "--model", "prior", "--horizon", 1, "--no-publish")
    assert same.code == 0 and same.value["leaderboard"][0]["score"] == said.value["leaderboard"][0]["score"]
    panel = load_panel(
        "bars",
        horizon=1,
        path=str(tmp_path / "in"),
        symbols=["ES"],
        symbol_from="column:root",
        stamp="open",
        session="rth",
        labels_within="session",
        rolls=["symbol_raw"],
    )
    assert panel.frame["symbol"].unique().tolist() == ["ES"] and panel.frame["roll"].nunique() == 4
    audit = cli("audit", "leak", "--data", about, "--horizon", 1, "--model", "logistic")
    assert audit.code == 0, (audit.out, audit.err)
    for text, word in (
        ("sesion: rth", "did you mean 'session'"),
        ("session: rht", "did you mean 'rth'"),
        ("labels_within: day", "labels_within"),
    ):
        about.write_text(f"source: bars\npath: in\n{text}\n")
        wrong = cli("train", "--data", about, "--model", "prior")
        assert wrong.code == 2 and word in wrong.err + wrong.out


def published(cli, folder, bars, *flags):
    "A model of these bars in production."
    made = cli(
        "train", "--data", "bars", "--path", write(folder / "in", "X.csv", bars) / "X.csv", "--model", "logistic", "--horizon", 5, *flags
    )
    assert made.code == 0, made.err
    assert cli("promote", "bars_h5_logistic", "--force", "--reason", "a test").code == 0
    return "bars_h5_logistic"


def test_new_bars_take_their_past_from_the_recorded_files(cli, tmp_path):
    "predict and drift, given new bars alone, say what they say given all; the missing file is named."
    bars = noise_bars(2400, symbols=1, seed=9, freq="1h").drop(columns="symbol")
    name = published(cli, tmp_path, bars[:2000])
    whole, new = write(tmp_path / "all", "X.csv", bars) / "X.csv", write(tmp_path / "new", "X.csv", bars[2000:]) / "X.csv"
    one, few = (
        cli("predict", "--model", name, "--path", whole, "--all-later"),
        cli("predict", "--model", name, "--path", new, "--all-later"),
    )
    assert one.code == few.code == 0, few.err
    at = lambda told: {
        r["datetime"]: r["prob_1"] if "prob_1" in r else str(r)
        for r in told.value["predictions"]
        if pd.Timestamp(r["datetime"]).tz_localize(None) >= bars["time"][2000].tz_localize(None)
    }  # noqa: E731
    assert len(at(few)) == len(few.value["predictions"]) > 300 and at(one) == at(few)
    drift = [cli("drift", name, "--path", p, "--output", tmp_path / f"drift{k}") for k, p in enumerate((whole, new))]
    assert drift[0].value["columns"] == drift[1].value["columns"] and drift[1].value["reference_rows"] > 1000, drift[1].value
    tail = write(tmp_path / "tail", "X.csv", bars[2380:]) / "X.csv"
    (tmp_path / "in" / "X.csv").rename(tmp_path / "in" / "gone.csv")
    for command in (["predict", "--model", name, "--path", tail], ["drift", name, "--path", tail]):
        said = cli(*command)
        assert said.code == 3 and str(tmp_path / "in" / "X.csv") in said.err and "--path OLD --path NEW" in said.err


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
    """Ten forms of fillers on ten walks each: better than the rule no more often than chance allows, and not more often than without
    fillers."""
    from lineupiq.training.runs import TrainSettings, train_models

    better = {"filled": 0, "traded": 0}
    for form in FORMS:
        for seed in range(100, 110):
            panels = [bars_panel(bars, 5, keep_unlabelled=True) for bars in walk(seed, form, n=6000)[:2]]
            shown = None
            for name, panel in zip(("traded", "filled"), panels, strict=True):
                if shown is None or not panel.frame.equals(panels[0].frame):
                    board = train_models(
                        panel, ["logistic"], settings=TrainSettings(tmp_path / name / form / str(seed), isolate=False, draws=200)
                    ).board
                    shown = bool(board.set_index("model").loc["logistic", "skill_low"] > 0)
                better[name] += shown
    print(better)
    assert better["filled"] <= 7 and better["filled"] <= max(better["traded"], 3), better
