"""Histories that the library builds: against a loop over rows, against pandas, with another future, through the commands, and beside
features made by hand."""

import builtins
import time

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import ConfigError, DataError, MissingExtra
from lineupiq.cli.program import exit_code
from lineupiq.data.history import history_columns, plain_history, random_rows
from lineupiq.data.history_words import history_entries
from lineupiq.data.sources import load_panel
from lineupiq.data.tables import table_config, table_panel
from lineupiq.scoring.intervals import skill_interval
from lineupiq.training.fitting import SplitPlan
from lineupiq.training.runs import TrainSettings, train_models

EVERY = {"last": [1, 2, 7, "3D"], "mean": [1, 5, 28, "6D"], "sd": [2, 9, "12D"], "ewma": [0.5, 6], "change": [1, 3, "5D"], "since": True}
ENTRIES, _ = history_entries(
    {f"{column}{whose}": [EVERY, {**EVERY, "same": "weekday"}] for column in ("label", "x") for whose in ("", " by city", " against rival")}
    | {"x by rival": {"mean": [3], "outcome": True}}
)


# --- the engine ---


@pytest.mark.parametrize("lag", [None, "0h", "14h", "120h"])
@pytest.mark.parametrize("seed", [11, pytest.param(12, marks=pytest.mark.slow)])
def test_columns_are_those_of_a_plain_loop(seed, lag):
    rows = random_rows(100, seed, lag)
    pd.testing.assert_frame_equal(history_columns(rows, ENTRIES), plain_history(rows, ENTRIES), rtol=1e-9, atol=1e-9)


def test_labels_known_at_once_are_pandas_windows():
    rows = random_rows(3000, 5, "0h").dropna(subset=["label", "label_end"]).sort_values("time").reset_index(drop=True)
    got, past = history_columns(rows, ENTRIES), rows.groupby("symbol")["label"]
    same_day = rows.groupby(["symbol", rows["time"].dt.dayofweek])["label"]
    timed = rows.set_index("time").groupby("symbol")["label"].rolling("6D", closed="left").mean()
    want = {
        "label_last_7": past.shift(7),
        "label_same_weekday_last_2": same_day.shift(2),
        "label_change_3": past.shift(1) - past.shift(4),
        "label_mean_28": past.transform(lambda s: s.shift(1).rolling(28, min_periods=1).mean()),
        "label_sd_9": past.transform(lambda s: s.shift(1).rolling(9, min_periods=2).std()),
        "label_ewma_6": past.transform(lambda s: s.shift(1).ewm(halflife=6).mean()),
        "label_mean_6D": pd.Series(timed.reindex(pd.MultiIndex.from_frame(rows[["symbol", "time"]])).to_numpy()),
    }
    for name, column in want.items():
        np.testing.assert_allclose(got[name], column, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("lag", [None, "0h", "120h"])
def test_another_future_changes_no_bit_of_the_past(lag):
    rows = random_rows(1200, 21, lag)
    clean, rng = history_columns(rows, ENTRIES), np.random.default_rng(1)
    for moment in rows["time"].quantile([0.1, 0.4, 0.7, 0.95]):
        late, later = rows["label_end"] > moment, rows["time"] > moment
        other = rows.assign(
            label=rows["label"].mask(late, 1e9 * rng.normal(size=len(rows))),
            x=rows["x"].mask(later, -1e9),
            city=rows["city"].mask(later, "Q"),
            rival=rows["rival"].mask(later, "v"),
        )
        again = history_columns(other, ENTRIES)
        known_x = [c for c in clean if not c.startswith("x_by_rival_mean")]  # an outcome that was named so: its values end with the label
        pd.testing.assert_frame_equal(clean.loc[~later, known_x], again.loc[~later, known_x], check_exact=True)
        cut = history_columns(rows[~later].assign(label=rows["label"].mask(late)), ENTRIES)
        pd.testing.assert_frame_equal(clean[~later], cut, check_exact=True)


def test_any_order_of_rows_gives_the_same_columns():
    rows = random_rows(500, 31)
    clean = history_columns(rows, ENTRIES)
    for seed in range(3):
        mixed = rows.sample(frac=1, random_state=seed)
        pd.testing.assert_frame_equal(clean.loc[mixed.index], history_columns(mixed, ENTRIES), check_exact=True)


def test_the_last_outcomes_of_slow_labels_are_out_of_reach():
    "Labels of five rows: whatever is planted in the last five outcomes, no row sees it."
    rows = pd.DataFrame(
        {
            "symbol": np.repeat(["a", "b"], 60),
            "time": [*pd.date_range("2024-01-01", periods=60)] * 2,
            "label": np.random.default_rng(0).normal(size=120),
            "x": 0.0,
            "city": "P",
            "rival": "u",
        }
    )
    rows["label_end"] = rows["time"] + pd.Timedelta("5D")
    last = rows["time"] > rows["time"].max() - pd.Timedelta("5D")
    pd.testing.assert_frame_equal(
        history_columns(rows, ENTRIES), history_columns(rows.assign(label=rows["label"].mask(last, 1e12)), ENTRIES), check_exact=True
    )
    one_more = last | (rows["time"] == rows["time"][~last].max())
    seen = (
        history_columns(rows, ENTRIES)["label_last_1"]
        != history_columns(rows.assign(label=rows["label"].mask(one_more, 1e12)), ENTRIES)["label_last_1"]
    )
    assert set(rows["time"][seen & rows["label"].notna()]) >= {rows["time"].max()}


def test_rows_of_one_timestamp_do_not_see_each_other():
    rows = pd.DataFrame({"symbol": list("abc"), "time": pd.Timestamp("2024-01-01"), "label": [1.0, 2, 3], "city": "P"})
    assert (
        history_columns(
            rows, history_entries({"label": {"last": [1]}, "label by city": {"mean": [5]}, "label against city": {"mean": [5]}})[0]
        )
        .isna()
        .all(axis=None)
    )


def test_a_hundred_thousand_rows_take_a_moment():
    "A million rows and ten columns in ten seconds, so a tenth of them in one of processor time, with room for a slow machine."
    entries, _ = history_entries(
        {
            "label": {"last": [1, 7], "mean": [7, "7D"], "sd": [28], "ewma": [6]},
            "label by city": {"mean": [7], "ewma": [6]},
            "label against rival": {"mean": [28], "last": [1]},
        }
    )
    history_columns(random_rows(90), entries)  # compiles
    n, rng = 100_000, np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "symbol": rng.integers(0, 500, n).astype(str),
            "time": pd.Timestamp("2020") + pd.to_timedelta(rng.integers(0, 10**6, n), unit="min"),
            "label": rng.normal(size=n),
            "city": rng.integers(0, 20, n),
            "rival": rng.integers(0, 20, n),
        }
    )
    began = time.process_time()
    assert history_columns(rows, entries).shape == (n, 10)
    assert time.process_time() - began < 3


