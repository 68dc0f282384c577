"""Own tables as people have them: headers, codes, times, and several files of one table."""

import logging

import numpy as np
import pandas as pd
import pytest
import yaml

from lineupiq.base import DataError
from lineupiq.data.tables import table_panel

DESCRIPTION = {
    "path": "t.csv",
    "task": "regression",
    "time": "day",
    "symbol": "shop",
    "label": "sold",
    "label_lag": "14h",
    "features": ["price"],
}


@pytest.fixture
def rows():
    "Sixty days of two shops."
    days = pd.date_range("2024-01-10", periods=60).repeat(2)
    return pd.DataFrame(
        {
            "day": days.strftime("%Y-%m-%d"),
            "shop": ["001", "002"] * 60,
            "price": np.random.default_rng(0).normal(2, 1, 120),
            "sold": np.arange(120.0),
        }
    )


def described(folder, **changes):
    (folder / "t.yaml").write_text(yaml.safe_dump({**DESCRIPTION, **changes}))
    return folder / "t.yaml"


def test_delimiters_within_quotes_do_not_count(tmp_path, rows):
    "Semicolons, tabs and bars delimit; what stands within quotes is a name."
    for sep in ";\t|":
        rows.rename(columns={"price": 'price, net, "a"'}).to_csv(tmp_path / "t.csv", index=False, sep=sep, quoting=1)
        assert len(table_panel(described(tmp_path, features=['price, net, "a"']))) == 120


def test_codes_stay_codes(tmp_path, rows, caplog):
    rows.assign(shop=rows["shop"] + [" ", ""] * 60).to_csv(tmp_path / "t.csv", index=False)
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert table_panel(described(tmp_path)).frame["symbol"].unique().tolist() == ["001", "002"]
    assert "space around 60 value(s)" in caplog.text
    rows.assign(shop=["North East", "north  east"] * 60).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match="only in case"):
        table_panel(described(tmp_path))


def test_times_of_a_table(tmp_path, rows):
    when = pd.to_datetime(rows["day"])
    want = table_panel_of(tmp_path, rows).times
    for stamps in (
        when.dt.strftime("%d/%m/%Y"),
        when.dt.strftime("%m/%d/%Y"),
        when.dt.strftime("%Y%m%d").astype(int),
        when.dt.strftime("%d-%b-%Y"),
        when.astype("int64") // 10**9 if when.dt.unit == "ns" else when.astype("datetime64[s]").astype("int64"),
    ):
        assert (table_panel_of(tmp_path, rows.assign(day=stamps)).times == want).all()
    with pytest.raises(DataError, match="told apart"):
        table_panel_of(tmp_path, rows.assign(day=when.dt.strftime("%m/%d/%Y"))[46:66])  # the first days of February alone


def table_panel_of(folder, rows):
    rows.to_csv(folder / "t.csv", index=False)
    return table_panel(described(folder))


def test_files_of_one_table(tmp_path, rows, caplog):
    "Equal rows are one, an outcome is not taken away, another outcome is told."
    parts = tmp_path / "parts"
    parts.mkdir()
    rows.to_csv(parts / "a.csv", index=False)
    rows[100:].assign(sold=np.nan).to_csv(parts / "b.csv", index=False)
    path = described(tmp_path, path="parts")
    with caplog.at_level(logging.WARNING, "lineupiq"):
        panel = table_panel(path)
    assert len(panel) == 120 and panel.labelled.all() and "20 row(s) were replaced" in caplog.text
    caplog.clear()
    rows[90:].to_csv(parts / "b.csv", index=False)
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert len(table_panel(path)) == 120
    assert "replaced" not in caplog.text
    rows[118:].assign(sold=-1.0).to_csv(parts / "c.csv", index=False)
    with caplog.at_level(logging.WARNING, "lineupiq"):
        assert (table_panel(path).y == -1).sum() == 2
    assert "2 row(s) were replaced" in caplog.text and "2024-03-09" in caplog.text


@pytest.mark.parametrize("value", ["12,5", "-", "1 000", "n.a."])
def test_numbers_that_are_none(tmp_path, rows, value):
    with pytest.raises(DataError) as said:
        table_panel_of(tmp_path, rows.assign(price=rows["price"].astype(str).where(rows.index != 7, value)))
    assert "price" in str(said.value)


# --- one scale ---


def parts(tmp_path, *columns):
    "A table in several files whose column x has been written in another way in each."
    rng = np.random.default_rng(5)
    x = rng.random(30 * len(columns)).round(3)
    files = []
    for k, write in enumerate(columns):
        own = pd.DataFrame(
            {
                "day": pd.date_range("2024-01-01", periods=len(x))[30 * k : 30 * k + 30].astype(str),
                "x": [write(v) for v in x[30 * k : 30 * k + 30]],
                "y": rng.normal(size=30).round(3),
            }
        )
        own.to_csv(tmp_path / f"{k}.csv", index=False)
        files.append(tmp_path / f"{k}.csv")
    return x, table_panel({"task": "regression", "time": "day", "label": "y", "label_lag": "1h", "features": ["x"]}, files)


PER = "{:.1%}".format


@pytest.mark.parametrize("forms", [[PER], [PER, float], [float, PER, PER], [lambda v: f"{v:.3f}".replace("0.", "00."), float]])
def test_per_cents_are_shares(tmp_path, forms):
    x, panel = parts(tmp_path, *forms)
    assert np.allclose(panel.frame["x"], x, atol=1e-9)


@pytest.mark.parametrize(
    "forms, words",
    [
        ([float, lambda v: 100 * v], "two scales"),
        ([lambda v: 100 * v, float], "two scales"),
        ([PER, lambda v: 100 * v], "larger numbers without one"),
        ([lambda v: PER(v) if v > 0.3 else v], "with and without a percent sign"),
        ([float, lambda v: round(100 * v)], "two scales"),
    ],
)
def test_two_scales_are_refused(tmp_path, forms, words):
    with pytest.raises(DataError, match=words) as said:
        parts(tmp_path, *forms)
    assert "column 'x'" in str(said.value)


@pytest.mark.parametrize("factor", [3, 12, 1000])
def test_another_size_is_no_other_scale(tmp_path, factor):
    "Sales grow; only what lies within 0-1 here and within 0-100 there, a hundredfold, is a scale."
    x, panel = parts(tmp_path, float, lambda v: factor * v)
    assert np.isclose(panel.frame["x"].max(), factor * x[30:].max())
