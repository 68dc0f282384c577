"""K3, C1, C2, C3, C4: random deaths, crowds, and a model of the store that knows what each step must do."""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from invariants import Driver, check, link, records, versions_of
from lineupiq.base import Busy, LineupIQError, StoreError
from lineupiq.store import versions
from lineupiq.store.layout import Store, locked, text_of, version_digest

NAME = "QB_yards"


def make_source(folder: Path, size: int = 2000) -> Path:
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "weights.bin").write_bytes(os.urandom(size))
    (folder / "bundle" / "model.json").write_text(json.dumps({"made": time.time()}))
    return folder


def put_live(store: Store, name: str, source: Path) -> str:
    "Publish and promote, as a schedule would after its gate."
    version = versions.publish(store, name, source, {})
    versions.promote(store, name, version, force=True, reason="load")
    return version


def read_once(root: Path, name: str) -> tuple[str | None, bool]:
    "What a reader sees: the version, and whether all of it matches its manifest."
    version = link(root, "production", name)
    if version is None:
        return None, True
    folder = root / "archive" / name / version
    manifest = json.loads((folder / "manifest.json").read_text())
    whole = all(hashlib.sha256((folder / f).read_bytes()).hexdigest() == e["sha256"] for f, e in manifest["files"].items())
    return version, whole and manifest["version"] == version[1:]


def keep_reading(root: str, name: str, stop: str, told: str) -> None:
    "A reader process: counts reads and torn ones until it is told to stop."
    reads = torn = 0
    while not os.path.exists(stop):
        if reads == 1:
            Path(told + ".ready").touch()
        try:
            torn += not read_once(Path(root), name)[1]
        except (OSError, ValueError):
            torn += 1
        reads += 1
    Path(told).write_text(json.dumps([reads, torn]))


class Readers:
    "Processes that read all the while."

    def __init__(self, root: Path, name: str, count: int, folder: Path):
        self.stop, self.told = folder / "stop", [folder / f"reads{i}" for i in range(count)]
        context = multiprocessing.get_context("spawn")
        self.processes = [context.Process(target=keep_reading, args=(str(root), name, str(self.stop), str(t))) for t in self.told]

    def __enter__(self):
        for p in self.processes:
            p.start()
        until = time.monotonic() + 60
        while not all(Path(f"{t}.ready").exists() for t in self.told) and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def __exit__(self, *exc):
        self.stop.touch()
        for p in self.processes:
            p.join(60)

    def counts(self) -> tuple[int, int]:
        found = [json.loads(t.read_text()) for t in self.told]
        return sum(r for r, _ in found), sum(t for _, t in found)


def random_kills(kills: int, size: int, tmp_path: Path) -> tuple[int, int, int]:
    "(violations, torn reads, reads) of operations that are killed at random moments."
    root, rng, wrong = tmp_path / "models", random.Random(0), []
    first, second = make_source(tmp_path / "a", size), make_source(tmp_path / "b", size)
    store, driver = Store(root), Driver()
    put_live(store, NAME, first)
    put_live(store, NAME, second)
    began = time.monotonic()
    versions.publish(store, NAME, first, {})
    took = time.monotonic() - began
    with Readers(root, NAME, 2, tmp_path) as readers:
        for k in range(kills):
            op = ("publish", "promote", "rollback")[k % 3]
            before, newest = versions_of(root, NAME), text_of(store.versions(NAME)[-1])
            extra = {"source": first} if op == "publish" else {"version": newest} if op == "promote" else {}
            if op == "promote":
                versions.record_verdict(store, NAME, newest, version_digest(store.folder(NAME, newest)), "PROMOTE")
            driver.run(op=op, root=root, name=NAME, kill_after=rng.uniform(0, 1.3 * (took if op == "publish" else took / 3)), **extra)
            wrong += check(root, NAME, before)
            versions.repair(store)
            wrong += check(root, NAME, before, settled=True)
            if len(before) > 6:
                versions.prune(store, NAME, keep=2)
    driver.close()
    reads, torn = readers.counts()
    return len(wrong), torn, reads


