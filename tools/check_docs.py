"""Prove the pages without Quarto: nbdev's processing, then Markdown, then pandoc, then every link and anchor.

    python tools/check_docs.py [--keep FOLDER]

The work is done in a copy, so nothing in the checkout changes. What is checked: each notebook survives nbdev's processing (a `show_doc`
that fails is found here), pandoc makes a page of it, the page has a title, its pictures have words, and every link inside the site leads to a page and to an
anchor that exists; links into the repository lead to files that exist. Links to other sites are not followed. The reference is whole: every
class is shown with its fields, every page says how its names are imported, and no flag became a dash.
"""

import argparse
import contextlib
import html
import io
import os
import re
import shutil
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import reference

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "nbs",
    "lineupiq",
    "models",
    "settings.ini",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE",
)
SITE = "https://site.test/"  # stands for the place where the pages will be


def settings(root: Path = ROOT) -> dict[str, str]:
    "The project's settings."
    from configparser import ConfigParser

    parser = ConfigParser(delimiters=["="])
    parser.read(root / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def copy_project(root: Path, to: Path) -> Path:
    "What the pages are made of, in another folder."
    to.mkdir(parents=True)
    for part in PARTS:
        if (root / part).is_dir():
            shutil.copytree(
                root / part,
                to / part,
                symlinks=True,
                ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "_proc", "experiments"),
            )
        elif (root / part).exists():
            shutil.copy2(root / part, to / part)
    return to


def module_of(path: Path) -> str:
    "The module that a notebook exports, by its full name; empty where it exports none."
    import json

    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if found := re.search(r"^#\| *default_exp +(\S+)", "".join(cell["source"]), re.M):
            name = found[1].removesuffix(".__init__")
            return settings()["lib_name"] if name == "__init__" else f"{settings()['lib_name']}.{name}"
    return ""


