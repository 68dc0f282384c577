"""Bad data: every row of the fault table D1–D22, through the functions and through the command."""

import json
import logging
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import good_frame, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineupiq.base import ConfigError, DataError, LeakError
from lineupiq.checks.findings import check_splitter
from lineupiq.core import columns
from lineupiq.core.columns import check_balance, check_columns, check_labels
from lineupiq.core.readers import read_table
from lineupiq.cv import PurgedKFold, WalkForward, WalkForwardBlocks, holdout
from lineupiq.data.encoder import Encoder
from lineupiq.data.panel import Feature, clean_time
from lineupiq.data.making import Cleaning, make_panel
from lineupiq.data.tables import table_panel
from lineupiq.fit.inputs import ModelSpec
from lineupiq.fit.out_of_fold import out_of_fold
from lineupiq.fit.settings import FitSettings
from lineupiq.registry import registry
from lineupiq.scoring.leaderboard import forecast_of
from lineupiq.scoring.metrics import default_metric
from lineupiq.training.fitting import SplitPlan, plan_folds
from lineupiq.training.runs import TrainSettings, train_models

QUICK = {
    "xgboost": {"n_estimators": 3},
    "lightgbm": {"n_estimators": 3, "min_child_samples": 2},
    "catboost": {"n_estimators": 3},
    "random_forest": {"n_estimators": 5},
}
FAMILIES = ("xgboost", "lightgbm", "catboost", "random_forest", "logistic", "svm", "ridge")
NAMES = ["x1", "x2"]


def rows(n=80, seed=0):
    "Numbers with names, and labels for a task."
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=NAMES)
    return X, X["x1"].to_numpy() + rng.normal(size=n)


def fitted(name, X=None, y=None, **config):
    "A quick model of any family."
    cls = registry().get_model(name)
    task = "regression" if "regression" in cls.tasks else "binary"
    X0, y0 = rows()
    X, y = X0 if X is None else X, y0 if y is None else y
    model = cls({**QUICK.get(name, {}), **config}, task=task)
    model.fit(X, y if task == "regression" else (y > 0).astype(int))
    return model


def panel_of(frame, task="regression", features=("x1", "x2"), **how):
    "The frame as a panel."
    return make_panel(
        frame.rename(columns={"day": "time", "shop": "symbol", "y": "label"}), list(features), task=task, cleaning=Cleaning(**how)
    )


def spoil(frame, column, row, value):
    "The frame with one cell changed."
    frame = frame.copy()
    frame[column] = frame[column].astype(object)
    frame.loc[row, column] = value
    return frame.infer_objects()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    "Two finished runs, and a folder that tests copy: a regression with a category, and three classes."
    root = tmp_path_factory.mktemp("shop")
    for task, model in (("regression", "ridge"), ("multiclass", "logistic")):
        folder = root / task
        folder.mkdir()
        good_frame(task=task).to_csv(folder / "rows.csv", index=False)
        about = {
            "path": "rows.csv",
            "task": task,
            "time": "day",
            "symbol": "shop",
            "label": "y",
            "features": {"x1": "numeric", "x2": "numeric", "place": "category"},
        }
        (folder / "table.yaml").write_text(yaml.safe_dump(about))
        how = TrainSettings(output=folder / "runs", isolate=False, draws=100, config={"data": str(folder / "table.yaml")})
        train_models(table_panel(folder / "table.yaml"), [model], settings=how)
    return root


@pytest.fixture
def predict(shop, cli, tmp_path):
    "`lineupiq predict` with the regression's run on rows of a new file."

    def run(frame, *flags, form="csv", raw=None, command="predict", task="regression", model=None):
        path = tmp_path / f"new.{form}"
        if raw is not None:
            path.write_bytes(raw)
        else:
            frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path, index=False)
        [folder] = (shop / task / "runs").iterdir()
        model = model or {"regression": "ridge", "multiclass": "logistic"}[task]
        named = ("--model", f"{folder}:{model}") if command == "predict" else ("--run", folder, "--model", model)
        return cli(command, *named, "--path", path, *flags)

    return run


def new_rows(n=6, **changes):
    "Rows after the training, without a label."
    frame = good_frame(task="regression", seed=9)[:n].drop(columns="y")
    return frame.assign(day=[f"2022-01-{i // 2 + 1:02d}" for i in range(n)], **changes)


# --- D1 … D5: values ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_D1_infinite_feature(name, value):
    X, y = rows()
    bad = X.assign(x2=X["x2"].where(~X.index.isin([3, 9]), value))
    with pytest.raises(DataError, match=r"infinite values in a feature[\s\S]*column 'x2' \(2 rows, first: 3, 9\)"):
        fitted(name, bad)
    with pytest.raises(DataError, match=r"infinite[\s\S]*the rows to predict[\s\S]*column 'x2' \(2 rows, first: 3, 9\)"):
        fitted(name).predict(bad)


