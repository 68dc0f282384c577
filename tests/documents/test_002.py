"""Document 002, thirteen models and a unified trainer: every name, example, configuration and test of it, as written but for the imports.

Imports that differ: `from src.models import …` is `from lineupiq.models import …`; `scripts/train_model.py` is `lineupiq train`. Where a command names no data, the bars that a test made are given with --data and --path.
Models are stored in their library's own format in a folder, not in a pickle: `models/xgboost_MES_h20/model/model.ubj` stands for `models/xgboost_MES_h20.pkl`.
"""

import inspect
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from lineupiq.base import ConfigError
from lineupiq.core.config import model_params, read_yaml
from lineupiq.models import (
    BaseModel,
    ModelRegistry,
    ModelTrainer,
    PredictionOutput,
    TimeSeriesDataContainer,
    Trainer,
    TrainingMetrics,
    register,
)
from lineupiq.training.request import training_config

THIRTEEN = (
    "xgboost",
    "lightgbm",
    "catboost",
    "lstm",
    "gru",
    "tcn",
    "transformer",
    "random_forest",
    "logistic",
    "svm",
    "voting",
    "stacking",
    "blending",
)
EIGHT = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "best_epoch", "total_epochs", "early_stopped", "training_time")
SMALL = {"hidden_size": 4, "num_layers": 1, "max_epochs": 2, "batch_size": 128, "n_jobs": 1}  # a net that a test can wait for


def rows(n: int = 320, features: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    "Synthetic 2D data with labels -1, 0, 1 and little signal, as the field has it."
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features))
    return X, np.digitize(X[:, 0] + rng.normal(0, 3, n), [-1.3, 1.3]) - 1


def windows(n: int = 200, steps: int = 30, features: int = 3) -> tuple[np.ndarray, np.ndarray]:
    "Synthetic 3D data, a window of `steps` rows a label."
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, steps, features)).astype(np.float32), rng.integers(0, 3, n) - 1


@pytest.fixture
def container() -> TimeSeriesDataContainer:
    "The document's container, from its own lines."
    X, y = rows()
    X_train, X_val, X_test = X[:200], X[200:260], X[260:]
    y_train, y_val, y_test = y[:200], y[200:260], y[260:]
    w_train, w_val, w_test = np.random.default_rng(2).uniform(0.5, 1.5, 200), np.ones(60), np.ones(60)
    feature_names = ["rsi_14", "1h_rsi_14", "macd_histogram", "atr_14"]
    container = TimeSeriesDataContainer(
        X_train=X_train,  # Shape depends on model family
        y_train=y_train,  # (N_train,)
        X_val=X_val,
        y_val=y_val,
        X_test=X_test,
        y_test=y_test,
        w_train=w_train,  # Sample weights
        w_val=w_val,
        w_test=w_test,
        feature_names=feature_names,
        symbol="MES",
        horizon=20,
        seq_len=30,  # For sequence models
    )
    return container


# ---- Architecture: one interface


def test_base_model_is_the_documents_interface():
    wanted = {
        "fit": ["self", "X_train", "y_train", "X_val", "y_val", "sample_weights", "config"],
        "predict": ["self", "X"],
        "save": ["self", "path"],
    }
    for name, parameters in wanted.items():
        known = inspect.signature(getattr(BaseModel, name)).parameters
        assert [p for p in known if p in parameters] == parameters and getattr(getattr(BaseModel, name), "__isabstractmethod__", False)
    assert inspect.ismethod(BaseModel.load) and list(inspect.signature(BaseModel.load).parameters) == ["path"]


@pytest.mark.parametrize("name", THIRTEEN)
def test_all_13_models_implement_this_interface(name):
    cls = ModelRegistry.get_model(name)
    assert issubclass(cls, BaseModel) and not getattr(cls, "__abstractmethods__", ())
    families = {"boosting": THIRTEEN[:3], "neural": THIRTEEN[3:7], "classical": THIRTEEN[7:10], "ensemble": THIRTEEN[10:]}
    assert name in families[ModelRegistry.get_family(name)]


