"""Reports, leaderboards and evaluations: they describe what was picked, reach nothing outside the page, and never change a choice."""

import html.parser
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import LeakError
from lineupiq.core.files import load_json
from lineupiq.data.making import Cleaning, make_panel
from lineupiq.scoring.confidence import ADDED, PROPER
from lineupiq.scoring.leaderboard import BOARD_COLUMNS
from lineupiq.training import runs as runs_module
from lineupiq.training.evaluation import compare_runs, evaluate_model
from lineupiq.training.runs import TrainSettings, train_models
from lineupiq.training.past_runs import evaluate_run


class Requests(html.parser.HTMLParser):
    "Everything in a page that a browser could fetch, follow or run."

    def __init__(self, text):
        super().__init__()
        self.found, self.tags, self.images = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.found += [
            v for k, v in attrs.items() if k in ("src", "href", "srcset", "action", "data", "poster", "background", "xlink:href")
        ]
        self.found += [k for k in attrs if k.startswith("on")]
        if tag == "img":
            self.images.append(attrs)


def closed(text):
    "The page asks for nothing, runs nothing, and every image says what it shows."
    page = Requests(text)
    assert not [f for f in page.found if not f.startswith(("data:image/png;base64,", "#"))]
    assert (
        not set(page.tags) & {"script", "link", "iframe", "object", "embed", "form", "base"}
        and "url(" not in text
        and "@import" not in text
    )
    assert "default-src 'none'" in text and page.images and all(len(i["alt"]) > 20 and "src" in i for i in page.images)
    anchors = re.findall(r'href="#([^"]+)"', text)
    assert anchors and all(f'id="{a}"' in text for a in anchors) and len(text) < 2_000_000
    return page


def table(task, n=700, seed=0, symbols=("a", "<script>alert(1)</script>")):
    rng, parts = np.random.default_rng(seed), []
    for s in symbols:
        x = rng.normal(size=(n, 3))
        y = 0.6 * x[:, 0] + rng.normal(size=n)
        label = y if task == "regression" else (y > 0).astype(int) if task == "binary" else np.sign(np.round(y)).astype(int)
        parts.append(
            pd.DataFrame(
                {
                    "symbol": s,
                    "time": pd.date_range("2018", periods=n),
                    "x": x[:, 0],
                    "y|z": x[:, 1],
                    "noise": x[:, 2],
                    "label": label,
                    "label_end": pd.date_range("2018-01-02", periods=n),
                    "return_to_end": rng.normal(0, 0.01, n) + 0.005 * x[:, 0],
                }
            )
        )
    return make_panel(pd.concat(parts), ["x", "y|z", "noise"], task=task, name="demo", cleaning=Cleaning(sort=True))


MODELS = {"regression": ["ridge", "lightgbm"], "binary": ["logistic", "lightgbm"], "multiclass": ["logistic", "lightgbm"]}


@pytest.fixture(scope="module", params=list(MODELS))
def trained(request, tmp_path_factory):
    "A run of each task on the first part of its table."
    task, box = request.param, tmp_path_factory.mktemp(request.param)
    panel = table(task)
    early = panel.take(panel.times < np.datetime64("2019-07-01"))
    how = TrainSettings(box / "runs", isolate=False, draws=100, acknowledged=tuple(MODELS[task]))
    return task, panel, early, how, train_models(early, MODELS[task], configs={"lightgbm": {"num_boost_round": 30}}, settings=how)


def test_the_page_of_a_run_is_closed_and_complete(trained):
    task, panel, early, how, run = trained
    text = (run.run_dir / "reports" / "report.html").read_text()
    page = closed(text)
    names = {p.stem for p in (run.run_dir / "artifacts").iterdir()}
    shown = load_json(run.run_dir / "reports" / "report.json")["shown"]
    wanted = {"leaderboard", "folds", f"{shown}_segments", f"{shown}_shap"} | (
        {f"{shown}_deciles"} if task == "regression" else {f"{shown}_reliability", f"{shown}_confusion", f"{shown}_equity"}
    )
    assert wanted <= names and len(names) == len(page.images)
    assert "alert(1)" in text and "<script" not in text
    words = (run.run_dir / "reports" / "report.md").read_text()
    assert not re.search(r"(?<!\\)<", words) and all(
        (run.run_dir / "reports" / link).resolve().is_file() for link in re.findall(r"\]\(([^)]+\.png)\)", words)
    )


def test_the_record_keeps_its_public_columns_first(trained):
    task, panel, early, how, run = trained
    for rows in (run.record()["leaderboard"], load_json(run.run_dir / "metrics" / "leaderboard.json")["leaderboard"]):
        assert (
            tuple(rows[0])[: len(BOARD_COLUMNS)] == BOARD_COLUMNS
            and set(ADDED[:5]) <= set(rows[0])
            and bool(set(PROPER) & set(rows[0])) == (task != "regression")
        )
        assert [r["diff_best"] for r in rows][0] == 0 and all(r["diff_best"] <= 0 for r in rows)
        assert any(r["in_mcs"] for r in rows) and all(0 <= r["mcs_p"] <= 1 for r in rows)
    report = load_json(run.run_dir / "reports" / "report.json")
    assert {"leaderboard", "best", "verdict", "segments", "explanation", "folds", "looks", "data", "test_metrics", "confidence_set"} <= set(
        report
    )
    assert sum(s["n"] for s in report["segments"] if s["segment"] == "symbol") == report["leaderboard"][0]["n"]


