"""Document 000, training infrastructure: every name, range, example and test of it, as written but for the imports.

Imports that differ: none of the names, only the package's folder (`packages/backend/src/lineupiq` is `lineupiq`).
"""

import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution, IntDistribution

import lineupiq.models
import lineupiq.models.persistence as persistence
from lineupiq.models import create_study, list_models, load_model, save_model, train_model, tune_hyperparameters
from lineupiq.models.training import get_xgb_params  # the document keeps it in models/training.py

QUICK = {"n_estimators": 15, "max_depth": 3, "n_jobs": 1}


@pytest.fixture
def data():
    "Small synthetic data: random features and a target."
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 4)), columns=["targets", "carries", "rest", "spread"])
    return X, 2 * X["targets"] + rng.normal(size=120)


# ---- Task 1: dependencies


def test_all_libraries_are_importable():
    code = "import xgboost, optuna, shap, joblib, matplotlib; print('OK')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300).stdout.strip() == "OK"


@pytest.mark.parametrize(
    "name, least", [("xgboost", (2, 1)), ("optuna", (3, 6)), ("shap", (0, 45)), ("joblib", (1, 3)), ("matplotlib", (3, 8))]
)
def test_versions(name, least):
    assert tuple(int(p) for p in re.findall(r"\d+", importlib.metadata.version(name))[:2]) >= least


# ---- Task 2: the training module


@pytest.mark.parametrize(
    "line",
    [
        "from lineupiq.models import train_model, tune_hyperparameters",
        "from lineupiq.models import save_model, load_model, list_models",
        "from lineupiq.models import create_study, train_model, tune_hyperparameters",
    ],
)
def test_the_documents_import_lines(line):
    exec(line, {})
    assert {n.strip() for n in line.split("import ")[1].split(",")} <= set(lineupiq.models.__all__)


def test_create_study():
    assert create_study(direction="minimize").direction.name == "MINIMIZE"


def test_ranges_are_exactly_those_of_the_document():
    study = create_study()
    get_xgb_params(study.ask())
    assert study.trials[0].distributions == {
        "max_depth": IntDistribution(3, 9),
        "learning_rate": FloatDistribution(0.01, 0.3, log=True),
        "n_estimators": IntDistribution(100, 500),
        "min_child_weight": IntDistribution(1, 20),
        "subsample": FloatDistribution(0.6, 1.0),
        "colsample_bytree": FloatDistribution(0.6, 1.0),
        "reg_alpha": FloatDistribution(1e-8, 10.0, log=True),
        "reg_lambda": FloatDistribution(1e-8, 10.0, log=True),
    }


def test_signatures():
    wanted = {create_study: {"direction": "minimize"}, train_model: {"n_splits": 5}, tune_hyperparameters: {"n_trials": 50, "n_splits": 5}}
    for function, defaults in wanted.items():
        known = inspect.signature(function).parameters
        assert {k: known[k].default for k in defaults} == defaults
    assert list(inspect.signature(train_model).parameters)[:4] == ["X", "y", "params", "n_splits"]
    assert list(inspect.signature(save_model).parameters)[:4] == ["model", "position", "target", "metadata"]
    assert list(inspect.signature(load_model).parameters)[:2] == ["position", "target"]


def test_scoring_is_that_of_the_document(data):
    import xgboost as xgb
    from sklearn.model_selection import TimeSeriesSplit, cross_val_score

    X, y = data
    own = cross_val_score(
        xgb.XGBRegressor(**QUICK, random_state=42), X, y, cv=TimeSeriesSplit(n_splits=3), scoring="neg_root_mean_squared_error"
    )
    np.testing.assert_array_equal(train_model(X, y, QUICK, n_splits=3)[1], own)


def test_the_study_minimises_the_error_and_not_its_negative(data):
    best, study = tune_hyperparameters(*data, n_trials=3, n_splits=2)
    assert study.direction.name == "MINIMIZE" and study.best_value == min(t.value for t in study.trials) > 0 and best == study.best_params


# ---- Task 3: the persistence module


def test_models_dir_is_made_when_it_is_missing(data, tmp_path, monkeypatch):
    monkeypatch.setattr(persistence, "MODELS_DIR", tmp_path / "models")
    assert isinstance(lineupiq.models.MODELS_DIR, Path) and not (tmp_path / "models").exists()
    model, scores = train_model(*data, QUICK, n_splits=2)
    metadata = {"trained_at": "2026-01-01", "n_samples": 120, "best_params": QUICK, "cv_scores": scores}
    save_model(model, "QB", "passing_yards", metadata)
    assert (tmp_path / "models" / "QB_passing_yards.joblib").is_file()
    again, about = load_model("QB", "passing_yards")
    assert set(about) >= {"trained_at", "n_samples", "best_params", "cv_scores"} and list_models() == [("QB", "passing_yards")]
    np.testing.assert_array_equal(again.predict(data[0]), model.predict(data[0]))


def test_the_artifact_is_a_joblib_file_with_model_metadata_and_feature_names(data, tmp_path):
    path = save_model(train_model(*data, QUICK, n_splits=2)[0], "WR", "receptions", {}, tmp_path)
    artifact = joblib.load(path)
    assert {"model", "metadata", "feature_names"} <= set(artifact) and artifact["feature_names"] == list(data[0])


# ---- Task 4: its six tests, under their names


def test_get_xgb_params_returns_valid_dict():
    assert set(get_xgb_params(create_study().ask())) == {
        "max_depth",
        "learning_rate",
        "n_estimators",
        "min_child_weight",
        "subsample",
        "colsample_bytree",
        "reg_alpha",
        "reg_lambda",
    }


def test_train_model_returns_model_and_scores(data):
    import xgboost as xgb

    model, scores = train_model(*data, QUICK)
    assert isinstance(model, xgb.XGBRegressor) and len(scores) == 5 and np.isfinite(scores).all()


def test_train_model_uses_timeseries_split(data):
    X, y = data
    late = y.copy()
    late[-15:] += 100
    np.testing.assert_array_equal(train_model(X, late, QUICK)[1][:4], train_model(X, y, QUICK)[1][:4])


def test_tune_hyperparameters_returns_best_params(data):
    best, study = tune_hyperparameters(*data, n_trials=5, n_splits=2)
    assert len(study.trials) == 5 and set(best) == set(get_xgb_params(create_study().ask()))


def test_save_and_load_model_roundtrip(data, tmp_path):
    model, _ = train_model(*data, QUICK, n_splits=2)
    save_model(model, "RB", "carries", {}, tmp_path)
    np.testing.assert_array_equal(load_model("RB", "carries", tmp_path)[0].predict(data[0]), model.predict(data[0]))


def test_list_models_finds_saved(data, tmp_path):
    save_model(train_model(*data, QUICK, n_splits=2)[0], "TE", "targets", {}, tmp_path)
    assert ("TE", "targets") in list_models(tmp_path)


def test_the_documents_test_file_has_its_six_tests():
    text = (Path(__file__).parents[1] / "test_model_training.py").read_text(encoding="utf-8")
    assert {
        "test_get_xgb_params_returns_valid_dict",
        "test_train_model_returns_model_and_scores",
        "test_train_model_uses_timeseries_split",
        "test_tune_hyperparameters_returns_best_params",
        "test_save_and_load_model_roundtrip",
        "test_list_models_finds_saved",
    } <= set(re.findall(r"^def (test_\w+)", text, re.M))