def naive(root: Path, name: str, source: Path) -> None:
    "What one would write in an afternoon: copy the candidate over what is live, then say which version it is."
    live = root / "production" / name
    if live.exists():
        shutil.rmtree(live)
    shutil.copytree(source, live)
    (root / "VERSION").write_text(hashlib.sha256((source / "bundle" / "weights.bin").read_bytes()).hexdigest())


def naive_kills(kills: int, size: int, tmp_path: Path) -> int:
    "How many of the kills leave the afternoon's code with a mix."
    rng, root = random.Random(0), tmp_path / "naive"
    sources = [make_source(tmp_path / "na", size), make_source(tmp_path / "nb", size)]
    (root / "production").mkdir(parents=True)
    naive(root, NAME, sources[0])
    began = time.monotonic()
    naive(root, NAME, sources[1])
    took, bad = time.monotonic() - began, 0
    for k in range(kills):
        pid = os.fork()
        if pid == 0:
            naive(root, NAME, sources[k % 2])
            os._exit(0)
        time.sleep(rng.uniform(0, 1.3 * took))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(pid, 0)
        weights = root / "production" / NAME / "bundle" / "weights.bin"
        told = (root / "VERSION").read_text()
        if not weights.exists() or not (weights.parent / "model.json").exists() or hashlib.sha256(weights.read_bytes()).hexdigest() != told:
            bad += 1
            naive(root, NAME, sources[k % 2])
    return bad


def test_K3_sample(tmp_path):
    wrong, torn, reads = random_kills(12, 200_000, tmp_path)
    assert (wrong, torn) == (0, 0) and reads > 0


@pytest.mark.slow
def test_K3_random_kills_and_their_control(tmp_path):
    wrong, torn, reads = random_kills(200, 20_000_000, tmp_path)
    bad = naive_kills(200, 20_000_000, tmp_path)
    print(f"K3: 200 kills, {wrong} violations, {torn} torn of {reads} reads; the control has {bad} of 200")
    assert (wrong, torn) == (0, 0) and bad >= 50


def promote_many(root: str, source: str, times: int, told: str, threads: int = 0) -> None:
    "A process that publishes and promotes; its waits for the lock are noted."
    store, waits = Store(Path(root)), []

    def work() -> None:
        for _ in range(times):
            put_live(store, NAME, Path(source))
            began = time.monotonic()
            with locked(store):
                waits.append(time.monotonic() - began)

    if threads:
        crowd = [threading.Thread(target=work) for _ in range(threads)]
        for t in crowd:
            t.start()
        for t in crowd:
            t.join()
    else:
        work()
    Path(told).write_text(json.dumps(waits))


def roll_back_often(root: str, stop: str) -> None:
    store = Store(Path(root))
    while not os.path.exists(stop):
        try:
            versions.rollback(store, NAME)
        except LineupIQError:
            pass
        time.sleep(0.02)


def crowd(tmp_path: Path, processes: int, times: int, method: str = "spawn", threads: int = 0, seconds: float = 0) -> dict:
    "Promoters, readers and one who rolls back, all at once."
    root, source, context = tmp_path / "models", make_source(tmp_path / "source", 500), multiprocessing.get_context(method)
    store = Store(root)
    put_live(store, NAME, source)
    with Readers(root, NAME, 2, tmp_path) as readers:
        undo = context.Process(target=roll_back_often, args=(str(root), str(tmp_path / "stop")))
        undo.start()
        began = time.monotonic()
        workers = [
            context.Process(target=promote_many, args=(str(root), str(source), times, str(tmp_path / f"w{i}"), threads))
            for i in range(processes)
        ]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        took = time.monotonic() - began
        time.sleep(max(0, seconds - took))
    undo.join(30)
    waits = sorted(w for i in range(processes) for w in json.loads((tmp_path / f"w{i}").read_text()))
    numbers = [tuple(map(int, r["version"].split("."))) for r in records(root) if r["op"] == "publish"]
    reads, torn = readers.counts()
    return {
        "numbers": numbers,
        "promotes": sum(r["op"] == "promote" for r in records(root)) - 1,
        "seconds": took,
        "reads": reads,
        "torn": torn,
        "p99": waits[int(0.99 * (len(waits) - 1))],
        "wrong": check(root, NAME, {}),
    }


