"""Write nbs/requirements.ipynb, the map of the source documents' requirements, from tests/documents/requirements.yaml.

    python tools/make_requirements.py

A test compares the page with what this would write, and follows every pointer of the map: pages, files, names, commands and tests.
"""

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE, PAGE = ROOT / "tests" / "documents" / "requirements.yaml", ROOT / "nbs" / "requirements.ipynb"
HEAD = """# Requirements

> What five source documents ask for, and where it is: page, name, command, test

The project was asked for in five documents. Each requirement that they state has a number, `document-item`, and a line here: the page that explains it and runs as its own test, what can be
imported, the command, and the tests that hold it. A test follows every pointer, so that none leads nowhere. Where a line of a document had to change, the change stands below the document's
table: import lines, because modules are generated from these pages and named after what they do, and a few decisions where two documents contradict each other or one would let the future in.

This page is written by `python tools/make_requirements.py` from `tests/documents/requirements.yaml`."""


def read_map(path: Path = SOURCE) -> tuple[dict[str, str], dict[str, dict]]:
    "(documents by number, requirements by id); tests that bear a requirement's number stand before those that the file names."
    import yaml

    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, tests in numbered_tests().items():
        if key in told["requirements"]:
            entry = told["requirements"][key]
            entry["tests"] = [*tests, *(t for t in entry.get("tests", []) if t not in tests)]
    return told["documents"], told["requirements"]


def numbered_tests(folder: Path = SOURCE.parent) -> dict[str, list[str]]:
    "Requirement -> tests of the documents' files whose names begin with its number, as `test_4_02_4_03_families`."
    out: dict[str, list[str]] = {}
    for path in sorted(folder.glob("test_00?.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and (named := re.match(r"test((?:_\d_\d\d)+)(?:_|$)", node.name)):
                for document, item in re.findall(r"_(\d)_(\d\d)", named[1]):
                    out.setdefault(f"{document}-{item}", []).append(f"{path.relative_to(ROOT).as_posix()}::{node.name}")
    return out


def row(key: str, entry: dict) -> str:
    "A line of a document's table."
    plain = lambda text: text.replace("|", "\\|")  # noqa: E731
    pages = [f"[{p.removesuffix('.ipynb')}]({p})" for p in entry.get("pages", [])] + [f"`{f}`" for f in entry.get("files", [])]
    code = [f"`{n}`" for n in entry.get("names", [])] + [f"`{c}`" for c in entry.get("commands", [])]
    tests = [f"`{t.removeprefix('tests/').replace('.py::', ' ')}`" for t in entry.get("tests", [])]
    return "| " + " | ".join([key, plain(entry["title"]), "<br>".join(pages), "<br>".join(map(plain, code)), "<br>".join(tests)]) + " |"


def section(number: str, title: str, entries: dict[str, dict]) -> str:
    "A document's table, and what changed."
    rows = [row(k, e) for k, e in entries.items()]
    imports = [line.split(" -> ") for e in entries.values() for line in e.get("imports", [])]
    changed = [f"- `{old}` is `{new}`" for old, new in imports]
    notes = [f"- {k}: {e['note']}" for k, e in entries.items() if "note" in e]
    parts = [f"## {number}. {title}", "| | asked for | page | name, command | test |\n|---|---|---|---|---|\n" + "\n".join(rows)]
    parts += ["Import lines that changed:\n\n" + "\n".join(changed)] if changed else []
    return "\n\n".join(parts + (["Met in another way than it was written:\n\n" + "\n".join(notes)] if notes else []))


def page() -> str:
    "The notebook's text."
    documents, requirements = read_map()
    texts = [HEAD] + [section(d, t, {k: e for k, e in requirements.items() if k.split("-")[0] == d}) for d, t in documents.items()]
    cells = [
        {"cell_type": "markdown", "id": f"requirements-{i}", "metadata": {}, "source": text.splitlines(keepends=True)}
        for i, text in enumerate(texts)
    ]
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    return (
        json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False, sort_keys=True)
        + "\n"
    )


def main() -> int:
    text = page()
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    print(f"{len(read_map()[1])} requirements")
    return 0


if __name__ == "__main__":
    sys.exit(main())
