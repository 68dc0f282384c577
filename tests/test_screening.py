"""What every training asks of its table: plants that stop it, what warns, what passes, and what somebody vouches for."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

import lineupiq.cli.train  # noqa: F401 - it registers its commands
from lineupiq.cli.program import exit_code
from lineupiq.base import ConfigError, LeakError
from lineupiq.data.making import make_panel
from lineupiq.screening.columns import audit_columns
from lineupiq.screening.later import audit_later
from lineupiq.screening.rows import audit_copies, audit_overlap
from lineupiq.screening.screen import audit_table
from lineupiq.training.request import TrainSettings
from lineupiq.training.runs import train_models
from lineupiq.training.past_runs import open_run


def shops(seed=0, n=250, shops=4):
    "Shops of unlike size with a slow drift, and honest columns."
    rng, frames = np.random.default_rng(seed), []
    for k in range(shops):
        y = pd.Series(100 + 12 * k + np.cumsum(rng.normal(0, 0.6, n)) + rng.normal(0, 8, n))
        frames.append(
            pd.DataFrame(
                {
                    "symbol": f"shop {k}",
                    "time": pd.date_range("2021-01-01", periods=n),
                    "label": y,
                    "week": y.shift(1).rolling(7, min_periods=1).mean().fillna(100),
                    "noise": rng.normal(size=n),
                }
            )
        )
    return pd.concat(frames).sort_values(["time", "symbol"]).reset_index(drop=True), rng


def by_shop(frame, make):
    return frame.groupby("symbol")["label"].transform(make)


PLANTS = {
    "holds the outcome": lambda f, rng: 0.5 * f["label"] + rng.normal(0, 2, len(f)),
    "a centred mean": lambda f, rng: by_shop(f, lambda y: y.rolling(21, center=True, min_periods=1).mean()),
    "an unshifted mean": lambda f, rng: by_shop(f, lambda y: y.rolling(14, min_periods=1).mean()),
    "an unshifted exponential mean": lambda f, rng: by_shop(f, lambda y: y.ewm(alpha=0.1).mean()),
    "the next row's outcome": lambda f, rng: by_shop(f, lambda y: y.shift(-1).ffill()),
}


def train(panel, tmp_path, *acknowledged, model="ridge"):
    return train_models(
        panel, [model], settings=TrainSettings(output=tmp_path, isolate=False, refit=False, draws=100, acknowledged=acknowledged)
    )


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_column_fails(plant):
    for seed in range(3):
        frame, rng = shops(seed)
        panel = make_panel(frame.assign(planted=PLANTS[plant](frame, rng)), ["week", "noise", "planted"], task="regression")
        found = audit_table(panel)
        assert {f.subject for f in found if f.verdict == "fail"} == {"planted"}, found


@pytest.mark.parametrize("seed", range(5))
def test_honest_shops_pass(seed):
    frame, _ = shops(seed)
    assert {
        f.verdict for f in audit_table(make_panel(frame, ["week", "noise"], task="regression"), [(np.arange(800), np.arange(800, 1000))])
    } == {"pass"}


def test_training_stops_after_everything_was_written(tmp_path, caplog):
    frame, rng = shops()
    panel = make_panel(frame.assign(smooth=PLANTS["a centred mean"](frame, rng)), ["week", "noise", "smooth"], task="regression")
    with pytest.raises(LeakError, match="smooth looks ahead") as caught:
        train(panel, tmp_path)
    result = caught.value.result
    assert json.loads((result.run_dir / "status.json").read_text())["status"] == "leak" and "ridge" in set(result.board["model"])
    assert "--acknowledge smooth" in str(caught.value)
    report = (result.run_dir / "reports" / "report.md").read_text()
    assert "smooth looks ahead" in report and "copied rows" in report
    open_run(result.run_dir)
    assert "ended with a leak alarm" in caplog.text


def test_somebody_vouches(tmp_path):
    frame, rng = shops()
    panel = make_panel(frame.assign(smooth=PLANTS["a centred mean"](frame, rng)), ["week", "noise", "smooth"], task="regression")
    with pytest.raises(LeakError):
        train(panel, tmp_path, "noise")
    for names in (("smooth", "ridge"), ("ridge",)):  # the column and the score; or the score of every model, and the table with it
        assert {f.verdict for f in train(panel, tmp_path, *names).findings} == {"warn"}
    with pytest.raises(ConfigError, match="neither a model that is trained nor a column: smoth"):
        train(panel, tmp_path, "smoth")


def test_a_spread_around_the_row_warns():
    frame, _ = shops()
    panel = make_panel(
        frame.assign(spread=by_shop(frame, lambda y: y.rolling(5, center=True, min_periods=2).std())),
        ["week", "noise", "spread"],
        task="regression",
    )
    assert {f.subject: f.verdict for f in audit_table(panel) if f.verdict != "pass"} == {"spread": "warn"}


def test_copied_rows(tmp_path):
    frame, rng = shops()
    late, early = np.arange(900, 1000, 5), rng.choice(500, 20, replace=False)
    frame.loc[late, ["label", "week", "noise"]] = frame.loc[early, ["label", "week", "noise"]].to_numpy()
    panel = make_panel(frame, ["week", "noise"], task="regression")
    with pytest.raises(LeakError, match="copied rows") as caught:
        train(panel, tmp_path)
    assert "20 of" in str(caught.value) and "--acknowledge copied-rows" in str(caught.value)
    assert {f.subject: f.verdict for f in train(panel, tmp_path, "copied-rows").findings} == {"copied-rows": "warn"}


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_copies_among_classes(task):
    rng, n = np.random.default_rng(1), 600
    y = rng.integers(0, 2 if task == "binary" else 3, n)
    frame = pd.DataFrame(
        {"symbol": "A", "time": pd.date_range("2021-01-01", periods=n), "label": y, **{f"x{k}": rng.normal(size=n) for k in range(3)}}
    )
    frame.loc[550:569, ["label", "x0", "x1", "x2"]] = frame.loc[50:69, ["label", "x0", "x1", "x2"]].to_numpy()
    cut = [(np.arange(480), np.arange(480, n))]
    assert (
        audit_copies(make_panel(frame.assign(symbol=np.where(np.arange(n) < 300, "A", "B")), ["x0", "x1", "x2"], task=task), cut).verdict
        == "fail"
    )
    coarse = make_panel(
        frame.assign(x0=(frame["x0"] > 0).astype(int), x1=(frame["x1"] > 0).astype(int), x2=0), ["x0", "x1", "x2"], task=task
    )
    assert audit_copies(coarse, cut).verdict == "pass"


def returns(lasting, n=900, classes=False, **ends):
    steps = np.random.default_rng(3).normal(size=n + lasting)
    y = np.convolve(steps, np.ones(lasting), "valid")[:n]
    time = pd.date_range("2018-01-01", periods=n)
    frame = pd.DataFrame(
        {"symbol": "A", "time": time, "label": (y > 0).astype(int) if classes else y, "x": np.random.default_rng(4).normal(size=n)}
    )
    return make_panel(
        frame.assign(label_end=time + pd.Timedelta(days=ends["days"])) if ends else frame, ["x"], task="binary" if classes else "regression"
    )


def test_labels_that_last(tmp_path):
    with pytest.raises(LeakError, match="seems to last 5 rows, and its end says 0: give label_end or label_lag"):
        train(returns(5), tmp_path)
    assert audit_overlap(returns(5, days=5)).verdict == "pass" and audit_overlap(returns(5, days=1)).verdict == "fail"
    assert audit_overlap(returns(5, n=2500, classes=True)).verdict == "warn" and audit_overlap(returns(1)).verdict == "pass"
    assert {f.subject: f.verdict for f in train(returns(5), tmp_path, "lasting-labels").findings} == {"lasting-labels": "warn"}


def test_a_weekly_rhythm_and_a_slow_series_do_not_last():
    rng, n = np.random.default_rng(0), 1400
    slow = pd.Series(rng.normal(size=n)).ewm(alpha=0.3).mean()
    for y in (slow * 4, 3 * (np.arange(n) % 7 == 5) + rng.normal(size=n), np.sin(np.arange(n) * 2 * np.pi / 7) * 3 + slow):
        panel = make_panel(
            pd.DataFrame({"symbol": "A", "time": pd.date_range("2018-01-01", periods=n), "label": y, "x": rng.normal(size=n)}),
            ["x"],
            task="regression",
        )
        assert audit_overlap(panel).verdict == "pass", audit_overlap(panel)


def test_a_good_column_from_outside_warns_and_trains(tmp_path):
    frame, rng = shops(n=400)
    rain = rng.normal(size=len(frame))
    panel = make_panel(frame.assign(rain=rain, label=frame["label"] + 3.5 * rain), ["week", "noise", "rain"], task="regression")
    found = {f.title: f.verdict for f in train(panel, tmp_path).findings}
    assert set(found.values()) <= {"warn"}, found


def test_questions_do_not_see_the_symbol_alone():
    frame, _ = shops(n=300, shops=8)
    sizes = {s: float(k) for k, s in enumerate(sorted(frame["symbol"].unique()))}
    panel = make_panel(
        frame.assign(size=frame["symbol"].map(sizes), name=frame["symbol"]),
        {"week": "numeric", "size": "numeric", "name": "category"},
        task="regression",
    )
    assert {f.verdict for f in [*audit_columns(panel), *audit_later(panel)]} == {"pass"}


def test_few_rows_are_no_error():
    for n in (3, 12, 40, 90):
        frame, _ = shops(n=n, shops=2)
        found = audit_table(make_panel(frame, ["week", "noise"], task="regression"), [(np.arange(n), np.arange(n, 2 * n))])
        assert not [f for f in found if f.verdict == "fail"], (n, found)


def test_odd_columns_are_no_error():
    frame, rng = shops(n=120)
    odd = frame.assign(
        void=np.nan,
        fixed=1.0,
        huge=rng.normal(size=len(frame)) * 1e30,
        gaps=np.where(rng.random(len(frame)) < 0.9, np.nan, 1.0),
        kind=pd.Series(np.where(rng.random(len(frame)) < 0.5, "a", None), dtype="object"),
    )
    panel = make_panel(
        odd,
        {"week": "numeric", "void": "numeric", "fixed": "numeric", "huge": "numeric", "gaps": "numeric", "kind": "category"},
        task="regression",
        to_fit=False,
    )
    assert not [f for f in audit_table(panel, [(np.arange(300), np.arange(300, 480))]) if f.verdict == "fail"]


def test_the_command_shows_the_board_and_exits_10(in_process, capsys, tmp_path):
    frame, rng = shops()
    frame.assign(smooth=PLANTS["a centred mean"](frame, rng)).to_csv(tmp_path / "shops.csv", index=False)
    (tmp_path / "shops.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "shops",
                "path": "shops.csv",
                "task": "regression",
                "symbol": "symbol",
                "time": "time",
                "label": "label",
                "label_lag": "0D",
                "features": ["week", "noise", "smooth"],
            }
        )
    )

    def said(*more):
        capsys.readouterr()
        code = exit_code(["train", "--data", str(tmp_path / "shops.yaml"), "--model", "ridge", "--output", str(tmp_path / "runs"), *more])
        return code, capsys.readouterr().out

    code, text = said()
    assert code == 10 and "ridge" in text and "Report:" in text and "Done." not in text
    code, text = said("--acknowledge", "smooth", "--acknowledge", "ridge")
    assert code == 0 and "warning: column smooth looks ahead" in text and "Done." in text
