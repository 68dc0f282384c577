"""Splitters against brute force, scikit-learn and their own rules."""

import time
import tracemalloc
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from lineupiq.base import DataError
from lineupiq.checks.findings import check_splitter
from lineupiq.cv import CombinatorialPurged, PurgedKFold, WalkForward, WalkForwardBlocks, holdout, walk_forward_seasons


def random_panel(rng, groups=True):
    "Times with ties, label spans, sometimes groups of whole times, rows in any order."
    n, days = int(rng.integers(30, 90)), int(rng.integers(12, 40))
    times = rng.integers(0, days, n)
    ends = times + rng.integers(0, int(rng.integers(1, 6)), n)
    return times, ends, times // int(rng.integers(1, 3)) if groups and rng.random() < 0.5 else None


def units_of(times, groups):
    unit = times if groups is None else groups
    return unit, sorted(set(unit.tolist()))


def oracle_walk(times, ends, groups, k, size, train_size, embargo):
    "Row by row, straight from the rules."
    unit, units = units_of(times, groups)
    size = size or len(units) // (k + 1)
    folds = []
    for i in range(k):
        at = len(units) - (k - i) * size
        tested, allowed = set(units[at : at + size]), set(units[:at] if train_size is None else units[max(0, at - train_size) : at])
        test = [r for r in range(len(times)) if unit[r] in tested]
        cut = min(times[r] for r in test)
        train = [r for r in range(len(times)) if unit[r] in allowed and ends[r] + embargo < cut]
        folds.append((set(train), set(test)))
    return folds


def oracle_two_sided(times, ends, groups, n_blocks, n_test, embargo):
    "Every pair of a training row and a block, straight from the rules."
    unit, units = units_of(times, groups)
    parts = [set(p.tolist()) for p in np.array_split(np.array(units), n_blocks)]
    folds = []
    for chosen in combinations(range(n_blocks), n_test):
        blocks = [[r for r in range(len(times)) if unit[r] in parts[j]] for j in chosen]
        tested = {r for block in blocks for r in block}
        spans = [(min(times[r] for r in b), max(ends[r] for r in b)) for b in blocks]

        def free(r, spans=spans, tested=tested):
            return r not in tested and all(ends[r] < a or times[r] > b + embargo for a, b in spans)

        folds.append(({r for r in range(len(times)) if free(r)}, tested))
    return folds


def as_sets(folds):
    return [(set(f.train.tolist()), set(f.test.tolist())) for f in folds]


def test_equal_to_brute_force_on_200_panels():
    rng, compared = np.random.default_rng(0), 0
    for _ in range(200):
        times, ends, groups = random_panel(rng)
        k, embargo = int(rng.integers(2, 5)), int(rng.integers(0, 3))
        size, train_size = [None, 2][int(rng.integers(2))], [None, 3, 6][int(rng.integers(3))]
        n_units = len(units_of(times, groups)[1])
        if n_units > k * (size or 1):
            want = oracle_walk(times, ends, groups, k, size, train_size, embargo)
            walk = WalkForward(times, ends, groups, n_splits=k, test_size=size, train_size=train_size, embargo=embargo)
            if all(train for train, _ in want):
                assert as_sets(walk.folds()) == want
                compared += 1
            else:
                with pytest.raises(DataError, match="training rows"):
                    walk.folds()
        want = oracle_two_sided(times, ends, groups, 5, 2, embargo)
        splitter = CombinatorialPurged(times, ends, groups, n_blocks=5, n_test=2, embargo=embargo)
        if all(train for train, _ in want):
            assert as_sets(splitter.folds()) == want
        want = oracle_two_sided(times, ends, groups, k, 1, embargo)
        if all(train for train, _ in want):
            assert as_sets(PurgedKFold(times, ends, groups, n_splits=k, embargo=embargo).folds()) == want
    assert compared > 120


