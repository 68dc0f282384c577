"""The Elo recursion against FiveThirtyEight's published table, game by game."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lineupiq.data.ratings import EloRules, elo_ratings
from lineupiq.data.sources import load_panel
from lineupiq.scoring.leaderboard import forecast_of, reference_frames
from lineupiq.scoring.metrics import get_metric

# The franchises that FiveThirtyEight restarts instead of reverting (nfl-elo-game, forecast.py).
RESETS = {
    ("CBD", 1925): 1502.032,
    ("RAC", 1926): 1403.384,
    ("LOU", 1926): 1307.201,
    ("CIB", 1927): 1362.919,
    ("MNN", 1929): 1306.702,
    ("BFF", 1929): 1331.943,
    ("LAR", 1944): 1373.977,
    ("PHI", 1944): 1497.988,
    ("ARI", 1945): 1353.939,
    ("PIT", 1945): 1353.939,
    ("CLE", 1999): 1300.0,
}


def _find(name: str) -> Path:
    folder = os.environ.get("LINEUPIQ_DATA_DIR")
    if not folder:
        pytest.skip("LINEUPIQ_DATA_DIR is not set: FiveThirtyEight's table is not here")
    found = sorted(Path(folder).resolve().rglob(name))
    if not found:
        pytest.skip(f"{name} is not in {folder}")
    return found[0]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(_find("elo_538_games.csv"))


def _rate(table: pd.DataFrame, rules: EloRules):
    scores = table[["score1", "score2"]].to_numpy(float)
    return elo_ratings(table.team1, table.team2, scores[:, 0], scores[:, 1], table.neutral, table.season, rules)


def test_every_probability_to_1e_5(table):
    "The ratings are printed with three decimals until 2015; the probabilities agree to 2e-6 in every game."
    start = pd.read_csv(_find("elo_538_initial.csv")).set_index("team").elo.to_dict()
    got = _rate(table, EloRules(start=start, resets=RESETS))
    assert len(table) == 16810
    assert np.abs(got.prob_home - table.elo_prob1).max() < 1e-5
    assert np.abs(got.elo_home - table.elo1).max() < 1e-3  # the table's own rounding
    assert np.abs(got.elo_away - table.elo2).max() < 1e-3


def test_ratings_to_1e_5_where_they_are_printed_in_full(table):
    "Ratings are printed with three decimals until 2015; by 2020, with eleven, the rounding has washed out."
    start = pd.read_csv(_find("elo_538_initial.csv")).set_index("team").elo.to_dict()
    got, full = _rate(table, EloRules(start=start, resets=RESETS)), table.season == 2020
    assert full.sum() == 269
    assert np.abs(got.elo_home - table.elo1)[full].max() < 1e-5
    assert np.abs(got.elo_away - table.elo2)[full].max() < 1e-5


def test_another_constant_is_told_apart(table):
    "The comparison has teeth: a home advantage of 55, or no margin multiplier, misses by far."
    start = pd.read_csv(_find("elo_538_initial.csv")).set_index("team").elo.to_dict()
    assert np.abs(_rate(table, EloRules(start=start, resets=RESETS, home_advantage=55)).prob_home - table.elo_prob1).max() > 0.01
    assert np.abs(_rate(table, EloRules(start=start, resets=RESETS, margin=False)).prob_home - table.elo_prob1).max() > 0.01


def _log(table: pd.DataFrame) -> pd.DataFrame:
    from lineupiq.data.game_log import make_log

    when = pd.to_datetime(table.date)
    return make_log(
        pd.DataFrame(
            {
                "home": table.team1,
                "away": table.team2,
                "home_score": table.score1.astype(float),
                "away_score": table.score2.astype(float),
                "neutral": table.neutral.astype(bool),
                "season": table.season,
                "time": when,
                "known": when + pd.Timedelta("4h"),
            }
        )
    )


def test_the_model_reproduces_every_game(table):
    "`rating:elo` with FiveThirtyEight's constants, through fit, save, load and predict."
    from lineupiq.elo import EloModel
    from lineupiq.data.game_log import Games

    start = pd.read_csv(_find("elo_538_initial.csv")).set_index("team").elo.to_dict()
    model = EloModel(
        task="binary",
        k_factor=20.0,
        home_advantage=65.0,
        mean_reversion=1 / 3,
        starts=start,
        resets={f"{t} {s}": r for (t, s), r in RESETS.items()},
    )
    games = Games(_log(table), np.arange(len(table)))
    decided = np.flatnonzero(table.score1 != table.score2)
    model.fit(games.take(decided), (table.score1 > table.score2).to_numpy().astype(int)[decided])
    assert len(table) == 16810
    assert np.abs(model.predict(games).probabilities[:, 1] - table.elo_prob1).max() < 1e-5


def test_the_compiled_walk_is_the_recursion(table):
    "Bit by bit the same history, for one set of constants out of a grid of 27."
    from lineupiq.data.elo_replay import as_replay, constant_grid, replay_ratings

    grid = constant_grid([24, 32, 40], [50, 55, 60], [0.25, 0.33, 0.5])
    fast, slow = replay_ratings(as_replay(_log(table)), *grid), _rate(table, EloRules(k=24, home_advantage=50, mean_reversion=0.25))
    assert np.abs(fast.prob[:, 0] - slow.prob_home).max() < 1e-10
    assert np.abs(fast.home[:, 0] - slow.elo_home).max() < 1e-8


def test_base_rate_elo_and_market_on_the_same_games():
    """Brier scores of the seasons 2006 to 2023, ties left out, against the numbers that are known: base rate .2466, Elo .2207, closing line
    .2117."""
    _find("games_1999-2023.parquet")
    panel = load_panel("nfl-games")
    season = panel.frame["season"].to_numpy()
    rows = np.flatnonzero((season >= 2006) & (season <= 2023) & panel.labelled)
    brier = get_metric("brier_score")
    found = {name: brier(f["y"].to_numpy(), forecast_of(f, brier), panel.classes) for name, f in reference_frames(panel, rows).items()}
    earlier = np.array([panel.y[panel.labelled & (season < s)].mean() for s in season[rows]])
    found["base rate"] = brier(panel.y[rows], np.column_stack([1 - earlier, earlier]), panel.classes)
    assert len(rows) == 4848
    assert abs(found["base rate"] - 0.2466) < 0.0005 and abs(found["elo"] - 0.2207) < 0.001 and abs(found["market"] - 0.2117) < 0.0005