# --- the table ---

BAKERY = """name: bakery
path: sales.csv
task: regression
label_kind: count
symbol: shop
time: morning
label: loaves
label_lag: 14h
upcoming: true
"""
BUILT = (
    BAKERY
    + """history:
  loaves: {last: [1], mean: [6], same: weekday}
calendar: [weekday]
features: {shop: category, holiday: numeric, forecast_temp: numeric}
"""
)
BY_HAND = (
    BAKERY
    + "features: {shop: category, weekday: category, holiday: numeric, forecast_temp: numeric, loaves_week_ago: numeric, usual: numeric}\n"
)


def bakery(folder, days=800, seed=7):
    "Three shops, with the features that a careful person makes by hand beside them; the last day is tomorrow."
    rng, days = np.random.default_rng(seed), pd.date_range("2024-01-01 05:00", periods=days, freq="D")
    parts = []
    for shop, level in {"Harbour": 210, "Market": 340, "Station": 150}.items():
        day = pd.DataFrame(
            {
                "shop": shop,
                "morning": days,
                "weekday": days.day_name(),
                "holiday": (rng.random(len(days)) < 0.03).astype(int),
                "forecast_temp": (12 - 9 * np.cos(2 * np.pi * days.dayofyear / 365) + rng.normal(0, 3, len(days))).round(1),
            }
        )
        demand = (
            level
            * np.where(days.dayofweek == 5, 1.2, np.where(days.dayofweek == 6, 0.8, 1))
            * (1 - 0.3 * day["holiday"])
            * (1 - 0.008 * (day["forecast_temp"] - 12))
        )
        parts.append(day.assign(loaves=rng.poisson(demand * np.exp(rng.normal(0, 0.06, len(days))))))
    sales = pd.concat(parts).sort_values(["morning", "shop"])
    same_day = sales.groupby(["shop", "weekday"])["loaves"]
    sales["loaves_week_ago"], sales["usual"] = same_day.shift(1), same_day.transform(lambda s: s.shift(1).rolling(6, min_periods=2).mean())
    sales["loaves"] = sales["loaves"].astype(float).mask(sales["morning"] == days[-1])
    sales.to_csv(folder / "sales.csv", index=False)
    (folder / "built.yaml").write_text(BUILT), (folder / "by_hand.yaml").write_text(BY_HAND)
    return sales


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path


