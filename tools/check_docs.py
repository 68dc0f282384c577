"""Prove the pages without Quarto: nbdev's processing, then Markdown, then pandoc, then every link and anchor.

    python tools/check_docs.py [--keep FOLDER]

The work is done in a copy, so nothing in the checkout changes. What is checked: each notebook survives nbdev's processing (a `show_doc`
that fails is found here), pandoc makes a page of it, the page has a title, its pictures have words, and every link inside the site leads to a page and to an
anchor that exists; links into the repository lead to files that exist. Links to other sites are not followed.
"""
import argparse
import ast
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

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("nbs", "lineupiq", "models", "settings.ini", "setup.py", "pyproject.toml", "_quarto.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")
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
            shutil.copytree(root / part, to / part, symlinks=True, ignore=shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "_proc", "experiments"))
        elif (root / part).exists():
            shutil.copy2(root / part, to / part)
    return to


def signature_of(sym, *, eval_str: bool = True, **options):
    "A signature; names that are imported for annotations alone stay as they are written."
    import inspect
    try:
        return inspect.signature(sym, eval_str=eval_str, **options)
    except NameError:
        return inspect.signature(sym, **options)


def imports_only(source: str) -> str | None:
    "The imports of a cell that also does something else; None for any other cell, and for what is exported."
    if re.search(r"^ *#\| *export", source, re.M):
        return None
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a line that only IPython understands
        return None
    lines = [ast.unparse(n) for n in body if isinstance(n, (ast.Import, ast.ImportFrom))]
    return "\n".join(lines) if lines and len(lines) < len(body) else None


def make_gentle() -> None:
    """nbdev runs whole every cell that imports something, and evaluates every annotation. A page needs only the imports, and the
    annotations as they are written; so examples are not run twice, and not without what they stand on."""
    import fastcore.docments
    from nbdev.processors import exec_show_docs
    fastcore.docments.signature = signature_of
    usual = exec_show_docs.__call__

    def call(self, cell):
        only = imports_only(cell.source) if cell.cell_type == "code" else None
        if only is None:
            return usual(self, cell)
        if self.nb.has_docs_ and hasattr(self, "k"):
            self.k.run_cell(only)

    exec_show_docs.__call__ = call


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
    make_gentle()
    refresh_quarto_yml()
    _build_modidx()
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
            text = pypandoc.convert_text(to_markdown(cells), "html5", "markdown+autolink_bare_uris+lists_without_preceding_blankline", extra_args=["--standalone", "--wrap=none", "--mathml"])
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
        file = unquote(urlsplit(link[len(repo) + 6:]).path).partition("/")[2]
        return "" if (root / file).exists() else f"the repository has no {file} ({link})"
    target = SITE + link[len(host):].lstrip("/") if host and link.startswith(host) else urljoin(SITE + name, link)
    parts = urlsplit(target)
    if not target.startswith(SITE):
        return "" if parts.scheme in ("https", "mailto", "data") else f"not https: {link}"
    page = unquote(parts.path.lstrip("/")) or "index.html"
    page = addresses.get(page, page)  # a link to a notebook leads to its page
    if page not in parsed:
        return f"no such page: {link}"
    anchor = unquote(parts.fragment)
    return f"no such anchor: {link}" if anchor and anchor not in parsed[page].anchors else ""


def check(root: Path = ROOT, keep: Path | None = None) -> tuple[int, list[str]]:
    "How many pages there are, and everything that is wrong with them."
    here, config = Path.cwd(), settings(root)
    base = config["doc_baseurl"].replace("%(repo)s", config["repo"])
    with tempfile.TemporaryDirectory(prefix="lineupiq-docs-") as scratch:
        try:
            cache, problems = process(copy_project(root, Path(scratch, "project")))
            pages, addresses, more = make_pages(cache.resolve())
        finally:
            os.chdir(here)
        for name, text in pages.items() if keep else ():
            (keep / name).parent.mkdir(parents=True, exist_ok=True)
            (keep / name).write_text(text, encoding="utf-8")
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
