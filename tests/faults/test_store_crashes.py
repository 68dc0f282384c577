"""K1, K2, K4: every system call of every store operation is a place where the process may die or the disk may refuse."""

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

from invariants import Driver, can_trace, check, link, records, versions_of
from lineupiq.workflows.store import verify_table

WHY = can_trace()
pytestmark = pytest.mark.skipif(bool(WHY), reason=f"SKIP: {WHY}")
CALLS = (
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "rename",
    "mkdir",
    "unlink",
    "unlinkat",
    "rmdir",
    "symlink",
    "close",
    "flock",
    "ftruncate",
    "copy_file_range",
    "sendfile",
    "chmod",
    "fchmod",
    "lseek",
    "getdents64",
    "readlink",
    "newfstatat",
)
WRITING = (
    "openat",
    "write",
    "pwrite64",
    "fsync",
    "rename",
    "mkdir",
    "unlink",
    "unlinkat",
    "rmdir",
    "symlink",
    "ftruncate",
    "sendfile",
    "copy_file_range",
)
NAME = "QB_yards"
OPERATIONS = {
    "publish": {"source": True},
    "promote": {},
    "rollback": {"version": "1.0.0"},
    "archive": {},
    "prune": {"version": "1.1.0"},
    "repair": {},
}


@pytest.fixture(scope="module")
def driver():
    d = Driver()
    yield d
    d.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory, driver):
    "A store with four versions: 1.0.0 was in production, 1.2.0 is, 1.3.0 is validated and in staging; VERSION is old."
    root, source = tmp_path_factory.mktemp("template") / "models", tmp_path_factory.mktemp("source")
    (source / "bundle").mkdir()
    (source / "bundle" / "weights.txt").write_text("w" * 5000)
    (source / "bundle" / "model.json").write_text("{}")
    for _ in range(4):
        assert driver.run(op="publish", root=root, name=NAME, source=source)[0] == 0
    for version in ("1.0.0", "1.2.0", "1.3.0"):
        assert driver.run(op="validate", root=root, name=NAME, version=version)[0] == 0
        if version != "1.3.0":
            assert driver.run(op="promote", root=root, name=NAME, version=version)[0] == 0
    (root / "VERSION").write_text("garbage\n")
    return root, source


def fresh(template, tmp_path, k: int) -> Path:
    root = tmp_path / f"m{k}"
    shutil.copytree(template[0], root, symlinks=True)
    return root


def todo(op: str, root: Path, template) -> dict:
    extra = dict(OPERATIONS[op])
    if extra.pop("source", False):
        extra["source"] = template[1]
    return {"op": op, "root": root, "name": NAME, **extra}


def calls_of(op: str, template, tmp_path, driver) -> Counter:
    "How often each system call happens in an operation, on the store's files."
    root, log = fresh(template, tmp_path, 0), tmp_path / f"{op}.log"
    code, said = driver.run(["-o", str(log), "-e", f"trace={','.join(CALLS)}"], **todo(op, root, template))
    assert code == 0, said
    return Counter(m[1] for line in log.read_text().splitlines() if (m := re.match(r"(?:\d+ +)?(\w+)\(", line)))


def outcome(root: Path, before: dict, op: str) -> tuple:
    return link(root, "production", NAME), link(root, "staging", NAME), tuple(versions_of(root, NAME))


def recovered(driver, root: Path, template, before: dict, removable: set, what: str) -> None:
    "Readers see no damage; the next command succeeds without help, and nothing is left."
    os.environ["LINEUPIQ_MODELS_DIR"] = str(root)
    try:
        found = verify_table()
    finally:
        del os.environ["LINEUPIQ_MODELS_DIR"]
    assert "damaged" not in set(found["verdict"]), (what, found[found["verdict"] != "ok"].to_dict("records"))
    code, said = driver.run(op="repair", root=root, name=NAME)
    assert code == 0, (what, said)
    assert not (wrong := check(root, NAME, before, removable, settled=True)), (what, wrong)
    code, said = driver.run(op="publish", root=root, name=NAME, source=template[1])
    assert code == 0, (what, said)
    assert not (wrong := check(root, NAME, before, removable, settled=True)), (what, wrong)


def sweep(op: str, template, tmp_path, driver, inject: list[str], points: list[tuple[str, int]]) -> Counter:
    "Run an operation once for each point at which something is done to it."
    before, removable, seen = versions_of(template[0], NAME), {"v1.1.0"} if op == "prune" else set(), Counter()
    for k, (call, n) in enumerate(points):
        for how in inject:
            root, what = fresh(template, tmp_path, k + 1), f"{op}: {call} {n} {how}"
            code, said = driver.run(
                ["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{how.format(n=n)}"], **todo(op, root, template)
            )
            assert not (wrong := check(root, NAME, before, removable)), (what, wrong)
            seen[code] += 1
            if code not in (-9, 0):
                assert code == 7 and (str(root) in said or str(template[1]) in said or "store" in said), (what, code, said)
            if code == 0:
                done = {
                    "promote": link(root, "production", NAME) == "v1.3.0",
                    "rollback": link(root, "production", NAME) == "v1.0.0",
                    "publish": "v1.4.0" in versions_of(root, NAME),
                    "archive": link(root, "staging", NAME) is None,
                    "prune": "v1.1.0" not in versions_of(root, NAME),
                    "repair": True,
                }[op]
                assert done, (what, "exit 0 and not done")
            recovered(driver, root, template, before, removable, what)
            shutil.rmtree(root)
    return seen


