"""Run the pages that show pictures and store what they show.

    python tools/make_pages.py [--check | --all | --slow] [PAGE …]     # PAGE as in nbs/tutorials/01_first_run.ipynb

A picture is stored in its page, and a digest of the code that drew it in tools/figures.json: the code cells up to the page's last picture,
and every `plot_…` of the library that they call. Comments and docstrings do not count. Without PAGE, the pages whose digest is not theirs any
more are run; `--all` runs every page with a picture, `--slow` the cells marked slow as well, and `--check` runs nothing and prints what is missing.

A page is run in a kernel of its own, in the style of `lineupiq.core.drawing.page_style`. Its cells keep what they print, without what differs
from one run to the next: paths of temporary folders and today's stamps become …, and an output with an address, the machine's name or today's date is refused.
"""

import argparse
import ast
import base64
import hashlib
import io
import json
import os
import re
import socket
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMPS = "tools/figures.json"
LARGEST = 100_000  # bytes of a picture
UNSEEN = re.compile(r"^#\| *(hide|export|exporti|exports|default_exp|include: *false|output: *false)\b", re.M)
UNRUN = re.compile(r"^#\| *(slow|notest|eval: *false)\b", re.M)
ALT = re.compile(r"^#\| *fig-alt: *(.+)$", re.M)
TODAY = time.strftime("%Y-%m-%d", time.gmtime())
PROGRESS = re.compile(r"^\[\d+\] .*: done, [\d.]+ s\n?", re.M)  # what a command says while it works
STYLE = """import warnings
import matplotlib
from lineupiq.core.drawing import page_style
from matplotlib_inline.config import InlineBackend
get_ipython().run_line_magic("matplotlib", "inline")
InlineBackend.instance().figure_formats = {"retina"}
matplotlib.rcParams.update(page_style())
warnings.formatwarning = lambda message, category, *place, **line: f"{category.__name__}: {message}\\n"  # without this machine's folders
del warnings, matplotlib, page_style, InlineBackend"""


def pages(root: Path = ROOT) -> list[Path]:
    "The notebooks, in the order of their names."
    return sorted(p for p in (root / "nbs").rglob("*.ipynb") if not {".ipynb_checkpoints", "experiments"} & set(p.parts))


def read(path: Path) -> dict:
    "A notebook as it lies there."
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    "The text of a cell."
    return "".join(cell["source"])


def images(cell: dict) -> list[bytes]:
    "The pictures that a cell holds, PNG or SVG."
    found = [
        (kind, "".join(v))
        for o in cell.get("outputs", [])
        for kind, v in o.get("data", {}).items()
        if kind in ("image/png", "image/svg+xml")
    ]
    return [base64.b64decode(v) if kind == "image/png" else v.encode() for kind, v in found]


def bare(code: str) -> str:
    "Code without comments, docstrings and layout; what only IPython understands is taken as it is written."
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return code
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [
                n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) and isinstance(n.value.value, str))
            ] or [ast.Pass()]
    return ast.unparse(tree)


