"""Check a rendered site: what only Quarto makes, and tools/check_docs.py cannot see.

    python tools/check_site.py [FOLDER] [--browser chromium]

Every page of nbs/contents.yml is there; its sidebar, previous and next are those of the list; both themes, favicon and card are linked;
words that people look for are answered first by the page that nbs/contents.yml names. With a browser, no page is wider than a phone or a
laptop. Without --browser the widths are not looked at, and the last line says so.
"""

import argparse
import json
import posixpath
import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from make_sidebar import ROOT, SIDEBARS, contents, head_of, listed, walk

WEIGHTS = {"title": 0.4, "section": 0.4, "text": 0.2}  # those of Quarto's search: 20, 20 and 10
EXACT = 0.001  # what fuse.js counts a match without an error as
WIDTHS = (390, 1280)  # a phone and a laptop


# ---- search


def relevance(query: str, entry: dict) -> float:
    "How well an entry answers, as fuse.js counts matches without an error: the smaller the better, 1 where nothing matches."
    out = 1.0
    for key, weight in WEIGHTS.items():
        text = entry.get(key) or ""
        if query.casefold() in text.casefold():
            out *= EXACT ** (weight / max(len(text.split()), 1) ** 0.5)
    return out


def answers(query: str, entries: list[dict]) -> list[str]:
    "Pages that hold the words, the best first."
    best: dict[str, float] = {}
    for entry in entries:
        page, found = entry["href"].split("#")[0], relevance(query, entry)
        if found < best.get(page, 1.0):
            best[page] = found
    return sorted(best, key=best.get)


def search_problems(wanted: dict[str, list[str]], entries: list[dict], name=lambda page: page) -> list[str]:
    "Words that are answered first by another page. `name` is what the index calls a page."
    out = []
    for query, pages in wanted.items():
        found = answers(query, entries)
        if not found or found[0] not in [name(page) for page in pages]:
            out.append(f"search {query!r}: first is {found[0] if found else 'nothing'}, expected {' or '.join(pages)}")
    return out


def source_entries(root: Path = ROOT) -> list[dict]:
    "The index that Quarto would make, from the notebooks: an entry a page and one for each of its sections."
    out = []
    for page in listed(contents(root)):
        path, part = root / "nbs" / page, {"section": "", "text": []}
        parts = [part]
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if re.search(r"^#\| *(hide|export)", source, re.M):
                continue
            for line in source.splitlines():
                if cell["cell_type"] == "markdown" and (found := re.match(r"## +(.*)", line)):
                    parts.append(part := {"section": found[1].strip(), "text": []})
                elif not re.match(r"(# |> )", line) or cell["cell_type"] != "markdown":
                    part["text"].append(line)
        out += [
            {"href": page.removesuffix(".ipynb"), "title": head_of(path)[0], "section": p["section"], "text": " ".join(p["text"])}
            for p in parts
        ]
    return out


# ---- pages


class Rendered(HTMLParser):
    "What a rendered page links: styles by mode, icon, card, previous, next, and its sidebar."

    def __init__(self, text: str):
        super().__init__()
        self.modes: set[str] = set()
        self.icon = self.card = self.viewport = False
        self.turn: dict[str, str] = {}
        self.sidebar: list[str] = []
        self.where = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = {k: v or "" for k, v in attrs}
        classes = given.get("class", "").split()
        if tag == "link" and "data-mode" in given and "stylesheet" in given.get("rel", ""):
            self.modes.add(given["data-mode"])
        self.icon |= tag == "link" and "icon" in given.get("rel", "").split()
        self.card |= tag == "meta" and given.get("property") == "og:image" and bool(given.get("content"))
        self.viewport |= tag == "meta" and given.get("name") == "viewport"
        for kind in ("previous", "next"):
            if f"nav-page-{kind}" in classes:
                self.where = kind
        if tag == "a" and self.where and "pagination-link" in classes:
            self.turn[self.where], self.where = given.get("href", ""), ""
        if tag == "a" and "sidebar-link" in classes:
            self.sidebar.append(given.get("href", ""))


def address(page: str) -> str:
    "Where a notebook is on the site: numbers go from the file's name, not from its folder."
    folder, _, name = page.rpartition("/")
    name = re.sub(r"^\d+[a-zA-Z0-9]*_", "", name.removesuffix(".ipynb")) + ".html"
    return f"{folder}/{name}" if folder else name


