"""What a search claims against what comes of it: the future is out of its reach, and noise is not sold as skill."""

import json
import os
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lineupiq.core.space import Float, Int, Space
from lineupiq.data.making import make_panel
from lineupiq.tuning.objective import development_panel
from lineupiq.tuning.overfitting import deflated_sharpe, returns_overfitting, search_overfitting
from lineupiq.tuning.search import tune_model
from lineupiq.tuning.selection import nested_estimate, one_standard_error, outer_folds
from lineupiq.tuning.settings import SearchSettings

MANY = Space(
    {
        "max_depth": Int(1, 5, simpler="low"),
        "n_estimators": Int(3, 25, simpler="low"),
        "learning_rate": Float(0.05, 1.0, log=True),
        "subsample": Float(0.4, 1.0),
        "colsample_bytree": Float(0.3, 1.0),
    }
)
SEARCH = SearchSettings(n_trials=10, n_splits=3, space=MANY, pruner="none", n_jobs=1)
SEARCHES = int(os.environ.get("LINEUPIQ_TEST_SEARCHES", 200))


def noise(seed: int, n: int = 600, task: str = "binary"):
    "Development rows whose label nothing is known about; two symbols, four features, labels that last one step."
    rng = np.random.default_rng([seed, 77])
    frame = pd.DataFrame(
        {
            "symbol": np.tile(["a", "b"], n // 2),
            "time": pd.date_range("2020", periods=n // 2).repeat(2),
            **{c: rng.normal(size=n) for c in "abcd"},
        }
    )
    frame["label"] = rng.integers(0, 2, n) if task == "binary" else rng.normal(size=n)
    return development_panel(
        make_panel(frame.assign(label_end=frame["time"] + pd.Timedelta(hours=12)), list("abcd"), task=task, name="noise")
    )


def one_search(seed: int, metric: str, task: str = "binary") -> dict:
    "A nested estimate of one noise panel, and the probability of overfitting of the search over all of its rows."
    dev, settings = noise(seed, task=task), replace(SEARCH, metric=metric, seed=seed)
    e = nested_estimate(dev, "xgboost", settings, outer=3, draws=400)
    pbo, why = search_overfitting(tune_model(dev, "xgboost", settings))
    assert pbo is not None, why
    return {
        "claimed": e.claimed,
        "skill": e.skill.score,
        "low": e.skill.low,
        "high": e.skill.high,
        "gap": e.gap.score,
        "gap_low": e.gap.low,
        "gap_high": e.gap.high,
        "pbo": pbo.pbo,
        "seconds": e.seconds,
    }


def campaign(metric: str, searches: int = SEARCHES, task: str = "binary") -> pd.DataFrame:
    "Many searches on noise, a line each; the summary is printed."
    found = pd.DataFrame([one_search(seed, metric, task) for seed in range(searches)])
    told = {
        "metric": metric,
        "searches": len(found),
        "inner best looks positive": int((found["claimed"] > 0).sum()),
        "mean claimed": found["claimed"].mean(),
        "mean outer skill": found["skill"].mean(),
        "outer low above 0": int((found["low"] > 0).sum()),
        "outer high below 0": int((found["high"] < 0).sum()),
        "mean optimism": found["gap"].mean(),
        "optimism's interval above 0": int((found["gap_low"] > 0).sum()),
        "PBO mean": found["pbo"].mean(),
        "PBO sd": found["pbo"].std(),
        "PBO standard error": found["pbo"].std() / len(found) ** 0.5,
    }
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in told.items()}), flush=True)
    return found


def test_noise_small():
    "Four searches: what was claimed is more than what came of it."
    found = campaign("accuracy", 4)
    assert found["claimed"].mean() > found["skill"].mean() and (found["low"] > 0).sum() <= 1


@pytest.mark.slow
def test_noise_is_not_sold_as_skill():
    """Two hundred searches by accuracy: at most 5 % of the outer intervals lie above no skill, though the inner best looks like skill;
    choosing is drawing lots."""
    found = campaign("accuracy")
    assert (found["low"] > 0).sum() <= SEARCHES * 0.05
    assert (found["claimed"] > 0).mean() > 0.8
    assert abs(found["pbo"].mean() - 0.5) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("metric, task", [("log_loss", "binary"), ("rmse", "regression")])
