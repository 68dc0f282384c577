"""From data to a believable number, through the classes and through the command."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lineupiq.core.files import load_json, verify_manifest
from lineupiq.data.windows import TimeSeriesDataContainer
from lineupiq.models.trainer import ModelTrainer
from lineupiq.registry import load_model, registry
from lineupiq.training.trainer import Trainer

ENV = {**os.environ, "LINEUPIQ_NUM_THREADS": "1"}


def bars_like(n=400, features=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features))
    return X, np.digitize(X[:, 0] + rng.normal(0, 0.8, n), [-0.5, 0.5]) - 1


@pytest.fixture
def container():
    X, y = bars_like()
    w = np.random.default_rng(1).uniform(0.5, 1.5, 250)
    return TimeSeriesDataContainer(
        X[:250],
        y[:250],
        X[250:325],
        y[250:325],
        X[325:],
        y[325:],
        w,
        feature_names=["rsi_14", "atr", "macd", "gap"],
        symbol="MES",
        horizon=20,
    )


def lineupiq(*args, **kw):
    return subprocess.run([sys.executable, "-m", "lineupiq", *map(str, args)], capture_output=True, text=True, env=ENV, timeout=300, **kw)


def test_xgboost_fit_predict():
    X, y = bars_like()
    model = registry().create("xgboost", {"num_boost_round": 30, "n_jobs": 1}, 20, ["a", "b", "c", "d"])
    metrics = model.fit(X[:250], y[:250], X[250:325], y[250:325], sample_weights=np.ones(250))
    assert metrics.val_loss < 1.1 and 0 <= metrics.best_epoch < metrics.total_epochs <= 30 and metrics.training_time > 0
    out = model.predict(X[325:])
    assert out.predictions.shape == (75,) and set(out.predictions) <= {-1, 0, 1} and out.probabilities.shape == (75, 3)
    np.testing.assert_allclose(out.confidence, out.probabilities.max(axis=1))


@pytest.mark.parametrize("name", ["xgboost", "lightgbm", "catboost", "random_forest", "logistic", "svm", "prior"])
def test_model_save_load(name, tmp_path):
    X, y = bars_like()
    cls = registry().get_model(name)
    config = {k: v for k, v in {"num_boost_round": 20, "n_estimators": 20, "n_jobs": 1}.items() if k in cls.Config.__dataclass_fields__}
    model = registry().create(name, config, 5, list("abcd"))
    model.fit(X[:300], y[:300], X[300:], y[300:])
    model.save(tmp_path / "m")
    verify_manifest(tmp_path / "m")
    back = load_model(tmp_path / "m")
    np.testing.assert_array_equal(back.predict(X).probabilities, model.predict(X).probabilities)
    assert not [p for p in (tmp_path / "m").rglob("*") if p.suffix in (".pkl", ".joblib", ".pickle")]


def test_end_to_end_training(container, tmp_path):
    model, metrics = ModelTrainer(output_dir=tmp_path).train_model("xgboost", container, config={"num_boost_round": 30, "n_jobs": 1})
    [run] = [p for p in tmp_path.iterdir()]
    assert run.name.startswith("xgboost_2") and load_json(run / "status.json")["status"] == "done"
    assert (run / "models" / "xgboost_MES_h20" / "model" / "model.ubj").exists()
    report = load_json(run / "reports" / "xgboost_report.json")
    assert report["symbol"] == "MES" and report["horizon"] == 20 and len(report["training_metrics"]) == 8
    assert np.array(report["test_metrics"]["confusion_matrix"]).sum() == 75
    assert set(report["feature_importance"]) == {"rsi_14", "atr", "macd", "gap"}
    assert (run / "feature_names.txt").read_text().split() == ["rsi_14", "atr", "macd", "gap"]
    every = pd.read_parquet(run / "predictions" / "test_predictions.parquet")
    assert set(every["model"]) == {"xgboost", "prior", "last_value", "ewma"}
    frame = every[every["model"] == "xgboost"]
    assert {"prob_short", "prob_neutral", "prob_long", "prediction"} <= set(frame) and len(frame) == 75


def test_sample_weights_reach_the_fit_and_not_the_score(container, tmp_path):
    heavy = np.where(container.y_train == 1, 20.0, 1.0)
    from dataclasses import replace

    plain = Trainer(
        "logistic", {"C": 1.0}, replace(container, w_train=None), output_dir=tmp_path, acknowledged=["logistic"]
    ).run_full_pipeline()
    skewed = Trainer(
        "logistic", {"C": 1.0}, replace(container, w_train=heavy), output_dir=tmp_path, acknowledged=["logistic"]
    ).run_full_pipeline()
    assert skewed["evaluation"]["test_tables"]["confusion_matrix"] != plain["evaluation"]["test_tables"]["confusion_matrix"]
    scored = Trainer(
        "logistic",
        {"C": 1.0},
        replace(container, w_train=None, w_test=np.linspace(0.1, 9, 75)),
        output_dir=tmp_path,
        acknowledged=["logistic"],
    ).run_full_pipeline()
    assert scored["evaluation"]["test_metrics"]["accuracy"] == plain["evaluation"]["test_metrics"]["accuracy"]


def test_split_files_train(tmp_path):
    """Three parquet files, windows of history, a tabular model on the newest row."""
    from lineupiq.data.dataset import DatasetConfig

    X, y = bars_like(600)
    table = pd.DataFrame(X, columns=list("abcd")).assign(datetime=pd.date_range("2021", periods=600, freq="h"), symbol="MES", label_h5=y)
    for split, part in {"train": table[:400], "val": table[400:500], "test": table[500:]}.items():
        part.assign(split=split).to_parquet(tmp_path / f"{split}.parquet")
    config = DatasetConfig(
        *(tmp_path / f"{s}.parquet" for s in ("train", "val", "test")), sequence_length=8, horizon=5, feature_columns=list("abcd")
    )
    # bars_like plants a signal
    result = Trainer(
        "random_forest", {"n_estimators": 20, "n_jobs": 1}, config, output_dir=tmp_path / "runs", acknowledged=["random_forest"]
    ).run_full_pipeline()
    assert result["evaluation"]["test_metrics"]["n"] == 100 and result["evaluation"]["test_metrics"]["accuracy"] > 0.4


def write_table(folder, frame, features, task="regression"):
    frame.to_csv(folder / "t.csv", index=False)
    text = f"path: t.csv\ntask: {task}\ntime: day\nlabel: y\nlabel_lag: 1D\nfeatures: [{', '.join(features)}]\n"
    (folder / "t.yaml").write_text(text)
    return folder / "t.yaml"


def noisy(n=500, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"day": pd.date_range("2019", periods=n).astype(str), "x": rng.normal(size=n), "z": rng.normal(size=n)})
    return frame.assign(y=0.3 * frame["x"] + rng.normal(size=n))


def test_command_trains_predicts_and_evaluates(tmp_path):
    frame = noisy()
    table = write_table(tmp_path, frame, ["x", "z"])
    done = lineupiq("train", "--data", table, "--model", "ridge", "--output", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert set(out["leaderboard"][0]) >= {
        "model",
        "metric",
        "score",
        "low",
        "high",
        "skill",
        "skill_low",
        "skill_high",
        "n",
        "seconds",
        "peak_mb",
    }
    assert {r["model"] for r in out["leaderboard"]} == {"ridge", "prior", "last_value", "ewma"} and len(
        {r["n"] for r in out["leaderboard"]}
    ) == 1
    assert all(json.loads(line) for line in done.stderr.splitlines())  # progress off a terminal: one object per line
    later = pd.concat([frame, noisy(60, 1).assign(day=pd.date_range("2020-06-01", periods=60).astype(str))])
    write_table(tmp_path, later, ["x", "z"])
    score = lineupiq("evaluate", "--run", out["run_dir"], "--model", "ridge", "--json")
    assert score.returncode == 0, score.stderr
    assert {r["n"] for r in json.loads(score.stdout)["leaderboard"]} == {60}
    new = lineupiq("predict", "--model", f"{out['run_dir']}:ridge", "--all-later", "--output", tmp_path / "p.csv")
    assert new.returncode == 0 and len(pd.read_csv(tmp_path / "p.csv")) >= 60, new.stderr


def test_same_command_twice_gives_the_same_predictions(tmp_path):
    table = write_table(tmp_path, noisy(), ["x", "z"])
    runs = [
        json.loads(
            lineupiq(
                "train", "--data", table, "--model", "lightgbm,xgboost,catboost,random_forest,svm", "--output", tmp_path / "runs", "--json"
            ).stdout
        )
        for _ in range(2)
    ]
    a, b = (pd.read_parquet(f"{r['run_dir']}/predictions/test_predictions.parquet") for r in runs)
    pd.testing.assert_frame_equal(a, b)


def test_unshifted_rolling_mean_trips_the_alarm(tmp_path):
    """The classic leak, planted by the simulator: the run stops with exit 10, and only by name it goes on."""
    from lineupiq.data.simulate import league

    stats = league(seasons=3, seed=1, leak="unshifted_mean").player_stats
    rows = stats[stats["position"] == "WR"].sort_values(["season", "week"]).reset_index(drop=True)
    day = pd.to_datetime(rows["season"].astype(str) + "-09-01") + pd.to_timedelta(7 * rows["week"], unit="D")
    rows.assign(day=day.astype(str)).to_csv(tmp_path / "w.csv", index=False)
    text = (
        "path: w.csv\ntask: regression\ntime: day\nsymbol: player_id\nlabel: receiving_yards\nlabel_lag: 4h\nfeatures: "
        "[receiving_yards_mean_3]\n"
    )
    (tmp_path / "w.yaml").write_text(text)
    leak = lineupiq("train", "--data", tmp_path / "w.yaml", "--model", "ridge", "--output", tmp_path / "runs", "--json")
    assert leak.returncode == 10, leak.stderr
    assert "too good to be true: ridge" in leak.stderr and json.loads(leak.stdout)["exit_code"] == 10
    vouched = lineupiq(
        "train", "--data", tmp_path / "w.yaml", "--model", "ridge", "--output", tmp_path / "runs", "--json", "--acknowledge", "ridge"
    )
    assert vouched.returncode == 0 and json.loads(vouched.stdout)["findings"][0]["verdict"] == "warn"


@pytest.mark.parametrize("seed", range(2))
def test_noise_has_no_skill(seed, tmp_path):
    done = lineupiq(
        "train", "--data", "noise-bars", "--horizon", "20", "--model", "logistic", "--seed", seed, "--output", tmp_path, "--json"
    )
    assert done.returncode == 0, done.stderr
    for row in json.loads(done.stdout)["leaderboard"]:
        assert row["skill_low"] is None or row["skill_low"] <= 0.005, row
