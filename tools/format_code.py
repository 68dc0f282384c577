"""Format the pages, the tests and the tools.

    python tools/format_code.py [--check] [PAGE …]     # PAGE as in nbs/03_boosting.ipynb; without one, all of them

Ruff's formatter does it. A line of the package has at most 140 characters; a line of a cell that readers see has at most 100, which is what the
site's column holds. What no formatter can break, such as a text or a comment, stays as long as it is.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from make_pages import UNSEEN, pages, read, source

ROOT = Path(__file__).resolve().parent.parent
RUFF = Path(sys.executable).with_name("ruff")
MODULE, SEEN = 140, 100  # characters of a line: in the package, in a cell that readers see


def width(cell: dict, path: Path) -> int:
    "How long a line of a page's cell may be; a tutorial is read as a notebook, with its hidden cells."
    return MODULE if UNSEEN.search(source(cell)) and path.parent.name != "tutorials" else SEEN


def formatted(path: Path, columns: int) -> list[dict]:
    "The cells of a page after ruff has formatted them for a number of columns."
    done = subprocess.run(
        [RUFF, "format", "--line-length", str(columns), "--stdin-filename", path.with_suffix(".ipynb"), "-"],
        input=path.read_bytes(),
        capture_output=True,
        check=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout)["cells"]


def wanted(path: Path) -> str:
    "What a page's file should hold."
    page = read(path)
    narrow, wide = formatted(path, SEEN), formatted(path, MODULE)
    page["cells"] = [w if width(cell, path) == MODULE else n for cell, w, n in zip(page["cells"], wide, narrow, strict=True)]
    return json.dumps(page, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main() -> int:
    "Format, or with --check say what is not formatted."
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is not formatted")
    options.add_argument("pages", nargs="*", type=Path)
    asked = options.parse_args()
    odd = []
    for path in [p.resolve() for p in asked.pages] or pages():
        if (text := wanted(path)) != path.read_text(encoding="utf-8"):
            odd.append(path.relative_to(ROOT))
            if not asked.check:
                path.write_text(text, encoding="utf-8")
    if not asked.pages:
        code = subprocess.run([RUFF, "format", "--quiet", *(["--check"] if asked.check else []), "tests", "tools"], cwd=ROOT).returncode
        odd += ["a file of tests or tools"] if code else []
    for name in odd:
        print(f"{name}: {'not formatted' if asked.check else 'formatted'}")
    return int(asked.check and bool(odd))


if __name__ == "__main__":
    raise SystemExit(main())
