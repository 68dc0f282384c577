"""Make the site. With Quarto: rendered into _docs/. Without: said so, and the pages are proved by tools/check_docs.py.

    python tools/make_docs.py
"""
import shutil
import subprocess
import sys
from pathlib import Path

from check_docs import ROOT, main as prove, process


def render() -> int:
    "nbdev's processing in the checkout, then Quarto on what it made."
    import os
    here = Path.cwd()
    try:
        cache, problems = process(ROOT)
    finally:
        os.chdir(here)
    if problems:
        print("\n".join(problems))
        return 1
    code = subprocess.run(["quarto", "render", "--no-execute"], cwd=ROOT / "_proc").returncode
    made = ROOT / "_proc" / "_docs"
    if code or not made.is_dir():
        print(f"error: quarto ended with {code}" if code else "error: quarto made no pages")
        return code or 1
    shutil.rmtree(ROOT / "_docs", ignore_errors=True)
    shutil.move(made, ROOT / "_docs")
    print(f"{sum(1 for _ in (ROOT / '_docs').rglob('*.html'))} pages in _docs, the first is _docs/index.html")
    return 0


def main() -> int:
    if shutil.which("quarto"):
        return render()
    print("Quarto is not installed (https://quarto.org/docs/get-started), so nothing is rendered; proving the pages without it instead.", flush=True)
    return prove([])


if __name__ == "__main__":
    sys.exit(main())
