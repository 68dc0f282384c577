"""A terminal of 80 columns: what commands print fits it, errors too; in a pipe a line stays a line."""

import ast
import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from conftest import good_frame

import lineupiq as lq
from lineupiq.base import ConfigError, NotFound
from lineupiq.cli.program import exit_code
from lineupiq.core.requests import leaves
from lineupiq.workflows import later_requests, requests

NAME = "table_h1_ridge"
LONG = [f"a_feature_with_a_name_of_some_length_that_people_do_write_{k}" for k in range(4)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch, in_process, tmp_path):
    "Run a command as on a terminal, or in a pipe; (code, lines of both streams)."
    monkeypatch.chdir(tmp_path)

    def run(*argv, width=80):
        monkeypatch.setenv("COLUMNS", str(width or 80))
        out, err = (Terminal(), Terminal()) if width else (io.StringIO(), io.StringIO())
        with redirect_stdout(out), redirect_stderr(err):
            code = exit_code([str(a) for a in argv])
        return code, re.split(r"[\n\r]", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", out.getvalue() + err.getvalue()))

    return run


@pytest.fixture
def about(table):
    "A table whose columns have long names."
    frame = good_frame(800)
    frame = frame.assign(**{name: frame["x1"].shift(k + 1, fill_value=0) for k, name in enumerate(LONG)})
    return table(frame, features=dict.fromkeys(["x1", "x2", *LONG], "numeric"), upcoming=True).name


def assert_fits(told, codes=(0,), width=80):
    "No line is wider, but for one that is a single word, such as a path."
    code, lines = told
    assert code in codes, lines
    assert lines and not [s for s in lines if len(s) > width and len(s.split()) > 1], lines
    return lines


def test_what_commands_print_fits(shown, about):
    "From a training to a retraining; each command's own codes are all right."
    assert_fits(shown("train", "--data", about, "--model", "ridge", "--test-share", ".3", "--output", "runs"))
    assert any("The latest run: table" in s for s in assert_fits(shown("open", "--output", "runs")))
    said = " ".join(" ".join(assert_fits(shown("predict", "--model", NAME), (4,))).split())
    assert f"--model {NAME}@staging" in said and f"lineupiq promote {NAME}" in said
    with pytest.raises(NotFound, match=f"{NAME}@staging"):
        lq.predict(NAME)
    with pytest.raises(ConfigError, match="not a version"):
        lq.validate(version=1.5)
    for argv, codes in (
        (["runs", "--output", "runs"], (0,)),
        (["version", "list"], (0,)),
        (["history"], (0,)),
        (["verify"], (0,)),
        (["predict", "--model", f"{NAME}@staging", "--all-later"], (0,)),
        (["validate"], (0, 5)),
        (["promote", NAME, "--force", "--reason", "x"], (0,)),
        (["drift", NAME], (0, 3, 9)),
        (["retrain", NAME, "--dry-run"], (0,)),
        (["audit", "cv", "--data", about], (0, 10)),
        (["tune", "--data", about, "--model", "ridge", "--n-trials", "2", "--n-splits", "2", "--output", "tuning"], (0,)),
    ):
        assert_fits(shown(*argv), codes)
    for argv in (["audit", "cv", "--data", about], ["version", "list"]):
        assert_fits(shown(*argv, width=40), width=40)
        assert max(map(len, shown(*argv, "--wide", width=40)[1])) > 60


def test_lists_and_an_experiment(shown, about, tmp_path):
    for argv in ([], ["sources"], ["sources", "bars"], ["models"], ["job", "train", "--parameters"]):
        assert_fits(shown(*argv))
    assert "horizons" in shown("sources", "--wide")[1][0] and "horizons" not in shown("sources")[1][0]
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"experiment": {"name": "grid"}, "data": {"source": about}, "models": ["ridge"]}))
    assert_fits(shown("experiment", "--config", "grid.yaml"))


def test_errors_fit_a_terminal_and_are_lines_in_a_pipe(shown, about):
    bad = ("train", "--data", about, "--model", "ridge", "--n-trials", "3")
    lines = assert_fits(shown(*bad), (2,))
    assert any(s.startswith("    ") and not s.startswith("     ") for s in lines), "what goes on of a line stands further in"
    piped = shown(*bad, width=None)[1]
    assert max(map(len, piped)) > 80 and " ".join("\n".join(lines).split()) == " ".join("\n".join(piped).split())


def test_files_without_a_flag(shown):
    code, lines = shown("predict", "runs/a", "newer.csv", width=None)
    assert code == 2 and "Say: lineupiq predict --model runs/a --path newer.csv" in " ".join(" ".join(lines).replace("│", " ").split())


def test_what_python_says_is_not_only_of_the_command_line():
    "Each message of a request names its fields; a flag stands behind a name, in brackets."
    panel = lq.load_panel("league")
    for wrong in (lambda: lq.audit(panel, 3), lambda: lq.audit(panel, [3]), lambda: lq.audit(panel, None)):
        with pytest.raises(ConfigError, match="given by their names"):
            wrong()
    asked = {
        requests.TrainRequest: {"optimize": True, "use_best": True},
        later_requests.FoldsRequest: {"run": "r", "n_splits": 3, "arg": "x=1"},
        later_requests.AuditRequest: {"run": "r", "data": "league"},
        later_requests.ValidateRequest: {"window": "5D", "since": "2020"},
        requests.TuneRequest: {"model": "ridge,logistic", "config": "x.yaml", "no_prune": True, "pruner": "median"},
    }
    for kind, values in asked.items():
        with pytest.raises(ConfigError) as raised:
            kind.from_mapping(values)
        bare = [m[0] for m in re.finditer(r"(?<!\()--[a-z-]+", str(raised.value))]
        assert bare == [], (kind, str(raised.value))
        assert {leaf.name for leaf in leaves(kind)} >= set(values)


@pytest.mark.parametrize("package", ["workflows", "production", "auditing"])
def test_errors_and_warnings_name_more_than_flags(package):
    "Whoever calls these from Python has no flags: one stands in brackets, or behind the name of what it sets, or in a whole command."
    bare = []
    for file in sorted((Path(lq.__file__).parent / package).glob("*.py")):
        for call in [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]:
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if name.endswith(("Error", "NotFound", "Rejected", "Fault")) or name == "warning":
                said = "".join(
                    str(n.value)
                    for a in [*call.args, *(k.value for k in call.keywords)]
                    for n in ast.walk(a)
                    if isinstance(n, ast.Constant)
                )
                said = re.sub(r"\([^()]*\)|\w+, --[a-z-]+|lineupiq [a-z ]+--[a-z-]+", "", said)
                bare += [(file.name, call.lineno, said)] if re.search(r"--[a-z]", said) else []
    assert bare == []
