"""The project's own tools: the environment's stamp, the counting of `make test`, the checks of pages and notebooks."""

import json
import os
import re
import shutil
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import check_docs  # noqa: E402
import make_commands  # noqa: E402
import make_configs  # noqa: E402
import make_env  # noqa: E402
import make_models  # noqa: E402
import make_readme  # noqa: E402
import reference  # noqa: E402
import run_tests  # noqa: E402


# ---- the environment


@pytest.fixture
def project(tmp_path):
    for name in make_env.DECIDING:
        (tmp_path / name).write_text(f"{name}\n")
    return tmp_path


def test_stamp_follows_the_deciding_files(project):
    before = make_env.digest(project)
    assert before == make_env.digest(project)
    for name in make_env.DECIDING:
        (project / name).write_text("something else\n")
        assert make_env.digest(project) != before
        before = make_env.digest(project)
    (project / "README.md").write_text("words")
    assert make_env.digest(project) == before


def test_current_only_with_stamp_interpreter_and_place(project):
    folder = project / ".venv"
    assert not make_env.is_current(folder, project)
    make_env.python_of(folder).parent.mkdir(parents=True)
    make_env.python_of(folder).write_text("")
    assert not make_env.is_current(folder, project)
    make_env.stamp_path(folder, project).write_text(f"{project}\n")
    assert make_env.is_current(folder, project) and not make_env.moved(folder, project)
    make_env.stamp_path(folder, project).write_text("/another/place\n")  # a copied checkout: its scripts point elsewhere
    assert not make_env.is_current(folder, project) and make_env.moved(folder, project)


def test_pins_as_they_stand_only_on_their_platform(project, monkeypatch):
    here = f"# Python {sys.version_info[0]}.{sys.version_info[1]}, {make_env.platform.system()} {make_env.platform.machine()}. Verified.\n"
    (project / "constraints.txt").write_text(here)
    assert make_env.fits_pins(project) and "--no-deps" in make_env.commands(project)[0]
    (project / "constraints.txt").write_text("# Python 3.99, Plan9 mips.\n")
    assert not make_env.fits_pins(project)
    assert ["install", "-c", "constraints.txt", "--no-build-isolation", "-e", ".[dev,test]"] in make_env.commands(project)


def test_failing_pip_shows_what_it_said_without_the_harmless(project, monkeypatch):
    class Done:
        returncode, stdout = 1, "WARNING: a mirror\nerror: no such package\n"

    monkeypatch.setattr(make_env.subprocess, "run", lambda *a, **k: Done)
    with pytest.raises(SystemExit) as stop:
        make_env.pip(project / ".venv", ["install", "x"], project)
    assert "no such package" in str(stop.value) and "mirror" not in str(stop.value)


def test_old_python_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(make_env, "MIN_PYTHON", (99, 0))
    with pytest.raises(SystemExit, match="make PYTHON="):
        make_env.main([])


# ---- counting


@pytest.mark.parametrize(
    "count, line", [((3, 0, 0), "3 passed, 0 failed"), ((3, 1, 0), "3 passed, 1 failed"), ((3, 0, 2), "3 passed, 0 failed, 2 skipped")]
)
def test_closing_line(count, line):
    assert run_tests.Count(*count).line() == line


def test_counts_add_up():
    assert run_tests.Count(1, 2, 3) + run_tests.Count(10, 20, 30) == run_tests.Count(11, 22, 33)


def test_junit_is_counted(tmp_path):
    path = tmp_path / "junit.xml"
    path.write_text('<testsuites><testsuite tests="10" failures="1" errors="2" skipped="3"/></testsuites>')
    assert run_tests.junit_count(path) == run_tests.Count(4, 3, 3)
    path.write_text('<testsuite tests="2" failures="0" errors="0" skipped="0"/>')
    assert run_tests.junit_count(path) == run_tests.Count(2, 0, 0)


def test_no_notebook_is_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(run_tests, "notebooks", lambda: [])
    assert run_tests.check_notebooks(1) == run_tests.Count(failed=1) and "none found" in capsys.readouterr().out


def test_notebooks_of_every_folder_are_counted(tmp_path):
    for name in ("00_a.ipynb", "tutorials/01_b.ipynb", "jobs/c.ipynb", ".ipynb_checkpoints/00_a.ipynb", "_proc/x.ipynb", "_draft.ipynb"):
        (tmp_path / "nbs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nbs" / name).write_text("{}")
    assert [p.name for p in run_tests.notebooks(tmp_path)] == ["00_a.ipynb", "c.ipynb", "01_b.ipynb"]


