"""The architecture document (registry, base model, dataset, trainer, tuner, configurations, commands), as tests.

What the document writes is used as it writes it. Only import lines differ, because the package is named after what it does and its
modules are generated from pages; each import below stands for the one in the comment beside it. Where the document's own code cannot
work, or would let the future in, the changed line says so.
"""

import ast
import json
import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Dict, Optional  # noqa: UP035 - as the document writes it

import numpy as np
import pandas as pd
import pytest
import yaml

from lineupiq.base import BaseModel, ModelConfig, PredictionOutput, set_global_seeds  # src.models.base, src.config
from lineupiq.boosting import XGBoostConfig, XGBoostModel  # src.models.boosting.xgboost
from lineupiq.core.callbacks import Callback, CallbackList, CheckpointCallback, EarlyStoppingCallback  # src.training.callbacks

# src.data.dataset, src.data.loaders, src.config
from lineupiq.data.dataset import SPLITS_DIR, DatasetConfig, TimeSeriesDataset, make_loader
from lineupiq.registry import ModelRegistry, auto_register_models, registry  # src.models.registry
from lineupiq.tracking.tracker import MLflowCallback  # optuna.integration.mlflow
from lineupiq.training.trainer import ModelEvaluator, Trainer  # src.training.trainer, src.training.evaluator
from lineupiq.tuning.search import OptunaModelTuner  # src.tuning.optuna_tuner
from lineupiq.tuning.settings import SearchSettings
from lineupiq.tuning.spaces import search_spaces  # src.tuning.search_spaces

ROOT = Path(__file__).resolve().parents[2]
FEATURES = ["rsi", "ret_1", "ret_5", "vol"]

XGBOOST_YAML = """\
# XGBoost Model Configuration
model:
  name: "xgboost"
  family: "boosting"

hyperparameters:
  n_estimators: 500
  max_depth: 8
  learning_rate: 0.05
  subsample: 0.8
  colsample_bytree: 0.8
  min_child_weight: 3
  gamma: 0.1
  reg_alpha: 0.1
  reg_lambda: 1.0

training:
  early_stopping_rounds: 20
  random_seed: 42
  verbose: true
  n_jobs: -1

dataset:
  sequence_length: 1  # No windowing for XGBoost (use current bar features only)
  exclude_neutrals: false
  include_symbols: null  # All symbols
"""

BASELINE_YAML = """\
# Baseline Experiment Configuration
experiment:
  name: "baseline_h5_h20"
  description: "Baseline models for H5 and H20 horizons"

horizons:
  - 5
  - 20

models:
  - name: "xgboost"
    config_path: "config/models/xgboost.yaml"

  - name: "lightgbm"
    config_path: "config/models/lightgbm.yaml"

  - name: "timeseries:nhits"
    config_path: "config/models/nhits.yaml"

data:
  train_path: "data/splits/scaled/train_scaled.parquet"
  val_path: "data/splits/scaled/val_scaled.parquet"
  test_path: "data/splits/scaled/test_scaled.parquet"

mlflow:
  tracking_uri: "experiments/mlruns"
  experiment_name: "baseline"

output:
  base_dir: "experiments/runs"
"""

SMALL = {
    "lightgbm": {"num_boost_round": 20, "n_estimators": 10, "verbose": False},
    "nhits": {"max_epochs": 1, "epochs": 1, "hidden_size": 8, "channels": 2, "forecast_steps": 4, "seq_len": 8, "batch_size": 128},
}


def bars(n: int = 400, seed: int = 0) -> pd.DataFrame:
    "Five-minute bars of two symbols: four features, and labels that lean on one of them."
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"datetime": np.repeat(pd.date_range("2024-01-02 08:00", periods=n, freq="5min"), 2), "symbol": ["MES", "MGC"] * n}
    )
    frame[FEATURES] = rng.normal(size=(2 * n, 4))
    for h in (5, 20):
        frame[f"label_h{h}"] = np.digitize(0.5 * frame["rsi"] + rng.normal(size=2 * n), [-0.6, 0.6]) - 1
    return frame


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return bars()


@pytest.fixture
def project(tmp_path, monkeypatch, frame):
    "A folder as the document lays it out: split files and the models' YAML, and the working directory in it."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/splits/scaled").mkdir(parents=True)
    for name, rows in (("train", slice(0, 520)), ("val", slice(520, 660)), ("test", slice(660, 800))):
        # no column `split`: three files are the splits
        frame[rows].to_parquet(tmp_path / f"data/splits/scaled/{name}_scaled.parquet", index=False)
    (tmp_path / "config/models").mkdir(parents=True)
    (tmp_path / "config/experiments").mkdir()
    (tmp_path / "config/models/xgboost.yaml").write_text(XGBOOST_YAML)
    for name, settings in SMALL.items():
        (tmp_path / f"config/models/{name}.yaml").write_text(yaml.safe_dump({"model": {"name": name}, "hyperparameters": settings}))
    (tmp_path / "config/experiments/baseline.yaml").write_text(BASELINE_YAML)
    return tmp_path


def split_files(**changes: Any) -> DatasetConfig:
    "The document's configuration of the dataset, with the features that it leaves to detection."
    return DatasetConfig(
        **{
            "train_path": SPLITS_DIR / "scaled" / "train_scaled.parquet",
            "val_path": SPLITS_DIR / "scaled" / "val_scaled.parquet",
            "test_path": SPLITS_DIR / "scaled" / "test_scaled.parquet",
            "horizon": 5,
            "sequence_length": 12,
            "feature_columns": FEATURES,
            **changes,
        }
    )


# ---- 1 structure: modules, folders


def test_4_01_every_module_is_under_650_lines():
    sizes = {
        p.relative_to(ROOT).as_posix(): len(p.read_text().splitlines()) for p in (ROOT / "lineupiq").rglob("*.py") if p.name != "_modidx.py"
    }
    assert len(sizes) > 100 and {k: n for k, n in sizes.items() if n >= 650} == {}


@pytest.mark.parametrize(
    "family, names",
    [
        ("timeseries", ["nhits", "tft", "patchtst", "timesfm"]),
        ("boosting", ["xgboost", "lightgbm", "catboost"]),
        ("neural", ["lstm", "gru", "transformer"]),
        ("ensemble", ["stacking", "voting"]),
    ],
)
def test_4_02_4_03_families_and_members(family, names):
    listed = {m["name"] for m in registry().list_models(family)}
    assert set(names) <= listed
    for name in names:
        assert registry().resolve(name) == f"{family}:{name}"


# ---- 2 registry


def own_registry() -> ModelRegistry:
    "The process's registry refuses a second class of one name, so examples whose names are taken register in one of their own."
    return ModelRegistry()


def plain_model(**attributes: Any) -> type:
    "The least that satisfies the contract."
    body = {
        "_build_config": lambda self, config, horizon: ModelConfig(
            model_name="plain", model_family="timeseries", horizon=horizon, **config
        ),
        "_build_model": lambda self: None,
        "fit": lambda self, X_train, y_train, X_val=None, y_val=None, metadata_train=None, metadata_val=None: {},
        "predict": lambda self, X, metadata=None: None,
        "save": lambda self, path: None,
        "load": lambda self, path: None,
    }
    return type("PlainModel", (BaseModel,), body | attributes)


def test_4_04_register_as_a_decorator():
    ModelRegistry = own_registry()

    @ModelRegistry.register(name="nhits", family="timeseries", description="N-HiTS neural hierarchical interpolation", requires_gpu=True)
    class NHiTSModel(plain_model()): ...

    found = ModelRegistry.get_metadata("timeseries:nhits")
    expected = {
        "name": "nhits",
        "family": "timeseries",
        "description": "N-HiTS neural hierarchical interpolation",
        "requires_gpu": True,
        "supports_multivariate": True,
        "supports_horizon_multi": False,
        "class": "NHiTSModel",
        "module": NHiTSModel.__module__,
    }
    assert {k: found[k] for k in expected} == expected


