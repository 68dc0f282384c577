"""Whole commands on real data, held against known honest figures. Slow: `make slow` runs them."""

import json
import os
import subprocess
import sys

import pytest

DATA = os.environ.get("LINEUPIQ_DATA_DIR")
needs_data = pytest.mark.skipif(not DATA, reason="LINEUPIQ_DATA_DIR is not set: real NFL tables are needed")
pytestmark = pytest.mark.slow

# position, target, test rows 2021-2023, RMSE of an exponential mean with a half-life of six games, RMSE of a gradient-boosted model on rich
# lagged features
PLAYERS = [
    ("QB", "passing_yards", 2020, 87.246, 82.675),
    ("QB", "passing_tds", 2020, 1.042, 1.036),
    ("RB", "rushing_yards", 4469, 28.753, 28.345),
    ("RB", "rushing_tds", 4469, 0.516, 0.507),
    ("RB", "carries", 4469, 5.033, 4.888),
    ("RB", "receiving_yards", 4469, 16.385, 16.249),
    ("RB", "receptions", 4469, 1.662, 1.643),
    ("WR", "receiving_yards", 6712, 31.330, 31.244),
    ("WR", "receiving_tds", 6712, 0.486, 0.474),
    ("WR", "receptions", 6712, 2.032, 2.036),
    ("TE", "receiving_yards", 3276, 22.318, 22.547),
    ("TE", "receiving_tds", 3276, 0.457, 0.447),
    ("TE", "receptions", 3276, 1.695, 1.728),
]


def command(*args, folder):
    done = subprocess.run(
        [sys.executable, "-m", "lineupiq", "train", *map(str, args), "--output", str(folder), "--json"],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@needs_data
def test_the_chosen_model_is_as_good_as_known_models_on_ten_of_thirteen(tmp_path):
    good, lines = 0, []
    for position, target, n, rule, known in PLAYERS:
        out = command(
            "--data",
            "nfl-players",
            "--position",
            position,
            "--target",
            target,
            "--model",
            "all",
            "--train-until",
            2020,
            "--test",
            "2021:2023",
            folder=tmp_path,
        )
        rows = {r["model"]: r for r in out["leaderboard"]}
        assert rows["ewma"]["n"] == n and abs(rows["ewma"]["score"] / rule - 1) < 0.02
        good += rows[out["best"]]["score"] <= known
        lines.append(
            f"{position} {target}: {out['best']} {rows[out['best']]['score']:.3f}, known {known}, ewma {rows['ewma']['score']:.3f}"
        )
    print("\n".join(lines))
    assert good >= 10, "\n".join(lines)


@needs_data
@pytest.mark.parametrize("flags, bar", [([], 0.2215), (["--market"], 0.2120)])
def test_games_walk_forward(flags, bar, tmp_path):
    out = command(
        "--data", "nfl-games", "--walk-forward", "2006:2023", "--model", "logistic", "--metric", "brier_score", *flags, folder=tmp_path
    )
    rows = {r["model"]: r for r in out["leaderboard"]}
    assert rows["logistic"]["n"] == 4848 and rows["logistic"]["score"] <= bar
    assert {"prior", "reference:market", "reference:elo"} <= set(rows) and abs(rows["prior"]["score"] - 0.2466) < 0.0005


def test_no_model_finds_skill_in_noise(tmp_path):
    found: dict[str, int] = {}
    for seed in range(5):
        out = command("--data", "noise-bars", "--horizon", 20, "--model", "all", "--seed", seed, folder=tmp_path)
        for r in out["leaderboard"]:
            found[r["model"]] = found.get(r["model"], 0) + bool(r["skill_low"] is not None and r["skill_low"] > 0)
    assert max(found.values()) <= 1, found