@pytest.mark.slow
def test_histories_are_not_worse_than_features_made_by_hand(shop):
    "On the days of the tutorial, the paired interval of the loss reaches no further than one percent behind."
    bakery(shop)
    said = {}
    for name in ("built", "by_hand"):
        run = train_models(
            load_panel(f"{name}.yaml"),
            ["ridge", "random_forest"],
            SplitPlan(test="2025-09-01:2026-03-09"),
            {"random_forest": {"n_estimators": 40}},
            settings=TrainSettings(output=f"runs_{name}", isolate=False),
        )
        told = pd.read_parquet(run.run_dir / "predictions" / "test_predictions.parquet")
        said[name] = {m: f.sort_values(["datetime", "symbol"]) for m, f in told[told["split"] == "test"].groupby("model")}
    for model in ("ridge", "random_forest"):
        a, b = said["built"][model], said["by_hand"][model]
        assert a["symbol"].tolist() == b["symbol"].tolist() and len(a) == 570
        found = skill_interval("rmse", a["y"], a["prediction"], b["prediction"], pd.to_datetime(a["datetime"]).to_numpy())
        assert found.low > -0.01 and found.high > 0


def test_new_rows_take_their_past_from_the_recorded_files(shop):
    sales = bakery(shop, 400)
    last = sales["morning"] == sales["morning"].max()
    whole = table_panel("built.yaml", to_fit=False)
    sales[last].drop(columns="loaves").to_csv("new.csv", index=False), sales[~last].to_csv("sales.csv", index=False)
    alone = table_panel("built.yaml", "new.csv", to_fit=False)
    columns = ["symbol", "time", *alone.columns]
    pd.testing.assert_frame_equal(alone.frame[columns], whole.frame[columns].tail(3).reset_index(drop=True), check_exact=True)
    assert exit_code(["train", "--data", "built.yaml", "--model", "ridge", "--test-share", "0.2"]) == 0
    assert exit_code(["predict", "--model", "bakery_h1_ridge@staging", "--path", "new.csv", "--output", "alone.csv"]) == 0
    sales.to_csv("all.csv", index=False)
    assert exit_code(["predict", "--model", "bakery_h1_ridge@staging", "--path", "all.csv", "--output", "all_predicted.csv"]) == 0
    pd.testing.assert_frame_equal(pd.read_csv("alone.csv"), pd.read_csv("all_predicted.csv"))
    (shop / "sales.csv").rename(shop / "moved.csv")
    assert exit_code(["predict", "--model", "bakery_h1_ridge@staging", "--path", "new.csv"]) == 3
    with pytest.raises(DataError, match="(?s)cannot be made.*sales.csv.*--path OLD --path NEW"):
        table_panel("built.yaml", "new.csv", to_fit=False)
    assert (
        exit_code(["predict", "--model", "bakery_h1_ridge@staging", "--path", "moved.csv", "--path", "new.csv", "--output", "along.csv"])
        == 0
    )
    pd.testing.assert_frame_equal(pd.read_csv("alone.csv"), pd.read_csv("along.csv"))


@pytest.mark.slow
def test_the_recorded_files_are_those_of_the_training(shop):
    "A model that was trained with --path has its past in those files, not in the YAML's."
    sales = bakery(shop, 400)
    last = sales["morning"] == sales["morning"].max()
    sales[~last].to_csv("trained.csv", index=False), sales[last].drop(columns="loaves").to_csv("new.csv", index=False)
    (shop / "sales.csv").unlink()
    assert exit_code(["train", "--data", "built.yaml", "--path", "trained.csv", "--model", "ridge", "--test-share", "0.2"]) == 0
    assert exit_code(["predict", "--model", "bakery_h1_ridge@staging", "--path", "new.csv", "--output", "out.csv"]) == 0
    assert len(pd.read_csv("out.csv")) == 3


@pytest.mark.slow
def test_audit_poisons_the_file_and_sees_plants(shop):
    bakery(shop)
    audit = ["audit", "leak", "--data", "built.yaml", "--model", "ridge", "--n-trials", "0"]
    assert exit_code(audit) == 0
    for plant in ("feature", "label"):
        assert exit_code([*audit, "--plant", plant]) == 10


def test_everything_wrong_is_said_at_once(shop):
    (shop / "t.yaml").write_text(
        BUILT.replace("last: [1]", "lst: [1], sd: [1]")
        .replace("weekday}", "weakday}")
        .replace("[weekday]", "[wekday]")
        .replace("label_kind", "label_knd")
    )
    with pytest.raises(ConfigError) as said:
        table_config("t.yaml")
    assert all(
        w in str(said.value)
        for w in ("did you mean 'last'", "did you mean 'weekday'", "'wekday'", "did you mean 'label_kind'", "t.yaml:4", "t.yaml:11")
    )
    assert exit_code(["config", "check", "t.yaml"]) == 2