@pytest.mark.parametrize("value", ["inf", "-inf"])
def test_D1_cli(train, value):
    answer = refused(
        train(spoil(good_frame(), "x2", 7, value)), 3, "DataError", "infinite values in a feature", "column 'x2' (1 row, first: "
    )
    assert answer.error["fix"] and answer.error["expected"] and answer.runs() == []


def test_D1_predict_cli(predict):
    refused(predict(new_rows(x1=[1, np.inf, 0, 0, 0, 0])), 3, "DataError", "infinite", "column 'x1' (1 row")


@pytest.mark.parametrize("name", FAMILIES)
def test_D2_missing_feature(name):
    X, y = rows()
    holes = X.assign(x1=X["x1"].mask(X.index % 7 == 0))
    assert np.isfinite(fitted(name, holes).predict(holes).predictions).all()
    assert np.isfinite(fitted(name).predict(holes).predictions).all()  # the training rows had none
    with pytest.raises(DataError, match=r"too many missing values[\s\S]*x1 \(15\.0%\)[\s\S]*max_nan_share = 10%"):
        fitted(name, holes, max_nan_share=0.1)


@pytest.mark.parametrize("name", ["ridge", "logistic", "svm"])
def test_D2_without_an_imputer(name):
    X, _ = rows()
    holes = X.assign(x1=X["x1"].mask(X.index == 5))
    with pytest.raises(DataError, match=r"does not impute[\s\S]*1 row, first: 5[\s\S]*add an imputer, or choose a model"):
        fitted(name, holes, impute=False)
    with pytest.raises(DataError, match="does not impute"):
        fitted(name, impute=False).predict(holes)


def test_D2_cli(train, tmp_path):
    holes = good_frame()
    holes.loc[::5, "x1"] = np.nan
    assert train(holes).code == 0
    (tmp_path / "r.yaml").write_text("impute: false\n")
    shutil.rmtree(tmp_path / "out")
    refused(train(holes, flags=["--config", tmp_path / "r.yaml"]), 3, "DataError", "does not impute", "choose a model that takes NaN")
    (tmp_path / "r.yaml").write_text("max_nan_share: 0.1\n")
    refused(train(holes, flags=["--config", tmp_path / "r.yaml"]), 3, "DataError", "too many missing values", "max_nan_share = 10%")


def test_D3_missing_target(caplog):
    frame = good_frame()
    holes = frame.assign(y=frame["y"].mask(frame.index.isin([4, 8, 20])))
    with pytest.raises(DataError, match=r"missing labels[\s\S]*3 rows, first: 4, 8, 20[\s\S]*drop_missing_target"):
        panel_of(holes)
    with pytest.raises(DataError, match="missing labels: 1 row, first: 1"):
        check_labels([1, None, 2], "regression")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert len(panel_of(holes, missing_target="drop")) == 237
    assert "dropped 3 of 240 rows" in caplog.text


def test_D3_cli(train, caplog):
    frame = good_frame()
    holes = frame.assign(y=frame["y"].mask(frame.index.isin([4, 8, 20])))
    refused(train(holes), 3, "DataError", "missing labels", "3 rows, first: 4, 8, 20", "drop_missing_target: true")
    answer = train(holes, drop_missing_target=True)
    assert answer.code == 0 and "dropped 3 of 240 rows" in caplog.text


def test_D3_infinite_target_cli(train):
    frame = good_frame()
    refused(train(frame.assign(y=frame["y"].where(frame.index != 6, np.inf))), 3, "DataError", "infinite labels: 1 row, first: 6")


def test_D4_empty_and_constant_columns():
    X, _ = rows()
    with pytest.raises(DataError, match=r"1 column\(s\) without any value[\s\S]*x2[\s\S]*drop them from the manifest"):
        fitted("ridge", X.assign(x2=np.nan))
    with pytest.warns(UserWarning, match="1 constant column.*x2"):
        assert fitted("ridge", X.assign(x2=5.0)).constant_columns == ["x2"]


def test_D4_cli(train):
    refused(train(good_frame().assign(x2=np.nan)), 3, "DataError", "without any value", "x2")
    with pytest.warns(UserWarning, match="1 constant column.*x2"):
        answer = train(good_frame().assign(x2=5.0))
    assert answer.code == 0
    [about] = answer.folder.rglob("ridge_*/model/model.json")
    assert json.loads(about.read_text())["constant_columns"] == ["x2"]