def whole(found: dict, count: int) -> None:
    assert found["numbers"] == [(1, k, 0) for k in range(count + 1)], "versions are distinct and without gaps"
    assert found["torn"] == 0 and not found["wrong"] and found["p99"] < 5


def test_C1_sample(tmp_path):
    whole(crowd(tmp_path, 3, 5), 15)


@pytest.mark.slow
def test_C1_promoters(tmp_path):
    found = crowd(tmp_path, 8, 50, seconds=60)
    print(
        f"C1: 400 promotes in {found['seconds']:.1f} s, {found['reads']} reads, {found['torn']} torn, p99 of the lock {found['p99']:.2f} s"
    )
    whole(found, 400)
    assert found["reads"] >= 100_000 and found["promotes"] / found["seconds"] >= 20


@pytest.mark.slow
def test_C3_threads_and_processes(tmp_path):
    found = crowd(tmp_path, 4, 25, method="fork", threads=4)
    print(f"C3: 400 promotes of 4 forked processes × 4 threads in {found['seconds']:.1f} s, {found['reads']} reads, {found['torn']} torn")
    whole(found, 400)


HOLD = (
    "import sys, time; from pathlib import Path; from lineupiq.store.layout import Store, locked\nwith "
    "locked(Store(Path(sys.argv[1]))):\n    print('held', flush=True); time.sleep(60)"
)


def lock_deaths(times: int, tmp_path: Path) -> float:
    "The longest wait for a lock whose holder was killed."
    worst = 0.0
    for _ in range(times):
        holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        holder.stdout.readline()
        with pytest.raises(Busy) as err, locked(Store(tmp_path), timeout=0.02):
            pass
        assert str(holder.pid) in err.value.found and err.value.exit_code == 6
        holder.kill()
        began = time.monotonic()
        with locked(Store(tmp_path), timeout=5):
            worst = max(worst, time.monotonic() - began)
        holder.wait()
        holder.stdout.close()
    return worst


def test_C2_sample(tmp_path):
    assert lock_deaths(2, tmp_path) < 0.5


@pytest.mark.slow
def test_C2_lock_death(tmp_path):
    worst = lock_deaths(100, tmp_path)
    print(f"C2: 100 holders killed, the next waited {worst * 1000:.0f} ms at most")
    assert worst < 0.5


