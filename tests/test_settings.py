"""Settings travel as objects: nothing outside the border reads them by string keys, and signatures say what they take."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lineupiq"
BORDER = {"from_mapping", "_build"}  # where what came from outside becomes a request
BAGS = {"flags", "settings", "options", "opts", "ask", "request"}  # names under which settings travel
MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "_modidx.py"
}


def functions(tree: ast.AST):
    "Every function of a module."
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def parameters(function: ast.FunctionDef) -> list[ast.arg]:
    "What a function takes, itself left out."
    a = function.args
    return [p for p in a.posonlyargs + a.args + a.kwonlyargs if p.arg not in ("self", "cls")]


def read_by_key(function: ast.FunctionDef) -> list[str]:
    "Settings that a function finds by a string: flags['x'], options.get('x')."
    found = []
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            found.append((node.value.id, node.slice.value))
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("get", "pop")
            and isinstance(node.func.value, ast.Name)
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
        ):
            found.append((node.func.value.id, node.args[0].value))
    return [f"{bag}[{key!r}]" for bag, key in found if bag in BAGS]


def test_settings_are_read_as_attributes():
    "A training's settings have one vocabulary, that of the requests' fields; reading them by string would begin a second one."
    bad = [
        f"{module}: {f.name}: {', '.join(found)}"
        for module, tree in MODULES.items()
        if not module.startswith("cli/")
        for f in functions(tree)
        if f.name not in BORDER and (found := read_by_key(f))
    ]
    assert bad == []


def test_the_check_sees_what_it_is_for():
    tree = ast.parse("def f(flags):\n    return flags['x'], flags.get('y'), flags.x\n")
    assert read_by_key(functions(tree)[0]) == ["flags['x']", "flags['y']"]


def test_no_product_code_asks_whether_it_is_tested():
    assert [m for m in MODULES if re.search(r"IN_TEST|locals\(\)", (PACKAGE / m).read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("command", ["train", "tune", "predict", "evaluate", "export", "retrain", "validate", "drift"])
def test_a_command_offers_its_requests_fields(command):
    "An option is a field: its name, its help and its default are written once, in the request."
    import typer
    from lineupiq.cli.program import app
    from lineupiq.core.config import field_comments
    from lineupiq.core.requests import leaves
    from lineupiq.workflows import later_requests, requests

    asked = {
        "train": requests.TrainRequest,
        "tune": requests.TuneRequest,
        "predict": requests.PredictRequest,
        "evaluate": requests.EvaluateRequest,
        "export": requests.ExportRequest,
        "retrain": later_requests.RetrainRequest,
        "validate": later_requests.ValidateRequest,
        "drift": later_requests.DriftRequest,
    }
    offered = {p.name: p for p in typer.main.get_command(app).commands[command].params}
    for leaf in {leaf.name: leaf for leaf in leaves(asked[command])}.values():  # the last of a name is the one that is shown
        words = field_comments(leaf.owner).get(leaf.path[-1])
        assert words and words.endswith("."), f"{leaf.owner.__name__}.{leaf.path[-1]} has no sentence beside it"
        assert leaf.name in offered and offered[leaf.name].help.startswith(words), leaf.name


@pytest.mark.parametrize("job", ["validate", "drift"])
def test_a_job_takes_its_requests_fields(job):
    """A notebook's parameters are written out, because a reader sees them there; they are the request's fields with its defaults, and what
    is the job's own."""
    from lineupiq.core.requests import leaves
    from lineupiq.jobs.parameters import RUNNER_PARAMETERS, job_notebook, parameters_of
    from lineupiq.workflows import later_requests

    told = parameters_of(job_notebook(job)[1])
    asked = {
        leaf.name: [] if leaf.many else str(leaf.default) if isinstance(leaf.default, Path) else leaf.default
        for leaf in leaves({"validate": later_requests.ValidateRequest, "drift": later_requests.DriftRequest}[job])
    }
    assert {n: p.default for n, p in told.items() if n in asked} == asked
    assert set(told) - set(asked) == {*RUNNER_PARAMETERS, *(["promote"] if job == "validate" else [])}


def test_what_is_recorded_is_what_is_read_back():
    "Every request of a training reads its own record."
    from lineupiq.workflows.requests import TrainRequest, TuneRequest

    for given in (
        {
            "data": "league",
            "position": "WR",
            "target": "receiving_yards",
            "model": "ridge",
            "seed": 7,
            "walk_forward": "2018:2020",
            "intervals": 0.8,
            "optimize": True,
            "n_trials": 3,
            "publish": False,
        },
        {
            "data": "bars",
            "path": ["a,b.csv", "c.csv"],
            "horizon": [5, 20],
            "symbol": ["ES"],
            "calibrate": "auto",
            "embargo": "2D",
            "exclude_neutrals": True,
            "acknowledge": "logistic",
            "model": "logistic",
        },
    ):
        ask = TrainRequest.from_mapping(given)
        assert TrainRequest.from_mapping(ask.record()) == ask
    ask = TuneRequest.from_mapping({"model": "xgboost", "method": "grid", "timeout": 60, "test": "2015:2018", "n_jobs": 2})
    assert TuneRequest.from_mapping(ask.record()) == ask


def test_a_request_is_checked_once_and_its_table_read_once(cli, table, monkeypatch):
    "What was checked at the border is what is trained on: neither the request nor the table's YAML is looked at again on the way."
    from conftest import good_frame

    from lineupiq.data import tables
    from lineupiq.workflows.requests import TrainRequest

    asked, read, problems, config = [], [], TrainRequest.problems, tables.table_config
    monkeypatch.setattr(TrainRequest, "problems", lambda self: asked.append(self) or problems(self))
    monkeypatch.setattr(tables, "table_config", lambda path: read.append(path) or config(path))
    assert cli("train", "--data", table(good_frame()), "--model", "ridge", "--no-publish").code == 0
    assert len(asked) == len(read) == 1


def test_a_list_of_models_needs_no_request(cli):
    "It is given at once, whatever else was typed."
    answer = cli("train", "--list-models", "--data", "nowhere.yaml", "--config", "nowhere.yaml")
    assert answer.code == 0 and answer.value == cli("models").value and "xgboost" in answer.out
