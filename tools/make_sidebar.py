"""Write what leads through the site, from one list: nbs/contents.yml.

    python tools/make_sidebar.py

Written are nbs/sidebar.yml (navigation bar, sidebars and with them previous and next) and nbs/reference.ipynb (a line a module). A page's
text is its title, so that title, sidebar and navigation agree. What is not written is refused: a page that is missing in the list, listed
twice or not there, and two pages with one title. A test compares the two files with what this would write.
"""

import json
import re
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# Made from nbs/contents.yml with `python tools/make_sidebar.py`; edit that.\n"
SIDEBARS = ("guide", "reference", "evidence")
# sections that the bar names; the rest stands under More
BAR = ("Start", "Tutorials", "How to", "Understand", "Reference", "Commands", "Models", "Benchmarks")
REFERENCE = """# Reference

> Every module, a line each: what it holds and where its page is

A page is its module: the text explains, the code is what is exported, and the examples run as its tests. Import from the module that the line
names, or by the short names of `import lineupiq as lq`, which are [a page of their own]({face})."""


def contents(root: Path = ROOT) -> dict:
    "The list, as it is written."
    return yaml.safe_load((root / "nbs" / "contents.yml").read_text(encoding="utf-8"))


def pages_of(node: dict) -> list[str]:
    "The pages that stand directly in a section, as paths inside nbs/."
    folder = f"{node['folder']}/" if "folder" in node else ""
    return [f"{folder}{name}.ipynb" for name in node.get("pages", [])]


def walk(nodes: list[dict]) -> Iterator[str]:
    "Every page of some sections, in reading order."
    for node in nodes:
        yield from pages_of(node)
        yield from walk(node.get("sections", []))


def listed(told: dict) -> list[str]:
    "Every page of the list, in reading order."
    return [page for name in SIDEBARS for page in walk(told[name])]


def head_of(path: Path) -> tuple[str, str]:
    "A page's title and its line of description."
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            title, line = re.search(r"^# +(\S.*?) *$", text, re.M), re.search(r"^> +(\S.*?) *$", text, re.M)
            return (title[1] if title else "", line[1] if line else "")
    return "", ""


def module_of(path: Path) -> str:
    "The module that a page exports; nothing where it exports none."
    text = path.read_text(encoding="utf-8")
    found = re.search(r'"#\| *default_exp +([\w.]+)', text)
    return f"lineupiq.{found[1]}".removesuffix(".__init__") if found else ""


def problems(told: dict, root: Path = ROOT) -> list[str]:
    "What is wrong with the list, a line each."
    nbs, names = root / "nbs", listed(told)
    there = {
        p.relative_to(nbs).as_posix()
        for p in nbs.rglob("*.ipynb")
        if not any(part.startswith((".", "_")) for part in p.relative_to(nbs).parts)
    }
    out = [f"{name}: not in nbs/contents.yml; add it where it is read" for name in sorted(there - set(names))]
    out += [f"{name}: in nbs/contents.yml and not in nbs/" for name in names if name not in there]
    out += [f"{name}: {names.count(name)} times in nbs/contents.yml" for name in sorted({n for n in names if names.count(n) > 1})]
    titles: dict[str, str] = {}
    for name in names:
        title, line = head_of(nbs / name) if name in there else ("-" + name, "-")
        if not title or not line:
            out.append(f"{name}: its first text has no title (# …) or no description (> …)")
        elif title.casefold() in titles and titles[title.casefold()] != name:
            out.append(f"{name}: titled {title!r} as {titles[title.casefold()]} is")
        titles.setdefault(title.casefold(), name)
    return out


def entries(node: dict, nbs: Path) -> list[dict]:
    "A section as Quarto has it."
    inside = [{"text": head_of(nbs / page)[0], "href": page} for page in pages_of(node)]
    return inside + [{"section": sub["section"], "contents": entries(sub, nbs)} for sub in node.get("sections", [])]


def navigation(told: dict, root: Path = ROOT) -> dict:
    "The website's part: the bar, the sidebars, and previous and next."
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini", encoding="utf-8")
    about = config["DEFAULT"]
    sections = [(node["section"], next(walk([node]))) for name in SIDEBARS for node in told[name] if next(walk([node]), None)]
    link = lambda text, page: {"text": text, "href": page}  # noqa: E731
    first = dict(sections)
    left = [link(text, first[text]) for text in BAR if text in first]
    more = [link(text, page) for text, page in told["more"].items()]
    right = [
        {"text": about["version"], "href": f"{about['git_url']}/blob/{about['branch']}/CHANGELOG.md"},
        {"icon": "github", "href": about["git_url"], "aria-label": "The repository"},
    ]
    bars = [
        {
            "id": name,
            "style": "docked",
            "collapse-level": 1 if name == "reference" else 2,
            "contents": [
                {"section": node["section"], "contents": entries(node, root / "nbs")} for node in told[name] if next(walk([node]), None)
            ],
        }
        for name in SIDEBARS
    ]
    return {
        "website": {"page-navigation": True, "navbar": {"left": [*left, {"text": "More", "menu": more}], "right": right}, "sidebar": bars}
    }


def sidebar(told: dict, root: Path = ROOT) -> str:
    "The text of nbs/sidebar.yml."
    return HEAD + yaml.safe_dump(navigation(told, root), sort_keys=False, allow_unicode=True, width=150)


def reference(told: dict, root: Path = ROOT) -> str:
    "The text of nbs/reference.ipynb."
    import nbformat

    nbs = root / "nbs"
    cells = [REFERENCE.format(face="19_api.ipynb")]
    for node in told["reference"]:
        groups = node.get("sections", []) if node["section"] == "Packages" else [node] if node["section"] == "Models" else []
        for group in groups:
            cells.append(f"## {group['section']}\n\n" + "\n".join(_line(nbs, page) for page in pages_of(group)))
    book = nbformat.v4.new_notebook(metadata={"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}})
    book.cells = [
        {"cell_type": "markdown", "id": f"reference{i:02}", "metadata": {}, "source": text.splitlines(keepends=True)}
        for i, text in enumerate(cells)
    ]
    return json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _line(nbs: Path, page: str) -> str:
    "A module's line on the page of reference."
    (title, about), module = head_of(nbs / page), module_of(nbs / page)
    return f"- [{title}]({page})" + (f" `{module}`" if module else "") + f": {about}"


def main(root: Path = ROOT) -> int:
    told = contents(root)
    made = root / "nbs" / "reference.ipynb"
    if not made.exists():  # the list names it before it was ever written
        made.write_text(reference(told, root), encoding="utf-8")
    if odd := problems(told, root):
        print("\n".join(odd))
        return 1
    for path, text in ((root / "nbs" / "sidebar.yml", sidebar(told, root)), (made, reference(told, root))):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(root)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