def test_D5_huge_values():
    X, _ = rows()
    with pytest.raises(DataError, match=r"a value exceeds float32[\s\S]*column 'x1' \(1 row, first: 2\)[\s\S]*rescale"):
        fitted("xgboost", X.assign(x1=X["x1"].where(X.index != 2, 1e39)))
    with pytest.warns(UserWarning, match="beyond 1e12 × the median in: x1"):
        check_columns(X.assign(x1=X["x1"].where(X.index != 2, 1e14)).to_numpy(), NAMES)


def test_D5_cli(train):
    refused(train(spoil(good_frame(), "x1", 3, 1e39)), 3, "DataError", "exceeds float32", "column 'x1' (1 row")
    with pytest.warns(UserWarning, match="beyond 1e12"):
        assert train(spoil(good_frame(), "x1", 3, 1e14)).code == 0


# --- D6 … D9: time -----------------------------------------------------------------------------------------------------------------------


def test_D6_duplicate_rows():
    frame = good_frame()
    with pytest.raises(DataError, match=r"two rows at one time[\s\S]*1 row, first: 1[\s\S]*a at 2021-01-01"):
        panel_of(pd.concat([frame[:1], frame]))
    assert len(panel_of(frame)) == 240  # two shops a day are legal


def test_D6_cli(train):
    frame = good_frame()
    refused(train(pd.concat([frame, frame[-2:]])), 3, "DataError", "two rows at one time", "2 rows", "a at 2021-04-30")


def test_D7_unsorted(caplog):
    frame = good_frame()
    mixed = frame.sample(frac=1, random_state=3)
    with pytest.raises(DataError, match=r"run backwards[\s\S]*sort: true"):
        panel_of(mixed)
    with caplog.at_level(logging.WARNING, "lineupiq"):
        pd.testing.assert_frame_equal(panel_of(mixed, sort=True).frame, panel_of(frame).frame)
    assert "sorted 240 rows" in caplog.text


def test_D7_cli(train, tmp_path):
    frame = good_frame()
    mixed = frame.sample(frac=1, random_state=3)
    refused(train(mixed), 3, "DataError", "run backwards", "sort: true")
    one, two = train(mixed, sort=True, flags=["--output", tmp_path / "a"]), train(frame, flags=["--output", tmp_path / "b"])
    boards = [[{k: v for k, v in row.items() if k != "seconds"} for row in a.value["leaderboard"]] for a in (one, two)]
    assert one.code == two.code == 0 and boards[0] == boards[1]


def test_D8_time_zones():
    mixed = pd.Series(["2021-01-01T10:00", "2021-01-02T10:00Z"])
    with pytest.raises(DataError, match=r"with and without a zone[\s\S]*2021-01-01T10:00'.*2021-01-02T10:00Z"):
        clean_time(mixed, "day")
    with pytest.raises(DataError, match="not a time"):
        clean_time(pd.Series([pd.Timestamp("2021-01-01"), 5, "2021-01-03"], dtype=object), "day")
    assert clean_time(pd.Series(["2021-07-01 12:00"]), "day", "America/New_York").dt.hour.tolist() == [16]
    for hour in ("2021-03-14 02:30", "2021-11-07 01:30"):  # skipped, doubled
        with pytest.raises(DataError, match="clock change doubles or skips"):
            clean_time(pd.Series([hour]), "day", "America/New_York")
    frame = good_frame()
    for other in ("label_end", "known_at"):
        with pytest.raises(DataError, match=rf"`time` and `{other}` differ in having a zone"):
            panel_of(frame.assign(**{other: pd.to_datetime(frame["day"], utc=True)}))


def test_D8_cli(train):
    frame = good_frame()
    refused(
        train(frame.assign(day=frame["day"] + np.where(frame.index == 9, "T00:00:00Z", "T00:00:00"))),
        3,
        "DataError",
        "with and without a zone",
        "naive 239 rows",
    )
    refused(train(frame.assign(day=frame["day"].where(frame.index != 9, "yesterday"))), 3, "DataError", "not a time", "ISO dates")
    refused(train(frame.assign(day=np.arange(240))), 3, "DataError", "times are numbers")
    refused(
        train(frame.assign(day=frame["day"].where(frame["day"] != "2021-03-14", "2021-03-14 02:30")), timezone="America/New_York"),
        3,
        "DataError",
        "clock change",
    )
    refused(train(frame, timezone="Mars/Olympus"), 2, "ConfigError", "unknown time zone", "America/New_York")
    assert train(frame, timezone="America/New_York").code == 0


def test_D9_future_and_missing_times():
    frame = good_frame()
    with pytest.raises(DataError, match=r"times after as_of[\s\S]*column 'time', 40 rows[\s\S]*2021-04-11"):
        panel_of(frame, as_of="2021-04-10")
    with pytest.raises(DataError, match=r"a missing time[\s\S]*1 row, first: 7[\s\S]*NaT"):
        panel_of(frame.assign(day=frame["day"].where(frame.index != 7)))


