"""The examples on the page of commands run, in the order in which they stand, from an empty folder on."""

import glob
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from conftest import good_frame
from test_lineups import projection

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import make_commands  # noqa: E402


def test_each_command_has_an_example_of_its_own():
    commands = dict(make_commands.commands())
    assert set(commands) == set(make_commands.EXAMPLES)
    for name, (lines, _) in make_commands.EXAMPLES.items():
        assert lines.splitlines()[-1].startswith(f"lineupiq {name}"), name


@pytest.fixture
def place(tmp_path, monkeypatch, table, in_process):
    "A folder with the files that the page speaks of."
    from lineupiq.data.football import football_tables

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROWSER", "true")
    all_rows = good_frame(900)
    for name, rows in (("shop", all_rows[:840]), ("shop_later", all_rows)):
        about = {
            "name": "shop",
            "path": f"{name}.csv",
            "task": "regression",
            "time": "day",
            "symbol": "shop",
            "label": "y",
            "label_lag": "12h",
            "upcoming": True,
            "features": {"x1": "numeric", "x2": "numeric"},
        }
        rows.assign(y=rows["y"].where(rows.index < len(rows) - 2)).to_csv(f"{name}.csv", index=False)
        Path(f"{name}.yaml").write_text(yaml.safe_dump(about, sort_keys=False))
    Path("grid.yaml").write_text(yaml.safe_dump({"experiment": {"name": "grid"}, "data": {"source": "shop.yaml"}, "models": ["ridge"]}))
    for folder in ("tables", "week"):
        Path(folder).mkdir()
    for kind, frame in football_tables(seasons=(2019, 2020, 2021, 2022)).items():
        frame.to_parquet(f"tables/{kind}.parquet")
    projection(Path("week"))
    Path("week/paid.csv").rename("salaries.csv")
    return tmp_path


@pytest.mark.long
def test_the_examples_run(place, capsys):
    from lineupiq.cli.program import exit_code

    for name, (lines, codes) in make_commands.EXAMPLES.items():
        for line in lines.splitlines():
            words = [w for word in shlex.split(line)[1:] for w in (sorted(glob.glob(word)) if "*" in word else [word])]
            code = exit_code(words)
            said = capsys.readouterr()
            assert code in codes, (name, line, code, said.out[-2000:], said.err[-2000:])
