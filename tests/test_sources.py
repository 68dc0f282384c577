"""Sources: those of installed packages, from the entry point to every command, and the battery that the library's own pass and planted
faults do not."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import refused

from lineupiq.auditing.leaks import AuditSettings, audit_leak
from lineupiq.auditing.poison import world_of
from lineupiq.auditing.sources import LEAK_CHECKS, BrokenSource, another_day, check_source
from lineupiq.base import ConfigError, DataError
from lineupiq.data.panel import Panel
from lineupiq.data.making import Cleaning, make_panel
from lineupiq.data.request import DataRequest, source_record, source_rows
from lineupiq.data.simulate import noise_bars
from lineupiq.data.sources import SOURCES, RawRows, source

BREAD = """
"Bread of shops."
from pathlib import Path
from typing import Literal

import pandas as pd

from lineupiq.base import DataError
from lineupiq.core.readers import read_table
from lineupiq.data.panel import Cleaning, Feature, Panel, make_panel
from lineupiq.data.sources import RawRows, source

Path(__file__).with_name("imported").touch()


def sales(
    path: str,  # the CSV of the tills
) -> pd.DataFrame:
    "The rows of the tills."
    return read_table(path)


@source("bread", raw=RawRows(sales, "day", ("shop",), {"loaves": "14h"}))
def bread(
    raw: pd.DataFrame,
    days: int = 7,  # of the mean
    label: Literal["loaves", "many"] = "loaves",  # the number, or whether it is above 50
) -> Panel:
    "loaves that a shop sells in a day"
    if lacking := {"day", "shop", "price", "loaves"} - set(raw):
        raise DataError("columns missing", found=", ".join(sorted(lacking)))
    f = raw.assign(time=pd.to_datetime(raw["day"]), symbol=raw["shop"].astype(str)).sort_values(["symbol", "time"])
    f["label"] = f["loaves"] if label == "loaves" else (f["loaves"] > 50).astype(float).where(f["loaves"].notna())
    f["label_end"] = (f["time"] + pd.Timedelta("14h")).where(f["loaves"].notna())
    f["week"] = f.groupby("symbol")["loaves"].transform(lambda s: s.shift(1).rolling(days, min_periods=1).mean())
    return make_panel(f, [Feature("price"), Feature("week", description="mean of the days before")], task="regression" if label == "loaves" else "binary", name="bread",
                      cleaning=Cleaning(sort=True, missing_target="upcoming"))


def none(path: str = ""):
    "no panel at all"
    return "nothing"


def falls(path: str = ""):
    "falls over"
    return {}["a key"]
