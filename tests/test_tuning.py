"""Declared spaces, the one contract of all of them; a search that cannot see the test; grids of the rating model; what is refused."""

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import ConfigError, JobError
from lineupiq.core.space import Choice, Float, Int, Space, read_space, space_problems, space_record
from lineupiq.data.making import make_panel
from lineupiq.registry import registry
from lineupiq.tuning.objective import Objective, development_panel, stops_on_rows
from lineupiq.tuning.search import tune_model
from lineupiq.tuning.settings import SearchSettings
from lineupiq.tuning.spaces import search_spaces

SPACES = search_spaces()
EMPTY = {"baseline:prior", "baseline:last_value", "baseline:ewma"}


def table(n=900, seed=0, task="regression"):
    "Rows of three symbols whose label is a slope and a sine."
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "symbol": np.tile(["a", "b", "c"], n // 3),
            "time": pd.date_range("2020", periods=n // 3).repeat(3),
            "a": rng.normal(size=n),
            "b": rng.normal(size=n),
        }
    )
    frame["label"] = 2 * frame["a"] + np.sin(3 * frame["b"]) + rng.normal(size=n)
    frame["label_end"] = frame["time"] + pd.Timedelta(days=1)
    if task == "binary":
        frame["label"] = (frame["label"] > 0).astype(int)
    return frame


@pytest.mark.parametrize("name", sorted(SPACES))
def test_every_model_declares_a_space(name):
    "Names are fields of the configuration, every end is accepted, the record is read back, an empty one says why."
    space, cls = SPACES[name], registry().get_model(name)
    assert not space_problems(space, cls)
    assert all(p.doc for p in space.params.values())
    assert bool(len(space)) != (name in EMPTY) and (len(space) or space.note)
    if len(space):
        assert read_space(space_record(space), cls) == (Space(dict(space.params)), [])
        middle = {n: p.values(3)[1 if len(p.values(3)) > 1 else 0] for n, p in space.params.items()}
        cls.Config(**middle).validate()
        for corner in ("low", "high"):
            cls.Config(
                **{
                    n: (p.options[0 if corner == "low" else -1] if isinstance(p, Choice) else getattr(p, corner))
                    for n, p in space.params.items()
                }
            ).validate()


def test_document_ranges():
    "XGBoost's are those of the first document, also behind get_xgb_params."
    import optuna
    from lineupiq.models.training import get_xgb_params

    p = SPACES["boosting:xgboost"].params
    bare = {n: (v.low, v.high, v.log, type(v)) for n, v in p.items()}
    assert bare == {
        "max_depth": (3, 9, False, Int),
        "learning_rate": (0.01, 0.3, True, Float),
        "n_estimators": (100, 500, False, Int),
        "min_child_weight": (1, 20, False, Int),
        "subsample": (0.6, 1.0, False, Float),
        "colsample_bytree": (0.6, 1.0, False, Float),
        "reg_alpha": (1e-8, 10.0, True, Float),
        "reg_lambda": (1e-8, 10.0, True, Float),
    }
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    assert set(get_xgb_params(trial)) == set(p) and trial.distributions["reg_alpha"].log


@pytest.mark.parametrize("model", ["xgboost", "lightgbm", "catboost", "ridge"])
def test_the_test_rows_are_out_of_reach(model):
    "Whatever stands at or after the cut, every trial is the same."
    frame = table()
    poisoned, late = frame.copy(), frame["label_end"] >= "2020-09-01"
    poisoned.loc[late, ["a", "b", "label"]] = 50 * np.random.default_rng(1).normal(size=(int(late.sum()), 3))
    small = None if model == "ridge" else Space({"n_estimators": Int(5, 30), "learning_rate": Float(0.05, 0.5, log=True)})
    found = [
        tune_model(
            development_panel(make_panel(f, ["a", "b"], task="regression"), "2020-09-01"),
            model,
            SearchSettings(n_trials=5, n_splits=3, space=small),
        )
        for f in (frame, poisoned)
    ]
    pd.testing.assert_frame_equal(*(r.trials.drop(columns="seconds") for r in found))


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_lanes_change_nothing(lanes):
    "The scores of a search do not depend on how its fits were dealt out."
    dev = development_panel(make_panel(table(), ["a", "b"], task="regression"))
    space = Space({"n_estimators": Int(5, 40), "max_depth": Int(1, 5)})
    one, many = (
        tune_model(dev, "xgboost", SearchSettings(n_trials=6, n_splits=3, space=space, n_jobs=n, pruner="none", sampler="random"))
        for n in (1, lanes)
    )
    pd.testing.assert_frame_equal(one.trials.drop(columns="seconds"), many.trials.drop(columns="seconds"), rtol=1e-9)


