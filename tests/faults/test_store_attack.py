"""The store under attack: a journal that cannot be written, readers beside writers, forged and odd files, lines that were removed, signals
between a change and its word."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import pytest

from lineupiq.base import EnvironmentFault, GateRejected, IntegrityError, StoreError, UntrustedArtifact
from lineupiq.core.files import write_manifest
from lineupiq.core.journal import GENESIS, head_path, line_digest, moment, state_at
from lineupiq.store.layout import Store, read_metadata, verify_version, version_digest
from lineupiq.store.published import doctor, load_published
from lineupiq.store.versions import archive, bump, promote, prune, publish, record_verdict, repair, rollback
from lineupiq.workflows.store import history_table, verify_table, version_table

NAME = "QB_yards"


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    "1.1.0 is in production, 1.0.0 was before, 1.2.0 is in staging."
    store, source = Store(tmp_path / "models"), tmp_path / "source"
    (source / "bundle").mkdir(parents=True)
    (source / "bundle" / "weights.bin").write_bytes(random.Random(0).randbytes(500))
    for _ in range(3):
        publish(store, NAME, source, {"metrics": {"metric": "mae", "score": 1.0}})
    promote(store, NAME, "1.0.0", force=True, reason="first")
    promote(store, NAME, "1.1.0", force=True, reason="second")
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(store.root))
    return store


def left_over(root: Path) -> list[str]:
    return [str(p) for p in root.rglob(".*") if p.name != ".lock"]


# --- the journal is certain before the link moves


def test_a_reason_that_is_no_text(store):
    assert promote(store, NAME, "1.2.0", force=True, reason="Z\udcfcrich") == ("1.2.0", True)
    assert store.journal.read()[-1]["reason"] == "Z\udcfcrich" and store.linked(NAME) == "1.2.0"
    assert "reason Z\udcfcrich" in history_table().iloc[-1]["detail"] and set(verify_table()["verdict"]) == {"ok"}


def test_bump_with_a_path_that_is_no_text(store, tmp_path):
    version = publish(store, NAME, tmp_path / "source", {"data": {"source": {"path": ["d\udce4r/x.csv"]}}})
    assert bump(store, NAME, "patch", version) == "1.3.1" and read_metadata(store, NAME, "1.3.1")["data"]["source"]["path"] == [
        "d\udce4r/x.csv"
    ]


LIMITED = """
import resource, sys; from pathlib import Path
from lineupiq.store.layout import Store; from lineupiq.store import versions; from lineupiq.base import LineupIQError
limit = int(sys.argv[2]); resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try: versions.promote(Store(Path(sys.argv[1])), "QB_yards", "1.2.0", force=True, reason="r" * 900)
except LineupIQError as err: print(err); sys.exit(err.exit_code)
"""


def test_a_limit_on_the_size_of_files(store):
    before = store.journal.path.read_bytes()
    for room in (0, 40, 700):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(store.root), str(len(before) + room)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 7 and "journal.jsonl" in done.stdout, (done.stdout, done.stderr)
        assert store.linked(NAME) == "1.1.0" and store.journal.path.read_bytes() == before and not left_over(store.root)
    assert set(verify_table()["verdict"]) == {"ok"}


@pytest.mark.parametrize("broken", ["folder", "pipe", "link", "device"])
def test_a_journal_that_cannot_be_written(store, tmp_path, broken):
    path = store.journal.path
    path.rename(tmp_path / "kept")
    {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to(tmp_path / "kept"),
        "device": lambda: path.symlink_to("/dev/null"),
    }[broken]()
    for call in (
        lambda: promote(store, NAME, "1.2.0", force=True, reason="x"),
        lambda: rollback(store, NAME),
        lambda: archive(store, NAME),
        lambda: prune(store, NAME),
        lambda: publish(store, NAME, tmp_path / "source", {}),
    ):
        with pytest.raises(UntrustedArtifact, match="journal.jsonl") as err:
            call()
        assert err.value.exit_code == 4
    assert set(verify_table()["verdict"]) == {"ok", "damaged"}
    with pytest.raises(UntrustedArtifact):
        history_table()
    assert os.readlink(store.root / "production" / NAME).endswith("v1.1.0")


def test_what_fails_after_the_change_says_that_it_was_made(store):
    (store.root / "metadata.json").unlink()
    (store.root / "metadata.json").mkdir()
    with pytest.raises(EnvironmentFault, match="production of QB_yards is 1.2.0 now, but: cannot write") as err:
        promote(store, NAME, "1.2.0", force=True, reason="x")
    assert (
        err.value.exit_code == 7 and "need not be repeated" in err.value.fix and store.linked(NAME) == "1.2.0" and not left_over(store.root)
    )
    (store.root / "metadata.json").rmdir()
    assert promote(store, NAME, "1.2.0", force=True, reason="x") == ("1.2.0", False)


def test_what_the_disk_refuses_is_taken_back(store, monkeypatch):
    monkeypatch.setattr("lineupiq.store.recovery.os.symlink", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EnvironmentFault, match="cannot write"):
        promote(store, NAME, "1.2.0", force=True, reason="x")
    monkeypatch.undo()
    assert (
        store.linked(NAME) == "1.1.0"
        and store.state()[NAME] == {"production": "1.1.0", "staging": "1.2.0", "previous": "1.0.0"}
        and not left_over(store.root)
    )
    assert rollback(store, NAME) == ("1.0.0", True)


# --- readers never cry wolf

WRITERS = {
    "publish": lambda s, d: publish(s, NAME, d / "source", {}),
    "archive": lambda s, d: archive(s, NAME),
    "prune": lambda s, d: prune(s, NAME),
    "repair": lambda s, d: repair(s),
    "validate": lambda s, d: record_verdict(s, NAME, "1.2.0", version_digest(s.folder(NAME, "1.2.0")), "REJECT"),
    "rollback": lambda s, d: rollback(s, NAME, "1.2.0"),
    "bump": lambda s, d: bump(s, NAME),
}


@pytest.mark.parametrize("writer", list(WRITERS))
def test_a_kill_between_line_and_link_is_pending_and_not_damage(store, tmp_path, writer, monkeypatch, cli):
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(store.root))
    store.journal.append(
        "promote",
        {"name": NAME, "version": "1.2.0", "digest": version_digest(store.folder(NAME, "1.2.0")), "replaced": "1.1.0"},
        ahead=True,
    )
    found = verify_table().set_index("what")
    assert (
        found.loc[["journal", f"{NAME} production"], "verdict"].tolist() == ["pending"] * 2
        and "recovery pending" in found.loc["journal", "detail"]
    )
    assert set(found["verdict"]) == {"ok", "pending"} and store.linked(NAME) == "1.1.0"
    answer = cli("verify")
    assert answer.code == 0 and "recovery pending" in answer.out
    WRITERS[writer](store, tmp_path)
    assert store.linked(NAME) == "1.2.0" and store.state()[NAME]["previous"] == "1.1.0" and set(verify_table()["verdict"]) == {"ok"}


def test_a_link_that_somebody_moved_is_no_crash(store):
    path = store.root / "production" / NAME
    path.unlink()
    path.symlink_to(f"../archive/{NAME}/v1.0.0")
    assert verify_table().set_index("what").loc[f"{NAME} production", "verdict"] == "damaged"
    repair(store)
    assert store.linked(NAME) == "1.0.0" and store.journal.read()[-1]["op"] == "observed_production"


def false_alarms(store: Store, source: Path, looks: int, pause: float = 0.0) -> int:
    """How often a reader sees damage beside a process that publishes, promotes, rolls back, archives and prunes; without a pause between
    these, readers mostly wait for it."""
    script = f"""
