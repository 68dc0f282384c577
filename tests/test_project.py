"""The project as a whole: metadata, pins, workflows, what is tracked, the order of the notebooks, and what an import costs."""

import ast
import json
import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("pandas", "sklearn", "torch", "xgboost", "mlflow", "lightgbm", "catboost", "matplotlib", "scipy", "arch", "shap")


def settings() -> dict[str, str]:
    parser = ConfigParser(delimiters=["="])
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    return dict(parser["DEFAULT"])


def extras() -> dict[str, list[str]]:
    return {line.split("=", 1)[0].strip(): line.split("=", 1)[1].split() for line in settings()["extras"].strip().splitlines()}


def pins() -> dict[str, str]:
    lines = [x.strip() for x in (ROOT / "constraints.txt").read_text().splitlines() if x.strip() and not x.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line) for line in lines), "every line is an exact pin"
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines}


def tracked() -> list[Path]:
    "Files that git tracks, or would: those of a checkout without git are taken from the disk."
    done = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


# ---- metadata and pins


@pytest.mark.parametrize("group", ["requirements", *extras()])
def test_every_requirement_is_pinned_within_its_bounds(group):
    wanted = settings()["requirements"].split() if group == "requirements" else extras()[group]
    have = pins()
    for text in wanted:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        assert name in have, f"{name} of {group} is not pinned"
        assert requirement.specifier.contains(have[name], prereleases=True), f"{text} but {name}=={have[name]}"


def test_installed_metadata_is_that_of_the_settings():
    from importlib.metadata import entry_points, metadata

    meta, s = metadata("lineupiq"), settings()
    assert (meta["Name"], meta["Version"], meta["Summary"]) == (s["lib_name"], s["version"], s["description"])
    found = {canonicalize_name(Requirement(r).name) for r in meta.get_all("Requires-Dist") if "extra ==" not in r}
    assert found == {canonicalize_name(Requirement(r).name) for r in s["requirements"].split()}
    assert set(meta.get_all("Provides-Extra")) == {*extras(), "all"}
    scripts = {f"{e.name}={e.value}" for e in entry_points(group="console_scripts") if e.value.startswith("lineupiq")}
    assert scripts == set(s["console_scripts"].split())


def test_setup_fills_every_dynamic_field():
    import tomllib

    dynamic = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"])
    keywords = {
        k.arg
        for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
        for k in node.keywords
    }
    gives = {
        "dependencies": "install_requires",
        "optional-dependencies": "extras_require",
        "readme": "long_description",
        "authors": "author",
        "entry-points": "entry_points",
        "scripts": "entry_points",
        "urls": "url",
    }
    assert {gives.get(d, d) for d in dynamic} <= keywords


def test_version_is_the_same_everywhere():
    import lineupiq

    assert lineupiq.__version__ == settings()["version"] and f"## {settings()['version']}" in (ROOT / "CHANGELOG.md").read_text()


# ---- workflows

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(path: Path) -> list[dict]:
    return [s for job in yaml.safe_load(path.read_text())["jobs"].values() for s in job.get("steps", [])]


def test_workflows_are_there():
    assert {p.name for p in WORKFLOWS} >= {"test.yml", "docs.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_W1_workflow_is_pinned_and_least_privileged(path):
    flow = yaml.safe_load(path.read_text())
    assert flow["permissions"] == {"contents": "read"}, "the workflow's own permissions"
    for job in flow["jobs"].values():
        assert set(job.get("permissions", {}).values()) <= {"read", "write"} and "timeout-minutes" in job
        assert "contents" not in job.get("permissions", {}) or job["permissions"]["contents"] == "read"
    for step in steps(path):
        assert "uses" not in step or re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
        if "uses" in step and step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert not re.search(r"\$\{\{\s*(inputs|github\.event|github\.head_ref)", str(step.get("run", ""))), "pass inputs through env:"
        assert "pip install" not in step.get("run", "") or "-c constraints.txt" in step["run"], "requirements are pinned"
    assert "pull_request_target" not in path.read_text()


def test_ci_calls_make_test():
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK) and "make test" in run.read_text().splitlines()
    assert any(s.get("run") == "make test" for s in steps(ROOT / ".github" / "workflows" / "test.yml"))


# ---- what is tracked


def test_no_tracked_file_is_large():
    assert [f"{p.relative_to(ROOT)}" for p in tracked() if p.stat().st_size > 2**20] == []


