"""Write nbs/commands.ipynb, the page of all commands, from the program itself.

    python tools/make_commands.py

What a command takes is asked of the command: its text, its arguments and flags with types and defaults. Here stand only the examples, one or
a few lines a command. A test runs them in this order, from an empty folder on, and another compares the page with what this would write.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from reference import cell, code, plain, table

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "nbs" / "commands.ipynb"
NAME = "shop_h1_ridge"
# A command's lines, and the codes with which they may end. Where a line needs something that no command makes, the test makes it: see HEAD.
EXAMPLES: dict[str, tuple[str, tuple[int, ...]]] = {
    "sources": ("lineupiq sources league", (0,)),
    "models": ("lineupiq models --family boosting", (0,)),
    "config show": ("lineupiq config show ridge", (0,)),
    "config check": ("lineupiq config check shop.yaml", (0,)),
    "audit cv": ("lineupiq audit cv --data shop.yaml", (0,)),
    "audit leak": ("lineupiq audit leak --data shop.yaml --model ridge", (0,)),
    "tune": ("lineupiq tune --data shop.yaml --model ridge --n-trials 2 --n-splits 2", (0,)),
    "train": ("lineupiq train --data shop.yaml --model ridge", (0,)),
    "runs": ("lineupiq runs", (0,)),
    "open": ("lineupiq open", (0,)),
    "predict": (f"lineupiq predict --model {NAME}@staging --record", (0,)),
    "evaluate": ("lineupiq evaluate --run experiments/runs/shop* --data shop_later.yaml", (0,)),
    "export": ("lineupiq export --run experiments/runs/shop* --output ridge.onnx", (0,)),
    "record score": ("lineupiq record score --data shop_later.yaml", (0,)),
    "record verify": ("lineupiq record verify", (0,)),
    "record list": ("lineupiq record list", (0,)),
    "record show": ("lineupiq record show --last 5", (0,)),
    "validate": (f"lineupiq validate {NAME}", (0, 5)),
    "promote": (f"lineupiq promote {NAME} --force --reason 'the first version'", (0,)),
    "version list": ("lineupiq version list", (0,)),
    "version show": (f"lineupiq version show {NAME}", (0,)),
    "version bump": (f"lineupiq version bump {NAME} --part minor", (0,)),
    "rollback": (
        f"lineupiq promote {NAME} --force --reason 'the next one'\nlineupiq rollback {NAME} --reason 'the next one was worse'",
        (0,),
    ),
    "history": (f"lineupiq history {NAME}", (0,)),
    "sign": (f"lineupiq sign --new-key key.pem\nlineupiq sign {NAME} --key key.pem", (0,)),
    "verify": ("lineupiq verify", (0,)),
    "reproduce": (f"lineupiq reproduce {NAME}", (0,)),
    "doctor": ("lineupiq doctor", (0,)),
    "drift": (f"lineupiq drift {NAME} --data shop_later.yaml", (0, 3, 9)),
    "retrain": (f"lineupiq retrain {NAME} --dry-run", (0,)),
    "archive": (f"lineupiq archive {NAME}", (0,)),
    "prune": (f"lineupiq prune {NAME} --keep 1", (0,)),
    "replay": ("lineupiq replay --data league --model logistic --from 2020 --to 2020 --policy monthly,never", (0,)),
    "experiment": ("lineupiq experiment --config grid.yaml", (0,)),
    "job": ("lineupiq job train --parameters", (0,)),
    "train-all": ("lineupiq train-all --data shop.yaml --model ridge", (0,)),
    "track sync": ("lineupiq track sync --uri sqlite:///mlflow.db", (0,)),
    "track status": ("lineupiq track status", (0,)),
    "project": ("lineupiq project --position QB --model ridge --path tables --draws 200", (0,)),
    "lineup": (
        "lineupiq lineup --projection week --season 2023 --week 5 --salaries salaries.csv --objective 'P(score>=120)' --count 2",
        (0,),
    ),
}
HEAD = """# Commands

> Every command of `lineupiq`: what it does, what it takes, how it ends, and an example that runs

`lineupiq COMMAND --help` says the same on a terminal. Nearly every command takes `--json`, which prints one line for programs instead of a table.