def test_noise_by_loss(metric, task):
    "By a loss the outer interval is as honest."
    assert (campaign(metric, SEARCHES // 4, task)["low"] > 0).sum() <= max(2, SEARCHES // 4 * 0.05)


def test_no_block_reaches_its_search():
    "Garbage from a block's first row on changes nothing before it: not a fold, not a trial, not a choice, not a prediction."
    rng, frame = np.random.default_rng(5), noise(3).frame
    whole = development_panel(make_panel(frame, list("abcd"), task="binary", name="noise"))
    folds = outer_folds(whole, 3)
    cut = whole.times[folds[1].test].min()
    bad = frame.copy()
    late = bad["time"].to_numpy() >= cut
    bad.loc[late, list("abcd")] = 100 * rng.normal(size=(late.sum(), 4))
    bad.loc[late, "label"] = (bad.loc[late, "a"] > 0).astype(int)
    told = [[], []]
    a, b = (
        nested_estimate(p, "xgboost", replace(SEARCH, n_trials=4), outer=3, draws=100, callback=t.append)
        for p, t in zip((whole, development_panel(make_panel(bad, list("abcd"), task="binary", name="noise"))), told, strict=True)
    )
    early = [[{k: v for k, v in f.items() if k != "seconds"} for f in t if f["block"] == 1] for t in told]
    assert early[0] == early[1] and len(early[0]) == 4
    n = len(folds[0].test)
    pd.testing.assert_frame_equal(a.predictions[:n], b.predictions[:n], check_exact=True)
    assert told[0] != told[1]  # and where it may be seen, it is


def test_choice_is_among_equals():
    "The simpler trial is behind the best by no more than the error, and a real lead is not given away."
    rng, n = np.random.default_rng(0), 1200
    frame = pd.DataFrame(
        {"symbol": "a", "time": pd.date_range("2020", periods=n, freq="h"), "a": rng.normal(size=n), "b": rng.normal(size=n)}
    )
    # needs depth 2
    frame["label"], frame["label_end"] = (
        4.0 * (frame["a"] > 0) * (frame["b"] > 0) + rng.normal(0, 0.3, n),
        frame["time"] + pd.Timedelta(minutes=30),
    )
    dev = development_panel(make_panel(frame, ["a", "b"], task="regression"))
    result = tune_model(
        dev,
        "xgboost",
        SearchSettings(
            n_trials=8,
            n_splits=3,
            pruner="none",
            sampler="random",
            space=Space({"max_depth": Int(1, 5, simpler="low")}),
            config={"n_estimators": 40, "learning_rate": 0.3, "colsample_bytree": 1.0},
        ),
    )
    found = one_standard_error(result)
    assert found.params["max_depth"] > 1 and found.behind <= found.error
    assert one_standard_error(result) == found


@pytest.mark.parametrize("seed", range(10))
def test_against_purgedcv(seed):
    "Random tables of every shape: the same probability, logits and deflated ratios as another implementation."
    import purgedcv

    rng = np.random.default_rng(seed)
    blocks = int(rng.choice([4, 6, 8, 10]))
    table = rng.standard_t(4, (int(rng.integers(2, 40)), int(rng.integers(2 * blocks, 400)))) * 0.01
    ours, theirs = returns_overfitting(table, n_blocks=blocks), purgedcv.probability_of_backtest_overfitting(table, blocks)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-12, rtol=0)
    np.testing.assert_allclose(ours.scores, theirs.is_oos_performance, atol=1e-12, rtol=0)
    v = float(rng.uniform(0, 0.02))
    assert abs(deflated_sharpe(table[0], len(table), v).probability - purgedcv.deflated_sharpe_ratio(table[0], len(table), v)) < 1e-12


if __name__ == "__main__":  # python tests/test_selection.py accuracy 200 [regression]
    campaign(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
