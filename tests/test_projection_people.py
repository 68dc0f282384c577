"""Who has a line in a coming week, and which: rookies, changed teams, byes, week 1, the post season, back after a year."""

import numpy as np
import pandas as pd
import pytest

from lineupiq.data.football import football_tables
from lineupiq.data.nfl import nfl_tables
from lineupiq.data.players import PlayerRowView, player_panel
from lineupiq.projection.lines import Candidate, LineRows, forecast_line, tables_of_week, with_fumbles

SEASONS = (2018, 2019, 2020, 2021, 2022)
ROOKIE = "BUF-W9"


def listed(raw: dict, player: str, team: str, weeks: pd.DataFrame, position: str = "WR") -> dict:
    "The tables with a player on a team's rosters and charts of some weeks."
    person = weeks[["season", "week"]].assign(gsis_id=player, full_name=player, position=position)
    return raw | {
        "rosters": pd.concat([raw["rosters"], person.assign(team=team, status="ACT")]),
        "depth_charts": pd.concat(
            [raw["depth_charts"], person.assign(club_code=team, depth_team="2", depth_position=position, formation="Offense")]
        ),
    }


def without(raw: dict, gone: pd.Series) -> dict:
    "The tables without some rows of the statistics."
    return raw | {"player_stats": raw["player_stats"][~gone].reset_index(drop=True)}


def weeks_of(raw: dict, season: int, *weeks: int) -> pd.DataFrame:
    games = raw["schedules"]
    return games.loc[(games["season"] == season) & games["week"].isin(weeks), ["season", "week"]].drop_duplicates()


def panel_of(raw: dict, season: int, week: int, as_of: str = "tuesday", lineups: bool = False):
    "The rows of the receivers' yards before a week."
    tables = with_fumbles(nfl_tables({kind: [frame] for kind, frame in raw.items()}))
    return player_panel(
        tables_of_week(tables, season, week, as_of),
        "WR",
        "receiving_yards",
        first_season=2018,
        upcoming=True,
        view=PlayerRowView(as_of, lineups),
        debuts=True,
    )


def coming(panel) -> pd.DataFrame:
    return panel.frame[~panel.labelled].set_index("symbol")


@pytest.fixture(scope="module")
def league():
    "A league in which every year's first rookies began late, so that there are first games to learn from."
    raw = football_tables(seasons=SEASONS, coming=0)
    stats = raw["player_stats"]
    return without(
        raw, stats["player_id"].str.endswith("W3") & ((stats["season"] == 2018) | ((stats["season"] == 2019) & (stats["week"] < 3)))
    )


def test_a_rookie_has_what_others_did_in_their_first_games(league):
    raw = listed(league, ROOKIE, "BUF", weeks_of(league, 2022, 4, 5))
    panel = panel_of(raw, 2022, 6)
    rows = coming(panel)
    stats = league["player_stats"]
    began = (
        stats[stats["player_id"].str.endswith("W3") & (stats[["attempts", "carries", "targets"]].sum(axis=1) > 0)]
        .sort_values(["season", "week"])
        .drop_duplicates("player_id")
    )
    assert rows.loc[ROOKIE, "debut"] == pytest.approx(began["receiving_yards"].mean()) and "first games" in rows.loc[ROOKIE, "debut_of"]
    assert (
        np.isnan(rows.loc[ROOKIE, "receiving_yards_ewma6"]) and rows.loc[ROOKIE, "games_played"] == 0 and rows["debut"].notna().sum() == 1
    )
    assert ROOKIE not in set(panel.frame.loc[panel.labelled, "symbol"]), "a first game is never learnt from"
    line = forecast_line(panel, 2022, ("ridge",))
    mine = line.coming.set_index("player_id").loc[ROOKIE]
    assert (
        mine["forecast"] == mine["rule"] == pytest.approx(rows.loc[ROOKIE, "debut"])
        and mine["why"].startswith("no game yet")
        and mine["player"] == ROOKIE
    )
    others = forecast_line(panel_of(league, 2022, 6), 2022, ("ridge",)).coming
    # he changes nobody else's
    pd.testing.assert_frame_equal(line.coming[line.coming["player_id"] != ROOKIE].reset_index(drop=True), others)


def test_a_rookie_of_week_1_is_known_when_the_list_is(league):
    raw = listed(league, ROOKIE, "BUF", weeks_of(league, 2022, 1))
    assert ROOKIE not in coming(panel_of(raw, 2022, 1)).index  # on Tuesday the last list is last season's
    rows = coming(panel_of(raw, 2022, 1, "kickoff"))
    assert rows.loc[ROOKIE, "debut"] > 0 and rows.loc[ROOKIE, "team"] == "BUF"
    veteran = rows.loc["BUF-W1"]
    # last season's games speak for him
    assert np.isnan(veteran["season_mean"]) and veteran["receiving_yards_ewma6"] > 0 and veteran["games_this_season"] == 0


def test_the_future_changes_no_rookie(league):
    raw = listed(league, ROOKIE, "BUF", weeks_of(league, 2022, 4, 5))
    later = lambda f: (f["season"] == 2022) & (f["week"] >= 6)  # noqa: E731
    stats, games = raw["player_stats"], raw["schedules"]
    bad = raw | {
        "player_stats": stats.assign(receiving_yards=stats["receiving_yards"].where(~later(stats), 99)),
        "schedules": games.assign(home_score=games["home_score"].where(~later(games), 77)),
        "depth_charts": raw["depth_charts"].assign(depth_team=raw["depth_charts"]["depth_team"].where(~later(raw["depth_charts"]), "1")),
    }
    debut = lambda tables: coming(panel_of(tables, 2022, 6))[["debut", "debut_of"]]  # noqa: E731
    pd.testing.assert_frame_equal(debut(bad), debut(raw))
    gone = bad["rosters"][~((bad["rosters"]["gsis_id"] == ROOKIE) & (bad["rosters"]["week"] == 5))]
    assert ROOKIE not in coming(panel_of(bad | {"rosters": gone}, 2022, 6)).index  # the last list does not have him


