"""Workflows: pinned, with least permissions, nothing from outside inside a script; and each script parses and calls commands that exist."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FLOWS = {p.name: p for p in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
KNOWN = {"actions/checkout": "v4", "actions/setup-python": "v5", "actions/upload-artifact": "v4"}


def load(name: str) -> dict:
    "A workflow; YAML 1.1 reads `on` as true."
    flow = yaml.safe_load(FLOWS[name].read_text())
    return {("on" if k is True else k): v for k, v in flow.items()}


def steps(name: str) -> list[dict]:
    return [s for job in load(name)["jobs"].values() for s in job.get("steps", [])]


def test_all_are_there():
    assert set(FLOWS) >= {"train-model.yml", "drift-check.yml", "test.yml", "docs.yml", "weekly.yml"}


# ---- W1


@pytest.mark.parametrize("name", FLOWS)
def test_W1_actions_are_pinned_with_their_tag_beside_them(name):
    for line in FLOWS[name].read_text().splitlines():
        if found := re.search(r"uses: *(\S+)(.*)", line):
            action, _, sha = found[1].partition("@")
            assert re.fullmatch(r"[0-9a-f]{40}", sha) and re.match(r" # v\d+\.\d+\.\d+$", found[2]), line
            assert action not in KNOWN or f"# {KNOWN[action]}" in found[2], line
    pins = {}
    for f in FLOWS.values():
        for repo, sha in re.findall(r"uses: *([\w.-]+/[\w.-]+)[\w./-]*@([0-9a-f]{40})", f.read_text()):
            assert pins.setdefault(repo, sha) == sha, f"two pins of {repo}"


@pytest.mark.parametrize("name", FLOWS)
def test_W1_least_permissions(name):
    flow = load(name)
    assert flow["permissions"] == {"contents": "read"}
    allowed = {"pages", "id-token", "pull-requests", "actions", "contents"}
    for job in flow["jobs"].values():
        given = job.get("permissions", {})
        assert set(given) <= allowed and given.get("contents", "read") == "read" and job["timeout-minutes"] <= 360


@pytest.mark.parametrize("name", FLOWS)
def test_W1_nothing_from_outside_stands_in_a_script(name):
    for step in steps(name):
        run = step.get("run", "")
        assert "${{" not in run, f"pass it through env: {run[:80]}"
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


# ---- W2


@pytest.mark.parametrize("name", FLOWS)
def test_W2_a_fork_gets_no_secret_and_promotes_nothing(name):
    text, flow = FLOWS[name].read_text(), load(name)
    assert "pull_request_target" not in text and "workflow_run" not in text
    if "pull_request" in (flow["on"] or {}):
        assert set(re.findall(r"secrets\.(\w+)", text)) <= {"LINEUPIQ_SLACK_WEBHOOK"}  # which GitHub leaves empty for a fork
    if name == "train-model.yml":
        condition = flow["jobs"]["train"]["env"]["PROMOTE"]
        assert "github.ref == 'refs/heads/main'" in condition and "github.event_name != 'pull_request'" in condition
        assert "--force" not in text


# ---- what the requirements ask for


def test_train_model_is_what_was_asked_for():
    flow = load("train-model.yml")
    assert flow["on"]["schedule"] == [{"cron": "0 2 * * 0"}] and "workflow_dispatch" in flow["on"]
    names = [s.get("id") or s.get("name") or s.get("uses") for s in steps("train-model.yml")]
    assert names.index("Install") < names.index("train") < names.index("Validate")
    uploads = {s["with"]["name"]: s for s in steps("train-model.yml") if s.get("uses", "").startswith("actions/upload-artifact@")}
    assert (
        uploads["model-${{ github.run_number }}"]["with"]["path"] == "models/"
        and "reports/" in uploads["comparison-${{ github.run_number }}"]["with"]["path"]
    )
    validate = next(s for s in steps("train-model.yml") if s.get("name") == "Validate")
    assert "continue-on-error" not in validate and "||" not in validate["run"], "a failed gate fails the workflow"
    assert "GITHUB_TOKEN" in validate["env"] and "LINEUPIQ_SLACK_WEBHOOK" in validate["env"]


def test_drift_check_starts_a_training():
    flow = load("drift-check.yml")
    assert re.fullmatch(r"\d+ \d+ \* \* \*", flow["on"]["schedule"][0]["cron"])
    train = flow["jobs"]["train"]
    assert (
        "critical == 'true'" in train["if"]
        and train["permissions"] == {"contents": "read", "actions": "write"}
        and "gh workflow run train-model.yml" in train["steps"][0]["run"]
    )
    restored, saved = (
        [s for s in steps("drift-check.yml") if f"cache/{w}@" in s.get("uses", "")][0]["with"]["path"] for w in ("restore", "save")
    )
    assert restored == saved and "experiments/drift" in saved


@pytest.mark.parametrize("name", ["train-model.yml", "drift-check.yml"])
def test_the_ledger_of_looks_travels_with_the_store(name):
    "A cache of a file that nothing writes would make every look a first one."
    from lineupiq.scoring.ledger import LEDGER

    for step in steps(name):
        if "actions/cache/" in step.get("uses", ""):
            assert {"models", "tuning", "experiments/drift", f"experiments/{LEDGER}"} == set(step["with"]["path"].split())


# ---- scripts

SCRIPTS = [(name, i, s["run"]) for name in FLOWS for i, s in enumerate(steps(name)) if "run" in s]


@pytest.mark.parametrize("name, i, script", SCRIPTS, ids=[f"{n}-{i}" for n, i, _ in SCRIPTS])
def test_scripts_parse(name, i, script, tmp_path):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for target in re.findall(r"^\s*make (\w+)", script, re.M):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text()
    for tool in re.findall(r"(tools/\w+\.py)", script):
        assert (ROOT / tool).is_file()


def commands() -> list[tuple[str, ...]]:
    return sorted({tuple(c.split()) for _, _, script in SCRIPTS for c in re.findall(r"(?<!import )lineupiq ((?:job )?[a-z_]+)", script)})


@pytest.mark.parametrize("argv", commands(), ids=" ".join)
def test_commands_exist(argv, cli, capsys):
    from lineupiq.cli.program import exit_code

    if argv[0] == "job":
        assert {"name"} <= set(cli("job", argv[1], "--parameters").value["parameters"][0])
    else:
        assert exit_code([*argv, "--help"]) == 0


def test_parameters_of_the_jobs_exist():
    from lineupiq.jobs.parameters import job_notebook, parameters_of

    for _, _, script in SCRIPTS:
        for job, rest in re.findall(r"lineupiq job (\w+)([^\n]*)", script):
            known = parameters_of(job_notebook(job)[1])
            assert set(re.findall(r"-p (\w+)=", rest)) <= set(known)


DRY = """#!{python}
import pathlib, sys
pathlib.Path({log!r}).open("a").write(" ".join(sys.argv[1:]) + chr(10))
word = pathlib.Path({codes!r}).read_text().split()[min(1, "bad" in " ".join(sys.argv))]
print('{{"status": "done", "result": {{"verdict": "unknown"}}}}' if word == "unknown" else '{{"status": "failed"}}')
sys.exit(3 if word == "unknown" else int(word))
"""


@pytest.mark.parametrize(
    "settings, said",
    [
        ("defaults", "optimize=false -p use_best=false"),
        ("use-best", "optimize=false -p use_best=true"),
        ("optimize", "optimize=true -p use_best=false"),
    ],
)
def test_dry_run_of_the_training(tmp_path, settings, said):
    log = dry(tmp_path, "0 0")
    script = next(s["run"] for s in steps("train-model.yml") if s.get("id") == "train")
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "DATA": "sp500; touch canary", "MODEL": "$(touch canary)", "SETTINGS": settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and said in log.read_text() and not (tmp_path / "canary").exists(), done.stderr


@pytest.mark.parametrize(
    "codes, critical, ends",
    [
        ("0 0", "false", 0),
        ("0 9", "true", 0),
        ("3 9", "true", 3),
        ("8 0", "false", 8),
        ("unknown 0", "false", 0),
        ("unknown 9", "true", 0),
        ("unknown unknown", "false", 0),
    ],
)
def test_dry_run_of_the_drift_check(tmp_path, codes, critical, ends):
    log = dry(tmp_path, codes)
    for name in ("good", "bad"):
        folder = tmp_path / "models" / "production" / name
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
    script = next(s["run"] for s in steps("drift-check.yml") if s.get("id") == "drift")
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "GITHUB_OUTPUT": str(tmp_path / "out"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")},
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == ends and (tmp_path / "out").read_text() == f"critical={critical}\n" and len(log.read_text().splitlines()) == 2
    ), done.stderr
    said = (tmp_path / "summary").read_text() if (tmp_path / "summary").exists() else ""
    assert done.stdout.count("::warning") == said.count("**unknown**") == codes.count("unknown"), "what could not be said is reported"


def dry(folder: Path, codes: str) -> Path:
    "A command in place of the real one, that writes down how it was called."
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / "codes").write_text(codes)
    fake = folder / ".venv" / "bin" / "lineupiq"
    fake.write_text(DRY.format(python=sys.executable, log=str(folder / "log"), codes=str(folder / "codes")))
    fake.chmod(0o755)
    return folder / "log"


@pytest.mark.skipif(shutil.which("zizmor") is None, reason="zizmor is not installed")
def test_zizmor_finds_nothing():
    assert subprocess.run(["zizmor", "--offline", "--min-severity", "medium", str(ROOT / ".github" / "workflows")]).returncode == 0
