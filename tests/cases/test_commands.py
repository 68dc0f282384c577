"""Inputs that people have, through the command: each trains as the clean one does, or is refused in words that the command line can follow."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_nfl import as_text, clocks, playoffs, roster, show, snaps

from lineupiq.data.simulate import league, noise_bars

FILES = {"schedules": "games", "player_stats": "player_stats", "players": "players", "teams": "teams"}
PRICES = ["open", "high", "low", "close"]
SCORES = ["home_score", "away_score", "result", "total"]


@pytest.fixture(scope="module")
def played():
    world = league(seasons=3, teams=8, players_per_team=4, weeks=8, seed=3)
    return {name: getattr(world, name) for name in FILES}


@pytest.fixture(scope="module")
def hours():
    return noise_bars(700, symbols=1, seed=5, freq="1h").drop(columns="symbol")


@pytest.fixture
def nfl(tmp_path, played, cli):
    "Train on a folder of tables, some of them others; `kind` is games or players."

    def run(kind: str = "games", sep: str = ",", text: dict | None = None, **changes):
        place = tmp_path / f"nfl{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        for table, frame in {**played, **changes}.items():
            if frame is not None:
                frame.to_csv(place / f"{FILES.get(table, table)}.csv", index=False, sep=sep)
        what = ["nfl-games"] if kind == "games" else ["nfl-players", "--position", "WR", "--target", "receiving_yards"]
        return cli("train", "--data", *what, "--path", place, "--model", "prior", output=tmp_path / f"{place.name}_out")

    return run


@pytest.fixture
def bars(tmp_path, cli):
    "Train on files of bars: name → frame, or bytes."

    def run(files: dict, *options, model: str = "prior"):
        place = tmp_path / f"bars{len(list(tmp_path.iterdir()))}"
        for name, frame in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(frame) if isinstance(frame, bytes) else frame.to_csv(path, index=False)
        return cli(
            "train", "--data", "bars", "--horizon", 5, "--path", place, "--model", model, *options, output=tmp_path / f"{place.name}_out"
        )

    return run


def board(answer) -> list:
    "What a training measured: rows and scores of its rules."
    assert answer.code == 0, answer.err
    return [(row["model"], row["n"], row["score"]) for row in answer.value["leaderboard"]]


def symbols(answer) -> list[str]:
    frame = pd.read_parquet(next(Path(answer.value["run_dir"]).rglob("*predictions*.parquet")))
    return sorted(frame["symbol"].astype(str).unique())


def same(one, other) -> None:
    assert board(one) == board(other)


def refused(answer, *words) -> None:
    said = json.dumps(answer.error, ensure_ascii=False) + answer.err
    assert answer.code == 3 and "Traceback" not in answer.err, (answer.code, said)
    for word in words:
        assert word in said, (word, said)


# --- who a row is about ---


@pytest.mark.slow
@pytest.mark.parametrize("pair", [("BRK.A.csv", "BRK.B.csv"), ("SH_600519.csv", "SH_601318.csv")])
def test_two_instruments(bars, hours, pair):  # 02a, 02c
    assert symbols(bars({name: hours.assign(**{p: hours[p] * (1 + k) for p in PRICES}) for k, name in enumerate(pair)})) == [
        n[:-4] for n in pair
    ]


def test_months_of_one_symbol(bars, hours):  # 01
    same(bars({"BTCUSDT-1h-2020-01.csv": hours[:400], "BTCUSDT-1h-2020-02.csv": hours[400:]}), bars({"BTCUSDT.csv": hours}))


@pytest.mark.slow
def test_codes_with_leading_zeros(bars, hours):  # 14
    files = {"x.csv": pd.concat([hours.assign(symbol="000001"), hours.assign(symbol="600519")])}
    assert symbols(bars(files, "--symbol", "000001")) == ["000001"]


@pytest.mark.slow
def test_space_behind_a_symbol(bars, hours, caplog):  # 15
    answer = bars({"x.csv": hours.assign(symbol=["AAPL", "AAPL "] * 350)})
    same(answer, bars({"x.csv": hours.assign(symbol="AAPL")}))
    assert "space around 350 value(s)" in caplog.text


# --- one key ---


@pytest.mark.slow
def test_weeks_of_the_play_offs_begin_at_1(nfl, played):  # 03
    pair = [
        nfl(
            "players",
            schedules=playoffs(played["schedules"], "game_type", restart=again),
            player_stats=playoffs(played["player_stats"], "season_type", restart=again),
        )
        for again in (False, True)
    ]
    same(*pair)


@pytest.mark.slow
def test_a_roster_beside_the_players(nfl, played, caplog):  # 04
    answer = nfl("players", roster_2017=roster(played))
    same(answer, nfl("players"))
    assert "it is a roster" in caplog.text


def test_an_older_copy(nfl, played):  # 05
    games = played["schedules"]
    old = games[games["season"] == 2017].assign(**dict.fromkeys(SCORES, np.nan))
    same(nfl(**{"schedules_2017-08": old}), nfl())


# --- text that does not fit ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("schedules", "week", "WildCard"), ("player_stats", "carries", "-"), ("player_stats", "fantasy_points_ppr", "12,3")],
)
def test_text_among_numbers(nfl, played, table, column, value):  # 07a, 07c, 07f
    frame = played[table].assign(fantasy_points_ppr=1.5) if column.startswith("fantasy") else played[table]
    odd = as_text(frame[column])
    odd.iloc[5] = value
    refused(
        nfl("games" if table == "schedules" else "players", **{table: frame.assign(**{column: odd})}), f"{FILES[table]}.csv", column, value
    )


def test_a_dash_is_no_number(nfl, played):  # 07c, the quick one of its kind
    odd = as_text(played["schedules"]["week"])
    odd.iloc[3] = "-"
    refused(nfl(schedules=played["schedules"].assign(week=odd)), "games.csv", "week")


@pytest.mark.slow
def test_clocks_with_pm(nfl, played):  # 08a
    same(nfl(schedules=clocks(played["schedules"], "%I:%M %p")), nfl())


@pytest.mark.slow
def test_a_spread_of_PK(nfl, played):  # 09a
    spread = played["schedules"]["spread_line"].copy()
    spread.iloc[::9] = 0
    text = as_text(spread).where(spread != 0, "PK")
    same(nfl(schedules=played["schedules"].assign(spread_line=text)), nfl(schedules=played["schedules"].assign(spread_line=spread)))


@pytest.mark.slow
def test_stamps_of_two_forms(nfl, played):  # 26a
    stats = played["player_stats"]
    report = pd.DataFrame(
        {
            "season": stats["season"],
            "week": stats["week"],
            "team": stats["recent_team"],
            "gsis_id": stats["player_id"],
            "position": stats["position"],
            "report_status": np.where(np.arange(len(stats)) % 3, "Questionable", "Out"),
            "date_modified": [f"{s}-08-01T12:00:00Z" for s in stats["season"]],
        }
    )
    mixed = report.assign(
        date_modified=[t if k % 2 else t.replace("T", " ").replace("Z", "+00:00") for k, t in enumerate(report["date_modified"])]
    )
    same(nfl("players", injuries=mixed), nfl("players", injuries=report))


@pytest.mark.slow
def test_births_with_the_day_first(nfl, played):  # 26c
    born = pd.to_datetime(played["players"]["birthdate"]) + pd.to_timedelta(np.arange(len(played["players"])) % 28, "D")
    day_first, iso = (played["players"].assign(birthdate=born.dt.strftime(form)) for form in ("%d/%m/%Y", "%Y-%m-%d"))
    same(nfl("players", players=day_first), nfl("players", players=iso))


@pytest.mark.slow
def test_times_as_numbers(bars, hours):  # 12a, 12b, 13
    epoch = hours["time"].astype("int64") // 10**9
    right = bars({"X.csv": hours})
    same(bars({"X.csv": hours.assign(time=epoch)}, "--time-unit", "s"), right)
    days = noise_bars(400, symbols=1, seed=5, freq="1D").drop(columns="symbol")
    same(
        bars({"X.csv": days.assign(time=days["time"].dt.strftime("%Y%m%d"))}),
        bars({"X.csv": days.assign(time=days["time"].dt.strftime("%Y-%m-%d"))}),
    )
    refused(bars({"X.csv": days.assign(time=days["time"].dt.strftime("%Y%m%d"))}, "--time-unit", "s"), "eight digits")
    refused(bars({"X.csv": hours.assign(time=np.where(np.arange(700) < 350, epoch * 10**3, epoch * 10**6))}), "two units")


# --- rows that are no observation ---


@pytest.mark.slow
def test_games_for_show(nfl, played, caplog):  # 10a
    answer = nfl(schedules=pd.concat([show(played["schedules"]), played["schedules"]]))
    same(answer, nfl())
    assert "left out" in caplog.text


@pytest.mark.slow
def test_games_that_were_not_played(nfl, played):  # 11, 24
    games = played["schedules"]
    off = games[(games["season"] == 2016) & (games["week"] == 1)][:1].assign(
        week=0, gameday="2016-08-30", game_id="off", **dict.fromkeys(SCORES, np.nan)
    )
    same(nfl(schedules=pd.concat([games, off])), nfl())
    last = (games["season"] == 2017) & (games["week"] == 8)
    zeros, blank = (games.assign(**{c: games[c].mask(last, value) for c in SCORES}) for value in (0, np.nan))
    same(nfl(schedules=zeros), nfl(schedules=blank))


def test_weekends_that_are_filled(bars, caplog):  # 25a
    hours = noise_bars(1500, symbols=1, seed=8, freq="1h").drop(columns="symbol")
    week = hours[hours["time"].dt.dayofweek < 5].reset_index(drop=True)
    filled = week.set_index("time").resample("1h").first()
    filled["close"] = filled["close"].ffill()
    filled = filled.assign(volume=filled["volume"].fillna(0), **{p: filled[p].fillna(filled["close"]) for p in PRICES}).reset_index()
    one, two = bars({"X.csv": week}), bars({"X.csv": filled})
    same(one, two)
    assert "no observations" in caplog.text


# --- words, scales, signs ---


@pytest.mark.slow
def test_words_in_other_spellings(nfl, played):  # 10c
    games = played["schedules"]
    other = games.assign(location=games["location"].str.upper(), roof=games["roof"].str.title(), game_type="Regular")
    same(nfl(schedules=other), nfl())


def test_an_unknown_word(nfl, played):  # 10c, the other way
    refused(nfl(schedules=played["schedules"].assign(roof="opne")), "opne", "open")


@pytest.mark.slow
def test_the_sign_of_the_spread(nfl, played, caplog):  # 20
    games = played["schedules"]
    nfl()
    assert "contradicts" not in caplog.text
    nfl(schedules=games.assign(spread_line=-games["spread_line"]))
    assert "contradicts" in caplog.text


@pytest.mark.slow
def test_a_share_that_changes_scale(nfl, played):  # 21
    season = played["player_stats"]["season"]
    share = snaps(played)["offense_pct"] * np.where(season == 2016, 100, 1)
    refused(nfl("players", snap_counts=snaps(played).assign(offense_pct=share)), "offense_pct", "shares above 1")


def test_a_split(bars, hours, caplog):  # 16
    k = np.arange(700) >= 400
    answer = bars({"AAPL.csv": hours.assign(**{p: np.where(k, hours[p] / 4, hours[p]) for p in PRICES})})
    assert answer.code == 0 and str(hours["time"][400])[:10] in caplog.text and "split" in caplog.text


@pytest.mark.slow
def test_two_lengths_of_bars(bars, caplog):  # 28
    months = (
        noise_bars(120, symbols=1, seed=1, freq="1D")
        .drop(columns="symbol")
        .assign(time=pd.date_range("2005-01-01", periods=120, freq="MS", tz="UTC"))
    )
    days = (
        noise_bars(400, symbols=1, seed=2, freq="1D")
        .drop(columns="symbol")
        .assign(time=pd.date_range("2015-01-01", periods=400, freq="1D", tz="UTC"))
    )
    answer = bars({"GSPC.csv": pd.concat([months, days])})
    assert answer.code == 3 or "length" in caplog.text


# --- folders as people have them ---


def test_semicolons_of_a_folder(nfl):  # 06
    same(nfl(sep=";"), nfl())


@pytest.mark.slow
def test_commas_within_a_header(tmp_path, cli):  # 19
    days = pd.date_range("2023-01-01", periods=80)
    rows = pd.DataFrame(
        {"day": days.strftime("%Y-%m-%d"), "price, net": np.arange(80) % 7 + 0.5, "sold": np.arange(80) % 5 + np.arange(80) % 3}
    )
    rows.to_csv(tmp_path / "t.csv", index=False, sep=";", quoting=1)
    (tmp_path / "t.yaml").write_text(
        yaml.safe_dump(
            {
                "path": "t.csv",
                "task": "regression",
                "time": "day",
                "label": "sold",
                "label_lag": "12h",
                "features": {"price, net": "numeric"},
            }
        )
    )
    assert cli("train", "--data", tmp_path / "t.yaml", "--model", "prior").code == 0


@pytest.mark.slow
def test_first_lines(bars, hours, caplog):  # 18
    text, right = hours.to_csv(index=False), bars({"X.csv": hours})
    same(bars({"X.csv": ("\n" + text).encode()}), right)
    utf16 = bars({"X.csv": text.encode("utf-16")})
    same(utf16, right)
    assert "UTF-16" in caplog.text
    same(bars({"X.csv": ("https://www.cryptodatadownload.com\n" + text).encode()}), right)
    same(
        bars(
            {
                "X.csv": hours.rename(columns={"time": "<DATE>"})
                .rename(columns=lambda c: c if c.startswith("<") else f"<{c.upper()}>")
                .to_csv(index=False, sep="\t")
                .encode()
            }
        ),
        right,
    )
    names = text.splitlines()[0].split(",")
    yf = [
        "Price,Close,High,Low,Open,Volume",
        "Ticker" + ",AAPL" * 5,
        "Date,,,,,",
        *(",".join(str(v) for v in row) for row in hours[["time", "close", "high", "low", "open", "volume"]].itertuples(index=False)),
    ]
    said = bars({"X.csv": "\n".join(yf).encode()})
    same(said, right)
    assert "yfinance" in caplog.text
    assert bars({"X.csv": text.replace("\n", ",1\n").replace(",1\n", f",{names[-1]}\n", 1).encode()}).code == 0


@pytest.mark.slow
def test_volume_under_another_name(bars, hours, caplog):  # 17
    same(bars({"X.csv": hours.rename(columns={"volume": "Volume BTC"})}), bars({"X.csv": hours}))
    bars({"X.csv": hours.rename(columns={"volume": "liquidity"})})
    assert "no column was taken for volume" in caplog.text


@pytest.mark.slow
def test_a_text_beside_the_bars(bars, hours, caplog):  # 23
    answer = bars({"EURUSD.csv": hours, "README.txt": b"Bars of the euro,\nfrom my broker.\n"})
    same(answer, bars({"EURUSD.csv": hours}))
    assert "passed over: " in caplog.text and "README.txt" in caplog.text


@pytest.mark.slow
def test_a_bad_file_beside_the_symbol(bars, hours):  # 27
    bad = hours.assign(high=hours["low"] - 1)
    same(bars({"GOOD.csv": hours, "BAD.csv": bad}, "--symbol", "GOOD"), bars({"GOOD.csv": hours}))