def test_training_metrics_and_prediction_output_have_the_documents_fields():
    assert set(EIGHT) <= {f.name for f in fields(TrainingMetrics)}
    out = PredictionOutput(predictions=np.array([1, -1]), probabilities=np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1]]))
    np.testing.assert_allclose(out.confidence, [0.7, 0.6])


# ---- Task 6.1: the registry


def test_registry_usage(container, tmp_path):
    # the document's own example: the name is this library's, and nobody takes it away
    with pytest.raises(ValueError, match="registered already"):

        @register(name="xgboost", family="boosting")
        class XGBoostModel(BaseModel):
            # Implementation
            def fit(self, X_train, y_train, X_val=None, y_val=None, sample_weights=None, config=None): ...
            def predict(self, X): ...
            def save(self, path): ...
            @classmethod
            def load(cls, path): ...

    @register(name="document_002", family="boosting")
    class Document002(ModelRegistry.get_model("logistic")):
        "Under a name of its own it is found everywhere."

    try:
        assert (
            ModelRegistry.get_model("document_002") is Document002
            and "boosting:document_002" in ModelRegistry.list_all()
            and ModelRegistry.get_family("document_002") == "boosting"
        )
        assert ModelRegistry.get_metadata("document_002")["class"] == "Document002" and "document_002" in {
            m["name"] for m in ModelRegistry.list_models("boosting")
        }
        assert isinstance(ModelRegistry.create("document_002", {"C": 0.1}, 5, ["a"]), Document002)
        with pytest.raises(ConfigError, match="registered already"):
            ModelRegistry.register("document_002", "boosting")(ModelRegistry.get_model("svm"))
        model, _ = ModelTrainer(output_dir=tmp_path).train_model("document_002", container, {"C": 0.1})
        assert isinstance(model, Document002)
    finally:
        from lineupiq.registry import REGISTRY

        REGISTRY._entries.pop("boosting:document_002")


def test_unknown_model_is_a_value_error():
    with pytest.raises(ValueError, match="not found"):
        ModelRegistry.get_model("xgbost")


def test_a_registry_of_ones_own_knows_nothing_of_the_others():
    own = ModelRegistry()
    own.register(name="xgboost", family="boosting")(type("Own", (ModelRegistry.get_model("logistic"),), {}))
    assert (
        own.list_all() == ["boosting:xgboost"]
        and own.get_model("xgboost").__name__ == "Own"
        and ModelRegistry.get_model("xgboost").__name__ == "XGBoostModel"
    )


# ---- Task 6.2: the trainer


def test_train_model_has_the_documents_signature():
    assert list(inspect.signature(ModelTrainer.train_model).parameters)[:5] == ["self", "model_name", "container", "config", "seq_len"]
    assert {"load_config", "prepare_data", "evaluate", "get_save_path", "save_report", "train_model"} <= set(dir(ModelTrainer))


def test_its_nine_steps_by_name(container, tmp_path):
    self, model_name = ModelTrainer(output_dir=tmp_path), "random_forest"
    model_class = ModelRegistry.get_model(model_name)
    config = self.load_config(model_name) | {"n_estimators": 10, "n_jobs": 1}
    family = ModelRegistry.get_family(model_name)
    box = self.prepare_data(family, container, None)
    model = model_class(**config)
    metrics = model.fit(
        X_train=box.X_train, y_train=box.y_train, X_val=box.X_val, y_val=box.y_val, sample_weights=box.w_train, config={"n_estimators": 10}
    )
    test_metrics = self.evaluate(model, box.X_test, box.y_test)
    assert all(metrics[k] is not None for k in EIGHT) and np.array(test_metrics["confusion_matrix"]).shape == (3, 3)
    with pytest.raises(RuntimeError, match="nothing was trained"):
        self.get_save_path(model_name, container.symbol, container.horizon)