def test_a_player_who_has_moved_plays_for_the_team_that_lists_him(league):
    mine = lambda f, c: (f[c] == "BUF-W2") & (f["season"] == 2022) & (f["week"] >= 5)  # noqa: E731
    rosters, charts, stats = league["rosters"], league["depth_charts"], league["player_stats"]
    raw = without(league, mine(stats, "player_id"))
    raw = raw | {
        "rosters": rosters.assign(team=rosters["team"].mask(mine(rosters, "gsis_id"), "KC")),
        "depth_charts": charts.assign(club_code=charts["club_code"].mask(mine(charts, "gsis_id"), "KC")),
    }
    row = coming(panel_of(raw, 2022, 6)).loc["BUF-W2"]
    assert (row["team"], row["new_team"]) == ("KC", 1.0) and row["receiving_yards_ewma6"] > 0 and np.isnan(row["debut"])


def test_a_bye_has_no_row_and_a_longer_rest_after_it(league):
    games = league["schedules"]
    off = games[(games["season"] == 2022) & (games["week"] == 6)].iloc[0][["home_team", "away_team"]].tolist()
    idle = lambda f: (f["season"] == 2022) & (f["week"] == 6)  # noqa: E731
    raw = without(league, idle(league["player_stats"]) & league["player_stats"]["team"].isin(off))
    raw = raw | {"schedules": games[~(idle(games) & games["home_team"].isin(off))]}
    raw = raw | {
        kind: raw[kind][~(idle(raw[kind]) & raw[kind][column].isin(off))]
        for kind, column in (("rosters", "team"), ("depth_charts", "club_code"), ("snap_counts", "team"), ("injuries", "team"))
    }
    assert not set(off) & set(coming(panel_of(raw, 2022, 6))["team"])
    after = coming(panel_of(raw, 2022, 7))
    assert (after.loc[after["team"].isin(off), "log_weeks_off"] >= np.log1p(2) - 1e-6).all() and set(off) <= set(after["team"])


def test_the_post_season_is_more_weeks_of_it(league):
    games, stats = league["schedules"], league["player_stats"]
    end = lambda f: (f["season"] == 2022) & (f["week"] == 8)  # noqa: E731
    raw = league | {
        "schedules": games.assign(game_type=np.where(end(games), "WC", "REG")),
        "player_stats": stats.assign(season_type=np.where(end(stats), "POST", "REG")),
    }
    rows = coming(panel_of(raw, 2022, 8))
    assert (rows["playoff"] == 1).all() and rows["season_mean"].notna().any() and set(rows["group"]) == {202208}


def test_back_after_a_year_his_old_games_speak(league):
    stats = league["player_stats"]
    raw = without(league, (stats["player_id"] == "BUF-W2") & (stats["season"] >= 2021))
    row = coming(panel_of(raw, 2022, 6)).loc["BUF-W2"]
    assert row["log_weeks_off"] == pytest.approx(np.log1p(52)) and row["receiving_yards_ewma6"] > 0 and np.isnan(row["debut"])


def test_without_lists_nobody_is_made_up(league):
    bare = {k: f for k, f in league.items() if k not in ("rosters", "depth_charts")}
    rows = coming(panel_of(bare, 2022, 6))
    assert rows["debut"].isna().all() and len(rows)


def test_a_pool_is_judged_on_the_line_alone(league):
    tables = tables_of_week(
        with_fumbles(nfl_tables({kind: [frame] for kind, frame in listed(league, ROOKIE, "BUF", weeks_of(league, 2022, 5)).items()})),
        2022,
        6,
    )
    rows = LineRows(tables, "tuesday", 2018)
    wanted = [Candidate("ridge"), Candidate("ridge", lineups=True), Candidate("ridge", pooled=True)]
    own = rows.of("TE", "receptions", wanted[0])
    line = forecast_line(own, 2022, wanted, rows=lambda c: rows.of("TE", "receptions", c))
    assert set(line.losses) == {"ewma", "ridge", "ridge with line-ups", "ridge of all positions"} and line.losses[line.model] == min(
        line.losses.values()
    )
    assert (
        len(set(line.losses.values())) == 4
        and set(line.coming["player_id"].str[-2]) == {"T"}
        and len(line.past)
        == own.labelled[own.frame["season"].between(2020, 2021)].sum() + (own.labelled & (own.frame["season"] == 2022)).sum()
    )
    pool = rows.of("TE", "receptions", wanted[2])
    assert rows.of("WR", "receptions", wanted[2]) is pool and set(pool.frame["position"]) == {"RB", "WR", "TE"}
    assert rows.fitting("QB", "passing_yards", [Candidate("ridge", pooled=True)]) == [Candidate("ridge")]
    assert [c.lineups for c in rows.fitting("TE", "receptions")] == [False, True] and not any(
        c.lineups
        for c in LineRows(tables | {k: tables[k].iloc[:0] for k in ("rosters", "depth_charts")}, "tuesday").fitting("TE", "receptions")
    )