def test_D9_cli(train):
    frame = good_frame()
    refused(train(frame, as_of="2021-04-10"), 3, "DataError", "times after as_of", "40 rows", "≤ 2021-04-10")
    refused(train(frame.assign(day=frame["day"].where(frame.index != 7))), 3, "DataError", "a missing time", "first: 7")
    refused(train(frame, as_of="someday"), 2, "ConfigError", "as_of is not a time")


# --- D10 … D12: leaks --------------------------------------------------------------------------------------------------------------------


def test_D10_feature_is_the_label():
    frame = good_frame()
    with pytest.raises(LeakError, match=r"a feature is the label[\s\S]*column 'x2' \(correlation -1.0000\)"):
        panel_of(frame.assign(x2=-3 * frame["y"] + 1e-4 * frame["x1"]))
    classes = good_frame(task="multiclass")
    with pytest.raises(LeakError, match="column 'place' .one value for each class"):  # renamed, uncorrelated
        panel_of(classes.assign(place=classes["y"].map({-1: "b", 0: "a", 1: "c"})), "multiclass", [Feature("place", "category"), "x1"])
    with pytest.raises(LeakError, match="label"):
        panel_of(frame, features=["x1", "label"])


def test_D10_cli(train):
    frame = good_frame()
    refused(train(frame.assign(x2=frame["y"])), 10, "LeakError", "a feature is the label", "column 'x2'", "shift it to what was known")
    refused(train(frame, features=["x1", "y"]), 10, "LeakError", "the label is listed as a feature", "features: y")


def test_D11_label_horizon():
    frame = good_frame()
    time = pd.to_datetime(frame["day"])
    with pytest.raises(LeakError, match=r"known only after the row's time[\s\S]*240 rows"):
        panel_of(frame.assign(known_at=time + pd.Timedelta("1h")))
    with pytest.raises(DataError, match="a label ends before its row"):
        panel_of(frame.assign(label_end=time - pd.Timedelta("1D")))
    with pytest.raises(LeakError, match="purge"):  # a splitter that ignores the label's end
        check_splitter(lambda t, e: WalkForward(t, None, n_splits=3), time.to_numpy(), (time + pd.Timedelta("5D")).to_numpy())


def check_folds(seed):
    "max(train label end) + embargo < min(test time) on a random panel, and train and test are disjoint."
    rng = np.random.default_rng(seed)
    n, embargo = int(rng.integers(60, 200)), int(rng.integers(0, 4))
    times = rng.integers(0, 60, n)
    ends = times + rng.integers(0, 6, n)
    order = rng.permutation(n)
    times, ends = times[order], ends[order]
    k = int(rng.integers(2, 5))
    past = WalkForward(times, ends, n_splits=k, embargo=embargo).folds()
    past += WalkForwardBlocks(times, ends, blocks=[(30, 39), (40, 59)], embargo=embargo).folds() + [
        holdout(times, ends, val=0, embargo=embargo)
    ]
    for fold in past:
        assert ends[fold.train].max() + embargo < times[fold.test].min()
        assert not set(fold.train) & set(fold.test)
    for fold in PurgedKFold(times, ends, n_splits=k, embargo=embargo).folds():
        low, high = times[fold.test].min(), ends[fold.test].max() + embargo
        assert ((ends[fold.train] < low) | (times[fold.train] > high)).all() and not set(fold.train) & set(fold.test)


def test_D11_every_fold():
    for seed in range(100):
        check_folds(seed)


@pytest.mark.slow
def test_D11_every_fold_of_a_thousand():
    for seed in range(1000):
        check_folds(seed)


def test_D11_cli(train):
    frame = good_frame()
    late = (pd.to_datetime(frame["day"]) + pd.Timedelta("1h")).astype(str)
    refused(train(frame.assign(seen=late), known_at="seen"), 10, "LeakError", "known only after the row's time", "known_at ≤ time")
    answer = train(frame, label_lag="3D", flags=["--acknowledge", "ridge"])  # 36 rows can look lucky
    assert answer.code == 0
    [folds] = answer.folder.rglob("folds.json")
    for fold in json.loads(folds.read_text())["ridge"]:
        assert fold["purged"] >= 6  # three days of two shops