def test_notebook_outputs_are_small():
    for path in (ROOT / "nbs").rglob("*.ipynb"):
        if ".ipynb_checkpoints" not in path.parts:
            size = sum(len(json.dumps(c.get("outputs", []))) for c in json.loads(path.read_text(encoding="utf-8"))["cells"])
            assert size < 200_000, f"{path.name}: {size} bytes of outputs"  # a picture has at most 100,000 (test_pages)


def test_nothing_of_one_machine_is_tracked():
    places = re.compile(
        r"(?<![\w.])/(home|root|Users)/\w|index-url|extra-index|find-links|https?://[\w.-]*(pypi|artifactory|nexus|devpi)[\w.-]*[:/]"
    )
    found = []
    for path in tracked():
        if path.suffix in (".png", ".parquet") or path == Path(__file__).resolve():
            continue
        for n, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if places.search(line) or str(ROOT) in line:
                found.append(f"{path.relative_to(ROOT)}:{n}: {line.strip()[:120]}")
    assert found == []


def test_modules_come_from_notebooks():
    for path in (ROOT / "lineupiq").rglob("*.py"):
        if path.name in ("__init__.py", "_modidx.py") and "AUTOGENERATED" not in path.read_text():
            continue
        source = re.search(r"File to edit: (\S+\.ipynb)", path.read_text(encoding="utf-8"))
        assert source and (path.parent / source[1]).resolve().exists(), path.name


# ---- the order of the notebooks

NBS = ROOT / "nbs"
# a page that is not named after its module
PAGE_MODULES = {"16_models/03_models.ipynb": "models.__init__", "19_api.ipynb": "__init__", "18_cli/10_main.ipynb": "__main__"}


def code_of(path: Path) -> list[str]:
    "The code cells of a notebook."
    return ["".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


def exported_by(path: Path) -> str | None:
    "The module that a notebook exports."
    found = re.search(r"^#\| *default_exp +(\S+)", "\n".join(code_of(path)), re.M)
    return found and found[1]


def page(path: Path) -> str:
    "A notebook's path inside nbs/."
    return path.relative_to(NBS).as_posix()


def library_notebooks() -> dict[str, str]:
    "Module -> the relative path of its page."
    out = {}
    for path in sorted(NBS.rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts and (exported := exported_by(path)):
            module = exported.removesuffix(".__init__")
            assert module not in out, f"{page(path)} and {out[module]} export {module}"
            out[module] = page(path)
    return out


BOOKS = library_notebooks()


def imports_of(path: Path) -> set[str]:
    "Modules of the library that a notebook's cells import, also those named as `from lineupiq.pkg import module`."
    found = set()
    for source in code_of(path):
        if "lineupiq" not in source:
            continue
        try:
            tree = ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()))
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lineupiq":
                package = node.module.partition(".")[2]
                found |= {package} - {""} | {
                    f"{package}.{a.name}".lstrip(".") for a in node.names if f"{package}.{a.name}".lstrip(".") in BOOKS
                }
            elif isinstance(node, ast.Import):
                found |= {a.name.partition(".")[2] for a in node.names if a.name.startswith("lineupiq.")}
    return found


def test_a_page_imports_only_pages_that_sort_before_it():
    assert len(BOOKS) > 20
    back = [
        f"{own} imports {name} of {BOOKS[name]}"
        for module, own in BOOKS.items()
        for name in imports_of(NBS / own)
        if name in BOOKS and name != module and BOOKS[name] > own
    ]
    assert back == []


def test_a_folder_imports_only_what_sorts_before_it():
    "A chapter is one place: nothing of it may need a folder, or a page outside of folders, that comes later."
    chapter = lambda own: own.split("/")[0]  # noqa: E731
    back = [
        f"{own} imports {name} of {BOOKS[name]}"
        for module, own in BOOKS.items()
        for name in imports_of(NBS / own)
        if name in BOOKS and chapter(BOOKS[name]) > chapter(own)
    ]
    assert back == []


def test_a_page_is_named_after_its_module():
    for module, own in BOOKS.items():
        parts = [re.sub(r"^\d+[a-z]*_", "", part) for part in own.removesuffix(".ipynb").split("/")]
        assert PAGE_MODULES.get(own, ".".join(parts)).removesuffix(".__init__") == module, own