def test_counted_notebooks_are_those_of_nbdev(monkeypatch):
    from nbdev.doclinks import nbglob

    monkeypatch.chdir(ROOT)
    assert {Path(p).resolve() for p in nbglob(as_path=True)} == set(run_tests.notebooks())


def test_a_process_that_hangs_is_ended_with_its_children():
    code, text = run_tests.run(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"], timeout=1
    )
    assert code == 124 and "ended after 1 s" in text


@pytest.fixture
def page(tmp_path):
    "A page of one cell."

    def write(name, cell):
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), path)
        return path

    return write


@pytest.mark.skipif(not hasattr(os, "fork"), reason="pages are processes begun anew here")
def test_pages_are_processes_of_their_own(page, tmp_path):
    "What one page does, another does not see; a page that fails, hangs or takes the server with it is that page's failure."
    left = tmp_path / "left"
    with run_tests.page_servers(1) as servers:

        def run(path, timeout=60):
            return run_tests.run_page(path, "", timeout, servers)

        assert run(page("a", "import sys, this; sys.mark = 1; print('printed', sys.stdin.read() == '')"))[0] == 0
        assert run(page("b", "import sys; assert 'this' not in sys.modules and not hasattr(sys, 'mark')"))[0] == 0
        code, text = run(page("c", "raise ValueError('not this')"))
        assert code == 1 and "not this" in text
        hung = (
            "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import sys, time; time.sleep(5); open(sys.argv[1], "
            f"chr(119))', {str(left)!r}])"
        )
        code, text = run(page("d", hung), timeout=1)
        assert code == 124 and "ended after 1 s" in text
        code, text = run(page("e", "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"))
        assert code == 1 and "forked from has ended" in text
        assert run(page("f", "assert True"))[0] == 0
    time.sleep(5)
    assert not left.exists()


# ---- clean and in sync


@pytest.fixture
def small_project(tmp_path):
    "A project of one notebook, exported and clean."
    for name in ("settings.ini", "setup.py", "README.md"):
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / "lineupiq").mkdir()
    (tmp_path / "lineupiq" / "__init__.py").write_text((ROOT / "lineupiq" / "__init__.py").read_text())
    cells = ["#| default_exp thing", "#| export\ndef one() -> int:\n    'The number one.'\n    return 1", "assert one() == 1"]
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nb.cells[0].metadata["tags"] = ["parameters"]
    (tmp_path / "nbs").mkdir()
    nbformat.write(nb, tmp_path / "nbs" / "00_thing.ipynb")
    for command in ("nbdev_export", "nbdev_clean"):
        assert run_tests.run([Path(sys.executable).with_name(command)], tmp_path)[0] == 0
    return tmp_path


def test_clean_and_in_sync(small_project):
    assert run_tests.out_of_sync(small_project) == []


def test_tags_survive_cleaning(small_project):
    nb = nbformat.read(small_project / "nbs" / "00_thing.ipynb", 4)
    assert nb.cells[0].metadata["tags"] == ["parameters"]


def test_a_notebook_that_was_not_exported_is_named(small_project):
    path = small_project / "nbs" / "00_thing.ipynb"
    path.write_text(path.read_text().replace("return 1", "return 2"))
    assert any("thing.py" in line for line in run_tests.out_of_sync(small_project))


def test_an_edited_module_is_named(small_project):
    path = small_project / "lineupiq" / "thing.py"
    path.write_text(path.read_text() + "\nx = 1\n")
    assert run_tests.out_of_sync(small_project) == ["lineupiq/thing.py: changed"]


def test_an_unclean_notebook_and_a_missing_module_are_named(small_project):
    path = small_project / "nbs" / "00_thing.ipynb"
    nb = json.loads(path.read_text())
    nb["cells"][2]["execution_count"] = 7
    nb["cells"][2]["metadata"]["scrolled"] = True
    path.write_text(json.dumps(nb))
    (small_project / "lineupiq" / "thing.py").unlink()
    odd = run_tests.out_of_sync(small_project)
    assert "lineupiq/thing.py: new" in odd and "nbs/00_thing.ipynb: changed" in odd


# ---- pages

PAGE = "<h1 id='top'>A</h1><h2 id='part'>P</h2>{}"