import sys, time; from pathlib import Path
from lineupiq.store.layout import Store; from lineupiq.store import versions as v
store, name = Store(Path({str(store.root)!r})), {NAME!r}
while not Path({str(source / "stop")!r}).exists():
    new = v.publish(store, name, {str(source / "made")!r}, {{}})
    for act in (lambda: v.promote(store, name, new, force=True, reason="x"), lambda: v.rollback(store, name), lambda: v.archive(store, name), lambda: v.prune(store, name, keep=2)):
        time.sleep({pause}); act()
"""
    shutil.copytree(source / "bundle", source / "made" / "bundle")
    writer, bad = subprocess.Popen([sys.executable, "-c", script]), 0
    try:
        while version_table()["version"].iloc[0] == "1.2.0" and writer.poll() is None:
            pass
        for k in range(looks):
            found = (verify_table, lambda: doctor_as_verdicts(store), lambda: version_table().assign(verdict=lambda f: f["where"]))[k % 3]()
            bad += found["verdict"].astype(str).str.startswith("damaged").any()
        assert writer.poll() is None, "the writer ended before its time"
    finally:
        (source / "stop").touch()
        writer.wait(60)
    return int(bad)


def doctor_as_verdicts(store: Store):
    "Versions of this page hold no model, which is the only thing that may be said of them."
    found = doctor(store)
    return found[found["detail"] != "a model without golden predictions"]


def test_readers_beside_writers_sample(store, tmp_path):
    assert false_alarms(store, tmp_path / "source", 18) == 0


@pytest.mark.slow
def test_readers_beside_writers(store, tmp_path, monkeypatch):
    looks, found = int(os.environ.get("LOOKS", 10_000)), 0
    for k in range(0, looks, 250):  # a store afresh, or its journal grows by thousands of lines
        place = tmp_path / f"round_{k}"
        shutil.copytree(store.root, place / "models", symlinks=True)
        shutil.copytree(tmp_path / "source", place / "source")
        monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(place / "models"))
        found += false_alarms(Store(place / "models"), place / "source", min(250, looks - k), 0.03)
        shutil.rmtree(place)
    print(f"readers: {found} false alarms in {looks} looks")
    assert found == 0


# --- the manifest is what the journal says


def forge(store: Store, version: str, change) -> None:
    "Change a version's metadata and seal it again."
    folder = store.folder(NAME, version)
    path = folder / f"model_v{version}_metadata.json"
    about = change(json.loads(path.read_text()))
    path.write_text(about if isinstance(about, str) else json.dumps(about))
    (folder / "manifest.json").unlink()
    write_manifest(folder, {"name": NAME, "version": version})


def test_a_forged_and_sealed_version_is_refused_by_every_reader(store):
    forge(store, "1.2.0", lambda about: {**about, "metrics": {"metric": "mae", "skill": 0.99}})
    for call in (
        lambda: verify_version(store, NAME, "1.2.0"),
        lambda: read_metadata(store, NAME, "1.2.0"),
        lambda: load_published(store, NAME, "1.2.0"),
        lambda: promote(store, NAME, "1.2.0", force=True, reason="x"),
        lambda: rollback(store, NAME, "1.2.0"),
        lambda: bump(store, NAME, version="1.2.0"),
    ):
        with pytest.raises(IntegrityError, match="is not what was published") as err:
            call()
        assert err.value.exit_code == 4
    assert verify_table().set_index("what").loc[f"{NAME} 1.2.0", "verdict"] == "damaged" and version_table()["where"].iloc[0].startswith(
        "damaged"
    )
    repair(store)
    assert verify_table().set_index("what").loc[f"{NAME} 1.2.0", "verdict"] == "damaged"  # a writer does not heal it


def flips_noticed(store: Store, every: int) -> tuple[int, int]:
    "(noticed, all) of the bits of every JSON of a version."
    folder, seen, caught = store.folder(NAME, "1.1.0"), 0, 0
    for path in sorted(folder.rglob("*.json")):
        good = path.read_bytes()
        for bit in range(0, len(good) * 8, every):
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bad)
            seen += 1
            try:
                read_metadata(store, NAME, "1.1.0")
            except StoreError:
                caught += 1
        path.write_bytes(good)
    return caught, seen


def test_flipped_bits_sample(store):
    caught, seen = flips_noticed(store, 61)
    assert caught == seen > 50


@pytest.mark.slow
def test_every_bit_of_every_json(store):
    caught, seen = flips_noticed(store, 1)
    print(f"bits: {caught} of {seen} noticed")
    assert caught == seen


def rewrite(store: Store, change) -> None:
    "A journal as an earlier version wrote it: other lines in a whole chain, and no head."
    prev, out = GENESIS, []
    for record in store.journal.read():
        line = json.dumps({**change({k: v for k, v in record.items() if k not in ("prev", "ahead")}), "prev": prev}).encode()
        prev = line_digest(line)
        out.append(line)
    store.journal.path.write_bytes(b"\n".join(out) + b"\n")
    head_path(store.journal).unlink()


def test_old_stores_are_read_with_a_word(store):
    rewrite(store, lambda r: {k: v for k, v in r.items() if k != "digest"})
    with pytest.warns(UserWarning, match="the journal has no digest of QB_yards 1.0.0"):
        assert verify_version(store, NAME, "1.0.0")["version"] == "1.0.0"
    found = verify_table().set_index("what")
    assert set(found["verdict"]) == {"ok"} and found.loc[f"{NAME} 1.0.0", "detail"] == "the journal has no digest of it"
    assert promote(store, NAME, "1.2.0", force=True, reason="still usable") == ("1.2.0", True) and set(verify_table()["verdict"]) == {"ok"}


def test_lines_that_were_removed_are_told(store):
    digest = version_digest(store.folder(NAME, "1.2.0"))
    record_verdict(store, NAME, "1.2.0", digest, "PROMOTE")
    record_verdict(store, NAME, "1.2.0", digest, "REJECT")
    lines = store.journal.path.read_bytes().splitlines(keepends=True)
    store.journal.path.write_bytes(b"".join(lines[:-1]))
    row = verify_table().set_index("what").loc["journal"]
    assert row["verdict"] == "damaged" and f"{len(lines)} lines" in row["detail"]
    with (
        pytest.warns(UserWarning, match=f"lines {len(lines)} to {len(lines)} of the journal are lost"),
        pytest.raises(GateRejected, match="was not validated"),
    ):
        promote(store, NAME)  # the verdict that is left may not be the last one
    assert store.journal.read()[-1]["op"] == "lost_lines" and f"had {len(lines)}" in history_table().iloc[-1]["detail"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repair(store)  # said once, and written down
    record_verdict(store, NAME, "1.2.0", digest, "PROMOTE")
    assert promote(store, NAME) == ("1.2.0", True)


def test_another_journal_in_its_place_is_told(store):
    kept = head_path(store.journal).read_bytes()
    rewrite(store, lambda r: {**r, "reason": "nicer"})
    head_path(store.journal).write_bytes(kept)
    assert verify_table().set_index("what").loc["journal", "verdict"] == "damaged"
    with pytest.warns(UserWarning, match="not those that were written"):
        repair(store)


@pytest.mark.parametrize("how", ["both removed", "emptied"])
def test_a_journal_that_is_gone_with_its_head_is_told_for_good(store, cli, how):
    "Readers say so, the next writer says so and writes it down, and what was validated before counts for nothing."
    record_verdict(store, NAME, "1.2.0", version_digest(store.folder(NAME, "1.2.0")), "PROMOTE")
    head_path(store.journal).unlink()
    store.journal.path.unlink() if how == "both removed" else store.journal.path.write_bytes(b"")
    row = verify_table().set_index("what").loc["journal"]
    assert row["verdict"] == "damaged" and "the journal is missing" in row["detail"]
    # nobody who reads begins a new one
    assert cli("verify").code == cli("history").code == 4 and not store.journal.path.exists() or how == "emptied"
    with pytest.warns(UserWarning, match="the journal is lost"), pytest.raises(GateRejected, match="was not validated"):
        promote(store, NAME)
    first = store.journal.read()[0]
    assert (first["op"], first["has"]) == ("lost_lines", 0) and "3 version(s) were there, and no line" in history_table().iloc[0]["detail"]
    assert set(verify_table()["verdict"]) == {"ok"} and store.linked(NAME) == "1.1.0"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repair(store)  # said once, and written down
    assert publish(store, NAME, store.root.parent / "source", {}) == "1.3.0"


def test_a_first_version_that_was_never_finished_is_no_lost_journal(tmp_path, monkeypatch):
    "What a kill leaves before the first line: a folder, and perhaps a version under a temporary name."
    monkeypatch.setenv("LINEUPIQ_MODELS_DIR", str(tmp_path / "young"))
    young = Store(tmp_path / "young")
    (young.root / "archive" / NAME / ".tmp-v1.0.0-ab12").mkdir(parents=True)
    assert "damaged" not in set(verify_table()["verdict"]) and history_table().empty
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        repair(young)
    assert "lost_lines" not in [r["op"] for r in young.journal.read()]


# --- sealed, but odd

ODD = [
    "7",
    "null",
    "[]",
    '"text"',
    "[" * 50_000,
    "{}",
    '{"schema": 1, "version": 7}',
    '{"schema": 1, "version": "1.2.0", "date": 7}',
    '{"schema": 1, "version": "1.2.0", "metrics": [1]}',
    '{"schema": 1, "version": "1.2.0", "metrics": {"score": "x", "metric": 7, "skill": {}}}',
    '{"schema": 1, "version": "1.2.0", "lineage": 7}',
    '{"schema": 1, "version": "1.2.0", "runtime": {"versions": 7}}',
    '{"schema": 1, "version": "1.2.0", "run_id": {"a": 1}}',
]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_metadata(store, text, cli):
    forge(store, "1.2.0", lambda about: text)
    store.journal.path.unlink()
    head_path(store.journal).unlink()
    repair(store)  # which believes what it finds: from here on the bytes are those of the journal
    for argv in (
        ["verify"],
        ["verify", NAME],
        ["version", "list"],
        ["version", "show", NAME, "1.2.0"],
        ["doctor"],
        ["history"],
        ["promote", NAME, "1.2.0", "--force", "--reason", "x"],
        ["rollback", NAME, "1.0.0"],
        ["version", "bump", NAME],
        ["predict", "--model", f"{NAME}:1.2.0", "--path", "x.csv"],
        ["prune", NAME, "--keep", "0"],
        ["archive", NAME],
    ):
        answer = cli(*argv)
        assert answer.code in (0, 2, 4) and "Traceback" not in answer.err and "a bug" not in answer.err, (argv, answer.err)
        assert answer.code != 2 or argv[0] == "predict", (argv, answer.err)


ODD_BUNDLES = {
    "number": "7",
    "empty": "{}",
    "texts": '{"format": 1, "features": [{"name": 7}], "levels": {}, "about": {"task": 7}}',
    "format": '{"format": "x"}',
    "deep": "[" * 50_000,
    "about": '{"format": 1, "features": [], "levels": {}, "about": 3}',
    "date": '{"format": 1, "features": [], "levels": {}, "about": {"trained_until": "soon"}}',
    "missing": '{"format": 1, "features": [], "levels": {}, "about": {"trained_until": "2020-01-01"}}',
}


@pytest.mark.parametrize("kind", list(ODD_BUNDLES))
def test_odd_bundles(store, tmp_path, kind, cli):
    source = tmp_path / "odd"
    source.mkdir()
    (source / "bundle.json").write_text(ODD_BUNDLES[kind])
    write_manifest(source)
    version = publish(
        store,
        NAME,
        source,
        {},
        under="bundle",
        extra=lambda folder, v: (
            (folder / "golden").mkdir(),
            (folder / "golden" / "predictions.parquet").write_bytes(b"PAR1 no table PAR1"),
        ),
    )
    with pytest.raises(StoreError, match="bundle") as err:
        load_published(store, NAME, version)
    assert err.value.exit_code == 4 and str(store.root) in str(err.value)
    with pytest.raises(StoreError, match=str(store.root)):
        promote(store, NAME, version, force=True, reason="x")
    assert cli("predict", "--model", f"{NAME}:{version}").code in (2, 4) and cli("doctor", NAME).code == 4
    assert store.linked(NAME) == "1.1.0"


def test_odd_lines_of_the_journal(store, cli):
    for odd in (
        {"name": 7},
        {"name": NAME, "version": 7},
        {"name": NAME, "version": "latest"},
        {"version": "1.0.0"},
        {"name": NAME, "version": "1.2.0", "replaced": []},
    ):
        kept, last = store.journal.path.read_bytes(), store.journal.read()
        line = json.dumps(
            {"n": len(last) + 1, "time": last[-1]["time"], "op": "promote", **odd, "prev": line_digest(kept.splitlines()[-1])}
        )
        store.journal.path.write_bytes(kept + line.encode() + b"\n")
        for argv in (
            ["history"],
            ["history", "--at", "2026-01-01"],
            ["verify"],
            ["promote", NAME, "1.2.0", "--force", "--reason", "x"],
            ["rollback", NAME],
            ["prune", NAME],
        ):
            assert cli(*argv).code == 4, (odd, argv)
        store.journal.path.write_bytes(kept)


def test_a_skops_file_that_inflates(tmp_path):
    from lineupiq.classical import MAX_INFLATION, load_estimator

    bomb = tmp_path / "model.skops"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("schema.json", "{}")
        z.writestr("1.npy", b"\0" * 30_000_000)
    with pytest.raises(UntrustedArtifact, match=f"at most {MAX_INFLATION} times its size"):
        load_estimator(bomb)
    with zipfile.ZipFile(bomb, "w"):
        pass
    with pytest.raises(IntegrityError, match="not a skops file"):
        load_estimator(bomb)
    bomb.write_bytes(b"PK\3\4 nothing")
    with pytest.raises(IntegrityError, match="not a skops file"):
        load_estimator(bomb)


def test_odd_joblib_files(tmp_path):
    import hashlib
    import io

    import joblib

    from lineupiq.models.persistence import load_model

    whole = {"format": 1, "position": "QB", "target": "yards", "model_class": "XGBRegressor", "params": {}, "model": b"", "metadata": {}}
    for odd in ({}, {"params": 7}, {"params": {7: 7}}, {"model": 7}, {"model": b"{}"}, {"model_class": []}, {"format": None}, 7, []):
        out = io.BytesIO()
        joblib.dump({**whole, **odd} if isinstance(odd, dict) else odd, out)
        (tmp_path / "QB_yards.joblib").write_bytes(out.getvalue())
        for known in ([hashlib.sha256(out.getvalue()).hexdigest()], 7):
            (tmp_path / "QB_yards.manifest.json").write_text(json.dumps({"format": 1, "sha256": known}))
            with pytest.raises(StoreError, match=str(tmp_path)) as err:
                load_model("QB", "yards", tmp_path)
            assert err.value.exit_code == 4


def test_pipes_and_devices(store, tmp_path, cli):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for odd in (pipe, "/dev/zero"):
        assert cli("train", "--data", "noise-bars", "--model", "ridge", "--config", odd).code == 2
        assert cli("train", "--data", "bars", "--path", odd, "--model", "ridge").code == 3
        assert cli("config", "check", odd).code == 2
    os.mkfifo(store.folder(NAME, "1.2.0") / "bundle" / "pipe")
    with pytest.raises(UntrustedArtifact, match="a pipe or a device"):
        verify_version(store, NAME, "1.2.0")
    (store.folder(NAME, "1.2.0") / "manifest.json").unlink()
    os.mkfifo(store.folder(NAME, "1.2.0") / "manifest.json")
    with pytest.raises(StoreError):
        verify_version(store, NAME, "1.2.0")


# --- signals

STOPPED = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever began the tests may have turned it off
import lineupiq.store.versions as v
which = getattr(signal, sys.argv[2])
def late(store): os.kill(os.getpid(), which); time.sleep(5)
def early(*a): os.kill(os.getpid(), which); time.sleep(5)
if sys.argv[1] == "after": v.refresh_views = late
if sys.argv[1] == "before": v._still_answers = early
if sys.argv[1] == "between":
    import lineupiq.store.recovery as r; real = r.os.replace
    def slow(a, b): os.kill(os.getpid(), which); time.sleep(.05); real(a, b)
    v.swap_link.__globals__["os"] = type("O", (), {**vars(r.os), "replace": staticmethod(slow)})
sys.argv = ["lineupiq", "promote", "QB_yards", "1.2.0", "--force", "--reason", "x"]
from lineupiq.cli.program import main; main()
"""


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_a_signal_says_what_is_in_place(store, when, name, code):
    done = subprocess.run([sys.executable, "-c", STOPPED, when, name], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    if when == "before":
        assert "run the command again" in done.stderr and store.linked(NAME) == "1.1.0"
    else:
        assert "production of QB_yards is 1.2.0 now" in done.stderr and "run the command again" not in done.stderr
        assert store.linked(NAME) == "1.2.0" and store.state()[NAME]["production"] == "1.2.0"
    assert "damaged" not in set(verify_table()["verdict"])


# --- what else was found


def test_archive_leaves_nothing_that_names_what_is_gone(store):
    assert archive(store, NAME) == "1.2.0"
    assert json.loads((store.root / "metadata.json").read_text())[NAME]["staging"] is None


def test_an_extra_empty_folder_is_refused(store):
    (store.folder(NAME, "1.2.0") / "empty").mkdir()
    with pytest.raises(IntegrityError, match="do not match the manifest"):
        verify_version(store, NAME, "1.2.0")
    (store.folder(NAME, "1.2.0") / "empty").rmdir()
    (store.root / "archive" / NAME / "beside").mkdir()
    assert "beside" in verify_table().set_index("what").loc[f"{NAME} versions", "detail"]


def test_a_clock_that_jumped_back(store, monkeypatch):
    import lineupiq.core.journal as journal

    real = journal.datetime

    class Ahead(real):
        @classmethod
        def now(cls, tz=None):
            return real.now(tz).replace(year=2040)

    monkeypatch.setattr(journal, "datetime", Ahead)
    promote(store, NAME, "1.2.0", force=True, reason="in the future")
    monkeypatch.setattr(journal, "datetime", real)
    rollback(store, NAME, "1.0.0")
    with pytest.warns(UserWarning, match="the clock went back"):
        assert history_table(NAME, str(real.now().date()))["production"].tolist() == ["1.0.0"]
    assert state_at(store.journal.read(), moment("2039-01-01"))[NAME] == {"production": "1.0.0", "staging": "1.2.0", "previous": "1.2.0"}
    assert history_table().query("op == 'promote'")["time"].iloc[-1].startswith("2040")  # shown as the clock said it


def test_threads_do_not_see_signals(store):
    done = []
    t = threading.Thread(target=lambda: done.append(promote(store, NAME, "1.2.0", force=True, reason="x")))
    t.start()
    t.join()
    assert done == [("1.2.0", True)]