The examples are run, in an empty folder, by the project's tests. `shop.yaml` describes a table, `shop.csv`, as in [the tutorial](tutorials/02_own_table.ipynb); `shop_later.yaml` describes the same table after
another month; `grid.yaml` is an experiment of one cell. `tables` holds the tables of a simulated football league, `week` a projection of its fifth week, `salaries.csv` what a site asks for its players."""


def leaf_commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    "Every command that does something, in the order of the help: its words, and typer's object."
    if not hasattr(command, "commands"):
        return [(" ".join(path), command)]
    return [found for name, inner in command.commands.items() for found in leaf_commands(inner, (*path, name))]


def commands() -> list[tuple[str, Any]]:
    "The program's commands."
    import typer
    from lineupiq.cli.program import app

    return leaf_commands(typer.main.get_command(app))


def is_argument(param: Any) -> bool:
    "True: it stands without a flag."
    return not param.opts[0].startswith("-")


def kind(param: Any) -> str:
    "What a flag is followed by."
    if getattr(param, "is_flag", False):
        return ""
    named = {"str": "text", "int": "whole number", "float": "number", "Path": "path", "bool": "flag"}
    annotation = param.type_descriptor.annotation
    inner = getattr(annotation, "__args__", (annotation,))[0]
    word = named.get(getattr(inner, "__name__", ""), "text")
    return f"{word}, repeatable" if param.multiple else word


def words_and_default(param: Any) -> tuple[str, str]:
    "The help, and the default, which requests write at its end."
    text = one_line(param.help)
    found = re.search(r" ?\[default: (.*)\]\.?$", text)
    if found:
        return text[: found.start()].strip(), found[1]
    if getattr(param, "is_flag", False):
        return text, "" if param.secondary_opts else "off"  # a pair says its default in its words
    return text, "" if param.default in (None, "", (), []) or callable(param.default) or param.required else str(param.default)


def synopsis(name: str, command: Any) -> str:
    "How the command is typed: what it must have, and the rest as OPTIONS."
    words = []
    for p in command.params:
        if is_argument(p):
            word = p.name.upper() + ("…" if p.multiple or p.nargs == -1 else "")
            words.append(word if p.required else f"[{word}]")
    words += [f"{p.opts[0]} {kind(p).split(',')[0].upper().replace(' ', '-')}" for p in command.params if not is_argument(p) and p.required]
    return " ".join(["lineupiq", name, *words, "[OPTIONS]"])


def row(param: Any) -> tuple[str, str, str, str]:
    "A line of a command's table."
    words, default = words_and_default(param)
    flags = [param.name.upper()] if is_argument(param) else [*sorted(param.opts, key=len, reverse=True), *param.secondary_opts]
    return ", ".join(map(code, flags)), kind(param), code(default) if default not in ("on", "off") else default, cell(words)


def section(name: str, command: Any) -> str:
    "A command: what it does, how it is typed, an example, its arguments and flags."
    told = plain(one_line(command.help))
    ends = sorted(set(map(int, re.findall(r"(?:\bexit|,) (\d+)(?= (?:at|where|unless)\b)", told))) - {0})
    codes = (
        "It ends with "
        + " or ".join([f"[{c}](#exit-codes)" for c in (0, *ends)])
        + ", or with another code of the table where something is wrong."
        if ends
        else ""
    )
    shown = [p for p in command.params if not getattr(p, "hidden", False)]
    options = table(("", "Takes", "Default", "What it does"), [row(p) for p in shown]) if shown else ""
    return "\n\n".join(
        part
        for part in [
            f"## lineupiq {name}",
            told,
            codes,
            f"```sh\n{synopsis(name, command)}\n```",
            f"For example:\n\n```sh\n{EXAMPLES[name][0]}\n```",
            options,
        ]
        if part
    )


def one_line(text: str | None) -> str:
    "Help without its line breaks."
    return re.sub(r"\s+", " ", (text or "").replace("\\[", "[")).strip()


def overview(found: list[tuple[str, Any]]) -> str:
    "Every command in a line, with the way to its section."
    rows = [f"| [`{name}`](#lineupiq-{name.replace(' ', '-')}) | {cell(one_line(command.help))} |" for name, command in found]
    return "## In short\n\n" + "\n".join(["| command | what it does |", "| ----- | ------------ |", *rows])


def endings() -> str:
    "The table of exit codes, with the errors that each stands for."
    from lineupiq.cli.program import EXIT_CODES, error_classes

    rows = [
        (code(str(c)), cell(words), ", ".join(f"`{cls.__name__}`" for cls in error_classes(c)) if c != 1 else "")
        for c, words in EXIT_CODES.items()
    ]
    return (
        "## Exit codes\n\nThe number with which a command ends says how it went, so that a schedule can act on it; the last column names "
        "the errors that Python code gets instead.\n\n"
        + "\n".join(["| code | meaning | errors |", "| --- | -------- | ------ |", *("| " + " | ".join(r) + " |" for r in rows)])
    )


def page() -> str:
    "The notebook's text."
    found = commands()
    texts = [HEAD, overview(found), endings(), *(section(name, command) for name, command in found)]
    names = ["head", "in-short", "exit-codes", *(re.sub(r"\W+", "-", name) for name, _ in found)]
    cells = [
        {"cell_type": "markdown", "id": f"commands-{name}", "metadata": {}, "source": text.splitlines(keepends=True)}
        for name, text in zip(names, texts, strict=True)
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
    print(f"{len(commands())} commands")
    return 0


if __name__ == "__main__":
    sys.exit(main())
