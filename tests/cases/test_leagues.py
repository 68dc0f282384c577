"""Any league: tables of results in the forms that people have, from a CSV to a leaderboard."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lineupiq.base import ConfigError, DataError
from lineupiq.data.leagues import games_config, league_games, league_panel
from lineupiq.data.sources import load_panel
from lineupiq.data.tables import table_config

COLUMNS = {"date": "Date", "home": "home", "away": "visitor", "home_score": "hgoal", "away_score": "vgoal"}


def league(seed=0, seasons=3, teams=10, step="7D"):
    "A round robin of sides of unequal strength, with summers between the seasons."
    rng = np.random.default_rng(seed)
    names, strength, rows = [f"Team {k}" for k in range(teams)], rng.normal(0, 0.35, teams), []
    for season in range(seasons):
        day = pd.Timestamp(f"{2015 + season}-08-15")
        for _ in range(20):
            order = rng.permutation(teams)
            for h, a in order.reshape(-1, 2):
                rows.append(
                    (
                        day,
                        2015 + season,
                        names[h],
                        names[a],
                        rng.poisson(np.exp(0.35 + strength[h] - strength[a])),
                        rng.poisson(np.exp(0.1 + strength[a] - strength[h])),
                    )
                )
            day += pd.Timedelta(step)
    return pd.DataFrame(rows, columns=["Date", "Season", "home", "visitor", "hgoal", "vgoal"]).assign(
        Date=lambda t: t["Date"].dt.strftime("%Y-%m-%d")
    )


def describe(folder, table, task="multiclass", **games):
    table.to_csv(folder / "games.csv", index=False)
    (folder / "league.yaml").write_text(yaml.safe_dump({"name": "mine", "path": "games.csv", "task": task, "games": {**COLUMNS, **games}}))
    return folder / "league.yaml"


def test_seasons_are_found_by_pauses():
    table = league()
    said, found = league_games(table, games_config({**COLUMNS, "season": "Season"})), league_games(table, games_config(COLUMNS))
    assert said["season"].tolist() == found["season"].tolist()
    # never pauses
    assert (
        league_games(league(step="21D"), games_config(COLUMNS))["season"].tolist()
        == pd.to_datetime(league(step="21D")["Date"]).dt.year.tolist()
    )


def test_order_of_the_file_does_not_matter():
    table = league()
    one, two = (league_panel(t, games_config(COLUMNS)) for t in (table, table.sample(frac=1, random_state=1)))
    key = ["time", "home", "away"]
    a, b = (p.frame.drop(columns="log_row").sort_values(key, ignore_index=True) for p in (one, two))
    pd.testing.assert_frame_equal(a, b, rtol=1e-9)


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_draws(task):
    table = league()
    drawn = table["hgoal"] == table["vgoal"]
    panel = league_panel(table, games_config(COLUMNS), task)
    if task == "binary":
        assert panel.meta["draws_without_label"] == drawn.sum() and set(np.unique(panel.y)) == {0, 1}
    assert len(panel) == len(league_panel(table, games_config(COLUMNS), "multiclass")) - (drawn[5:].sum() if task == "binary" else 0)
    assert len(panel.log) == len(table)  # a draw moves the ratings


def test_names_neutral_and_upcoming(tmp_path):
    table = league().assign(n=lambda t: np.where(t.index % 7 == 0, "TRUE", "no"))
    old = table.assign(
        home=table["home"].where(table["Season"] > 2015, table["home"].replace("Team 3", "Club 3")),
        visitor=table["visitor"].where(table["Season"] > 2015, table["visitor"].replace("Team 3", "Club 3")),
    )
    pd.DataFrame({"current": ["Team 3"], "former": ["Club 3"]}).to_csv(tmp_path / "names.csv", index=False)
    one = league_panel(table, games_config({**COLUMNS, "neutral": "n"}))
    two = league_panel(old, games_config({**COLUMNS, "neutral": "n", "names": "names.csv"}), root=tmp_path)
    pd.testing.assert_frame_equal(one.frame, two.frame)
    assert one.frame["neutral"].sum() > 30
    coming = league_panel(
        table.assign(hgoal=table["hgoal"].where(table.index < 295), vgoal=table["vgoal"].where(table.index < 295)), games_config(COLUMNS)
    )
    assert (~coming.labelled).sum() == 5
    with pytest.raises(DataError, match="neither true nor false"):
        league_panel(table.assign(n="maybe"), games_config({**COLUMNS, "neutral": "n"}))


def test_bad_descriptions(tmp_path):
    for games, word in (
        ({"hom": "x"}, "unknown"),
        ({"score": "FT"}, "one of the two ways"),
        ({"odds": {"home": "H"}}, "odds.away"),
        ({"elo": {"kk": 1}}, "unknown constant"),
        ({"lasts": 3}, "lasts"),
    ):
        with pytest.raises(ConfigError) as said:
            table_config(describe(tmp_path, league(), **games))
        assert word in str(said.value)
    with pytest.raises(DataError, match="missing"):
        load_panel(describe(tmp_path, league().drop(columns="hgoal")))
    with pytest.raises(ConfigError, match="made by the library"):
        table_config({"task": "binary", "label": "x", "games": COLUMNS})


def test_twins_and_two_results(caplog):
    table = league()
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert len(league_games(pd.concat([table, table[:4], table[:2].assign(hgoal=None, vgoal=None)]), games_config(COLUMNS))) == len(
            table
        )
    assert "6 game(s) are there twice" in caplog.text


def test_from_csv_to_leaderboard(cli, tmp_path):
    "One command; the poisoned future changes nothing before it."
    path = describe(tmp_path, league(seasons=4).assign(H=1.9, A=2.1), "binary", season="Season", odds={"home": "H", "away": "A"})
    done = cli("train", "--data", path, "--model", "logistic,rating:elo", "--walk-forward", "2017:2018", "--no-publish")
    assert done.code == 0, done.err
    assert {"logistic", "elo", "reference:elo"} <= {row["model"] for row in done.value["leaderboard"]}
    assert cli("audit", "leak", "--data", path, "--model", "logistic").code in (0, 10)


# --- the market ---


def priced(seed=0, seasons=4):
    "A league with a curve of its own, and the prices of a bookmaker who knows it but for a little noise; the last round is not played."
    from lineupiq.data.draws import DrawCurve

    rng, names, rows = np.random.default_rng(seed), [f"Team {k}" for k in range(12)], []
    strength = rng.normal(0, 130, 12)
    for season in range(seasons):
        for week in range(26):
            rows += [
                (
                    pd.Timestamp(f"{2015 + season}-08-15") + pd.Timedelta(days=7 * week),
                    2015 + season,
                    names[h],
                    names[a],
                    strength[h] - strength[a],
                )
                for h, a in rng.permutation(12).reshape(-1, 2)
            ]
    out = pd.DataFrame(rows, columns=["Date", "Season", "home", "visitor", "apart"])
    truth = DrawCurve(400, 50, 70).probabilities(out.pop("apart").to_numpy(), np.ones(len(out)))
    u = rng.random(len(out))
    won = np.where(u < truth[:, 0], -1, np.where(u < truth[:, :2].sum(axis=1), 0, 1))
    seen = truth * np.exp(rng.normal(0, 0.05, truth.shape))
    seen = 1.06 * seen / seen.sum(axis=1, keepdims=True)
    out = out.assign(hgoal=1.0 + 2 * (won > 0), vgoal=1.0 + 2 * (won < 0), one=1 / seen[:, 2], x=1 / seen[:, 1], two=1 / seen[:, 0])
    out.loc[out["Season"] == 2018, ["one", "x", "two"]] = out.loc[out["Season"] == 2018, ["one", "x", "two"]].where(
        out["Date"] < "2018-12-01"
    )
    last = out["Date"] == out["Date"].max()
    return out.assign(hgoal=out["hgoal"].mask(last), vgoal=out["vgoal"].mask(last), Date=out["Date"].dt.strftime("%Y-%m-%d"))


@pytest.mark.parametrize("form", ["decimal", "american", "fractional"])
def test_prices_in_three_forms_are_one_market(form):
    table = priced()
    write = {
        "decimal": lambda p: p,
        "american": lambda p: np.where(p >= 2, 100 * (p - 1), -100 / (p - 1)),
        "fractional": lambda p: [f"{100_000 * (q - 1):.0f}/100000" if q == q else None for q in p],
    }[form]
    odds = {"home": "one", "draw": "x", "away": "two"}
    own = league_panel(table, games_config({**COLUMNS, "odds": odds}))
    other = league_panel(
        table.assign(**{c: write(table[c]) for c in ("one", "x", "two")}), games_config({**COLUMNS, "odds": {**odds, "form": form}})
    )
    shares = own.frame[list(own.references.values())]
    assert np.allclose(shares.dropna().sum(axis=1), 1) and shares.isna().any(axis=None)
    assert np.allclose(shares, other.frame[list(other.references.values())], atol=1e-4, equal_nan=True)


def test_elo_and_the_market_of_three_classes(cli, tmp_path):
    "Base rate, Elo and market on the same games with both scores; the difference to the market where it has a price."
    path = describe(tmp_path, priced(), season="Season", odds={"home": "one", "draw": "x", "away": "two"})
    done = cli("train", "--data", path, "--model", "logistic,rating:elo", "--walk-forward", "2017:2018", "--no-publish")
    assert done.code == 0, done.err
    board = pd.DataFrame(done.value["leaderboard"]).set_index("model")
    assert board.loc["reference:market", "score"] < board.loc["elo", "score"] < board.loc["prior", "score"]
    assert board.loc["reference:market", "brier_score"] < board.loc["elo", "brier_score"] < board.loc["prior", "brier_score"]
    assert board.loc["elo", "market_high"] < 0.01 and board.loc["prior", "market_high"] < 0
    assert set(board["market_n"]) == {board.loc["reference:market", "n"]} and board["market_n"].iloc[0] < board["n"].max()
    assert "The market has a price for" in Path(done.value["run_dir"], "reports", "report.html").read_text()


def test_elo_of_three_classes_is_the_rating_under_an_ordered_logit():
    "The oracle: the plain recursion, and statsmodels' ordered logit on the rating's difference of the training games."
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    from lineupiq.data.game_log import Games
    from lineupiq.data.ratings import EloRules, elo_ratings
    from lineupiq.elo import CONSTANTS, EloModel

    panel = league_panel(priced(), games_config({**COLUMNS, "season": "Season"}))
    rows, y = panel.frame["log_row"].to_numpy()[panel.labelled], panel.y[panel.labelled].astype(int)
    train, test = rows[:800], rows[800:]
    model = EloModel(task="multiclass")
    model.fit(Games(panel.log, train), y[:800])
    log = panel.log
    rated = elo_ratings(
        log.home, log.away, log.home_score, log.away_score, log.neutral, log.season, EloRules(*(model.native[c] for c in CONSTANTS))
    )
    diff = (rated.elo_home - rated.elo_away)[:, None] / 100
    oracle = OrderedModel(pd.Series(pd.Categorical(y[:800], ordered=True)), diff[train], distr="logit").fit(
        method="bfgs", disp=False, gtol=1e-9
    )
    assert np.allclose(model.predict(Games(log, test)).probabilities, oracle.model.predict(oracle.params, exog=diff[test]), atol=2e-4)


def test_audit_makes_a_league_again_from_its_file(cli, tmp_path):
    path = describe(tmp_path, priced(seasons=3), season="Season", odds={"home": "one", "draw": "x", "away": "two"})
    done = cli("audit", "leak", "--data", path, "--model", "logistic")
    assert done.code == 0, done.err
    assert "results and prices of the file" in done.out + done.err


def test_codes_of_sides_are_text(tmp_path):
    "Sides called 0001 and TRUE are not a number and not a flag."
    table = league()
    names = {f"Team {k}": v for k, v in enumerate(["0001", "TRUE", "INF", "1E5", "007", "08", "nul", "yes", "12", "3.0"])}
    panel = load_panel(describe(tmp_path, table.assign(home=table["home"].map(names), visitor=table["visitor"].map(names))))
    assert set(panel.frame["home"]) == set(names.values())


def test_new_games_alone_or_with_the_old(cli, tmp_path):
    "The next round from the file of everything, and from a file of its own: the same forecasts."
    table = priced(seasons=3)
    path = describe(tmp_path, table, season="Season")
    done = cli("train", "--data", path, "--model", "logistic", "--test-share", "0.2", "--no-publish")
    assert done.code == 0, done.err
    run, coming = done.value["run_dir"], table["hgoal"].isna()
    asked = []
    for name, rows in (("whole", table), ("new", table[coming])):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
        table[~coming].to_csv(tmp_path / "games.csv", index=False)
        said = cli("predict", "--model", run, "--data", path, "--path", tmp_path / f"{name}.csv", "--output", tmp_path / f"{name}_out.csv")
        assert said.code == 0, said.err
        asked.append(pd.read_csv(tmp_path / f"{name}_out.csv").query("y.isna()").reset_index(drop=True))
    assert len(asked[0]) == len(asked[1]) == 6
    pd.testing.assert_frame_equal(*asked)


# --- rows that are no game ---


def test_placeholders_are_no_draws(caplog):
    "0-0 in a week and at an end of nothing else, in the future, and in a league of many points: as games without a score."
    table = league()
    score = ["hgoal", "vgoal"]
    day = pd.to_datetime(table["Date"])
    coming = table.tail(3).assign(Date="2090-05-01", hgoal=0, vgoal=0)
    many = table.assign(hgoal=table["hgoal"] * 7 + 20, vgoal=table["vgoal"] * 7 + 18)
    for base, rows in (
        (table, day == day[85]),
        (table, table.index >= len(table) - 10),
        (pd.concat([table, coming], ignore_index=True), slice(len(table), None)),
        (many, table.index == 77),
    ):
        zero, blank = base.astype({c: float for c in score}), base.astype({c: float for c in score})
        zero.loc[rows, score], blank.loc[rows, score] = 0.0, np.nan
        with caplog.at_level(logging.WARNING, "lineupiq"):
            got = league_panel(zero, games_config(COLUMNS), "multiclass")
        want = league_panel(blank, games_config(COLUMNS), "multiclass")
        pd.testing.assert_frame_equal(got.frame, want.frame)
    assert caplog.text.count("have 0-0 for a score where nothing was played") == 4


def test_draws_without_goals_stay(caplog):
    table = league()
    table.loc[[10, 60, 61, len(table) - 1], ["hgoal", "vgoal"]] = 0
    with caplog.at_level(logging.WARNING, "lineupiq"):
        panel = league_panel(table, games_config(COLUMNS), "multiclass")
    assert "0-0" not in caplog.text and (panel.y == 0).sum() == (table["hgoal"] == table["vgoal"])[5:].sum()


@pytest.mark.parametrize("score", [-1, 1e6, "\u22122"])
def test_scores_that_no_game_has(score):
    table = league()
    table["vgoal"] = table["vgoal"].astype(object)
    table.loc[7, "vgoal"] = score
    table["vgoal"] = table["vgoal"].astype(str) if isinstance(score, str) else table["vgoal"].astype(float)
    with pytest.raises(DataError, match="a score that no game has"):
        league_games(table, games_config(COLUMNS))


# --- sections that cannot be ---


@pytest.mark.parametrize(
    "games",
    [
        {"lasts": "5"},
        {"lasts": "x"},
        {"lasts": "inf"},
        {"lasts": "1M"},
        {"lasts": "NaT"},
        {"lasts": "-1h"},
        {"lasts": "0h"},
        {"lasts": "1000000D"},
        {"elo": 5},
        {"date": ""},
        {"home": " "},
        {"home_score": None, "away_score": None},
        {"away_score": ""},
    ],
)
def test_a_section_that_cannot_be_is_refused(games):
    with pytest.raises(ConfigError, match="games"):
        games_config({**COLUMNS, **games})


@pytest.mark.parametrize(
    ("names", "words"), [([("A", "B"), ("B", "A")], "lead back"), ([("A", "B"), ("A", "C")], "twice"), ([("A", "")], "gaps")]
)
def test_names_that_lead_nowhere(tmp_path, names, words):
    pd.DataFrame(names, columns=["former", "current"]).to_csv(tmp_path / "names.csv", index=False)
    with pytest.raises(DataError, match=words):
        load_panel(describe(tmp_path, league(), names="names.csv"))


def test_names_are_followed_to_today(tmp_path, caplog):
    pd.DataFrame([("Team 0", "Team 00"), ("Team 00", "Team 000"), ("Nobody", "Team 1")], columns=["former", "current"]).to_csv(
        tmp_path / "names.csv", index=False
    )
    with caplog.at_level(logging.WARNING, "lineupiq"):
        panel = load_panel(describe(tmp_path, league(), names="names.csv"))
    assert "Team 000" in set(panel.frame["home"]) and "Team 0" not in set(panel.frame["home"])
    assert "former name(s) that no game has: Nobody" in caplog.text


def test_a_side_does_not_play_itself():
    table = league()
    table.loc[3, "visitor"] = table.loc[3, "home"]
    with pytest.raises(DataError, match="plays itself"):
        league_games(table, games_config(COLUMNS))


@pytest.mark.parametrize("gone", [["home"], ["visitor"], ["home", "visitor", "hgoal", "vgoal"]])
def test_a_game_has_two_sides(gone):
    table = league()
    table[gone] = table[gone].astype(object)
    table.loc[len(table) - 1, gone] = None
    with pytest.raises(DataError, match="without one of its sides"):
        league_games(table, games_config(COLUMNS))
