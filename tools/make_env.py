"""Make the project's environment, or find it as it should be.

    python3 tools/make_env.py [FOLDER]        # FOLDER: .venv

The environment carries a stamp: the digest of the files that decide what is installed. As long as the stamp fits, nothing is
done and the call takes a fraction of a second. Only the standard library is used, because nothing else is there yet.
"""

import hashlib
import os
import platform
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECIDING = ("constraints.txt", "settings.ini", "setup.py")  # a change of one of these makes the environment anew
HARMLESS = ("WARNING", "[notice]", "DEPRECATION")  # what pip says beside the point
MIN_PYTHON = (3, 11)


def digest(root: Path = ROOT) -> str:
    "The first 16 digits of the sha256 over the files that decide what is installed."
    total = hashlib.sha256()
    for name in DECIDING:
        data = (root / name).read_bytes()
        total.update(f"{name} {len(data)}\n".encode() + data)
    return total.hexdigest()[:16]


def stamp_path(folder: Path, root: Path = ROOT) -> Path:
    "Where the stamp lies that says the environment fits."
    return folder / f".stamp-{digest(root)}"


def python_of(folder: Path) -> Path:
    "The environment's interpreter."
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def is_current(folder: Path, root: Path = ROOT) -> bool:
    "True where the stamp fits, the interpreter is there and the package is installed from this very checkout."
    stamp = stamp_path(folder, root)
    return stamp.is_file() and python_of(folder).exists() and stamp.read_text().strip() == str(root)


def moved(folder: Path, root: Path = ROOT) -> bool:
    "True where a stamp says that the environment was made for another checkout: its scripts point there."
    return any(s.read_text().strip() != str(root) for s in folder.glob(".stamp-*"))


def fits_pins(root: Path = ROOT) -> bool:
    "True where the pins were resolved for this very platform: then they are installed as they stand, without resolving."
    first = (root / "constraints.txt").read_text().splitlines()[0]
    here = f"Python {sys.version_info[0]}.{sys.version_info[1]}, {platform.system()} {platform.machine()}"
    return here in first


def commands(root: Path = ROOT) -> list[list[str]]:
    "The pip commands that fill the environment."
    if fits_pins(root):
        return [
            ["install", "--no-deps", "--no-compile", "-r", "constraints.txt"],
            ["install", "--no-deps", "--no-build-isolation", "-e", "."],
            ["check"],
        ]
    return [
        ["install", "-c", "constraints.txt", "setuptools", "wheel"],
        ["install", "-c", "constraints.txt", "--no-build-isolation", "-e", ".[dev,test]"],
    ]


def pip(folder: Path, args: list[str], root: Path = ROOT) -> None:
    "Run pip quietly; its whole output is shown only where it fails."
    quiet = [] if args == ["check"] else ["-q"]
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    done = subprocess.run(
        [str(python_of(folder)), "-m", "pip", *args, *quiet],
        cwd=root,
        env=env,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        shown = [line for line in done.stdout.splitlines() if not line.lstrip().startswith(HARMLESS)]
        sys.exit("\n".join([f"error: pip {' '.join(args)} ended with {done.returncode}", *shown[-40:]]))


def make(folder: Path, root: Path = ROOT) -> float:
    "Fill the environment and stamp it; returns the seconds that it took."
    started = time.monotonic()
    if moved(folder, root) or not python_of(folder).with_name("pip").exists():
        print(f"making the environment in {folder.name} (one to three minutes, once)", flush=True)
        venv.EnvBuilder(with_pip=True, clear=moved(folder, root), symlinks=os.name != "nt").create(folder)
    else:
        print(f"bringing the environment in {folder.name} up to date", flush=True)
    for old in folder.glob(".stamp-*"):  # from here until the end the environment is nobody's
        old.unlink()
    for args in commands(root):
        pip(folder, args, root)
    stamp_path(folder, root).write_text(f"{root}\n")
    return time.monotonic() - started


def lock(folder: Path):
    "Two calls at once take turns; the lock goes with the process."
    folder.mkdir(parents=True, exist_ok=True)
    handle = open(folder / ".lock", "w")
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
    except ImportError:  # no such thing on Windows: there the calls are simply not made at once
        pass
    return handle


def main(argv: list[str]) -> None:
    if sys.version_info < MIN_PYTHON:
        sys.exit(
            f"error: Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer is needed, this is {platform.python_version()}; "
            "say which one with: make PYTHON=python3.11 …"
        )
    folder = Path(argv[0] if argv else ROOT / ".venv").resolve()
    if is_current(folder):
        return
    held = lock(folder)
    if not is_current(folder):  # another call may have made it meanwhile
        seconds = make(folder)
        print(f"the environment is ready ({seconds:.0f} s)", flush=True)
    held.close()


if __name__ == "__main__":
    main(sys.argv[1:])