def test_4_04_register_on_the_class_means_the_library_registry():
    name = "doc_four_plain"
    try:

        @ModelRegistry.register(name=name, family="timeseries", description="of a test", supports_horizon_multi=True)
        class Plain(plain_model()): ...

        assert registry().get_model(f"timeseries:{name}") is Plain and ModelRegistry.get_metadata(name)["supports_horizon_multi"] is True
        assert isinstance(ModelRegistry.create(name, {}, 5, ["a"]), Plain) and name in {
            m["name"] for m in ModelRegistry.list_models("timeseries")
        }
    finally:
        registry()._entries.pop(f"timeseries:{name}", None)


def test_4_05_register_refuses_what_is_no_model():
    with pytest.raises(TypeError, match="must inherit from BaseModel"):
        own_registry().register("x", "boosting")(object)
    half = type("Half", (BaseModel,), {"fit": lambda self: None, "predict": lambda self: None})
    with pytest.raises(AttributeError, match="missing required method: save"):
        own_registry().register("x", "boosting")(half)


def test_4_06_create_checks_its_arguments():
    own = own_registry()
    own.register("plain", "timeseries")(plain_model())
    model = own.create(model_name="plain", config={"patience": 3}, horizon=5, feature_columns=["a", "b"])
    assert (model.horizon, model.feature_columns, model.n_features, model.config.patience) == (5, ["a", "b"], 2, 3)
    with pytest.raises(TypeError, match="Config must be dict"):
        own.create("plain", [("patience", 3)], 5, ["a"])
    with pytest.raises(ValueError, match="horizon"):
        own.create("plain", {}, 0, ["a"])  # any positive whole number is a horizon, not 5 and 20 alone
    for empty in ([], None):
        with pytest.raises(ValueError, match="feature_columns must be non-empty list"):
            own.create("plain", {}, 5, empty)


def test_4_06_create_wraps_what_a_model_raises():
    def broken(self) -> None:
        raise OSError("no such device")

    own = own_registry()
    own.register("broken", "neural")(plain_model(_build_model=broken))
    with pytest.raises(RuntimeError, match="Failed to instantiate neural:broken: no such device") as caught:
        own.create("broken", {}, 5, ["a"])
    assert isinstance(caught.value.__cause__, OSError)


def test_4_07_short_and_full_names():
    own = own_registry()
    for family in ("boosting", "neural"):
        own.register("twin", family)(plain_model())
    own.register("alone", "neural")(plain_model())
    assert own.get_metadata("alone")["family"] == own.get_metadata("neural:alone")["family"] == "neural"
    with pytest.raises(ValueError, match="Ambiguous name 'twin'(?s:.*)boosting:twin, neural:twin"):
        own.create("twin", {}, 5, ["a"])
    with pytest.raises(ValueError, match="'lone' not found(?s:.*)boosting:twin"):
        own.create("lone", {}, 5, ["a"])


def test_4_08_list_models_and_metadata():
    every, boosting = registry().list_models(), registry().list_models(family="boosting")
    assert {m["name"] for m in boosting} == {"xgboost", "lightgbm", "catboost"} and len(every) > len(boosting)
    assert {"name", "family", "description", "requires_gpu", "supports_multivariate", "supports_horizon_multi", "class", "module"} <= set(
        registry().get_metadata("xgboost")
    )


def test_4_09_auto_discovery_survives_a_broken_module(tmp_path, monkeypatch):
    (tmp_path / "doc004_good.py").write_text("LOADED = True\n")
    (tmp_path / "doc004_bad.py").write_text("raise ImportError('a library is missing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = auto_register_models(
        own_registry(), {"doc004_bad": ("boosting", ("bad",), "lineupiq[extra]"), "doc004_good": ("neural", ("good",), "lineupiq")}
    )
    import sys

    assert sys.modules["doc004_good"].LOADED
    told = found.get_metadata("bad")
    assert (told["available"], told["reason"]) == (False, "ImportError: a library is missing")
    with pytest.raises(ImportError, match="a library is missing"):
        found.get_model("bad")


# ---- 3 base model


def test_4_10_model_config():
    c = ModelConfig(model_name="x", model_family="boosting", horizon=5)
    assert (c.random_seed, c.early_stopping, c.patience, c.min_delta, c.checkpoint_dir, c.extra_params) == (42, True, 10, 1e-4, None, {})
    assert c.verbose in (True, False) and c.save_checkpoints is None  # null: where a model can go on from one
    assert c.validate() is c
    with pytest.raises(ValueError) as caught:  # every problem at once
        ModelConfig(model_name="x", model_family="y", horizon=0, patience=0, min_delta=-1).validate()
    assert all(word in str(caught.value) for word in ("Config validation failed", "horizon", "patience", "min_delta"))


@pytest.mark.parametrize("name, able", [("xgboost", False), ("logistic", False), ("random_forest", False), ("lstm", True), ("nhits", True)])
def test_4_10_checkpoints_where_a_model_can(name, able):
    cls = registry().get_model(name)
    assert (
        cls({"save_checkpoints": None, "random_seed": 1}, horizon=5).config.save_checkpoints is None
        and cls({"save_checkpoints": False}).config.save_checkpoints is False
    )
    if able:
        assert cls({"save_checkpoints": True}).config.save_checkpoints is True
    else:
        with pytest.raises(ValueError, match="cannot go on from a checkpoint"):
            cls({"save_checkpoints": True})


def test_4_11_prediction_output():
    out = PredictionOutput(
        predictions=np.array([1, -1, 0]),
        probabilities=np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]),
        timestamps=pd.date_range("2024-01-02", periods=3, freq="5min"),
        symbols=np.array(["MES", "MES", "MGC"]),
        horizons=np.array([5, 5, 5]),
    )
    table = out.to_dataframe()
    assert list(table) == ["datetime", "symbol", "horizon", "prediction", "prob_short", "prob_neutral", "prob_long", "uncertainty"]
    assert (
        table["prob_long"].tolist() == [0.7, 0.1, 0.3]
        and table["uncertainty"].isna().all()
        and table["datetime"].iloc[1] == pd.Timestamp("2024-01-02 00:05")
    )
    assert PredictionOutput(out.predictions, out.probabilities, uncertainty=np.array([0.1, 0.2, 0.3])).to_dataframe()[
        "uncertainty"
    ].tolist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("classes", [None, [0, 1, 2, 3], [-1, 0, 1, 2], [10, 20, 30, 40], ["a", "b", "c", "d"]])
def test_4_11_no_probability_is_lost(classes):
    p = np.random.default_rng(0).dirichlet(np.ones(4), size=5)
    labels = np.arange(4) if classes is None else np.asarray(classes)
    table = PredictionOutput(labels[p.argmax(axis=1)], p, classes=None if classes is None else labels).to_dataframe()
    np.testing.assert_array_equal(table.filter(like="prob_").to_numpy(), p)


def test_4_12_base_model_is_abstract_and_keeps_its_state():
    for method in ("_build_config", "_build_model", "fit", "predict", "save", "load"):
        assert getattr(BaseModel, method).__isabstractmethod__, method
    with pytest.raises(TypeError, match="abstract"):
        BaseModel({}, 5, ["a"])
    model = plain_model()(config={}, horizon=5, feature_columns=["a", "b"])
    assert (model.is_fitted, model.training_history, model.best_metric, model.n_features) == (False, {}, None, 2)
    with pytest.raises(ValueError, match="feature_columns cannot be empty"):
        plain_model()({}, 5, [])


def rows_of(frame: pd.DataFrame, first: int, last: int) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    part = frame.iloc[first:last].reset_index(drop=True)
    return part[FEATURES].to_numpy(), part["label_h5"].to_numpy(), part[["datetime", "symbol"]]