def points(counts: Counter, calls: tuple[str, ...], every: int = 1) -> list[tuple[str, int]]:
    return [(c, n) for c in calls for n in range(1, counts[c] + 1)][::every]


@pytest.mark.parametrize("op", ["promote"])
def test_K1_sample(op, template, tmp_path, driver):
    counts = calls_of(op, template, tmp_path, driver)
    seen = sweep(op, template, tmp_path, driver, ["signal=SIGKILL:when={n}"], points(counts, CALLS, 9))
    assert seen[-9] >= 10


@pytest.mark.slow
@pytest.mark.parametrize("op", list(OPERATIONS))
def test_K1_every_system_call(op, template, tmp_path, driver):
    counts = calls_of(op, template, tmp_path, driver)
    seen = sweep(op, template, tmp_path, driver, ["signal=SIGKILL:when={n}"], points(counts, CALLS))
    print(f"K1 {op}: {sum(seen.values())} points, {seen[-9]} killed, 0 violations")
    assert seen[-9] >= 0.9 * sum(seen.values())


def first_publish(driver, source: Path, tmp_path: Path, every: int) -> int:
    "Kill the first publish into an empty folder at every so many system calls: what it leaves is no damage and no lost journal."
    log, kills = tmp_path / "first.log", 0
    assert (
        driver.run(["-o", str(log), "-e", f"trace={','.join(CALLS)}"], op="publish", root=tmp_path / "m", name=NAME, source=source)[0] == 0
    )
    counts = Counter(m[1] for line in log.read_text().splitlines() if (m := re.match(r"(?:\d+ +)?(\w+)\(", line)))
    for call, n in points(counts, CALLS, every):
        root, what = tmp_path / "m", f"first publish: {call} {n}"
        shutil.rmtree(root, ignore_errors=True)
        kills += (
            driver.run(
                ["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}"],
                op="publish",
                root=root,
                name=NAME,
                source=source,
            )[0]
            == -9
        )
        recovered(driver, root, (None, source), {}, set(), what)
        assert "lost_lines" not in [r["op"] for r in records(root)], what
    return kills


def test_K1_first_publish_sample(template, tmp_path, driver):
    assert first_publish(driver, template[1], tmp_path, 40) >= 6


@pytest.mark.slow
def test_K1_first_publish(template, tmp_path, driver):
    print(f"K1 first publish: {first_publish(driver, template[1], tmp_path, 1)} killed, 0 violations")


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "EACCES", "EMFILE"])
@pytest.mark.parametrize("op", list(OPERATIONS))
def test_K2_every_error(op, error, template, tmp_path, driver):
    counts = calls_of(op, template, tmp_path, driver)
    calls = ("openat",) if error == "EMFILE" else WRITING
    seen = sweep(op, template, tmp_path, driver, [f"error={error}:when={{n}}", f"error={error}:when={{n}}+"], points(counts, calls))
    print(f"K2 {op} {error}: {sum(seen.values())} points, exit codes {dict(seen)}, 0 violations")


@pytest.mark.parametrize("op", ["publish", "promote", "rollback"])
def test_K4_order(op, template, tmp_path, driver):
    "What a name will point to is on the disk before the name is; then the folder of the name."
    root, log = fresh(template, tmp_path, 0), tmp_path / "order.log"
    code, _ = driver.run(
        ["-y", "-s", "400", "-o", str(log), "-e", "trace=openat,fsync,rename,write,sendfile,copy_file_range"], **todo(op, root, template)
    )
    assert code == 0
    events = []
    for line in log.read_text().splitlines():
        if m := re.search(r"fsync\(\d+<([^>]*)>\) = 0", line):
            events.append(("fsync", m[1]))
        elif m := re.search(r'rename\("([^"]*)", "([^"]*)"\) = 0', line):
            events.append(("rename", m[1], m[2]))
    renames = [(i, e) for i, e in enumerate(events) if e[0] == "rename"]
    # derived: written anew when they are lost
    renames = [(i, e) for i, e in renames if Path(e[2]).name not in ("VERSION", "metadata.json")]
    for i, (_, source, target) in renames:
        synced = {e[1] for e in events[:i] if e[0] == "fsync"}
        if Path(target).is_dir() and not Path(target).is_symlink():
            files = {str(p).replace(target, source, 1) for p in Path(target).rglob("*") if p.is_file()}
            assert files <= synced, ("written and not synced", files - synced)
            assert source in synced, "the folder itself"
        elif not Path(target).is_symlink():
            assert source in synced, source
        later = [e[1] for e in events[i + 1 :] if e[0] == "fsync"]
        assert str(Path(target).parent) in later, f"the folder of {target} is not synced after the rename"
    pointer = [i for i, e in renames if "/production/" in e[2] or "/staging/" in e[2]]
    version = [i for i, e in renames if "/archive/" in e[2]]
    assert not pointer or not version or min(pointer) > max(version)
    assert records(root)[-1]["op"] in ("stage", "promote", "rollback")
