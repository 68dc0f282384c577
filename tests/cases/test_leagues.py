"""Any league: tables of results in the forms that people have, from a CSV to a leaderboard."""
import logging

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
                rows.append((day, 2015 + season, names[h], names[a], rng.poisson(np.exp(0.35 + strength[h] - strength[a])), rng.poisson(np.exp(0.1 + strength[a] - strength[h]))))
            day += pd.Timedelta(step)
    return pd.DataFrame(rows, columns=["Date", "Season", "home", "visitor", "hgoal", "vgoal"]).assign(Date=lambda t: t["Date"].dt.strftime("%Y-%m-%d"))


def describe(folder, table, task="multiclass", **games):
    table.to_csv(folder / "games.csv", index=False)
    (folder / "league.yaml").write_text(yaml.safe_dump({"name": "mine", "path": "games.csv", "task": task, "games": {**COLUMNS, **games}}))
    return folder / "league.yaml"


def test_seasons_are_found_by_pauses():
    table = league()
    said, found = league_games(table, games_config({**COLUMNS, "season": "Season"})), league_games(table, games_config(COLUMNS))
    assert said["season"].tolist() == found["season"].tolist()
    assert league_games(league(step="21D"), games_config(COLUMNS))["season"].tolist() == pd.to_datetime(league(step="21D")["Date"]).dt.year.tolist()  # never pauses


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
    old = table.assign(home=table["home"].where(table["Season"] > 2015, table["home"].replace("Team 3", "Club 3")), visitor=table["visitor"].where(table["Season"] > 2015, table["visitor"].replace("Team 3", "Club 3")))
    pd.DataFrame({"current": ["Team 3"], "former": ["Club 3"]}).to_csv(tmp_path / "names.csv", index=False)
    one = league_panel(table, games_config({**COLUMNS, "neutral": "n"}))
    two = league_panel(old, games_config({**COLUMNS, "neutral": "n", "names": "names.csv"}), root=tmp_path)
    pd.testing.assert_frame_equal(one.frame, two.frame)
    assert one.frame["neutral"].sum() > 30
    coming = league_panel(table.assign(hgoal=table["hgoal"].where(table.index < 295), vgoal=table["vgoal"].where(table.index < 295)), games_config(COLUMNS))
    assert (~coming.labelled).sum() == 5
    with pytest.raises(DataError, match="neither true nor false"):
        league_panel(table.assign(n="maybe"), games_config({**COLUMNS, "neutral": "n"}))


def test_bad_descriptions(tmp_path):
    for games, word in (({"hom": "x"}, "unknown"), ({"score": "FT"}, "one of the two ways"), ({"odds": {"home": "H"}}, "odds.away"), ({"elo": {"kk": 1}}, "unknown constant"), ({"lasts": 3}, "lasts")):
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
        assert len(league_games(pd.concat([table, table[:4], table[:2].assign(hgoal=None, vgoal=None)]), games_config(COLUMNS))) == len(table)
    assert "6 game(s) are there twice" in caplog.text


def test_from_csv_to_leaderboard(cli, tmp_path):
    "One command; the poisoned future changes nothing before it."
    path = describe(tmp_path, league(seasons=4).assign(H=1.9, A=2.1), "binary", season="Season", odds={"home": "H", "away": "A"})
    done = cli("train", "--data", path, "--model", "logistic,rating:elo", "--walk-forward", "2017:2018", "--no-publish")
    assert done.code == 0, done.err
    assert {"logistic", "elo", "reference:elo"} <= {row["model"] for row in done.value["leaderboard"]}
    assert cli("audit", "leak", "--data", path, "--model", "logistic").code in (0, 10)