@pytest.mark.parametrize(
    "link, problem",
    [
        ("b.html", ""),
        ("b.html#part", ""),
        ("#part", ""),
        ("sub/c.html", ""),
        ("01_b.ipynb#part", ""),
        ("https://else.where/x#y", ""),
        ("mailto:a@b.c", ""),
        ("https://me.io/lib/b.html#part", ""),
        ("https://git.host/me/lib/blob/main/settings.ini", ""),
        ("nowhere.html", "no such page"),
        ("b.html#gone", "no such anchor"),
        ("#gone", "no such anchor"),
        ("sub/b.html", "no such page"),
        ("http://else.where/x", "not https"),
        ("https://me.io/lib/gone.html", "no such page"),
        ("https://git.host/me/lib/blob/main/gone.py", "the repository has no"),
    ],
)
def test_links(link, problem):
    pages = {"a.html": PAGE.format(f"<a href='{link}'>x</a>"), "b.html": PAGE.format(""), "sub/c.html": PAGE.format("")}
    found = check_docs.link_problems(pages, {"01_b.ipynb": "b.html"}, ROOT, "https://me.io/lib", "https://git.host/me/lib")
    assert len(found) == bool(problem) and all(problem in line for line in found)


def test_a_page_without_a_title_is_named():
    assert check_docs.link_problems({"a.html": "<p>text</p>"}, {}) == ["a.html: no title"]


def test_cells_become_markdown():
    cells = [
        {"cell_type": "markdown", "source": "# T"},
        {"cell_type": "code", "source": "#| echo: false\n1 + 1", "outputs": [{"data": {"text/plain": "2"}}]},
        {"cell_type": "code", "source": "x", "outputs": [{"text": "shown"}]},
        {"cell_type": "code", "source": '#| fig-alt: "Lines <1>"\ny', "outputs": [{"data": {"image/png": "AA=="}}]},
    ]
    text = check_docs.to_markdown(cells)
    assert "# T" in text and "1 + 1" not in text and "\n2\n" in text and "python\nx\n" in text and "shown" in text
    assert '<img src="data:image/png;base64,AA==" alt="Lines &lt;1&gt;">' in text and "fig-alt" not in text


def test_a_picture_without_words_is_named():
    page = "<h1>T</h1><img src='x.png'{}>"
    assert (
        "1 picture(s) without an alt text" in check_docs.link_problems({"a.html": page.format("")}, {})[0]
        and check_docs.link_problems({"a.html": page.format(" alt='a line'")}, {}) == []
    )


def test_a_class_is_shown_with_its_fields_properties_and_methods():
    "Type, default and comment of every field, inherited ones too; limits as signs; flags as code; a link to the line."
    text = reference.describe("lineupiq.training.request", "SplitPlan", "https://git.host/x/blob/main")
    assert "| `val` | `float ≥ 0, < 1` | `0.15` | Share of the rows for validation. |" in text and "where `--test` does not say it" in text
    assert "#### SplitPlan.check {#splitplan.check}" in text and re.search(r"lineupiq/training/request.py#L\d+\)", text)
    assert "| `calibrate` |" in reference.describe("lineupiq.training.request", "TrainSettings")  # of FitSettings
    assert "[`full_name`]{#entry.full_name} | `str` |" in reference.describe("lineupiq.registry", "Entry")
    assert "class DataError(" in reference.describe("lineupiq.errors", "DataError")


def test_a_class_without_its_fields_is_named():
    whole = reference.describe("lineupiq.training.request", "SplitPlan")
    assert reference.lacking("a.ipynb", whole, "lineupiq.training.request") == []
    assert reference.lacking("a.ipynb", whole.replace("| `val` |", "| |"), "lineupiq.training.request") == [
        "a.ipynb: SplitPlan is shown without val"
    ]


