"""Scores, trading figures and intervals against independent libraries and simulations."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as skm

from lineupiq.base import ConfigError, DataError
from lineupiq.scoring.blocks import block_length
from lineupiq.scoring.intervals import Resampling, label_horizon, paired_skill, score_interval, skill_interval
from lineupiq.scoring.metrics import METRICS, calibration_null, evaluate, get_metric
from lineupiq.scoring.trading import equity_curve, ledger, non_overlapping, trading_scores

rng = np.random.default_rng(0)


@pytest.mark.parametrize("trial", range(25))
def test_label_scores_equal_scikit_learn(trial):
    rng = np.random.default_rng(trial)
    classes = np.arange(int(rng.integers(2, 5)))
    y, said = rng.choice(classes, 60, p=rng.dirichlet(classes + 1)), rng.choice(classes, 60)
    assert np.isclose(get_metric("accuracy")(y, said), skm.accuracy_score(y, said))
    assert np.isclose(get_metric("mcc")(y, said, classes), skm.matthews_corrcoef(y, said))
    assert np.isclose(get_metric("balanced_accuracy")(y, said, classes), skm.recall_score(y, said, labels=np.unique(y), average="macro"))
    for name, oracle in (("precision", skm.precision_score), ("recall", skm.recall_score), ("f1", skm.f1_score)):
        assert np.isclose(get_metric(name)(y, said, classes), oracle(y, said, labels=classes, average="macro", zero_division=0))
    report = evaluate("multiclass", y, said, classes=classes)
    assert report["confusion_matrix"] == skm.confusion_matrix(y, said, labels=classes).tolist()
    wanted = skm.precision_recall_fscore_support(y, said, labels=classes, zero_division=0)
    for i, c in enumerate(classes):
        assert np.allclose(list(report["per_class"][str(c)].values()), [part[i] for part in wanted])


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_probability_scores_equal_scikit_learn(n_classes):
    y, p = rng.integers(0, n_classes, 300), rng.dirichlet(np.ones(n_classes), 300)
    classes = np.arange(n_classes)
    assert np.isclose(get_metric("log_loss")(y, p, classes), skm.log_loss(y, p))
    hard = np.eye(n_classes)[rng.integers(0, n_classes, 300)]
    assert np.isclose(get_metric("log_loss")(y, hard, classes), skm.log_loss(y, hard))
    expected = skm.brier_score_loss(y, p[:, 1]) if n_classes == 2 else ((p - np.eye(n_classes)[y]) ** 2).sum(1).mean()
    assert np.isclose(get_metric("brier_score")(y, p, classes), expected)
    expected = skm.roc_auc_score(y, p[:, 1]) if n_classes == 2 else skm.roc_auc_score(y, p, multi_class="ovr")
    assert np.isclose(get_metric("auc")(y, p, classes), expected)
    share = np.bincount(y) / 300
    assert np.isclose(get_metric("log_loss_skill")(y, p, classes), 1 - skm.log_loss(y, p) / -(share * np.log(share)).sum())


def test_class_order_is_the_callers():
    y, p = np.array([-1, 0, 1, 1]), np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4]])
    swapped = [2, 0, 1]
    for name in ("log_loss", "brier_score", "auc", "calibration"):
        assert np.isclose(get_metric(name)(y, p, [-1, 0, 1]), get_metric(name)(y, p[:, swapped], np.array([-1, 0, 1])[swapped]))
    assert evaluate("multiclass", y, probabilities=p[:, swapped], classes=[1, -1, 0])["accuracy"] == 1


def test_number_scores_equal_scikit_learn_and_scipy():
    from scipy.stats import spearmanr

    y, point = rng.poisson(4, 400).astype(float), rng.gamma(4, 1, 400)
    for name, oracle in (
        ("rmse", skm.root_mean_squared_error),
        ("mae", skm.mean_absolute_error),
        ("r2", skm.r2_score),
        ("poisson_deviance", skm.mean_poisson_deviance),
        ("spearman", lambda a, b: spearmanr(a, b).statistic),
    ):
        assert np.isclose(get_metric(name)(y, point), oracle(y, point))


def test_distribution_scores_equal_scoringrules():
    sr = pytest.importorskip("scoringrules", reason="scoringrules is not installed (extra: test)")
    y, mean, sd = rng.normal(size=200), rng.normal(size=200), rng.uniform(0.5, 2, 200)
    members = rng.normal(mean[:, None], sd[:, None], (200, 31))
    assert np.allclose(get_metric("crps").row_loss(y, members), sr.crps_ensemble(y, members, estimator="nrg"))
    assert np.allclose(get_metric("crps_normal").row_loss(y, (mean, sd)), sr.crps_normal(y, mean, sd))
    levels = np.array([0.1, 0.25, 0.5, 0.9])
    quantiles = dict(zip(levels.tolist(), np.quantile(members, levels, axis=1), strict=True))
    stacked = np.column_stack(list(quantiles.values()))
    assert np.allclose(get_metric("crps_quantile").row_loss(y, quantiles), sr.crps_quantile(y, stacked, levels))
    each = [sr.quantile_score(y, stacked[:, i], level) for i, level in enumerate(levels)]
    assert np.allclose(get_metric("pinball").row_loss(y, quantiles), np.mean(each, axis=0))


@pytest.mark.parametrize("name", list(METRICS))
def test_direction_is_right(name):
    "A forecast that knows the truth beats one that is drawn at random, in the direction that the metric states."
    metric = METRICS[name]
    y = rng.integers(0, 3, 500) if metric.needs in ("labels", "probabilities") else rng.poisson(5, 500).astype(float)
    noise = rng.permutation(y)
    forms = {
        "labels": lambda v: v,
        "point": lambda v: v + 0.1,
        "probabilities": lambda v: 0.9 * np.eye(3)[v.astype(int)] + 0.1 / 3,
        "quantiles": lambda v: {0.1: v - 1, 0.9: v + 1},
        "samples": lambda v: v[:, None] + [-0.5, 0, 0.5],
        "normal": lambda v: (v, np.ones(500)),
    }
    good, bad = metric(y, forms[metric.needs](y)), metric(y, forms[metric.needs](noise))
    assert metric.better(good, bad) and not metric.better(bad, good)
    found = skill_interval(metric, y, forms[metric.needs](y), forms[metric.needs](noise), np.arange(500) // 2, how=Resampling(draws=100))
    assert found.score > 0
    assert found.low > 0 if not metric.no_interval else (found.low is None and found.reason)


@pytest.mark.parametrize(
    "y, p, message",
    [
        ([0, 1, 1], [0.5, np.nan, 0.5], "not finite"),
        ([0, 1], [0.5, 0.5, 0.5], "wrong shape"),
        ([0, 2], [0.5, 0.5], "not among the classes"),
        ([0, 1], [-0.1, 0.5], "no distributions"),
        ([], [], "is empty"),
        ([0, np.nan], [0.5, 0.5], "not among the classes"),
    ],
)
def test_bad_input_is_refused(y, p, message):
    with pytest.raises(DataError, match=message):
        get_metric("log_loss")(y, p)


def test_no_report_holds_nan():
    for y in ([1, 1, 1, 1], [0, 1, 1, 1]):
        json.dumps(evaluate("binary", y, probabilities=[0.2, 0.4, 0.6, 0.8]), allow_nan=False)
    flat = evaluate("regression", [2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    assert flat["r2"] is None and flat["spearman"] is None and set(flat["notes"]) == {"r2", "spearman"}
    with pytest.raises(ConfigError, match="unknown task"):
        evaluate("ranking", [1], [1])


def test_calibration_null_rejects_what_is_off():
    "A calibrated forecast leaves its band about 1 time in 20, one that is too sure of itself nearly always."
    rng, out = np.random.default_rng(1), np.zeros(2)
    for trial in range(200):
        p = rng.beta(3.6, 2.7, 272)
        y = (rng.random(272) < p).astype(int)
        sure = 1 / (1 + (1 / p - 1) ** 2.5)
        for k, stated in enumerate((p, sure)):
            out[k] += get_metric("calibration")(y, stated) > calibration_null(stated, draws=300, seed=trial).high
    assert out[0] / 200 < 0.07 and out[1] / 200 > 0.8


def test_calibration_anchor_on_real_games():
    folder = os.environ.get("LINEUPIQ_DATA_DIR")
    found = sorted(Path(folder).rglob("reference_probs*.parquet")) if folder else []
    if not found:
        pytest.skip("LINEUPIQ_DATA_DIR holds no reference_probs*.parquet")
    games = pd.read_parquet(found[0]).dropna(subset=["pml", "y"]).query("season >= 2006 and season <= 2023 and y in (0, 1)")
    assert np.isclose(get_metric("brier_score")(games["y"].astype(int), games["pml"]), 0.2117, atol=2e-4)
    band = calibration_null(games["pml"].to_numpy()[:272], level=0.9)
    assert np.allclose([band.mean, band.low, band.high], [0.061, 0.036, 0.088], atol=0.006)


def test_trading_figures_equal_quantstats():
    qs = pytest.importorskip("quantstats", reason="quantstats is not installed (extra: test)")
    day = pd.date_range("2020-01-01", periods=600, freq="B")
    market, position = rng.normal(2e-4, 0.01, 600), rng.choice([-1, 1], 600)
    scores = trading_scores(position, market, day, periods_per_year=252, cost_entry=0.0002, cost_exit=0.0003)
    net = pd.Series(position * market - 0.0005, index=day)
    assert np.isclose(scores.sharpe, qs.stats.sharpe(net, periods=252))
    assert np.isclose(scores.win_rate, qs.stats.win_rate(net))
    assert np.isclose(scores.profit_factor, qs.stats.profit_factor(net))
    assert np.isclose(scores.max_drawdown, qs.stats.max_drawdown(net))
    assert np.isclose(scores.total_return, qs.stats.comp(net))


def test_carried_positions_pay_for_changes_only():
    "Against a loop that keeps the book by hand."
    rng = np.random.default_rng(2)
    times, symbols = np.tile(np.arange(50), 3), np.repeat(["a", "b", "c"], 50)
    position, returns = rng.choice([-1, -0.5, 0, 0.5, 1], 150), rng.normal(0, 0.01, 150)
    order = rng.permutation(150)
    book = ledger(position[order], returns[order], cost_entry=0.001, cost_exit=0.002, times=times[order], symbols=symbols[order], hold=True)
    cost = 0.0
    for symbol in "abc":
        held = 0.0
        for now in [*position[symbols == symbol], 0.0]:
            if now * held < 0:
                cost += abs(held) * 0.002 + abs(now) * 0.001
            elif abs(now) > abs(held):
                cost += (abs(now) - abs(held)) * 0.001
            else:
                cost += (abs(held) - abs(now)) * 0.002
            held = now
    assert np.isclose(book.cost.sum(), cost)
    assert np.allclose(book.gross, (position * returns)[order])


def test_kept_trades_never_overlap():
    rng = np.random.default_rng(3)
    times, symbols = rng.permutation(500), rng.choice(["a", "b"], 500)
    ends = times + rng.integers(1, 20, 500)
    keep = non_overlapping(times, ends, symbols)
    for s in "ab":
        rows = np.flatnonzero(keep & (symbols == s))
        rows = rows[np.argsort(times[rows])]
        assert (times[rows][1:] >= ends[rows][:-1]).all() and len(rows) > 10
    assert len(equity_curve(np.zeros(500), times)) == 500


def test_interval_on_independent_rows_is_the_textbook_one():
    error = np.random.default_rng(4).normal(size=5000)
    found = score_interval("mae", error, np.zeros(5000), np.arange(5000))
    half = 1.96 * np.abs(error).std() / 5000**0.5
    assert abs((found.high - found.low) / 2 / half - 1) < 0.15
    assert found == score_interval("mae", error, np.zeros(5000), np.arange(5000))
    assert found != score_interval("mae", error, np.zeros(5000), np.arange(5000), how=Resampling(seed=1))


def test_interval_agrees_with_arch_on_the_mean():
    "The same draws through arch's own confidence interval, without the small-sample expansion."
    from arch.bootstrap import CircularBlockBootstrap

    loss = np.abs(np.convolve(np.random.default_rng(5).normal(size=1009), np.ones(10), "valid"))
    ours = score_interval("mae", loss, np.zeros(1000), np.arange(1000), how=Resampling(block_length=10, draws=1000))
    theirs = CircularBlockBootstrap(10, loss, seed=np.random.default_rng(0)).conf_int(np.mean, 1000, method="percentile")[:, 0]
    assert np.allclose([ours.low, ours.high], theirs, rtol=0.02)


def test_intervals_cover():
    "Overlapping labels on a panel: blocks hold the true RMSE in about nine histories of ten, and never pretend with few blocks."
    rng, held, n = np.random.default_rng(6), 0, 120
    day = np.repeat(np.arange(400), 4)
    for trial in range(n):
        noise = rng.normal(size=(404, 1)) + rng.normal(size=(404, 4))
        error = np.apply_along_axis(np.convolve, 0, noise, np.ones(5) / 5, "valid").ravel()
        found = score_interval("rmse", error, 0 * error, day, how=Resampling(label_end=day + 4, draws=200, seed=trial))
        held += found.low <= 0.4**0.5 <= found.high
    assert held / n > 0.86
    short = score_interval("rmse", error[:120], 0 * error[:120], day[:120], how=Resampling(label_end=day[:120] + 4))
    assert short.low is None and "blocks" in short.reason


@pytest.mark.parametrize("name", [m.name for m in METRICS.values() if not m.no_interval])
def test_interval_holds_its_own_score(name):
    metric, rng = METRICS[name], np.random.default_rng(11)
    y = rng.integers(0, 3, 600) if metric.needs in ("labels", "probabilities") else rng.poisson(5, 600).astype(float)
    noisy = np.abs(y + rng.normal(0, 2, 600)) + 0.1
    forms = {
        "labels": np.where(rng.random(600) < 0.5, y, 0),
        "probabilities": rng.dirichlet([1, 1, 1], 600),
        "point": noisy,
        "quantiles": {0.1: noisy - 1, 0.9: noisy + 1},
        "samples": noisy[:, None] + [-0.5, 0, 0.5],
        "normal": (noisy, np.ones(600)),
    }
    found = score_interval(metric, y, forms[metric.needs], np.arange(600) // 3, how=Resampling(draws=300))
    middle = (found.low + found.high) / 2
    assert found.low < found.score < found.high
    assert abs(found.score - middle) < 0.25 * (found.high - found.low)


def test_an_equal_challenger_is_inconclusive():
    rng, wrong, n = np.random.default_rng(7), 0, 200
    week = np.repeat(np.arange(60), 16)
    for trial in range(n):
        p = rng.beta(3.6, 2.7, week.size)
        y = (rng.random(week.size) < p).astype(int)
        one, two = (np.clip(p + rng.normal(0, 0.03, week.size), 0.01, 0.99) for _ in range(2))
        wrong += skill_interval("log_loss", y, one, two, week, how=Resampling(draws=200, seed=trial)).excludes(0)
    assert wrong / n < 0.1


def test_label_horizon_floors_the_block():
    times = np.repeat(np.arange(300), 2)
    assert label_horizon(times, times + 19) == 20
    error = np.random.default_rng(8).normal(size=600)
    assert score_interval("mae", error, 0 * error, times, how=Resampling(label_end=times + 19)).block_length >= 20
    assert block_length(np.random.default_rng(9).normal(size=300)) < 5


def test_intervals_are_quick():
    "Reference: 0.1 s for 10,000 timestamps and 1,000 draws on an idle core."
    times = np.repeat(np.arange(10_000), 5)
    y = np.random.default_rng(10).normal(size=times.size)
    score_interval("rmse", y[:500], 0 * y[:500], times[:500], how=Resampling(draws=100))  # imports
    start = time.perf_counter()
    rows = get_metric("rmse").row_terms(y, 0 * y)
    paired_skill("rmse", rows, rows * 1.1, times)
    assert time.perf_counter() - start < 1.5