def test_an_error_says_a_line_and_not_the_container(container, tmp_path):
    for call in (
        lambda t: t.train_model("xgbost", container, None, None),
        lambda t: t.train_model("xgboost", container.X_train, None, None),
        lambda t: t.train_model("xgboost", container, None, "thirty"),
        lambda t: t.train_model("xgboost", container, {"max_dept": 3}),
    ):
        with pytest.raises((ValueError, TypeError)) as told:
            call(ModelTrainer(output_dir=tmp_path))
        assert len(str(told.value)) < 1500 and "array(" not in str(told.value) and "TimeSeriesDataContainer(" not in str(told.value)


# ---- Tasks 6.3 to 6.5: the models


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost", "random_forest", "logistic", "svm"])
def test_accuracies_are_numbers_for_every_classifier(name):
    X, y = rows()
    cls = ModelRegistry.get_model(name)
    model = cls(
        **{k: v for k, v in {"num_boost_round": 20, "n_estimators": 20, "n_jobs": 1}.items() if k in cls.Config.__dataclass_fields__}
    )
    metrics = model.fit(X[:200], y[:200], X[200:260], y[200:260], sample_weights=np.ones(200))
    assert metrics.train_accuracy == pytest.approx((model.predict(X[:200]).predictions == y[:200]).mean())
    assert metrics.val_accuracy == pytest.approx((model.predict(X[200:260]).predictions == y[200:260]).mean())
    assert metrics.train_loss > 0 and metrics.val_loss > 0 and metrics.training_time > 0 and 0 <= metrics.best_epoch < metrics.total_epochs


def test_xgboost_stops_early_and_keeps_the_best_round():
    X, y = rows()
    metrics = ModelRegistry.get_model("xgboost")(num_boost_round=1000, early_stopping_rounds=50, learning_rate=0.3, n_jobs=1).fit(
        X[:200], y[:200], X[200:260], y[200:260]
    )
    assert (
        metrics.early_stopped and metrics.total_epochs == metrics.best_epoch + 51 and metrics.val_loss == min(metrics.history["val_loss"])
    )


@pytest.mark.parametrize("name", ["xgboost", "lstm", "random_forest"])
def test_sample_weights_reach_the_loss_row_by_row(name):
    """A weight is a row's, not a class's: rows of weight 0 are as if they were not there."""
    X, y = rows()
    cls = ModelRegistry.get_model(name)
    given = {
        k: v for k, v in (SMALL | {"num_boost_round": 10, "n_estimators": 10, "epochs": 2}).items() if k in cls.Config.__dataclass_fields__
    }
    w = np.r_[np.zeros(50), np.ones(150)]
    some, less = cls(**given), cls(**given)
    some.fit(X[:200], y[:200], sample_weights=w)
    less.fit(X[50:200], y[50:200], sample_weights=np.ones(150))
    np.testing.assert_allclose(some.predict(X[260:]).probabilities, less.predict(X[260:]).probabilities, rtol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "gru", "tcn", "transformer"])
def test_neural_models_take_windows_and_keep_the_best_weights(name):
    X, y = windows(120)
    cls = ModelRegistry.get_model(name)
    model = cls(**{k: v for k, v in SMALL.items() if k in cls.Config.__dataclass_fields__}, lr=0.01, patience=20)
    metrics = model.fit(X[:80], y[:80], X[80:100], y[80:100], sample_weights=np.ones(80))
    assert (
        model.config.learning_rate == 0.01
        and metrics.val_loss == pytest.approx(min(metrics.history["val_loss"]), rel=1e-6)
        and 0 <= metrics.val_accuracy <= 1
    )
    assert model.predict(X[100:]).probabilities.shape == (20, 3)


