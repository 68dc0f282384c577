"""What must hold in a store after anything, looked at with as little of the library as possible."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def digest_of(folder: Path) -> dict[str, str]:
    "File -> sha256 of a folder."
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def versions_of(root: Path, name: str) -> dict[str, dict[str, str]]:
    "Version -> its files."
    home = root / "archive" / name
    return {p.name: digest_of(p) for p in sorted(home.iterdir()) if re.fullmatch(r"v\d+\.\d+\.\d+", p.name)} if home.is_dir() else {}


def link(root: Path, kind: str, name: str) -> str | None:
    path = root / kind / name
    return os.readlink(path).rpartition("/")[2] if path.is_symlink() else None


def records(root: Path) -> list[dict]:
    path = root / "journal.jsonl"
    data = path.read_bytes() if path.exists() else b""
    out, prev = [], "0" * 64
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        record = json.loads(line)
        assert record["prev"] == prev, "the chain is broken"
        prev = hashlib.sha256(line).hexdigest()
        out.append(record)
    return out


def check(root: Path, name: str, before: dict[str, dict[str, str]], removable: set[str] = frozenset(), settled: bool = False) -> list[str]:
    "Every violation of the invariants, in words."
    wrong, there = [], versions_of(root, name)
    for kind in ("production", "staging"):
        at = link(root, kind, name)
        if at is None:
            continue
        if at not in there:
            wrong.append(f"I1 {kind} names {at}, which is not there")
            continue
        manifest = json.loads((root / "archive" / name / at / "manifest.json").read_text())
        files = {k: v for k, v in there[at].items() if k != "manifest.json"}
        if {k: v["sha256"] for k, v in manifest["files"].items()} != files or manifest["version"] != at[1:]:
            wrong.append(f"I1 {at} does not match its manifest")
    for version, files in there.items():  # whatever bears a version's name is whole
        manifest = json.loads((root / "archive" / name / version / "manifest.json").read_text())
        if {k: v["sha256"] for k, v in manifest["files"].items()} != {k: v for k, v in files.items() if k != "manifest.json"}:
            wrong.append(f"I3 {version} is half-written")
    for version, files in before.items():
        if version not in there and version not in removable:
            wrong.append(f"I2 {version} disappeared")
        elif version in there and there[version] != files:
            wrong.append(f"I2 {version} changed")
    told = records(root)
    published = [r["version"] for r in told if r["op"] in ("publish", "observed_version")]
    if len(published) != len(set(published)):
        wrong.append("I4 a version was published twice")
    if settled:
        left = [str(p.relative_to(root)) for p in root.rglob("*") if p.name.startswith(".") and p.name != ".lock"]
        if left:
            wrong.append(f"I6 left over: {left}")
        state = {"production": None, "staging": None}
        moves = {
            "promote": "production",
            "rollback": "production",
            "observed_production": "production",
            "stage": "staging",
            "unstage": "staging",
            "observed_staging": "staging",
        }
        for r in told:
            if r.get("name") == name and r["op"] in moves:
                state[moves[r["op"]]] = r.get("version")
        for kind, version in state.items():
            if (at := link(root, kind, name)) != (f"v{version}" if version else None):
                wrong.append(f"I7 the journal says {kind} {version}, the link {at}")
        if missing := set(there) - {f"v{v}" for v in published}:
            wrong.append(f"I7 versions without a line: {sorted(missing)}")
        lines = (root / "VERSION").read_text() if (root / "VERSION").exists() else ""
        newest = max(there, key=lambda v: tuple(map(int, v[1:].split(".")))) if there else None
        if newest and f"{name}: {newest[1:]}\n" not in lines:
            wrong.append(f"VERSION says {lines!r}, the newest is {newest}")
    return wrong


class Driver:
    "The process of `store_driver.py`."

    def __init__(self) -> None:
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(HERE / "store_driver.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def run(self, tracer: list[str] | None = None, kill_after: float | None = None, **todo) -> tuple[int, str]:
        """One operation, under strace where arguments for it are given, killed after some seconds where asked; (exit code, or minus the
        signal; what it said)."""
        self.process.stdin.write(json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in todo.items()}) + "\n")
        self.process.stdin.flush()
        pid = json.loads(self.process.stdout.readline())["pid"]
        watching = None
        if tracer is not None:
            watching = subprocess.Popen(
                ["strace", "-f", "-q", "-p", str(pid), *tracer], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            until = time.monotonic() + 10
            while "TracerPid:\t0\n" in Path(f"/proc/{pid}/status").read_text():
                if time.monotonic() > until or watching.poll() is not None:
                    raise RuntimeError(
                        f"strace could not attach: {watching.stderr.read().decode()[:300] if watching.poll() is not None else 'no answer'}"
                    )
                time.sleep(0.002)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        if kill_after is not None:
            time.sleep(kill_after)
            try:
                os.kill(pid, 9)  # a child of the driver, which has not been waited for before it answers
            except ProcessLookupError:
                pass
        told = json.loads(self.process.stdout.readline())
        if watching is not None:
            watching.wait(10)
            watching.stderr.close()
        return told["code"], told["said"]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(10)


def can_trace() -> str:
    "Why strace cannot be used here; empty where it can."
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()[:120]}"