@pytest.mark.parametrize(
    "name, config",
    [
        ("xgboost", {"num_boost_round": 12}),
        ("lightgbm", {"num_boost_round": 12}),
        ("catboost", {"num_boost_round": 12}),
        ("lstm", {"max_epochs": 2, "hidden_size": 4, "num_layers": 1}),
        ("tft", {"max_epochs": 2, "hidden_size": 4, "heads": 2}),
    ],
)
def test_4_13_fit_says_losses_and_accuracies(frame, name, config):
    model = registry().create(name, config, 5, FEATURES)
    X, y, meta = rows_of(frame, 0, 300)
    Xv, yv, meta_v = rows_of(frame, 300, 400)
    result = model.fit(X_train=X, y_train=y, X_val=Xv, y_val=yv, metadata_train=meta, metadata_val=meta_v)
    assert {"train_loss", "val_loss", "best_epoch"} <= set(result) and isinstance(result["best_epoch"], int)
    losses = result["history"]  # the document's lists; `train_loss` alone is the loss of the state that was kept
    assert len(losses["train_loss"]) == len(losses["val_loss"]) == result["total_epochs"] and result["val_loss"] == min(losses["val_loss"])
    said = model.predict(X).predictions
    # a net's is that of the epoch, with dropout
    assert result["final_train_acc"] == pytest.approx((said == y).mean(), abs=0.3 if "max_epochs" in config else 1e-9)
    assert (
        0 < result["final_val_acc"] < 1 and model.is_fitted and model.training_history == losses and model.best_metric == result["val_loss"]
    )


def test_4_14_save_and_load_restore_everything(frame, tmp_path):
    model = XGBoostModel({"n_estimators": 8, "max_depth": 3}, horizon=5, feature_columns=FEATURES)
    X, y, meta = rows_of(frame, 0, 300)
    model.fit(X, y)
    model.save(tmp_path / "model")
    back = XGBoostModel.load(tmp_path / "model")  # of the class, not of a half-built object
    assert (back.is_fitted, back.config, back.feature_columns, back.training_history) == (
        True,
        model.config,
        FEATURES,
        model.training_history,
    )
    np.testing.assert_array_equal(back.predict(X, meta).probabilities, model.predict(X, meta).probabilities)
    assert not [p for p in (tmp_path / "model").rglob("*") if p.suffix in (".pkl", ".pickle", ".joblib")]


def test_4_15_validate_inputs_says_everything_at_once():
    model = XGBoostModel({}, horizon=5, feature_columns=FEATURES)
    model.validate_inputs(np.zeros((6, 4)), np.array([-1, 0, 1, 1, 0, -1]))
    model.validate_inputs(np.zeros((6, 12, 4)))
    with pytest.raises(ValueError) as caught:
        model.validate_inputs(np.zeros((6, 3)), np.zeros((5, 1)))
    assert all(
        word in str(caught.value)
        for word in ("Input validation failed", "X has 3 features", "expected 4 features", "y must be 1D", "length mismatch: 6 vs 5")
    )
    with pytest.raises(ValueError, match="(?s)X must be 2D or 3D.*missing labels"):
        model.validate_inputs(np.zeros((6, 2, 2, 2)), np.array([0.0, 1, np.nan, 1, 0, 1]))


def test_4_15_fit_and_predict_do_the_same(frame):
    X, y, _ = rows_of(frame, 0, 300)
    model = XGBoostModel({"n_estimators": 2}, horizon=5, feature_columns=FEATURES)
    with pytest.raises(ValueError, match="(?s)X has 3 features.*length mismatch: 300 vs 299"):
        model.fit(X[:, :3], y[:299])
    model.fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features"):
        model.predict(X[:, :3])
    # classes are those of the training, -1, 0, 1 here
    with pytest.raises(ValueError, match=r"labels that the training rows do not have(?s:.*)\[7\]"):
        model.validate_inputs(X[:2], np.array([0, 7]))


def test_4_16_importance_and_repr(frame):
    X, y, _ = rows_of(frame, 0, 300)
    model = XGBoostModel({"n_estimators": 8}, horizon=5, feature_columns=FEATURES)
    with pytest.raises(RuntimeError, match="not fitted"):
        model.get_feature_importance()
    model.fit(X, y)
    table = model.get_feature_importance()
    assert list(table) == ["feature", "importance"] and table["feature"].iloc[0] == "rsi" and table["importance"].is_monotonic_decreasing
    assert all(part in repr(model) for part in ("XGBoostModel(", "horizon=5", "n_features=4", "fitted=True"))
    assert plain_model()({}, 5, ["a"]).get_feature_importance() is None


# ---- 4 dataset


def test_4_17_dataset_config(project):
    c = DatasetConfig(train_path=Path("a"), val_path=Path("b"), test_path=Path("c"))
    assert (c.sequence_length, c.horizon, c.feature_columns, c.label_column, c.include_symbols, c.exclude_neutrals, c.use_memmap) == (
        60,
        5,
        None,
        None,
        None,
        False,
        False,
    )
    with pytest.raises(ValueError) as caught:
        DatasetConfig(Path("a"), Path("b"), Path("c"), sequence_length=0, horizon=0).validate()
    assert all(word in str(caught.value) for word in ("train_path", "val_path", "test_path", "sequence_length", "horizon"))
    assert split_files().validate()


def test_4_18_windows_of_one_symbol_and_the_past(project, frame):
    data = TimeSeriesDataset(split_files(sequence_length=6))
    X, y, meta = data.get_split("train")
    assert (
        (X.shape[1:], X.dtype, y.dtype) == ((6, 4), np.float32, np.int8)
        and list(meta) == ["datetime", "symbol", "index"]
        and set(np.unique(y)) == {-1, 0, 1}
    )
    own = frame[frame["symbol"] == "MES"].reset_index(drop=True)
    at = meta.index[(meta["symbol"] == "MES") & (meta["datetime"] == own["datetime"][40])][0]
    # up to the row itself: the document's window left the newest known row out
    np.testing.assert_array_equal(X[at], own[FEATURES].to_numpy(dtype=np.float32)[35:41])
    assert y[at] == own["label_h5"][40]
    later = frame.assign(rsi=frame["rsi"].where(frame["datetime"] <= own["datetime"][40], 1e3))
    later[:520].to_parquet("data/splits/scaled/train_scaled.parquet", index=False)
    np.testing.assert_array_equal(TimeSeriesDataset(split_files(sequence_length=6)).get_split("train")[0][at], X[at])


def test_4_18_filters(project):
    assert set(TimeSeriesDataset(split_files(include_symbols=["MGC"])).get_split("val")[2]["symbol"]) == {"MGC"}
    data = TimeSeriesDataset(split_files(exclude_neutrals=True, use_memmap=True))
    # in production nobody says beforehand which rows are neutral
    assert 0 not in data.get_split("train")[1] and 0 in data.get_split("test")[1]


def test_4_19_column_detection(project, frame):
    data = TimeSeriesDataset(split_files(horizon=20))
    assert data.label_column == "label_h20" and TimeSeriesDataset(split_files(label_column="label_h20")).label_column == "label_h20"
    with pytest.raises(ValueError, match="label_h7"):
        TimeSeriesDataset(split_files(horizon=7))
    with pytest.raises(ValueError, match="macd"):
        TimeSeriesDataset(split_files(feature_columns=["rsi", "macd"]))
    with pytest.raises(ValueError, match="candidates: rsi, ret_1, ret_5, vol"):  # never chosen without being asked to
        TimeSeriesDataset(split_files(feature_columns=None))


def test_4_19_auto_takes_what_the_audit_clears(project, frame, capsys):
    told = frame.assign(
        label_end=frame["datetime"] + pd.Timedelta("25min"),
        bars_to_touch=3.0 + frame["label_h5"],
        mfe=np.random.default_rng(1).normal(size=len(frame)),
    )
    for name, rows in (("train", slice(0, 520)), ("val", slice(520, 660)), ("test", slice(660, 800))):
        told[rows].to_parquet(f"data/splits/scaled/{name}_scaled.parquet", index=False)
    data = TimeSeriesDataset(split_files(feature_columns="auto"))
    assert data.get_feature_columns() == FEATURES == data.config.feature_columns and set(data.choice.left_out) == {"bars_to_touch", "mfe"}
    assert "the 4 columns that the audit cleared: rsi, ret_1, ret_5, vol" in capsys.readouterr().out