def test_random_forest_is_the_same_with_any_number_of_threads():
    """Trees are grown and added up in one order: bit for bit, without a tolerance."""
    X, y = rows(900)
    told = []
    for threads in (1, 2, 3, 8):
        model = ModelRegistry.get_model("random_forest")(n_estimators=60, n_jobs=threads)
        metrics = model.fit(X[:600], y[:600], X[600:700], y[600:700])
        told.append(
            (model.predict(X).probabilities, metrics.train_loss, metrics.val_loss, model.get_feature_importance()["importance"].to_numpy())
        )
    for other in told[1:]:
        for a, b in zip(told[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


# ---- Task 6.6: configurations

XGBOOST_YAML = """# config/models/xgboost.yaml
model_params:
  objective: "multi:softprob"
  num_class: 3
  max_depth: 6
  learning_rate: 0.1
  subsample: 0.8
  colsample_bytree: 0.8
  tree_method: "hist"  # Use "gpu_hist" if GPU available

training:
  num_boost_round: 1000
  early_stopping_rounds: 50
  verbose_eval: 100
"""
LSTM_YAML = """# config/models/lstm.yaml
model_params:
  hidden_size: 128
  num_layers: 2
  dropout: 0.2

training:
  max_epochs: 200
  batch_size: 256
  lr: 0.001
  patience: 20
  seq_len: 30
"""
TRAINING_YAML = """training:
  default_horizons: [5, 10, 15, 20]
  default_symbols: ["MES", "MGC"]

  boosting:
    early_stopping_rounds: 50
    num_boost_round: 1000

  neural:
    max_epochs: 200
    batch_size: 256
    patience: 20
    default_seq_lens:
      lstm: 30
      gru: 30
      tcn: 60
      transformer: 60

  classical:
    # No early stopping for classical models
    n_jobs: -1  # Use all cores

  gpu:
    auto_detect: true
    prefer_gpu: true
"""
# the sections that document 004 gives a model's file, which one reader takes as well
MODEL_YAML = """model:
  name: "xgboost"
  family: "boosting"

hyperparameters:
  n_estimators: 500
  max_depth: 8
  learning_rate: 0.05
  min_child_weight: 3
  gamma: 0.1

training:
  early_stopping_rounds: 20
  num_boost_round: 25
  random_seed: 42
  n_jobs: -1

dataset:
  sequence_length: 1  # No windowing for XGBoost (use current bar features only)
  exclude_neutrals: false
  include_symbols: null  # All symbols
"""
DEFAULT_YAML = """training:
  early_stopping: true
  patience: 10
  random_seed: 42
"""


@pytest.mark.parametrize("name, text", [("xgboost", XGBOOST_YAML), ("lstm", LSTM_YAML), ("xgboost", MODEL_YAML), ("lstm", DEFAULT_YAML)])
def test_the_documents_model_files_load(name, text, tmp_path):
    (tmp_path / f"{name}.yaml").write_text(text)
    params, dataset = model_params(read_yaml(tmp_path / f"{name}.yaml"))
    config = ModelRegistry.create(name, params, 20, ["a", "b"]).config
    wanted = {k.strip(): v for k, v in params.items() if k != "lr"}
    assert {k: getattr(config, k) for k in wanted} == wanted and (("lr" not in params) or config.learning_rate == params["lr"])


def test_the_documents_files_are_accepted_by_the_command(cli, tmp_path):
    for name, text in (("xgboost", XGBOOST_YAML), ("lstm", LSTM_YAML)):
        (tmp_path / f"{name}.yaml").write_text(text)
        assert cli("config", "check", tmp_path / f"{name}.yaml", "--model", name).code == 0


def test_training_yaml_is_the_documents(tmp_path):
    (tmp_path / "training.yaml").write_text(TRAINING_YAML)
    found = training_config(tmp_path / "training.yaml")
    assert found["default_horizons"] == [5, 10, 15, 20] and found["neural"]["default_seq_lens"] == {
        "lstm": 30,
        "gru": 30,
        "tcn": 60,
        "transformer": 60,
    }
    assert found == training_config()  # what ships


def test_trainer_honours_a_files_dataset(container, tmp_path):
    (tmp_path / "gru.yaml").write_text(
        "model: {name: gru}\nhyperparameters: {hidden_size: 4, num_layers: 1}\ntraining: {lr: 0.01, max_epochs: 1, batch_size: "
        "128}\ndataset: {sequence_length: 5, exclude_neutrals: true}\n"
    )
    trainer = Trainer("gru", tmp_path / "gru.yaml", container, output_dir=tmp_path / "runs")
    trainer.run_full_pipeline()
    assert trainer.model.length == 5 and trainer.model.codec.classes.tolist() == [-1, 1] and trainer.model.config.learning_rate == 0.01
    with pytest.raises(ConfigError, match="is for split files"):
        (tmp_path / "memmap.yaml").write_text("hyperparameters: {C: 0.1}\ndataset: {use_memmap: true}\n")
        Trainer("logistic", tmp_path / "memmap.yaml", container, output_dir=tmp_path / "runs")


# ---- Testing requirements


def test_xgboost_fit_predict():
    """Test XGBoost training and prediction."""
    X, y = rows()
    metrics = (model := ModelRegistry.get_model("xgboost")(num_boost_round=20, n_jobs=1)).fit(X[:200], y[:200], X[200:260], y[200:260])
    assert isinstance(metrics, TrainingMetrics) and all(metrics[k] is not None for k in EIGHT)
    out = model.predict(X[260:])
    assert out.predictions.shape == (60,) and set(out.predictions) <= {-1, 0, 1} and out.probabilities.shape == (60, 3)


def test_lstm_fit_predict():
    """Test LSTM training and prediction."""
    X, y = windows(200, steps=30)
    metrics = (model := ModelRegistry.get_model("lstm")(**SMALL)).fit(X[:120], y[:120], X[120:160], y[120:160])
    assert model.length == 30 and all(metrics[k] is not None for k in EIGHT) and metrics.train_loss > 0
    out = model.predict(X[160:])
    assert out.predictions.shape == (40,) and out.probabilities.shape == (40, 3) and np.allclose(out.probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("name", ["xgboost", "lstm"])
def test_model_save_load(name, tmp_path):
    """Test model persistence."""
    X, y = rows() if name == "xgboost" else windows()
    given = {"num_boost_round": 10, "n_jobs": 1} if name == "xgboost" else SMALL
    model = ModelRegistry.get_model(name)(**given)
    model.fit(X[:120], y[:120], X[120:160], y[120:160])
    model.save(tmp_path / "model")
    loaded = ModelRegistry.get_model(name).load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X[160:]).probabilities, model.predict(X[160:]).probabilities)


def test_end_to_end_training(container, tmp_path):
    """Test full training pipeline."""
    trainer = ModelTrainer(output_dir=tmp_path / "experiments" / "runs")
    model, metrics = trainer.train_model("xgboost", container, {"num_boost_round": 30, "n_jobs": 1}, None)
    [run] = (tmp_path / "experiments" / "runs").iterdir()
    saved = trainer.get_save_path("xgboost", "MES", 20)
    assert saved == run / "models" / "xgboost_MES_h20" and (saved / "model" / "model.ubj").is_file()
    report = json.loads((run / "reports" / "xgboost_report.json").read_text())
    assert (report["model_name"], report["symbol"], report["horizon"]) == ("xgboost", "MES", 20)
    assert tuple(report["training_metrics"]) == EIGHT and None not in report["training_metrics"].values()
    assert report["training_metrics"]["best_epoch"] == metrics.best_epoch and report["training_metrics"]["val_accuracy"] == pytest.approx(
        (model.predict(container.X_val).predictions == container.y_val).mean()
    )
    scores = report["test_metrics"]
    assert {"accuracy", "precision", "recall", "f1", "confusion_matrix"} <= set(scores) and np.array(scores["confusion_matrix"]).sum() == 60
    assert scores["accuracy"] == pytest.approx((model.predict(container.X_test).predictions == container.y_test).mean())
    assert set(report["feature_importance"]) == set(container.feature_names) and sum(
        report["feature_importance"].values()
    ) == pytest.approx(1)
    assert (run / "feature_names.txt").read_text().split() == container.feature_names and (run / "config.yaml").is_file()
    assert (
        trainer.save_report("xgboost", metrics, trainer.evaluate(model, container.X_test, container.y_test), saved)
        == run / "reports" / "xgboost_report.json"
    )


def test_the_trainers_scores_are_those_of_every_run(container, tmp_path):
    """The rules on the same rows, intervals, the look in the ledger, the alarm."""
    container = replace(container, horizon=1)  # labels over 20 rows leave too few blocks for an interval in 60 of them
    first, second = (
        Trainer("random_forest", {"n_estimators": 10, "n_jobs": 1}, container, output_dir=tmp_path / "runs").run_full_pipeline()[
            "evaluation"
        ]
        for _ in range(2)
    )
    board = {r["model"]: r for r in first["leaderboard"]}
    assert (
        set(board) == {"random_forest", "prior", "last_value", "ewma"}
        and {r["n"] for r in board.values()} == {60}
        and board["random_forest"]["low"] < board["random_forest"]["high"]
    )
    assert first["looks"]["before"] == [] and "second look at this test window" in second["looks"]["sentence"]
    leak = replace(
        container,
        **{
            f"X_{s}": np.column_stack(
                [
                    getattr(container, f"X_{s}")[:, :3],
                    getattr(container, f"y_{s}") + np.random.default_rng(3).normal(0, 0.4, len(getattr(container, f"y_{s}"))),
                ]
            )
            for s in ("train", "val", "test")
        },
    )
    with pytest.raises(ValueError, match="too good to be true: logistic"):
        Trainer("logistic", {"C": 1.0}, leak, output_dir=tmp_path / "leak").run_full_pipeline()


def test_seq_len_takes_the_newest_rows_of_each_window(tmp_path):
    X, y = windows(200, steps=30)
    box = TimeSeriesDataContainer(X[:120], y[:120], X[120:160], y[120:160], X[160:], y[160:], symbol="MES", horizon=20, seq_len=30)
    long, _ = ModelTrainer(output_dir=tmp_path).train_model("lstm", box, SMALL, 30)
    short, _ = ModelTrainer(output_dir=tmp_path).train_model("lstm", box, SMALL, 10)
    assert (long.length, short.length) == (30, 10)


# ---- Command line


@pytest.fixture
def mes(tmp_path) -> Path:
    from lineupiq.data.simulate import noise_bars

    noise_bars(n=1500, symbols=1, seed=4).assign(symbol="MES").to_parquet(tmp_path / "MES.parquet")
    return tmp_path / "MES.parquet"


def test_command_lines(cli, mes, tmp_path):
    (tmp_path / "lstm_custom.yaml").write_text(
        "model_params: {hidden_size: 4, num_layers: 1}\ntraining: {max_epochs: 1, lr: 0.01, batch_size: 512}\n"
    )
    where = ["--data", "bars", "--path", mes]
    one = cli("train", "--model", "xgboost", "--horizon", "20", "--symbol", "MES", *where)
    assert one.code == 0, one.err
    own = cli("train", "--model", "lstm", "--horizon", "20", "--seq-len", "6", "--config", tmp_path / "lstm_custom.yaml", *where)
    assert own.code == 0, own.err
    listed = cli("train", "--list-models")
    assert listed.code == 0 and {m["name"] for m in listed.value["models"]} >= set(THIRTEEN)
    assert (Path(one.value["run_dir"]) / "models" / "xgboost_MES_h20" / "bundle.json").is_file() and (
        Path(one.value["run_dir"]) / "reports" / "xgboost_report.json"
    ).is_file()


def test_all_is_every_model_that_fits(tmp_path):
    from lineupiq.training.setup import choose_models

    names, _ = choose_models("all", "multiclass")
    assert set(THIRTEEN) <= set(names)


# ---- Dependencies


@pytest.mark.parametrize(
    "name, least",
    [
        ("xgboost", (1, 7)),
        ("lightgbm", (3, 3)),
        ("catboost", (1, 1)),
        ("torch", (2, 0)),
        ("scikit-learn", (1, 2)),
        ("numpy", (1, 24)),
        ("pyyaml", (6, 0)),
        ("joblib", (1, 2)),
    ],
)
def test_versions(name, least):
    import importlib.metadata
    import re

    assert tuple(int(p) for p in re.findall(r"\d+", importlib.metadata.version(name))[:2]) >= least
