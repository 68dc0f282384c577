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
    assert face() == json.loads(FROZEN.read_text()), "a change that is meant belongs into CHANGELOG.md: python tests/test_face.py writes the file anew"


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
            if inspect.isclass(thing) and thing.__module__ == module.name and is_dataclass(thing) and hasattr(thing.__repr__, "__wrapped__"):  # written by dataclass
                holds = [f.name for f in fields(thing) if f.repr and re.search(rf"\b({'|'.join(big)})\b", str(f.type)) and "Callable" not in str(f.type)]
                auto += [f"{module.name}.{name}: {', '.join(holds)}"] if holds else []
    assert auto == []


@pytest.mark.parametrize("name", ["train", "tune", "audit", "predict", "validate"])
def test_the_commands_have_a_function_of_their_name(name):
    assert callable(getattr(lq, name))


if __name__ == "__main__":
    FROZEN.write_text(json.dumps(face(), indent=1) + "\n")
