"""Sealed versions whose weights load, bear the right digest, and are those of another model: predicting says which file it is, and is no
bug."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import good_frame
from safetensors.numpy import load_file, save_file

from lineupiq.base import IntegrityError, StoreError
from lineupiq.core.config import read_yaml
from lineupiq.core.files import write_manifest
from lineupiq.data.making import load_panel_folder, save_panel
from lineupiq.registry import load_model, registry
from lineupiq.scoring.calibration import CALIBRATION_METHODS, ProbabilityMap
from lineupiq.store.golden import golden_panel
from lineupiq.store.layout import Store
from lineupiq.store.versions import publish
from lineupiq.training.fitting import Bundle, load_bundle, save_bundle
from lineupiq.workflows.predict import run_panel

NAME = "shop_yards"
QUICK = {
    "random_forest": {"n_estimators": 3},
    "xgboost": {"n_estimators": 3},
    "lightgbm": {"n_estimators": 3},
    "catboost": {"n_estimators": 3},
    "lstm": {"epochs": 1, "hidden_size": 4, "num_layers": 1, "seq_len": 4},
    "voting": {"base_models": ["ridge", "random_forest"], "base_params": {"random_forest": {"n_estimators": 3}}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Finished runs of a quick model, by task, in a process of their own settings: (run folder, its bundle)."
    from dataclasses import replace as changed

    from lineupiq.cli.program import exit_code
    from lineupiq.workflows import train as commands

    made, patch = {}, pytest.MonkeyPatch()
    settings = commands.run_settings
    patch.setattr(commands, "run_settings", lambda *asked: changed(settings(*asked), isolate=False, draws=100))
    for task, model in (("regression", "ridge"), ("binary", "logistic")):
        folder = tmp_path_factory.mktemp(task)
        patch.setenv("LINEUPIQ_MODELS_DIR", str(folder / "models"))
        frame = good_frame(240, task)
        frame["y"] = frame["y"].astype(object).where(frame.index < len(frame) - 8, None)
        frame.to_csv(folder / "rows.csv", index=False)
        (folder / "table.yaml").write_text(
            f"path: rows.csv\ntask: {task}\ntime: day\nsymbol: shop\nlabel: y\nupcoming: true\nfeatures: {{x1: numeric, x2: numeric}}\n"
        )
        assert exit_code(["train", "--data", str(folder / "table.yaml"), "--model", model, "--output", str(folder / "out")]) == 0
        [run] = (folder / "out").iterdir()
        made[task] = run, load_bundle(next(p for p in (run / "models").iterdir() if p.name.startswith(model)))
        save_panel(golden_panel(run_panel(run), np.arange(200, 220), 8), run / "golden")
    yield made
    patch.undo()


def fitted(name: str, task: str, width: int):
    "A model on so many columns of noise."
    rng = np.random.default_rng(width)
    frame = pd.DataFrame(rng.normal(size=(120, width)), columns=[f"x{k}" for k in range(1, width + 1)])
    score = frame["x1"].to_numpy() + rng.normal(size=120)
    y = score if task == "regression" else (score > 0).astype(int)
    cls = registry().get_model(name)
    model = cls(QUICK.get(name), task=task)
    if cls.input_kind == "window":
        model = cls(QUICK.get(name), task=task, feature_columns=list(frame))
        X = np.lib.stride_tricks.sliding_window_view(frame.to_numpy(), 4, axis=0).transpose(0, 2, 1).copy()
        model.fit(X[:90], y[3:93], X[90:], y[93:])
    else:
        model.fit(frame[:90], y[:90], frame[90:], y[90:])
    return model


def reseal(folder: Path) -> None:
    "Manifests as if these bytes had always been there, the inner folders first."
    for path in sorted(folder.rglob("manifest.json"), key=lambda p: -len(p.parts)):
        path.unlink()
        write_manifest(path.parent)


def crossed(name: str, task: str, runs, tmp_path: Path) -> Path:
    "A sealed bundle that describes a model of two columns and holds the weights of one of four."
    run, bundle = runs[task]
    seq = {"seq_len": 4} if registry().get_model(name).input_kind == "window" else {}
    bad, other = (
        save_bundle(Bundle(fitted(name, task, 2), bundle.features, bundle.levels, {**bundle.about, **seq}), tmp_path / "bad"),
        tmp_path / "other",
    )
    fitted(name, task, 4).save(other)
    for path in other.rglob("*"):
        if path.is_file() and path.name not in ("model.json", "manifest.json"):
            shutil.copy(path, bad / "model" / path.relative_to(other))
    reseal(bad)
    return bad


def told(bundle: Path, run: Path, cli, monkeypatch, store: Store) -> None:
    "Every command that loads or predicts says 4 with the path."
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(store.root))
    version = publish(
        store,
        NAME,
        bundle,
        {"task": "regression", "metrics": {"model": "x"}, "data": {"source": read_yaml(run / "config.yaml")["data"]}},
        under="bundle",
        extra=lambda folder, v: answered(folder, run),
    )
    for argv in (
        ["predict", "--model", f"{NAME}:{version}"],
        ["predict", "--model", store.folder(NAME, version) / "bundle", "--all-later"],
        ["doctor", NAME],
        ["promote", NAME, version, "--force", "--reason", "x"],
        ["validate", NAME, "--version", version],
        ["verify", NAME],
    ):
        answer = cli(*argv)
        assert answer.code == (0 if argv[0] == "verify" else 4), (argv, answer.code, answer.err)
        assert "Traceback" not in answer.err and "a bug" not in answer.err, (argv, answer.err)
        if argv[0] in ("predict", "promote", "validate"):
            assert str(store.root) in answer.err and answer.error["type"] == "IntegrityError", (argv, answer.err)
    assert store.linked(NAME) is None


def answered(folder: Path, run: Path) -> None:
    "Golden rows, and answers to them that somebody wrote."
    shutil.copytree(run / "golden", folder / "golden" / "panel")
    pd.DataFrame({"prediction": np.zeros(len(load_panel_folder(run / "golden")))}).to_parquet(
        folder / "golden" / "predictions.parquet", index=False
    )


@pytest.mark.parametrize(
    "name, task",
    [
        ("ridge", "regression"),
        ("logistic", "binary"),
        ("random_forest", "regression"),
        ("xgboost", "regression"),
        ("lightgbm", "binary"),
        ("catboost", "regression"),
        ("lstm", "regression"),
        ("voting", "regression"),
    ],
)
def test_weights_of_another_width(name, task, runs, tmp_path, cli, monkeypatch):
    told(crossed(name, task, runs, tmp_path), runs[task][0], cli, monkeypatch, Store(tmp_path / "models"))


@pytest.mark.parametrize("change", ["wide", "flat", "deep", "scalar"])
def test_linear_arrays_of_other_shapes(change, runs, tmp_path, cli, monkeypatch):
    run, bundle = runs["regression"]
    bad = save_bundle(bundle, tmp_path / "bad")
    path = bad / "model" / "linear.safetensors"
    arrays = load_file(path)
    how = {
        "wide": lambda a: np.concatenate([a, a]),
        "flat": lambda a: a.reshape(-1)[:1],
        "deep": lambda a: np.stack([a, a]),
        "scalar": lambda a: np.array(1.0),
    }[change]
    from safetensors import safe_open

    with safe_open(path, "numpy") as f:
        about = f.metadata()
    save_file({k: np.ascontiguousarray(how(v)) for k, v in arrays.items()}, path, about)
    reseal(bad)
    told(bad, run, cli, monkeypatch, Store(tmp_path / "models"))


def test_a_map_of_other_classes(runs, tmp_path, cli, monkeypatch):
    run, bundle = runs["binary"]
    bad = save_bundle(replace(bundle, calibration=ProbabilityMap()), tmp_path / "bad")
    record = json.loads((bad / "bundle.json").read_text())
    for method in sorted(CALIBRATION_METHODS):
        for numbers in (
            {},
            {"a": "x"},
            {k: [[1.0, 2.0, 3.0]] * 3 for k in ("weights", "scale", "bias", "a", "b", "x", "y", "temperature")},
        ):
            (bad / "bundle.json").write_text(json.dumps({**record, "calibration": {"method": method, "numbers": numbers, "n": 5}}))
            reseal(bad)
            try:
                again = load_bundle(bad)
                assert again.read_from == bad
            except StoreError:
                pass
            answer = cli("predict", "--model", bad, "--path", run.parents[1] / "rows.csv")
            assert answer.code in (0, 2, 4) and "a bug" not in answer.err, (method, numbers, answer.err)
            store = Store(tmp_path / f"models_{method}")
            monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(store.root))
            publish(store, NAME, bad, {"data": {"source": read_yaml(run / "config.yaml")["data"]}}, under="bundle")
            answer = cli("predict", "--model", f"{NAME}@staging")
            assert answer.code == (0 if method == "identity" else 4), (method, numbers, answer.code, answer.err, answer.out)


ODD_ELO = [
    {"constants": {}, "ratings": {}},
    {"constants": {"k_factor": "x", "home_advantage": 1.0, "mean_reversion": 0.1}, "ratings": {}},
    {"constants": [], "ratings": {}},
    {"constants": {"scale": "wide"}, "ratings": {}},
    {"constants": {"curve": [1.0], "k_factor": 20.0, "home_advantage": 1.0, "mean_reversion": 0.1}, "ratings": 7},
    {"constants": {"scale": 400.0, "home_advantage": None}, "ratings": {}},
    {"constants": None, "ratings": None},
    {},
    [],
    7,
]


@pytest.mark.parametrize("odd", range(len(ODD_ELO)))
def test_elo(odd, tmp_path):
    rng, teams = np.random.default_rng(0), [f"T{k}" for k in range(6)]
    pairs = [rng.choice(teams, 2, replace=False) for _ in range(80)]
    when = pd.date_range("2021-01-01", periods=80)
    games = pd.DataFrame(
        {
            "time": when,
            "known": when + pd.Timedelta("3h"),
            "season": 2021,
            "neutral": False,
            "home": [a for a, _ in pairs],
            "away": [b for _, b in pairs],
            "home_score": rng.integers(0, 40, 80) + 0.5,
            "away_score": rng.integers(0, 40, 80),
        }
    )
    model = registry().get_model("elo")(task="binary")
    model.fit(games, (games["home_score"] > games["away_score"]).astype(int).to_numpy())
    model.save(tmp_path / "elo")
    whole = load_model(tmp_path / "elo").predict(games)
    assert len(whole) == 80
    (tmp_path / "elo" / "elo.json").write_text(json.dumps(ODD_ELO[odd]))
    reseal(tmp_path / "elo")
    with pytest.raises(IntegrityError) as err:
        load_model(tmp_path / "elo").predict(games)
    assert err.value.exit_code == 4 and str(tmp_path) in str(err.value)


ODD_STATE = [
    {"input_columns": 7},
    {"input_columns": None},
    {"feature_columns": "x1"},
    {"feature_columns": [1, 2]},
    {"width": "wide"},
    {"positional": 3},
    {"constant_columns": None},
    {"classes": [[1]]},
    {"classes": ["a", "b", "c"]},
    {"classes": 7},
    {"task": "regression"},
    {"metrics": 7},
    {"config": []},
]


@pytest.mark.parametrize("odd", range(len(ODD_STATE)))
def test_odd_models(odd, runs, tmp_path, cli, monkeypatch):
    run, bundle = runs["binary"]
    bad = save_bundle(bundle, tmp_path / "bad")
    path = bad / "model" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **ODD_STATE[odd]}))
    reseal(bad)
    told(bad, run, cli, monkeypatch, Store(tmp_path / "models"))