def test_no_report_changes_what_was_picked(trained, monkeypatch, tmp_path):
    "With other test outcomes the scores differ and the pick does not; with no report at all it is the same."
    task, panel, early, how, run = trained
    test = run.folds[0].test
    frame = early.frame.copy()
    rng = np.random.default_rng(3)
    frame.loc[test, "label"] = rng.permutation(frame.loc[test, "label"].to_numpy())
    poisoned = train_models(
        replace(early, frame=frame),
        MODELS[task],
        configs={"lightgbm": {"num_boost_round": 30}},
        settings=replace(how, output=tmp_path / "p"),
    )
    assert poisoned.best == run.best
    now, then = (r.board.set_index("model")["val_score"] for r in (poisoned, run))
    pd.testing.assert_series_equal(now.sort_index(), then.sort_index())
    monkeypatch.setattr(runs_module, "write_report", lambda *a, **k: None)
    monkeypatch.setattr(runs_module, "with_confidence", lambda board, *a, **k: board)
    bare = train_models(early, MODELS[task], configs={"lightgbm": {"num_boost_round": 30}}, settings=replace(how, output=tmp_path / "b"))
    assert bare.best == run.best and bare.board["score"].tolist() == run.board["score"].tolist()


def test_a_second_evaluation_says_so_everywhere(trained):
    task, panel, early, how, run = trained
    first = evaluate_model(run.run_dir, panel, name=MODELS[task][0], draws=100)
    again = evaluate_model(run.run_dir, panel, name=MODELS[task][0], draws=100)
    assert again.count == first.count + 1 and "look at this test window" in again.public()["looks"]["sentence"]
    text = (again.folder / "reports" / "report.html").read_text()
    closed(text)
    assert "look at this test window" in text and "look at this test window" in (again.folder / "reports" / "report.md").read_text()
    assert load_json(again.folder / "metrics" / "leaderboard.json")["looks"]["count"] == again.count
    assert "look at this test window" in evaluate_run(run.run_dir, panel, MODELS[task][0], draws=100).attrs["looks"]
    with pytest.raises(LeakError, match="trained on cannot evaluate"):
        evaluate_model(run.run_dir, panel, since="2018-03-01")


def test_tuning_and_validation_are_no_looks(trained):
    "The ledger of a run holds its test rows alone, once."
    task, panel, early, how, run = trained
    lines = [json.loads(x) for x in (how.output.parent / "holdout_ledger.jsonl").read_text().splitlines()]
    mine = [x for x in lines if x["run"] == run.run_id and x["command"] == "train"]
    assert len(mine) == 1 and mine[0]["window"]["n"] == len(run.folds[0].test)
    assert mine[0]["window"]["from"][:10] == str(early.times[run.folds[0].test].min())[:10]


def test_a_broken_ledger_stops_a_run_before_it_trains(tmp_path, monkeypatch):
    from lineupiq.base import IntegrityError

    (tmp_path / "holdout_ledger.jsonl").write_text("{}\n")
    monkeypatch.setattr(runs_module, "run_model", lambda *a, **k: pytest.fail("it trained"))
    with pytest.raises(IntegrityError, match="ledger of looks"):
        train_models(table("regression", 200), "ridge", settings=TrainSettings(tmp_path / "runs", isolate=False))
    assert not (tmp_path / "runs").exists()


def test_short_and_odd_test_windows_still_get_a_page(tmp_path):
    "A handful of rows of one class has no interval, no set and no AUC, and says so."
    panel = table("binary", 200, symbols=("only",))
    run = train_models(
        panel.take(panel.times < np.datetime64("2018-07-01")),
        "logistic",
        settings=TrainSettings(tmp_path / "runs", isolate=False, draws=100, acknowledged=("logistic",)),
    )
    late = panel.times >= np.datetime64("2018-07-01")
    found = evaluate_model(
        run.run_dir,
        replace(panel, frame=panel.frame.assign(label=np.where(late, 1, panel.frame["label"]))),
        name="logistic",
        since="2018-07-05",
        draws=100,
    )
    closed((found.folder / "reports" / "report.html").read_text())
    report = load_json(found.folder / "reports" / "report.json")
    assert (
        report["test_metrics"]["logistic"]["auc"] is None
        and report["leaderboard"][0]["n"] == 15
        and report["leaderboard"][0]["low"] is None
    )
    assert "a set needs" in report["confidence_set"]["reason"]


def test_runs_compare_in_one_table(tmp_path):
    box, settings = tmp_path, TrainSettings(tmp_path / "runs", isolate=False, draws=100, acknowledged=("logistic", "lightgbm"))
    made = [
        train_models(
            replace(table("binary", 300, seed), horizon=h),
            ["logistic", "lightgbm"],
            configs={"lightgbm": {"num_boost_round": 20}},
            settings=settings,
        )
        for seed, h in ((0, 1), (0, 5), (1, 1))
    ]
    found = compare_runs([r.run_dir for r in made], box / "comparison", draws=100)
    closed((box / "comparison" / "comparison.html").read_text())
    for r in made:
        cells = found.cells[(found.cells["run"] == r.run_id) & (found.cells["symbol"] == "all")].set_index("model")
        board = r.board.set_index("model")
        np.testing.assert_allclose(cells["score"], board.loc[cells.index, "score"])
        np.testing.assert_allclose(cells["skill"].astype(float), board.loc[cells.index, "skill"].astype(float), atol=1e-12)
    assert any("did not score the same rows" in n for n in found.notes)  # two data sets under one name
    assert load_json(box / "comparison" / "comparison.json")["cells"][0]["metric"] == "log_loss"