def test_rules_hold_on_1000_panels():
    "Property D-split: purge and embargo in every fold, disjoint, whole units, every kind of splitter."
    rng, tried = np.random.default_rng(1), 0
    for _ in range(1000):
        times, ends, groups = random_panel(rng)
        k, embargo = int(rng.integers(2, 5)), int(rng.integers(0, 3))
        stamp = pd.Timestamp("2020-01-01") if rng.random() < 0.3 and groups is None else None
        given = (times, ends) if stamp is None else (stamp + pd.to_timedelta(times, "D"), stamp + pd.to_timedelta(ends, "D"))
        distance = embargo if stamp is None else pd.Timedelta(days=embargo)
        kinds = [
            (lambda t, e, g=None: WalkForward(t, e, g, n_splits=k, embargo=distance), True),
            (lambda t, e, g=None: PurgedKFold(t, e, g, n_splits=k, embargo=distance), False),
        ]
        factory, past_only = kinds[int(rng.integers(2))]
        try:
            factory(*given, groups).folds()
        except DataError:
            continue  # a purge that leaves nothing is refused, never returned
        found = check_splitter(factory, *given, groups, past_only=past_only, embargo=distance)
        assert {f.verdict for f in found} == {"pass"}
        tried += 1
    assert tried > 700


def test_classes_are_checked_on_random_labels():
    "All folds that come out hold two classes; the others are refused."
    rng, refused = np.random.default_rng(2), 0
    for _ in range(300):
        times, ends, _ = random_panel(rng, groups=False)
        y = (rng.random(len(times)) < rng.choice([0.05, 0.3, 0.5])).astype(int)
        try:
            folds = WalkForward(times, ends, n_splits=3).folds(y)
        except DataError as error:
            refused += "has only class" in str(error)
            continue
        assert all(len(set(y[f.train])) == 2 == len(set(y[f.test])) for f in folds)
    assert refused > 20


@pytest.mark.parametrize("k, size, gap, limit", [(5, None, 0, None), (3, 7, 0, None), (4, None, 5, None), (2, 10, 0, 20), (9, 3, 1, None)])
def test_scikit_learn_is_the_special_case(k, size, gap, limit):
    from sklearn.model_selection import TimeSeriesSplit

    for n in (60, 101, 237):
        ours = WalkForward(np.arange(n), n_splits=k, test_size=size, embargo=gap, train_size=limit)
        theirs = TimeSeriesSplit(k, test_size=size, gap=gap, max_train_size=limit)
        X = np.zeros((n, 1))
        for (a, b), (c, d) in zip(ours.split(X), theirs.split(X), strict=True):
            assert np.array_equal(a, c) and np.array_equal(b, d)


@pytest.fixture(scope="module")
def anchor():
    day = np.repeat(np.arange(500), 20)
    return day, day + np.random.default_rng(0).integers(1, 21, size=day.size)


@pytest.mark.parametrize("shuffled", [False, True])
def test_anchor_33949_rows(anchor, shuffled):
    day, ends = anchor
    if shuffled:
        order = np.random.default_rng(3).permutation(len(day))
        day, ends = day[order], ends[order]
    folds = WalkForward(day, ends, n_splits=5, test_size=50).folds()
    assert sum(len(f.train) for f in folds) == 33_949
    assert sum((ends[f.train] >= day[f.test].min()).sum() for f in folds) == 0
    assert sum(np.isin(day[f.train], day[f.test]).sum() for f in folds) == 0
    assert [f.manifest.rows_test for f in folds] == [1000] * 5


def test_purgedcv_keeps_labels_that_end_on_the_cut(anchor):
    purgedcv = pytest.importorskip("purgedcv", reason="purgedcv is not installed (extra: test)")
    day, ends = anchor
    t, e = pd.Timestamp("2020-01-01") + pd.to_timedelta(day, "D"), pd.Timestamp("2020-01-01") + pd.to_timedelta(ends, "D")
    splitter = purgedcv.WalkForwardSplit(5, 1000, prediction_times=pd.Series(t), evaluation_times=pd.Series(e))
    theirs = list(splitter.split(np.zeros((len(t), 1))))
    ours = WalkForward(t, e, n_splits=5, test_size=50).folds()
    assert sum(len(train) for train, _ in theirs) == 34_058
    for f, (train, test) in zip(ours, theirs, strict=True):
        assert np.array_equal(f.test, test) and set(f.train) <= set(train.tolist())
        extra = np.setdiff1d(train, f.train)
        assert (ends[extra] == day[f.test].min()).all()