def test_4_20_splits_features_loaders(project):
    data = TimeSeriesDataset(split_files())
    assert data.get_feature_columns() == FEATURES and {s: len(data.get_split(s)[1]) for s in ("train", "val", "test")} == {
        "train": 520,
        "val": 140,
        "test": 140,
    }
    with pytest.raises(ValueError, match="train, val, test"):
        data.get_split("holdout")
    text = repr(data)
    assert "TimeSeriesDataset(" in text and all(str(n) in text for n in (520, 140, 12, 4))
    first, labels = next(iter(data.dataloader("train", batch_size=32)))
    assert first.shape == (32, 12, 4) and labels.shape == (32,)
    X, y, _ = data.get_split("val")
    doubled = next(iter(make_loader(X, y, batch_size=8, transform=lambda batch: 2 * batch)))[0]
    np.testing.assert_array_equal(doubled.numpy(), 2 * np.asarray(X[:8]))


def test_4_21_prepared_sequences_are_kept(project):
    from lineupiq.data.windows import SEQUENCES, load_sequences, save_sequences

    assert SEQUENCES == Path("data/splits/sequences") and SPLITS_DIR == Path("data/splits")
    box = TimeSeriesDataset(split_files()).to_container()
    assert save_sequences(box, "h5").is_relative_to("data/splits/sequences")
    np.testing.assert_array_equal(load_sequences("h5").X_val, box.X_val)


# ---- 5 trainer


def quick_trainer(model: str = "xgboost", config: Any = None, **changes: Any) -> Trainer:
    return Trainer(
        **{
            "model_name": model,
            "model_config": config or {"num_boost_round": 12, "max_depth": 3},
            "dataset_config": split_files(),
            "experiment_name": "default",
            "output_dir": Path("experiments/runs"),
            "use_mlflow": False,
            **changes,
        }
    )


def test_4_22_steps_in_order(project):
    trainer = quick_trainer()
    with pytest.raises(RuntimeError, match=r"Call prepare_data\(\) before build_model\(\)"):
        trainer.build_model()
    trainer.prepare_data()
    with pytest.raises(RuntimeError, match=r"Call build_model\(\) before train\(\)"):
        trainer.train()
    trainer.build_model()
    with pytest.raises(RuntimeError, match=r"not trained. Call train\(\) first"):
        trainer.evaluate()
    assert trainer.train()["best_epoch"] >= 0
    assert {"val_metrics", "test_metrics", "run_dir"} <= set(trainer.evaluate())


def test_4_22_4_23_full_pipeline(project):
    trainer = quick_trainer("boosting:xgboost")
    results = trainer.run_full_pipeline()
    assert {"training", "evaluation", "run_id", "run_dir"} <= set(results) and re.fullmatch(
        r"xgboost_\d{8}_\d{6}(_\d+)?", results["run_id"]
    )
    assert Path(results["run_dir"]) == trainer.run_dir and trainer.run_dir.parent == Path("experiments/runs") and trainer.run_dir.is_dir()
    assert 0 < results["evaluation"]["test_metrics"]["accuracy"] < 1 and results["training"]["train_accuracy"] is not None


def test_4_22_the_printed_results(project, capsys):
    "The document's last lines: every metric is a number with four places."
    results = quick_trainer().run_full_pipeline()
    print(f"Run ID: {results['run_id']}")
    print(f"Run Dir: {results['run_dir']}")
    print("\nValidation Metrics:")
    for k, v in results["evaluation"]["val_metrics"].items():
        print(f"  {k}: {v:.4f}")
    print("\nTest Metrics:")
    for k, v in results["evaluation"]["test_metrics"].items():
        print(f"  {k}: {v:.4f}")
    assert re.search(r"Test Metrics:\n(  \w+: -?[\d.]+\n)*  accuracy: 0\.\d{4}", capsys.readouterr().out)


def test_4_25_predictions_are_saved(project):
    trainer = quick_trainer()
    trainer.run_full_pipeline()
    for split in ("val", "test"):
        table = pd.read_parquet(trainer.run_dir / "predictions" / f"{split}_predictions.parquet")
        assert {"datetime", "symbol", "horizon", "prediction", "prob_short", "prob_neutral", "prob_long"} <= set(table) and len(
            table
        ) >= 140
        assert np.allclose(table[["prob_short", "prob_neutral", "prob_long"]].sum(axis=1), 1)


class Heard(Callback):
    "What a callback hears."

    def __init__(self):
        self.events = []

    def on_train_begin(self, model):
        self.events.append("begin")

    def on_epoch_end(self, epoch, logs, save=None):
        self.events.append((epoch, sorted(k for k in logs if k.endswith("_loss"))))
        return False

    def on_train_end(self, model, metrics):
        self.events.append("end")


@pytest.mark.parametrize(
    "name, config",
    [
        ("xgboost", {"num_boost_round": 5}),
        ("lightgbm", {"num_boost_round": 5}),
        ("catboost", {"num_boost_round": 5}),
        ("gru", {"max_epochs": 3, "hidden_size": 4}),
        ("transformer", {"max_epochs": 3, "hidden_size": 4, "heads": 2, "num_layers": 1}),
        ("nhits", {"max_epochs": 3, **{k: v for k, v in SMALL["nhits"].items() if k not in ("max_epochs", "epochs")}}),
        ("tft", {"max_epochs": 3, "hidden_size": 4, "heads": 2}),
    ],
)
def test_4_26_callbacks_hear_every_round(frame, name, config):
    model, heard = registry().create(name, config, 5, FEATURES), Heard()
    model.callbacks = CallbackList([heard])
    result = model.fit(*rows_of(frame, 0, 300)[:2], *rows_of(frame, 300, 400)[:2])
    assert heard.events == ["begin", *((k, ["train_loss", "val_loss"]) for k in range(result.total_epochs)), "end"]


def test_4_26_a_warning_where_there_are_no_rounds(frame):
    model, heard = registry().create("random_forest", {"n_estimators": 5}, 5, FEATURES), Heard()
    model.callbacks = CallbackList([heard])
    with pytest.warns(UserWarning, match="random_forest has no rounds or epochs"):
        model.fit(*rows_of(frame, 0, 300)[:2])
    assert heard.events == ["begin", "end"]


def test_4_26_early_stopping_and_checkpoints(project):
    trainer = quick_trainer(config={"num_boost_round": 50, "max_depth": 3})
    stop = EarlyStoppingCallback(patience=1, min_delta=10.0)
    result_of = trainer.run_dir / "checkpoints"
    trainer.prepare_data()
    trainer.build_model()
    metrics = trainer.train(callbacks=[stop, CheckpointCallback(result_of, every=1)])
    assert (
        stop.stopped_epoch == 1 and metrics.total_epochs == 2 and {"best.ckpt", "epoch_00001.ckpt"} <= {p.name for p in result_of.iterdir()}
    )
    with pytest.warns(UserWarning, match="cannot be written while it trains"):
        cat = registry().create("catboost", {"n_estimators": 3}, 5, FEATURES)
        cat.callbacks = CallbackList([CheckpointCallback(result_of / "cat")])
        cat.fit(np.random.default_rng(0).normal(size=(90, 4)), np.tile([-1, 0, 1], 30))


def test_4_27_evaluator(frame):
    X, y, meta = rows_of(frame, 0, 300)
    model = XGBoostModel({"n_estimators": 8}, horizon=5, feature_columns=FEATURES)
    model.fit(X, y)
    scores = ModelEvaluator(model).evaluate(*rows_of(frame, 300, 400), split_name="val")
    assert 0 < scores["accuracy"] < 1 and scores["log_loss"] > 0 and scores["n"] == 100
    with pytest.raises(ValueError, match="val"):
        ModelEvaluator(model).evaluate(X, y[:-1], meta, split_name="val")


# ---- MLflow


@pytest.fixture
def tracker(tmp_path, monkeypatch):
    "A database for MLflow, and the runs in it once something was told."
    pytest.importorskip("mlflow")
    monkeypatch.setenv("LINEUPIQ_TRACKING_URI", uri := f"sqlite:///{tmp_path}/ml.db")

    def told(experiment: str):
        from mlflow.tracking import MlflowClient

        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
        return client, [] if found is None else client.search_runs([found.experiment_id], order_by=["attributes.start_time"])

    return told


