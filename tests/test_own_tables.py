"""Tables as people have them: less than a year, a new shop, decimal commas, old gaps, seasons of two years."""

import logging

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import refused

from lineupiq.auditing import leaks, pipeline
from lineupiq.base import DataError
from lineupiq.data.tables import table_panel

ABOUT = {
    "name": "rides",
    "path": "rides.csv",
    "task": "regression",
    "label_kind": "count",
    "symbol": "Station",
    "time": "Tag",
    "label": "Fahrten",
    "label_lag": "20h",
    "upcoming": True,
    "history": {"Fahrten": {"last": [1], "same": "weekday"}},
    "calendar": ["weekday", "month"],
    "features": {"Station": "category", "Temperatur": "numeric"},
}


def rides(days=130, seed=0):
    "Three stations from February on, as a German Excel writes them."
    rng, tag = np.random.default_rng(seed), pd.date_range("2025-02-01", periods=days)
    parts = [
        pd.DataFrame(
            {
                "Tag": tag,
                "Station": s,
                "Fahrten": rng.poisson(level * (1 + 0.3 * (tag.dayofweek == 5))),
                "Temperatur": (8 + rng.normal(0, 4, days)).round(1),
            }
        )
        for s, level in (("Hafen", 40), ("Messe", 25), ("Süd", 60))
    ]
    return pd.concat(parts).sort_values(["Tag", "Station"], ignore_index=True)


def write(folder, frame, **changes):
    "The table and its YAML."
    text = frame.assign(Tag=frame["Tag"].dt.strftime("%d.%m.%Y")).to_csv(index=False, sep=";", decimal=",")
    (folder / "rides.csv").write_bytes(text.encode("latin-1"))
    about = folder / "rides.yaml"
    about.write_text(yaml.safe_dump({**ABOUT, **changes}, sort_keys=False))
    return about


# --- categories: closed vocabularies, and values that come later --------------------------------------------------------------------------


def test_less_than_a_year_is_tuned_and_audited_without_extras(cli, tmp_path, monkeypatch):
    for module in (leaks, pipeline):
        monkeypatch.setattr(module, "can_make_intervals", lambda: False)
    about = write(tmp_path, rides())
    found = cli("audit", "leak", "--data", about, "--model", "ridge", "--rows", "400").value
    verdicts = {f["title"]: (f["verdict"], f["evidence"]) for f in found["findings"]}
    assert found["exit_code"] == 0 and verdicts["future poison: ridge"][0] == verdicts["search: ridge"][0] == "pass"
    assert verdicts["intervals: ridge"] == ("unknown", "skip: intervals cannot be made here; pip install 'lineupiq[intervals]'")
    tuned = cli("tune", "--data", about, "--model", "ridge", "--n-trials", "2", "--n-splits", "2", "--output", tmp_path / "tuning")
    assert tuned.code == 0, tuned.err


def test_a_model_that_refuses_new_values_is_no_leak(cli, tmp_path):
    frame = rides()
    late = frame["Tag"] > "2025-05-25"
    about = write(tmp_path, frame.assign(Station=frame["Station"].where(~late | (frame["Station"] != "Messe"), "Neubau")), unseen="error")
    found = cli("audit", "leak", "--data", about, "--model", "ridge", "--rows", "400").value
    assert not [f for f in found["findings"] if f["verdict"] == "fail"], found["findings"]


# --- decimal commas -----------------------------------------------------------------------------------------------------------------------


def test_decimal_commas_are_read_and_mixed_ones_refused(cli, tmp_path, caplog):
    frame = rides()
    with caplog.at_level(logging.WARNING, "lineupiq"):
        panel = table_panel(write(tmp_path, frame))
    assert (
        np.array_equal(panel.frame["Temperatur"], frame["Temperatur"])
        and "390 value(s) have a comma before the decimals and were read so, in Temperatur" in caplog.text
    )
    text = (tmp_path / "rides.csv").read_text("latin-1").splitlines()
    text[5] = text[5].replace(",", ".")
    (tmp_path / "rides.csv").write_text("\n".join(text), "latin-1")
    refused(
        cli("train", "--data", tmp_path / "rides.yaml", "--model", "ridge"),
        3,
        "DataError",
        "rides.csv, column 'Temperatur', 1 row, first: 4",
        "commas and points",
        "write a point",
        'decimal: \\",\\"',
    )


def test_three_decimals_are_thousands_or_not(tmp_path):
    frame = rides().assign(Temperatur=lambda t: t["Temperatur"].abs() + 1.0005).round(3)
    frame["Temperatur"] = [f"{1 + x % 9:.3f}".replace(".", ",") for x in frame["Temperatur"]]
    with pytest.raises(DataError, match="decimal: "):
        table_panel(write(tmp_path, frame))
    assert table_panel(write(tmp_path, frame, decimal=",")).frame["Temperatur"].max() < 10