@pytest.mark.parametrize("model", ["xgboost", "lightgbm", "catboost", "ridge", "random_forest"])
def test_a_column_that_begins_late(model):
    "A feature that did not exist in the first folds' years does not end the search."
    frame = table().assign(late=lambda f: np.where(f["time"] < "2020-08-01", np.nan, f["a"] + 1))
    dev = development_panel(make_panel(frame, ["a", "b", "late"], task="regression"))
    assert (
        len(
            Objective(dev, model, SearchSettings(n_splits=3), searched=["n_estimators"]).score(
                {"n_estimators": 10} if model != "ridge" else {}
            )
        )
        == 3
    )


def test_weights_reach_the_bins():
    "Weighted rows are scored like the plain path scores them."
    from lineupiq.fit.inputs import ModelSpec
    from lineupiq.fit.out_of_fold import fit_fold

    frame = table().assign(weight=np.linspace(0.1, 3, 900))
    dev = development_panel(make_panel(frame, ["a", "b"], task="regression"))
    for name in ("xgboost", "lightgbm", "catboost"):
        objective = Objective(dev, name, SearchSettings(n_splits=2), searched=["n_estimators"])
        for params in ({"n_estimators": 20, "max_depth": 3}, {"n_estimators": 25, "max_depth": 5}):
            ours = objective.score(params, 1)[1].score
            plain = fit_fold(dev, objective.folds[1].fold, ModelSpec(name, {**params, "n_jobs": 1})).predictions
            assert ours == pytest.approx(float(np.sqrt(np.mean((plain["y"] - plain["prediction"]) ** 2))), rel=1e-5)


@pytest.mark.parametrize("model", ["xgboost", "lightgbm", "catboost"])
def test_classes_and_stopping(model):
    "In a plain search without the number of rounds, the inner validation rows stop; classes are scored by log loss."
    dev = development_panel(make_panel(table(task="binary"), ["a", "b"], task="binary"))
    r = tune_model(
        dev,
        model,
        SearchSettings(n_trials=3, n_splits=2, plain=True, space=Space({"max_depth": Int(2, 4), "learning_rate": Float(0.1, 0.5)})),
    )
    assert r.metric == "log_loss" and r.objective.folds[0].stop is not None and "early_stopping" not in r.config
    assert stops_on_rows(r.objective.spec.cls, ["max_depth"]) and r.score < 0.69


@pytest.mark.parametrize("task", ["regression", "binary"])
@pytest.mark.parametrize("model", ["xgboost", "lightgbm", "catboost"])
def test_rounds_are_read_off(model, task):
    """Folds grow together: the score is that of a plain fit with the rounds that were kept, whatever the lanes; the first trial is the
    defaults; no test row outside of its fold is seen."""
    dev = development_panel(make_panel(table(task=task), ["a", "b"], task=task))
    found = [
        tune_model(dev, model, SearchSettings(n_trials=5, n_splits=3, seed=1, n_jobs=lanes, config={"num_boost_round": 120}))
        for lanes in (1, 2, 3)
    ]
    assert len({(f.score, tuple(f.fold_scores), f.best_trial, str(f.params)) for f in found}) == 1, [(f.score, f.params) for f in found]
    r = found[0]
    assert (
        r.config["early_stopping"] is False
        and 1 <= r.params["n_estimators"] <= 120
        and r.trials["n_estimators"].notna().sum() == r.counts["complete"]
    )
    plain = Objective(dev, model, SearchSettings(n_splits=3, plain=True), searched=["n_estimators"]).score(r.params, 1)
    assert [s.score for s in plain] == pytest.approx(r.fold_scores, rel=1e-6)
    first = r.study.get_trials()[0].params
    usual = registry().get_model(model).Config()
    assert first["learning_rate"] == usual.learning_rate and first["subsample"] == usual.subsample
    better = min(r.study.get_trials(), key=lambda t: t.value if t.state.name == "COMPLETE" else np.inf)
    assert better.value <= r.study.get_trials()[0].value


