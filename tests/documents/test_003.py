"""Document 003, the model training guide: every name, example, step and test of it, as written but for the imports.

Imports that differ: `from precog.analytics.model_trainer import ModelTrainer` is `from lineupiq.models import ModelTrainer`.
What `_serialize_model` gives is the folder of a version in the store, sealed and without a pickle, where the guide has `models/elo_nfl_v2.0_20251124_030015.pkl`; number, class and time stand in its metadata.
"""

import inspect
import json
import logging
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lineupiq.models import ModelTrainer, train_all_models

FEATURE_COLS = [
    "home_elo",
    "away_elo",
    "elo_diff",
    "home_rest_days",
    "away_rest_days",
    "home_win_streak",
    "away_win_streak",
    "is_divisional_game",
    "is_conference_game",
]


class Manager:
    "A model manager: the models table."

    def __init__(self):
        self.rows = []

    def create_model(
        self, model_name, model_class, model_version, model_path, hyperparameters, training_accuracy, calibration_score, log_loss
    ):
        self.rows.append(dict(locals()))
        return 41 + len(self.rows)


@pytest.fixture
def logger(caplog):
    caplog.set_level(logging.DEBUG, "precog")
    return logging.getLogger("precog")


@pytest.fixture
def model_manager():
    return Manager()


@pytest.fixture
def trainer(model_manager, logger, tmp_path):
    return ModelTrainer(model_manager, logger, tmp_path / "runs")


def nine(n: int = 160, seed: int = 0) -> pd.DataFrame:
    "Games with the nine features: a home field worth 50 points, odds of ten to one at 600."
    rng = np.random.default_rng(seed)
    home, away = rng.normal(1500, 90, n), rng.normal(1500, 90, n)
    table = pd.DataFrame(
        {
            "home_elo": home,
            "away_elo": away,
            "elo_diff": home - away,
            "home_rest_days": rng.integers(4, 11, n),
            "away_rest_days": rng.integers(4, 11, n),
            "home_win_streak": rng.integers(-4, 5, n),
            "away_win_streak": rng.integers(-4, 5, n),
            "is_divisional_game": rng.integers(0, 2, n),
            "is_conference_game": rng.integers(0, 2, n),
        }
    )
    return table.assign(home_team_won=(rng.random(n) < 1 / (1 + 10 ** (-(home - away + 50) / 600))).astype(int))