def test_a_league_with_decimal_commas(tmp_path):
    rng, days = np.random.default_rng(0), pd.date_range("2021-08-01", periods=120, freq="2D")
    sides = [rng.choice(list("ABCDEF"), 2, replace=False) for _ in days]
    games = pd.DataFrame(
        {
            "Tag": days,
            "Heim": [a for a, _ in sides],
            "Gast": [b for _, b in sides],
            "Ergebnis": [f"{a}:{b}" for a, b in rng.poisson(1.4, (120, 2))],
            "Q1": rng.uniform(2, 3, 120).round(2),
            "QX": 3.5,
            "Q2": rng.uniform(2, 3, 120).round(2),
            "Saison": "2021/22",
        }
    )
    about = {
        "name": "liga",
        "path": "liga.csv",
        "task": "multiclass",
        "games": {"date": "Tag", "home": "Heim", "away": "Gast", "score": "Ergebnis", "odds": {"home": "Q1", "draw": "QX", "away": "Q2"}},
    }
    (tmp_path / "liga.yaml").write_text(yaml.safe_dump(about))
    panels = []
    for decimal in (",", "."):
        games.to_csv(tmp_path / "liga.csv", sep=";", index=False, decimal=decimal)
        panels.append(table_panel(tmp_path / "liga.yaml").frame)
    pd.testing.assert_frame_equal(*panels)


# --- seasons ------------------------------------------------------------------------------------------------------------------------------


def test_seasons_of_two_years_are_read_or_refused(tmp_path):
    days = pd.date_range("2021-08-01", periods=60, freq="2D")
    games = pd.DataFrame(
        {"date": days, "home": ["A", "B"] * 30, "away": ["B", "A"] * 30, "score": ["2-1", "0-0", "1-3"] * 20, "season": "2021/22"}
    )
    about = tmp_path / "liga.yaml"
    about.write_text(yaml.safe_dump({"name": "liga", "path": "liga.csv", "task": "multiclass", "games": {k: k for k in games}}))
    for form in ("2021/22", "2021-22", "2021-2022", "2021"):
        games.assign(season=form).to_csv(tmp_path / "liga.csv", index=False)
        assert set(table_panel(about).frame["season"]) == {2021}
    games.assign(season="21/22").to_csv(tmp_path / "liga.csv", index=False)
    with pytest.raises(DataError, match=r"a season that cannot be read[\s\S]*column 'season'[\s\S]*21/22[\s\S]*2019-2020"):
        table_panel(about)


# --- tomorrow, and cells that somebody forgot ---------------------------------------------------------------------------------------------


def test_tomorrow_and_old_gaps(cli, tmp_path, caplog):
    frame = rides()
    about = write(tmp_path, frame)
    made = cli("train", "--data", about, "--model", "ridge", "--test-share", ".2").value
    last = frame["Tag"].max()
    gap = (frame["Tag"] == last - pd.Timedelta("5D")) & (frame["Station"] == "Messe")
    tomorrow = frame[frame["Tag"] == last].assign(Tag=last + pd.Timedelta("1D"))
    open_rows = gap.tolist() + [True] * 3
    both = pd.concat([frame, tomorrow], ignore_index=True)
    write(tmp_path, both.assign(Fahrten=both["Fahrten"].astype("Int64").mask(open_rows)))
    out = tmp_path / "out.csv"
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert cli("predict", "--model", made["run_dir"], "--output", out).value["rows"] == 3
    assert "1 row(s) without an outcome are no later than the last known one (2025-06-10) and are left out" in caplog.text
    text = out.read_text().splitlines()
    assert text[0].startswith("Tag,Station,horizon,prediction") and all(
        len(line.split(",")[3].replace(".", "").lstrip("0")) <= 6 for line in text[1:]
    )
    later = cli("predict", "--model", made["run_dir"], "--all-later").value["predictions"]
    assert ("2025-06-05", "Messe") in {(p["datetime"][:10], p["symbol"]) for p in later} and len(later) > 4


# --- what the command says ----------------------------------------------------------------------------------------------------------------


def test_in_a_pipe_lines_are_plain_and_the_keys_of_a_table_are_told(tmp_path, capsys):
    from lineupiq.cli.program import exit_code

    about = write(tmp_path, rides())
    assert exit_code(["train", "--data", str(about), "--model", "prior", "--output", str(tmp_path / "runs")]) == 0
    said = capsys.readouterr()
    assert "] prior: done, " in said.err and "{" not in said.err + said.out
    assert exit_code(["config", "show", "table"]) == 0
    assert "# label_lag: null  # instead of a column: a duration" in capsys.readouterr().out
    assert exit_code(["sources", str(about)]) == 2 and "config show table" in capsys.readouterr().err
