"""Calibration in time order: maps against scikit-learn, windows that never touch the future, and bundles that say what was tested."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineupiq.base import ConfigError, DataError, IntegrityError
from lineupiq.core.files import dump_json, load_json, write_manifest
from lineupiq.cv import holdout
from lineupiq.data.making import make_panel
from lineupiq.data.sources import load_panel
from lineupiq.fit.calibrated import calibrate_forward, calibrated_folds, calibration_windows, fit_calibrated, probabilities_of
from lineupiq.fit.inputs import ModelSpec
from lineupiq.fit.out_of_fold import out_of_fold
from lineupiq.fit.settings import FitSettings
from lineupiq.scoring.calibration import INTERCEPT, CALIBRATION_METHODS, SLOPE, fit_map, load_map, log_scores, softmax_rows
from lineupiq.scoring.metrics import get_metric
from lineupiq.training.fitting import SplitPlan, load_bundle, plan_folds, run_model

MAPS = [m for m in CALIBRATION_METHODS if m != "identity"]


# -- maps ---------------------------------------------------------------------------------------------------------------------------


def draw(n: int, sure: float, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    "Labels, and probabilities that are `sure` times as sure as they should be."
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1, n)
    return (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int), 1 / (1 + np.exp(-sure * (odds - shift)))


@settings(max_examples=40, deadline=None)
@given(p=hnp.arrays(float, st.integers(25, 80), elements=st.floats(0, 1)), seed=st.integers(0, 1000), method=st.sampled_from(MAPS))
def test_a_map_gives_probabilities_in_the_old_order(p, seed, method):
    y = np.random.default_rng(seed).integers(0, 2, len(p))
    y[:2] = 0, 1
    learnt = fit_map(method, p, y)
    again = load_map(json.loads(json.dumps(learnt.record())))
    grid = np.sort(np.r_[p, 0, 1])
    out = learnt.transform(grid)
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1 and (np.diff(out) >= -1e-12).all()
    np.testing.assert_array_equal(again.transform(grid), out)


@pytest.mark.parametrize("sure, shift", [(3, 0), (0.3, 0), (1, 0.8), (2, -0.5)])
def test_slope_and_intercept_come_back(sure, shift):
    y, p = draw(20_000, sure, shift)
    later, q = draw(20_000, sure, shift, seed=1)
    assert abs(SLOPE(y, p) - 1 / sure) < 0.05 / sure + 0.03
    mended = fit_map("sigmoid", p, y).transform(q)
    assert abs(SLOPE(later, mended) - 1) < 0.06 and abs(INTERCEPT(later, mended)) < 0.06
    assert get_metric("log_loss")(later, mended) <= get_metric("log_loss")(later, q)


@pytest.mark.parametrize("method", MAPS)
def test_degenerate_forecasts(method):
    y = np.r_[np.zeros(70, int), np.ones(30, int)]
    constant = fit_map(method, np.full(100, 0.9), y)
    said = constant.transform(np.array([0.0, 0.9, 1.0]))
    assert np.isfinite(said).all() and (method == "temperature" or abs(said[1] - 0.3) < 0.02)
    perfect = fit_map(method, y.astype(float), y).transform(np.array([0.0, 1.0]))
    assert perfect[0] < 0.1 and perfect[1] > 0.9
    against = fit_map(method, 1 - 0.8 * y - 0.1, y)  # worthless, and not turned round
    assert (np.diff(against.transform(np.linspace(0, 1, 20))) >= -1e-12).all()
    for rows in (5, 0):
        with pytest.raises(DataError):
            fit_map(method, np.full(rows, 0.5), np.zeros(rows, int))


def test_a_rare_class_that_is_missing_from_the_window():
    rng = np.random.default_rng(0)
    p = softmax_rows(rng.normal(size=(300, 3)))
    y = rng.integers(0, 2, 300)
    for method in CALIBRATION_METHODS:
        q = fit_map(method, p, y).transform(p)
        assert np.isfinite(q).all() and np.allclose(q.sum(1), 1) and (q[:, 2] > 0).all()


@pytest.mark.parametrize("method", MAPS)
def test_scikit_learn_agrees(method):
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Passing(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, X):
            return X[:, 0]

        def predict(self, X):
            return (X[:, 0] > 0).astype(int)

    y, p = draw(3000, 2.5, 0.3)
    X = log_scores(np.column_stack([1 - p, p]))[:, 1:]
    theirs = CalibratedClassifierCV(FrozenEstimator(Passing().fit(X, y)), method=method).fit(X, y).predict_proba(X)[:, 1]
    np.testing.assert_allclose(fit_map(method, p, y).transform(p), np.clip(theirs, 1 / 3002, 1 - 1 / 3002), atol=2e-3)


# -- time ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def games():
    return load_panel("league")


def poison(panel, after):
    "Everything that is known only at a time or later turned into garbage."
    late, known = panel.times >= after, panel.label_ends < after
    frame = panel.frame.assign(label=np.where(known, panel.y, 1 - panel.y))
    for f in panel.features:
        if f.kind != "category":
            frame[f.name] = frame[f.name].where(~late, 7.0)
    from dataclasses import replace

    return replace(panel, frame=frame)


@pytest.mark.parametrize("model", ["logistic", "xgboost"])
def test_no_part_sees_a_later_one(games, model):
    fold = holdout(*games.clock, val=0.4, test=0.2)
    calibrate, select = calibration_windows(games, fold.val)
    spec = ModelSpec(model, {"n_estimators": 60} if model == "xgboost" else {})
    clean = fit_calibrated(games, fold, spec)
    raw = lambda done, rows: probabilities_of(done.predictions.set_index("row").loc[rows], raw=True)  # noqa: E731
    bad = fit_calibrated(poison(games, games.times[fold.test].min()), fold, spec)
    assert bad.map.record() == clean.map.record() and bad.choice.record() == clean.choice.record()
    bad = fit_calibrated(poison(games, games.times[select].min()), fold, spec)
    assert all(bad.choice.candidates[m].record() == clean.choice.candidates[m].record() for m in CALIBRATION_METHODS)
    np.testing.assert_array_equal(raw(bad, calibrate), raw(clean, calibrate))
    first = calibrate[games.times[calibrate] == games.times[calibrate].min()]
    bad = fit_calibrated(poison(games, games.times[select].min()), fold, spec)
    np.testing.assert_array_equal(raw(bad, first), raw(clean, first))


def test_windows_are_purged_by_label_end():
    panel = load_panel("sp500", symbols=["SP500"], horizon=20)
    fold = plan_folds(panel, SplitPlan(val=0.3, test_share=0.2))[0]
    calibrate, select = calibration_windows(panel, fold.val)
    for earlier, later in ((fold.train, calibrate), (calibrate, select), (select, fold.test)):
        assert panel.label_ends[earlier].max() < panel.times[later].min()
    run = run_model(panel, [fold], ModelSpec("logistic"), how=FitSettings(calibrate="auto"))
    test = run.predictions[run.predictions["split"] == "test"]
    assert len(test) == len(fold.test) and np.allclose(probabilities_of(test).sum(1), 1)
    scores = {r["method"]: r["score"] for r in run.folds[0]["calibration"]["scores"]}
    assert run.folds[0]["calibration"]["method"] in scores and min(scores.values()) <= scores["identity"]


def test_forward_maps_know_only_earlier_folds(games):
    folds = plan_folds(games, SplitPlan(walk_forward="2017:2020"))
    oof = out_of_fold(games, folds, ModelSpec("logistic"))[0].query("split == 'test'").reset_index(drop=True)
    sure = softmax_rows(3 * log_scores(probabilities_of(oof)))
    oof[["prob_0", "prob_1"]] = sure
    done, record = calibrate_forward(games, oof, min_rows=200)
    assert record[0]["method"] == "identity" and all(r["method"] != "identity" for r in record[2:])
    last = folds[-1].test
    start = games.times[last].min()
    again, _ = calibrate_forward(poison(games, start), oof, min_rows=200)
    np.testing.assert_array_equal(again["prob_1"], done["prob_1"])  # labels of the last fold teach nobody
    rest = done["fold"] >= 2
    y = games.y[done["row"]].astype(int)
    assert SLOPE(y[rest], sure[rest]) < 0.5 < SLOPE(y[rest], probabilities_of(done[rest]))
    one = calibrate_forward(games, oof.sample(frac=1, random_state=0), min_rows=200)[0]
    np.testing.assert_array_equal(one.sort_index()["prob_1"], done["prob_1"])  # whatever the row order


def test_folds_like_out_of_fold(games):
    folds = plan_folds(games, SplitPlan(walk_forward="2019:2020"))
    frame, fitted = calibrated_folds(games, folds, ModelSpec("logistic"), "temperature")
    assert [f.map.method for f in fitted] == ["temperature"] * 2
    assert set(frame.loc[frame["split"] == "test", "row"]) == set(np.concatenate([f.test for f in folds]))
    val = frame[frame["split"] == "val"]
    np.testing.assert_array_equal(probabilities_of(val), probabilities_of(val, raw=True))


# -- what is kept -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["elo", "logistic", "xgboost"])
def test_a_calibrated_bundle_says_what_was_tested(games, model, tmp_path):
    fold = plan_folds(games, SplitPlan(val=0.3, test_share=0.2))
    run = run_model(games, fold, ModelSpec(model), tmp_path / "b", FitSettings(calibrate="isotonic"))
    said = run.predictions[run.predictions["split"] == "test"]
    got = load_bundle(run.bundle).predict(games, fold[0].test, "test")
    np.testing.assert_array_equal(probabilities_of(got), probabilities_of(said))
    np.testing.assert_array_equal(got["prediction"], said["prediction"])
    kept = load_json(tmp_path / "b" / "bundle.json")
    assert kept["format"] == 2 and kept["calibration"]["method"] == "isotonic"
    assert not [p for p in (tmp_path / "b").rglob("*") if p.suffix in (".pkl", ".joblib", ".pickle")]


def test_bundles_old_and_later(games, tmp_path):
    fold = plan_folds(games, SplitPlan())
    run = run_model(games, fold, ModelSpec("logistic"), tmp_path / "b")
    about = load_json(tmp_path / "b" / "bundle.json")
    assert about["format"] == 1 and "calibration" not in about and load_bundle(run.bundle).calibration is None
    dump_json(about | {"format": 3}, tmp_path / "b" / "bundle.json")
    (tmp_path / "b" / "manifest.json").unlink()
    write_manifest(tmp_path / "b")
    with pytest.raises(IntegrityError, match="later version"):
        load_bundle(tmp_path / "b")


def test_refusals(games):
    folds = plan_folds(games, SplitPlan())
    with pytest.raises(ConfigError, match="did you mean 'isotonic'"):
        run_model(games, folds, ModelSpec("logistic"), how=FitSettings(calibrate="isotonc"))
    with pytest.raises(ConfigError, match="no intervals"):
        run_model(games, folds, ModelSpec("logistic"), how=FitSettings(intervals=0.8))
    few = make_panel(
        pd.DataFrame({"symbol": "a", "time": pd.date_range("2020", periods=60), "x": np.arange(60.0) % 7, "label": np.arange(60) % 2}),
        ["x"],
        task="binary",
    )
    with pytest.raises(DataError, match="too little to learn"):
        run_model(few, plan_folds(few, SplitPlan()), ModelSpec("logistic"), how=FitSettings(calibrate="sigmoid"))
    assert (
        run_model(few, plan_folds(few, SplitPlan()), ModelSpec("logistic"), how=FitSettings(calibrate="auto")).folds[0]["calibration"][
            "method"
        ]
        == "identity"
    )
