"""Document 001, the training pipeline: a test for each of its requirements 1-01 to 1-28. Its scripts are commands here, its Python
configurations YAML."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from conftest import good_frame

ROOT = Path(__file__).resolve().parents[2]
FLOWS = ROOT / ".github" / "workflows"
NAME = "sp500_h5_lightgbm"


def flow(name: str) -> dict:
    "A workflow; YAML 1.1 reads `on` as true."
    return {("on" if k is True else k): v for k, v in yaml.safe_load((FLOWS / name).read_text()).items()}


def steps(name: str, job: str) -> list[dict]:
    return flow(name)["jobs"][job]["steps"]


def text_of(page: str) -> str:
    "The words of a notebook."
    return "\n".join("".join(c["source"]) for c in json.loads((ROOT / "nbs" / page).read_text())["cells"])


class Said:
    "What a command did, in this process."

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err

    @property
    def value(self) -> dict:
        "The line of --json."
        return json.loads(self.out.strip().splitlines()[-1])


def judged(place: Path) -> dict:
    "What `validate` found, as its report keeps it for programs."
    return json.loads((place / "reports" / "model_comparison.json").read_text())


def checks(place: Path) -> list[dict]:
    "The kept checks for drift."
    return [json.loads(line) for line in (place / "experiments" / "drift" / NAME / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """A working folder in which a first version was trained, validated, put into production by hand and checked for drift, a second
    trained, and the first put back."""
    import contextlib
    import io

    from lineupiq.cli.program import exit_code

    place, patch = tmp_path_factory.mktemp("life"), pytest.MonkeyPatch()
    for key, value in {
        "LINEUPIQ_MODELS_DIR": place / "models",
        "LINEUPIQ_SPOOL": place / "spool",
        "LINEUPIQ_LEDGER": place / "looks.jsonl",
        "LINEUPIQ_TRACKING_URI": "off",
    }.items():
        patch.setenv(key, str(value))
    patch.delenv("GITHUB_ACTIONS", raising=False)
    patch.chdir(place)
    told: dict[str, Said] = {}

    def run(key: str, *argv: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = exit_code([str(a) for a in argv])
        told[key] = Said(code, out.getvalue(), err.getvalue())

    run("train", "train", "--data", "sp500", "--horizon", "5", "--model", "lightgbm")
    printed = re.search(r"next: lineupiq (.+)", told["train"].out)
    run("validate", *printed[1].split())
    run("not passed", "promote", NAME, "1.0.0", "--json")
    run("promote", "promote", NAME, "1.0.0", "--force", "--reason", "a first one", "--json")
    run("drift", "drift", NAME)
    run("bump", "version", "bump", NAME, "--part", "patch", "--json")
    run("promote again", "promote", NAME, "1.0.1", "--force", "--reason", "a second", "--json")
    run("list", "version", "list", NAME, "--json")
    run("rollback", "rollback", NAME, "1.0.0", "--json")
    run("history", "history", NAME, "--json")
    run("retrain", "retrain", NAME, "--schedule", "7D", "--dry-run", "--json")
    yield place, told
    patch.undo()


# ---- phase 1: scheduled training


def test_1_01_the_train_workflow_runs_on_sundays_and_by_hand():
    on = flow("train-model.yml")["on"]
    assert on["schedule"] == [{"cron": "0 2 * * 0"}] and "workflow_dispatch" in on


def test_1_02_its_steps():
    job, text = flow("train-model.yml")["jobs"]["train"], (FLOWS / "train-model.yml").read_text()
    assert job["runs-on"] == "ubuntu-latest"
    uses = [(s["uses"].split("@")[0], s) for s in job["steps"] if "uses" in s]
    assert {"actions/checkout", "actions/setup-python", "actions/upload-artifact"} <= {u for u, _ in uses}
    assert (
        re.search(r"actions/checkout@\S+ # v4", text)
        and re.search(r"actions/setup-python@\S+ # v5", text)
        and re.search(r"actions/upload-artifact@\S+ # v4", text)
    )
    assert next(s for u, s in uses if u == "actions/setup-python")["with"]["python-version"] == "3.11"
    runs = [s.get("run", "") for s in job["steps"]]
    assert any("make env" in r for r in runs) and any("lineupiq job train" in r for r in runs)
    model = next(s for u, s in uses if u == "actions/upload-artifact" and s["with"]["path"].strip() == "models/")
    assert model["with"]["name"] == "model-${{ github.run_number }}"


@pytest.mark.parametrize(
    "flag",
    [
        "data",
        "model",
        "horizon",
        "symbol",
        "path",
        "config",
        "optimize",
        "use_best",
        "n_trials",
        "time_limit",
        "seed",
        "publish",
        "mlflow",
        "output",
    ],
)
def test_1_03_the_training_takes_arguments(flag, cli):
    assert flag in {p["name"] for p in cli("job", "train", "--parameters").value["parameters"]}
    import typer

    from lineupiq.cli.program import app

    known = {o for c in [typer.main.get_command(app).commands["train"]] for p in c.params for o in p.opts + p.secondary_opts}
    assert f"--{flag.replace('_', '-')}" in known


def test_1_04_its_log_is_json(life, cli, table):
    said = cli("train", "--data", table(good_frame()), "--model", "lightgbm", "--json")
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    assert "{" not in life[1]["train"].err  # people, who did not ask for it, get plain lines
    assert {"lightgbm", "prior"} <= {x["model"] for x in lines if x["event"] == "model" and x["state"] == "done"} and all(
        "seconds" in x for x in lines if x.get("state") == "done"
    )


def test_1_05_exit_codes_tell_success_from_failure(life, cli, tmp_path):
    assert life[1]["train"].code == 0
    assert (
        cli("train", "--data", "sp50").code == 2
        and cli("train", "--data", "bars", "--path", tmp_path).code == 3
        and cli("validate", "nothing").code == 4
    )
    guide = text_of("tutorials/13_training_guide.ipynb")
    assert all(re.search(rf"^\| {c} \|", guide, re.M) for c in (0, 2, 3, 4, 5, 6, 7, 8, 9, 10))


def test_1_06_a_model_is_saved_with_its_time(life):
    place, _ = life
    [run] = (place / "experiments" / "runs").iterdir()
    assert re.fullmatch(r"sp500_h5_lightgbm_\d{8}_\d{6}", run.name)
    about = json.loads((place / "models" / "archive" / NAME / "v1.0.0" / "model_v1.0.0_metadata.json").read_text())
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", about["date"]) and about["run_id"] == run.name


def test_1_07_best_hyperparameters_change_only_where_they_improve(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tune = ("tune", "--data", "league", "--model", "logistic", "--n-splits", "2", "--no-mlflow", "--n-jobs", "1")
    assert cli(*tune, "--n-trials", "2").code == 0
    best = tmp_path / "tuning" / "best_hyperparameters.json"
    [first] = json.loads(best.read_text())["entries"].values()
    again = cli(*tune, "--n-trials", "3", "--seed", "7", "--study", "another")
    [second] = json.loads(best.read_text())["entries"].values()
    assert again.code == 0 and second["comparison"]["better"] in (True, False)
    assert (second["config"] == first["config"]) or second["comparison"]["better"], "another entry only where it is better"


def test_1_08_notifications_on_success_and_failure_with_metrics(monkeypatch, tmp_path):
    from lineupiq.jobs.runner import JobEnd, job_message
    from lineupiq.tracking.notify import destinations, markdown_text, slack_text

    done = job_message(
        JobEnd(
            0,
            tmp_path,
            {
                "job": "train",
                "job_id": "train_1",
                "status": "done",
                "exit_code": 0,
                "result": {"exit_code": 0, "metric": "log_loss", "score": 0.61, "skill": 0.07},
            },
        )
    )
    failed = job_message(
        JobEnd(
            8,
            tmp_path,
            {"job": "train", "job_id": "train_2", "status": "failed", "exit_code": 8, "error": {"type": "ZeroDivisionError", "what": "no"}},
        )
    )
    assert done.ok and "0.61" in slack_text(done) and "log_loss" in markdown_text(done)
    assert not failed.ok and "ZeroDivisionError" in slack_text(failed)
    unknown = job_message(
        JobEnd(
            3,
            tmp_path,
            {"job": "drift", "job_id": "drift_1", "status": "done", "exit_code": 3, "result": {"exit_code": 3, "verdict": "unknown"}},
        )
    )
    assert unknown.title == "drift: nothing can be said" and not unknown.ok
    monkeypatch.delenv("LINEUPIQ_SLACK_WEBHOOK", raising=False)
    monkeypatch.delenv("LINEUPIQ_NOTIFY_URLS", raising=False)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert [d.kind for d in destinations()] == ["summary"]
    monkeypatch.setenv("LINEUPIQ_SLACK_WEBHOOK", "https://hooks.slack.com/services/T/B/x")
    assert [d.kind for d in destinations()] == ["summary", "webhook"]
    for step in steps("train-model.yml", "train"):
        if "lineupiq job" in step.get("run", ""):
            assert {"GITHUB_TOKEN", "LINEUPIQ_SLACK_WEBHOOK"} <= set(step["env"])


@pytest.mark.parametrize(
    "part",
    [
        "## The pipeline",
        "## By hand",
        "## Where is it?",
        "## When it fails",
        "gh workflow run train-model.yml",
        "lineupiq job --status",
        "mlflow ui --backend-store-uri sqlite:///experiments/mlflow.db",
    ],
)
def test_1_09_the_training_guide(part):
    assert part in text_of("tutorials/13_training_guide.ipynb") and "13_training_guide" in (ROOT / "README.md").read_text()


# ---- phase 2: versions


def test_1_10_semantic_versions_count_up(life):
    from lineupiq.store.layout import Store
    from lineupiq.store.versions import next_version

    place, told = life
    store = Store(place / "models")
    assert told["bump"].value == {"name": NAME, "version": "1.0.1"} and next_version(store, "new_name") == "1.0.0"
    assert [next_version(store, NAME, part) for part in ("patch", "minor", "major")] == ["1.0.2", "1.1.0", "2.0.0"]
    assert f"{NAME}: 1.0.1" in (place / "models" / "VERSION").read_text().splitlines()


@pytest.mark.parametrize("folder", ["production", "staging", "archive"])
def test_1_11_folders_and_what_they_are(folder, life):
    assert (ROOT / "models" / folder).is_dir() and (life[0] / "models" / folder).is_dir()
    assert f"`{folder}/<name>" in (ROOT / "models" / "README.md").read_text()


def test_1_12_metadata_beside_each_model(life):
    folder = life[0] / "models" / "archive" / NAME / "v1.0.0"
    about = json.loads((folder / "model_v1.0.0_metadata.json").read_text())
    assert about["version"] == "1.0.0" and about["metrics"]["metric"] == "log_loss" and about["metrics"]["score"] > 0
    assert about["training"]["config"]["num_leaves"] and about["training"]["split"] and about["data"]["source"]["data"] == "sp500"
    assert (folder / "bundle").is_dir()


def test_1_13_rollback(life):
    place, told = life
    assert {v["version"] for v in told["list"].value["versions"]} == {"1.0.0", "1.0.1"}
    assert told["promote again"].value["production"] == "1.0.1" and told["rollback"].value == {
        "name": NAME,
        "production": "1.0.0",
        "changed": True,
    }
    assert os.readlink(place / "models" / "production" / NAME).endswith(f"archive/{NAME}/v1.0.0")
    last = told["history"].value["history"][-1]
    assert (last["op"], last["version"]) == ("rollback", "1.0.0") and re.match(r"\d{4}-\d\d-\d\dT", last["time"])


# ---- phase 3: validation


def test_1_14_the_staged_model_is_tested_on_three_months_or_more(life):
    told = judged(life[0])
    assert (told["name"], told["version"], told["first"]) == (NAME, "1.0.0", True)
    assert told["window"]["days"] >= 90 and told["n"] == told["window"]["rows"] == told["window"]["tested_on"] >= 100
    rows = {r["metric"]: r for r in told["metrics"]}
    assert {"log_loss", "accuracy", "sharpe", "win_rate", "max_drawdown", "profit_factor"} <= set(rows)
    assert all(
        rows[m]["challenger"] is not None and rows[m]["rule"] is not None for m in ("accuracy", "sharpe", "win_rate", "max_drawdown")
    )
    assert told["trading"]["cost_each_way"] == 0.0005 and told["trading"]["trades"]["challenger"] > 50
    said = life[1]["validate"].out
    assert (
        told["window_sentence"] in said
        and "was not trained on" in said
        and "labelled rows of training" in said
        and "after costs of 0.05%" in said
    )


def test_1_14_costs_are_a_matter_of_configuration(life, tmp_path):
    "Dearer trades, a lower Sharpe ratio; the verdict's own scores are the same."
    from lineupiq.store.layout import Store
    from lineupiq.workflows.later_requests import ValidateRequest
    from lineupiq.workflows.validate import run_validate

    (tmp_path / "gate.yaml").write_text("cost: 0.005\ndraws: 100\n")
    dear = run_validate(
        ValidateRequest(NAME, "1.0.0", config=tmp_path / "gate.yaml", output=tmp_path / "reports"), Store(life[0] / "models")
    )
    now, then = ({r["metric"]: r for r in v["metrics"]} for v in (dear, judged(life[0])))
    assert (
        now["sharpe"]["challenger"] < then["sharpe"]["challenger"]
        and now["max_drawdown"]["challenger"] < then["max_drawdown"]["challenger"]
        and now["log_loss"]["challenger"] == then["log_loss"]["challenger"]
    )
    assert "costs of 0.50%" in (tmp_path / "reports" / "model_comparison.md").read_text()


def test_1_14_a_training_says_when_no_verdict_could_follow(table, tmp_path, capsys):
    "Thirty-six test rows: the printed next step is not a command that would end with exit code 3."
    from conftest import good_frame

    from lineupiq.cli.program import exit_code

    about = table(good_frame())
    assert exit_code(["train", "--data", str(about), "--model", "ridge", "--output", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr().out
    assert (
        "not enough test rows for the gate: 36 rows, and a verdict needs 100" in said
        and "--test-share" in said
        and "next: lineupiq" not in said
    )
    name = re.search(r"Published (\w+) 1\.0\.0", said)[1]
    assert exit_code(["validate", name]) == 3


def test_1_15_comparison_with_production_in_percent_and_by_thresholds():
    import numpy as np
    import pandas as pd

    from lineupiq.production.gate import Contest, GateConfig, judge

    rng, n = np.random.default_rng(0), 3000
    eta = rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int)

    def said(logit):
        p = 1 / (1 + np.exp(-logit))
        return pd.DataFrame({"prediction": (p > 0.5).astype(int), "prob_0": 1 - p, "prob_1": p})

    noise = rng.normal(size=n)
    contest = Contest(
        "binary",
        pd.DataFrame({"y": y}),
        np.arange(n),
        said(0.85 * (eta + 0.3 * noise)),
        said(np.zeros(n)),
        said(0.5 * (eta + noise)),
        [0, 1],
    )
    found = judge(contest)
    row = found.table.set_index("metric").loc["log_loss"]
    assert (
        found.verdict == "PROMOTE" and abs(row["change %"] - 100 * (row["challenger"] / row["champion"] - 1)) < 1e-9 and row["change %"] < 0
    )
    assert judge(contest, GateConfig(margin=0.5)).verdict == "INCONCLUSIVE"
    contest.challenger, contest.champion = contest.champion, contest.challenger
    assert judge(contest).verdict == "REJECT"


def test_1_16_the_report(life):
    place, told = life
    page, verdict = (place / "reports" / "model_comparison.md").read_text(), judged(place)["verdict"]
    assert f"{verdict}: " in told["validate"].out
    assert verdict in ("PROMOTE", "REJECT", "INCONCLUSIVE") and page.startswith(f"# {verdict}")
    assert (
        "| metric | challenger | champion | rule | change % |" in page
        and "## Recommendation" in page
        and verdict in page.split("## Recommendation")[1]
    )
    for word in ("accuracy", "sharpe", "win_rate", "max_drawdown", "profit_factor", "costs of 0.05%", "## Rows"):
        assert word in page
    assert {p.name for p in (place / "reports").iterdir()} >= {"model_comparison.md", "model_comparison.html", "model_comparison.json"}


def test_1_17_the_gate_is_a_step_after_training(life):
    names = [s.get("id") or s.get("name") for s in steps("train-model.yml", "train")]
    assert names.index("train") < names.index("Validate")
    [gate] = [s for s in steps("train-model.yml", "train") if s.get("name") == "Validate"]
    assert "continue-on-error" not in gate and "||" not in gate["run"] and "lineupiq job validate" in gate["run"]
    assert life[1]["validate"].code == 5 and life[1]["not passed"].code == 5, "what is not PROMOTE fails the step"
    assert any(
        "reports/" in s["with"]["path"]
        for s in steps("train-model.yml", "train")
        if s.get("uses", "").startswith("actions/upload-artifact@")
    )
    assert flow("train-model.yml")["jobs"]["train"]["permissions"]["pull-requests"] == "write"


def test_1_17_a_pull_request_is_told(monkeypatch):
    from lineupiq.tracking.notify import destinations

    for key, value in {
        "GITHUB_ACTIONS": "true",
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_REPOSITORY": "some/body",
        "GITHUB_TOKEN": "t",
    }.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("LINEUPIQ_SLACK_WEBHOOK", raising=False)
    assert "comment" in [d.kind for d in destinations(["github"])]


# ---- phase 4: search


def test_1_18_the_searchs_configuration():
    told = yaml.safe_load((ROOT / "lineupiq" / "configs" / "tuning.yaml").read_text())
    assert (
        told["tuning"]["n_trials"] == 50
        and "timeout" in told["tuning"]
        and {"max_depth", "learning_rate", "n_estimators"} <= set(told["spaces"]["xgboost"])
    )
    from lineupiq.tuning.spaces import read_tuning

    assert read_tuning(ROOT / "lineupiq" / "configs" / "tuning.yaml")


@pytest.mark.parametrize(
    "name", ["n_estimators", "max_depth", "learning_rate", "min_child_weight", "subsample", "colsample_bytree", "reg_alpha", "reg_lambda"]
)
def test_1_19_the_space_of_xgboost(name):
    "Each parameter is documented, and suggested by Optuna within its range."
    import optuna

    from lineupiq.tuning.spaces import search_space

    space = search_space("xgboost")
    assert space.params[name].doc
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    value = space.suggest(trial)[name]
    assert name in trial.distributions and space.params[name].low <= value <= space.params[name].high


def test_1_20_the_search_keeps_its_best_and_tells_mlflow(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = cli("tune", "--data", "league", "--model", "logistic", "--n-trials", "2", "--n-splits", "2", "--n-jobs", "1")
    assert answer.code == 0
    [entry] = json.loads((tmp_path / "tuning" / "best_hyperparameters.json").read_text())["entries"].values()
    assert entry["trials"] and "config" in entry
    assert "--mlflow" in _options("tune") and "--timeout" in _options("tune")


def _options(command: str) -> set[str]:
    import typer

    from lineupiq.cli.program import app

    return {o for p in typer.main.get_command(app).commands[command].params for o in p.opts + p.secondary_opts}


def test_1_21_optimize_or_use_best(cli):
    assert {"--optimize", "--use-best"} <= _options("train")
    assert cli("train", "--data", "league", "--model", "logistic", "--optimize", "--use-best").code == 2
    inputs = flow("train-model.yml")["on"]["workflow_dispatch"]["inputs"]
    assert inputs["settings"]["options"] == ["defaults", "use-best", "optimize"]
    assert "optimize=" in (FLOWS / "train-model.yml").read_text() and "use_best=" in (FLOWS / "train-model.yml").read_text()


# ---- phase 5: drift


def test_1_22_evidently_is_a_dependency_that_works(life, tmp_path):
    assert re.search(r"^ *drift = evidently", (ROOT / "settings.ini").read_text(), re.M) and re.search(
        r"^evidently==", (ROOT / "constraints.txt").read_text(), re.M
    )
    import numpy as np
    import pandas as pd

    from lineupiq.production.monitor import evidently_page

    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=300)})
    assert evidently_page(frame, np.arange(300) >= 200, tmp_path / "page.html").stat().st_size > 10_000


def test_1_23_the_drift_check_compares_training_rows_with_new_ones(life):
    [told] = checks(life[0])
    about = json.loads((life[0] / "models" / "archive" / NAME / "v1.0.0" / "model_v1.0.0_metadata.json").read_text())
    assert told["reference_to"] <= about["training"]["trained_until"] < told["current_from"] and told["window"]["days"] >= 90
    table = {c["column"]: c for c in told["columns"]}
    assert {"outcome", "gap"} <= set(table) and all(c["psi"] >= 0 for c in told["columns"])
    page = life[0] / re.search(r"^Page: (\S+)$", life[1]["drift"].out, re.M)[1]
    assert "Size and chance" in page.read_text()


def test_1_23_the_table_shows_one_statistic(life):
    "Size, the level of chance and the verdict: above both the level and the customary lines is what is called, and nothing else."
    for c in checks(life[0])[0]["columns"]:
        called = "stable" if c["psi"] <= c["by_chance"] or c["psi"] < 0.1 else "critical" if c["psi"] >= 0.25 else "warning"
        assert c["verdict"] == called, c
    head = next(line for line in life[1]["drift"].out.splitlines() if "by_chance" in line and "column" in line)
    assert head.split() == ["column", "kind", "psi", "by_chance", "verdict"]


def test_1_24_thresholds_features_and_destinations(tmp_path):
    from lineupiq.production.drift import CRITICAL, WARNING
    from lineupiq.production.monitor import watch_config

    told = yaml.safe_load((ROOT / "lineupiq" / "configs" / "drift.yaml").read_text())
    assert (told["warning"], told["critical"]) == (WARNING, CRITICAL) == (0.1, 0.25) and {"features", "alerts"} <= set(told)
    (tmp_path / "own.yaml").write_text("features: [gap]\nalerts: [github]\nwarning: 0.2\n")
    own = watch_config(tmp_path / "own.yaml")
    assert own.features == ["gap"] and own.alerts == ["github"] and own.settings().warning == 0.2


def test_1_25_the_daily_check(life):
    on, jobs = flow("drift-check.yml")["on"], flow("drift-check.yml")["jobs"]
    assert (
        re.fullmatch(r"\d+ \d+ \* \* \*", on["schedule"][0]["cron"])
        and "gh workflow run train-model.yml" in jobs["train"]["steps"][0]["run"]
    )
    [check] = [s for s in jobs["check"]["steps"] if s.get("id") == "drift"]
    assert "LINEUPIQ_SLACK_WEBHOOK" in check["env"] and "lineupiq job drift" in check["run"]
    history = checks(life[0])
    assert len(history) == 1 and {"time", "verdict", "drifted", "columns", "version"} <= set(history[0])
    assert any("experiments/drift" in s["with"]["path"] for s in jobs["check"]["steps"] if "actions/cache/save@" in s.get("uses", ""))
    assert life[1]["drift"].code == {"critical": 9, "unknown": 3}.get(history[0]["verdict"], 0)


def test_1_26_a_retraining_of_its_own(life):
    told = life[1]["retrain"].value
    assert (
        life[1]["retrain"].code == 0
        and {r["condition"] for r in told["reasons"]} == {"schedule"}
        and {"--drift", "--decay"} <= _options("retrain")
        and told["champion"] == "1.0.0"
    )
    from lineupiq.workflows.retrain import RETRAIN_STEPS

    assert RETRAIN_STEPS == ("check", "train", "validate", "promote", "notify")


@pytest.mark.parametrize("command", ["train", "tune"])
def test_1_27_trainings_and_searches_tell_mlflow(command):
    assert {"--mlflow", "--no-mlflow"} <= _options(command)
    assert "mlflow ui --backend-store-uri sqlite:///experiments/mlflow.db" in (ROOT / "README.md").read_text()


def test_1_27_what_mlflow_is_told_of_a_run(life):
    "Settings, scores and curves, ready to be delivered wherever the tracker is."
    from lineupiq.tracking.spool import tracked_run

    [run] = (life[0] / "experiments" / "runs").iterdir()
    told = tracked_run(run)
    assert told.params and any("log_loss" in name or "loss" in name for name, _, _ in told.metrics)


def test_1_28_train_validate_promote_in_this_order():
    told = [s.get("run", "") for s in steps("train-model.yml", "train")]
    train, gate = (next(i for i, r in enumerate(told) if f"lineupiq job {job}" in r) for job in ("train", "validate"))
    assert train < gate and 'promote="$PROMOTE"' in told[gate]
