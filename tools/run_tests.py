"""Everything that `make test` looks at, ending on one line: N passed, N failed[, N skipped].

    python tools/run_tests.py [--slow] [--jobs N] [--only sync,lint,notebooks,tests]

Four steps: the notebooks are clean and the package is in sync with them; ruff; `nbdev_test` over every notebook, each in a process of
its own (page_server.py); pytest over tests/. Notebooks and tests are counted. A failed step of the first two counts as one failure.
"""

import argparse
import atexit
import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parent.parent
STEPS = ("sync", "lint", "notebooks", "tests")
PARTS = ("nbs", "lineupiq", "settings.ini", "setup.py", "pyproject.toml", "README.md")  # what nbdev reads and writes
UNSEEN = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "_proc", "experiments", "catboost_info")
TIMEOUT = 600  # seconds a notebook may take; slow cells get an hour


@dataclass
class Count:
    "What was seen."

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def line(self) -> str:
        "The closing line."
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")


@cache
def scratch_folder() -> str:
    "A folder that goes when this process ends."
    folder = tempfile.mkdtemp(prefix="lineupiq-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment() -> dict:
    """One thread a process, since two processes run at once; an absolute data folder, since notebooks run in their own; the venv's scripts
    first."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "LINEUPIQ_NUM_THREADS": "1", "DO_NOT_TRACK": "true", "MPLBACKEND": "agg"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    env["PYTHONDONTWRITEBYTECODE"] = ""  # compiling the libraries anew in every process would take most of the time
    own = scratch_folder()  # nothing that a page publishes or spools reaches the checkout, and no page waits for a tracker
    env |= {"LINEUPIQ_TRACKING_URI": "off", "LINEUPIQ_MODELS_DIR": f"{own}/models", "LINEUPIQ_SPOOL": f"{own}/spool"}
    if env.get("LINEUPIQ_DATA_DIR"):
        env["LINEUPIQ_DATA_DIR"] = str(Path(env["LINEUPIQ_DATA_DIR"]).expanduser().resolve())
    return env


def say(text: str) -> None:
    print(text, flush=True)


def run(args: list, cwd: Path = ROOT, timeout: float | None = None) -> tuple[int, str]:
    "A command's exit code and what it printed; 124 where it took too long."
    with subprocess.Popen(
        [str(a) for a in args],
        cwd=cwd,
        env=environment(),
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as child:
        try:
            out, _ = child.communicate(timeout=timeout)
            return child.returncode, out
        except BaseException as err:  # the children of the child as well
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
            if isinstance(err, subprocess.TimeoutExpired):
                return 124, f"{out}\nended after {timeout} s"
            raise


def tree(root: Path) -> dict[str, Path]:
    "The files of the parts that nbdev writes, by name."
    out = {}
    for part in PARTS:
        top = root / part
        files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
        out |= {
            str(p.relative_to(root)): p
            for p in files
            if not set(p.parts) & {".ipynb_checkpoints", "__pycache__", "experiments", "catboost_info"}
        }
    return {k: v for k, v in out.items() if k.endswith((".ipynb", ".py", ".toml", ".md"))}


def out_of_sync(root: Path = ROOT) -> list[str]:
    "Export and clean a copy; what differs from the original, and how."
    with tempfile.TemporaryDirectory(prefix="lineupiq-sync-") as scratch:
        copy = Path(scratch, "project")
        copy.mkdir()
        for part in PARTS:
            if (root / part).is_dir():
                shutil.copytree(root / part, copy / part, symlinks=True, ignore=UNSEEN)
            elif (root / part).exists():
                shutil.copy2(root / part, copy / part)
        before = {k: v for k, v in tree(root).items() if k in tree(copy)}
        for command in ("nbdev_export", "nbdev_clean"):
            code, text = run([Path(sys.executable).with_name(command)], copy, TIMEOUT)
            if code:
                return [f"{command} ended with {code}:\n{text[-3000:]}"]
        after = tree(copy)
        changed = [f"{k}: changed" for k in before if k in after and not filecmp.cmp(before[k], after[k], shallow=False)]
        return sorted(changed + [f"{k}: new" for k in after if k not in before] + [f"{k}: gone" for k in before if k not in after])


def check_sync() -> Count:
    "Step 1."
    odd = out_of_sync()
    if not odd:
        say("sync: notebooks are clean and the package is in sync")
        return Count()
    say("sync: FAILED. `nbdev_export && nbdev_clean` would change these files; run `make sync`, look at the difference and commit it:")
    for name in odd:
        say(f"  {name}")
    return Count(failed=1)


def check_lint() -> Count:
    "Step 2."
    code, text = run([Path(sys.executable).with_name("ruff"), "check", "--output-format", "concise", "."])
    unformatted, names = run([sys.executable, ROOT / "tools" / "format_code.py", "--check"])
    if unformatted:
        code, text = 1, f"{text}{names}Run `make format`, look at the difference and commit it."
    say("lint: ruff is content" if not code else f"lint: FAILED\n{text}")
    return Count(failed=int(bool(code)))


def notebooks(root: Path = ROOT) -> list[Path]:
    "Every notebook that nbdev_test would take: not in a hidden or underscored folder, nor starting with an underscore."
    found = sorted((root / "nbs").rglob("*.ipynb"))
    return [p for p in found if not any(part.startswith((".", "_")) for part in p.relative_to(root / "nbs").parts)]


class PageServer:
    "A process with the common libraries imported, of which every page's process is a fork."

    def __init__(self):
        self.out = Path(tempfile.mkdtemp(dir=scratch_folder()), "printed.txt")
        self.page: int | None = None  # the process of the page that runs now
        self.begin()

    def begin(self) -> None:
        "Start the process."
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "tools" / "page_server.py"],
            cwd=ROOT,
            env=environment(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, path: Path, flags: str, timeout: float) -> tuple[int, str]:
        "As `run` with nbdev_test: the page's exit code and what it printed; 124 where it took too long."
        late = threading.Event()
        timer = threading.Timer(timeout, lambda: (late.set(), self.end_page()))
        timer.start()
        self.out.write_text("")
        try:
            self.process.stdin.write(json.dumps({"path": str(path), "flags": flags, "out": str(self.out)}) + "\n")
            self.process.stdin.flush()
            self.page = int(self.process.stdout.readline())
            code = int(self.process.stdout.readline())
        except (ValueError, BrokenPipeError):  # the server itself is gone: this page has failed, the next one has a server of its own
            self.end()
            self.begin()
            return 1, f"{self.out.read_text(errors='replace')}\nthe process that the pages are forked from has ended"
        finally:
            timer.cancel()
            self.end_page()  # what the page began and left behind
        text = self.out.read_text(errors="replace")
        return (124, f"{text}\nended after {timeout} s") if late.is_set() else (code, text)

    def end_page(self) -> None:
        "The page's process goes, with its children, where they are still there."
        pid, self.page = self.page, None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def end(self) -> None:
        "No page is to come; one that runs, because somebody interrupted, ends."
        self.end_page()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@contextmanager
def page_servers(jobs: int) -> Iterator[Queue | None]:
    "One for every page at once; None where processes cannot be forked."
    if not hasattr(os, "fork"):
        yield None
        return
    servers, free = [PageServer() for _ in range(jobs)], Queue()
    for server in servers:
        free.put(server)
    try:
        yield free
    finally:
        for server in servers:
            server.end()


def run_page(path: Path, flags: str, timeout: float, servers: Queue | None) -> tuple[int, str]:
    "nbdev_test over one page, in a process of its own: a fork of a server that is free, or begun anew where there are none."
    if servers is None:
        return run([Path(sys.executable).with_name("nbdev_test"), "--path", path, "--n_workers", "0", "--flags", flags], timeout=timeout)
    server = servers.get()
    try:
        return server.run(path, flags, timeout)
    finally:
        servers.put(server)


def test_notebook(path: Path, slow: bool = False, servers: Queue | None = None) -> tuple[bool, float, str]:
    "One notebook in a process of its own: passed, seconds, what it printed."
    started = time.monotonic()
    name = path.relative_to(ROOT)
    code, text = run_page(name, "slow" if slow else "", 3600 if slow else TIMEOUT, servers)
    ok = code == 0 and "Success." in text  # "No files were eligible" also exits 0
    seconds = time.monotonic() - started
    say(f"{'ok    ' if ok else 'FAILED'} {seconds:6.1f} s  {name}" + ("" if ok else f"\n{text[-6000:]}"))
    return ok, seconds, text


def check_notebooks(jobs: int, slow: bool = False) -> Count:
    "Step 3."
    paths = notebooks()
    if not paths:
        say("notebooks: FAILED, none found")
        return Count(failed=1)
    paths.sort(key=lambda p: -p.stat().st_size)  # the long ones first, so that both workers end together
    with page_servers(jobs) as servers, ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(lambda p: test_notebook(p, slow, servers), paths))
    passed = sum(ok for ok, _, _ in results)
    return Count(passed, len(paths) - passed)


def junit_count(path: Path) -> Count:
    "What pytest's XML says."
    suite = ET.parse(path).getroot()
    suites = [suite] if suite.tag == "testsuite" else list(suite)
    total, bad, skipped = (
        sum(int(s.get(k, 0)) for s in suites for k in keys) for keys in (("tests",), ("failures", "errors"), ("skipped",))
    )
    return Count(total - bad - skipped, bad, skipped)


def check_tests(jobs: int, slow: bool = False) -> Count:
    "Step 4."
    with tempfile.TemporaryDirectory(prefix="lineupiq-tests-") as scratch:
        report = Path(scratch, "junit.xml")
        args = [
            sys.executable,
            "-m",
            "pytest",
            "tests",
            "-q",
            "-rs",
            "-n",
            jobs,
            "-m",
            "slow" if slow else "not slow",
            f"--junitxml={report}",
            "-p",
            "no:cacheprovider",
            "--durations=40",
            "--durations-min=4",
        ]
        code = subprocess.run([str(a) for a in args], cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL).returncode
        if not report.exists():
            say(f"tests: FAILED, pytest ended with {code} and no report")
            return Count(failed=1)
        count = junit_count(report)
    none = code == 5  # nothing was selected
    if none and not slow:
        say("tests: FAILED, none found")
    return count + Count(failed=int(code not in (0, 5) and not count.failed or none and not slow))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slow", action="store_true", help="the slow cells of every notebook and the slow tests")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="notebooks and tests at once")
    parser.add_argument("--only", default=",".join(STEPS), help="steps, of: " + ", ".join(STEPS))
    args = parser.parse_args(argv)
    chosen = args.only.split(",")
    if odd := set(chosen) - set(STEPS):
        parser.error(f"unknown step {', '.join(sorted(odd))}; expected {', '.join(STEPS)}")
    # a shell's background job would hand "ignored" down to the tests of interruption
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started, total = time.monotonic(), Count()
    todo = {
        "sync": check_sync,
        "lint": check_lint,
        "notebooks": lambda: check_notebooks(args.jobs, args.slow),
        "tests": lambda: check_tests(args.jobs, args.slow),
    }
    for name in STEPS:
        if name in chosen:
            total += todo[name]()
    if not os.environ.get("LINEUPIQ_DATA_DIR"):
        say("LINEUPIQ_DATA_DIR is not set: the tests on the real NFL tables and bars were skipped")
    say(f"{time.monotonic() - started:.0f} s")
    say(total.line())
    return 1 if total.failed or not total.passed and {"notebooks", "tests"} & set(chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