def target(page: str, link: str) -> str:
    "The address that a link of a page leads to."
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(urlsplit(link).path))) if link else ""


def page_problems(site: Path, bars: list[list[str]]) -> list[str]:
    "What is wrong with the pages of some sidebars, each in reading order."
    out = []
    for pages in bars:
        made = [address(page) for page in pages]
        for k, name in enumerate(made):
            if not (site / name).is_file():
                out.append(f"{name}: not rendered")
                continue
            page = Rendered((site / name).read_text(encoding="utf-8"))
            if not {"light", "dark"} <= page.modes:
                out.append(f"{name}: themes {sorted(page.modes)}, expected light and dark")
            out += [
                f"{name}: no {what}"
                for what, there in (("favicon", page.icon), ("card (og:image)", page.card), ("viewport", page.viewport))
                if not there
            ]
            for kind, other in (("previous", made[k - 1] if k else ""), ("next", made[k + 1] if k + 1 < len(made) else "")):
                if (found := target(name, page.turn.get(kind, ""))) != other:
                    out.append(f"{name}: {kind} is {found or 'missing'}, expected {other or 'none'}")
            if gone := [n for n in made if n not in {target(name, link) for link in page.sidebar}]:
                out.append(f"{name}: not in its sidebar: {', '.join(gone[:3])}{' …' if len(gone) > 3 else ''}")
    return out


# ---- widths


FRAME = """<body><iframe id=f width=%d height=800></iframe><script>
const pages = %s, widths = [];
const next = () => {
  if (widths.length == pages.length) document.body.setAttribute('data-widths', widths.join(' '));
  else f.src = pages[widths.length];
};
f.onload = () => { if (f.src) setTimeout(() => { widths.push(f.contentDocument.documentElement.scrollWidth); next(); }, 200); };
next();
</script></body>"""


def needed_widths(site: Path, names: list[str], browser: str, width: int) -> list[int]:
    "How wide pages are in a window of a width, in pixels; nothing where the browser did not say."
    frame = site / ".widths.html"  # a window cannot be as narrow as a phone, a frame can
    frame.write_text(FRAME % (width, json.dumps(names)), encoding="utf-8")
    try:
        with tempfile.TemporaryDirectory() as profile:
            done = subprocess.run(
                [
                    browser,
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--allow-file-access-from-files",
                    f"--user-data-dir={profile}",
                    f"--virtual-time-budget={1000 + 1000 * len(names)}",
                    "--dump-dom",
                    frame.resolve().as_uri(),
                ],
                capture_output=True,
                text=True,
                timeout=900,
            )
        found = re.search(r'data-widths="([\d ]+)"', done.stdout)
        return [int(n) for n in found[1].split()] if found else []
    finally:
        frame.unlink()


def width_problems(site: Path, pages: list[str], browser: str, widths: tuple[int, ...] = WIDTHS) -> list[str]:
    "Pages that are wider than a window."
    out, names = [], [address(page) for page in pages]
    for width in widths:
        found = needed_widths(site, names, browser, width)
        out += [f"{name}: {need} pixels wide in a window of {width}" for name, need in zip(names, found, strict=False) if need > width]
        if len(found) < len(names):
            out.append(f"the browser measured {len(found)} of {len(names)} pages in a window of {width}")
    return out


# ---- all of it


def check(site: Path, told: dict, browser: str | None = None) -> list[str]:
    "Everything that is wrong with a rendered site."
    bars = [list(walk(told[name])) for name in SIDEBARS]
    out = page_problems(site, bars)
    index = site / "search.json"
    if not index.is_file():
        out.append("search.json: not rendered, so nothing can be searched")
    else:
        out += search_problems(told["search"], json.loads(index.read_text(encoding="utf-8")), lambda page: address(f"{page}.ipynb"))
    there = [page for pages in bars for page in pages if (site / address(page)).is_file()]
    return out + (width_problems(site, there, browser) if browser else [])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "_docs", help="the rendered site")
    parser.add_argument("--browser", help="a Chromium, to look at the pages' widths")
    args = parser.parse_args(argv)
    told = contents()
    problems = check(args.folder, told, args.browser)
    for problem in problems:
        print(problem)
    print(f"{len(listed(told))} pages, {len(problems)} problems" + ("" if args.browser else "; widths were not looked at (--browser)"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
