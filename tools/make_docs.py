"""Make the site. With Quarto: rendered into _docs/. Without: said so, and the pages are proved by tools/check_docs.py.

    python tools/make_docs.py [--jobs N] [--whole]

A page is rendered where it is not the same as the last time, and several at once, each process in a copy of the processed pages. What
comes out is held against the list of pages, the way through them and the search (tools/check_site.py); where something is missing, all
of it is rendered once more in one piece. --whole does that from the beginning. What was rendered last is kept in _site_cache/.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from check_docs import ROOT, main as prove, process
from check_site import address, check
from make_sidebar import contents

CACHE = "_site_cache"
QUARTO = ("--to", "html", "--no-execute")  # without --to each page is rendered a second time, as Markdown that nobody reads
SHARED = ("search.json", "sitemap.xml")  # of all pages together


def digest(path: Path) -> str:
    "A file's digest; of a notebook without what nbdev makes anew each time."
    data = path.read_bytes()
    if path.suffix == ".ipynb":
        cells = [{k: cell.get(k) for k in ("cell_type", "source", "outputs")} for cell in json.loads(data)["cells"]]
        data = json.dumps(cells, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def digests(proc: Path, version: str) -> dict[str, str]:
    "Page -> digest of all that it is rendered from: itself, and what every page shares."
    files = sorted(p for p in proc.rglob("*") if p.is_file() and "_docs" not in p.parts and ".quarto" not in p.parts)
    common = hashlib.sha256(version.encode())
    for path in files:
        if path.suffix != ".ipynb":
            common.update(f"{path.relative_to(proc)} {digest(path)}\n".encode())
    return {
        p.relative_to(proc).as_posix(): hashlib.sha256(f"{common.hexdigest()} {digest(p)}".encode()).hexdigest()
        for p in files
        if p.suffix == ".ipynb"
    }


def parts(pages: list[str], known: list[str], jobs: int) -> list[list[str]]:
    "What each process renders: folders where all of their pages are new, else single pages; the longest first, so that all end together."
    calls: dict[str, int] = {}
    for folder in sorted({p.split("/")[0] for p in pages if "/" in p}):
        inside = [p for p in pages if p.startswith(f"{folder}/")]
        whole = len(inside) == sum(p.startswith(f"{folder}/") for p in known)
        calls |= {folder: len(inside)} if whole and len(inside) > 1 and len(inside) <= len(pages) / jobs else dict.fromkeys(inside, 1)
    calls |= {p: 1 for p in pages if "/" not in p}
    out, load = [[] for _ in range(jobs)], [0] * jobs
    for call in sorted(calls, key=lambda c: (-calls[c], c)):
        k = load.index(min(load))
        out[k].append(call)
        load[k] += calls[call]
    return [part for part in out if part]


def render_part(proc: Path, copy: Path, calls: list[str]) -> tuple[Path, str]:
    "One process's part, in a copy: (the site that it made, what went wrong)."
    shutil.copytree(proc, copy, ignore=shutil.ignore_patterns("_docs", ".quarto"))
    for call in calls or ["."]:
        done = subprocess.run(["quarto", "render", call, *QUARTO], cwd=copy, capture_output=True, text=True, errors="replace")
        if done.returncode:
            return copy / "_docs", f"quarto render {call}: exit code {done.returncode}\n{done.stderr[-2000:]}"
    return copy / "_docs", "" if (copy / "_docs").is_dir() else "quarto made no pages"


def merge(made: list[Path], site: Path, pages: list[str]) -> None:
    "Put rendered parts over a site; of what all pages share, the entries of the pages that were rendered are taken anew."
    new = {address(page) for page in pages}
    index = {name: (site / name).read_text(encoding="utf-8") if (site / name).exists() else "" for name in SHARED}
    entries = [e for e in json.loads(index["search.json"] or "[]") if e["href"].split("#")[0] not in new]
    places = [u for u in re.findall(r"<url>.*?</url>", index["sitemap.xml"], re.S) if not any(f"/{n}</loc>" in u for n in new)]
    for part in made:
        shutil.copytree(part, site, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*SHARED))
        if (part / "search.json").exists():
            entries += json.loads((part / "search.json").read_text(encoding="utf-8"))
        if (part / "sitemap.xml").exists():
            places += re.findall(r"<url>.*?</url>", (part / "sitemap.xml").read_text(encoding="utf-8"), re.S)
    site.mkdir(parents=True, exist_ok=True)
    (site / "search.json").write_text(json.dumps(entries, ensure_ascii=False, indent=1), encoding="utf-8")
    lines = "\n  ".join(dict.fromkeys(places))
    (site / "sitemap.xml").write_text(
        f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n  {lines}\n</urlset>\n',
        encoding="utf-8",
    )


def render_new(proc: Path, site: Path, pages: list[str], known: list[str], jobs: int) -> list[str]:
    "Render pages, several at once, over a site; what went wrong."
    with tempfile.TemporaryDirectory(prefix="lineupiq-site-") as scratch, ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(lambda k: render_part(proc, Path(scratch, str(k[0])), k[1]), enumerate(parts(pages, known, jobs))))
        if problems := [text for _, text in done if text]:
            return problems
        merge([made for made, _ in done], site, pages)
    return []


def render_whole(proc: Path, site: Path) -> list[str]:
    "Render everything in one piece."
    with tempfile.TemporaryDirectory(prefix="lineupiq-site-") as scratch:
        made, problem = render_part(proc, Path(scratch, "all"), [])
        if not problem:
            shutil.copytree(made, site)
    return [problem] if problem else []


def make_site(proc: Path, kept: Path, told: dict, version: str, jobs: int = 2, whole: bool = False) -> tuple[Path, list[str]]:
    "The site, in the folder in which it is kept; and what is wrong with it."
    site, stamp, now = kept / "site", kept / "digests.json", digests(proc, version)
    before = json.loads(stamp.read_text(encoding="utf-8")) if stamp.exists() and site.is_dir() else {}
    stamp.unlink(missing_ok=True)  # what stands there from now on is not whole until it is written again
    pages = [p for p in now if before.get(p) != now[p]]
    if not before or set(before) - set(now):
        shutil.rmtree(site, ignore_errors=True)
        pages = list(now)
    problems = ["asked for"] if whole else (render_new(proc, site, pages, list(now), jobs) if pages else []) or check(site, told)
    print(
        f"{len(pages)} of {len(now)} pages rendered, the others are those of last time" if not whole else "all pages rendered in one piece",
        flush=True,
    )
    if problems:
        if not whole:
            print("\n".join([*problems[:10], "so all of it is rendered in one piece"]), flush=True)
        shutil.rmtree(site, ignore_errors=True)
        problems = render_whole(proc, site) or check(site, told)
    if not problems:
        stamp.write_text(json.dumps(now, indent=1), encoding="utf-8")
    return site, problems


def render(jobs: int, whole: bool) -> int:
    "nbdev's processing in the checkout, then Quarto on what it made."
    here, started = Path.cwd(), time.monotonic()
    try:
        proc, problems = process(ROOT)
        proc = proc.resolve()
    finally:
        os.chdir(here)
    if problems:
        print("\n".join(problems))
        return 1
    version = subprocess.run(["quarto", "--version"], capture_output=True, text=True).stdout.strip()
    (ROOT / CACHE).mkdir(exist_ok=True)
    site, problems = make_site(proc, ROOT / CACHE, contents(), version, jobs, whole)
    if problems:
        print("\n".join(problems))
        return 1
    shutil.rmtree(ROOT / "_docs", ignore_errors=True)
    shutil.copytree(site, ROOT / "_docs")
    print(
        f"{sum(1 for _ in (ROOT / '_docs').rglob('*.html'))} pages in _docs after {time.monotonic() - started:.0f} s, the first is "
        "_docs/index.html"
    )
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes of Quarto at once")
    parser.add_argument("--whole", action="store_true", help="render every page, in one piece")
    args = parser.parse_args(argv)
    if shutil.which("quarto"):
        return render(max(args.jobs, 1), args.whole)
    print(
        "Quarto is not installed (https://quarto.org/docs/get-started), so nothing is rendered; proving the pages without it instead.",
        flush=True,
    )
    return prove([])


if __name__ == "__main__":
    sys.exit(main())
