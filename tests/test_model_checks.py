"""The battery over every registered model, in as many fresh processes as there are models, and over faults that only a file on disk can show."""
import os
import subprocess
import sys
import textwrap

import pytest

from lineupiq.checks.bench import CHECKS, TinyModel
from lineupiq.checks.contract import BrokenContract, check_model
from lineupiq.checks.findings import Finding
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
    (tmp_path / "shelf_models.py").write_text(textwrap.dedent('''
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
    '''))
    monkeypatch.syspath_prepend(str(tmp_path))
    import shelf_models
    yield shelf_models
    del sys.modules["shelf_models"]


def verdicts(findings: list[Finding], verdict: str) -> list[str]:
    return [f"{f.title}: {f.evidence}" for f in findings if f.verdict == verdict]


def test_the_members_are_there():
    assert {"boosting:xgboost", "boosting:lightgbm", "boosting:catboost", "classical:ridge", "baseline:prior"} <= set(AVAILABLE)
    assert {f"neural:{n}" for n in ("lstm", "gru", "tcn", "transformer")} | {f"ensemble:{n}" for n in ("voting", "stacking", "blending")} <= set(AVAILABLE)
    assert {"timeseries:nhits", "timeseries:tft", "rating:elo", "classical:logistic", "classical:svm", "classical:random_forest"} <= set(AVAILABLE)


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
    for name, tasks in {"boosting:xgboost": None, "boosting:catboost": None, "classical:logistic": None, "classical:ridge": None, "baseline:ewma": None}.items():
        for f in check_model(name, tasks, only=[t for t in CHECKS if t.startswith("a weight of")]):
            assert float(f.evidence.split("stand for ")[1].split()[0]) < 1e-6, (name, f)


def test_other_seeds_ask_the_same_questions():
    for seed in (1, 2):
        assert not verdicts(check_model(TinyModel, seed=seed), "fail") and not verdicts(check_model("xgboost", ["multiclass"], seed=seed), "fail")


@pytest.mark.parametrize("fault, title", [("SavesPickle", "saved without a pickle"), ("Forgetful", "loads in a fresh process"),
                                          ("ClassesLostOnDisk", "saved without a pickle"), ("ClassesLostOnDisk", "loads in a fresh process")])
def test_faults_on_disk_are_caught(shelf, fault, title):
    assert not verdicts(check_model(shelf.Keeps, ["multiclass"]), "fail")
    assert any(title in t for t in verdicts(check_model(getattr(shelf, fault), ["multiclass"]), "fail"))


def test_raise_on_fail_names_the_first_failure(shelf):
    with pytest.raises(BrokenContract, match="SavesPickle breaks the contract in 2 of 26 checks") as caught:
        check_model(shelf.SavesPickle, ["binary"], raise_on_fail=True)
    assert caught.value.exit_code == 1 and "weights.ubj" in str(caught.value)


def test_checks_hold_under_optimised_python():
    """`python -O` removes assert statements; the battery must not depend on them."""
    code = ("from lineupiq.checks.bench import TinyModel\nfrom lineupiq.checks.contract import check_model\n"
            "class Ignores(TinyModel):\n    def _fit(self, X, y, Xv, yv, w): return super()._fit(X, y, Xv, yv, None)\n"
            "print(sorted(f.title for f in check_model(Ignores, ['binary']) if f.verdict == 'fail'))")
    out = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, env=os.environ, timeout=120, check=True).stdout
    assert out.strip() == "['binary: a weight of 2 is the row twice']"