@cache
def plot_functions(root: Path = ROOT) -> dict[str, str]:
    "The code of every function of the library that draws, by its name; two of one name stand together."
    found: dict[str, str] = {}
    for path in sorted((root / "lineupiq").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "def plot_" in text:
            for node in ast.parse(text).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("plot_"):
                    found[node.name] = found.get(node.name, "") + bare(ast.unparse(node))
    return found


def digest(nb: dict, root: Path = ROOT) -> str:
    "What a page's pictures are made by, in sixteen hexadecimal digits."
    cells = [c for c in nb["cells"] if c["cell_type"] == "code"]
    last = max((k for k, c in enumerate(cells) if images(c)), default=-1)
    code = [bare(source(c)) for c in cells[: last + 1]]
    names = sorted(set(re.findall(r"\bplot_\w+", "\n".join(code))))
    parts = code + [plot_functions(root)[n] for n in names if n in plot_functions(root)]
    return hashlib.sha256("\n\n".join(parts).encode()).hexdigest()[:16]


def stamps(root: Path = ROOT) -> dict[str, str]:
    "The digest of each page's pictures, as they were when they were drawn."
    path = root / STAMPS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def wants_picture(nb: dict) -> bool:
    "Whether a page shows a picture, or says that it does."
    return any(images(c) or ALT.search(source(c)) for c in nb["cells"] if c["cell_type"] == "code")


def stale(path: Path, root: Path = ROOT) -> bool:
    "Whether a page must be run."
    nb = read(path)
    empty = any(ALT.search(source(c)) and not images(c) for c in nb["cells"] if c["cell_type"] == "code" and not UNRUN.search(source(c)))
    return wants_picture(nb) and (empty or stamps(root).get(path.relative_to(root).as_posix()) != digest(nb, root))


def cell_problems(cell: dict) -> list[str]:
    "What is wrong with the pictures of a cell."
    shown, alt = images(cell), ALT.search(source(cell))
    said = alt[1].strip().strip("\"'") if alt else ""
    out = ["a text for the picture, but no picture: run `make pages`"] if alt and not shown else []
    if shown and len(said) < 30:
        out.append('a picture without words: begin the cell with #| fig-alt: "what it shows"')
    return out + [f"a picture of {len(data):,} bytes; at most {LARGEST:,}" for data in shown if len(data) > LARGEST]


def page_problems(path: Path, root: Path = ROOT) -> list[str]:
    "What is wrong with the pictures of a page, a line each."
    nb, name = read(path), path.relative_to(root).as_posix()
    code = [(k, c) for k, c in enumerate(nb["cells"]) if c["cell_type"] == "code"]
    out = [f"{name}, cell {k}: {problem}" for k, c in code for problem in cell_problems(c)]
    made = set(re.findall(r"^def (plot_\w+)", "\n".join(source(c) for _, c in code if re.search(r"^#\| *export", source(c), re.M)), re.M))
    used = set(re.findall(r"\bplot_\w+", "\n".join(source(c) for _, c in code if images(c))))
    out += [f"{name}: {f} has no picture on its page" for f in sorted(made - used)]
    if path.parent.name == "tutorials" and not any(images(c) for _, c in code):
        out.append(f"{name}: a tutorial without a picture")
    if not out and stale(path, root):
        out.append(f"{name}: its pictures are older than its code: run `make pages`")
    return out


def problems(root: Path = ROOT) -> list[str]:
    "What is wrong with the pictures of all pages."
    out = [p for path in pages(root) for p in page_problems(path, root)]
    known = {p.relative_to(root).as_posix() for p in pages(root) if wants_picture(read(p))}
    return out + [f"{STAMPS}: {name} shows no picture" for name in sorted(set(stamps(root)) - known)]


def small(png: str) -> str:
    "A picture of plain colours, as a palette of them: a third of the size."
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGBA").quantize(
        96, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    ).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def plain(text: str) -> str:
    "A text without the folders and the moment of one run."
    text = re.sub(rf"{re.escape(tempfile.gettempdir())}/[\w.-]+", "…", text)
    return re.sub(rf"{TODAY}[T ][\d:.]+(\+00:00|Z)?|{TODAY.replace('-', '')}_\d{{6}}(_\d+)?", "…", text)


def kept(output: dict) -> dict | None:
    "An output as it is stored; None for one that shows nothing."
    if output["output_type"] == "stream":
        text = PROGRESS.sub("", output["text"]) if output["name"] == "stderr" else output["text"]
        return {**output, "text": plain(text)} if text.strip() else None
    data = {k: v for k, v in output.get("data", {}).items() if k.startswith(("text/", "image/"))}
    if "image/png" in data:
        data = {"image/png": small(data["image/png"]), "text/plain": data.get("text/plain", "")}
    data = {k: plain(v) if k.startswith("text/") else v for k, v in data.items()}
    if not any("".join(v).strip() for k, v in data.items() if k != "text/plain") and output["output_type"] == "display_data":
        return None  # a line of progress that has gone
    return {k: v for k, v in {**output, "data": data}.items() if k != "transient"}


def volatile(text: str) -> str:
    "What in an output would be another in the next run; empty if nothing."
    words = (str(ROOT), str(Path.home()) + "/", socket.gethostname(), TODAY, tempfile.gettempdir() + "/")
    return next((w for w in words if len(w) > 3 and w in text), "") or next(iter(re.findall(r"\b0x[0-9a-f]{6,}", text)), "")


