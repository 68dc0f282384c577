"""The map of the source documents' requirements: every one is there, and every pointer leads somewhere."""

import ast
import importlib
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_requirements  # noqa: E402

DOCUMENTS, REQUIREMENTS = make_requirements.read_map()
ITEMS = {"0": 19, "1": 28, "2": 32, "3": 20, "4": 41}  # requirements of each document
KEYS = {"title", "pages", "files", "names", "commands", "tests", "imports", "note"}


@cache
def functions_of(path: Path) -> set[str]:
    "Test functions of a file."
    return {n.name for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)}


def lost_page(page: str) -> str:
    return "" if (ROOT / "nbs" / page).is_file() else f"no page nbs/{page}"


def lost_file(name: str) -> str:
    return "" if (ROOT / name).exists() else f"no file {name}"


def lost_test(pointer: str) -> str:
    path, _, function = pointer.partition("::")
    if not (ROOT / path).is_file():
        return f"no file {path}"
    return "" if re.match(r"test_\w", function) and function in functions_of(ROOT / path) else f"no test {pointer}"


def lost_name(dotted: str) -> str:
    "Why a dotted name cannot be reached: the longest part that is a module is imported, the rest are attributes."
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as err:
            if err.name and dotted.startswith(err.name):
                continue
            return f"{dotted}: {err}"
        for part in parts[n:]:
            if not hasattr(found, part):
                return f"no name {dotted}"
            found = getattr(found, part)
        return ""
    return f"no module {dotted}"


def lost_command(line: str) -> str:
    "Why a command or one of its flags is not in the program."
    from lineupiq.cli import program

    first, *words = shlex.split(line)
    if first != "lineupiq":
        return f"{line}: not a command of this program"
    command = typer.main.get_command(program.app)
    while words and not words[0].startswith("-"):
        if words[0] not in (inner := getattr(command, "commands", {})):
            return f"{line}: no command '{words[0]}'"
        command = inner[words.pop(0)]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    gone = [w for w in words if w not in known]
    return f"{line}: no flag {', '.join(gone)}" if gone else ""


def lost_import(change: str) -> str:
    "Why the new one of two import lines does not run."
    old, arrow, new = change.partition(" -> ")
    try:
        assert (
            arrow
            and isinstance(ast.parse(old).body[0], (ast.Import, ast.ImportFrom))
            and isinstance(ast.parse(new).body[0], ast.ImportFrom)
        )
        exec(new, {})
    except (AssertionError, SyntaxError, ImportError) as err:
        return f"{change}: {err or 'not two import lines'}"
    return ""


LOST = {"pages": lost_page, "files": lost_file, "tests": lost_test, "names": lost_name, "commands": lost_command, "imports": lost_import}


def test_every_requirement_is_in_the_map():
    wanted = [f"{d}-{i:02d}" for d, n in ITEMS.items() for i in range(1, n + 1)]
    assert len(wanted) == 140 and sorted(set(wanted) - set(REQUIREMENTS)) == [] and sorted(set(REQUIREMENTS) - set(wanted)) == []
    assert list(REQUIREMENTS) == wanted, "in order" and set(DOCUMENTS) == set(ITEMS)


@pytest.mark.parametrize("key", list(REQUIREMENTS))
def test_every_pointer_leads_somewhere(key):
    entry = REQUIREMENTS[key]
    assert set(entry) <= KEYS and entry["title"] and entry["pages"] and entry["tests"], "a title, a page and a test"
    assert [said for kind, lost in LOST.items() for pointer in entry.get(kind, []) if (said := lost(pointer))] == []


def test_the_page_is_that_of_the_map():
    assert make_requirements.PAGE.read_text(encoding="utf-8") == make_requirements.page(), "run `python tools/make_requirements.py`"


@pytest.mark.parametrize(
    "kind, pointer",
    [
        ("pages", "99_nowhere.ipynb"),
        ("files", "nowhere.yaml"),
        ("tests", "tests/documents/test_map.py::test_nothing"),
        ("tests", "tests/test_nowhere.py::test_it"),
        ("names", "lineupiq.base.NoModel"),
        ("names", "lineupiq.nowhere"),
        ("commands", "lineupiq trane"),
        ("commands", "lineupiq train --hoizon"),
        ("commands", "other train"),
        ("imports", "from src.x import y -> from lineupiq.base import NoModel"),
        ("imports", "x -> y"),
    ],
)
def test_a_pointer_that_leads_nowhere_is_seen(kind, pointer):
    assert LOST[kind](pointer)


def test_numbered_tests_are_found():
    found = make_requirements.numbered_tests()
    assert (
        found["4-02"] == found["4-03"] == ["tests/documents/test_004.py::test_4_02_4_03_families_and_members"]
        and len([k for k in found if k.startswith("4-")]) > 35
    )
    assert [k for k in found if k not in REQUIREMENTS] == []


def test_documented_imports_are_those_that_the_tests_use():
    "What the map says of a document's import lines is what its test file imports."
    for path in sorted(Path(__file__).parent.glob("test_00?.py")):
        used = {
            (node.module, alias.name)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for key, entry in REQUIREMENTS.items():
            for line in entry.get("imports", []) if key[0] == path.stem[-1] else []:
                node = ast.parse(line.split(" -> ")[1]).body[0]
                assert {(node.module, alias.name) for alias in node.names} <= used, f"{key}: {line}"
