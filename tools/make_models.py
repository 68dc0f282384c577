"""Write nbs/models_index.ipynb, a card for each model, from the registry, the classes of settings and the stored benchmarks.

    python tools/make_models.py

What a model is for, when not to take it and where it comes from stand where the model is registered; defaults and their reasons in its class of
settings; what it costs in nbs/benchmarks/results. A test compares the page with what this would write.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from reference import Row, cell, code, fields_of, plain, table

ROOT = Path(__file__).resolve().parent.parent
PAGE, RESULTS = ROOT / "nbs" / "models_index.ipynb", ROOT / "nbs" / "benchmarks" / "results"
INPUTS = {
    "tabular": "the current row: one line of features",
    "window": "a window of rows, the newest last",
    "rule": "the symbol's own earlier outcomes",
    "game": "the log of games",
    "mixed": "what each of its members reads",
}
ON_REQUEST = {"lightgbm": "only with `device: cuda`"}  # its own build for CUDA is rarely the one that is installed
FAMILIES = {
    "baseline": "Rules",
    "classical": "Classical",
    "boosting": "Boosting",
    "neural": "Networks over windows",
    "timeseries": "Forecasting networks",
    "rating": "Ratings",
    "ensemble": "Ensembles",
}
HEAD = """# Models

> A card for each model: what it is for, when not to take it, what it reads, its settings with their defaults and reasons, and what it costs

Every model is held to one contract, so that one leaderboard compares them on identical rows; `lineupiq models` lists them on a terminal, `lineupiq train --model NAME` trains one. How they keep
what the contract asks for is on the pages of their families. A model of yours stands beside them after [one decorated class](tutorials/06_add_a_model.ipynb).

Begin with a rule, a linear model and a booster. A network has to beat those first."""


def costs() -> dict[str, str]:
    "What a fit took, by model, from the stored results of the benchmarks."
    out = {}
    for name, found in json.loads((RESULTS / "models.json").read_text(encoding="utf-8")).items():
        fit = found["shipped"]  # as people get it, without a benchmark's agreement on rounds and penalties
        out[name] = (
            f"{fit['seconds']:.1f} s and {fit['peak_mb']:,.0f} MB for {found['rows']:,} rows of 180 columns, on two cores "
            "([benchmark](benchmarks/models.ipynb))"
        )
    for name, found in json.loads((RESULTS / "nets.json").read_text(encoding="utf-8"))["nets"].items():
        if whole := found.get("whole"):
            out[name] = (
                f"{whole['epoch_s']:.0f} s an epoch and {whole['peak_mb']:,} MB for {found['rows']:,} rows of {found['features']} columns "
                f"in windows of {found['length']}, "
                f"on two cores ([benchmark](benchmarks/nets.ipynb))"
            )
    for name, found in json.loads((RESULTS / "costs.json").read_text(encoding="utf-8")).items():
        took = f"{found['seconds']:,.1f} s" if found["seconds"] >= 0.05 else "under 0.1 s"
        peak = f" and {found['peak_mb']:,} MB" if found["peak_mb"] else ""
        out.setdefault(
            name,
            f"{took}{peak} for {found['rows']:,} rows of {found['columns']} columns ({found['data']}), with "
            f"{found['threads']} thread{'s' * (found['threads'] > 1)} ([benchmark](benchmarks/costs.ipynb))",
        )
    return out


def facts(entry: dict[str, Any], cls: type, cost: str) -> list[tuple[str, str]]:
    "What is said of a model, a line a fact."
    from lineupiq.classical import PathModel

    stops = (
        "no: the validation rows choose the penalty"
        if issubclass(cls, PathModel)
        else "on the validation rows"
        if entry["early_stopping"]
        else "no: validation rows change nothing that is learnt"
    )
    told = [
        ("What it is for", cell(entry["purpose"])),
        ("When not to take it", cell(entry["not_for"])),
        ("Tasks", ", ".join(entry["tasks"])),
        ("Reads", INPUTS[entry["input_kind"]]),
        ("Missing values", "are taken as they are, or filled by its own imputer" if entry["handles_nan"] else "must be filled before"),
        ("Stops early", stops),
        ("GPU", ON_REQUEST.get(entry["name"], "used where there is one") if entry["gpu"] else ""),
        ("Quantiles", "beside the value, where asked for" if entry["quantiles"] else ""),
        ("Stored as", cell(entry["native_format"])),
        ("Cost", cost),
        ("Paper", cell(entry["paper"])),
        ("Needs", code(f"pip install '{entry['extra']}'") if entry["extra"] else ""),
        ("Class", f"{code(cls.__name__)} of {code(entry['module'])}"),
    ]
    return [line for line in told if line[1]]


def shared() -> list[Row]:
    "The settings that every model has."
    from lineupiq.base import ModelConfig

    return fields_of(ModelConfig)


def setting_rows(rows: list[Row]) -> str:
    "Settings as a table."
    return (
        table(
            ("Setting", "Type", "Default", "What it is, and why"),
            [(code(r.name), code(r.kind), code(r.default), cell(r.words)) for r in rows],
        )
        if rows
        else "It has none of its own."
    )


def card(entry: dict[str, Any], cost: str) -> str:
    "A model's card."
    cls = getattr(importlib.import_module(entry["module"]), entry["class"])
    settings = setting_rows([r for r in fields_of(cls.Config) if r not in shared()])
    lines = "\n".join(["| | |", "| ---- | ------------------ |", *(f"| {name} | {text} |" for name, text in facts(entry, cls, cost))])
    return (
        f"### {entry['name']}\n\n{plain(entry['description'])[:1].upper()}{plain(entry['description'])[1:]}.\n\n{lines}"
        + f"\n\nSettings, {code(cls.Config.__name__)}; besides them [those of every model](#settings-of-every-model):\n\n{settings}"
    )


def page() -> str:
    "The notebook's text."
    from lineupiq.registry import registry

    entries, cost = [e for e in registry().list_models() if e["module"].startswith("lineupiq.")], costs()
    texts = [("head", HEAD)]
    for family, title in FAMILIES.items():
        texts.append((family, f"## {title}"))
        texts += [(e["name"].replace("_", "-"), card(e, cost.get(e["name"], ""))) for e in entries if e["family"] == family]
    texts.append(
        (
            "shared",
            "## Settings of every model\n\nWhere a model changes one of these defaults, its card says so.\n\n" + setting_rows(shared()),
        )
    )
    cells = [
        {"cell_type": "markdown", "id": f"models-{name}", "metadata": {}, "source": text.splitlines(keepends=True)} for name, text in texts
    ]
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    return (
        json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}, indent=1, ensure_ascii=False, sort_keys=True)
        + "\n"
    )


def main() -> int:
    text = page()
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