def test_D12_leakage_canary(tmp_path):
    frame = good_frame(600, "binary")
    rng = np.random.default_rng(5)
    frame["y"] = rng.permutation(np.arange(600) % 2)  # nothing to be learnt
    result = train_models(panel_of(frame, "binary"), ["logistic"], settings=TrainSettings(output=tmp_path, isolate=False, draws=100))
    [run] = [r.predictions for n, r in result.runs.items() if n == "logistic"]
    test = run[run["split"] == "test"]
    hits, n = (test["prediction"] == test["y"]).mean(), len(test)
    assert abs(hits - 0.5) <= 3 * np.sqrt(0.25 / n), (hits, n)
    future = frame["y"].shift(-1, fill_value=0)
    time = pd.to_datetime(frame["day"])
    with pytest.raises(LeakError, match="known only after"):  # the time check
        panel_of(frame.assign(x2=future, known_at=time + pd.Timedelta("1D")), "binary")
    with pytest.raises(LeakError, match="a feature is the label"):  # the correlation check
        panel_of(frame.assign(x2=frame["y"] + 0.0), "binary")
    with pytest.raises(LeakError, match="too good to be true: logistic"):  # and what only the score gives away
        leaking = frame.assign(x2=frame["y"] + 0.5 * rng.normal(size=600))
        train_models(panel_of(leaking, "binary"), ["logistic"], settings=TrainSettings(output=tmp_path, isolate=False, draws=100))


def test_D12_cli(train):
    frame = good_frame(600, "binary")
    rng = np.random.default_rng(5)
    frame["y"] = rng.permutation(np.arange(600) % 2)
    answer = train(frame.assign(x2=frame["y"] + 0.5 * rng.normal(size=600)), "binary")
    assert (
        answer.code == 10
        and answer.error["type"] == "LeakError"
        and "too good to be true: logistic" in answer.error["what"]
        and "Traceback" not in answer.err
    )
    [run] = answer.runs()
    assert json.loads((run / "status.json").read_text())["status"] == "leak"
    shutil.rmtree(answer.folder)
    early = (pd.to_datetime(frame["day"]) + pd.Timedelta("1D")).astype(str)
    refused(
        train(frame.assign(x2=frame["y"].shift(-2, fill_value=0), seen=early), "binary", known_at="seen"),
        10,
        "LeakError",
        "known only after",
    )


# --- D13 … D18: labels, classes, sizes, kinds --------------------------------------------------------------------------------------------


def test_D13_labels_differ():
    frame = good_frame(task="multiclass")
    frame["y"] = np.where((frame.index < 210) & (frame["y"] == 1), 0, frame["y"])  # 1 comes only at the end
    frame.loc[228:, "y"] = [1, 0, -1] * 4
    with pytest.raises(
        DataError, match=r"labels that its training rows do not have[\s\S]*added in the test rows: \[1.*missing in training: \[1"
    ):
        out_of_fold(
            (panel := panel_of(frame, "multiclass")), plan_folds(panel, SplitPlan(val=0.0)), ModelSpec("logistic"), FitSettings(val_share=0)
        )
    with pytest.raises(DataError, match=r"labels that the training rows do not have[\s\S]*added: \[2\], missing: \[0\]"):
        fitted("logistic").codec.encode([1, 2])


def test_D13_cli(train, predict, caplog):
    frame = good_frame(task="multiclass")
    rare = frame.assign(y=np.where((frame.index < 210) & (frame["y"] == 1), 0, frame["y"]))
    rare.loc[215:, "y"] = ([1, 0, -1] * 9)[:25]
    refused(train(rare, "multiclass"), 3, "DataError", "labels that its training rows do not have", "missing in training: [1")
    later = frame.assign(day=pd.to_datetime(frame["day"]) + pd.Timedelta("365D"))
    later = later.assign(day=later["day"].dt.strftime("%Y-%m-%d"))
    answer = predict(later.assign(y=np.where(later.index % 9 == 0, 2, later["y"])), command="evaluate", task="multiclass")
    refused(answer, 3, "DataError", "labels that the training rows do not have", "added: [2], missing: []", "[-1, 0, 1]")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        answer = predict(later[later["y"] != -1], command="evaluate", task="multiclass")
    assert answer.code == 0 and "lack the class(es) -1" in caplog.text  # a batch may lack a class
    assert all(np.isfinite(r["score"]) for r in answer.value["leaderboard"])


def test_D14_constant_target():
    X, _ = rows()
    for name in FAMILIES:
        with pytest.raises(DataError, match="a constant target: every label is"):
            fitted(name, X, np.ones(80))
    with pytest.raises(DataError, match="constant target"):
        panel_of(good_frame().assign(y=3.0))


def test_D14_cli(train):
    refused(train(good_frame().assign(y=3.5)), 3, "DataError", "a constant target: every label is 3.5")
    refused(train(good_frame(task="binary").assign(y=1), "binary"), 3, "DataError", "a constant target: every label is 1")