class StoreMachine(RuleBasedStateMachine):
    "The store beside a dictionary that says what it must be."

    @initialize(folder=st.uuids())
    def begin(self, folder):
        self.root = Path(os.environ["STORE_MACHINE"]) / str(folder)
        self.store, self.source = Store(self.root / "models"), make_source(self.root / "source", 50)
        self.there, self.last, self.live, self.previous, self.staged, self.passed, self.damaged = (
            set(),
            None,
            None,
            None,
            None,
            set(),
            set(),
        )

    def teardown(self):
        if hasattr(self, "root"):
            shutil.rmtree(self.root, ignore_errors=True)

    def refused(self, call, kinds=StoreError):
        with pytest.raises(kinds):
            call()

    @rule(part=st.sampled_from(versions.VERSION_PARTS))
    def publish(self, part):
        made = versions.publish(self.store, NAME, self.source, {}, part)
        number = tuple(map(int, made.split(".")))
        i = versions.VERSION_PARTS.index(part)
        assert number == ((1, 0, 0) if self.last is None else (*self.last[:i], self.last[i] + 1, *(0,) * (2 - i)))
        self.last, self.staged = number, made
        self.there.add(made)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def validate(self, data):
        version = data.draw(st.sampled_from(sorted(self.there)))
        versions.record_verdict(self.store, NAME, version, version_digest(self.store.folder(NAME, version)), "PROMOTE")
        self.passed.add(version)

    def move(self, version):
        if version != self.live:
            self.previous, self.live = self.live or self.previous, version

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def promote(self, data):
        version = data.draw(st.sampled_from(sorted(self.there)))
        if version in self.damaged:
            return self.refused(lambda: versions.promote(self.store, NAME, version))
        if version != self.live and version not in self.passed:
            return self.refused(lambda: versions.promote(self.store, NAME, version), LineupIQError)
        assert versions.promote(self.store, NAME, version) == (version, version != self.live)
        self.move(version)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def roll_back(self, data):
        version = data.draw(st.sampled_from([None, *sorted(self.there), "99.0.0"]))
        goal = version or self.previous
        if goal is None or goal not in self.there or goal in self.damaged:
            return self.refused(lambda: versions.rollback(self.store, NAME, version))
        assert versions.rollback(self.store, NAME, version) == (goal, goal != self.live)
        self.move(goal)

    @precondition(lambda self: self.there)
    @rule()
    def archive(self):
        assert versions.archive(self.store, NAME) == self.staged
        self.staged = None

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def prune(self, data):
        version = data.draw(st.sampled_from(sorted(self.there)))
        if version in (self.live, self.previous, self.staged):
            return self.refused(lambda: versions.prune(self.store, NAME, version))
        assert versions.prune(self.store, NAME, version) == [version]
        self.there.discard(version)
        self.damaged.discard(version)

    @precondition(lambda self: self.there)
    @rule(kind=st.sampled_from(["tmp", "gone", "link", "VERSION", "torn"]))
    def crash(self, kind):
        "What a process that died leaves."
        home = self.store.root / "archive" / NAME
        if kind == "tmp":
            self.last = (*self.last[:2], self.last[2] + 1)
            (home / f".tmp-v{text_of(self.last)}-{os.urandom(4).hex()}").mkdir()
        elif kind == "gone":
            loose = sorted(self.there - {self.live, self.previous, self.staged})
            if loose:
                (home / f"v{loose[0]}").rename(home / f".gone-v{loose[0]}-{os.urandom(4).hex()}")
                self.there.discard(loose[0])
                self.damaged.discard(loose[0])
        elif kind == "link":
            os.symlink("../archive/nowhere", self.store.root / "staging" / f".{NAME}.{os.urandom(4).hex()}.tmp")
        elif kind == "VERSION":
            (self.store.root / "VERSION").write_bytes(os.urandom(9))
        else:
            with open(self.store.root / "journal.jsonl", "ab") as f:
                f.write(b'{"n": 1, "time": "2')
        versions.repair(self.store)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def corrupt(self, data):
        loose = sorted(self.there - {self.live} - self.damaged)
        if loose:
            version = data.draw(st.sampled_from(loose))
            path = self.store.folder(NAME, version) / "bundle" / "weights.bin"
            path.write_bytes(path.read_bytes()[:-1])
            self.damaged.add(version)

    @invariant()
    def agrees(self):
        if not hasattr(self, "store") or not self.there:
            return
        assert {text_of(v) for v in self.store.versions(NAME)} == self.there
        assert (self.store.linked(NAME), self.store.linked(NAME, "staging")) == (self.live, self.staged)
        state = self.store.state().get(NAME, {})
        assert (state.get("production"), state.get("staging"), state.get("previous")) == (self.live, self.staged, self.previous)


def run_machine(examples: int, steps: int, folder: Path) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    os.environ["STORE_MACHINE"] = str(folder)
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=True,
        ),
    )


def test_C4_sample(tmp_path):
    run_machine(15, 20, tmp_path)


@pytest.mark.slow
def test_C4_state_machine(tmp_path):
    run_machine(500, 50, tmp_path)
