"""The record of forecasts, lived through: a league week by week, bars and a table; sealed before, scored after, one late, one altered; and
what is built on it."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import good_frame

from lineupiq.base import IntegrityError
from lineupiq.data.simulate import noise_bars
from lineupiq.production.record import ForecastRecord, verify_record
from lineupiq.workflows.predict import run_predict
from lineupiq.workflows.recording import predict_recorded
from lineupiq.workflows.record import RecordRequest, score_record, write_page
from lineupiq.workflows.requests import PredictRequest
from lineupiq.models.stored import stored_model

NAME = "cup_h1_logistic"
WEEKS, LIVE = 90, 70  # the first weeks train


def moment(text):
    return lambda: pd.Timestamp(text, tz="UTC").to_pydatetime()


@pytest.fixture
def league(cli, tmp_path, monkeypatch):
    "Twelve sides, six games a Sunday; a file that knows the results up to a week and the fixtures of that week."
    monkeypatch.setenv("LINEUPIQ_LEDGER", str(tmp_path / "looks.jsonl"))
    rng, sides = np.random.default_rng(3), [f"T{i:02}" for i in range(12)]
    strength, rows = dict(zip(sides, rng.normal(0, 4, 12), strict=True)), []
    for week in range(WEEKS):
        order = rng.permutation(sides)
        for home, away in zip(order[:6], order[6:], strict=True):
            margin = strength[home] - strength[away] + 2 + rng.normal(0, 12)
            rows.append(
                {
                    "week": week,
                    "date": f"{pd.Timestamp('2022-01-02') + pd.Timedelta(weeks=week):%Y-%m-%d} 18:00",
                    "home": home,
                    "away": away,
                    "hs": int(50 + max(margin, 0)),
                    "as": int(50 + max(-margin, 0)),
                }
            )
    games = pd.DataFrame(rows)
    games.loc[games["hs"] == games["as"], "hs"] += 1
    (tmp_path / "cup.yaml").write_text(
        "name: cup\npath: games.csv\ntask: binary\ngames: {date: date, home: home, away: away, home_score: hs, away_score: as}\n"
    )

    def upto(week):
        seen = games[games["week"] <= week].drop(columns="week").astype({"hs": object, "as": object})
        seen.loc[games["week"] == week, ["hs", "as"]] = ""
        seen.to_csv(tmp_path / "games.csv", index=False)
        return pd.Timestamp(games.loc[games["week"] == min(week, WEEKS - 1), "date"].iloc[0])

    upto(LIVE)
    made = cli("train", "--data", tmp_path / "cup.yaml", "--model", "logistic", "--test-share", "0.2")
    assert made.code == 0, made.err
    assert cli("promote", NAME, "--force", "--reason", "a test").code == 0
    return upto


def live(upto, folder, late_week=None):
    "Every week's games the evening before; those of one week the evening after."
    for week in range(LIVE, WEEKS):
        kickoff = upto(week)
        run_predict(
            PredictRequest(NAME, record_to=str(folder)), True, clock=moment(kickoff + pd.Timedelta(hours=24 if week == late_week else -24))
        )


def test_a_season_on_the_record(league, cli, tmp_path):
    folder = tmp_path / "record"
    live(league, folder, late_week=75)
    sealed = cli("record", "verify", folder)
    assert sealed.code == 0 and (sealed.value["forecasts"], sealed.value["late"], sealed.value["revisions"]) == (6 * (WEEKS - LIVE), 6, 0)
    before = cli("record", "score", folder).value["models"][0]
    assert before["waiting"] == 6 and before["scored"] == 6 * (WEEKS - LIVE - 2)  # the last week is still to come
    league(WEEKS)
    found = cli("record", "score", folder, "--page", tmp_path / "page")
    [told] = found.value["models"]
    assert (told["scored"], told["late"], told["waiting"], told["gone"]) == (6 * (WEEKS - LIVE - 1), 6, 0, 0)
    assert {m["model"] for m in told["leaderboard"]} >= {NAME, "prior", "ewma"} and told["skill"]["low"] < told["skill"]["score"] < told[
        "skill"
    ]["high"]
    assert {c["member"] for c in told["calibration"]} >= {NAME, "prior"} and "finds" in told
    page = (tmp_path / "page" / "record.html").read_text()
    assert sealed.value["digest"] in page and "http" not in page.replace("http-equiv", "")
    listed = cli("record", "list", folder).value["rows"]
    assert [(r["model"], r["forecasts"], r["late"]) for r in listed] == [(NAME, 120, 6)]
    assert len(cli("record", "show", folder, "--symbol", "T03", "--last", 3).value["rows"]) == 3

    # what was said counts, and not what a later table or a later model would say
    record = ForecastRecord(folder)
    rows = record.frame()
    again = predict_recorded(stored_model(NAME), everything=True, folder=tmp_path / "other", clock=moment("2030-01-01"))[0]
    own = again.set_index(["symbol", "datetime"])["prob_1"]
    # a row knows nothing of what came later
    assert np.allclose(rows["prob_1"], own.loc[[(r.symbol, r.time.tz_localize(None)) for r in rows.itertuples()]])

    # an entry that is improved, one that is taken away, and a tail that is lost together with what knew of it
    whole, head = folder.joinpath("predictions.jsonl").read_bytes(), folder.joinpath("predictions.head").read_bytes()
    lines = whole.splitlines(keepends=True)
    for altered in (whole.replace(b'"late": true', b'"late": false', 1), b"".join(lines[:40] + lines[41:]), b"".join(lines[:-1])):
        folder.joinpath("predictions.jsonl").write_bytes(altered)
        for command in (("record", "verify", folder), ("record", "score", folder), ("record", "list", folder)):
            answer = cli(*command)
            assert answer.code == 4 and answer.error["type"] == "IntegrityError", command
    folder.joinpath("predictions.head").unlink()
    assert cli("record", "verify", folder).code == 0  # nothing here knows of the tail
    assert cli("record", "verify", folder, "--expect", sealed.value["digest"]).code == 4  # whoever has kept the digest does
    folder.joinpath("predictions.jsonl").write_bytes(whole), folder.joinpath("predictions.head").write_bytes(head)
    assert cli("record", "verify", folder, "--expect", sealed.value["digest"]).value["since_expected"] == 0


def test_a_forecast_once(league, tmp_path):
    "The same again adds nothing; other data make a revision, which never counts; a second version speaks for itself."
    kickoff = league(LIVE)
    ask, eve = PredictRequest(NAME, record_to=str(tmp_path / "record")), moment(kickoff - pd.Timedelta(hours=24))
    first = run_predict(ask, True, clock=eve)["record"]
    assert (first["new"], first["same"]) == (6, 0) and run_predict(ask, True, clock=eve)["record"]["same"] == 6
    raw = pd.read_csv(tmp_path / "games.csv", dtype=str)
    raw.loc[len(raw) - 8, ["hs", "as"]] = ["99", "1"]  # a result of last week is corrected
    raw.to_csv(tmp_path / "games.csv", index=False)
    second = run_predict(ask, True, clock=moment(kickoff - pd.Timedelta(hours=1)))["record"]
    assert second["new"] == 0 and second["revised"] > 0
    frame = ForecastRecord(tmp_path / "record").frame()
    assert (
        frame["counts"].sum() == 6
        and frame["data"].nunique() == 2
        and verify_record(ForecastRecord(tmp_path / "record"))["revisions"] == second["revised"]
    )


def test_decay_by_the_record(league, cli, tmp_path):
    "The record decides without looking at rows; a record that was touched stops the retraining."
    folder = tmp_path / "record"
    live(league, folder)
    league(WEEKS)
    gate = tmp_path / "gate.yaml"
    gate.write_text("min_rows: 60\n")
    plan = lambda decay: cli("retrain", NAME, "--decay", decay, "--record", folder, "--gate", gate, "--dry-run")  # noqa: E731
    [kept] = plan(0.9).value["reasons"]
    assert kept["holds"] is False and "written before the events" in kept["evidence"] and "with a chance of 80%" in kept["evidence"]
    gate.write_text("min_rows: 600\n")
    [few] = plan(0.0).value["reasons"]
    assert few["holds"] is None and "a verdict needs 600" in few["evidence"]
    folder.joinpath("predictions.jsonl").write_bytes(
        folder.joinpath("predictions.jsonl").read_bytes().replace(b'"late": false', b'"late": true', 1)
    )
    assert plan(0.0).code == 4
    assert cli("retrain", NAME, "--record", folder).code == 2


def test_bars_and_a_table(cli, table, tmp_path):
    "One record for both: bars are late when the next one has closed, a table's day when it begins."
    every = noise_bars(700, symbols=1, seed=4, freq="1h")
    upto = lambda n: every[:n].drop(columns="symbol").to_csv(tmp_path / "X.csv", index=False)  # noqa: E731
    upto(650)
    assert cli("train", "--data", "bars", "--path", tmp_path / "X.csv", "--model", "logistic", "--horizon", 3).code == 0
    bars = stored_model("bars_h3_logistic@staging")
    for n, minutes in ((660, 1), (670, 59), (680, 61)):
        upto(n)
        predict_recorded(bars, folder=tmp_path / "record", clock=(every["time"][n - 1] + pd.Timedelta(minutes=minutes)).to_pydatetime)
    newest = ForecastRecord(tmp_path / "record").frame().groupby("written").tail(1)
    assert newest["late"].tolist() == [False, False, True]
    frame = good_frame(300)
    about = table(frame[:260], upcoming=True, name="shops", label_lag="20h")
    assert cli("train", "--data", about, "--model", "ridge").code == 0
    shops = stored_model("shops_h1_ridge@staging")
    frame.assign(y=frame["y"].where(frame.index < 260))[:262].to_csv(tmp_path / "rows.csv", index=False)
    eve = pd.Timestamp(frame["day"][260], tz="UTC") - pd.Timedelta("2h")
    assert predict_recorded(shops, folder=tmp_path / "record", clock=eve.to_pydatetime)[1].new == 2
    upto(700), frame.to_csv(tmp_path / "rows.csv", index=False)
    scores = score_record(RecordRequest(str(tmp_path / "record")), draws=100)
    # numbers are scored by a root, which does not add up, and have a picture all the same
    assert write_page(scores, tmp_path / "page").read_text().count("<img") == 2
    found = {s.who.model: s for s in scores.live}
    assert (
        set(found) == {"bars_h3_logistic", "shops_h1_ridge"}
        and found["shops_h1_ridge"].counts["scored"] == 2
        and found["bars_h3_logistic"].counts["late"] >= 1
    )
    assert found["shops_h1_ridge"].skill.low is None and "without an interval" in found["shops_h1_ridge"].sentence()


def test_a_version_comes_out_again(league, cli, tmp_path):
    "With data that have grown, too; with data that were changed it does not, and the digest says why."
    same = cli("reproduce", NAME)
    assert same.code == 0 and same.value["agrees"] and same.value["differs"] == []
    raw = pd.read_csv(tmp_path / "games.csv", dtype=str)
    raw.loc[:200, ["hs", "as"]] = raw.loc[:200, ["as", "hs"]].to_numpy()
    raw.to_csv(tmp_path / "games.csv", index=False)
    other = cli("reproduce", NAME, "1.0.0")
    assert other.code == 4 and not other.value["agrees"] and any("data digest" in d for d in other.value["differs"])


def test_schedules_lived_through(cli, tmp_path):
    "Two schedules over a season of a simulated league; the second call trains nothing."
    ask = (
        "replay",
        "--data",
        "league",
        "--model",
        "logistic",
        "--from",
        2020,
        "--to",
        2020,
        "--policy",
        "monthly,never",
        "--output",
        tmp_path / "replay",
    )
    first, again = cli(*ask), cli(*ask)
    assert first.code == again.code == 0, first.err
    told = {p["policy"]: p for p in first.value["policies"]}
    assert (
        told["monthly"]["trainings"] > told["never"]["trainings"] == 1
        and first.value["trainings_made"] == told["monthly"]["trainings"]
        and again.value["trainings_made"] == 0
    )
    assert json.dumps(first.value["policies"]) == json.dumps(again.value["policies"])
    assert cli(*ask[:-4], "--policy", "yearly", "--output", tmp_path).code == 2


def test_who_writes_at_once(tmp_path, league):
    "A record that is altered is not written on."
    league(LIVE)
    folder = tmp_path / "record"
    run_predict(PredictRequest(NAME, record_to=str(folder)), True, clock=moment("2023-01-01"))
    file = folder / "predictions.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"prediction": ', b'"prediction":  ', 1))
    with pytest.raises(IntegrityError, match="was changed|are gone"):
        run_predict(PredictRequest(NAME, record_to=str(folder)), True, clock=moment("2023-01-02"))