def test_elo_grid_of_27():
    "Three by three by three constants on five folds: 135 fits, Decimals in, Decimals out."
    from decimal import Decimal
    from lineupiq.data.game_log import make_log

    rng, rows = np.random.default_rng(0), []
    teams = [f"t{k}" for k in range(8)]
    for season in range(2010, 2016):
        for week in range(14):
            for home, away in rng.permutation(teams).reshape(-1, 2):
                when = pd.Timestamp(season, 9, 1) + pd.Timedelta(days=7 * week)
                a, b = rng.poisson(21 + 2 * teams.index(home) % 5), rng.poisson(19)
                rows.append((home, away, float(a), float(b + (a == b)), season, when, when + pd.Timedelta(hours=4)))
    log = make_log(pd.DataFrame(rows, columns=["home", "away", "home_score", "away_score", "season", "time", "known"]))
    frame = pd.DataFrame(
        {
            "symbol": log["home"],
            "time": log["time"],
            "label_end": log["known"],
            "label": (log["home_score"] > log["away_score"]).astype(int),
            "x": 0.0 + np.arange(len(log)) % 7,
            "log_row": np.arange(len(log)),
        }
    )
    panel = make_panel(frame, ["x"], task="binary", name="games")
    panel.log, panel.frame["log_row"] = log, np.arange(len(panel))
    dev = development_panel(panel, "2015-09-01")
    assert dev.log["time"].max() < pd.Timestamp("2015-09-01")
    grid = {
        "k_factor": [Decimal(24), Decimal(32), Decimal(40)],
        "home_advantage": [Decimal(50), Decimal(55), Decimal(60)],
        "mean_reversion": [Decimal(".25"), Decimal(".33"), Decimal(".50")],
    }
    r = tune_model(dev, "elo", SearchSettings(method="grid", grid=grid))
    assert r.counts["complete"] == 27 and r.counts["fits"] == 135 and r.direction == "minimize"
    assert all(isinstance(v, Decimal) and v in grid[k] for k, v in r.params.items()) and all(
        isinstance(v, (int, float)) for v in r.config.values()
    )
    assert r.score == r.trials["score"].min()


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "cmaes", "nsgaii"])
def test_samplers(sampler):
    "Each proposes inside the ranges, and the same again."
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    dev = development_panel(make_panel(table(300), ["a", "b"], task="regression"))
    two = [tune_model(dev, "ridge", SearchSettings(n_trials=8, n_splits=2, sampler=sampler)).trials for _ in range(2)]
    assert two[0]["alpha"].between(1e-4, 10).all() and two[0]["alpha"].nunique() == 8
    pd.testing.assert_frame_equal(*(t.drop(columns="seconds") for t in two))


@pytest.mark.parametrize("pruner", ["margin", "median", "percentile", "halving", "hyperband", "wilcoxon", "none"])
def test_pruners(pruner):
    "Each ends with the number of trials that was asked for, and a best trial whose folds are all there."
    dev = development_panel(make_panel(table(600), ["a", "b"], task="regression"))
    r = tune_model(
        dev,
        "xgboost",
        SearchSettings(n_trials=8, n_splits=3, pruner=pruner, space=Space({"n_estimators": Int(2, 40), "max_depth": Int(1, 4)})),
    )
    assert r.counts["complete"] + r.counts["pruned"] == 8 and len(r.fold_scores) == 3 and (pruner != "none" or r.counts["fits"] == 24)


def test_failures_and_limits():
    "A model that never fits ends the search with exit code 8; a time limit keeps what is done."
    dev = development_panel(make_panel(table(300), ["a", "b"], task="regression"))
    with pytest.raises(JobError, match="most proposals") as err:
        tune_model(dev, "xgboost", SearchSettings(n_trials=20, n_splits=2, space=Space({"objective": Choice(("nonsense", "rubbish"))})))
    assert err.value.exit_code == 8
    r = tune_model(dev, "ridge", SearchSettings(n_trials=100_000, n_splits=2, timeout=0.5))
    assert 0 < r.counts["complete"] < 100_000 and "time limit" in r.notes[0]
    with pytest.raises(ConfigError, match="timeout"):
        tune_model(dev, "ridge", SearchSettings(timeout=-1))