def results(rounds: int = 40, teams: int = 8, seed: int = 0) -> pd.DataFrame:
    "Teams, dates and scores of a league."
    rng = np.random.default_rng(seed)
    strength, pairs = rng.normal(0, 60, teams), np.concatenate([rng.permutation(teams) for _ in range(rounds)]).reshape(-1, 2)
    won = rng.random(len(pairs)) < 1 / (1 + 10 ** (-(strength[pairs[:, 0]] - strength[pairs[:, 1]] + 50) / 400))
    gap = rng.integers(1, 20, len(pairs))
    when = pd.Timestamp("2020-09-06") + pd.to_timedelta(np.repeat(np.arange(rounds), teams // 2) * 7, unit="D")
    return pd.DataFrame(
        {
            "date": when.strftime("%Y-%m-%d"),
            "home_team": [f"T{a}" for a in pairs[:, 0]],
            "away_team": [f"T{b}" for b in pairs[:, 1]],
            "home_score": 20 + gap * won,
            "away_score": 20 + gap * ~won,
        }
    )


@pytest.fixture
def nine_csv(tmp_path) -> str:
    nine().to_csv(tmp_path / "nine.csv", index=False)
    return str(tmp_path / "nine.csv")


@pytest.fixture
def results_csv(tmp_path) -> str:
    results().to_csv(tmp_path / "nfl_2024_season.csv", index=False)
    return str(tmp_path / "nfl_2024_season.csv")


mock_features, mock_labels = nine()[FEATURE_COLS].values, nine()["home_team_won"].values
X_train, y_train, X_test = mock_features[:120], mock_labels[:120], mock_features[120:]
KEYS = {"model_id", "best_params", "cv_accuracy", "accuracy", "calibration", "log_loss", "model_path"}


# ---- ModelTrainer class


def test_signatures_are_the_guides():
    wanted = {
        "__init__": ["self", "model_manager", "logger"],
        "_load_training_data": ["self", "training_data_path"],
        "_cross_validate_time_series": ["self", "model", "X_train", "y_train", "n_splits"],
        "_tune_hyperparameters": ["self", "model_class", "X_train", "y_train", "hyperparameter_grid", "cv_folds"],
        "_train_final_model": ["self", "model_class", "X_train", "y_train", "best_params"],
        "_tune_hyperparameters_grid_search": ["self", "model_class", "X_train", "y_train", "hyperparameter_grid", "cv_folds"],
        "load_model": ["self", "model_path"],
        "_tune_hyperparameters_bayesian": ["self", "model_class", "X_train", "y_train", "hyperparameter_space", "n_trials"],
        "_create_model": ["self", "model_class", "params"],
        "_calculate_metrics": ["self", "model", "X_train", "y_train"],
        "_serialize_model": ["self", "model", "model_name"],
        "_get_next_version": ["self", "model_name"],
        "_expected_calibration_error": ["self"],
    }
    for name, parameters in wanted.items():
        assert list(inspect.signature(getattr(ModelTrainer, name)).parameters)[: len(parameters)] == parameters, name
    assert {"training_data_path", "hyperparameter_grid", "cv_folds", "model_class"} <= set(
        inspect.signature(ModelTrainer.train_model).parameters
    )


@pytest.mark.parametrize("model_class", ["elo", "logistic", "xgboost"])
@pytest.mark.parametrize("data", ["nine_csv", "results_csv"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_train_model_on_both_kinds_of_csv(model_class, data, trainer, model_manager, request):
    grid = {
        "elo": {"home_advantage": [Decimal("40"), Decimal("60")]},
        "logistic": {"C": [Decimal("0.01"), Decimal("0.1")]},
        "xgboost": {"max_depth": [Decimal("2"), Decimal("3")], "n_estimators": [Decimal("10")]},
    }
    result = trainer.train_model(f"{model_class}_nfl", model_class, request.getfixturevalue(data), grid[model_class], 3)
    assert KEYS <= set(result) and result["model_id"] == 42
    [row] = model_manager.rows
    assert (row["model_name"], row["model_class"], row["model_version"], row["model_path"]) == (
        f"{model_class}_nfl",
        model_class,
        "1.0.0",
        result["model_path"],
    )
    assert (row["training_accuracy"], row["calibration_score"], row["log_loss"]) == (
        result["accuracy"],
        result["calibration"],
        result["log_loss"],
    )
    for name, value in result["best_params"].items():
        assert value in grid[model_class][name] and isinstance(value, Decimal)
    assert (
        0 < result["accuracy"] <= 1
        and 0 < result["cv_accuracy"] <= 1
        and 0 < result["log_loss"] < 2
        and 0 <= result["calibration"] <= 1
        and len(result["cv"]["fold_scores"]) == 3
    )
    board = {r["model"]: r for r in result["leaderboard"]}
    assert {model_class, "prior", "last_value", "ewma"} == set(board) and result["verdict"] and result["looks"]["before"] == []
    assert result["log_loss"] == pytest.approx(board[model_class]["score"])  # of games that neither the search nor the fit has seen
    about = json.loads((Path(result["model_path"]) / "model_v1.0.0_metadata.json").read_text())
    assert (
        about["name"] == f"{model_class}_nfl"
        and about["best_params"]
        and about["date"]
        and not list(Path(result["model_path"]).rglob("*.pkl"))
    )


def test_full_workflow_as_the_guide_writes_it(model_manager, logger, results_csv, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path(results_csv).rename("data/nfl_2024_season.csv")

    trainer = ModelTrainer(model_manager, logger)

    # Train NFL Elo model with hyperparameter tuning
    result = trainer.train_model(
        model_name="elo_nfl",
        model_class="elo",
        training_data_path="data/nfl_2024_season.csv",
        hyperparameter_grid={
            "k_factor": [Decimal("24.0"), Decimal("32.0"), Decimal("40.0")],
            "home_advantage": [Decimal("50.0"), Decimal("55.0"), Decimal("60.0")],
            "mean_reversion": [Decimal("0.25"), Decimal("0.33"), Decimal("0.50")],
        },
        cv_folds=5,
    )

    print("✅ Model trained successfully!")
    print(f"Model ID: {result['model_id']}")
    print(f"Best Parameters: {result['best_params']}")
    print(f"CV Accuracy: {result['cv_accuracy']:.3f}")
    print(f"Log Loss: {result['log_loss']:.4f}")
    print(f"Calibration (ECE): {result['calibration']:.4f}")
    print(f"Model saved: {result['model_path']}")
    said = capsys.readouterr().out
    assert (
        "Model ID: 42" in said
        and "Decimal('" in said
        and set(result["best_params"]) == {"k_factor", "home_advantage", "mean_reversion"}
        and result["unused_params"] == []
    )


def test_what_a_log_says(trainer, nine_csv, caplog):
    trainer.train_model("logistic_nfl", "logistic", nine_csv, {"C": [Decimal("0.01"), Decimal("0.1")]}, 3)
    said = caplog.text
    for line in (
        "Starting model training: logistic_nfl",
        "Loaded 160 training samples with 9 features",
        "Best parameters: ",
        "Best CV score: ",
        "Model saved: ",
    ):
        assert line in said
    trainer._cross_validate_time_series(trainer._create_model("logistic", {}), X_train, y_train, 3)
    assert "Fold 3/3: log_loss=" in caplog.text


# ---- Training pipelines


def test_load_training_data(trainer, nine_csv, results_csv):
    X, y = trainer._load_training_data(nine_csv)
    assert X.shape == (160, 9) and y.shape == (160,)
    np.testing.assert_allclose(X, nine()[FEATURE_COLS].values)
    np.testing.assert_array_equal(y, nine()["home_team_won"].values)
    X, y = trainer._load_training_data(results_csv)
    table = results().sort_values(["date", "home_team"])  # games of one day stand in the order of their home sides
    assert X.shape == (len(table), 9) and np.array_equal(y, (table["home_score"] > table["away_score"]).astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = trainer._tune_hyperparameters("logistic", X, y, {"C": [Decimal("0.01"), Decimal("0.1")]}, 3)
    # divisions of these teams are not known
    assert trainer._train_final_model("logistic", X, y, best).predict_proba(X).shape == (len(X), 2)


# ---- Elo on ratings that are given


def test_elo_takes_given_ratings_and_learns_home_field_and_scale(trainer):
    table = nine(6000, seed=3)
    model = trainer._train_final_model("elo", table[FEATURE_COLS].values, table["home_team_won"].values, {})
    assert model.model_.native["home_advantage"] == pytest.approx(50, abs=20) and model.model_.native["scale"] == pytest.approx(
        600, rel=0.2
    )
    p = model.predict_proba(table[FEATURE_COLS].values)[:, 1]
    even = table.assign(home_elo=1500.0, away_elo=1500.0)[FEATURE_COLS].values
    assert np.allclose(model.predict_proba(even)[:, 1], model.predict_proba(even)[0, 1]) and np.corrcoef(p, table["elo_diff"])[0, 1] > 0.95


def test_settings_without_effect_are_named_and_not_fitted_again(trainer, nine_csv, monkeypatch):
    import lineupiq.models.trainer as module

    tried = []
    real = module.tune_model
    monkeypatch.setattr(module, "tune_model", lambda panel, model, settings: tried.append(settings.grid) or real(panel, model, settings))
    grid = {
        "k_factor": [Decimal("24.0"), Decimal("32.0"), Decimal("40.0")],
        "home_advantage": [Decimal("50.0"), Decimal("55.0"), Decimal("60.0")],
        "mean_reversion": [Decimal("0.25"), Decimal("0.33"), Decimal("0.50")],
    }
    with pytest.warns(UserWarning, match="elo: k_factor, mean_reversion change nothing on this data"):
        result = trainer.train_model("elo_nfl", "elo", nine_csv, grid, 3)
    assert tried == [{"home_advantage": grid["home_advantage"]}]  # 3 combinations, not 27
    assert (
        result["best_params"]["k_factor"] is None
        and result["best_params"]["mean_reversion"] is None
        and result["best_params"]["home_advantage"] in grid["home_advantage"]
    )
    assert result["unused_params"] == ["k_factor", "mean_reversion"]
    with pytest.warns(UserWarning, match="change nothing"):
        only = trainer._tune_hyperparameters("elo", X_train, y_train, {"k_factor": [24, 32]}, 3)
    assert only == {"k_factor": None}


# ---- Hyperparameter tuning


def test_grid_takes_the_least_log_loss(trainer):
    best = trainer._tune_hyperparameters_grid_search("logistic", X_train, y_train, {"C": [Decimal("0.00000001"), Decimal("0.1")]}, 3)
    worst = trainer._cross_validate_time_series(trainer._create_model("logistic", {"C": Decimal("0.00000001")}), X_train, y_train, 3)[
        "mean_log_loss"
    ]
    assert trainer._cross_validate_time_series(trainer._create_model("logistic", best), X_train, y_train, 3)["mean_log_loss"] <= worst


def test_pairs_reach_the_bayesian_search(trainer, nine_csv):
    best = trainer._tune_hyperparameters_bayesian("logistic", X_train, y_train, {"C": (Decimal("0.001"), Decimal("1.0"))}, n_trials=4)
    assert Decimal("0.001") <= best["C"] <= Decimal("1.0") and isinstance(best["C"], Decimal)
    through = trainer._tune_hyperparameters("logistic", X_train, y_train, {"C": (Decimal("0.001"), Decimal("1.0"))}, 3)
    assert Decimal("0.001") < through["C"] < Decimal("1.0")
    whole = trainer._tune_hyperparameters_bayesian("xgboost", X_train, y_train, {"max_depth": (2, 4), "n_estimators": (5, 9)}, n_trials=3)
    assert whole["max_depth"] in (2, 3, 4) and whole["n_estimators"] == int(whole["n_estimators"])


# ---- Cross-validation


def test_cross_validation_trains_on_the_past(trainer):
    from sklearn.linear_model import LogisticRegression

    found = trainer._cross_validate_time_series(LogisticRegression(max_iter=1000), X_train, y_train, n_splits=5)
    assert set(found) == {"mean_log_loss", "std_log_loss", "fold_scores"} and len(found["fold_scores"]) == 5
    assert found["mean_log_loss"] == pytest.approx(np.mean(found["fold_scores"])) and found["std_log_loss"] == pytest.approx(
        np.std(found["fold_scores"])
    )
    garbled = y_train.copy()
    garbled[-20:] = 1 - garbled[-20:]
    later = trainer._cross_validate_time_series(LogisticRegression(max_iter=1000), X_train, garbled, n_splits=5)
    np.testing.assert_array_equal(later["fold_scores"][:4], found["fold_scores"][:4])
    assert later["fold_scores"][4] != found["fold_scores"][4]


# ---- Serialization and metrics


def test_versions_count_up_and_are_immutable(trainer):
    model = trainer._train_final_model("logistic", X_train, y_train, {})
    assert trainer._get_next_version("game") == "1.0.0"
    paths = [trainer._serialize_model(model, "game") for _ in range(2)]
    assert [Path(p).name for p in paths] == ["v1.0.0", "v1.1.0"] and trainer._get_next_version("game") == "1.2.0"
    np.testing.assert_array_equal(trainer.load_model(paths[0]).predict_proba(X_test), trainer.load_model(paths[1]).predict_proba(X_test))
    target = Path(paths[0]) / "bundle" / "bundle.json"
    target.write_bytes(target.read_bytes()[:-2])
    with pytest.raises(ValueError, match="digest|manifest"):
        trainer.load_model(paths[0])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_stored_model_is_promoted_and_predicts(trainer, nine_csv):
    from lineupiq.models.stored import predict_stored, stored_model
    from lineupiq.store.layout import Store
    from lineupiq.store.versions import promote

    result = trainer.train_model("elo_nfl", "elo", nine_csv, {}, 3)
    out = predict_stored(stored_model("elo_nfl@staging"), path=(str(nine_csv),))
    assert np.allclose(out["prob_1"], trainer.load_model(result["model_path"]).predict_proba(nine()[FEATURE_COLS].values)[:, 1])
    assert promote(Store(), "elo_nfl", force=True, reason="a trial") == ("1.0.0", True)  # its golden rows were predicted again
    golden = Path(result["model_path"]) / "golden" / "predictions.parquet"
    assert golden.is_file()


def test_calculate_metrics(trainer):
    model = trainer._train_final_model("logistic", X_train, y_train, {})
    found = trainer._calculate_metrics(model, X_train, y_train)
    assert set(found) == {"accuracy", "log_loss", "brier_score", "calibration"}
    p = model.predict_proba(X_train)[:, 1]
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

    assert (
        found["accuracy"] == pytest.approx(accuracy_score(y_train, model.predict(X_train)))
        and found["log_loss"] == pytest.approx(log_loss(y_train, p))
        and found["brier_score"] == pytest.approx(brier_score_loss(y_train, p))
    )
    bins = np.minimum((p * 10).astype(int), 9)
    by_hand = sum(abs(p[bins == b].mean() - y_train[bins == b].mean()) * (bins == b).mean() for b in range(10) if (bins == b).any())
    assert found["calibration"] == pytest.approx(by_hand) == pytest.approx(trainer._expected_calibration_error(y_train, p))


# ---- Scheduling


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_train_all_models_over_leagues(trainer, results_csv, nine_csv, logger, tmp_path, monkeypatch):
    from lineupiq.models.leagues import League

    small = {"k_factor": [Decimal("24"), Decimal("32")]}
    found = train_all_models(
        [
            League("elo_nfl", results_csv, hyperparameter_grid=small, cv_folds=3),
            League("elo_nba", nine_csv, hyperparameter_grid=small, cv_folds=3),
        ],
        trainer,
    )
    nfl_result = found["elo_nfl"]
    logger.info(f"NFL model trained: {nfl_result['cv_accuracy']:.3f} accuracy")
    assert set(found) == {"elo_nfl", "elo_nba"}
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no league to train"):
        train_all_models()


# ---- Testing strategy: the guide's two tests


def test_hyperparameter_grid_search(trainer):
    """Test grid search finds optimal parameters."""
    result = trainer._tune_hyperparameters_grid_search(
        model_class="logistic",
        X_train=mock_features,
        y_train=mock_labels,
        hyperparameter_grid={"C": [Decimal("0.1"), Decimal("1.0"), Decimal("10.0")]},
        cv_folds=3,
    )

    assert "C" in result
    assert result["C"] in [Decimal("0.1"), Decimal("1.0"), Decimal("10.0")]


def test_model_serialization_round_trip(trainer):
    """Test model can be saved and loaded."""
    # Train simple model
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression()
    model.fit(X_train, y_train)

    # Save
    path = trainer._serialize_model(model, "test_model")

    # Load
    loaded_model = trainer.load_model(path)

    # Verify predictions match
    original_preds = model.predict_proba(X_test)
    loaded_preds = loaded_model.predict_proba(X_test)

    np.testing.assert_array_almost_equal(original_preds, loaded_preds)


def test_an_unsafe_pickle_is_not_read(trainer, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(LookupError, match="no version of a model"):
        trainer.load_model(str(tmp_path / "evil.pkl"))


def test_noise_is_said_to_be_noise(trainer, tmp_path):
    table = nine(seed=5).assign(home_team_won=np.random.default_rng(9).integers(0, 2, 160))
    table.to_csv(tmp_path / "noise.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = trainer.train_model("noise_nfl", "logistic", tmp_path / "noise.csv", {"C": [Decimal("0.01")]}, 3)
    assert "better than the rule" not in result["verdict"] or "not shown" in result["verdict"]