"""
PACKAGES = {  # name -> (module's text, entry points)
    "lineupiq-bread": (
        "bread_source",
        BREAD,
        {"bread": "bread_source:bread", "nothing": "bread_source:none", "falls": "bread_source:falls"},
    ),
    "lineupiq-broken": ("broken_source", "import a_module_that_nobody_has\n", {"broken": "broken_source:make"}),
    "lineupiq-thief": ("thief_source", "def sp500(): 'not the index'\n", {"sp500": "thief_source:sp500"}),
    "lineupiq-exits": ("exits_source", "raise SystemExit(0)\n", {"exits": "exits_source"}),
}


def install(site, names=tuple(PACKAGES)):
    "Packages as pip leaves them: a module and the folder that says what they are."
    for name in names:
        module, text, points = PACKAGES[name]
        (site / f"{module}.py").write_text(text)
        about = site / f"{name.replace('-', '_')}-0.1.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
        (about / "entry_points.txt").write_text("[lineupiq.sources]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()))
    return site


def sales(n=220, seed=0):
    rng, days = np.random.default_rng(seed), pd.date_range("2024-01-01", periods=n)
    return pd.concat(
        [
            pd.DataFrame({"day": days.astype(str), "shop": s, "price": 3 + rng.random(n).round(2), "loaves": rng.poisson(m, n)})
            for s, m in (("inn", 55), ("mill", 45))
        ],
        ignore_index=True,
    )


def forget():
    "What is known of installed packages is looked for again."
    vars(SOURCES).pop("claims", None)
    SOURCES._done.clear()


@pytest.fixture
def own():
    "Sources that a test registers are gone afterwards."
    before = dict(SOURCES._registered)
    yield
    SOURCES._registered.clear()
    SOURCES._registered.update(before)


@pytest.fixture
def site(tmp_path, monkeypatch, own):
    "Packages in this process."
    monkeypatch.syspath_prepend(str(install(tmp_path)))
    forget()
    yield tmp_path
    for module, _, _ in PACKAGES.values():
        sys.modules.pop(module, None)
    monkeypatch.undo()
    forget()


@pytest.fixture
def tills(tmp_path):
    path = tmp_path / "tills.csv"
    sales().to_csv(path, index=False)
    return path


# --- packages ---


def test_names_are_known_without_importing_anything(site, cli):
    assert {"bread", "broken", "exits"} <= set(SOURCES) and "bread" in SOURCES
    from lineupiq.cli.program import exit_code

    assert exit_code(["train", "--help"]) == exit_code(["sources", "--help"]) == 0
    refused(cli("train", "--data", "bred", "--model", "ridge"), 2, "ConfigError", "did you mean 'bread'")
    assert not (site / "imported").exists()


def test_a_fresh_process_finds_an_installed_package(tmp_path, tills):
    env = os.environ | {"PYTHONPATH": str(install(tmp_path, ["lineupiq-bread"])), "LINEUPIQ_MODELS_DIR": str(tmp_path / "models")}
    run = lambda *a: subprocess.run([sys.executable, "-m", "lineupiq", *map(str, a)], env=env, capture_output=True, text=True, cwd=tmp_path)  # noqa: E731
    listed = {r["name"]: r for r in json.loads(run("sources", "--json").stdout)["sources"]}
    assert (
        listed["bread"] | {"package": "lineupiq-bread", "available": True, "options": ["path", "days", "label"]} == listed["bread"]
        and "league" in listed
    )
    done = run("sources", "--check", "bread", "--path", tills, "--source-option", "days=14", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["fail"] == 0, done.stderr


@pytest.mark.slow
def test_a_package_that_cannot_be_used_is_told_and_the_others_go_on(site, cli, tills):
    rows = {r["name"]: r for r in cli("sources").value["sources"]}
    for name, word in {"broken": "a_module_that_nobody_has", "exits": "SystemExit", "sp500": "registered already"}.items():
        assert not rows[name]["available"] and word in rows[name]["reason"], rows[name]
    assert rows["bread"]["available"] and rows["noise-bars"]["available"]
    refused(cli("train", "--data", "broken", "--model", "ridge"), 2, "ConfigError", "lineupiq-broken", "uninstall")
    refused(cli("train", "--data", "sp500", "--model", "logistic"), 2, "ConfigError", "lineupiq-thief", "uninstall")
    refused(cli("sources", "--check", "exits"), 2, "ConfigError", "lineupiq-exits")
    refused(cli("train", "--data", "nothing", "--model", "ridge"), 3, "DataError", "lineupiq-bread", "returned no panel")
    refused(cli("audit", "leak", "--data", "falls", "--model", "ridge"), 3, "DataError", "lineupiq-bread", "KeyError")
    assert cli("train", "--data", "bread", "--path", tills, "--model", "ridge").code == 0
    assert cli("train", "--data", "league", "--model", "logistic").code == 0


@pytest.mark.slow
def test_every_command_takes_it(site, cli, tills, tmp_path):
    flags = ("--data", "bread", "--path", tills, "--source-option", "days=14")
    trained = cli("train", *flags, "--model", "ridge")
    assert trained.code == 0, trained.err
    run = trained.runs()[-1]
    newer = sales(230)
    newer.loc[newer["day"] > "2024-08-07", "loaves"] = np.nan
    newer.to_csv(tmp_path / "newer.csv", index=False)
    said = cli("predict", "--model", run, "--path", tmp_path / "newer.csv")
    assert said.code == 0, said.err
    assert len(said.value["predictions"]) == 2 * 10, said.value
    assert cli("evaluate", "--run", run, "--path", tmp_path / "newer.csv").code in (0, 3)
    assert cli("tune", *flags, "--model", "ridge", "--n-trials", "2", "--output", tmp_path / "tuned").code == 0
    leaks = cli("audit", "leak", *flags, "--model", "ridge", "--n-trials", "0", "--rows", "400")
    assert leaks.code == 0 and "every column of the raw rows" in leaks.out, leaks.out
    assert cli("audit", "cv", *flags).code == 0
    about = {
        "experiment": {"name": "bread"},
        "data": {"source": "bread", "path": [str(tills)]},
        "models": [{"name": "ridge"}],
        "training": {"source_option": ["days=14"]},
        "output": {"base_dir": str(tmp_path / "grid")},
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(about))
    grid = cli("experiment", "--config", tmp_path / "grid.yaml")
    assert grid.code == 0, (grid.err, grid.out)


def test_options_are_typed_and_refused(site, cli, tills):
    flags = ("train", "--data", "bread", "--path", tills, "--model", "ridge")
    refused(cli(*flags, "--source-option", "days=many"), 2, "ConfigError", "days", "valid integer")
    refused(cli(*flags, "--source-option", "dais=3"), 2, "ConfigError", "did you mean 'days'")
    refused(cli(*flags, "--source-option", "path=x.csv"), 2, "ConfigError", "--path")
    refused(cli(*flags, "--market"), 2, "ConfigError", "--market")
    refused(cli("train", "--data", "bread", "--model", "ridge"), 2, "ConfigError", "needs path")
    assert cli("train", "--data", "bread", "--path", tills, "--model", "logistic", "--source-option", "label=many").code == 0
    told = {o["name"]: o for o in cli("sources", "bread").value["told"]}
    assert (
        told["days"] | {"flag": "--source-option days=VALUE", "default": 7, "words": "of the mean"} == told["days"]
        and told["path"]["words"] == "the CSV of the tills"
    )
    assert source_record(DataRequest("bread", path=(str(tills),), source_option=("days=14",)))["source_option"] == ["days=14"]


def test_two_packages_of_one_name(site, monkeypatch):
    other = site / "other"
    other.mkdir()
    monkeypatch.setitem(PACKAGES, "lineupiq-second", ("second_source", "def bread(): 'bread again'\n", {"bread": "second_source:bread"}))
    install(other, ["lineupiq-second"])
    monkeypatch.syspath_prepend(str(other))
    forget()
    with pytest.raises(ConfigError, match="several packages call a source bread"):
        SOURCES["bread"]
    assert [r["available"] for r in source_rows() if r["name"] in ("bread", "league")] == [True, False] or not next(
        r for r in source_rows() if r["name"] == "bread"
    )["available"]


# --- the battery ---


def fails(found):
    return [f"{f.title}: {f.evidence}" for f in found if f.verdict == "fail"]


def test_a_source_by_others_passes_in_every_way_of_asking(site, cli, tills):
    found = check_source(DataRequest("bread", path=(str(tills),)), raise_on_fail=True)
    assert not fails(found) and not [f for f in found if f.verdict == "unknown"], found
    said = cli("sources", "--check", "bread", "--path", tills)
    assert said.code == 0 and said.value["fail"] == 0 and len(said.value["checks"]) == len(found)


@pytest.mark.parametrize(
    "ask",
    [DataRequest("noise-bars", n=600), DataRequest("league"), DataRequest("league", position="WR", target="receiving_yards")],
    ids=["noise-bars", "league", "league players"],
)
def test_simulated_sources_pass(ask):
    found = check_source(ask)
    assert not fails(found) and {f.title: f.verdict for f in found}["rows of tomorrow"] == "pass"


def test_own_bars_pass(tmp_path):
    noise_bars(500, seed=1).to_csv(tmp_path / "bars.csv", index=False)
    found = check_source(DataRequest("bars", path=(str(tmp_path / "bars.csv"),)))
    assert not fails(found) and "half of it" in found[-1].evidence


HISTORY = {"loaves": {"last": [1, 7], "mean": [7], "ewma": [6], "sd": [28], "same": "weekday", "since": True}}


@pytest.mark.parametrize(
    "more",
    [
        {"features": {"price": "numeric", "shop": "category"}},
        {"features": {"price": "numeric"}, "history": HISTORY, "calendar": ["weekday"]},
    ],
    ids=["as they come", "history"],
)
def test_own_tables_pass(tills, tmp_path, more):
    about = {
        "name": "bread",
        "path": "tills.csv",
        "task": "regression",
        "symbol": "shop",
        "time": "day",
        "label": "loaves",
        "label_lag": "14h",
        **more,
    }
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(about))
    found = check_source(tmp_path / "table.yaml")
    assert not fails(found) and [f.title for f in found if f.verdict == "unknown"] == ["the same on another day"]


def test_a_table_of_games_passes(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for k in range(100):
        p = rng.permutation(list("ABCDEF"))
        rows += [
            (pd.Timestamp("2020-01-01") + pd.Timedelta(days=3 * k), p[i], p[i + 1], rng.poisson(1.6), rng.poisson(1.2)) for i in (0, 2, 4)
        ]
    pd.DataFrame(rows, columns=["date", "home", "away", "hs", "as"]).to_csv(tmp_path / "games.csv", index=False)
    (tmp_path / "cup.yaml").write_text(
        "name: cup\npath: games.csv\ntask: multiclass\ngames: {date: date, home: home, away: away, home_score: hs, away_score: as}\n"
    )
    assert not fails(check_source(tmp_path / "cup.yaml"))


def test_a_table_of_games_without_rows_is_refused(tmp_path, cli):
    (tmp_path / "games.csv").write_text("date,home,away,hs,as\n")
    (tmp_path / "cup.yaml").write_text(
        "name: cup\npath: games.csv\ntask: multiclass\ngames: {date: date, home: home, away: away, home_score: hs, away_score: as}\n"
    )
    refused(cli("train", "--data", tmp_path / "cup.yaml", "--model", "logistic"), 3, "DataError", "no rows")


@pytest.mark.slow
def test_the_large_sources_pass():
    for ask in (DataRequest("sp500"), DataRequest("nfl-games"), DataRequest("nfl-players", position="WR", target="receiving_yards")):
        if ask.data.startswith("nfl") and not os.environ.get("LINEUPIQ_DATA_DIR"):
            pytest.skip("LINEUPIQ_DATA_DIR names no folder of tables")
        assert not fails(check_source(ask)), ask.data


# --- faults, planted ---

MORNING = RawRows(sales, "day", ("shop",), {"loaves": "14h"})


def panel_of(raw, missing="upcoming", early=False, **features) -> Panel:
    if lacking := {"day", "shop", "price", "loaves"} - set(raw):
        raise DataError("columns missing", found=", ".join(sorted(lacking)))
    f = raw.assign(time=pd.to_datetime(raw["day"]), symbol=raw["shop"], label=raw["loaves"])
    f["label_end"] = (f["time"] + pd.Timedelta("14h")).where(f["label"].notna())
    return make_panel(
        f.assign(**{k: make(f) for k, make in features.items()}),
        [*features],
        task="regression",
        name="bread",
        cleaning=Cleaning(sort=True, missing_target=missing),
    )


def week(f):
    return f.sort_values("time").groupby("shop")["loaves"].transform(lambda s: s.shift(1).rolling(7, min_periods=1).mean())


def sorted_roll(f, column, **how):
    return f.sort_values("time").groupby("shop")[column].transform(lambda s: s.rolling(7, min_periods=1, **how).mean())


def whole(raw):
    return panel_of(raw, week=week, level=lambda f: f.groupby("shop")["price"].transform("mean"))


def ordered(raw):
    return panel_of(raw, week=lambda f: f.groupby("shop")["price"].transform(lambda s: s.rolling(7, min_periods=1).mean()))


def dropped(raw):
    return panel_of(raw, "drop", week=week)


def dated(raw):
    return panel_of(raw, week=week, age=lambda f: (pd.Timestamp.now() - f["time"]).dt.days)


def centred(raw):
    return panel_of(raw, week=lambda f: sorted_roll(f, "price", center=True))


def early(raw):
    return panel_of(raw, week=lambda f: sorted_roll(f, "loaves"))


def scaled(raw):
    return panel_of(raw, week=week, scaled=lambda f: (f["price"] - f["price"].mean()) / f["price"].std())


def ranked(raw):
    return panel_of(raw, week=week, rank=lambda f: f["price"].rank(pct=True))


def careless(raw):
    return panel_of(raw.assign(price=raw["prise"] if "prise" in raw else raw["price"]), week=week) if len(raw) else {}["nothing"]


def ended(raw):
    return panel_of(raw[: len(raw) // 2 * 2], week=week, last=lambda f: (f["time"].max() - f["time"]).dt.days)


def chance(raw):
    return panel_of(raw, week=week, luck=lambda f: np.random.default_rng().normal(size=len(f)))


PLANTED = {
    whole: "another future",
    ordered: "rows in another order",
    dropped: "rows of tomorrow",
    dated: "the same on another day",
    centred: "another future",
    early: "rows of tomorrow",
    scaled: "another future",
    ranked: "another future",
    careless: "no rows, or too few columns",
    ended: "a file that ends earlier",
    chance: "the same twice",
}


@pytest.mark.parametrize("made", PLANTED, ids=lambda f: f.__name__)
def test_a_planted_fault_is_found(made, own):
    source("trial", raw=MORNING, description="a trial")(made)
    found = {f.title: f for f in check_source("trial")}
    hit = found[PLANTED[made]]
    assert hit.verdict == "fail" and hit.evidence and hit.finding, fails(found.values())
    with pytest.raises(BrokenSource, match="fails"):
        check_source("trial", raise_on_fail=True)


def honest(raw):
    return panel_of(raw, week=week, price=lambda f: f["price"], weekday=lambda f: f["time"].dt.dayofweek)


@pytest.mark.parametrize("seed", range(10))
def test_an_honest_source_fails_nothing(seed, own):
    source("trial", raw=RawRows(lambda: sales(150, seed), "day", ("shop",), {"loaves": "14h"}), description="a trial")(honest)
    assert not fails(check_source("trial"))


def test_what_is_not_declared_is_not_known(own):
    @source("plain")
    def plain():
        "rows from nowhere"
        return panel_of(sales(), week=week)

    found = {f.title: f for f in check_source(plain)}
    assert not fails(found.values()) and found["another future"].verdict == "unknown" and "RawRows" in found["another future"].evidence
    with pytest.raises(ConfigError, match="no source"):
        check_source(week)
    with pytest.raises(ConfigError, match="did you mean 'another future'"):
        check_source("plain", only=["another futur"])


def test_a_broken_source_is_an_exit_code(cli, own):
    source("trial", raw=MORNING, description="a trial")(centred)
    said = cli("sources", "--check", "trial")
    assert (
        said.code == 10 and said.value["fail"] and set(LEAK_CHECKS) & {c["title"] for c in said.value["checks"] if c["verdict"] == "fail"}
    )
    source("clumsy", raw=MORNING, description="a trial")(careless)
    assert cli("sources", "--check", "clumsy").code == 3


def test_the_clock_is_put_back():
    before = pd.Timestamp.now()
    with another_day([dated]):
        assert pd.Timestamp.now() - before > pd.Timedelta("399D")
    assert abs(pd.Timestamp.now() - before) < pd.Timedelta("1h")


def test_the_audit_changes_the_raw_rows_of_a_declared_source(own):
    source("trial", raw=MORNING, description="a trial")(centred)
    report = audit_leak(world_of(DataRequest("trial")), ["ridge"], AuditSettings(rows=400, n_trials=0))
    assert "fail" == {f.title: f.verdict for f in report.findings}["future poison: features"]
    source("good", raw=MORNING, description="a trial")(honest)
    report = audit_leak(world_of(DataRequest("good")), ["ridge"], AuditSettings(rows=400, n_trials=0))
    assert not [f for f in report.findings if f.verdict == "fail"]
