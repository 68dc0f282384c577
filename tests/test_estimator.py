"""scikit-learn's own estimator checks, each a test, over every tabular model with coefficients or trees; and what scikit-learn does not
ask."""

import io

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit
from sklearn.utils.estimator_checks import parametrize_with_checks

from lineupiq.estimator import EXPECTED_FAILURES, LineupIQClassifier, LineupIQEstimator, LineupIQRegressor, expected_failures

CLASSIFIERS = ("xgboost", "lightgbm", "catboost", "random_forest", "svm", "logistic")
REGRESSORS = ("xgboost", "lightgbm", "catboost", "random_forest", "svm", "ridge")
EVERY = [LineupIQClassifier(m, n_jobs=1) for m in CLASSIFIERS] + [LineupIQRegressor(m, n_jobs=1) for m in REGRESSORS]
EVERY += [LineupIQEstimator("logistic"), LineupIQEstimator("ridge", task="regression")]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(EVERY, expected_failed_checks=expected_failures)
def test_sklearn(estimator, check):
    check(estimator)


def test_at_most_two_checks_are_expected_to_fail():
    assert all(len(checks) <= 2 and all(len(why) > 30 for why in checks.values()) for checks in EXPECTED_FAILURES.values())


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(240, 4)), columns=list("abcd"))
    return X, X["a"] + 0.7 * rng.normal(size=240)


@pytest.mark.parametrize("model", CLASSIFIERS)
def test_a_users_own_joblib_file(model, rows):
    X, y = rows
    fitted = LineupIQClassifier(model, n_jobs=1).fit(X, np.where(y > 0, "up", "down"))
    file = io.BytesIO()
    joblib.dump(fitted, file)
    file.seek(0)
    np.testing.assert_array_equal(joblib.load(file).predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("classes", [[0, 1], [-1, 0, 1], ["a", "b", "c"], [True, False], [2.0, 7.0], [10**12, -5]])
def test_classes_of_any_type(classes, rows):
    X, y = rows
    y = np.array(classes)[np.digitize(y, np.quantile(y, np.linspace(0, 1, len(classes) + 1)[1:-1]))]
    fitted = LineupIQClassifier("logistic").fit(X, y)
    assert fitted.classes_.tolist() == sorted(classes) and fitted.predict(X).dtype == y.dtype
    assert (fitted.predict(X) == fitted.classes_[fitted.predict_proba(X).argmax(axis=1)]).all() and fitted.score(X, y) > 0.55


def test_a_class_without_weight_keeps_its_column(rows):
    X, y = rows
    y = np.digitize(y, [-0.5, 0.5])
    P = LineupIQClassifier("xgboost", n_jobs=1, n_estimators=5).fit(X, y, sample_weight=(y != 1).astype(float)).predict_proba(X)
    assert P.shape == (240, 3) and (P[:, 1] == 0).all()


def test_the_estimator_says_what_the_model_says(rows):
    from lineupiq.boosting_lightgbm import LightGBMModel

    X, y = rows
    model = LightGBMModel(task="regression", n_jobs=1, num_leaves=5)
    model.fit(X, y)
    np.testing.assert_array_equal(LineupIQRegressor("lightgbm", n_jobs=1, num_leaves=5).fit(X, y).predict(X), model.predict(X).predictions)


def test_a_search_may_change_the_model_and_its_parameters(rows):
    X, y = rows
    grid = [{"model": ["ridge"], "alpha": [0.01, 10.0]}, {"model": ["lightgbm"], "num_leaves": [4]}]
    search = GridSearchCV(LineupIQRegressor(), grid, cv=TimeSeriesSplit(3), error_score="raise").fit(X, y)
    assert search.best_params_["model"] == "ridge"
    assert clone(search.best_estimator_).get_params() == search.best_estimator_.get_params()


def test_validation_labels_must_be_known(rows):
    X, y = rows
    y = np.where(y > 0, "up", "down")
    with pytest.raises(ValueError, match="validation labels that the training rows do not have"):
        LineupIQClassifier().fit(X, y, X_val=X[:2], y_val=["up", "sideways"])
