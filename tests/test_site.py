"""The site's order: one list of pages, what is written from it, what a search finds first, and the check of a rendered site."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import check_site  # noqa: E402
import make_card  # noqa: E402
import make_sidebar  # noqa: E402

TOLD = make_sidebar.contents()
GUIDES = [
    p for p in make_sidebar.listed(TOLD) if p.split("/")[0] in ("start", "howto", "understand") or p in ("glossary.ipynb", "faq.ipynb")
]


# ---- the list


def test_every_page_is_in_the_list_once_and_titles_are_unique():
    assert make_sidebar.problems(TOLD) == []
    assert len(make_sidebar.listed(TOLD)) > 250


def test_what_leads_through_the_site_is_what_the_tool_writes():
    told = "run `python tools/make_sidebar.py`"
    assert (ROOT / "nbs" / "sidebar.yml").read_text(encoding="utf-8") == make_sidebar.sidebar(TOLD), told
    assert (ROOT / "nbs" / "reference.ipynb").read_text(encoding="utf-8") == make_sidebar.reference(TOLD), told


def links(items: list) -> list[dict]:
    "Every link of a sidebar, in its order."
    return [link for item in items for link in (links(item["contents"]) if "contents" in item else [item])]


def test_sidebars_hold_every_page_with_its_title():
    made = yaml.safe_load((ROOT / "nbs" / "sidebar.yml").read_text(encoding="utf-8"))["website"]
    found = [link for bar in made["sidebar"] for link in links(bar["contents"])]
    assert [f["href"] for f in found] == make_sidebar.listed(TOLD) and made["page-navigation"] is True
    assert [f["text"] for f in found] == [make_sidebar.head_of(ROOT / "nbs" / f["href"])[0] for f in found]


def test_bar_names_the_sections_the_version_and_the_repository():
    bar = yaml.safe_load((ROOT / "nbs" / "sidebar.yml").read_text(encoding="utf-8"))["website"]["navbar"]
    assert [item["text"] for item in bar["left"]] == [*make_sidebar.BAR, "More"]
    settings = dict(line.split(" = ", 1) for line in (ROOT / "settings.ini").read_text().splitlines() if " = " in line)
    assert bar["right"][0]["text"] == settings["version"] and bar["right"][1]["href"].startswith("https://")


def test_nbdev_leaves_the_sidebar_alone(monkeypatch):
    from nbdev.config import get_config
    from nbdev.quarto import nbdev_sidebar

    monkeypatch.chdir(ROOT)
    get_config.cache_clear()
    before = (ROOT / "nbs" / "sidebar.yml").read_bytes()
    nbdev_sidebar.__wrapped__()
    assert (ROOT / "nbs" / "sidebar.yml").read_bytes() == before


@pytest.fixture
def project(tmp_path):
    "A project of three pages and its list."

    def page(name, title, line="> What it is"):
        path = tmp_path / "nbs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": [f"# {title}\n", "\n", line]}]}))

    page("index.ipynb", "Home"), page("00_core/01_files.ipynb", "Files"), page("benchmarks/a.ipynb", "Speed")
    told = {
        "guide": [{"section": "Start", "pages": ["index"]}],
        "reference": [{"section": "Packages", "sections": [{"section": "Core", "folder": "00_core", "pages": ["01_files"]}]}],
        "evidence": [{"section": "Benchmarks", "pages": ["benchmarks/a"]}],
    }
    assert make_sidebar.problems(told, tmp_path) == []
    return tmp_path, told, page


def test_a_page_that_is_missing_or_twice_or_gone_is_named(project):
    root, told, page = project
    page("start/01_new.ipynb", "New")
    assert make_sidebar.problems(told, root) == ["start/01_new.ipynb: not in nbs/contents.yml; add it where it is read"]
    told["guide"][0]["pages"] += ["start/01_new", "start/01_new", "start/02_gone"]
    assert make_sidebar.problems(told, root) == [
        "start/02_gone.ipynb: in nbs/contents.yml and not in nbs/",
        "start/01_new.ipynb: 2 times in nbs/contents.yml",
    ]


def test_two_pages_of_one_title_and_a_page_without_words_are_named(project):
    root, told, page = project
    page("benchmarks/a.ipynb", "FILES")
    page("index.ipynb", "Home", "no line of description")
    found = make_sidebar.problems(told, root)
    assert (
        "benchmarks/a.ipynb: titled 'FILES' as 00_core/01_files.ipynb is" in found
        and any(f.startswith("index.ipynb: its first text") for f in found)
        and len(found) == 2
    )


# ---- what is found


def test_words_that_people_look_for_are_answered_first_by_their_page():
    assert set(TOLD["search"]) >= {
        "own data",
        "custom model",
        "purging",
        "leakage",
        "walk-forward",
        "GPU",
        "Docker-free install",
        "exit codes",
    }
    assert check_site.search_problems(TOLD["search"], check_site.source_entries()) == []


def test_a_title_counts_more_than_a_text_and_a_short_one_more_than_a_long_one():
    entry = lambda name, **parts: {"href": f"{name}.html", "title": "", "section": "", "text": ""} | parts  # noqa: E731
    entries = [
        entry("text", text="about purging"),
        entry("long", title="Many words and purging"),
        entry("short", title="Purging"),
        entry("none", title="Other"),
        entry("section", section="Purging"),
    ]
    assert check_site.answers("purging", entries) == ["short.html", "section.html", "long.html", "text.html"]
    assert check_site.search_problems({"purging": ["text"], "embargo": ["short"]}, entries, lambda p: f"{p}.html") == [
        "search 'purging': first is short.html, expected text",
        "search 'embargo': first is nothing, expected short",
    ]


# ---- pages that readers begin with


def test_flags_and_commands_on_the_pages_exist():
    from typer.main import get_command

    from lineupiq.cli.program import app

    root = get_command(app)
    seen = 0
    for page in GUIDES:
        cells = json.loads((ROOT / "nbs" / page).read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        for line in re.findall(r"(?:^|`)(?:[\d* ]+ )?lineupiq ((?:[a-z][\w-]*|--)[^`\n]*)", text, re.M):
            words, command = line.split("#")[0].split(), root
            while words and hasattr(command, "commands") and not words[0].startswith("-"):
                name = words.pop(0)
                assert name in command.commands, f"{page}: lineupiq {line}"
                command = command.commands[name]
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
            wrong = [w.split("=")[0] for w in words if re.match(r"--?[a-z]", w) and w.split("=")[0] not in known]
            assert not wrong, f"{page}: lineupiq {line}: no {wrong}"
            seen += 1
    assert seen > 25


def test_pages_are_short_and_have_a_description_and_an_example_with_output():
    for page in GUIDES:
        cells = json.loads((ROOT / "nbs" / page).read_text(encoding="utf-8"))["cells"]
        words = sum(len("".join(c["source"]).split()) for c in cells if c["cell_type"] == "markdown")
        assert words < (1500 if page in ("faq.ipynb", "glossary.ipynb") else 620), f"{page}: {words} words"
        shown = [c for c in cells if c["cell_type"] == "code" and "#| hide" not in "".join(c["source"])]
        assert any(c["outputs"] for c in shown), f"{page}: no example with an output"
        wide = [line for c in shown for line in "".join(c["source"]).splitlines() if len(line) > 100 and not line.startswith("#|")]
        assert not wide, f"{page}: {wide[0]}"


# ---- how it looks


def test_both_themes_icon_and_card_are_there():
    told = yaml.safe_load((ROOT / "nbs" / "_quarto.yml").read_text(encoding="utf-8"))
    theme = told["format"]["html"]["theme"]
    assert set(theme) == {"light", "dark"} and all(
        (ROOT / "nbs" / f).is_file() for files in theme.values() for f in files if f.endswith(".scss")
    )
    assert (ROOT / "nbs" / told["website"]["favicon"]).read_text().startswith("<svg") and told["website"]["image"] == "card.png"
    assert set(told["metadata-files"]) == {"nbdev.yml", "sidebar.yml"} and {"favicon.svg", "card.png"} <= set(told["project"]["resources"])


def test_the_card_is_drawn_by_its_tool_in_the_size_that_is_expected(tmp_path):
    make_card.draw(tmp_path / "card.png")
    for path in (tmp_path / "card.png", make_card.CARD):
        data = path.read_bytes()
        assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == make_card.SIZE and len(data) < 100_000


# ---- the check of a rendered site

RENDERED = Path(__file__).parent / "cases" / "rendered_site"
SMALL = {
    "guide": [{"section": "Start", "pages": ["index", "start/01_why"]}],
    "reference": [{"section": "Packages", "sections": [{"section": "Core", "folder": "00_core", "pages": ["01_files"]}]}],
    "evidence": [],
    "search": {"why": ["start/01_why"], "files": ["00_core/01_files"]},
}


def test_a_rendered_site_passes():
    assert check_site.check(RENDERED, SMALL) == []


@pytest.mark.parametrize(
    "name, old, new, said",
    [
        ("index.html", 'data-mode="dark"', 'data-mode="night"', "index.html: themes ['light', 'night'], expected light and dark"),
        ("index.html", 'property="og:image"', 'property="og:picture"', "index.html: no card (og:image)"),
        ("index.html", 'rel="icon"', 'rel="sign"', "index.html: no favicon"),
        (
            "start/why.html",
            '"../index.html" class="pagination-link',
            '"../00_core/files.html" class="pagination-link',
            "start/why.html: previous is 00_core/files.html, expected index.html",
        ),
        (
            "index.html",
            '"./start/why.html" class="pagination-link',
            '"" class="pagination-link',
            "index.html: next is missing, expected start/why.html",
        ),
        (
            "start/why.html",
            'class="sidebar-item-text sidebar-link',
            'class="other',
            "start/why.html: not in its sidebar: index.html, start/why.html",
        ),
        ("search.json", '"Why"', '"Because"', "search 'why': first is nothing, expected start/01_why"),
    ],
)
def test_what_is_wrong_with_a_rendered_site_is_said(tmp_path, name, old, new, said):
    site = shutil.copytree(RENDERED, tmp_path / "site")
    text = (site / name).read_text(encoding="utf-8")
    assert old in text
    (site / name).write_text(text.replace(old, new), encoding="utf-8")
    assert said in check_site.check(site, SMALL)


def test_a_page_that_was_not_rendered_is_said(tmp_path):
    site = shutil.copytree(RENDERED, tmp_path / "site")
    (site / "start" / "why.html").unlink()
    (site / "search.json").unlink()
    assert check_site.check(site, SMALL) == ["start/why.html: not rendered", "search.json: not rendered, so nothing can be searched"]


def test_addresses_are_those_of_nbdev():
    assert [
        check_site.address(p)
        for p in (
            "index.ipynb",
            "00_core/03a_words.ipynb",
            "16_models/02ab_classifier.ipynb",
            "start/01_why.ipynb",
            "benchmarks/alarm.ipynb",
        )
    ] == ["index.html", "00_core/words.html", "16_models/classifier.html", "start/why.html", "benchmarks/alarm.html"]


def test_main_counts_and_says_that_widths_were_not_looked_at(capsys, monkeypatch):
    monkeypatch.setattr(check_site, "contents", lambda: SMALL)
    assert check_site.main([str(RENDERED)]) == 0
    assert capsys.readouterr().out.strip() == "3 pages, 0 problems; widths were not looked at (--browser)"


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(not BROWSER, reason="there is no Chromium on this machine")
def test_a_page_wider_than_a_phone_is_found(tmp_path):
    site = shutil.copytree(RENDERED, tmp_path / "site")
    assert check_site.width_problems(site, ["index.ipynb", "start/01_why.ipynb"], BROWSER) == []
    path = site / "start" / "why.html"
    path.write_text(path.read_text(encoding="utf-8").replace("<main", '<div style="width:800px">wide</div><main', 1), encoding="utf-8")
    [problem] = check_site.width_problems(site, ["index.ipynb", "start/01_why.ipynb"], BROWSER)
    assert re.fullmatch(r"start/why\.html: 8\d\d pixels wide in a window of 390", problem)


# ---- rendering what is new, several at once

import make_docs  # noqa: E402
import nbformat  # noqa: E402

QUARTO = """#!/usr/bin/env python3
"What Quarto does to a project's pages, as far as the tool depends on it."
import json, os, pathlib, re, sys
words = sys.argv[2:]
target, options = words[0], words[1:]
assert sys.argv[1] == "render" and options == ["--to", "html", "--no-execute"], sys.argv
here = pathlib.Path(".")
files = sorted(here.rglob("*.ipynb")) if target == "." else sorted((here / target).rglob("*.ipynb")) if (here / target).is_dir() else [here / target]
with open(os.environ["RENDERED_LOG"], "a") as log: log.write(f"{target} {len(files)}\\n")
docs = here / "_docs"
index = json.loads((docs / "search.json").read_text()) if (docs / "search.json").exists() else []
for path in files:
    name = re.sub(r"^\\d+_", "", path.stem) + ".html"
    out = docs / path.parent / name
    if os.environ.get("RENDERED_BROKEN") and target != ".": continue
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text((pathlib.Path(os.environ["RENDERED_PAGES"]) / path.parent / name).read_text() + "".join(json.loads(path.read_text())["cells"][0]["source"]))
    href = out.relative_to(docs).as_posix()
    index = [e for e in index if e["href"] != href] + [{"href": href, "title": {"index": "LineupIQ", "why": "Why", "files": "Files"}[out.stem], "section": "", "text": ""}]
