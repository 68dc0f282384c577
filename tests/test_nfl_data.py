"""The NFL builders on the real tables: population, clocks, leaks, and the figures that models on them must reach."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import DataError
from lineupiq.data.encoder import rule_columns
from lineupiq.data.games import MARKET_COLUMNS, MORE, NINE, POINTS, game_features, game_panel
from lineupiq.data.nfl import load_nfl_tables, nfl_tables, normalise_table, read_nfl_files, team_games
from lineupiq.data.players import player_panel

pytestmark = pytest.mark.skipif(not os.environ.get("LINEUPIQ_DATA_DIR"), reason="LINEUPIQ_DATA_DIR is not set: no NFL tables here")

N_TEST = {"QB": 2020, "RB": 4469, "WR": 6712, "TE": 3276}  # rows of 2021-23
ANCHORS = {  # target -> RMSE of the EWMA rule, RMSE of the LightGBM to beat, test seasons 2021-23
    ("QB", "passing_yards"): (87.246, 82.675),
    ("QB", "passing_tds"): (1.042, 1.036),
    ("RB", "rushing_yards"): (28.753, 28.345),
    ("RB", "rushing_tds"): (0.516, 0.507),
    ("RB", "carries"): (5.033, 4.888),
    ("RB", "receiving_yards"): (16.385, 16.249),
    ("RB", "receptions"): (1.662, 1.643),
    ("WR", "receiving_yards"): (31.330, 31.244),
    ("WR", "receiving_tds"): (0.486, 0.474),
    ("WR", "receptions"): (2.032, 2.036),
    ("TE", "receiving_yards"): (22.318, 22.547),
    ("TE", "receiving_tds"): (0.457, 0.447),
    ("TE", "receptions"): (1.695, 1.728),
}
MAIN = {"QB": "passing_yards", "RB": "rushing_yards", "WR": "receiving_yards", "TE": "receptions"}


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    return load_nfl_tables()


@pytest.fixture(scope="module")
def panels(tables):
    return {key: player_panel(tables, *key) for key in ANCHORS}


def rmse(y, p) -> float:
    return float(np.sqrt(np.mean((np.asarray(y) - np.asarray(p)) ** 2)))


def linear(model):
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), model)


# -- tables -------------------------------------------------------------------------------------------------------------------------


def test_tables_are_whole(tables):
    assert len(tables["schedules"]) == 6706 and len(tables["teams"]) == 32
    assert set(tables["player_stats"]["team"]) <= set(tables["teams"]["team"])
    assert set(tables["schedules"]["home_team"]) == set(tables["teams"]["team"])
    assert tables["player_stats"].duplicated(["player_id", "season", "week"]).sum() == 0
    assert not (tables["player_stats"]["position"] == "FB").any()


def test_every_player_row_has_its_game(tables):
    games = team_games(tables["schedules"])
    joined = tables["player_stats"].merge(games[["season", "week", "team", "opponent"]], on=["season", "week", "team"], how="left")
    assert len(joined) == len(tables["player_stats"]) and joined["opponent"].notna().all()
    assert (joined["opponent"] != joined["team"]).all()  # 71 rows of the source name the team itself


def test_a_later_file_corrects_an_earlier_one(tables):
    parts = read_nfl_files(os.environ["LINEUPIQ_DATA_DIR"])["player_stats"]
    row = parts[-1].iloc[[0]].assign(carries=99)
    merged = normalise_table("player_stats", [*parts, row]).set_index(["player_id", "season", "week"])
    assert merged.loc[tuple(row[["player_id", "season", "week"]].iloc[0]), "carries"] == 99
    assert len(merged) == len(tables["player_stats"])


def test_old_and_new_column_names_give_one_panel(tables):
    "nflverse renamed columns in 2025; the panel does not notice."
    parts = read_nfl_files(os.environ["LINEUPIQ_DATA_DIR"])
    new = {"recent_team": "team", "interceptions": "passing_interceptions", "sacks": "sacks_suffered", "sack_yards": "sack_yards_lost"}
    parts["player_stats"] = [part.rename(columns=new) for part in parts["player_stats"]]
    parts["players"] = [
        part.drop(columns=["draft_pick"]).rename(columns={"birthdate": "birth_date", "name": "display_name", "draft_ovr": "draft_pick"})
        for part in parts["players"]
    ]
    old, renamed = (player_panel(t, "QB", "passing_yards") for t in (tables, nfl_tables(parts)))
    assert old.columns == renamed.columns
    pd.testing.assert_frame_equal(old.frame, renamed.frame)


def test_a_truncated_file_is_named(tmp_path):
    source = sorted(Path(os.environ["LINEUPIQ_DATA_DIR"]).rglob("player_stats*.parquet"))[0]
    (tmp_path / "player_stats.parquet").write_bytes(source.read_bytes()[:100_000])
    with pytest.raises(DataError, match="player_stats.parquet"):
        load_nfl_tables(tmp_path)


# -- players ------------------------------------------------------------------------------------------------------------------------


def test_population_is_exact(panels):
    for (position, _), panel in panels.items():
        assert (panel.frame["season"] >= 2021).sum() == N_TEST[position]


def test_ewma_rule_gives_the_known_figures(panels):
    "Half-life 6, shifted: the same rule through the panel's feature and through the generic rule."
    for (position, target), panel in panels.items():
        test = (panel.frame["season"] >= 2021).to_numpy()
        y, expected = panel.y[test], ANCHORS[position, target][0]
        assert rmse(y, panel.frame[f"{target}_ewma6"][test]) == pytest.approx(expected, abs=max(0.002, 0.0005 * expected))
        rule = rule_columns(panel, "ewma")["ewma"].to_numpy()[test]
        known = ~np.isnan(rule)
        assert rmse(y[known], rule[known]) == pytest.approx(expected, rel=0.02)


def _fit_and_pick(panel, seasons=(2018, 2020)):
    "Ridge and LightGBM, chosen on the last training seasons, refitted, and read once on the test seasons."
    import lightgbm as lgb
    from sklearn.linear_model import Ridge

    count = panel.label_kind == "count"
    make = {
        "ridge": lambda: linear(Ridge(alpha=1000.0)),
        "lightgbm": lambda: lgb.LGBMRegressor(
            objective="poisson" if count else "regression",
            n_estimators=300,
            learning_rate=0.03,
            num_leaves=8,
            min_child_samples=100,
            subsample=0.7,
            subsample_freq=1,
            colsample_bytree=0.4,
            reg_lambda=10.0,
            n_jobs=1,
            verbose=-1,
            random_state=0,
        ),
    }
    X, y, s = panel.frame[panel.columns], panel.y, panel.frame["season"].to_numpy()
    train, val, full, test = s <= seasons[0], (s > seasons[0]) & (s <= seasons[1]), s <= seasons[1], s > seasons[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        val_score = {name: rmse(y[val], new().fit(X[train], y[train]).predict(X[val])) for name, new in make.items()}
        best = min(val_score, key=val_score.get)
        return best, rmse(y[test], make[best]().fit(X[full], y[full]).predict(X[test])), float(np.std(y[test]))


def test_validation_picks_models_as_good_as_the_anchors(panels):
    "At least 10 of 13, and none better than an honest model can be."
    good = []
    for key, panel in panels.items():
        best, score, sd = _fit_and_pick(panel)
        gain = (ANCHORS[key][1] ** 2 - score**2) / sd**2
        assert gain < 0.10, f"{key}: R2 beats the anchor by {gain:.3f}: look for a leak"
        good += [key] * (score <= ANCHORS[key][1])
    assert len(good) >= 10, f"only {len(good)}: {good}"


def _garbled(tables, season, week):
    rng, out = np.random.default_rng(1), dict(tables)
    for kind in ("schedules", "player_stats", "snap_counts"):
        frame = out[kind].copy()
        late = (frame["season"] * 100 + frame["week"] >= season * 100 + week).to_numpy()
        outcomes = {"schedules": ["home_score", "away_score"], "snap_counts": ["offense_pct"]}.get(kind)
        outcomes = outcomes or [c for c in frame.select_dtypes("number") if c not in ("season", "week")]
        for column in outcomes:
            frame[column] = frame[column].astype(float).mask(late, pd.Series(rng.uniform(1, 900, len(frame)), index=frame.index))
        out[kind] = frame
    return out


def test_a_poisoned_future_changes_no_player_feature(tables, panels):
    bad = _garbled(tables, 2021, 9)
    for position, target in MAIN.items():
        clean, poisoned = panels.get((position, target)) or player_panel(tables, position, target), player_panel(bad, position, target)
        assert clean.columns == poisoned.columns
        a, b = (p.frame.set_index(["symbol", "group"])[p.columns] for p in (clean, poisoned))
        upto = a.index[a.index.get_level_values("group") <= 202109]
        pd.testing.assert_frame_equal(a.loc[upto], b.loc[upto])
        after = a.index[a.index.get_level_values("group") > 202110].intersection(b.index)
        assert not np.allclose(a.loc[after, f"{target}_ewma6"], b.loc[after, f"{target}_ewma6"])


@pytest.mark.parametrize("season,week", [(2023, 10), (2022, 1)])
def test_upcoming_rows_equal_a_later_build(tables, panels, season, week):
    "The tables as they stood before the week, and the week appended as upcoming."
    eve, cut = dict(tables), season * 100 + week
    for kind in ("player_stats", "snap_counts"):
        eve[kind] = tables[kind][tables[kind]["season"] * 100 + tables[kind]["week"] < cut]
    games = tables["schedules"]
    open_ = games["season"] * 100 + games["week"] >= cut
    eve["schedules"] = games.assign(home_score=games["home_score"].mask(open_), away_score=games["away_score"].mask(open_))
    for position, target in MAIN.items():
        later = panels.get((position, target)) or player_panel(tables, position, target)
        rosters = tables["player_stats"].query("season == @season and week == @week").set_index("player_id")["team"].to_dict()
        ahead = player_panel(eve, position, target, upcoming=True, rosters=rosters)
        then, now = (p.frame[p.frame["group"] == cut].set_index("symbol")[p.columns] for p in (later, ahead))
        both = then.index.intersection(now.index)
        assert len(both) >= 0.97 * len(then)  # the rest changed position since
        pd.testing.assert_frame_equal(then.loc[both], now.loc[both])
        assert not ahead.labelled[ahead.groups == cut].any()


# -- games --------------------------------------------------------------------------------------------------------------------------


def _walk_forward(panel, C=0.1, first=2006, last=2023) -> tuple[float, int]:
    "Train on all earlier seasons, forecast one, next."
    from sklearn.linear_model import LogisticRegression

    frame, forecasts = panel.frame, []
    for season in range(first, last + 1):
        train, test = frame["season"] < season, frame["season"] == season
        model = linear(LogisticRegression(C=C, max_iter=2000)).fit(frame.loc[train, panel.columns], frame.loc[train, "label"])
        forecasts.append(pd.Series(model.predict_proba(frame.loc[test, panel.columns])[:, 1], index=frame.index[test]))
    p = pd.concat(forecasts)
    return float(((p - frame.loc[p.index, "label"]) ** 2).mean()), len(p)


def test_logistic_without_the_market(tables):
    brier, n = _walk_forward(game_panel(tables))
    assert n == 4848
    assert 0.215 < brier <= 0.2215


def test_logistic_with_the_closing_line(tables):
    brier, n = _walk_forward(game_panel(tables, market=True))
    assert n == 4848
    assert 0.205 < brier <= 0.2120


def test_references_match_independent_figures(tables):
    panel = game_panel(tables)
    late = panel.frame[panel.frame["season"] >= 2006]
    brier = {name: ((late[column] - late["label"]) ** 2).mean() for name, column in panel.references.items()}
    assert brier["market"] == pytest.approx(0.2117, abs=0.0005)
    assert brier["elo"] == pytest.approx(0.2207, abs=0.001)  # home advantage 65 here, 55 there
    assert panel.meta["ties_dropped"] == 14


def test_market_probability_game_by_game(tables):
    paths = sorted(Path(os.environ["LINEUPIQ_DATA_DIR"]).rglob("reference_probs*.parquet"))
    if not paths:
        pytest.skip("no reference_probs file")
    panel, reference = game_panel(tables), pd.read_parquet(paths[0]).set_index("game_id")["pml"]
    theirs = reference.reindex(panel.frame["game_id"]).to_numpy()
    gap = pd.Series(np.abs(theirs - panel.frame["market_prob"].to_numpy()), index=panel.frame["game_id"]).dropna()
    assert len(gap) > 4700 and gap.drop("2020_01_LV_CAR").max() < 1e-6  # that pair of prices is broken; the spread stands in


def test_a_poisoned_future_changes_no_game_feature(tables):
    clean, bad = game_features(tables), game_features(_garbled(tables, 2015, 6))
    week = tables["schedules"]["season"] * 100 + tables["schedules"]["week"]
    names = [*NINE, *MORE, *POINTS, *MARKET_COLUMNS, "elo_prob", "market_prob", "elo_margin", "form_margin", "form_total"]
    pd.testing.assert_frame_equal(clean.loc[week <= 201506, names], bad.loc[week <= 201506, names])
    assert (clean.loc[week > 201506, "elo_diff"] != bad.loc[week > 201506, "elo_diff"]).mean() > 0.99


@pytest.mark.parametrize("as_of", ["kickoff", "tuesday"])
@pytest.mark.parametrize("target", ["margin", "total"])
def test_a_poisoned_score_changes_no_earlier_row_of_margin_or_total(tables, target, as_of):
    "Neither features, nor what stands beside the models, nor outcomes; and later rows do change, or nothing was tried."
    clean, bad = (game_panel(t, target=target, as_of=as_of) for t in (tables, _garbled(tables, 2015, 6)))
    lines = [*clean.columns, *clean.references.values(), *clean.rules.values()]
    upto, now = (p.frame[p.frame["group"] <= 201506].set_index("game_id") for p in (clean, bad))
    pd.testing.assert_frame_equal(upto[lines], now[lines])
    assert (upto["label"][upto["group"] < 201506] == now["label"][now["group"] < 201506]).all()
    after, later = (
        p.frame[p.frame["group"] > 201506].set_index("game_id")["form_total" if target == "total" else "form_margin"] for p in (clean, bad)
    )
    assert (after.drop(later.index.symmetric_difference(after.index)) != later.reindex(after.index).dropna()).mean() > 0.99
    assert as_of == "kickoff" or "market" not in clean.references


@pytest.mark.parametrize(
    "target, market, at_most", [("margin", False, 13.12), ("margin", True, 12.85), ("total", False, 13.66), ("total", True, 13.33)]
)
def test_margin_and_total_beat_the_rule_and_not_the_market(tables, target, market, at_most):
    "Walk-forward 2015-2023: between the closing line and the mean of both sides' own past; none looks too good."
    from sklearn.linear_model import Ridge

    panel = game_panel(tables, target=target, market=market)
    frame, parts = panel.frame, []
    for season in range(2015, 2024):
        train, test = frame["season"] < season, frame["season"] == season
        model = linear(Ridge(500)).fit(frame.loc[train, panel.columns], frame.loc[train, "label"])
        parts.append(pd.Series(model.predict(frame.loc[test, panel.columns]), index=frame.index[test]))
    said = pd.concat(parts)
    late = frame.loc[said.index]
    error, rule, line = (
        rmse(late["label"], said),
        rmse(late["label"], late[panel.rules["ewma"]]),
        rmse(late["label"], late[panel.references["market"]]),
    )
    assert len(said) == 2458 and line - 0.05 < error <= at_most < rule


def test_upcoming_games_equal_a_later_build(tables):
    games = tables["schedules"]
    open_ = games["season"] * 100 + games["week"] >= 202310
    eve = {**tables, "schedules": games.assign(home_score=games["home_score"].mask(open_), away_score=games["away_score"].mask(open_))}
    ahead, later = game_panel(eve, upcoming=True), game_panel(tables)
    then, now = (p.frame[p.frame["group"] == 202310].set_index("game_id")[p.columns] for p in (later, ahead))
    pd.testing.assert_frame_equal(then, now)
    assert (~ahead.labelled).sum() == len(now) == 14


# -- as of when, and who plays ------------------------------------------------------------------------------------------------------


def test_lists_are_whole(tables):
    "Everybody on a reserve list, a practice squad or the inactive list of a Sunday was used in none of its games."
    used = tables["player_stats"].query("attempts.fillna(0) + carries.fillna(0) + targets.fillna(0) > 0")[
        ["player_id", "season", "week", "team"]
    ]
    rosters = tables["rosters"].merge(used.assign(used=1.0), on=["player_id", "season", "week", "team"], how="left")
    assert rosters["known_at"].notna().all() and set(rosters["status"]) == {"ACT", "INA", "DEV", "RES", "CUT"}
    assert (
        rosters.loc[rosters["status"] != "ACT", "used"].isna().all()
        and rosters.loc[rosters["status"] == "ACT", "used"].notna().mean() > 0.6
    )
    assert set(tables["depth_charts"]["position"]) == {"QB", "RB", "WR", "TE"} and tables["depth_charts"]["depth_rank"].between(1, 9).all()


def test_who_plays_is_told_better_than_by_last_week(tables):
    """2023 after 2021 and 2022: Brier against the frequency given last week and position, at least 12 % lower on Tuesday and 22 % at
    kickoff."""
    from lightgbm import LGBMClassifier

    from lineupiq.data.usage import usage_panel

    for as_of, least in (("tuesday", 0.12), ("kickoff", 0.22)):
        panel = usage_panel(tables, as_of=as_of)
        frame, late = panel.frame, panel.frame["season"] == 2023
        X = frame[panel.columns].assign(position=frame["position"].astype("category").cat.codes)
        model = LGBMClassifier(
            n_estimators=150, learning_rate=0.05, num_leaves=15, min_child_samples=60, verbose=-1, n_jobs=1, random_state=0
        ).fit(X[~late], frame["label"][~late])
        brier = ((model.predict_proba(X[late])[:, 1] - frame["label"][late]) ** 2).mean()
        rule = ((frame["frequency"] - frame["label"])[late] ** 2).mean()
        assert 0.16 < rule < 0.18 and brier < (1 - least) * rule, (as_of, brier, rule)


def test_a_moment_of_the_week_hides_what_comes_later(tables):
    "Lines, weather, roofs, starters, inactive players and reports of 2023's tenth week change no row of its Tuesday."
    from lineupiq.data.players import PlayerRowView
    from lineupiq.data.usage import usage_panel

    now = {kind: (t["season"] == 2023) & (t["week"] == 10) for kind, t in tables.items() if {"season", "week"} <= set(t)}
    games = tables["schedules"]
    worse = {
        **tables,
        "schedules": games.assign(
            **{
                c: games[c].mask(now["schedules"], bad)
                for c, bad in {
                    "spread_line": 20.0,
                    "total_line": 70.0,
                    "temp": 0.0,
                    "wind": 50.0,
                    "home_qb_id": "x",
                    "away_qb_id": "x",
                }.items()
            },
            roof=games["roof"].mask(now["schedules"] & games["roof"].isin(["open", "closed"]), "open"),
        ),
        "rosters": tables["rosters"].assign(status=tables["rosters"]["status"].mask(now["rosters"], "INA")),
        "depth_charts": tables["depth_charts"].assign(depth_rank=tables["depth_charts"]["depth_rank"].mask(now["depth_charts"], 8.0)),
        "injuries": tables["injuries"].assign(report_status=tables["injuries"]["report_status"].mask(now["injuries"], "Out")),
    }
    for make in (
        lambda t: player_panel(t, "RB", "carries", view=PlayerRowView("tuesday", lineups=True), first_season=2021),
        lambda t: usage_panel(t, as_of="tuesday"),
    ):
        right, wrong = make(tables), make(worse)
        upto = right.frame["group"] <= 202310
        then = wrong.frame.set_index(["symbol", "group"]).reindex(pd.MultiIndex.from_frame(right.frame.loc[upto, ["symbol", "group"]]))
        pd.testing.assert_frame_equal(
            right.frame.loc[upto, right.columns].reset_index(drop=True), then[right.columns].reset_index(drop=True), check_exact=True
        )
        assert upto.sum() > 3000
