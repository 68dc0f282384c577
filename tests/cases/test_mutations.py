"""Mutated inputs: loading and labelling end in a panel or in a refusal, and what can be told is told."""

import logging
import os
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from mutations import EVERY, Input, clean_inputs, mutated

from lineupiq.base import LineupIQError

FUZZ = int(os.environ.get("LINEUPIQ_FUZZ", "20000"))  # inputs of the long run


@pytest.fixture(scope="module")
def clean():
    return clean_inputs()


@pytest.fixture(scope="module")
def right(clean, tmp_path_factory):
    "The labels of the clean inputs."
    out = {}
    for kind, x in clean.items():
        folder = tmp_path_factory.mktemp(kind)
        x.write(folder)
        out[kind] = x.labels(folder)
    return out


class Words(logging.Handler):
    "What was said at the level of a warning."

    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


def judge(x: Input, told: bool, folder: Path, right: pd.Series) -> tuple[str, str]:
    "What became of an input: refused, same, fewer, told, or a fault and its words."
    words, log = Words(), logging.getLogger("lineupiq")
    log.addHandler(words)
    try:
        x.write(folder)
        got = x.labels(folder)
    except LineupIQError as err:
        return ("refused", str(err)) if err.exit_code in (2, 3, 4, 7) else ("code", repr(err))
    except Exception as err:
        return "raw", f"{type(err).__name__}: {err}"
    finally:
        log.removeHandler(words)
    if got.index.has_duplicates:
        return "twice", str(got.index[got.index.duplicated()][:2].tolist())
    known = right.reindex(got.index)
    new = known.isna() | (known != got)
    if not new.any():
        return ("same" if len(got) == len(right) else "fewer"), ""
    if words.said:
        return "told", words.said[0]
    return ("silent" if told else "other"), f"{int(new.sum())} of {len(got)}: {new[new].index[:2].tolist()}"


def run(seeds, clean, right, tmp: Path, kinds=EVERY) -> tuple[Counter, list]:
    "Counts by outcome, and the faults."
    seen, faults = Counter(), []
    for seed in seeds:
        x, names, told = mutated(seed, clean, kinds)
        folder = tmp / str(seed)
        folder.mkdir()
        what, why = judge(x, told, folder, right[x.kind])
        seen[what] += 1
        if what in ("raw", "code", "twice", "silent"):
            faults.append((seed, x.kind, names, what, why[:300]))
        shutil.rmtree(folder)
    return seen, faults


def test_some_mutations(clean, right, tmp_path):
    seen, faults = run(range(60), clean, right, tmp_path)
    assert not faults, faults
    assert seen["refused"] > 10 and seen["same"] > 5, seen


@pytest.mark.slow
def test_many_mutations(clean, right, tmp_path):
    seen, faults = run(range(1000, 1000 + FUZZ), clean, right, tmp_path)
    print(dict(seen))
    assert not faults, faults[:20]


@pytest.mark.slow
def test_mutations_through_the_command(clean, tmp_path, cli):
    "Five hundred of them are trained on: done, or refused with a code that says why; never a bug, never a traceback."
    seen, faults = Counter(), []
    for seed in range(100_000, 100_000 + FUZZ // 40):
        x, names, _ = mutated(seed, clean)
        folder = tmp_path / str(seed)
        folder.mkdir()
        x.write(folder)
        about = {"bars": ["bars", "--path", folder, "--horizon", 5], "nfl": ["nfl-games", "--path", folder]}.get(
            x.kind, [folder / "table.yaml"]
        )
        said = cli("train", "--data", *about, "--model", "ridge" if x.kind in ("table", "history") else "logistic", output=folder / "out")
        seen[said.code] += 1
        if said.code not in (0, 2, 3, 4, 7, 10) or "Traceback" in said.err:
            faults.append((seed, x.kind, names, said.code, said.err[-300:]))
        shutil.rmtree(folder)
    print(dict(seen))
    assert not faults, faults[:20]