def test_imports_are_seen_however_they_are_written(tmp_path):
    cells = [
        "from lineupiq.store import versions as v",
        "import lineupiq.cv",
        "from lineupiq import registry, __version__",
        "def f():\n    from lineupiq.core.files import shown",
    ]
    path = tmp_path / "page.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "code", "source": [c]} for c in cells]}))
    assert imports_of(path) >= {"store.versions", "cv", "registry", "core.files"} and "__version__" not in imports_of(path)


def test_every_module_is_tracked_and_every_package_importable():
    "A pattern of .gitignore such as `data/` would leave a package out of a clone."
    files = {p.relative_to(ROOT).as_posix() for p in tracked()}
    for module, own in BOOKS.items():
        path = f"lineupiq/{module.replace('.', '/')}"
        assert {f"{path}.py", f"{path}/__init__.py"} & files, f"{own}: its module is not tracked"
        assert module.count(".") == 0 or f"{path.rsplit('/', 1)[0]}/__init__.py" in files


# ---- what an import costs


@pytest.mark.parametrize(
    "code",
    [
        "import lineupiq",
        "import lineupiq.base",
        *(
            f"from lineupiq.cli.program import exit_code; assert exit_code({argv}) == 0"
            for argv in (["--help"], ["train", "--help"], ["predict", "--help"])
        ),
    ],
)
def test_heavy_libraries_are_not_imported(code):
    script = f"{code}\nimport sys\nprint('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "HEAVY []"


STORED = """
import sys
from pathlib import Path
from sklearn.impute import SimpleImputer
from lineupiq.classical import dump_estimator, load_estimator
dump_estimator(SimpleImputer().fit([[1.0]]), Path(sys.argv[1]))
load_estimator(Path(sys.argv[1]))
print([m for m, there in sys.modules.items() if m in ("torch", "dask.array") or there is None])
"""


def test_an_estimator_is_stored_without_the_libraries_of_other_arrays(tmp_path):
    done = subprocess.run([sys.executable, "-c", STORED, str(tmp_path / "mean.skops")], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


PREDICT = """
import sys
from lineupiq.cli.program import exit_code
assert exit_code(["predict", "--model", sys.argv[1], "--all-later", "--output", "said.csv"]) == 0
print("HEAVY", [m for m in sys.argv[2].split(",") if m in sys.modules])
"""


def test_a_published_linear_model_predicts_without_heavy_libraries(tmp_path, monkeypatch):
    from lineupiq.data.sources import load_panel
    from lineupiq.store.layout import Store
    from lineupiq.store.published import publish_run
    from lineupiq.training.request import TrainSettings
    from lineupiq.training.runs import train_models

    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path / "store"))
    panel = load_panel("noise-bars", n=600, horizon=5)
    how = TrainSettings(
        tmp_path / "runs", isolate=False, draws=100, acknowledged=("logistic",), config={"data": "noise-bars", "horizon": [5], "n": 600}
    )
    publish_run(Store(), train_models(panel, "logistic", settings=how).run_dir, panel, "logistic", "noise")
    lazy = (*[m for m in HEAVY if m != "pandas"], "skops", "joblib", "optuna", "pyarrow.dataset")
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, "noise@staging", ",".join(lazy)], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().splitlines()[-1] == "HEAVY []"


# ---- exit codes


def test_exit_codes_are_documented():
    from lineupiq import base

    used = {c.exit_code for c in vars(base).values() if isinstance(c, type) and issubclass(c, base.LineupIQError)} | {0, 129, 130, 143}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Exit codes") :].split("\n\n##")[0]
    listed = {int(n) for line in table.splitlines() if line.startswith("| ") for n in re.findall(r"\d+", line.split("|")[1])}
    assert used <= listed, f"not in the README: {sorted(used - listed)}"
    assert listed == {*range(11), 129, 130, 143}


def test_docstrings_define():
    "A public docstring is a sentence of more than four words, and no question that the reader has to answer."
    short, riddles = [], []
    for path in sorted((ROOT / "lineupiq").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
                and not node.name.startswith("_")
                and (said := ast.get_docstring(node))
            ):
                words = said.split()
                short += [f"{path.name}: {node.name}: {said}"] if len(words) <= 4 else []
                riddles += [f"{path.name}: {node.name}: {said}"] if words[0].strip(",.:") in ("What", "How", "Whether", "Where") else []
    assert len(short) <= 20 and len(riddles) <= 20, "\n".join(short + riddles)