def test_4_22_use_mlflow_is_on_where_it_is_installed(project, monkeypatch):
    from lineupiq.core.callbacks import wants_tracker

    assert wants_tracker(False) is False
    monkeypatch.setitem(wants_tracker.__globals__, "find_spec", lambda name: None)
    assert wants_tracker(None) is False
    with pytest.raises(ImportError, match="MLflow is not installed") as caught:
        wants_tracker(True)
    assert caught.value.exit_code == 7
    import importlib.util

    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "mlflow" else plain(name, *a))
    with pytest.raises(ImportError, match="MLflow is not installed"):
        quick_trainer(use_mlflow=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, config", [("xgboost", {"num_boost_round": 12, "max_depth": 3}), ("gru", {"max_epochs": 2, "hidden_size": 4, "num_layers": 1})]
)
def test_4_24_mlflow_is_told_of_everything(project, tracker, model, config):
    trainer = quick_trainer(model, config, experiment_name=f"{model}_h5", use_mlflow=None)
    results = trainer.run_full_pipeline()
    client, [run] = tracker(f"{model}_h5")
    told = run.data.params
    assert {
        "model": model,
        "horizon": "5",
        "n_features": "4",
        "n_train": "520",
        "n_val": "140",
        "seq_length": "12" if model == "gru" else "1",
    }.items() <= told.items(), told
    assert any(k.startswith("model.") and k.endswith(next(iter(config))) and v == str(next(iter(config.values()))) for k, v in told.items())
    for loss in ("train_loss", "val_loss"):
        history = client.get_metric_history(run.info.run_id, loss)
        assert [m.step for m in history] == list(range(results["training"]["total_epochs"])) and len(history) > 1
    assert (
        run.data.metrics["val_accuracy" if model != "gru" else "val_log_loss"] > 0
        and 0 < run.data.metrics["test_accuracy"] < 1
        and run.data.metrics["test_log_loss"] > 0
    )
    artifacts = {a.path for a in client.list_artifacts(run.info.run_id)}
    assert "predictions" in artifacts and any(a.startswith(model) for a in artifacts) and run.info.status == "FINISHED", artifacts
    assert {a.path for a in client.list_artifacts(run.info.run_id, "predictions")} == {
        "predictions/val_predictions.parquet",
        "predictions/test_predictions.parquet",
    }


@pytest.mark.slow
def test_4_24_a_run_that_fails_is_not_left_open(project, tracker):
    class Breaks(Callback):
        def on_epoch_end(self, epoch, logs, save=None):
            raise ValueError("the power is gone")

    trainer = quick_trainer(experiment_name="broken", use_mlflow=None, callbacks=[Breaks()])
    with pytest.raises(Exception, match="the power is gone"):
        trainer.run_full_pipeline()
    assert json.loads((trainer.run_dir / "status.json").read_text())["status"] == "failed"
    assert [r.info.status for r in tracker("broken")[1]] == ["FAILED"]


@pytest.mark.slow
def test_4_24_a_command_tells_the_losses_of_the_fit_that_was_stopped(cli, tracker, tmp_path):
    assert (
        cli(
            "train",
            "--data",
            "noise-bars",
            "--horizon",
            "5",
            "--model",
            "xgboost",
            "--experiment",
            "own",
            "--no-publish",
            "--output",
            tmp_path / "runs",
        ).code
        == 0
    )
    client, [run] = tracker("own")
    history = client.get_metric_history(run.info.run_id, "val_loss")
    # the refit on both parts has no validation loss
    assert len(history) > 1 and int(run.data.params["n_train"]) > int(run.data.params["n_val"]) > 0


