"""Predictions at the close of each bar: through the function with a clock that is set, and through the command with the real one; new rows
of tables and their past."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from conftest import good_frame

from lineupiq.base import Busy, ConfigError, DataError
from lineupiq.core.files import one_at_a_time
from lineupiq.data.simulate import noise_bars
from lineupiq.workflows.at_close import CloseRequest, close_code, predict_at_close, predictions_file, read_predictions

NAME = "bars_h5_logistic"


def save(path, bars):
    path.parent.mkdir(parents=True, exist_ok=True)
    bars.drop(columns="symbol", errors="ignore").to_csv(path, index=False)
    return path


def production(cli, path, *flags):
    "A model of these bars, trained and promoted by the command."
    made = cli("train", "--data", "bars", "--path", path, "--model", "logistic", "--horizon", 5, *flags)
    assert made.code == 0, made.err
    assert cli("promote", NAME, "--force", "--reason", "a test").code == 0


@pytest.fixture
def sessions(cli, tmp_path):
    "Half hours round the clock, stamped with their opening; the model is of the day session."
    when = pd.date_range("2024-01-01", "2024-07-10", freq="30min", tz="UTC", inclusive="left")
    every = noise_bars(len(when), symbols=1, seed=3, regime="constant").assign(time=when)
    upto = lambda moment: save(tmp_path / "in" / "ES.csv", every[every["time"] < pd.Timestamp(moment, tz="America/New_York")])  # noqa: E731 - bars that have begun by then
    path = upto("2024-06-20 12:00")
    production(cli, path, "--stamp", "open", "--session", "rth")
    return upto


def at(moment):
    return lambda: pd.Timestamp(moment, tz="America/New_York").to_pydatetime()


def test_a_day_of_closes(sessions, tmp_path, cli):
    """Each close once; the running bar is left out, a rerun writes nothing, a night and a weekend bring nothing, missed runs are caught up
    and late."""
    ask = CloseRequest(NAME, output=str(tmp_path / "out"))

    def run(moment):
        sessions(moment)
        told = predict_at_close(ask, at(moment))
        return told["predicted"], told["late"], told["unfinished"]

    assert run("2024-06-28 12:00:30") == (1, 0, 1)  # the first run begins with the newest bar, 11:30 to 12:00; that of 12:00 runs
    assert run("2024-06-28 12:01") == (0, 0, 1)
    assert run("2024-06-28 12:31") == (1, 0, 1)
    assert run("2024-06-28 14:01") == (3, 2, 1)  # two runs were missed
    assert run("2024-06-28 16:01") == (4, 3, 0)  # the session is over
    assert run("2024-06-28 20:01") == run("2024-06-30 12:01") == (0, 0, 0)
    assert run("2024-07-01 10:01") == (1, 0, 1)
    told = read_predictions(predictions_file(NAME, tmp_path / "out"))
    assert not told.duplicated(["symbol", "bar"]).any() and (told["written"] >= told["bar"]).all()
    assert told["bar"].dt.tz_convert("America/New_York").dt.strftime("%a %H:%M").tolist() == [
        *(f"Fri {h}" for h in "12:00 12:30 13:00 13:30 14:00 14:30 15:00 15:30 16:00".split()),
        "Mon 10:00",
    ]
    assert set(told["version"]) == {"1.0.0"} and told["data"].str.fullmatch("[0-9a-f]{16}").all() and told["data"].nunique() == 5
    again = cli("predict", "--model", NAME, "--all-later").value["predictions"]
    said = {pd.Timestamp(r["datetime"]).tz_localize(None): [v for k, v in r.items() if k.startswith("prob_")] for r in again}
    assert all(
        np.allclose(said[b.tz_localize(None)], row) for b, row in zip(told["bar"], told.filter(like="prob_").to_numpy(), strict=True)
    ), "what a whole run says later"


def test_a_feed_that_stops_is_no_quiet_night(sessions, tmp_path):
    sessions("2024-06-28 16:01")
    ask = CloseRequest(NAME, output=str(tmp_path / "out"), max_age="4D")
    assert close_code(predict_at_close(ask, at("2024-07-01 09:00")), ask) == 0
    told = predict_at_close(ask, at("2024-07-04 09:00"))
    assert close_code(told, ask) == 3 and told["predicted"] == 0 and told["newest"].startswith("2024-06-28T20:00")
    with pytest.raises(DataError, match="no bar is over"):
        predict_at_close(ask, at("2023-07-04 09:00"))
    with one_at_a_time(tmp_path / "out" / NAME / ".predict.lock", "held"), pytest.raises(Busy):
        predict_at_close(ask, at("2024-07-01 09:00"))
    for wrong in ("4", "soon", "-1D"):
        with pytest.raises(ConfigError, match="max_age"):
            CloseRequest.from_mapping({"max_age": wrong})


def test_a_torn_line_and_a_new_version(sessions, tmp_path, cli, caplog):
    "A line that a crash has torn is written again; a later version predicts what comes, and not what it was trained on."
    ask = CloseRequest(NAME, output=str(tmp_path / "out"))
    sessions("2024-06-20 13:01"), predict_at_close(ask, at("2024-06-20 13:01"))
    file = predictions_file(NAME, tmp_path / "out")
    file.write_bytes(file.read_bytes() + b'{"bar": "2024-06-20T17:30:00Z", "sym')
    sessions("2024-06-20 13:31")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert predict_at_close(ask, at("2024-06-20 13:31"))["predicted"] == 1
    assert "torn" in caplog.text and len(read_predictions(file)) == 2
    path = sessions("2024-07-09 12:00")
    production(cli, path, "--stamp", "open", "--session", "rth", "--test-share", "0.05", "--val", "0.05")
    told = predict_at_close(ask, at("2024-07-09 12:01"))
    assert told["within_training"] > 0 and told["predicted"] > 0
    assert read_predictions(file)["version"].tolist()[-1] != "1.0.0"


@pytest.mark.slow
def test_the_job(cli, tmp_path, monkeypatch):
    "By the command and the real clock: the report, the record, 0 on a rerun; a file that is missing ends with 3 and is named."
    monkeypatch.chdir(tmp_path)
    now = pd.Timestamp.now(tz="UTC").floor("h")
    bars = noise_bars(900, symbols=1, seed=6).assign(time=pd.date_range(end=now + pd.Timedelta("1h"), periods=900, freq="1h"))
    path = save(tmp_path / "in" / "X.csv", bars)
    production(cli, path)
    job = lambda *more: cli("job", "predict", "-p", f"name={NAME}", *more, "--notify", "none")  # noqa: E731
    first = job()
    assert first.code == 0, first.err + first.out
    # a summary shows it
    assert (
        first.value["result"]["predicted"] == 1 and first.value["result"]["unfinished"] == 1 and len(first.value["result"]["digest"]) == 64
    )
    assert job().value["result"]["predicted"] == 0
    forecast = lambda folder: [
        r for r in map(json.loads, (folder / NAME / "predictions.jsonl").read_text().splitlines()) if r["op"] == "forecast"
    ]  # noqa: E731 - beside the line that says who forecasts
    [line] = forecast(tmp_path / "experiments" / "predictions")
    assert pd.Timestamp(line["at"]) == now and line["late"] is False
    new = save(tmp_path / "new" / "X.csv", bars[-3:])
    assert job("-p", f"path={new}", "-p", "output=alone").value["result"]["predicted"] == 1
    [same] = forecast(tmp_path / "alone")
    assert same["said"] == line["said"] and len(same["said"]) == 3
    path.rename(tmp_path / "away.csv")
    gone = job("-p", f"path={new}")
    assert gone.code == 3 and str(path) in json.dumps(gone.value)


def test_only_bars_have_a_close(cli, tmp_path, table):
    about = table(good_frame(), name="shops")
    assert cli("train", "--data", about, "--model", "ridge").code == 0
    name = next(v["name"] for v in cli("version", "list").value["versions"])
    assert cli("promote", name, "--force", "--reason", "a test").code == 0
    with pytest.raises(ConfigError, match="no close to wait for"):
        predict_at_close(CloseRequest(name, output=str(tmp_path / "out")))


def test_drift_of_a_table_with_a_history(cli, tmp_path):
    """Given new rows alone, drift compares them with the rows of the recorded file, and names it where it is missing; what it says is of
    columns and rows."""
    rng, n = np.random.default_rng(0), 800
    rows = pd.DataFrame(
        {"day": pd.date_range("2021-01-01", periods=n).astype(str), "loaves": rng.poisson(40, n), "warm": rng.normal(size=n).round(2)}
    )
    rows.to_csv(tmp_path / "sales.csv", index=False)
    (tmp_path / "shop.yaml").write_text(
        "name: shop\npath: sales.csv\ntask: regression\ntime: day\nlabel: loaves\nlabel_lag: 14h\nhistory:\n  loaves: {last: [1], mean: "
        "[7]}\nfeatures: {warm: numeric}\n"
    )
    assert cli("train", "--data", tmp_path / "shop.yaml", "--model", "ridge", "--test-share", 0.3).code == 0
    name = "shop_h1_ridge"
    assert cli("promote", name, "--force", "--reason", "a test").code == 0
    later = pd.DataFrame(
        {"day": pd.date_range("2023-03-12", periods=230).astype(str), "loaves": rng.poisson(90, 230), "warm": rng.normal(size=230).round(2)}
    )
    later.to_csv(tmp_path / "later.csv", index=False), pd.concat([rows, later]).to_csv(tmp_path / "all.csv", index=False)
    alone, whole = (
        cli("drift", name, "--path", tmp_path / f, "--window", "200D", "--output", tmp_path / f"d-{f}") for f in ("later.csv", "all.csv")
    )
    assert alone.code == whole.code == 9, alone.out  # the outcomes have moved
    assert alone.value["columns"] == whole.value["columns"] and alone.value["verdict"] == "critical" and alone.value["reference_rows"] > 200
    shown = json.dumps({k: v for k, v in alone.value.items() if k not in ("page", "history")}).lower()
    assert not any(word in shown for word in ("bar ", "bars", "player", "game")), shown
    (tmp_path / "sales.csv").rename(tmp_path / "away.csv")
    later.drop(columns="loaves").to_csv(tmp_path / "later.csv", index=False)
    gone = cli("drift", name, "--path", tmp_path / "later.csv")
    assert gone.code == 3 and str(tmp_path / "sales.csv") in gone.err