docs.mkdir(exist_ok=True)
(docs / "search.json").write_text(json.dumps(index))
(docs / "sitemap.xml").write_text("".join(f"<url><loc>https://a.b/{e['href']}</loc></url>" for e in index))
"""


@pytest.fixture
def processed(tmp_path, monkeypatch):
    "Processed pages, and a Quarto that writes down what it is asked for."
    tool, log, proc = tmp_path / "bin" / "quarto", tmp_path / "log", tmp_path / "proc"
    tool.parent.mkdir()
    tool.write_text(QUARTO)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("RENDERED_LOG", str(log))
    monkeypatch.setenv("RENDERED_PAGES", str(RENDERED))

    def page(name, text):
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), proc / name)

    for name in ("index.ipynb", "start/01_why.ipynb", "00_core/01_files.ipynb"):
        page(name, "as it was")
    (proc / "styles.css").write_text("p {}")
    (tmp_path / "kept").mkdir()

    def make(**options):
        log.write_text("")
        site, problems = make_docs.make_site(proc, tmp_path / "kept", SMALL, "1.9", **options)
        assert problems == [], problems
        return site, sorted(line.split()[0] for line in log.read_text().splitlines())

    return make, page, proc


def test_only_pages_that_changed_are_rendered_again(processed):
    make, page, proc = processed
    site, asked = make()
    assert asked == ["00_core/01_files.ipynb", "index.ipynb", "start/01_why.ipynb"]
    assert make()[1] == []
    page("start/01_why.ipynb", "as it is now")
    site, asked = make()
    assert (
        asked == ["start/01_why.ipynb"]
        and (site / "start" / "why.html").read_text().endswith("as it is now")
        and (site / "index.html").read_text().endswith("as it was")
    )
    hrefs = [e["href"] for e in json.loads((site / "search.json").read_text())]
    assert (
        sorted(hrefs) == ["00_core/files.html", "index.html", "start/why.html"] and (site / "sitemap.xml").read_text().count("<loc>") == 3
    )
    (proc / "styles.css").write_text("p { color: red }")
    assert len(make()[1]) == 3, "what every page shares has changed"


def test_parts_that_lack_something_are_rendered_once_more_in_one_piece(processed, monkeypatch, capsys):
    make, page, proc = processed
    monkeypatch.setenv("RENDERED_BROKEN", "1")
    _, asked = make()
    assert asked[0] == "." and "index.html: not rendered" in capsys.readouterr().out
    assert make()[1] == []
    assert make(whole=True)[1] == ["."]


def test_parts_are_folders_where_all_is_new_and_end_together():
    known = [f"a/{i}.ipynb" for i in range(6)] + [f"b/{i}.ipynb" for i in range(4)] + ["x.ipynb", "y.ipynb"]
    assert sorted(map(sorted, make_docs.parts(known, known, 2))) == [["a"], ["b", "x.ipynb", "y.ipynb"]]
    assert make_docs.parts(["a/1.ipynb", "x.ipynb"], known, 4) == [["a/1.ipynb"], ["x.ipynb"]]
