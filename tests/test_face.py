"""`import lineupiq`: what people meet first is quick, complete, stable, and leaves everything else as it was."""

import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lineupiq as lq

FROZEN = Path(__file__).with_name("face.json")  # name -> its parameters; after a wanted change: python tests/test_face.py
HEAVY = ("torch", "pandas", "numpy", "sklearn", "matplotlib", "xgboost", "lightgbm", "catboost", "optuna", "mlflow", "pydantic")


def parameters(thing):
    "How a function or a class is called, defaults included."
    try:
        return str(inspect.signature(thing))
    except ValueError:
        return ""


def face():
    return {name: parameters(getattr(lq, name)) for name in sorted(lq.__all__)}


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_names_and_signatures_are_those_that_were_promised():
    assert face() == json.loads(FROZEN.read_text()), (
        "a change that is meant belongs into CHANGELOG.md: python tests/test_face.py writes the file anew"
    )


def test_nothing_heavy_is_imported():
    loaded = in_a_new_process(f"import sys, lineupiq; dir(lineupiq); print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_no_name_is_a_module():
    for module in pkgutil.walk_packages([str(Path(lq.__file__).parent)], "lineupiq."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    top = {m.name for m in pkgutil.iter_modules([str(Path(lq.__file__).parent)])}
    assert not top & set(lq.__all__), "importing that module would hide the name"
    assert all(not inspect.ismodule(getattr(lq, name)) for name in lq.__all__)


def test_every_name_has_words_for_its_parameters():
    for name in lq.__all__:
        thing = getattr(lq, name)
        assert name in dir(lq) and thing.__doc__, name
        if inspect.isfunction(thing):
            told = thing.__doc__.split("Parameters\n")[1]
            assert all(f"{p}\n" in told for p in inspect.signature(thing).parameters), name


def test_a_training_leaves_pictures_alone(tmp_path):
    "Backend, open figures and settings of whoever trains are as they were."
    code = f"""
import warnings; warnings.filterwarnings("ignore")
import matplotlib; matplotlib.use("svg")
import matplotlib.pyplot as plt
plt.rcParams["axes.facecolor"] = "#123456"
plt.plot([1, 2]); before = (matplotlib.get_backend(), plt.get_fignums(), dict(plt.rcParams))
import lineupiq as lq
run = lq.train(lq.load_panel("league"), ["logistic"], settings=lq.TrainSettings(output={str(tmp_path)!r}, isolate=False, draws=100))
assert (matplotlib.get_backend(), plt.get_fignums(), dict(plt.rcParams)) == before, (matplotlib.get_backend(), plt.get_fignums())
assert len(list(run.folder.glob("artifacts/*.png"))) > 3
print("same")
"""
    assert in_a_new_process(code) == "same"


def test_no_object_prints_its_arrays():
    "A dataclass that holds arrays, tables or panels says how it shows itself; Python's own way prints all that it holds."
    big, auto = ("ndarray", "DataFrame", "Series", "Panel"), []
    for module in pkgutil.walk_packages([str(Path(lq.__file__).parent)], "lineupiq."):
        if module.name.endswith("__main__"):
            continue
        for name, thing in vars(importlib.import_module(module.name)).items():
            # written by dataclass
            if (
                inspect.isclass(thing)
                and thing.__module__ == module.name
                and is_dataclass(thing)
                and hasattr(thing.__repr__, "__wrapped__")
            ):
                holds = [
                    f.name
                    for f in fields(thing)
                    if f.repr and re.search(rf"\b({'|'.join(big)})\b", str(f.type)) and "Callable" not in str(f.type)
                ]
                auto += [f"{module.name}.{name}: {', '.join(holds)}"] if holds else []
    assert auto == []


@pytest.mark.parametrize("name", ["train", "tune", "audit", "predict", "validate"])
def test_the_commands_have_a_function_of_their_name(name):
    assert callable(getattr(lq, name))


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    "What the calls below are made with: a run, its rows, rows of something else, and a folder."
    place = tmp_path_factory.mktemp("face")
    panel = lq.load_panel("league")
    run = lq.train(panel, "logistic", settings=lq.TrainSettings(output=place, isolate=False, draws=100))
    times = pd.date_range("2020", periods=40)
    return {
        "lq": lq,
        "run": run,
        "panel": panel,
        "bars": lq.load_panel("noise-bars", n=400, horizon=5),
        "place": place,
        "D": pd.DataFrame({"a": [1.0, 2.0]}),
        "A": np.zeros((2, 2)),
        "t": times,
        "WF": lq.WalkForward(times),
        "rows": panel.frame,
    }


FIVE_PARTS = """
lq.SplitPlan(parts=3)
lq.SplitPlan(val=D)
lq.SplitPlan(test=A)
lq.TrainSettings(config=3)
lq.TrainSettings(output=3)
lq.TrainSettings(seed='')
lq.TrainSettings(seed=D)
lq.TrainSettings(acknowledged='ridge')
lq.TrainSettings(device='gpux', draws=0)
lq.SearchSettings(n_trials=A)
lq.SearchSettings(space=D)
lq.SearchSettings(metric=A)
lq.AuditSettings(plant=D)
lq.GateConfig(level=D)
lq.make_panel('x.csv')
lq.make_panel(None)
lq.make_panel(rows, ['rest'], task='binary', references='x')
lq.make_panel(rows, panel.features, task='binary', cleaning=None)
lq.make_panel(rows, panel.features, task=None)
lq.make_panel(rows, panel.features, task=D)
lq.Panel(D, 'nope')
lq.Feature('x', 3)
lq.Store(None)
lq.Store('')
run.plot('x')
run.plot(A)
WF.plot('x')
lq.Leaderboard({'a': [1]})
lq.Leaderboard(3)
lq.check_model('ridge', only=[])
lq.check_model('ridge', tasks=[])
lq.check_model('ridge', seed='')
list(WF.split(3))
lq.list_models('nobody')
lq.list_models(D)
lq.load_panel(D)
lq.train(D)
lq.train(panel, [])
lq.train(panel, [3])
lq.train(panel, 'logistic', plan=D)
lq.train(panel, 'logistic', configs={'logistic': 3})
lq.train(panel, 'logistic', progress=3)
lq.tune(panel, 3)
lq.audit(panel, 3)
lq.audit(panel, folds='x')
run.predict(bars)
run.predict(3)
run.evaluate(bars)
run.evaluate(panel, model=3)
run.publish(3)
run.predictions(D)
lq.predict(run.folder, D)
lq.open_run(3)
lq.register(3)
"""
ONE_SENTENCE = """
lq.WalkForward(3)
lq.WalkForward(D)
lq.WalkForward(t, D)
lq.WalkForward(t, n_splits='x')
lq.WalkForward(t, embargo=D)
lq.WalkForward(t, one_class=D)
WF.folds('x')
lq.PurgedKFold(t, n_splits=D)
lq.CombinatorialPurged(t, n_test=D)
lq.load_panel('league', seed='')
lq.load_panel('league', horizon=D)
lq.load_panel('sp500', horizon=0)
lq.load_panel('sp500', symbol=D)
lq.train(panel, 'logistic', configs={'logistic': {'C': D}})
lq.predict(D)
lq.predict(3)
lq.promote(3)
lq.rollback(D)
lq.validate(D)
run.evaluate(panel, since=D)
run.publish('logistic', name=3)
lq.Store(place).folder(3, 3)
lq.LineupIQEstimator(D).fit(A, [0, 1])
lq.LineupIQEstimator('logistic', task=D).fit(A, [0, 1])
lq.LineupIQClassifier('logistic', C=D).fit(A, [0, 1])
"""


@pytest.mark.parametrize("call", FIVE_PARTS.strip().splitlines())
def test_what_is_of_another_kind_is_said_whole(things, call):
    "What, where, found, expected and how to mend it: never the complaint of a library below."
    with pytest.raises(lq.LineupIQError) as told:
        eval(call, dict(things))
    assert [part for part in ("what", "where", "found", "expected", "fix") if not getattr(told.value, part)] == []


@pytest.mark.parametrize("call", ONE_SENTENCE.strip().splitlines())
def test_what_is_of_another_kind_is_an_error_of_this_library(things, call):
    with pytest.raises(lq.LineupIQError):
        eval(call, dict(things))


def test_a_list_of_models_is_printed_whole(capsys):
    print(lq.list_models())
    said = capsys.readouterr().out
    assert "..." not in said and all(text in said for text in lq.list_models()["description"])


def test_a_run_says_whether_it_was_published(things, tmp_path, monkeypatch):
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path))
    run = lq.open_run(things["run"].folder)
    assert (
        run.published == []
        and "Not published; run.publish() makes a version of it." in repr(run)
        and "Nothing is published" in lq.train.__doc__
    )
    name, version = run.publish("logistic")
    assert lq.open_run(run.folder).published == [f"{name} {version}"] and f"Published: {name} {version}." in repr(lq.open_run(run.folder))


def test_a_table_is_published_under_its_own_name_whoever_does_it(tmp_path, monkeypatch):
    "The command and the notebook publish the same run under one name: the one that the YAML gives the table."
    from lineupiq.workflows.requests import TrainRequest
    from lineupiq.workflows.train import run_training

    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path / "models"))
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"day": pd.date_range("2020", periods=200), "x": rng.normal(size=200)})
    table.assign(sold=0.2 * table["x"] + rng.normal(size=200)).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "file.yaml").write_text(
        "name: corner_shop\npath: rows.csv\ntask: regression\ntime: day\nlabel: sold\nlabel_lag: 1h\nfeatures: [x]\n"
    )
    ask = TrainRequest.from_mapping({"data": str(tmp_path / "file.yaml"), "model": "ridge", "output": str(tmp_path / "runs")}).in_process()
    by_command = run_training(ask)[0]
    run = lq.train(str(tmp_path / "file.yaml"), "ridge", settings=lq.TrainSettings(output=tmp_path / "more", isolate=False, draws=100))
    assert [by_command.published["name"], run.publish("ridge")[0], lq.open_run(by_command.run_dir).publish("ridge")[0]] == [
        "corner_shop_h1_ridge"
    ] * 3


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(face(), indent=1) + "\n")
