"""F1, F2, F3 and the tables S and A: bytes that are not what they were, and files that would run if somebody let them."""

import gzip
import io
import json
import lzma
import os
import pickle
import random
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from lineupiq.base import BadName, ConfigError, EnvironmentFault, IntegrityError, LineupIQError, NotFound, StoreError, UntrustedArtifact
from lineupiq.core.files import write_manifest
from lineupiq.models.persistence import load_model as load_joblib
from lineupiq.store import versions
from lineupiq.store.layout import Store, inside, locked, read_metadata, signature_path, verify_version, version_digest
from lineupiq.store.signing import new_key
from lineupiq.store.versions import archive, promote, prune, publish, record_verdict, repair, rollback, sign

NAME = "QB_yards"


def make_source(folder: Path) -> Path:
    (folder / "bundle").mkdir(parents=True)
    (folder / "bundle" / "weights.bin").write_bytes(random.Random(0).randbytes(3000))
    (folder / "bundle" / "model.json").write_text('{"format": 1}')
    return folder


@pytest.fixture
def store(tmp_path) -> Store:
    "A store with three versions; 1.1.0 is in production, 1.0.0 was before."
    store, source = Store(tmp_path / "models"), make_source(tmp_path / "source")
    for _ in range(3):
        publish(store, NAME, source, {"metrics": {"score": 1.0}})
    promote(store, NAME, "1.0.0", force=True, reason="first")
    promote(store, NAME, "1.1.0", force=True, reason="second")
    return store


def files_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def sealed(store: Store) -> str:
    return version_digest(store.folder(NAME, "1.1.0"))