def test_selection_over_seeds_with_pruning():
    "Giving up early costs at most half a per cent of the best score over five seeds."
    dev = development_panel(make_panel(table(1500), ["a", "b"], task="regression"))
    space = Space(
        {"n_estimators": Int(5, 80), "max_depth": Int(1, 6), "learning_rate": Float(0.02, 0.5, log=True), "subsample": Float(0.5, 1)}
    )
    for seed in range(5):
        full, short = (
            tune_model(dev, "xgboost", SearchSettings(n_trials=15, n_splits=4, space=space, seed=seed, pruner=p))
            for p in ("none", "margin")
        )
        assert short.score <= full.score * 1.005 and short.counts["fits"] < full.counts["fits"]


# What a search is told, and what it says


def tuned(folder, **flags):
    "One proposal for logistic regression on the simulated league, through the command's body."
    from lineupiq.workflows.requests import TuneRequest
    from lineupiq.workflows.tune import run_tuning

    class Quiet:
        def begin(self, model, n):
            self.n = n

        def __call__(self, facts): ...
        def stop(self): ...

    heard, lines = Quiet(), []
    given = {
        "data": "league",
        "model": ["logistic"],
        "n_trials": 1,
        "n_splits": 2,
        "mlflow": False,
        "output": folder / "out",
        "storage": f"sqlite:///{folder}/s.db",
        **flags,
    }
    return run_tuning(TuneRequest.from_mapping(given), heard, lines.append)[0], heard, "\n".join(lines)


def spaces_file(folder, text):
    "A file of ranges."
    file = folder / "space.yaml"
    file.write_text(text)
    return file


RANGE = "{type: float, low: 0.1, high: 5}"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bob@127.0.0.1:1/db?password=S3CRET",
        "mysql://bob:S3C@RET@h/db",
        "postgresql://:S3CRET@localhost:notaport/db",
        "bob:S3CRET@h/db",
        "mysql://bob:S3?CRET@h/db",
        "postgresql://h/db?user=a@b&password=x@S3CRET",
        "oracle+nothing://u:S3CRET@h/d",
    ],
)
def test_no_error_repeats_a_password(url):
    "Neither where the address cannot be read nor where it cannot be reached; a bug it is not."
    from lineupiq.base import LineupIQError
    from lineupiq.core.files import shown
    from lineupiq.tuning.studies import open_storage

    with pytest.raises(LineupIQError) as err:
        open_storage(url)
    assert err.value.exit_code in (2, 7) and not any(part in f"{err.value}{shown(url)}" for part in ("S3", "RET"))


def test_one_function_hides_secrets():
    "The search's storage and the tracker's address are shown by the same one."
    import lineupiq.core.files
    import lineupiq.tuning.studies
    import lineupiq.tracking.tracker

    assert lineupiq.core.files.shown is lineupiq.tracking.tracker.shown is lineupiq.tuning.studies.shown


def test_secret_of_a_query_is_not_written(tmp_path):
    "Nor into result.json, from where it would reach the tracker."
    tuned(tmp_path, storage=f"sqlite:///{tmp_path}/x.db?password=S3CRET&timeout=9")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file() and b"S3CRET" in p.read_bytes()]


def test_seed_is_checked(tmp_path):
    "As the file's is."
    from lineupiq.workflows.requests import TuneRequest

    dev = development_panel(make_panel(table(300), ["a", "b"], task="regression"))
    for bad in (2**32, -1):
        with pytest.raises(ConfigError, match="seed: expected"):
            TuneRequest.from_mapping({"model": "ridge", "seed": bad})
        with pytest.raises(ConfigError, match="seed: expected"):
            tune_model(dev, "ridge", SearchSettings(n_trials=1, seed=bad))
    assert TuneRequest.from_mapping({"model": "ridge", "seed": 2**32 - 1}).search.seed == 2**32 - 1


