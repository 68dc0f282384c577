"""The position × target door: parameters, time-ordered folds, tuning, persistence."""

import numpy as np
import pandas as pd
import pytest

from lineupiq.models import create_study, get_xgb_params, list_models, load_model, save_model, train_model, tune_hyperparameters

QUICK = {"n_estimators": 20, "max_depth": 3, "n_jobs": 1}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 5)), columns=[f"feature_{j}" for j in range(5)])
    return X, X["feature_0"] * 2 + rng.normal(size=150)


def test_get_xgb_params_returns_valid_dict():
    params = get_xgb_params(create_study().ask())
    assert set(params) == {
        "max_depth",
        "learning_rate",
        "n_estimators",
        "min_child_weight",
        "subsample",
        "colsample_bytree",
        "reg_alpha",
        "reg_lambda",
    }
    assert 3 <= params["max_depth"] <= 9 and 100 <= params["n_estimators"] <= 500 and 1 <= params["min_child_weight"] <= 20
    assert 0.01 <= params["learning_rate"] <= 0.3 and 0.6 <= params["subsample"] <= 1 and 0.6 <= params["colsample_bytree"] <= 1
    assert 1e-8 <= params["reg_alpha"] <= 10 and 1e-8 <= params["reg_lambda"] <= 10


def test_train_model_returns_model_and_scores(table):
    import xgboost as xgb

    model, scores = train_model(*table, QUICK, n_splits=4)
    assert isinstance(model, xgb.XGBRegressor) and scores.shape == (4,) and np.isfinite(scores).all() and (scores < 0).all()
    assert model.predict(table[0]).shape == (150,)


def test_train_model_uses_timeseries_split(table):
    """Labels garbled in the last fifth change the last fold's score and no earlier one; garbled early ones change all later folds."""
    X, y = table
    late, early = y.copy(), y.copy()
    late[-25:] += 100
    early[:10] += 100
    base = train_model(X, y, QUICK, n_splits=5)[1]
    np.testing.assert_array_equal(train_model(X, late, QUICK, n_splits=5)[1][:4], base[:4])
    assert train_model(X, late, QUICK, n_splits=5)[1][4] != base[4]
    assert (train_model(X, early, QUICK, n_splits=5)[1] != base).all()


def test_tune_hyperparameters_returns_best_params(table):
    X, y = table
    best, study = tune_hyperparameters(X, y, n_trials=5, n_splits=3)
    assert len(study.trials) == 5 and set(best) == set(get_xgb_params(create_study().ask()))
    assert study.direction.name == "MINIMIZE" and study.best_value == min(t.value for t in study.trials) > 0
    again, _ = tune_hyperparameters(X, y, n_trials=5, n_splits=3)
    assert again == best


def test_save_and_load_model_roundtrip(table, tmp_path):
    X, y = table
    model, scores = train_model(X, y, QUICK)
    save_model(model, "QB", "passing_yards", {"n_samples": len(X), "best_params": QUICK, "cv_scores": scores}, tmp_path)
    back, metadata = load_model("QB", "passing_yards", tmp_path)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    assert metadata["feature_names"] == list(X) and metadata["n_samples"] == 150 and metadata["cv_scores"] == scores.tolist()
    assert metadata["trained_at"] and metadata["best_params"] == QUICK


def test_list_models_finds_saved(table, tmp_path):
    X, y = table
    assert list_models(tmp_path) == []
    model, _ = train_model(X, y, QUICK, n_splits=2)
    save_model(model, "WR", "receiving_yards", {}, tmp_path)
    save_model(model, "QB", "passing_tds", {}, tmp_path)
    assert list_models(tmp_path) == [("QB", "passing_tds"), ("WR", "receiving_yards")]


def test_overwriting_keeps_a_readable_model_at_every_step(table, tmp_path, monkeypatch):
    """Killed between any two writes, the file still matches its manifest."""
    import lineupiq.models.persistence as p

    X, y = table
    first, _ = train_model(X, y, QUICK, n_splits=2)
    second, _ = train_model(X, -y, QUICK, n_splits=2)
    save_model(first, "QB", "x", {}, tmp_path)
    for stop_at in ("atomic_write", "dump_json"):
        calls = {"n": 0}
        real = getattr(p, stop_at)

        def dying(*a, real=real, calls=calls, **k):
            calls["n"] += 1
            if calls["n"] == (1 if real.__name__ == "atomic_write" else 2):
                raise KeyboardInterrupt
            return real(*a, **k)

        with monkeypatch.context() as m:
            m.setattr(p, stop_at, dying)
            with pytest.raises(KeyboardInterrupt):
                save_model(second, "QB", "x", {}, tmp_path)
        found = load_model("QB", "x", tmp_path)[0].predict(X)
        assert any(np.array_equal(found, m.predict(X)) for m in (first, second))