class show_entries:
    """In the place of nbdev's step that runs exported cells: the module is imported, and `show_doc` shows what its file says
    (tools/reference.py)."""

    def __init__(self, nb):
        self.nb, self.module = nb, module_of(Path(nb.path_))

    def __call__(self, cell) -> None:
        asked = re.search(r"^show_doc\(([\w.]+)\)", cell.source or "", re.M) if cell.cell_type == "code" else None
        if asked:
            from execnb.nbio import dict2nb

            text = reference.describe(self.module, asked[1], f"{settings()['git_url']}/blob/{settings()['branch']}")
            made = {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": text.splitlines(keepends=True)}}
            cell.outputs = dict2nb({"cells": [{"cell_type": "code", "source": "", "outputs": [made]}]}).cells[0].outputs


class add_names:
    """The last step: a page begins with the line that imports its names, names in backticks lead to where they are explained, and cells
    that only check are folded."""

    names: "reference.Names"

    def __init__(self, nb):
        self.nb, self.module = nb, module_of(Path(nb.path_))

    def begin(self) -> None:
        from execnb.nbio import mk_cell

        line = reference.import_line(self.module) if self.module else ""
        if line:
            shown = [i for i, c in enumerate(self.nb.cells) if not (c.cell_type == "raw" or c.source.startswith("<!--"))]
            first = shown[0] if shown else len(self.nb.cells)
            told = (
                first < len(self.nb.cells)
                and self.nb.cells[first].cell_type == "markdown"
                and not self.nb.cells[first].source.startswith(("#", "```"))
            )
            self.nb.cells.insert(first + told, mk_cell(f"```python\n{line}\n```", "markdown"))

    def __call__(self, cell) -> None:
        here = address(Path(self.nb.path_))
        if cell.cell_type == "code" and not cell.get("outputs") and "code-fold" not in cell.source and reference.only_checks(cell.source):
            cell.source = f'#| code-fold: true\n#| code-summary: "Checks"\n{cell.source}'
        if cell.cell_type == "markdown":
            cell.source = self.names.link(cell.source, self.module, here)
        for o in cell.get("outputs", []):
            if "text/html" in o.get("data", {}):
                o["data"]["text/html"] = [
                    reference.FLAG.sub(lambda m: m[0].replace("--", "&#45;&#45;"), line) for line in o["data"]["text/html"]
                ]
            if "text/markdown" in o.get("data", {}):
                o["data"]["text/markdown"] = self.names.link("".join(o["data"]["text/markdown"]), self.module, here).splitlines(
                    keepends=True
                )


def address(path: Path) -> str:
    "Where a notebook's page stands, from the top of the site."
    from nbdev.doclinks import _nbpath2html

    return _nbpath2html(path.resolve().relative_to(Path("nbs").resolve())).as_posix()


def set_steps() -> None:
    "nbdev's steps with ours in the place of two of them."
    import importlib
    from nbdev import processors

    add_names.names = reference.Names(importlib.import_module(f"{settings()['lib_name']}._modidx").d)
    processors.exec_show_docs, processors.add_links = show_entries, lambda cell: None
    usual = processors.FilterDefaults.base_procs
    if getattr(usual, "ours", None) is None:

        def base_procs(self):
            return [*usual(self), add_names]

        base_procs.ours = True
        processors.FilterDefaults.base_procs = base_procs


def process(project: Path) -> tuple[Path, list[str]]:
    "nbdev's part: the folder of processed notebooks, and what went wrong, a line a notebook."
    os.environ["IN_TEST"] = "1"
    os.chdir(project)
    sys.path.insert(0, str(project))
    from nbdev.config import get_config
    from nbdev.doclinks import _build_modidx, nbglob
    from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
    from nbdev.serve import _proc_file
    from nbdev.serve_drv import main as process_one

    get_config.cache_clear()
    refresh_quarto_yml()
    _build_modidx()
    set_steps()
    nbs, cache, problems = Path("nbs"), Path("_proc"), []
    nbdev_sidebar.__wrapped__(path=nbs)
    shutil.rmtree(cache, ignore_errors=True)
    for path in [*nbglob(nbs, func=Path, file_glob="", file_re=""), nbs / "_quarto.yml"]:
        item = _proc_file(path, cache, nbs)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                if item:
                    process_one(item)
        except Exception as err:
            problems.append(f"{path}: nbdev cannot process it: {str(err)[:600]}\n    {type(err.__cause__).__name__}: {err.__cause__}")
    return cache, problems


def page_name(path: Path, cells: list) -> Path:
    "Where a processed notebook goes: nbdev writes it into the front matter."
    front = cells[0]["source"] if cells and cells[0]["cell_type"] == "raw" else ""
    found = re.search(r"^output-file: *(\S+)", front, re.M)
    return path.with_name(found[1]) if found else path.with_suffix(".html")


def to_markdown(cells: list) -> str:
    "A processed notebook as Markdown: text, code in fences, outputs as they would be shown."
    out = []
    for cell in cells:
        source = cell["source"]
        if cell["cell_type"] != "code":
            out.append(source)
            continue
        shown = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith("#|"))
        if shown.strip() and not re.search(r"^#\| *(echo: *false|include: *false)", source, re.M):
            out.append(f"```` python\n{shown}\n````")
        if not re.search(r"^#\| *(output: *false|include: *false)", source, re.M):
            alt = re.search(r"^#\| *fig-alt: *[\"']?(.+?)[\"']?$", source, re.M)
            out += [text for o in cell.get("outputs", []) if (text := output_text(o, alt[1] if alt else ""))]
    return "\n\n".join(out) + "\n"


def output_text(output: dict, alt: str = "") -> str:
    "An output as Markdown; a picture gets the words of its cell."
    data = output.get("data", {})
    for kind in ("text/markdown", "text/html"):
        if kind in data:
            return "".join(data[kind])
    if "image/png" in data:
        width = output.get("metadata", {}).get("image/png", {}).get("width")
        size = f' width="{width}"' if width else ""
        return f'<img src="data:image/png;base64,{"".join(data["image/png"]).strip()}"{size} alt="{html.escape(alt)}">'
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"````\n{text}\n````" if text.strip() else ""


class Page(HTMLParser):
    "Links and anchors of a page."

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.headings = 0
        self.wordless = 0  # pictures without an alt text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        given = dict(attrs)
        self.anchors |= {given[k] for k in ("id", "name") if given.get(k)}
        self.headings += tag == "h1"
        self.wordless += tag == "img" and not given.get("alt")
        if tag == "a" and given.get("href") is not None:
            self.links.append(given["href"])