def test_D15_one_class_fold():
    times, y = np.arange(60), np.r_[np.tile([0, 1], 25), np.zeros(10)].astype(int)
    with pytest.raises(DataError, match=r"fold 1 has only class 0; use fewer splits / larger test"):
        WalkForward(times, n_splits=3, test_size=5).folds(y)


def test_D15_cli(train):
    frame = good_frame(task="binary")
    answer = refused(
        train(frame.assign(y=frame["y"].where(frame.index < 200, 1)), "binary"),
        3,
        "DataError",
        "fold 0 has only class 1",
        "use fewer splits / larger test",
    )
    assert answer.runs() == []


def test_D16_imbalance():
    with pytest.raises(DataError, match=r"too few rows of a class[\s\S]*class 1: 9 rows[\s\S]*at least 10"):
        check_balance(np.r_[np.zeros(200), np.ones(9)].astype(int), 5)
    with pytest.raises(DataError, match="at least 12"):
        check_balance(np.r_[np.zeros(200), np.ones(11)].astype(int), 6)
    with pytest.warns(UserWarning, match="class 1 has 4.8% of the rows.*decision threshold"):
        check_balance(np.r_[np.zeros(200), np.ones(10)].astype(int), 5)


def test_D16_cli(train):
    frame = good_frame(480, "binary")
    few = frame.assign(y=(frame.index % 60 == 5).astype(int))
    answer = refused(train(few, "binary"), 3, "DataError", "too few rows of a class", "class 1: 8 rows", "at least 10")
    assert answer.runs() == []
    with pytest.warns(UserWarning, match="class 1 has 4.2% of the rows"):
        assert train(frame.assign(y=(frame.index % 24 == 5).astype(int)), "binary").code == 0


def test_D17_tiny_data():
    with pytest.raises(DataError, match=r"too few rows for the split[\s\S]*14 labelled rows[\s\S]*at least 15 labelled rows"):
        plan_folds(panel_of(good_frame(14)), SplitPlan())
    with pytest.raises(DataError, match="at least 7 rows with different times"):
        WalkForward(np.arange(6), n_splits=3, test_size=2).folds()
    with pytest.raises(DataError, match=r"at least 16 labelled rows"):
        plan_folds(panel_of(good_frame(10)), SplitPlan(walk_forward="2021-01-02:2021-01-05", n_splits=6))


def test_D17_cli(train):
    answer = refused(train(good_frame(12)), 3, "DataError", "too few rows for the split", "12 labelled rows", "at least 15 labelled rows")
    assert answer.runs() == []
    assert train(good_frame(40)).code == 0


def test_D18_not_numbers():
    X, _ = rows()
    for name in FAMILIES:
        with pytest.raises(DataError, match=r"1 column\(s\) are not numeric[\s\S]*'x2' \(.*e\.g\. '7'"):
            fitted(name, X.assign(x2="7"))
    with pytest.raises(DataError, match="labels are not numbers"):
        fitted("ridge", X, X["x1"].astype(str).to_numpy())


def test_D18_cli(train):
    frame = good_frame()
    refused(
        train(frame.assign(x2=frame["x2"].astype(str)), form="parquet"),
        3,
        "DataError",
        "1 column(s) are not numeric",
        "'x2' (",
        "as a category",
    )
    refused(
        train(frame.assign(x2=frame["x2"].astype(str).where(frame.index != 3, "1,5"))),
        3,
        "DataError",
        "commas and points before the decimals",
        "'x2'",
        "first: 3",
    )
    refused(train(good_frame(task="binary").assign(y="win"), "binary"), 3, "DataError", "class labels are not numbers", "'win'")
    refused(train(frame.assign(y=frame["y"].astype(str)), form="parquet"), 3, "DataError", "labels are not numbers")


# --- D19 … D22: prediction and files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
def test_D19_columns_by_name(name):
    X, _ = rows()
    model = fitted(name)
    same, turned = model.predict(X).predictions, model.predict(X[["x2", "x1"]]).predictions
    assert np.array_equal(same, turned)  # bit for bit
    with pytest.raises(DataError, match=r"an array without column names[\s\S]*allow_positional"):
        model.predict(X.to_numpy())
    open_minded = fitted(name, allow_positional=True)
    assert np.array_equal(open_minded.predict(X.to_numpy()).predictions, open_minded.predict(X).predictions)
    with pytest.raises(DataError, match="X has 1 features"):
        open_minded.predict(X[["x1"]].to_numpy())


def test_D19_cli(predict):
    one = predict(new_rows()).value["predictions"]
    two = predict(new_rows()[["place", "x2", "day", "x1", "shop"]]).value["predictions"]
    assert one == two and len(one) == 6