def test_4_40_the_ui_needs_a_database(monkeypatch):
    """`mlflow ui --backend-store-uri`: the document's folder of files is refused by MLflow itself; a database is the default, and the way
    to move is said."""
    from lineupiq.tracking.tracker import DEFAULT_DB, tracking_uri

    for name in ("LINEUPIQ_TRACKING_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    assert tracking_uri() == f"sqlite:///{Path(DEFAULT_DB).resolve()}"
    with pytest.raises(ValueError, match="migrate-filestore"):
        tracking_uri("experiments/mlruns")


# ---- 6 an example model, 4_28, 4_29


def test_4_28_xgboost_config():
    c = XGBoostConfig(model_name="xgboost", model_family="boosting", horizon=5)
    assert (
        c.n_estimators,
        c.max_depth,
        c.learning_rate,
        c.subsample,
        c.colsample_bytree,
        c.min_child_weight,
        c.gamma,
        c.reg_alpha,
        c.reg_lambda,
        c.n_jobs,
    ) == (100, 6, 0.1, 0.8, 0.8, 1, 0.0, 0.0, 1.0, -1)
    own = XGBoostConfig(horizon=5, objective="multi:softprob", num_class=3, eval_metric="mlogloss", early_stopping_rounds=10).validate()
    assert own.stop_after == 10 and issubclass(XGBoostConfig, ModelConfig)
    metadata = registry().get_metadata("boosting:xgboost")
    assert (metadata["requires_gpu"], metadata["supports_multivariate"], metadata["class"]) == (False, True, "XGBoostModel")


def test_4_28_the_documented_objective_trains(frame):
    model = registry().create(
        "xgboost",
        {"objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss", "early_stopping_rounds": 10, "n_estimators": 100},
        5,
        FEATURES,
    )
    result = model.fit(*rows_of(frame, 0, 300)[:2], *rows_of(frame, 300, 400)[:2])
    assert result["early_stopped"] and result["best_iteration"] == result["total_epochs"] - 1 - 10


def test_4_29_labels_and_windows(project):
    X, y, meta = TimeSeriesDataset(split_files(sequence_length=3)).get_split("train")
    model = registry().create("xgboost", {"n_estimators": 4}, 5, FEATURES)
    model.fit(np.asarray(X), y)  # (N, 3, 4): laid flat, each column named by its lag
    assert model.input_columns[0] == "rsi[t-2]" and model.get_feature_importance()["feature"].str.contains("[t", regex=False).all()
    out = model.predict(np.asarray(X), meta)
    assert set(np.unique(out.predictions)) <= {-1, 0, 1} and out.probabilities.shape == (len(y), 3)
    assert (
        out.classes.tolist() == [-1, 0, 1]
        and model.codec.encode(np.array([-1, 0, 1])).tolist() == [0, 1, 2]
        and model.codec.decode(np.array([2, 0])).tolist() == [1, -1]
    )
    alone = model.predict(np.asarray(X))
    assert alone.timestamps is None and alone.symbols is None  # nothing is invented


def documented_class(ModelRegistry: Any) -> type:
    "The document's own XGBoost model, written against the contract; two lines cannot stay as they are."
    import pickle

    import xgboost as xgb

    @dataclass
    class XGBoostConfig(ModelConfig):
        """XGBoost-specific configuration."""

        n_estimators: int = 100
        max_depth: int = 6
        learning_rate: float = 0.1
        subsample: float = 0.8
        colsample_bytree: float = 0.8
        min_child_weight: int = 1
        gamma: float = 0.0
        reg_alpha: float = 0.0
        reg_lambda: float = 1.0
        objective: str = "multi:softprob"  # {-1, 0, 1} -> 3 classes
        num_class: int = 3
        eval_metric: str = "mlogloss"
        early_stopping_rounds: int = 10
        n_jobs: int = -1

    @ModelRegistry.register(
        name="xgboost",
        family="boosting",
        description="XGBoost gradient boosting with early stopping",
        requires_gpu=False,
        supports_multivariate=True,
    )
    class XGBoostModel(BaseModel):
        def _build_config(self, config: dict, horizon: int) -> XGBoostConfig:
            return XGBoostConfig(model_name="xgboost", model_family="boosting", horizon=horizon, **config)

        def _build_model(self):
            params = {
                "objective": self.config.objective,
                "num_class": self.config.num_class,
                "max_depth": self.config.max_depth,
                "learning_rate": self.config.learning_rate,
                "subsample": self.config.subsample,
                "colsample_bytree": self.config.colsample_bytree,
                "min_child_weight": self.config.min_child_weight,
                "gamma": self.config.gamma,
                "reg_alpha": self.config.reg_alpha,
                "reg_lambda": self.config.reg_lambda,
                "random_state": self.config.random_seed,
                "n_jobs": self.config.n_jobs,
                "verbosity": 1 if self.config.verbose else 0,
            }
            # missing in the document: `best_iteration` does not exist without them
            params |= {"early_stopping_rounds": self.config.early_stopping_rounds, "eval_metric": self.config.eval_metric}
            self.model = xgb.XGBClassifier(n_estimators=self.config.n_estimators, **params)

        def fit(self, X_train, y_train, X_val=None, y_val=None, metadata_train=None, metadata_val=None) -> Dict[str, Any]:  # noqa: UP006
            self.validate_inputs(X_train, y_train)
            if X_val is not None:
                self.validate_inputs(X_val, y_val)
            if X_train.ndim == 3:
                n_samples, seq_len, n_features = X_train.shape
                X_train = X_train.reshape(n_samples, seq_len * n_features)
                if X_val is not None:
                    X_val = X_val.reshape(len(X_val), seq_len * n_features)
            y_train_xgb = self._encode_labels(y_train)
            y_val_xgb = self._encode_labels(y_val) if y_val is not None else None
            eval_set = [(X_train, y_train_xgb)]
            if X_val is not None:
                eval_set.append((X_val, y_val_xgb))
            self.model.fit(X_train, y_train_xgb, eval_set=eval_set, verbose=self.config.verbose)
            self.is_fitted = True
            results = self.model.evals_result()
            self.training_history = {"train_mlogloss": results["validation_0"]["mlogloss"]}
            if "validation_1" in results:
                self.training_history["val_mlogloss"] = results["validation_1"]["mlogloss"]
            return {
                "train_loss": self.training_history.get("train_mlogloss", []),
                "val_loss": self.training_history.get("val_mlogloss", []),
                "best_iteration": self.model.best_iteration,
                "n_estimators": self.model.n_estimators,
            }

        def predict(self, X: np.ndarray, metadata: Optional[pd.DataFrame] = None) -> PredictionOutput:
            if not self.is_fitted:
                raise RuntimeError("Model not fitted. Call fit() first.")
            self.validate_inputs(X)
            if X.ndim == 3:
                n_samples, seq_len, n_features = X.shape
                X = X.reshape(n_samples, seq_len * n_features)
            proba_xgb = self.model.predict_proba(X)
            pred_xgb = self.model.predict(X)
            predictions = self._decode_labels(pred_xgb)
            timestamps = symbols = None  # the document invents times and a symbol 'UNK' here
            if metadata is not None:
                timestamps = pd.to_datetime(metadata["datetime"])
                symbols = metadata["symbol"].values
            return PredictionOutput(
                predictions=predictions,
                probabilities=proba_xgb,
                timestamps=timestamps,
                symbols=symbols,
                horizons=np.array([self.horizon] * len(X)),
            )

        def save(self, path: Path):
            path.mkdir(parents=True, exist_ok=True)
            self.model.save_model(str(path / "xgboost_model.json"))
            metadata = {
                "config": self.config.to_dict(),  # a class inside a function cannot be pickled
                "feature_columns": self.feature_columns,
                "training_history": self.training_history,
                "is_fitted": self.is_fitted,
            }
            with open(path / "metadata.pkl", "wb") as f:
                pickle.dump(metadata, f)

        def load(self, path: Path):
            self.model.load_model(str(path / "xgboost_model.json"))
            with open(path / "metadata.pkl", "rb") as f:
                metadata = pickle.load(f)
            self.feature_columns = metadata["feature_columns"]
            self.training_history = metadata["training_history"]
            self.is_fitted = metadata["is_fitted"]

        def get_feature_importance(self) -> pd.DataFrame:
            if not self.is_fitted:
                raise RuntimeError("Model not fitted")
            importance = self.model.feature_importances_
            return pd.DataFrame({"feature": self.feature_columns, "importance": importance}).sort_values("importance", ascending=False)

        def _encode_labels(self, y: np.ndarray) -> np.ndarray:
            return y + 1  # -1->0, 0->1, 1->2

        def _decode_labels(self, y: np.ndarray) -> np.ndarray:
            return y - 1  # 0->-1, 1->0, 2->1

    return XGBoostModel


def test_4_12_the_documented_class_keeps_the_contract(frame, tmp_path):
    own = own_registry()
    documented_class(own)
    model = own.create("boosting:xgboost", {"n_estimators": 30, "max_depth": 3, "n_jobs": 1}, horizon=5, feature_columns=FEATURES)
    X, y, meta = rows_of(frame, 0, 300)
    Xv, yv, meta_v = rows_of(frame, 300, 400)
    result = model.fit(X_train=X, y_train=y, X_val=Xv, y_val=yv, metadata_train=meta, metadata_val=meta_v)
    assert len(result["train_loss"]) == len(result["val_loss"]) and result["best_iteration"] >= 0
    table = model.predict(Xv, meta_v).to_dataframe()
    assert list(table) == ["datetime", "symbol", "horizon", "prediction", "prob_short", "prob_neutral", "prob_long", "uncertainty"]
    model.save(tmp_path / "model")
    back = own.create("xgboost", {}, horizon=5, feature_columns=FEATURES)
    back.load(tmp_path / "model")
    np.testing.assert_array_equal(back.predict(Xv, meta_v).probabilities, model.predict(Xv, meta_v).probabilities)
    with pytest.raises(ValueError, match="Config validation failed"):
        own.create("xgboost", {"patience": 0}, horizon=5, feature_columns=FEATURES)


def test_4_27_the_evaluator_takes_any_model(frame):
    "A third party's class knows nothing of this library's label codec."
    own = own_registry()
    documented_class(own)
    model = own.create("xgboost", {"n_estimators": 10, "max_depth": 3, "n_jobs": 1}, 5, FEATURES)
    model.fit(*rows_of(frame, 0, 300)[:2], *rows_of(frame, 300, 400)[:2])
    assert 0 < ModelEvaluator(model).evaluate(*rows_of(frame, 300, 400), split_name="val")["accuracy"] < 1


# ---- 7 configurations


def test_4_30_the_documented_model_file(project):
    from lineupiq.core.config import model_params, read_yaml
    from lineupiq.workflows.configs import model_file

    params, dataset = model_params(read_yaml("config/models/xgboost.yaml"))
    assert (params["n_estimators"], params["early_stopping_rounds"], params["verbose"], dataset) == (
        500,
        20,
        True,
        {"sequence_length": 1, "exclude_neutrals": False},
    )
    assert model_file("config/models/xgboost.yaml", "xgboost")[0]["min_child_weight"] == 3
    model = registry().create("xgboost", {k: v for k, v in yaml.safe_load(XGBOOST_YAML)["hyperparameters"].items()}, 5, FEATURES)
    assert (model.config.max_depth, model.config.gamma) == (8, 0.1)


def test_4_30_a_trainer_honours_the_file(project):
    text = (
        XGBOOST_YAML.replace("sequence_length: 1 ", "sequence_length: 3 ")
        .replace("include_symbols: null", 'include_symbols: ["MGC"]')
        .replace("verbose: true", "verbose: false")
    )
    Path("config/models/xgboost.yaml").write_text(text.replace("n_estimators: 500", "num_boost_round: 10"))
    trainer = quick_trainer(config="config/models/xgboost.yaml")
    trainer.prepare_data()
    model = trainer.build_model()
    assert (model.config.max_depth, model.config.early_stopping_rounds) == (8, 20)
    assert len(trainer.dataset.y_train) == 260, "only MGC"


@pytest.mark.parametrize("name", ["nhits", "xgboost", "lstm", "default"])
def test_4_30_shipped_model_files(name):
    import lineupiq
    from lineupiq.core.config import model_params, read_yaml

    params, dataset = model_params(read_yaml(Path(lineupiq.__file__).parent / "configs" / "models" / f"{name}.yaml"))
    assert params["save_checkpoints"] is None and params["random_seed"] == 42
    if name != "default":
        cls = registry().get_model(name)
        assert cls(params, horizon=5).config == cls({}, horizon=5).config
        return
    for entry in registry().list_models():
        if entry["available"]:
            cls = registry().get_model(f"{entry['family']}:{entry['name']}")
            assert cls(params, task=cls.tasks[0]).config == cls({}, task=cls.tasks[0]).config, entry["name"]


@pytest.mark.parametrize("name", ["baseline", "production"])
def test_4_31_shipped_experiments(name):
    from lineupiq.workflows.experiment import experiment_config

    found = experiment_config(name)
    assert (
        found.about.name
        and found.about.description
        and found.horizons == (5, 20)
        and {"xgboost", "lightgbm"} <= {m.name for m in found.models}
    )


def test_4_31_the_documented_experiment(project, cli):
    "As written, with two horizons and three files; the folder of MLflow's files becomes a database, because MLflow refuses the former."
    text = BASELINE_YAML.replace("experiments/mlruns", "sqlite:///experiments/mlflow.db")
    Path("config/experiments/baseline.yaml").write_text(text)
    Path("config/models/xgboost.yaml").write_text(XGBOOST_YAML.replace("verbose: true", "verbose: false"))
    answer = cli("experiment", "--config", "config/experiments/baseline.yaml")
    assert answer.code == 0, answer.err
    cells = answer.value["cells"]
    assert sorted({(c["model"].split(":")[-1], c["horizon"]) for c in cells if c["status"] == "done"}) == sorted(
        (m, h) for m in ("xgboost", "lightgbm", "nhits") for h in (5, 20)
    )
    tested = pd.read_parquet(Path(cells[0]["run_dir"]) / "predictions" / "test_predictions.parquet")
    mine = pd.read_parquet("data/splits/scaled/test_scaled.parquet")
    assert set(pd.to_datetime(tested["datetime"])) <= set(mine["datetime"])


def test_4_32_run_layout(project):
    trainer = quick_trainer("gru", {"max_epochs": 1, "hidden_size": 4, "num_layers": 1})
    trainer.run_full_pipeline()
    have = {p.name for p in trainer.run_dir.iterdir()}
    assert {"checkpoints", "predictions", "metrics", "models", "reports"} <= have, have


# ---- 8 commands


def test_4_33_seeds_are_set_globally():
    import random

    set_global_seeds()
    first = random.random(), np.random.rand()  # noqa: NPY002 - the global generator is what is meant
    set_global_seeds()
    assert (random.random(), np.random.rand()) == first  # noqa: NPY002


def test_4_33_the_documented_main(project, capsys):
    '`main()` of the document with its arguments at hand; features are asked for by "auto", because they are never chosen silently.'
    set_global_seeds()
    with open("config/models/xgboost.yaml") as f:
        config_yaml = yaml.safe_load(f)
    model_config = config_yaml["hyperparameters"]
    dataset_params = config_yaml.get("dataset", {})
    dataset_config = DatasetConfig(
        train_path=SPLITS_DIR / "scaled" / "train_scaled.parquet",
        val_path=SPLITS_DIR / "scaled" / "val_scaled.parquet",
        test_path=SPLITS_DIR / "scaled" / "test_scaled.parquet",
        horizon=5,
        sequence_length=dataset_params.get("sequence_length", 60),
        exclude_neutrals=dataset_params.get("exclude_neutrals", False),
        feature_columns="auto",
    )
    trainer = Trainer(
        model_name="xgboost",
        model_config=model_config,
        dataset_config=dataset_config,
        experiment_name="xgboost_h5",
        output_dir=Path("experiments/runs"),
        use_mlflow=not True,
    )
    results = trainer.run_full_pipeline()
    assert (
        results["run_id"] and Path(results["run_dir"]).is_dir() and "the audit cleared: rsi, ret_1, ret_5, vol" in capsys.readouterr().out
    )


def test_4_33_train_model(project, cli):
    Path("config/models/xgboost.yaml").write_text(XGBOOST_YAML.replace("verbose: true", "verbose: false"))
    answer = cli(
        "train",
        "--model",
        "xgboost",
        "--horizon",
        "5",
        "--config",
        "config/models/xgboost.yaml",
        "--output",
        "experiments/runs",
        "--no-mlflow",
    )
    assert answer.code == 0, answer.err
    run = Path(answer.value["run_dir"])
    report = json.loads((run / "reports/xgboost_report.json").read_text())
    assert (
        answer.value["run_id"] == run.name
        and run.parent == Path("experiments/runs")
        and report["test_metrics"]["accuracy"] > 0
        and report["validation_metrics"]["accuracy"] > 0
    )


def test_4_33_train_a_time_series_model(project, cli):
    answer = cli(
        "train",
        "--model",
        "timeseries:nhits",
        "--horizon",
        "20",
        "--config",
        "config/models/nhits.yaml",
        "--output",
        "experiments/runs",
        "--no-mlflow",
    )
    assert answer.code == 0, answer.err
    assert "nhits" in {row["model"] for row in answer.value["leaderboard"]}


def test_4_34_tune_model(project, cli):
    rng = np.random.default_rng(0)
    close = 100 + rng.normal(size=2000).cumsum() * 0.3
    pd.DataFrame(
        {
            "datetime": pd.date_range("2024-01-02", periods=2000, freq="5min"),
            "symbol": "MES",
            "open": close,
            "high": close + 0.2,
            "low": close - 0.2,
            "close": close,
            "volume": rng.integers(50, 150, 2000),
        }
    ).to_csv("bars.csv", index=False)
    answer = cli(
        "tune",
        "--model",
        "lightgbm",
        "--horizon",
        "5",
        "--n-trials",
        "2",
        "--output",
        "experiments/tuning",
        "--data",
        "bars",
        "--path",
        "bars.csv",
        "--n-splits",
        "2",
        "--no-mlflow",
    )
    assert answer.code == 0, answer.err
    assert (Path("experiments/tuning") / "best_hyperparameters.json").exists()


def test_4_34_evaluate_model(cli, train):
    "`evaluate_model.py`: a saved model on rows that are later than everything it was trained and tested on."
    from conftest import good_frame

    whole = good_frame(300, "binary")
    run = train(whole[:240], "binary", ["--no-publish"]).value["run_dir"]
    train_again = train(whole, "binary", ["--no-publish"])  # writes the longer table under the same name
    assert train_again.code == 0
    answer = cli("evaluate", "--run", run)
    assert answer.code == 0, answer.err
    assert {"logistic", "prior"} <= {row["model"] for row in answer.value["leaderboard"]}


# ---- 9 tuning


def suggest(trial) -> dict:
    return {"max_depth": trial.suggest_int("max_depth", 2, 4), "n_estimators": trial.suggest_int("n_estimators", 3, 6)}


def test_4_35_tuner(project):
    import optuna

    tuner = OptunaModelTuner(
        model_name="xgboost",
        dataset_config=split_files(),
        search_space_fn=suggest,
        n_trials=3,
        direction="maximize",
        metric_name="val_f1",
        settings=SearchSettings(n_splits=2),
    )
    found = tuner.tune()
    assert set(found) == {"best_params", "best_value", "best_trial"} and set(found["best_params"]) == {"max_depth", "n_estimators"}
    assert found["best_trial"] in (0, 1, 2) and found["best_value"] == tuner.best_value == max(
        t.value for t in found.study.trials if t.value is not None
    )
    assert tuner.objective(optuna.trial.FixedTrial(found["best_params"])) == pytest.approx(found["best_value"])
    test_from = pd.read_parquet(SPLITS_DIR / "scaled/test_scaled.parquet")["datetime"].min()
    assert pd.Timestamp(tuner.panel.times.max()) < test_from, "no trial sees a test row"
    with pytest.raises(ValueError, match="contradicts the metric"):
        OptunaModelTuner("xgboost", split_files(), suggest, direction="minimize", metric_name="val_f1")


def test_4_35_a_study_of_ones_own(project):
    import optuna

    tuner = OptunaModelTuner("lightgbm", split_files(), suggest_leaves, n_trials=2, settings=SearchSettings(n_splits=2))
    study = optuna.create_study(direction="maximize")
    study.optimize(tuner.objective, n_trials=2)
    assert 0 < study.best_value < 1 and set(study.best_params) == {"num_leaves", "n_estimators"}


def suggest_leaves(trial) -> dict:
    return {"num_leaves": trial.suggest_int("num_leaves", 4, 8), "n_estimators": trial.suggest_int("n_estimators", 3, 6)}


def test_4_35_search_spaces_of_every_model():
    spaces = search_spaces()
    assert {"boosting:xgboost", "boosting:lightgbm", "timeseries:nhits", "neural:lstm"} <= set(spaces) and all(
        len(spaces[k]) for k in ("boosting:xgboost", "timeseries:nhits")
    )


@pytest.mark.slow
def test_4_35_mlflow_is_told_of_the_trials(project, tracker):
    tuner = OptunaModelTuner("xgboost", split_files(), suggest, n_trials=2, use_mlflow=True, settings=SearchSettings(n_splits=2))
    tuner.tune()
    _, runs = tracker("optuna_xgboost")
    assert sorted(r.info.run_name for r in runs)[-2:] == ["trial 0", "trial 1"] and len(runs) == 3


@pytest.mark.slow
def test_4_35_the_callback_in_a_study_of_ones_own(project, tracker):
    import optuna

    tuner = OptunaModelTuner("xgboost", split_files(), suggest, settings=SearchSettings(n_splits=2))
    study = optuna.create_study(direction=tuner.direction, study_name=f"{tuner.model_name}_tuning")
    study.optimize(tuner.objective, n_trials=2, callbacks=[MLflowCallback(tracking_uri=os.environ["LINEUPIQ_TRACKING_URI"])])
    _, runs = tracker("default")
    assert {r.info.run_name: r.data.metrics["value"] for r in runs} == {f"trial {t.number}": t.value for t in study.trials}


# ---- 10 what is measured


def test_4_36_metrics_by_class_and_of_trading():
    from lineupiq.scoring.metrics import evaluate
    from lineupiq.scoring.trading import trading_scores

    rng = np.random.default_rng(0)
    y, p = rng.integers(-1, 2, 200), rng.dirichlet(np.ones(3), size=200)
    scores = evaluate("multiclass", y, None, p, [-1, 0, 1])
    assert (
        set(scores["per_class"]) == {"-1", "0", "1"}
        and {"precision", "recall", "f1"} <= set(scores["per_class"]["-1"])
        and 0 < scores["accuracy"] < 1
    )
    traded = trading_scores(
        np.tile([1.0, -1.0], 50),
        rng.normal(0.001, 0.01, 100),
        pd.date_range("2024-01-01", periods=100),
        periods_per_year=252,
        cost_entry=0.0005,
    )
    assert traded.max_drawdown <= 0 < traded.profit_factor and 0 < traded.win_rate < 1 and traded.sharpe is not None


def test_4_37_efficiency(project):
    "Seconds an epoch, epochs to the best, memory: in the report of every run."
    from lineupiq.training.fitting import ModelRun
    from lineupiq.training.runs import efficiency

    training = {"training_time": 6.0, "total_epochs": 3, "best_epoch": 1, "time_limited": False}
    told = efficiency(ModelRun("gru", pd.DataFrame(), [{"training": training}], None, {}, None, 7.0, 512.0))
    assert told == {"seconds_per_epoch": 2.0, "epochs_to_best": 2, "epochs": 3, "seconds": 7.0, "peak_mb": 512.0, "time_limited": False}


def test_4_38_every_boundary_refuses_early(project):
    for fails in (
        lambda: DatasetConfig("nowhere.parquet").validate(),
        lambda: registry().create("xgboost", {"max_dept": 3}, 5, ["a"]),
        lambda: quick_trainer("xgbost"),
        lambda: quick_trainer(dataset_config=None),
        lambda: OptunaModelTuner("xgboost", object(), suggest),
    ):
        with pytest.raises((ValueError, TypeError)):
            fails()


def test_4_39_comparison_report(project):
    "After the baselines: one table of all runs."
    from lineupiq.training.evaluation import compare_runs

    runs = [quick_trainer(m, c) for m, c in (("xgboost", {"num_boost_round": 5}), ("lightgbm", {"num_boost_round": 5}))]
    for r in runs:
        r.run_full_pipeline()
    compare_runs([r.run_dir for r in runs], Path("experiments/compared"))
    text = Path("experiments/compared/comparison.md").read_text()
    assert "xgboost" in text and "lightgbm" in text and "prior" in text


def test_4_39_settings_are_locked_in(project):
    "What a search found stays in a file, and only what is better by more than chance replaces it."
    from lineupiq.tuning.best_settings import best_key, load_best, update_best

    found = OptunaModelTuner(
        "xgboost", split_files(), suggest, n_trials=2, metric_name="log_loss", settings=SearchSettings(n_splits=2)
    ).tune()
    update_best(found, "tuning/best_hyperparameters.json")
    kept = json.loads(Path("tuning/best_hyperparameters.json").read_text())
    assert best_key(found.objective.panel, found.model) in str(kept) and callable(load_best)
    assert update_best(found, "tuning/best_hyperparameters.json")[0] is False


def test_4_41_lineage(cli, train):
    "The document's metadata.json: the store's journal and each version's metadata say data, settings, run and what was live when."
    from conftest import good_frame

    told = train(good_frame(240, "binary"), "binary").value["published"]
    events = cli("history", told["name"]).value["history"]
    assert events and told["version"] in json.dumps(events)

    about = next(Path(os.environ["LINEUPIQ_MODELS_DIR"]).rglob("model_v*_metadata.json"))
    assert {"version", "metrics", "data", "training", "run_id", "lineage"} <= set(json.loads(about.read_text()))


def test_4_35_the_callback_of_mlflow_takes_an_address(tmp_path):
    told = MLflowCallback("demo", "off")
    assert told.delivery is None and issubclass(MLflowCallback, Callback)
    with pytest.raises(ValueError, match="migrate-filestore"):
        MLflowCallback(tracking_uri="experiments/mlruns")


def test_documented_names_are_where_the_map_says():
    "Deleting one of them fails here by name."
    names = {
        "lineupiq.base": ("BaseModel", "ModelConfig", "PredictionOutput", "set_global_seeds"),
        "lineupiq.registry": ("ModelRegistry", "auto_register_models"),
        "lineupiq.boosting": ("XGBoostConfig", "XGBoostModel"),
        "lineupiq.data.dataset": ("DatasetConfig", "TimeSeriesDataset", "SPLITS_DIR", "make_loader"),
        "lineupiq.core.callbacks": ("CallbackList", "EarlyStoppingCallback", "CheckpointCallback"),
        "lineupiq.training.trainer": ("Trainer", "ModelEvaluator"),
        "lineupiq.tuning.search": ("OptunaModelTuner",),
        "lineupiq.tuning.spaces": ("search_spaces",),
        "lineupiq.tracking.tracker": ("MLflowCallback",),
    }
    import importlib

    for module, wanted in names.items():
        assert {n for n in wanted if not hasattr(importlib.import_module(module), n)} == set(), module
    for owner, methods in (
        (ModelRegistry, ("register", "create", "list_models", "get_metadata")),
        (TimeSeriesDataset, ("get_split", "get_feature_columns")),
        (Trainer, ("prepare_data", "build_model", "train", "evaluate", "run_full_pipeline")),
        (ModelEvaluator, ("evaluate",)),
        (OptunaModelTuner, ("objective", "tune")),
        (BaseModel, ("fit", "predict", "save", "load", "validate_inputs", "get_feature_importance")),
        (ModelConfig, ("validate",)),
        (DatasetConfig, ("validate",)),
        (PredictionOutput, ("to_dataframe",)),
    ):
        assert [m for m in methods if not callable(getattr(owner, m, None))] == [], owner
    assert {f.name for f in fields(ModelConfig)} >= {
        "model_name",
        "model_family",
        "horizon",
        "random_seed",
        "verbose",
        "early_stopping",
        "patience",
        "min_delta",
        "save_checkpoints",
        "checkpoint_dir",
        "extra_params",
    }
    assert ast.parse((ROOT / "tests/documents/test_004.py").read_text())