def flipped(good: bytes, at: int) -> bytes:
    "The same bytes with one bit turned."
    bad = bytearray(good)
    bad[at // 8] ^= 1 << at % 8
    return bytes(bad)


def noticed(store: Store, known: str) -> bool:
    """Whether a check that parses nothing but the manifest refuses the version, or its digest is not the known one, which is what promote
    compares."""
    try:
        verify_version(store, NAME, "1.1.0")
        return sealed(store) != known  # a bit of the manifest that changes no digest in it changes its own
    except StoreError:
        return True


def caught_flips(store: Store, files: list[Path], count: int, seed: int) -> int:
    "How many of so many flipped bits are noticed."
    rng, caught, known = random.Random(seed), 0, sealed(store)
    for _ in range(count):
        path = rng.choice(files)
        good = path.read_bytes()
        path.write_bytes(flipped(good, rng.randrange(len(good) * 8)))
        caught += noticed(store, known)
        path.write_bytes(good)
    return caught


def test_F1_sample(store):
    folder = store.folder(NAME, "1.1.0")
    assert caught_flips(store, [folder / "manifest.json"], 150, 2) == 150
    for path in (p for p in files_of(folder) if p.name != "manifest.json"):
        good = path.read_bytes()
        for at in random.Random(3).sample(range(len(good) * 8), min(60, len(good) * 8)):
            path.write_bytes(flipped(good, at))
            with pytest.raises(IntegrityError):
                verify_version(store, NAME, "1.1.0")
        path.write_bytes(good)


@pytest.mark.slow
def test_F1_ten_thousand_bits(store):
    caught = caught_flips(store, files_of(store.folder(NAME, "1.1.0")), 10_000, 1)
    print(f"F1: {caught} of 10,000 noticed")
    assert caught == 10_000


def damages(path: Path, other: Path, rng: random.Random) -> list[bytes]:
    good = path.read_bytes()
    cut = rng.randrange(len(good))
    zeros = bytearray(good)
    zeros[cut : cut + 16] = bytes(len(zeros[cut : cut + 16]))
    return [
        good[:cut],
        b"",
        good + b"\0",
        bytes(zeros) if bytes(zeros) != good else good[:-1],
        other.read_bytes() if other.read_bytes() != good else good[:-1],
    ]


def refused_damages(store: Store, rounds: int) -> tuple[int, int]:
    folder, rng, seen, caught, known = store.folder(NAME, "1.1.0"), random.Random(4), 0, 0, sealed(store)
    files = files_of(folder)
    for _ in range(rounds):
        path = rng.choice(files)
        good = path.read_bytes()
        for bad in damages(path, rng.choice([f for f in files if f != path]), rng):
            path.write_bytes(bad)
            seen += 1
            caught += noticed(store, known)
        path.write_bytes(good)
    return caught, seen


def test_F2_sample(store):
    caught, seen = refused_damages(store, 12)
    assert caught == seen == 60


@pytest.mark.slow
def test_F2_a_thousand_damages(store):
    caught, seen = refused_damages(store, 200)
    print(f"F2: {caught} of {seen} refused")
    assert caught == seen == 1000


class Evil:
    "Something that runs when it is unpickled."

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def corpus(canary: Path) -> dict[str, bytes]:
    "Files that execute something in the wrong hands."
    raw = pickle.dumps(Evil(canary))
    joblib = io.BytesIO()
    import joblib as jl

    jl.dump(Evil(canary), joblib)
    packed = {}
    for level, how in ((3, "zlib"), (3, "gzip"), (3, "lzma"), (3, "bz2")):
        out = io.BytesIO()
        jl.dump({"model": Evil(canary)}, out, compress=(how, level))
        packed[f"joblib_{how}"] = out.getvalue()
    array = io.BytesIO()
    np.save(array, np.array([Evil(canary)], dtype=object), allow_pickle=True)
    getattr_gadget = b"cbuiltins\ngetattr\n(cos\nsystem\nS'__call__'\ntR(S'touch " + str(canary).encode() + b"'\ntR."
    numpy_gadget = b"cnumpy.testing._private.utils\nrunstring\n(S'import os; os.system(\"touch " + str(canary).encode() + b"\")'\n(dtR."
    import torch

    pt = io.BytesIO()
    torch.save(Evil(canary), pt)
    return {
        "raw": raw,
        "protocol0": pickle.dumps(Evil(canary), protocol=0),
        "zlib": zlib.compress(raw),
        "gzip": gzip.compress(raw),
        "lzma": lzma.compress(raw),
        "joblib": joblib.getvalue(),
        **packed,
        "npy": array.getvalue(),
        "getattr": getattr_gadget,
        "numpy": numpy_gadget,
        "torch": pt.getvalue(),
    }


def test_F3_nothing_is_executed(tmp_path):
    "Each file under each name that a reader of ours opens, in a process whose audit hook would tell."
    canary, folder = tmp_path / "canary", tmp_path / "corpus"
    folder.mkdir()
    for name, data in corpus(canary).items():
        (folder / f"{name}.bin").write_bytes(data)
    script = f"""
import hashlib, json, shutil, sys
from pathlib import Path
import joblib, numpy, safetensors.numpy, skops.io, torch, xgboost, lightgbm, catboost, sklearn.linear_model
from lineupiq.base import LineupIQError
from lineupiq.core.files import write_manifest
from lineupiq.models.persistence import load_model
from lineupiq.registry import load_model as load_any, registry
from lineupiq.training.fitting import load_bundle
registry()
hits = []
def hook(event, args):
    if event in ("os.system", "subprocess.Popen", "os.exec", "socket.connect"): hits.append((event, str(args)[:80]))
sys.addaudithook(hook)
folder, box = Path({str(folder)!r}), Path({str(tmp_path)!r}) / "box"
tried = refused = 0
for path in sorted(folder.iterdir()):
    data = path.read_bytes()
    # the joblib door, with a manifest that vouches for the bytes
    box.mkdir(exist_ok=True); (box / "QB_yards.joblib").write_bytes(data)
    (box / "QB_yards.manifest.json").write_text(json.dumps({{"format": 1, "position": "QB", "target": "yards", "sha256": [hashlib.sha256(data).hexdigest()]}}))
    tried += 1
    try: load_model("QB", "yards", box)
    except LineupIQError: refused += 1
    shutil.rmtree(box)
    # a model's folder, with each native file replaced by it and sealed again
    for model, native in (("logistic", "model.skops"), ("xgboost", "model.ubj"), ("lightgbm", "model.txt"), ("catboost", "model.cbm"), ("lstm", "model.safetensors"), ("random_forest", "model.skops")):
        home = box / "model"; home.mkdir(parents=True); (home / native).write_bytes(data)
        cls = registry().get_model(model)
        (home / "model.json").write_text(json.dumps({{"format": 1, "model": f"{{cls.family}}:{{cls.name}}", "class": cls.__name__, "task": "binary", "config": {{}}, "feature_columns": ["a"], "input_columns": ["a"],
            "width": None, "positional": False, "constant_columns": [], "classes": [0, 1], "metrics": {{"train_loss": 0.0}}}}))
        write_manifest(home)
        tried += 1
        try: load_any(home)
        except Exception as err: refused += 1
        shutil.rmtree(box)
print(json.dumps({{"tried": tried, "refused": refused, "hits": hits}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(list(folder.iterdir())) >= 12 and told["tried"] == 7 * len(list(folder.iterdir()))
    assert told["hits"] == [] and not canary.exists(), told["hits"][:3]
    assert told["refused"] == told["tried"]


def test_S1_names(store, tmp_path):
    for bad in ("../../etc/passwd", "/abs", "a\x00b", "", "..", "-rf", "QB points", "QB\n", "ＱＢ", "x" * 300):
        for call in (lambda s, n: publish(s, n, tmp_path / "source", {}), promote, rollback, archive, prune, lambda s, n: s.linked(n)):
            with pytest.raises(BadName) as err:
                call(store, bad)
            assert err.value.exit_code == 2


def test_S2_paths_stay_inside(store):
    for parts in (("archive", "/etc/passwd"), ("archive", "..", "..", "etc")):
        with pytest.raises(UntrustedArtifact):
            inside(store.root, *parts)


def test_S3_links(store, tmp_path):
    home = store.root / "archive" / NAME
    os.symlink("/etc/hostname", home / "v1.0.0" / "bundle" / "link")
    with pytest.raises(UntrustedArtifact):
        verify_version(store, NAME, "1.0.0")
    shutil.rmtree(home / "v1.0.0")
    os.symlink(tmp_path, home / "v1.0.0")
    with pytest.raises(UntrustedArtifact):
        store.versions(NAME)


def test_S4_files_beside_the_manifest(store):
    folder = store.folder(NAME, "1.1.0")
    (folder / "extra").write_text("x")
    with pytest.raises(IntegrityError) as err:
        verify_version(store, NAME, "1.1.0")
    assert err.value.exit_code == 4
    (folder / "extra").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    for odd in ("../x", "/etc/passwd"):
        (folder / "manifest.json").write_text(
            json.dumps({**manifest, "files": {**manifest["files"], odd: {"sha256": "0" * 64, "bytes": 0}}})
        )
        with pytest.raises(IntegrityError):
            verify_version(store, NAME, "1.1.0")


def test_S6_names_that_differ_in_case(store, tmp_path):
    with pytest.raises(BadName):
        publish(store, "qb_yards", tmp_path / "source", {})


def test_S9_VERSION_is_rebuilt(store):
    path = store.root / "VERSION"
    for bad in (None, b"", b"\xff\x00", b"QB_yards: 0.1.0\n"):
        path.unlink() if bad is None else path.write_bytes(bad)
        repair(store)
        assert path.read_text() == f"{NAME}: 1.2.0\n"


def test_S10_damaged_metadata(store, tmp_path):
    folder = store.folder(NAME, "1.2.0")
    path = folder / "model_v1.2.0_metadata.json"
    for bad in (path.read_bytes()[:20], b'{"schema": 1, "version": "1.2.0", "x": NaN}', b'{"schema": 9, "version": "1.2.0"}'):
        path.write_bytes(bad)
        (folder / "manifest.json").unlink()
        write_manifest(folder, {"name": NAME, "version": "1.2.0"})
        with pytest.raises(IntegrityError):
            read_metadata(store, NAME, "1.2.0")
    assert promote(store, NAME, "1.0.0", force=True, reason="the others are usable") == ("1.0.0", True)


def test_S11_a_link_to_nowhere(store):
    shutil.rmtree(store.folder(NAME, "1.1.0"))
    with pytest.raises(IntegrityError, match="lineupiq rollback") as err:
        store.linked(NAME)
    assert err.value.exit_code == 4
    assert rollback(store, NAME, "1.0.0") == ("1.0.0", True)


def test_S12_rollback(store):
    with pytest.raises(NotFound, match="did you mean") as err:
        rollback(store, NAME, "1.0.1")
    assert err.value.exit_code == 4
    victim = store.folder(NAME, "1.0.0") / "bundle" / "weights.bin"
    good = victim.read_bytes()
    victim.write_bytes(good[:-1])
    with pytest.raises(IntegrityError):
        rollback(store, NAME, "1.0.0")
    victim.write_bytes(good)
    lines = len(store.journal.read())
    assert rollback(store, NAME, "1.1.0") == ("1.1.0", False) and len(store.journal.read()) == lines


def test_S16_a_lock_that_is_held(store):
    import threading

    done = []

    def second():
        with pytest.raises(LineupIQError) as err:
            promote(store, NAME, "1.0.0", force=True, reason="x", timeout=0.05)
        done.append(err.value)

    with locked(store):
        t = threading.Thread(target=second)
        t.start()
        t.join()
    assert done[0].exit_code == 6 and str(os.getpid()) in done[0].found


def test_S17_what_is_in_use_stays(store):
    for version in ("1.1.0", "1.0.0", "1.2.0"):  # in production, before that, in staging
        with pytest.raises(StoreError) as err:
            prune(store, NAME, version)
        assert err.value.exit_code == 4
    assert prune(store, NAME, keep=0) == []


def test_S18_what_was_validated_is_what_is_promoted(store):
    record_verdict(store, NAME, "1.2.0", sealed_of(store, "1.2.0"), "PROMOTE")
    folder = store.folder(NAME, "1.2.0")
    (folder / "bundle" / "weights.bin").write_bytes(b"other")
    (folder / "manifest.json").unlink()
    write_manifest(folder, {"name": NAME, "version": "1.2.0"})
    with pytest.raises(IntegrityError, match="not what was published") as err:
        promote(store, NAME)
    assert err.value.exit_code == 4 and store.linked(NAME) == "1.1.0"


def sealed_of(store: Store, version: str) -> str:
    return version_digest(store.folder(NAME, version))


def test_A9_A11_versions_that_were_swapped_or_renamed(store):
    home = store.root / "archive" / NAME
    (home / "v1.0.0").rename(home / "x")
    (home / "v1.2.0").rename(home / "v1.0.0")
    (home / "x").rename(home / "v1.2.0")
    for version in ("1.0.0", "1.2.0"):
        with pytest.raises(IntegrityError, match="another name or number"):
            verify_version(store, NAME, version)
    shutil.copytree(home / "v1.1.0", store.root / "archive" / "RB_yards" / "v1.1.0")
    with pytest.raises(IntegrityError, match="another name or number"):
        verify_version(store, "RB_yards", "1.1.0")


@pytest.fixture
def signed(store, tmp_path, monkeypatch):
    "A store whose version 1.1.0 is signed, read by somebody who demands it."
    public, _ = new_key(tmp_path / "keys" / "mine")
    sign(store, NAME, "1.1.0", public.with_suffix(""))
    monkeypatch.setenv("LINEUPIQ_TRUSTED_KEYS", str(public))
    return store


def test_A10_signatures_that_are_demanded(signed, tmp_path, monkeypatch):
    assert verify_version(signed, NAME, "1.1.0")["version"] == "1.1.0"
    with pytest.raises(UntrustedArtifact, match="without a signature") as err:  # absent
        verify_version(signed, NAME, "1.0.0")
    assert err.value.exit_code == 4
    with pytest.raises(UntrustedArtifact):
        versions.promote(signed, NAME, "1.0.0", force=True, reason="no")
    wrong, _ = new_key(tmp_path / "keys" / "theirs")
    sign(signed, NAME, "1.0.0", wrong.with_suffix(""))
    with pytest.raises(UntrustedArtifact, match="nobody who is trusted"):  # another key
        verify_version(signed, NAME, "1.0.0")
    (signed.folder(NAME, "1.1.0") / "extra").write_text("x")
    with pytest.raises(IntegrityError, match="do not match the manifest"):  # an extra file
        verify_version(signed, NAME, "1.1.0")
    (signed.folder(NAME, "1.1.0") / "extra").unlink()
    write_manifest(signed.folder(NAME, "1.1.0"), {"name": NAME, "version": "1.1.0", "note": "sealed again by somebody without the key"})
    with pytest.raises(IntegrityError, match="not of this version"):
        verify_version(signed, NAME, "1.1.0")


def test_A11_a_signed_version_under_another_number(signed):
    home = signed.root / "archive" / NAME
    shutil.copytree(home / "v1.1.0", home / "v1.9.0")
    shutil.copy(signature_path(signed, NAME, "1.1.0"), signature_path(signed, NAME, "1.9.0"))
    with pytest.raises(IntegrityError, match="another name or number"):
        verify_version(signed, NAME, "1.9.0")
    write_manifest(home / "v1.9.0", {"name": NAME, "version": "1.9.0"})  # its name mended, by somebody without the key
    with pytest.raises(IntegrityError, match="not of this version"):
        verify_version(signed, NAME, "1.9.0")


def test_signed_while_published(store, tmp_path, monkeypatch):
    public, _ = new_key(tmp_path / "keys" / "mine")
    monkeypatch.setenv("LINEUPIQ_SIGNING_KEY", str(public.with_suffix("")))
    monkeypatch.setenv("LINEUPIQ_TRUSTED_KEYS", str(public))
    version = publish(store, NAME, tmp_path / "source", {})
    assert verify_version(store, NAME, version)["version"] == version
    public.with_suffix("").chmod(0o644)
    before = store.versions(NAME)
    with pytest.raises(ConfigError, match="others can read"):  # before anything is written
        publish(store, NAME, tmp_path / "source", {})
    assert store.versions(NAME) == before and not list((store.root / "archive" / NAME).glob(".tmp*"))


def test_A6_nothing_is_loaded_from_a_tracker():
    for path in Path(versions.__file__).parent.rglob("*.py"):
        text = path.read_text()
        assert not any(
            f"{word}.load_model" in text for word in ("mlflow", "mlflow.pyfunc", "mlflow.sklearn", "mlflow.xgboost", "mlflow.pytorch")
        ), path


def test_a_pickle_beside_a_manifest_is_refused(tmp_path):
    canary = tmp_path / "canary"
    import hashlib

    data = pickle.dumps(Evil(canary))
    (tmp_path / "QB_yards.joblib").write_bytes(data)
    (tmp_path / "QB_yards.manifest.json").write_text(
        json.dumps({"format": 1, "position": "QB", "target": "yards", "sha256": [hashlib.sha256(data).hexdigest()]})
    )
    with pytest.raises(UntrustedArtifact):
        load_joblib("QB", "yards", tmp_path)
    assert not canary.exists()


def nobody(root: Path, code: str) -> subprocess.CompletedProcess:
    "Run as a user who owns nothing."
    return subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-c", code, str(root)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": "/tmp"},
    )


REFUSED = (
    "import sys; from pathlib import Path\nfrom lineupiq.store.layout import Store\nfrom lineupiq.store import versions\nfrom "
    "lineupiq.base import LineupIQError\n"
    "try: versions.promote(Store(Path(sys.argv[1])), 'QB_yards', '1.0.0', force=True, reason='x')\nexcept LineupIQError as err: "
    "print(err); sys.exit(err.exit_code)"
)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="SKIP: needs root and setpriv")
def test_X2_without_permission(store, tmp_path):
    probe = nobody(tmp_path, "import lineupiq.store.versions")
    if probe.returncode:
        pytest.skip("SKIP: another user cannot read this installation")
    for path in [tmp_path, *tmp_path.parents]:
        if path == Path("/tmp"):
            break
        os.chmod(path, 0o755)
    done = nobody(store.root, REFUSED)
    assert done.returncode == 7 and str(store.root) in done.stdout, (done.stdout, done.stderr[-500:])
    assert store.linked(NAME) == "1.1.0"


def can_mount() -> bool:
    return (
        os.geteuid() == 0
        and subprocess.run(
            ["sh", "-c", "d=$(mktemp -d) && mount -t tmpfs -o size=1m tmpfs $d && umount $d"], capture_output=True, check=False
        ).returncode
        == 0
    )


@pytest.mark.skipif(not can_mount(), reason="SKIP: may not mount here")
def test_X1_a_small_disk_and_X2_a_read_only_one(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=True)
    try:
        store, source, big = Store(disk / "models"), make_source(tmp_path / "s"), make_source(tmp_path / "b")
        (big / "bundle" / "weights.bin").write_bytes(os.urandom(4_000_000))
        publish(store, NAME, source, {})
        promote(store, NAME, force=True, reason="x")
        with pytest.raises(EnvironmentFault, match="MB") as err:
            publish(store, NAME, big, {})
        assert err.value.exit_code == 7 and "space" in str(err.value).lower()
        assert store.linked(NAME) == "1.0.0" and not [p for p in disk.rglob(".tmp-*")]
        assert publish(store, NAME, source, {}) in ("1.1.0", "1.2.0")  # a number that was given out may be used up
        filler = disk / "filler"
        with pytest.raises(OSError), open(filler, "wb") as f:
            while True:
                f.write(b"0" * 4096)
                f.flush()
        before = store.linked(NAME)
        for call in (
            lambda: rollback(store, NAME, "1.0.0"),
            lambda: promote(store, NAME, force=True, reason="y"),
            lambda: archive(store, NAME),
        ):
            try:
                call()
            except LineupIQError as err:
                assert err.exit_code == 7, err
        filler.unlink()
        repair(store)
        assert store.linked(NAME) is not None and before is not None
        verify_version(store, NAME, store.linked(NAME))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(EnvironmentFault) as err:
            publish(store, NAME, source, {})
        assert err.value.exit_code == 7 and str(disk) in str(err.value)
        assert store.linked(NAME)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


LIMITED = (
    "import sys; from pathlib import Path\nfrom lineupiq.store.layout import Store\nfrom lineupiq.store import versions\nfrom "
    "lineupiq.base import LineupIQError\n"
    "import resource\nkind, value = getattr(resource, sys.argv[3]), int(sys.argv[4])\nresource.setrlimit(kind, (value, value))\nimport "
    "signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "try: print(versions.publish(Store(Path(sys.argv[1])), 'QB_yards', sys.argv[2], {}))\nexcept LineupIQError as err: print(err); "
    "sys.exit(err.exit_code)\nexcept OSError as err: print(err); sys.exit(7)"
)


@pytest.mark.parametrize("limit", [("RLIMIT_NOFILE", 5), ("RLIMIT_FSIZE", 1000)])
def test_X3_limits(limit, store, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(store.root), str(tmp_path / "source"), *map(str, limit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, (done.stdout, done.stderr[-300:])
    repair(store)
    assert store.linked(NAME) == "1.1.0" and not [p for p in store.root.rglob(".tmp-*")]
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        verify_version(store, NAME, version)


def test_a_version_must_be_written_out(store):
    for bad in ("1.2", "v01.2.0", "1.2.0-rc1", "latest"):
        with pytest.raises(ConfigError):
            promote(store, NAME, bad, force=True, reason="x")