def test_names_in_backticks_lead_to_their_page():
    index = {
        "syms": {
            "lib.a": {
                "lib.a.Panel": ("01_data/a.html#panel", "lib/a.py"),
                "lib.a._secret": ("01_data/a.html#_secret", "lib/a.py"),
                "lib.a.train": ("01_data/a.html#train", "lib/a.py"),
                "lib.a.two": ("01_data/a.html#two", "lib/a.py"),
            },
            "lib.b": {"lib.b.two": ("b.html#two", "lib/b.py")},
        }
    }
    link = lambda text, module="lib.b", here="b.html": reference.Names(index).link(text, module, here)  # noqa: E731
    assert (
        link("a `Panel`") == "a [`Panel`](01_data/a.html#panel)" and link("a `Panel`", "lib.a", "01_data/a.html") == "a [`Panel`](#panel)"
    )
    assert (
        link("`train()`") == "[`train()`](01_data/a.html#train)"
        and link("`two()`") == "[`two()`](#two)"
        and link("`two()`", "lib.c", "x/c.html") == "`two()`"
    )
    assert link("say --wide, or `a\n--b` and\n\n```\n--c\n```") == "say `--wide`, or `a\n--b` and\n\n```\n--c\n```"
    for same in ("`train`", "| `two` | x |", "`_secret`", "```python\n`Panel`\n```", "# `Panel`", "[`Panel`](c.html)"):
        assert link(same) == same


def test_cells_that_only_check_are_folded():
    for source in (
        "from fastcore.test import test_eq",
        "x = f()\ntest_eq(x, 1)",
        "with ExceptionExpected(ValueError, 'a'): f()",
        "for a in b: assert a",
        "assert x",
    ):
        assert reference.only_checks(source), source
    for source in ("x = f()\ny = g()\nassert x", "f()", "from fastcore.test import test_eq\nimport numpy as np", "!ls"):
        assert not reference.only_checks(source), source


def test_flags_that_became_dashes_are_found():
    assert reference.dashes("<p>say –json or (–wide), 3–4 and a – b</p><pre>–code</pre>") == ["–json", "–wide"]
    assert reference.plain("with --json, `--wide` and $5") == "with `--json`, `--wide` and \\$5"


@pytest.mark.long
def test_the_pages_hold():
    "nbdev processes every notebook, pandoc makes a page of each, and no link is dead."
    import subprocess

    done = subprocess.run([sys.executable, ROOT / "tools" / "check_docs.py"], capture_output=True, text=True, timeout=1500)
    n = len(run_tests.notebooks())
    assert done.returncode == 0 and f"{n} pages, 0 problems" in done.stdout, f"{n} notebooks\n{done.stdout[-4000:]}{done.stderr[-2000:]}"


# ---- what is generated


def test_readme_is_that_of_the_index():
    assert (ROOT / "README.md").read_text(encoding="utf-8") == make_readme.readme(), "run `make readme`"


@pytest.mark.parametrize(
    "link, there",
    [
        ("tutorials/01_a.ipynb", "nbs/tutorials/01_a.ipynb"),
        ("../CONTRIBUTING.md", "CONTRIBUTING.md"),
        ("https://a.b/c", "https://a.b/c"),
        ("#x", "#x"),
    ],
)
def test_readme_links_lead_from_the_project(link, there):
    assert make_readme.relink(f"see [it]({link}).") == f"see [it]({there})."


def test_readme_links_exist():
    import re

    for target in re.findall(r"\]\(([^)#\s]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert target.startswith("https:") or (ROOT / target).exists(), target


def test_shipped_configurations_are_those_of_the_classes():
    wanted, folder = make_configs.shipped(), ROOT / "lineupiq" / "configs"
    found = {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in folder.rglob("*.yaml")}
    assert found == wanted, "run `make configs`"


def test_the_pages_of_commands_and_models_are_those_of_the_program():
    for tool in (make_commands, make_models):
        assert tool.PAGE.read_text(encoding="utf-8") == tool.page(), "run `make reference`"


def test_the_index_has_the_exit_codes_of_the_program():
    from lineupiq.cli.program import EXIT_CODES, error_classes
    import lineupiq.base as base

    said = dict(re.findall(r"^\| (\d+) \| (.*) \|$", make_readme.readme(), re.M))
    assert {int(k): v for k, v in said.items()} == {k: v for k, v in EXIT_CODES.items() if k < 129}
    errors = {cls for cls in vars(base).values() if isinstance(cls, type) and issubclass(cls, base.LineupIQError)}
    assert errors == {cls for code in EXIT_CODES for cls in error_classes(code)}, "an error ends with a code that has no words"


def test_make_targets_are_there():
    text = (ROOT / "Makefile").read_text()
    for target in ("env", "train", "test", "slow", "lab", "docs", "sync", "configs", "readme", "sidebar", "reference", "pages"):
        assert f"\n{target}:" in text and f"make {target} " in text
    assert textwrap.dedent(text).count("$(shell") == 0  # portable: no GNU functions
