"""Line-ups: they agree with brute force, keep every limit, say which conditions conflict, and are found in seconds."""

import json
import time
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineupiq.base import ConfigError
from lineupiq.fantasy.conflicts import _kept, conflict
from lineupiq.fantasy.lineups import best_lineups
from lineupiq.fantasy.program import Program, admitted, every_lineup, solve
from lineupiq.fantasy.rules import Slot, read_rules
from lineupiq.fantasy.search import judge_of, search
from lineupiq.fantasy.slate import SLATE_COLUMNS, Slate, simulated_slate
from lineupiq.fantasy.wishes import Wishes, objective_of

KINGS = read_rules("draftkings")
SHORT = replace(
    KINGS, slots=(Slot("QB", 1, ("QB",)), Slot("RB", 1, ("RB",)), Slot("WR", 1, ("WR",)), Slot("FLEX", 2, ("RB", "WR", "TE"))), min_games=1
)


def by_hand(slate, rules, wishes):
    "Every line-up that keeps rules and wishes, by their words alone: no code of the library's but the slate."
    rows, out = list(slate.players[["player", "position", "team", "game_id", "salary"]].itertuples(index=False)), []
    need = {"QB": (1, 1), "RB": (1, 3), "WR": (1, 3), "TE": (0, 2)}
    for lineup in combinations(range(len(rows)), rules.size):
        own = [rows[i] for i in lineup]
        places, teams, names = [r.position for r in own], [r.team for r in own], {r.player for r in own}
        if not all(low <= places.count(k) <= high for k, (low, high) in need.items()) or sum(r.salary for r in own) > rules.cap:
            continue
        if (
            max(map(teams.count, teams)) > rules.max_players_a_team
            or len(set(teams)) < rules.min_teams
            or len({r.game_id for r in own}) < rules.min_games
        ):
            continue
        if not set(wishes.lock) <= names or set(wishes.exclude) & names:
            continue
        passer = next(r.team for r in own if r.position == "QB")
        if all(sum(r.team == passer and r.position in ("WR", "TE") for r in own) >= int(stack[3]) for stack in wishes.stack):
            out.append(lineup)
    return np.array(out, dtype=int).reshape(len(out), rules.size)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10**6),
    cap=st.integers(20, 34),
    most=st.integers(2, 5),
    teams=st.integers(1, 4),
    games=st.integers(1, 2),
    locks=st.integers(0, 1),
    outs=st.integers(0, 3),
    stack=st.sampled_from(((), ("QB+1",), ("QB+2",))),
)
def test_the_program_agrees_with_brute_force(seed, cap, most, teams, games, locks, outs, stack):
    rng, slate = np.random.default_rng(seed), simulated_slate(2, 30, seed)
    slate = slate.take(np.flatnonzero(slate.players["position"] != "DST")[rng.permutation(28)[:12]])
    names = rng.permutation(slate.players["player"])
    wishes = Wishes(lock=tuple(names[:locks]), exclude=tuple(names[locks : locks + outs]), stack=stack)
    rules = replace(SHORT, cap=cap * 1000, max_players_a_team=most, min_teams=teams, min_games=games)
    program, every = Program(slate, rules, wishes), by_hand(slate, rules, wishes)
    assert sorted(map(tuple, every_lineup(program, 10**7))) == sorted(map(tuple, every))
    best = solve(program, slate.mean)
    assert (best is None) == (len(every) == 0)
    if best is None:
        found, names = conflict(program), {r.name for r in program.rows if r.name}
        assert not _kept(program, found, ()) and (len(found) != 2 or all(_kept(program, [c], ()) for c in names))  # none is smaller
    else:
        assert np.isclose(slate.mean[best].sum(), slate.mean[every].sum(axis=1).max())


@pytest.mark.parametrize("text", ["P(score>=45)", "P(score>=70)", "quantile .9", "quantile .3"])
@pytest.mark.parametrize("seed", range(2))
def test_the_search_agrees_with_brute_force(text, seed):
    slate = simulated_slate(2, 150, 50 + seed)
    program = Program(slate, replace(SHORT, cap=26_000), Wishes(objective=text, count=3, max_exposure=0.7))
    judge, every = judge_of(program, objective_of(text)), every_lineup(program, 10**7)
    for small, loss in ((10**7, 1e-6), (0, 0.01)):  # one by one, and by steps and exchanges
        done = []
        for new in search(program, small=small):
            left, aim = every[admitted(program, every, done)], judge.aim(new)
            assert judge.worth(new[None], aim)[0] >= judge.worth(left, aim).max() - (loss if done else 1e-6)
            done.append(new)


@pytest.mark.parametrize("objective", ["mean", "P(score>=130)", "quantile .95"])
def test_limits_are_kept(objective):
    slate = simulated_slate(5, 300, 3)
    wishes = Wishes(objective, 8, lock=("T03-TE1",), exclude=("T00-QB1", "T01-RB1"), stack=("QB+2@1",), max_exposure=0.5, differ=2)
    found = best_lineups(slate, replace(KINGS, max_players_a_team=4, min_teams=3), wishes, 130)
    p = slate.players
    for lineup in found.picks:
        own = p.iloc[lineup]
        assert (
            own["salary"].sum() <= 50_000
            and own["team"].value_counts().max() <= 4
            and own["team"].nunique() >= 3
            and own["game_id"].nunique() >= 2
        )
        assert "T03-TE1" in set(own["player"]) and not {"T00-QB1", "T01-RB1"} & set(own["player"])
        passer = own[own["position"] == "QB"].iloc[0]
        assert ((own["team"] == passer["team"]) & own["position"].isin(["WR", "TE"])).sum() >= 2
        assert ((own["team"] == passer["opponent"]) & own["position"].isin(["RB", "WR", "TE"])).sum() >= 1
    assert all(len(set(a) - set(b)) >= 2 for a, b in combinations(map(tuple, found.picks), 2))
    shown = found.exposure()
    assert shown.loc[shown["player"] != "T03-TE1", "lineups"].max() <= 4 and shown["lineups"].sum() == 8 * 9
    assert max(map(len, found.text(80).splitlines())) <= 80