def test_D20_columns_differ(caplog):
    X, _ = rows()
    model = fitted("ridge")
    with pytest.raises(DataError, match=r"1 column\(s\) missing[\s\S]*'x2'.*did you mean 'X2'"):
        model.predict(X.rename(columns={"x2": "X2"}))
    with pytest.raises(DataError, match=r"there twice[\s\S]*x1"):
        model.predict(X[["x1", "x1", "x2"]])
    columns._TOLD.clear()
    with caplog.at_level(logging.WARNING, "lineupiq"):
        for _ in range(3):
            assert np.array_equal(model.predict(X.assign(extra=1)).predictions, model.predict(X).predictions)
    assert caplog.text.count("extra") == 1  # said once
    with pytest.raises(DataError, match="not fitted on[\\s\\S]*extra"):
        fitted("ridge", strict_columns=True).predict(X.assign(extra=1))


def test_D20_cli(predict):
    refused(predict(new_rows().rename(columns={"x2": "x_2"})), 3, "DataError", "1 column(s) missing", "'x2' did you mean 'x_2'?")
    refused(predict(None, raw=b"day,shop,x1,x1,x2,place\n2022-01-01,a,1,3,2,in\n"), 3, "DataError", "there twice", "x1")
    assert predict(new_rows(extra=3)).value == predict(new_rows()).value


def test_D21_kinds_changed(caplog):
    X, _ = rows()
    whole = X.round().astype(int)
    model = fitted("ridge", whole)
    assert np.array_equal(model.predict(whole).predictions, model.predict(whole.astype(float)).predictions)  # int → float
    with pytest.raises(DataError, match="not numeric"):
        model.predict(whole.astype(str))
    seen, new = pd.DataFrame({"place": ["in", "out"]}), pd.DataFrame({"place": ["in", "roof"]})
    strict = Encoder([Feature("place", "category", strict=True)]).fit(seen)
    with pytest.raises(DataError, match=r"values of category 'place'[\s\S]*1 row, first: 1[\s\S]*roof[\s\S]*in, out"):
        strict.transform(new)
    columns._TOLD.clear()
    with caplog.at_level(logging.WARNING, "lineupiq"):
        made = Encoder([Feature("place", "category")]).fit(seen).transform(new)
    assert made.to_numpy().tolist() == [[1.0, 0.0], [0.0, 0.0]]  # as a missing value
    assert "1 of 2 rows have a value that training did not have, and count as unknown: roof" in caplog.text


def test_D21_cli(predict, caplog):
    assert (
        predict(new_rows(x1=[1, 2, 3, 4, 5, 6])).value["predictions"]
        == predict(new_rows(x1=[1.0, 2, 3, 4, 5, 6]), form="parquet").value["predictions"]
    )
    refused(predict(new_rows(x1=list("abcdef"))), 3, "DataError", "not numeric", "'x1'")
    columns._TOLD.clear()
    moved = predict(new_rows(place=["in", "out", "roof", "in", "out", "roof"]))  # a new place stops nobody else's predictions
    assert (
        moved.code == 0
        and "category 'place': 2 of 6 rows have a value that training did not have, and count as unknown: roof" in caplog.text
    )
    told, gap = (a.value["predictions"] for a in (moved, predict(new_rows(place=["in", "out", None, "in", "out", None]))))
    assert told == gap


def test_D21_strict(cli, table):
    frame = good_frame()
    late = frame["day"] > sorted(frame["day"].unique())[-20]
    about = table(
        frame.assign(place=np.where(late, "roof", frame["place"])), features={"x1": "numeric", "place": "category"}, unseen="error"
    )
    refused(cli("train", "--data", about, "--model", "ridge", "--test-share", ".2"), 3, "DataError", "values of category 'place'", "roof")