def test_what_is_open_about_times_is_told(shop, caplog):
    bakery(shop, 60)
    (shop / "t.yaml").write_text(BUILT.replace("label_lag: 14h\n", "").replace("history:\n", "history:\n  usual: {last: [1]}\n"))
    table_panel("t.yaml")
    assert (
        "the history of loaves has the outcome of every earlier row" in caplog.text
        and "usual is no feature, and counts as known" in caplog.text
    )


def test_holidays_are_an_extra(shop, monkeypatch):
    bakery(shop, 60)
    (shop / "t.yaml").write_text(BUILT.replace("[weekday]", "[weekday, holidays: DE-BY]"))
    real = builtins.__import__
    monkeypatch.setattr(
        builtins,
        "__import__",
        lambda name, *a, **k: (
            (_ for _ in ()).throw(ImportError("No module named 'holidays'")) if name == "holidays" else real(name, *a, **k)
        ),
    )
    with pytest.raises(MissingExtra, match="lineupiq\\[holidays\\]"):
        table_panel("t.yaml")
    monkeypatch.undo()
    monkeypatch.chdir(shop)
    pytest.importorskip("holidays")
    frame = table_panel("t.yaml").frame
    assert sorted(frame.loc[frame["holiday_DE-BY"] == 1, "time"].dt.strftime("%m-%d").unique()) == ["01-01", "01-06"]


# --- new rows alone, or with the files that they follow ---

PLAIN = BAKERY.replace("name: bakery", "name: plain") + "features: {shop: category, holiday: numeric, forecast_temp: numeric}\n"


@pytest.mark.parametrize("description", ["built.yaml", "plain.yaml"])
def test_new_rows_to_score_are_those_of_the_whole_file(shop, description):
    "What evaluate and drift read: the files of new rows alone, the whole, and the old beside the new are one panel."
    sales = bakery(shop, 120)
    (shop / "plain.yaml").write_text(PLAIN)
    late = sales["morning"] >= sales["morning"].max() - pd.Timedelta("30D")
    sales[late].to_csv("new.csv", index=False), sales.to_csv("whole.csv", index=False), sales[~late].to_csv("sales.csv", index=False)
    alone, whole, both = (
        load_panel(description, to_fit=False, path=files) for files in (["new.csv"], ["whole.csv"], ["sales.csv", "new.csv"])
    )
    pd.testing.assert_frame_equal(alone.frame, both.frame, check_exact=True)
    pd.testing.assert_frame_equal(whole.frame, both.frame, check_exact=True)
    assert len(alone) == len(sales)


@pytest.mark.slow
def test_evaluate_and_drift_of_new_rows_by_command(cli, shop):
    "A file of new rows alone is enough: rules have their past, and drift what the model was trained on."
    sales = bakery(shop, 400)
    late = sales["morning"] >= sales["morning"].max() - pd.Timedelta("130D")
    sales[late].to_csv("new.csv", index=False), sales[~late].to_csv("sales.csv", index=False)
    done = cli("train", "--data", "built.yaml", "--model", "ridge", "--test-share", "0.2")
    assert done.code == 0, done.err
    scored = cli("evaluate", "--run", done.value["run_dir"], "--path", "new.csv")
    assert scored.code == 0 and "no earlier outcome" not in scored.err, scored.err
    (shop / "quick.yaml").write_text("draws: 99\n")
    watched = cli("drift", "bakery_h1_ridge", "--version", "1.0.0", "--path", "new.csv", "--config", "quick.yaml")
    assert watched.code in (0, 9) and watched.value["reference_rows"] > 200, watched.err


def test_means_of_games_are_those_of_the_engine():
    "Where nothing is missing, the means of players and teams and these histories are the same numbers."
    from lineupiq.data.history_words import History, Statistic
    from lineupiq.data.nfl import past_means

    rows = (
        random_rows(300, seed=3, lag="4h")
        .sort_values(["time", "symbol"], ignore_index=True)
        .assign(label=lambda t: t["label"].fillna(100.0), label_end=lambda t: t["time"] + pd.Timedelta("4h"))
    )
    made = history_columns(
        rows, [History("label", (Statistic("mean", 3, None, "3"), Statistic("mean", 5, None, "5"), Statistic("ewma", 6.0, None, "6")))]
    )
    assert np.allclose(past_means(rows, "symbol", ["label"], (3, 5), 6.0), made, rtol=1e-12, atol=0, equal_nan=True)