@pytest.mark.parametrize(
    "entry",
    [5, {"model": 7, "config": {}}, {"model": "xgboost", "config": {"max_depth": 3}}, {"model": "classical:logistic"}, {"config": [1]}],
)
def test_damaged_best_settings_end_a_search_before_it_begins(tmp_path, entry):
    "With the file and the entry named, and for `train --use-best` too."
    import json
    from lineupiq.base import IntegrityError
    from lineupiq.tuning.best_settings import BEST_FILE, load_best

    file, key = tmp_path / "out" / BEST_FILE, "league_simulated_h1/logistic"
    file.parent.mkdir()
    file.write_text(json.dumps({"format": 1, "entries": {key: entry}}))
    for call in (lambda: tuned(tmp_path), lambda: load_best(file, key)):
        with pytest.raises(IntegrityError, match=key) as err:
            call()
        assert err.value.exit_code == 4 and err.value.where == str(file)
    assert not (tmp_path / "s.db").exists()


def test_output_is_tried_before_the_search(tmp_path):
    "A folder that cannot be made costs no trial."
    from lineupiq.base import EnvironmentFault

    with pytest.raises(EnvironmentFault, match="cannot write"):
        tuned(tmp_path, output="/dev/null/x")
    assert not (tmp_path / "s.db").exists()


def test_ranges_of_another_model_are_refused(tmp_path):
    "The model's own ranges would be searched without a word."
    with pytest.raises(ConfigError, match="no ranges for logistic") as err:
        tuned(tmp_path, space=spaces_file(tmp_path, "spaces:\n  xgboost:\n    max_depth: {type: int, low: 2, high: 5}\n"))
    assert "space.yaml" in err.value.where and not (tmp_path / "s.db").exists()
    tuned(tmp_path, space=spaces_file(tmp_path, f"spaces:\n  logistic:\n    C: {RANGE}\n"))


def test_a_grid_says_its_size_and_ignores_nothing(tmp_path):
    "Numbers of trials and samplers are refused; the combinations are counted before the first."
    for more in ({"n_trials": 2}, {"n_trials": None, "sampler": "gp"}):
        with pytest.raises(ConfigError, match="would do nothing"):
            tuned(tmp_path, method="grid", **more)
    told, heard, said = tuned(
        tmp_path, method="grid", n_trials=None, space=spaces_file(tmp_path, f"spaces:\n  logistic:\n    C: {RANGE}\n")
    )
    assert heard.n == told["trials"]["complete"] == 3 and "3 combinations, 6 fits" in said.splitlines()[1]


@pytest.mark.parametrize(
    "text,said",
    [
        (f"spaces:\n  logistc:\n    C: {RANGE}\n", "logistc.*did you mean 'logistic'.*space.yaml:2"),
        ("tuning:\n  seed: 3\n  sampler: tpx\n", "sampler.*tpx.*space.yaml:3"),
        (f"spaces:\n  logistic: {{C: {RANGE}}}\n  'classical:logistic': {{C: {RANGE}}}\n", "logistic stands there twice.*space.yaml:1"),
    ],
)
def test_files_of_ranges_are_refused_with_their_line(tmp_path, text, said):
    "A model that there is not, a sampler that there is not, one model under two names."
    from lineupiq.workflows.requests import TuneRequest
    from lineupiq.workflows.tune import resolved

    with pytest.raises(ConfigError, match=f"(?s){said}"):
        resolved(TuneRequest.from_mapping({"model": "logistic", "space": spaces_file(tmp_path, text)}))


def test_defaults_that_win_are_written(tmp_path):
    "A search that does not beat them leaves an entry that training can use, and the second one keeps it."
    from lineupiq.tuning.best_settings import load_best, read_best

    poor = spaces_file(tmp_path, "spaces:\n  logistic:\n    C: {type: float, low: 1.0e-9, high: 2.0e-9}\n")
    for _ in range(2):
        told, _, said = tuned(tmp_path, space=poor)
        entry = read_best(told["best_file"])[told["key"]]
        assert not told["replaced"] and "holds the shipped defaults: the new settings are not better" in said
        assert (
            load_best(told["best_file"], told["key"]) == {}
            and entry["settings"] == "the shipped defaults"
            and entry["score"] == told["comparison"]["incumbent"]
        )


def test_two_trials_have_no_share_of_overfitting():
    "Four neither; five do."
    from lineupiq.tuning.overfitting import search_overfitting

    dev = development_panel(make_panel(table(300), ["a", "b"], task="regression"))
    found = [search_overfitting(tune_model(dev, "ridge", SearchSettings(n_trials=n, n_splits=2, pruner="none"))) for n in (2, 4, 5)]
    assert found[0][0] is found[1][0] is None and "2 finished trials" in found[0][1] and found[2][0].trials == 5
