"""Tests pages one after another, each in a process of its own that finds the common libraries imported.

    python tools/page_server.py        # for tools/run_tests.py: an order a line on stdin, an answer a line on stdout

An order is JSON: the page, the flags of `nbdev_test`, the file that takes what the page prints. The answers are the number of the page's
process, in the moment that it begins, and its exit code, in the moment that it ends. Two thirds of a short page's time are the imports of
numpy, pandas, matplotlib and IPython; here they are made once, and a page's process is a fork of this one. What must be seen to be imported
late, or what begins threads, is not among them: the package itself, torch and the boosters.
"""

import gc
import importlib
import json
import os
import signal
import sys
from contextlib import suppress

LIBRARIES = (
    "nbdev.test",
    "IPython.core.interactiveshell",
    "fastcore.test",
    "matplotlib.pyplot",
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pydantic",
    "yaml",
    "scipy.stats",
    "scipy.optimize",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "typer",
    "rich.console",
    "rich.table",
    "cloudpickle",
    "joblib",
    "narwhals",
    "psutil",
)


def become(order: dict) -> None:
    "Make the process that a fork left here that of a page: a group of its own, nothing to read, everything that it prints in one file."
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    out = os.open(order["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for found, wanted in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(found, wanted)
    os.close(out)
    os.close(nothing)
    sys.argv = ["nbdev_test", "--path", order["path"]]


def orders() -> dict | None:
    "The next page, in a process that is to test it; None in the process that has no more to do."
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        if (pid := os.fork()) == 0:
            become(order)
            return order
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


def main() -> None:
    for name in LIBRARIES:
        with suppress(ImportError):  # a page that needs it will say so
            importlib.import_module(name)
    gc.freeze()  # a fork's collections leave these pages of memory shared
    order = orders()
    if order is not None:
        from nbdev.test import nbdev_test

        nbdev_test(path=order["path"], n_workers=0, flags=order["flags"])


if __name__ == "__main__":
    main()
