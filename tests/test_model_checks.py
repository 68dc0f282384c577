"""The battery over every registered model, in as many fresh processes as there are models, and over faults that only a file on disk can
show."""

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lineupiq.base import TrainingMetrics
from lineupiq.checks.bench import CHECKS, Bench, TinyModel, run_check
from lineupiq.checks.contract import BrokenContract, check_model
from lineupiq.checks.findings import Finding
from lineupiq.core.arrays import ArrayModel
from lineupiq.data.sources import load_panel
from lineupiq.registry import registry

AVAILABLE = [m["family"] + ":" + m["name"] for m in registry().list_models() if m["available"]]
SMALL = {"n_estimators": 20}  # a forest of 20 trees keeps the same contract as one of 300
LONG = ("neural", "timeseries", "ensemble")  # their pages hold them to the battery on every task; here one task, in a fresh process


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("LINEUPIQ_NUM_THREADS", "1")


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A module on disk with models that inherit from the tiny one."""
    (tmp_path / "shelf_models.py").write_text(
        textwrap.dedent("""
        import pickle
        import numpy as np
        from lineupiq.checks.bench import TinyModel

        class Keeps(TinyModel):
            pass

        class SavesPickle(TinyModel):
            def _save_native(self, folder): (folder / "weights.ubj").write_bytes(pickle.dumps(self.B))
            def _load_native(self, folder): self.B = pickle.loads((folder / "weights.ubj").read_bytes())

        class Forgetful(TinyModel):
            KEPT = {}
            def _save_native(self, folder): self.KEPT[self.task] = self.B
            def _load_native(self, folder): self.B = self.KEPT[self.task]

        class ClassesLostOnDisk(TinyModel):
            def _load_native(self, folder):
                super()._load_native(folder)
                self.codec.classes = np.arange(len(self.codec.classes))
    """)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import shelf_models

    yield shelf_models
    del sys.modules["shelf_models"]


def verdicts(findings: list[Finding], verdict: str) -> list[str]:
    return [f"{f.title}: {f.evidence}" for f in findings if f.verdict == verdict]


def test_the_members_are_there():
    assert {"boosting:xgboost", "boosting:lightgbm", "boosting:catboost", "classical:ridge", "baseline:prior"} <= set(AVAILABLE)
    assert {f"neural:{n}" for n in ("lstm", "gru", "tcn", "transformer")} | {
        f"ensemble:{n}" for n in ("voting", "stacking", "blending")
    } <= set(AVAILABLE)
    assert {"timeseries:nhits", "timeseries:tft", "rating:elo", "classical:logistic", "classical:svm", "classical:random_forest"} <= set(
        AVAILABLE
    )


def _keeps(name: str, tasks: list[str] | None) -> None:
    findings = check_model(name, tasks, config=SMALL if "forest" in name else None)
    assert not verdicts(findings, "fail")
    assert len(findings) == len(tasks or registry().get_model(name).tasks) * (len(CHECKS) + 1)
    open_questions = [t for t in verdicts(findings, "unknown") if "does not apply" not in t]
    assert not open_questions, open_questions


@pytest.mark.parametrize("name", AVAILABLE)
def test_every_registered_model_keeps_the_contract(name):
    _keeps(name, [registry().get_model(name).tasks[-1]] if name.split(":")[0] in LONG else None)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in AVAILABLE if n.split(":")[0] in LONG])
def test_every_task_of_the_long_ones(name):
    _keeps(name, None)


def test_weights_are_exact_where_nothing_is_drawn():
    """Boosters, linear models and rules: the ratio in the evidence is rounding, and far from the allowance."""
    for name, tasks in {
        "boosting:xgboost": None,
        "boosting:catboost": None,
        "classical:logistic": None,
        "classical:ridge": None,
        "baseline:ewma": None,
    }.items():
        for f in check_model(name, tasks, only=[t for t in CHECKS if t.startswith("a weight of")]):
            assert float(f.evidence.split("stand for ")[1].split()[0]) < 1e-6, (name, f)


def test_other_seeds_ask_the_same_questions():
    for seed in (1, 2):
        assert not verdicts(check_model(TinyModel, seed=seed), "fail") and not verdicts(
            check_model("xgboost", ["multiclass"], seed=seed), "fail"
        )


@pytest.mark.parametrize(
    "fault, title",
    [
        ("SavesPickle", "saved without a pickle"),
        ("Forgetful", "loads in a fresh process"),
        ("ClassesLostOnDisk", "saved without a pickle"),
        ("ClassesLostOnDisk", "loads in a fresh process"),
    ],
)
def test_faults_on_disk_are_caught(shelf, fault, title):
    assert not verdicts(check_model(shelf.Keeps, ["multiclass"]), "fail")
    assert any(title in t for t in verdicts(check_model(getattr(shelf, fault), ["multiclass"]), "fail"))


def test_raise_on_fail_names_the_first_failure(shelf):
    with pytest.raises(BrokenContract, match="SavesPickle breaks the contract in 2 of 31 checks") as caught:
        check_model(shelf.SavesPickle, ["binary"], raise_on_fail=True)
    assert caught.value.exit_code == 1 and "weights.ubj" in str(caught.value)


def test_checks_hold_under_optimised_python():
    """`python -O` removes assert statements; the battery must not depend on them."""
    code = (
        "from lineupiq.checks.bench import TinyModel\nfrom lineupiq.checks.contract import check_model\n"
        "class Ignores(TinyModel):\n    def _fit(self, X, y, Xv, yv, w): return super()._fit(X, y, Xv, yv, None)\n"
        "print(sorted(f.title for f in check_model(Ignores, ['binary']) if f.verdict == 'fail'))"
    )
    out = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, env=os.environ, timeout=120, check=True).stdout
    assert out.strip() == "['binary: a weight of 2 is the row twice']"


# Models that know labels which they did not learn, for a share of the rows that the rows themselves decide.

SHARES = (1.0, 0.5, 0.12, 0.05, 0.02)
KNOWS = {
    "labels of another fit are forgotten",
    "validation labels are not given back",
    "labels within reach change nothing",
    "rows of a batch do not see each other",
    "no data is read beside what is handed in",
}


def chosen(X: np.ndarray, share: float) -> np.ndarray:
    return np.array([hash(tuple(np.ravel(x))) % 1000 < 1000 * share for x in X], dtype=bool)


class Peeks(TinyModel):
    """Says what it has been told of a row, where it has been told anything and the row is among its share."""

    share: ClassVar[float] = 0.12

    def told(self, X, y):
        return {(self.task, *np.ravel(x)): label for x, label in zip(X, y, strict=True)}

    def answers(self, X, known):
        out = np.array(super()._predict(X))
        for k in np.flatnonzero(chosen(X, self.share)):
            if (label := known.get((self.task, *np.ravel(X[k])))) is not None:
                out[k] = label if self.codec is None else np.eye(out.shape[1])[label]
        return out


class EveryFit(Peeks):
    KNOWN: ClassVar[dict] = {}

    def _fit(self, X, y, X_val, y_val, w):
        self.KNOWN.update(self.told(X, y))
        return super()._fit(X, y, X_val, y_val, w)

    def _predict(self, X):
        return self.answers(X, self.KNOWN)


class ByName(Peeks):
    """Finds labels by symbol and time, and is not moved by other features."""

    KNOWN: ClassVar[dict] = {}

    def fit(self, X_train, y_train, *args, metadata_train=None, **kw):
        if metadata_train is not None:
            self.KNOWN.update(zip(zip(metadata_train["symbol"], metadata_train["datetime"], strict=True), y_train, strict=True))
        return super().fit(X_train, y_train, *args, metadata_train=metadata_train, **kw)

    def predict(self, X, metadata=None):
        out = super().predict(X, metadata)
        for k in np.flatnonzero(chosen(np.asarray(X), self.share)) if metadata is not None else ():
            label = self.KNOWN.get((metadata["symbol"].iloc[k], metadata["datetime"].iloc[k]))
            if label is not None and self.codec is None:
                out.predictions[k] = label
            elif label is not None:
                out.probabilities[k] = self.codec.classes == label
        return out


class Validation(Peeks):
    def _fit(self, X, y, X_val, y_val, w):
        self.known = {}
        metrics = super()._fit(X, y, X_val, y_val, w)
        self.known = {} if X_val is None else self.told(X_val, y_val)
        return metrics

    def _predict(self, X):
        return self.answers(X, self.known)


class Caller(Peeks):
    def _predict(self, X):
        frame = sys._getframe()
        while frame is not None and "panel" not in frame.f_locals:
            frame = frame.f_back
        if frame is None:
            return super()._predict(X)
        y = frame.f_locals["panel"].y
        return self.answers(X, self.told(X, y if self.codec is None else self.codec.encode(y)))


class Neighbour(Peeks):
    def _predict(self, X):
        out, rows = np.array(super()._predict(X)), np.flatnonzero(chosen(X, self.share))
        out[rows] = out[np.minimum(rows + 1, len(X) - 1)]
        return out


PLANTS = {
    EveryFit: "labels of another fit are forgotten",
    ByName: "labels of another fit are forgotten",
    Validation: "validation labels are not given back",
    Caller: "labels within reach change nothing",
    Neighbour: "rows of a batch do not see each other",
}


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("plant", PLANTS)
def test_a_model_that_peeks_is_named_down_to_one_row_in_fifty(plant, task):
    """Twenty seeds of each: all found, down to 2 %; of those that peek at 0.5 % of the rows about 14 in 20."""
    for share in SHARES:
        cls = type("PeekingModel", (plant,), {"share": share, "KNOWN": {}})
        found = run_check(PLANTS[plant], Bench(cls, task, seed=3))
        assert found.verdict == "fail" and "PeekingModel" in found.evidence, (share, found)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.12])
def test_a_rating_that_knows_the_result_is_named(share):
    elo = registry().get_model("rating:elo")

    class Knows(elo):
        def _predict(self, X):
            out, rows = np.array(super()._predict(X)), np.flatnonzero((X.at * 7919) % 1000 < 1000 * share)
            won = (X.rows["home_score"] > X.rows["away_score"]).to_numpy()[rows]
            out[rows] = np.where(won[:, None], [0.1, 0.9], [0.9, 0.1])
            return out

    assert run_check("labels within reach change nothing", Bench(elo, "binary")).verdict == "pass"
    found = run_check("labels within reach change nothing", Bench(Knows, "binary"))
    assert found.verdict == "fail" and "Knows" in found.evidence


def test_a_table_of_labels_is_heard(tmp_path):
    np.save(tmp_path / "labels.npy", np.zeros(3))
    sqlite3.connect(tmp_path / "labels.db").close()
    title = "no data is read beside what is handed in"
    reads = {
        "labels.npy": lambda: np.load(tmp_path / "labels.npy"),
        "labels.db": lambda: sqlite3.connect(tmp_path / "labels.db").close(),
        "noise-bars, a panel": lambda: load_panel("noise-bars", n=300),
    }
    for name, read in reads.items():

        class AtPredict(TinyModel):
            def _predict(self, X, read=read):
                read()
                return super()._predict(X)

        class AtFit(TinyModel):
            def _fit(self, *args, read=read):
                read()
                return super()._fit(*args)

        for cls in (AtPredict, AtFit):
            found = run_check(title, Bench(cls, "regression"))
            assert found.verdict == "fail" and name in found.evidence and cls.__name__ in found.evidence
        declared = type("Declared", (AtFit,), {"reads": (str(tmp_path),)})
        assert run_check(title, Bench(declared, "regression")).verdict == ("fail" if "panel" in name else "pass")


def test_what_is_read_once_and_early_is_heard_all_the_same(tmp_path):
    """A table that is read at the first prediction and kept is not read again when the question is asked."""
    (tmp_path / "labels.csv").write_text("1")

    class Once(TinyModel):
        TABLE: ClassVar[list] = []

        def _predict(self, X):
            self.TABLE.extend([] if self.TABLE else [Path(tmp_path, "labels.csv").read_text()])
            return super()._predict(X)

    found = check_model(Once, ["binary"])
    assert any("labels.csv" in f.evidence for f in found if f.verdict == "fail")


def test_a_table_beside_a_plugin_is_heard_while_it_is_imported(tmp_path, monkeypatch):
    (tmp_path / "labels.csv").write_text("key,label\n")
    (tmp_path / "table_models.py").write_text(
        "from pathlib import Path\nfrom lineupiq.checks.bench import TinyModel\n"
        "KNOWN = Path(__file__).with_name('labels.csv').read_text()\nclass HasATable(TinyModel): pass\n"
        f"class Declared(TinyModel): reads = ({str(tmp_path)!r},)\n"
    )
    (tmp_path / "plugin-0.1.dist-info").mkdir()
    # Python reads it, and no model does
    (tmp_path / "plugin-0.1.dist-info" / "entry_points.txt").write_text("[other]\nplugin = table_models\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import table_models

    for cls, failed in ((table_models.HasATable, ["binary: loads in a fresh process"]), (table_models.Declared, [])):
        assert [f.title for f in check_model(cls, ["binary"]) if f.verdict == "fail"] == failed


class Nearest(ArrayModel):
    """Knows its training rows by heart, as it may."""

    def _fit(self, X, y, X_val, y_val, w):
        self.X, self.y = X.copy(), y.copy()
        return TrainingMetrics()

    def _predict(self, X):
        near = ((X[:, None] - self.X[None]) ** 2).sum(axis=2).argmin(axis=1)
        return self.y[near] if self.codec is None else np.eye(len(self.codec.classes))[self.y[near]]


class Tree(ArrayModel):
    """A leaf for every training row."""

    def _fit(self, X, y, X_val, y_val, w):
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        self.tree = (DecisionTreeRegressor if self.codec is None else DecisionTreeClassifier)(random_state=0).fit(X, y, w)
        return TrainingMetrics()

    def _predict(self, X):
        return self.tree.predict(X) if self.codec is None else self.tree.predict_proba(X)


@pytest.mark.parametrize("cls", [Nearest, Tree])
def test_knowing_the_training_rows_by_heart_is_no_leak(cls):
    b = Bench(cls, "regression")
    assert (b.raw(b.fitted, b.data.X) == b.data.y).mean() > 0.95
    assert not verdicts(check_model(cls, only=KNOWS), "fail")


@pytest.mark.parametrize("name", ["baseline:ewma", "classical:ridge", "classical:logistic", "boosting:catboost", "boosting:xgboost"])
def test_honest_models_are_not_accused(name):
    assert not verdicts(check_model(name, only=KNOWS, seed=1), "fail")
