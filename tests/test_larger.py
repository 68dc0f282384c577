"""Tables larger than the memory: a folder of parquet by symbol is trained on from disk, with what comes out of a training in memory."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from lineupiq.base import DataError
from lineupiq.cv import holdout
from lineupiq.data.simulate import noise_bars
from lineupiq.data.sources import load_panel
from lineupiq.data.tables import table_config, table_panel
from lineupiq.fit.inputs import ModelSpec
from lineupiq.fit.out_of_fold import fit_fold
from lineupiq.fit.settings import FitSettings
from lineupiq.training.request import TrainSettings
from lineupiq.training.runs import train_models

SEES = ["lineupiq.data.row_groups", "lineupiq.fit.inputs", "lineupiq.core.arrays"]  # whoever asks what is large
SMALL = {
    "xgboost": {"num_boost_round": 30, "n_estimators": 30},
    "lightgbm": {"num_boost_round": 30, "n_estimators": 30},
    "ridge": {},
    "gru": {"hidden_size": 4, "num_layers": 1, "seq_len": 4, "max_epochs": 2, "learning_rate": 0.01},
}


@pytest.fixture
def folder(tmp_path):
    "Three symbols, a file each, in small row groups; and the YAML."
    rng, n = np.random.default_rng(0), 500
    rows = pd.DataFrame({"day": np.tile(pd.date_range("2021-01-01", periods=n), 3), "who": np.repeat(["a", "b", "c"], n)})
    x = rng.normal(size=(3 * n, 4)).astype(np.float32)
    rows[["p", "q", "r", "s"]] = x
    rows.loc[::17, "q"] = np.nan
    rows["y"] = x[:, 0] + rng.normal(size=3 * n)
    rows.to_parquet(tmp_path / "rows", partition_cols=["who"], row_group_size=50)
    about = {
        "path": "rows",
        "task": "regression",
        "time": "day",
        "symbol": "who",
        "label": "y",
        "label_lag": "1D",
        "features": ["p", "q", "r", "s"],
    }
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(about))
    return tmp_path


@pytest.fixture
def everything_is_large(monkeypatch):
    return lambda size=0: [monkeypatch.setattr(f"{module}.BLOCKS_FROM", size) for module in SEES]


def fitted(panel, model):
    fold = holdout(*panel.clock, val=0.2, test=0.2)
    return fit_fold(panel, fold, ModelSpec(model, SMALL.get(model, {})), FitSettings())


@pytest.mark.parametrize("model", SMALL)
def test_models_fit_the_same_from_disk(folder, model, everything_is_large):
    before = fitted(table_panel(folder / "rows.yaml", described=_imputed(folder, model)), model)
    everything_is_large()
    after = fitted(table_panel(folder / "rows.yaml", described=_imputed(folder, model)), model)
    a, b = (f.predictions["prediction"].to_numpy() for f in (before, after))
    assert before.predictions[["row", "symbol", "y"]].equals(after.predictions[["row", "symbol", "y"]])
    if model == "xgboost":  # the borders of bins are merged from the blocks
        assert (
            np.abs(a - b).max() < 0.1 * a.std() and abs(before.metrics.val_loss - after.metrics.val_loss) < 5e-3 * before.metrics.val_loss
        )
    else:
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * a.std())


def _imputed(folder, model):
    "Ridge takes no gaps: it trains on the columns that have none."
    about = table_config(folder / "rows.yaml")
    return replace(about, features=["p", "r", "s"]) if model == "ridge" else about


def test_what_comes_later_changes_nothing_that_was_learnt(folder, everything_is_large):
    everything_is_large()
    panel = table_panel(folder / "rows.yaml")
    fold = holdout(*panel.clock, val=0.2, test=0.2)
    cut = pd.Timestamp(panel.times[fold.test].min())
    for file in (folder / "rows").rglob("*.parquet"):
        rows = pd.read_parquet(file, partitioning=None)
        late = rows["day"] >= cut
        rows.loc[late, ["p", "q", "r", "s"]] = np.random.default_rng(1).normal(9, 1, (int(late.sum()), 4))
        rows.loc[late, "y"] = np.random.default_rng(2).normal(-50, 9, int(late.sum()))
        rows.to_parquet(file, index=False, row_group_size=50)
    spoilt = table_panel(folder / "rows.yaml")
    for model in ("xgboost", "lightgbm", "gru"):
        old, new = (fit_fold(p, fold, ModelSpec(model, SMALL[model]), FitSettings(refit=False)).predictions for p in (panel, spoilt))
        assert old[old["split"] == "val"]["prediction"].equals(new[new["split"] == "val"]["prediction"])


def test_the_prior_needs_no_matrix(folder, everything_is_large, monkeypatch):
    "The rule that stands beside every model takes as many rows as the model does."
    from lineupiq.core.arrays import RowBlocks

    everything_is_large()
    panel = table_panel(folder / "rows.yaml")
    made, read = [], RowBlocks.__array__
    monkeypatch.setattr(RowBlocks, "__array__", lambda self, *a, **k: made.append(len(self)) or read(self, *a, **k))
    done = fitted(panel, "prior")
    assert len(done.predictions) and not [n for n in made if n == done.model.rows_seen["train"]], made


def test_a_run_trains_scores_and_predicts_from_disk(folder, tmp_path, everything_is_large):
    everything_is_large(8 * 4 * 600)  # bytes of 600 rows: those that train, not those that are explained
    panel = table_panel(folder / "rows.yaml")
    run = train_models(
        panel,
        ["xgboost", "lightgbm"],
        None,
        {n: SMALL[n] for n in ("xgboost", "lightgbm")},
        TrainSettings(output=str(tmp_path / "runs"), isolate=False, acknowledged=("xgboost", "lightgbm")),
    )
    assert set(run.board["model"]) >= {"xgboost", "lightgbm", "ewma"} and run.board["score"].notna().all()


@pytest.fixture
def bars_folder(tmp_path):
    "Three symbols, a file each; the volume of one is not recorded."
    bars = noise_bars(900, symbols=3, seed=1)
    (tmp_path / "bars").mkdir()
    for symbol, rows in bars.groupby("symbol"):
        rows = rows.drop(columns="symbol").assign(**({"volume": 0.0} if symbol == "NOISE2" else {}))
        rows.to_parquet(tmp_path / "bars" / f"{symbol}_5min.parquet", row_group_size=100)
    return tmp_path / "bars"


def both_ways(everything_is_large, *args, **options):
    "A panel of bars as it is made in memory, and by symbol."
    memory = load_panel("bars", *args, **options)
    everything_is_large()
    disk = load_panel("bars", *args, **options)
    assert isinstance(disk.frame["atr_14"].to_numpy().base.base, np.memmap) and not isinstance(
        memory.frame["atr_14"].to_numpy().base, np.memmap
    )
    return memory, disk


@pytest.mark.parametrize("options", [{}, {"weights": "uniqueness"}, {"timezone": "UTC"}, {"symbols": ["NOISE0", "NOISE2"]}])
def test_bars_by_symbol_are_the_panel_of_all(bars_folder, options, everything_is_large):
    memory, disk = both_ways(everything_is_large, path=str(bars_folder), horizon=5, **options)
    pd.testing.assert_frame_equal(memory.frame, disk.frame)
    assert (memory.meta, memory.features) == (disk.meta, disk.features)


def test_bars_of_two_zones_are_told_in_one(bars_folder, everything_is_large):
    file = bars_folder / "NOISE1_5min.parquet"
    rows = pd.read_parquet(file)
    rows.assign(time=rows["time"].dt.tz_convert("US/Eastern")).to_parquet(file)
    memory, disk = both_ways(everything_is_large, path=str(bars_folder), horizon=5)
    pd.testing.assert_frame_equal(memory.frame, disk.frame)
    rows.assign(time=rows["time"].dt.tz_localize(None)).to_parquet(file)
    with pytest.raises(DataError, match="with and without a time zone"):
        load_panel("bars", path=str(bars_folder), horizon=5)


def test_a_model_of_bars_by_symbol_is_that_of_all(bars_folder, everything_is_large):
    memory, disk = both_ways(everything_is_large, path=str(bars_folder), horizon=5)
    a, b = (fitted(panel, "lightgbm").predictions for panel in (memory, disk))
    columns = [c for c in a if c.startswith("prob")]
    np.testing.assert_allclose(a[columns], b[columns], rtol=0, atol=1e-9)