def test_D22_files(tmp_path):
    frame = good_frame(20)
    frame.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"not a readable table[\s\S]*cut\.parquet[\s\S]*truncated") as said:
        read_table(tmp_path / "cut.parquet")
    assert said.value.__suppress_context__  # no trace of the reader's own error
    (tmp_path / "wide.csv").write_text(",".join(f"c{i}" for i in range(10**6)) + "\n")
    with pytest.raises(DataError, match="too many columns[\\s\\S]*1000000"):
        read_table(tmp_path / "wide.csv")
    for name, data in {
        "semi.csv": frame.to_csv(index=False, sep=";").encode(),
        "bom.csv": frame.to_csv(index=False).encode("utf-8-sig"),
        "latin.csv": frame.replace("in", "Café").to_csv(index=False).encode("latin-1"),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert list(read_table(tmp_path / name)) == list(frame)
    with pytest.raises(DataError, match="no rows to fit"):
        fitted("ridge", rows()[0][:0], np.empty(0))
    for name in FAMILIES:
        model = fitted(name)
        empty, one = model.predict(rows()[0][:0]), model.predict(rows()[0][:1])
        assert len(empty) == 0 and len(one) == 1 and list(empty.to_dataframe()) == list(one.to_dataframe())


def test_D22_cli(train, predict, cli, table, tmp_path):
    refused(train(good_frame()[:0]), 3, "DataError", "no rows", "0 rows")
    assert predict(new_rows()[:0]).value == {"predictions": []}
    one = predict(new_rows()[:1]).value["predictions"]
    assert len(one) == 1 and np.isfinite(one[0]["prediction"])
    empty = predict(new_rows()[:0], "--output", tmp_path / "p.csv")
    assert empty.value["rows"] == 0 and "prediction" in (tmp_path / "p.csv").read_text()
    about = table(good_frame(), form="parquet")
    whole = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(whole[: len(whole) // 2])
    refused(cli("train", "--data", about, "--model", "ridge"), 3, "DataError", "not a readable table", "rows.parquet", "truncated")
    for text, words in {
        b"day shop x1\n1;2;3\n": "delimiter",
        b"": "empty file",
        b"\x00\x01": "null bytes",
        b"day,shop,x1,x2,y\n1,2,3,4,5,6\n": "more fields than the header",
    }.items():
        (tmp_path / "bad.csv").write_bytes(text)
        refused(cli("train", "--data", table(good_frame(), path="bad.csv"), "--model", "ridge"), 3, "DataError", "bad.csv", words)
    refused(
        cli("train", "--data", table(good_frame(), path="none.csv"), "--model", "ridge"),
        3,
        "DataError",
        "no such file or folder",
        "none.csv",
    )
    (tmp_path / "latin.csv").write_bytes(good_frame().replace("in", "Café").to_csv(index=False, sep=";").encode("latin-1"))
    assert (
        cli(
            "train", "--data", table(good_frame(), path="latin.csv", features={"x1": "numeric", "place": "category"}), "--model", "ridge"
        ).code
        == 0
    )


# --- anything at all ---------------------------------------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.floats(width=32),
    st.floats(-3, 3),
    st.sampled_from([np.nan, np.inf, 0.0, 1e39, 1e13]),
    st.integers(-3, 3),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
)


@st.composite
def frames(draw):
    "Frames of any size, kind and time, most of them nearly good."
    n, seed = draw(st.sampled_from([90, 60, 30, 90, 60, 90, 16, 15, 14, 1, 0])), draw(st.integers(0, 10**6))
    task = draw(st.sampled_from(["regression", "binary", "multiclass"]))
    frame = good_frame(90, task, seed)[:n].reset_index(drop=True)
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        column, kind = (
            draw(st.sampled_from(["x1", "x2", "y", "x1", "x2", "day", "place"])),
            draw(st.sampled_from(["cell", "column", "zone", "twice", "order", "name", "constant"])),
        )
        if list(frame.columns).count(column) != 1:  # renamed or doubled by an earlier change
            continue
        if kind == "cell" and n:
            frame = spoil(frame, column, draw(st.integers(0, n - 1)), draw(CELLS))
        elif kind == "column":
            frame[column] = pd.Series([draw(CELLS)] * n, dtype=object).infer_objects()
        elif kind == "zone" and n and "day" in frame:
            frame = spoil(
                frame,
                "day",
                draw(st.integers(0, n - 1)),
                draw(st.sampled_from(["2021-01-05T00:00Z", "2021-01-05T00:00", "9999-01-01", "", None, "12:30"])),
            )
        elif kind == "twice":
            frame = pd.concat([frame, frame[: draw(st.integers(0, 2))]], ignore_index=True)
        elif kind == "order":
            frame = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
        elif kind == "name":
            frame = frame.rename(columns={"x2": draw(st.sampled_from(["X2", "", "label", "time", "x1"]))})
        elif kind == "constant" and column in ("x1", "x2"):
            frame[column] = 1.0
    return frame, task, draw(st.booleans())


def survives(case):
    "Refused by name, or finite predictions of the right shape and not one NaN among the scores."
    frame, task, sort = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            panel = panel_of(frame, task, sort=sort)
            preds, fits = out_of_fold(panel, plan_folds(panel, SplitPlan()), ModelSpec("ridge" if task == "regression" else "logistic"))
        except (DataError, ConfigError, LeakError):
            return False
    test = preds[preds["split"] == "test"]
    assert len(test) and np.isfinite(test["prediction"].astype(float)).all()
    metric = default_metric(task)
    score = metric(test["y"].to_numpy(), forecast_of(test, metric), panel.classes)
    assert np.isfinite(score), score
    return True


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=frames())
def test_D_fuzz(case):
    survives(case)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=frames())
def test_D_fuzz_two_thousand(case):
    survives(case)