def test_what_cannot_be_kept_is_the_smallest_set():
    slate = simulated_slate(3, 50, 0)
    for wishes, rules, words in (
        (Wishes(lock=("T00-QB1", "T01-QB1"), exclude=("T04-WR1",)), KINGS, ["slot QB (1)", "lock T00-QB1", "lock T01-QB1"]),
        (Wishes(), replace(KINGS, cap=20_000), None),
        (Wishes(stack=("QB+2",)), replace(KINGS, max_players_a_team=2), ["at most 2 players a team", "stack QB+2"]),
    ):
        with pytest.raises(ConfigError, match="no line-up keeps") as told:
            search(Program(slate, rules, wishes))
        assert told.value.exit_code == 2
        for word in words or ["cap 20,000"]:
            assert word in told.value.found
        assert words is None or told.value.found.count(";") == len(words) - 1
    with pytest.raises(ConfigError, match="only 9 of 20") as told:
        search(Program(slate, KINGS, Wishes(count=20, max_exposure=0.1)))
    assert "max-exposure 0.1" in told.value.found and "in as many line-ups as wished (2)" in told.value.fix


def test_twenty_lineups_of_four_hundred_players_are_quick():
    slate = simulated_slate(14, 1000, 1, deep=2)
    assert len(slate) > 400
    begun = time.process_time()
    assert len(search(Program(slate, KINGS, Wishes(count=20, max_exposure=0.4)))) == 20
    assert time.process_time() - begun < 10


def projection(folder, games=2, draws=60):
    "A projection's folder from a simulated slate: its points are receiving yards by tens."
    slate = simulated_slate(games, draws, 7)
    slate = slate.take((slate.players["position"] != "DST").to_numpy())
    yards = 10 * slate.scores
    zero = np.zeros_like(yards)
    slate.players[list(SLATE_COLUMNS)].assign(play=0.9, season=2023, week=5).to_parquet(folder / "projections.parquet")
    np.savez(folder / "draws.npz", receiving_yards=yards, receiving_tds=zero, rushing_tds=zero, interceptions=zero, fumbles_lost=zero)
    paid = slate.players[["player", "position", "team", "salary"]].rename(columns={"player": "Name"})
    paid = pd.concat(
        [
            paid,
            pd.DataFrame(
                {
                    "Name": [f"{t} DST" for t in sorted(set(paid["team"]))],
                    "position": "DST",
                    "team": sorted(set(paid["team"])),
                    "salary": 3000,
                }
            ),
        ]
    )
    paid.assign(ID=range(len(paid))).to_csv(folder / "paid.csv", index=False)
    return folder


def test_the_command(cli, tmp_path):
    folder = projection(tmp_path)
    told = cli(
        "lineup",
        "--projection",
        folder,
        "--season",
        "2023",
        "--week",
        "5",
        "--salaries",
        folder / "paid.csv",
        "--count",
        "2",
        "--objective",
        "P(score>=120)",
        "--upload",
        tmp_path / "up.csv",
        "--output",
        tmp_path / "all.parquet",
    )
    assert told.code == 0, told.err
    assert [len(x["players"]) for x in told.value["lineups"]] == [9, 9] and told.value["reach"] == 120 and told.value["exposure"]
    assert pd.read_csv(tmp_path / "up.csv").shape == (2, 9) and "reach" in pd.read_parquet(tmp_path / "all.parquet")


def test_what_the_command_refuses(cli, tmp_path):
    folder = projection(tmp_path)
    ask = ("lineup", "--projection", folder, "--salaries", folder / "paid.csv")
    for argv, code, word in (
        ((*ask, "--lock", "T00-QB1", "--lock", "T01-QB1"), 2, "lock T00-QB1; lock T01-QB1"),
        ((*ask, "--lock", "T00-QB9"), 2, "did you mean 'T00-QB1'"),
        ((*ask, "--stack", "QB"), 2, "cannot be read"),
        ((*ask, "--objective", "most"), 2, "unknown objective"),
        ((*ask, "--season", "2023", "--week", "6"), 2, "another week"),
        ((*ask, "--week", "5"), 2, "belong together"),
        ((*ask, "--rules", "draftking"), 2, "did you mean 'draftkings'"),
        (ask[:3], 2, "--salaries"),
        ((*ask, "--output", "x.txt"), 2, "must end in"),
    ):
        told = cli(*argv)
        assert told.code == code, (argv, told.out)
        assert word in json.dumps(told.error, ensure_ascii=False), (word, told.error)
    (folder / "draws.npz").write_bytes(b"PK no")
    assert cli(*ask).code == 3


def test_draws_of_other_players_are_refused():
    slate = simulated_slate(2, 20)
    with pytest.raises(Exception, match="draws and players differ"):
        Slate(slate.players.iloc[:-1], slate.scores)