def run(path: Path, slow: bool = False) -> dict:
    "A page with the outputs of a fresh run."
    import nbformat
    from nbclient import NotebookClient

    nb = nbformat.read(path, 4)
    some = [
        c for c in nb.cells if c.cell_type == "code" and (not UNRUN.search(c.source) or slow and re.search(r"^#\| *slow", c.source, re.M))
    ]
    first = nbformat.v4.new_code_cell(STYLE)
    work = nbformat.v4.new_notebook(cells=[first, *[nbformat.v4.new_code_cell(c.source) for c in some]])
    NotebookClient(
        work, timeout=3600, kernel_name="python3", extra_arguments=["--log-level=ERROR"], resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    for cell, done in zip(some, work.cells[1:], strict=True):
        cell.outputs = [] if UNSEEN.search(cell.source) else [nbformat.from_dict(k) for o in done.outputs if (k := kept(o))]
        for output in cell.outputs:
            seen = "".join(
                str(v) for v in (output.get("text", ""), *[v for k, v in output.get("data", {}).items() if k.startswith("text/")])
            )
            if line := next((text for text in seen.splitlines() if volatile(text)), ""):
                raise SystemExit(
                    f"{path.relative_to(ROOT)}: an output that the next run will not repeat\n  where: {cell.source[:160]}\n  found: "
                    f"{line.strip()[:400]}\n  fix: show something else, or begin the cell with #| hide or #| output: false"
                )
            if output.get("name") == "stderr":
                print(f"  {path.name} says on stderr: {output['text'][:300]}", file=sys.stderr)
    return nb


def store(path: Path, nb: dict) -> None:
    "Write a page back, clean, and its stamp."
    import nbformat
    from nbdev.clean import clean_nb

    text = nbformat.writes(nb)
    whole = json.loads(text)
    clean_nb(whole, allowed_cell_metadata_keys=["tags"])
    path.write_text(json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    write_stamps({**stamps(), path.relative_to(ROOT).as_posix(): digest(read(path))} if wants_picture(read(path)) else stamps())


def write_stamps(known: dict[str, str]) -> None:
    "The digests, a line a page."
    there = {p.relative_to(ROOT).as_posix() for p in pages() if wants_picture(read(p))}
    (ROOT / STAMPS).write_text(json.dumps({k: v for k, v in sorted(known.items()) if k in there}, indent=1) + "\n", encoding="utf-8")


def prepare() -> None:
    "One thread and no messages of libraries, so that a page is drawn alike everywhere; the kernel is that of this interpreter."
    os.environ |= {"OMP_NUM_THREADS": "1", "LINEUPIQ_NUM_THREADS": "1", "IN_TEST": "1", "LINEUPIQ_TRACKING_URI": "off"}
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def real(path: Path) -> bool:
    "Whether what a page shows is of real tables where they are."
    return any("LINEUPIQ_DATA_DIR" in source(c) for c in read(path)["cells"] if c["cell_type"] == "code")


def make(path: Path, slow: bool) -> None:
    "Run a page and store what it shows."
    started, folder = time.perf_counter(), os.environ.get("LINEUPIQ_DATA_DIR")
    if real(path) and not folder:
        raise SystemExit(f"{path.relative_to(ROOT)} shows real tables: set LINEUPIQ_DATA_DIR to their folder")
    try:
        if not real(path):
            os.environ.pop("LINEUPIQ_DATA_DIR", None)
        store(path, run(path, slow))
    finally:
        if folder:
            os.environ["LINEUPIQ_DATA_DIR"] = folder
    print(f"{path.relative_to(ROOT)}: {time.perf_counter() - started:.0f} s", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE")
    parser.add_argument("--all", action="store_true", help="every page with a picture")
    parser.add_argument("--slow", action="store_true", help="cells marked slow, too")
    parser.add_argument("--check", action="store_true", help="run nothing; print what is missing or old")
    args = parser.parse_args(argv)
    if not args.check:
        prepare()
        chosen = [p.resolve() for p in args.pages] or [p for p in pages() if (wants_picture(read(p)) if args.all else stale(p))]
        for path in chosen:
            make(path, args.slow)
    found = problems()
    print("\n".join([*found, f"{len(stamps())} pages with pictures, {len(found)} problems"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