def test_time_zones_units_and_numbers_give_the_same_folds(anchor):
    day, ends = anchor
    start = pd.Timestamp("2020-01-01", tz="US/Eastern")
    stamp = lambda d: start.tz_convert("UTC") + pd.to_timedelta(d, "D")  # noqa: E731
    plain = WalkForward(day, ends, embargo=3).folds()
    forms = [
        (stamp(day), stamp(ends)),
        (pd.Series(stamp(day).tz_convert("US/Eastern")), pd.Series(stamp(ends))),
        (stamp(day).tz_localize(None).to_numpy().astype("M8[s]"), stamp(ends).tz_localize(None).to_numpy().astype("M8[ms]")),
    ]
    for t, e in forms:
        for f, g in zip(plain, WalkForward(t, e, embargo="3D").folds(), strict=True):
            assert f.manifest.digest == g.manifest.digest


def test_unlabelled_rows_never_train():
    rng = np.random.default_rng(4)
    for _ in range(50):
        times, ends, groups = random_panel(rng)
        missing = np.where(rng.random(len(times)) < 0.2, np.nan, ends)
        for unlabelled in (False, True):
            try:
                folds = WalkForward(times, missing, groups, n_splits=2, unlabelled=unlabelled).folds()
            except DataError:
                continue
            assert not any(np.isnan(missing[f.train]).any() for f in folds)
            if not unlabelled:
                assert not any(np.isnan(missing[f.test]).any() for f in folds)


def test_holdout_on_random_panels():
    rng, done = np.random.default_rng(5), 0
    for _ in range(300):
        times, ends, groups = random_panel(rng)
        embargo = int(rng.integers(0, 2))
        try:
            f = holdout(times, ends, groups, embargo=embargo)
        except DataError:
            continue
        assert ends[f.train].max() + embargo < times[f.val].min() and ends[f.val].max() + embargo < times[f.test].min()
        parts = np.concatenate([f.train, f.val, f.test])
        assert len(set(parts.tolist())) == len(parts) == len(times) - f.purged - f.embargoed
        unit = units_of(times, groups)[0]
        assert not set(unit[f.train]) & set(unit[f.test]) and not set(unit[f.val]) & set(unit[f.test])
        done += 1
    assert done > 200


def test_seasons_and_dates_agree():
    stamps = pd.date_range("2018-01-01", "2021-12-31 23:00", freq="6h")
    by_season = walk_forward_seasons(stamps, stamps + pd.Timedelta("1D"), stamps.year, 2019, 2021).folds()
    blocks = [(f"{y}-01-01", f"{y}-12-31") for y in (2019, 2020, 2021)]
    by_date = WalkForwardBlocks(stamps, stamps + pd.Timedelta("1D"), blocks=blocks).folds()
    assert [f.manifest.digest for f in by_season] == [f.manifest.digest for f in by_date]
    rolling = WalkForwardBlocks(stamps, blocks=blocks, train_size="365D").folds()[1]
    assert stamps[rolling.train].min() == pd.Timestamp("2019-01-01")


def test_cross_val_score_and_grid_search(anchor):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_val_score

    day, ends = anchor
    rng = np.random.default_rng(6)
    X = pd.DataFrame(rng.normal(size=(len(day), 2)), columns=["a", "b"])
    y = (X["a"] + rng.normal(size=len(day)) > 0).astype(int)
    walk = WalkForward(day, ends, n_splits=3)
    assert len(cross_val_score(LogisticRegression(), X, y, cv=walk)) == 3
    assert GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=walk).fit(X, y).n_splits_ == 3


def test_a_million_rows_are_quick_and_small():
    "Reference: 9 ms and 27 MB beyond the input on an idle core; the bound leaves room for a busy machine."
    rng = np.random.default_rng(7)
    times = np.repeat(np.arange(50_000), 20)
    ends = times + rng.integers(1, 51, times.size)
    best = min(_seconds(lambda: WalkForward(times, ends).folds()) for _ in range(5))
    tracemalloc.start()
    folds = WalkForward(times, ends).folds()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(folds) == 5 and peak < 40e6
    assert best < 0.1


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
