"""Small tables, a command line that runs in this process, and what every refusal has in common."""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

os.environ.setdefault("LINEUPIQ_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LINEUPIQ_TRACKING_URI", "off")


def pytest_collection_modifyitems(items):
    "What takes minutes begins first, so that no worker waits for it at the end."
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    "What a test publishes goes into its own folder."
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("LINEUPIQ_SPOOL", str(tmp_path / "spool"))


@dataclass
class Answer:
    "What a command said and did."

    code: int
    out: str
    err: str
    folder: Path  # where it may have written run folders
    error: dict = field(default_factory=dict)  # the error object of --json

    @property
    def value(self) -> dict:
        "The JSON line."
        return json.loads(self.out.strip().splitlines()[-1])

    def runs(self) -> list[Path]:
        "Run folders, in order of creation."
        return sorted(p.parent for p in self.folder.rglob("status.json"))


def refused(answer: Answer, code: int, kind: str, *words: str) -> Answer:
    "A refusal: its code, its class, its words, no traceback, no model, no run that calls itself done."
    assert answer.code == code, (answer.code, answer.err, answer.out[-500:])
    assert "Traceback" not in answer.err and "Traceback" not in answer.out
    assert answer.error["type"] == kind and answer.value["exit_code"] == code, answer.out
    said = json.dumps(answer.error, ensure_ascii=False) + answer.err
    for word in words:
        assert word in said, f"{word!r} is missing in: {said}"
    assert "error: " in answer.err
    assert not list(answer.folder.rglob("model.json")) and not list(answer.folder.rglob("bundle.json"))
    assert all(json.loads((run / "status.json").read_text())["status"] != "done" for run in answer.runs())
    return answer


@pytest.fixture
def in_process(monkeypatch):
    "Trainings of commands stay in this process, with a coarser interval."
    from lineupiq.workflows import train as commands

    settings = commands.run_settings
    monkeypatch.setattr(commands, "run_settings", lambda *asked: replace(settings(*asked), isolate=False, draws=100))


@pytest.fixture
def cli(capsys, in_process, tmp_path):
    "Run a command in this process, models included; `train` writes below the test's folder."
    from lineupiq.cli.program import exit_code

    def run(*argv, output=None) -> Answer:
        out = Path(output or tmp_path / "out")
        argv = [str(a) for a in argv]
        if argv[0] == "train" and "--output" not in argv:
            argv += ["--output", str(out)]
        if "--json" not in argv and argv[:2] != ["config", "show"]:
            argv += ["--json"]
        capsys.readouterr()
        code = exit_code(argv)
        said = capsys.readouterr()
        answer = Answer(code, said.out, said.err, out)
        if code:
            answer.error = answer.value.get("error", {})
        return answer

    return run


def good_frame(n: int = 240, task: str = "regression", seed: int = 0) -> pd.DataFrame:
    "Two shops, a day a row: a label that leans on x1."
    rng = np.random.default_rng(seed)
    day = np.repeat(pd.date_range("2021-01-01", periods=n // 2), 2)
    frame = pd.DataFrame(
        {
            "day": day.strftime("%Y-%m-%d"),
            "shop": ["a", "b"] * (n // 2),
            "x1": rng.normal(size=n),
            "x2": rng.normal(size=n),
            "place": rng.choice(["in", "out"], n),
        }
    )
    score = frame["x1"] + 3 * rng.normal(size=n)
    frame["y"] = (
        score.round(3) if task == "regression" else (score > 0).astype(int) if task == "binary" else np.digitize(score, [-1.5, 1.5]) - 1
    )
    return frame


@pytest.fixture
def table(tmp_path):
    "Write a frame and the YAML that describes it; keywords change the YAML, None removes a key."

    def write(frame: pd.DataFrame, task: str = "regression", form: str = "csv", folder: Path | None = None, **changes) -> Path:
        folder = folder or tmp_path
        path = folder / f"rows.{form}"
        frame.to_csv(path, index=False) if form == "csv" else frame.to_parquet(path, index=False)
        about = {
            "path": path.name,
            "task": task,
            "time": "day",
            "symbol": "shop",
            "label": "y",
            "features": {"x1": "numeric", "x2": "numeric"},
        } | changes
        out = folder / "table.yaml"
        out.write_text(yaml.safe_dump({k: v for k, v in about.items() if v is not None}, sort_keys=False))
        return out

    return write


@pytest.fixture
def train(cli, table):
    "`lineupiq train` on a frame, with a quick model."

    def run(frame, task="regression", flags=(), **changes) -> Answer:
        about = table(frame, task, **changes)
        model = [] if "--model" in flags else ["--model", "ridge" if task == "regression" else "logistic"]
        return cli("train", "--data", about, *model, *flags)

    return run