def make_pages(cache: Path) -> tuple[dict[str, str], dict[str, str], list[str]]:
    "Every page's HTML by its address, the address of every notebook, and what went wrong."
    import nbformat
    import pypandoc

    pages, addresses, problems = {}, {}, []
    for path in sorted(cache.rglob("*.ipynb")):
        cells = nbformat.read(path, 4).cells
        name = page_name(path.relative_to(cache), cells).as_posix()
        addresses[path.relative_to(cache).as_posix()] = name
        try:
            text = pypandoc.convert_text(
                to_markdown(cells),
                "html5",
                "markdown+autolink_bare_uris+lists_without_preceding_blankline",
                extra_args=["--standalone", "--wrap=none", "--mathml"],
            )
        except Exception as err:
            problems.append(f"{path.name}: pandoc: {str(err)[:300]}")
            continue
        if name in pages:
            problems.append(f"{path.name}: another notebook makes {name} as well")
        pages[name] = text
    return pages, addresses, problems


def link_problems(pages: dict[str, str], addresses: dict[str, str], root: Path = ROOT, host: str = "", repo: str = "") -> list[str]:
    "Every link that leads nowhere. `host`: where the site will be; `repo`: the repository's address."
    parsed = {name: Page(text) for name, text in pages.items()}
    out = [f"{name}: no title" for name, page in parsed.items() if not page.headings]
    out += [f"{name}: {page.wordless} picture(s) without an alt text" for name, page in parsed.items() if page.wordless]
    for name, page in parsed.items():
        for link in sorted(set(page.links)):
            problem = _link_problem(name, link, parsed, addresses, root, host.rstrip("/"), repo.rstrip("/"))
            if problem:
                out.append(f"{name}: {problem}")
    return out


def _link_problem(name: str, link: str, parsed: dict, addresses: dict, root: Path, host: str, repo: str) -> str:
    if repo and link.startswith(f"{repo}/blob/"):
        file = unquote(urlsplit(link[len(repo) + 6 :]).path).partition("/")[2]
        return "" if (root / file).exists() else f"the repository has no {file} ({link})"
    target = SITE + link[len(host) :].lstrip("/") if host and link.startswith(host) else urljoin(SITE + name, link)
    parts = urlsplit(target)
    if not target.startswith(SITE):
        return "" if parts.scheme in ("https", "mailto", "data") else f"not https: {link}"
    page = unquote(parts.path.lstrip("/")) or "index.html"
    page = addresses.get(page, page)  # a link to a notebook leads to its page
    if page not in parsed:
        return f"no such page: {link}"
    anchor = unquote(parts.fragment)
    return f"no such anchor: {link}" if anchor and anchor not in parsed[page].anchors else ""


def reference_problems(cache: Path) -> list[str]:
    """What the reference lacks: classes without the fields that they have, links to no line, pages without the line that imports their
    names."""
    import nbformat

    out = []
    for path in sorted(cache.rglob("*.ipynb")):
        source = Path("nbs", path.relative_to(cache))
        module = module_of(source) if source.exists() else ""
        if module:
            text = to_markdown(nbformat.read(path, 4).cells)
            name = path.relative_to(cache).as_posix()
            out += reference.lacking(name, text, module) + ([f"{name}: a link to a source without a line"] if "#LNone" in text else [])
            out += [f"{name}: nothing says how its names are imported"] if reference.import_line(module) not in text else []
    return out


def check(root: Path = ROOT, keep: Path | None = None) -> tuple[int, list[str]]:
    "How many pages there are, and everything that is wrong with them."
    here, config = Path.cwd(), settings(root)
    base = config["doc_baseurl"].replace("%(repo)s", config["repo"])
    with tempfile.TemporaryDirectory(prefix="lineupiq-docs-") as scratch:
        try:
            cache, problems = process(copy_project(root, Path(scratch, "project")))
            pages, addresses, more = make_pages(cache.resolve())
            more += reference_problems(cache)
        finally:
            os.chdir(here)
        for name, text in pages.items() if keep else ():
            (keep / name).parent.mkdir(parents=True, exist_ok=True)
            (keep / name).write_text(text, encoding="utf-8")
        more += [f"{name}: a flag became a dash: {', '.join(found)}" for name, html in pages.items() if (found := reference.dashes(html))]
        return len(pages), problems + more + link_problems(pages, addresses, root, config["doc_host"] + base, config["git_url"])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="a folder for the plain HTML pages")
    args = parser.parse_args(argv)
    n, problems = check(keep=args.keep and args.keep.resolve())
    for p in problems:
        print(p)
    print(f"{n} pages, {len(problems)} problems")
    return 1 if problems or not n else 0


if __name__ == "__main__":
    sys.exit(main())
