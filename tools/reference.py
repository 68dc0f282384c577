"""What the reference shows of a name: its header as it stands in the module, its fields with type, default and comment, its properties, its methods.

nbdev reads the source of a class from the module that the class says it is of. While pages are made, exported cells run in a shell, their
classes are of `__main__`, and there is nothing to read: dataclasses stood there without a word. Here the module is imported instead of run
again, and everything is read from its file. tools/check_docs.py puts this into nbdev's processing.
"""

import ast
import dataclasses
import html
import importlib
import inspect
import io
import posixpath
import re
import textwrap
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
CODE = re.compile(r"(`+[^`]+?`+)")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
NAME = re.compile(r"`([A-Za-z_][\w.]*)(\(\))?`(?![^\[\]]*\]\()")
WIDTH = 100  # of a line of code on a page


@cache
def source_of(module: str) -> tuple[str, ast.Module, dict[int, str]]:
    "A module's text, its tree, and its comments by line."
    text = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    comments = {
        t.start[0]: t.string.lstrip("# ").strip()
        for t in tokenize.generate_tokens(io.StringIO(text).readline)
        if t.type == tokenize.COMMENT
    }
    return text, ast.parse(text), comments


@cache
def node_of(module: str, name: str) -> ast.AST | None:
    "The definition of `Class`, `function` or `Class.method` in a module."
    body = top = source_of(module)[1].body
    for part in name.split("."):
        found = [n for n in body if isinstance(n, DEFINITIONS) and n.name == part]
        if not found:
            return _patched(top, name)
        body = found[-1].body
    return found[-1]


def _patched(body: list[ast.stmt], name: str) -> ast.AST | None:
    "A method that a later cell gives to a class: `@patch def method(self: Class)`."
    owner, _, method = name.rpartition(".")
    found = [
        n
        for n in body
        if isinstance(n, FUNCTIONS)
        and n.name == method
        and n.args.args
        and n.args.args[0].annotation is not None
        and owner in ast.unparse(n.args.args[0].annotation)
        and any("patch" in ast.unparse(d) for d in n.decorator_list)
    ]
    return found[-1] if owner and found else None


def noted(module: str, node: ast.AST) -> str:
    "The comment beside a statement, or the lines of comment right above it."
    text, _, comments = source_of(module)
    lines = text.splitlines()
    if node.end_lineno in comments:
        return comments[node.end_lineno]
    above, line = [], node.lineno - 1
    while line in comments and lines[line - 1].lstrip().startswith("#"):
        above.insert(0, comments[line])
        line -= 1
    return " ".join(above)


# ---- fields


@dataclass(frozen=True)
class Row:
    "A field of a class, as the table shows it."

    name: str
    kind: str
    default: str
    words: str
    of_parent: bool = False  # a class that is no dataclass leaves it to its parent's entry


def bounds(metadata: list[ast.expr]) -> str:
    "What stands beside a type in `Annotated`: limits as signs, without those that only a computer reaches; anything else as nothing."
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(
        f"{signs[k.arg]} {ast.unparse(k.value)}"
        for m in metadata
        if isinstance(m, ast.Call)
        for k in m.keywords
        if k.arg in signs and "**" not in ast.unparse(k.value)
    )


def kind_of(annotation: ast.expr) -> str:
    "A type as a reader wants it: without ClassVar and Annotated, with limits as signs."
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("ClassVar", "typing.ClassVar"):
        return kind_of(annotation.slice)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("Annotated", "typing.Annotated"):
        first, *rest = annotation.slice.elts
        limits = bounds(rest)
        return kind_of(first) + (f" {limits}" if limits else "")
    if isinstance(annotation, ast.BinOp):
        return f"{kind_of(annotation.left)} | {kind_of(annotation.right)}"
    named = aliases().get(annotation.id) if isinstance(annotation, ast.Name) else None
    return kind_of(named) if named is not None else ast.unparse(annotation)


@cache
def aliases() -> dict[str, ast.expr]:
    "Names that the library gives to types with limits, such as Count, and what stands behind them."
    tree = source_of("lineupiq.base")[1]
    return {
        target(n): n.value
        for n in tree.body
        if target(n) and isinstance(n.value, ast.Subscript) and ast.unparse(n.value.value) in ("Annotated", "Literal")
    }


def default_of(cls: type, statement: ast.AST) -> str:
    "A default as it is when nothing is given; a long one as it stands in the source."
    name = target(statement)
    known = getattr(cls, "__dataclass_fields__", {}).get(name)
    if known is not None:
        made = known.default if known.default is not dataclasses.MISSING else None
        if known.default_factory is not dataclasses.MISSING:
            made = known.default_factory()
        elif known.default is dataclasses.MISSING:
            return ""
        shown = repr(made)
        if len(shown) <= 60 and " at 0x" not in shown and "\n" not in shown and "Path('" not in shown:
            return shown
    if statement.value is None:
        return ""
    shown = ast.unparse(statement.value)
    return shown if len(shown) <= 80 else "…"


def target(statement: ast.AST) -> str:
    "The one name that a statement gives a value or a type; empty for any other."
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    one = isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name)
    return statement.targets[0].id if one else ""


def fields_of(cls: type) -> list[Row]:
    "Fields of a class, those first that it inherits where it is a dataclass; another class shows what it declares or changes."
    own = [c for c in reversed(cls.__mro__) if c.__module__.split(".")[0] == cls.__module__.split(".")[0]]
    known, shown = getattr(cls, "__dataclass_fields__", {}), dataclasses.is_dataclass(cls)
    rows: dict[str, Row] = {}
    for c in own:
        node = node_of(c.__module__, c.__qualname__)
        for s in node.body if isinstance(node, ast.ClassDef) else ():
            name, words = target(s), noted(c.__module__, s) if target(s) else ""
            before = rows.get(name, Row(name, "", "", ""))
            if name and not name.startswith("_") and (isinstance(s, ast.AnnAssign) or words or name in rows or _is_enum(cls)):
                rows[name] = Row(
                    name, kind_of(s.annotation) if isinstance(s, ast.AnnAssign) else before.kind, default_of(cls, s), words or before.words
                )
                if not (c is cls or shown and name in known):
                    rows[name] = dataclasses.replace(rows[name], of_parent=True)
    return [r for r in rows.values() if not r.of_parent]


def _is_enum(cls: type) -> bool:
    from enum import Enum

    return issubclass(cls, Enum)


# ---- text


def plain(text: str) -> str:
    "Words for a page: nothing outside of code is markup, and a flag is code, so that no printer makes a dash of it."

    def words(part: str) -> str:
        part = re.sub(r"([*<$\\~^])", r"\\\1", part)
        part = re.sub(r"(?<=\W)_|_(?=\W)|^_", r"\\_", part)
        return FLAG.sub(lambda m: f"`{m[0]}`", part)

    return "".join(part if part.startswith("`") else words(part) for part in CODE.split(text))


def flags_as_code(paragraph: str) -> str:
    "A paragraph whose flags are code; code may go on from one line to the next."
    return "".join(part if part.startswith("`") else FLAG.sub(lambda m: f"`{m[0]}`", part) for part in CODE.split(paragraph))


def cell(text: str) -> str:
    "Words in a table."
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in CODE.split(plain(text))).replace("\n", " ")


def code(text: str) -> str:
    "Code within a line; nothing for nothing."
    text = text.replace("\n", " ")
    return "" if not text else f"`{text}`" if "`" not in text else f"`` {text} ``"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    "A table whose last column has most of the width; columns in which nothing stands are left out."
    kept = [i for i in range(len(head)) if any(r[i] for r in rows)]
    marks = [("-" * (12 if i == len(head) - 1 else 5)) for i in kept]
    lines = [[head[i] for i in kept], marks, *([r[i] for i in kept] for r in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def header(module: str, node: ast.AST) -> str:
    "The head of a function as it stands in the module, comments included."
    lines = source_of(module)[0].splitlines()
    first, last = node.lineno - 1, node.body[0].lineno - 1
    return textwrap.dedent("\n".join(lines[first:last] if last > first else [lines[first].split(":  #")[0]]))


def said(node: ast.AST) -> str:
    "The docstring, as Markdown."
    text = ast.get_docstring(node) or ""
    return plain(text.split("\nParameters\n")[0].rstrip())


def class_head(cls: type, node: ast.ClassDef) -> str:
    "How an object is made: the class with its parents, and `__init__` where the class has its own."
    parents = ", ".join(ast.unparse(b) for b in node.bases)
    marks = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list if "dataclass" in ast.unparse(d))
    head = f"{marks}class {node.name}" + (f"({parents})" if parents else "")
    init = next((n for n in node.body if isinstance(n, FUNCTIONS) and n.name == "__init__"), None)
    return head + (":\n" + textwrap.indent(header(cls.__module__, init), "    ") if init else "")


def anchor(name: str) -> str:
    "Where a name stands on its page; nbdev's index writes it in small letters."
    return name.lower()


def methods_of(module: str, name: str, node: ast.ClassDef) -> str:
    "Properties as a table, methods each with its head."
    public = [n for n in node.body if isinstance(n, FUNCTIONS) and (not n.name.startswith("_") or n.name == "__call__")]
    marks = {n: {ast.unparse(d).split("(")[0] for d in n.decorator_list} for n in public}
    properties = [n for n in public if marks[n] & {"property", "cached_property", "functools.cached_property"}]
    out = []
    if properties:
        rows = [
            (
                f"[{code(n.name)}]{{#{anchor(f'{name}.{n.name}')}}}",
                code(kind_of(n.returns)) if n.returns else "",
                cell(ast.get_docstring(n) or ""),
            )
            for n in properties
        ]
        out.append("**Properties**\n\n" + table(("Property", "Type", "What it is"), rows))
    for n in public:
        if n in properties or any(m.endswith((".setter", "overload")) for m in marks[n]):
            continue
        kept = "".join(f"@{m}\n" for m in marks[n] & {"classmethod", "staticmethod", "abstractmethod"})
        out.append(f"#### {name}.{n.name} {{#{anchor(f'{name}.{n.name}')}}}\n\n```python\n{kept}{header(module, n)}\n```\n\n{said(n)}")
    return "\n\n".join(out)


def describe(module: str, name: str, repository: str = "") -> str:
    "The reference's entry of a public name: link to its source, heading, head, words, fields, properties, methods."
    node = node_of(module, name)
    if node is None:
        raise LookupError(f"{module} defines no {name}")
    file = module.replace(".", "/") + ("/__init__" if importlib.util.find_spec(module).submodule_search_locations else "")
    where = (
        f'[source]({repository}/{file}.py#L{node.lineno}){{target="_blank" style="float:right; font-size:smaller"}}\n\n'
        if repository
        else ""
    )
    parts = [f"---\n\n{where}### {name} {{#{anchor(name)}}}"]
    if not isinstance(node, ast.ClassDef):
        return "\n\n".join([*parts, f"```python\n{header(module, node)}\n```", said(node)])
    cls = getattr(importlib.import_module(module), name)
    parts += [f"```python\n{class_head(cls, node)}\n```", said(node)]
    if rows := fields_of(cls):
        parts.append(
            table(("Field", "Type", "Default", "What it is"), [(code(r.name), code(r.kind), code(r.default), cell(r.words)) for r in rows])
        )
    return "\n\n".join(p for p in [*parts, methods_of(module, name, node)] if p)


class Entry:
    "What `show_doc` returns while pages are made."

    def __init__(self, text: str):
        self.text = text

    def _repr_markdown_(self) -> str:
        return self.text


# ---- links, and the line that imports


class Names:
    "Where each public name stands, from nbdev's index."

    def __init__(self, index: dict):
        self.by_name: dict[str, list[tuple[str, str]]] = {}
        for module, names in index["syms"].items():
            for full, (page, _) in names.items():
                short = full[len(module) + 1 :]
                if any(p.startswith("_") for p in short.split(".")):
                    continue
                for each in {full, short}:
                    self.by_name.setdefault(each, []).append((module, page))

    def page_of(self, name: str, called: bool, module: str) -> str:
        "Page and anchor of a name that is written on the page of a module; empty where it is no name, or one of two."
        if name.startswith("lq."):  # as readers import it; what stands there is defined elsewhere
            thing = getattr(importlib.import_module("lineupiq"), name.split(".")[1], None)
            name = f"{getattr(thing, '__module__', '')}.{name[3:]}"
        found = self.by_name.get(name, [])
        own = [page for m, page in found if m == module]
        if not own and not (called or "_" in name or "." in name or not name.islower()):
            return ""  # a word such as `time` or `train` is a column or a command more often than a function
        if not own and len(found) > 1 and name in importlib.import_module("lineupiq").__all__:
            return self.page_of(f"lq.{name}", called, module)
        return own[0] if own else found[0][1] if len(found) == 1 else ""

    def link(self, text: str, module: str, here: str) -> str:
        "Text whose names in backticks lead to where they are explained, and whose flags are code; code and headings stay as they are."
        out, words, fenced = [], [], False
        for line in [*text.split("\n"), "```"]:  # the last one ends what was begun
            fence = line.lstrip().startswith("```")
            if fenced or fence or not line.strip() or line.startswith("    "):
                out += [self._names(w, module, here) for w in flags_as_code("\n".join(words)).split("\n")] if words else []
                out.append(line)
                words, fenced = [], fenced ^ fence
            else:
                words.append(line)
        return "\n".join(out[:-1])

    def _names(self, line: str, module: str, here: str) -> str:
        if line.startswith("#"):
            return line
        # a table's own names, such as fields, are no links
        first = line.index("|", 1) if line.startswith("| `") and line.count("|") > 1 else 0
        return line[:first] + NAME.sub(lambda m: self._link(m, module, here), line[first:])

    def _link(self, match: re.Match, module: str, here: str) -> str:
        page, _, part = self.page_of(match[1], bool(match[2]), module).partition("#")
        if not page:
            return match[0]
        way = "" if page == here else posixpath.relpath(page, posixpath.dirname(here) or ".")
        return f"[{match[0]}]({way}#{part})"


def import_line(module: str) -> str:
    "How the names of a page are imported; empty for a page without any."
    names = list(getattr(importlib.import_module(module), "__all__", ()))
    if module.endswith("__main__") or not names:
        return ""
    if module.count(".") == 0:
        return f"import {module} as lq"
    line = f"from {module} import {', '.join(names)}"
    return (
        line
        if len(line) <= WIDTH
        else f"from {module} import "
        f"(\n{textwrap.fill(', '.join(names), WIDTH, initial_indent='    ', subsequent_indent='    ', break_on_hyphens=False)}\n)"
    )


def lacking(page: str, text: str, module: str) -> list[str]:
    "Fields of a module's public classes that its page does not show. `text`: the processed page as Markdown."
    out = []
    for name in getattr(importlib.import_module(module), "__all__", ()):
        thing = getattr(importlib.import_module(module), name)
        if not inspect.isclass(thing) or thing.__module__ != module or f"### {name} {{" not in text:
            continue
        entry = re.split(r"\n### |\n## ", text.split(f"### {name} {{", 1)[1])[0]
        missing = [r.name for r in fields_of(thing) if f"| {code(r.name)} " not in entry]
        out += [f"{page}: {name} is shown without {', '.join(missing)}"] if missing else []
    return out


def dashes(text: str) -> list[str]:
    "Flags of a finished page that a printer made dashes of."
    body = html.unescape(re.sub(r"<(pre|code|script|style)\b.*?</\1>|<[^>]+>", " ", text, flags=re.S))
    return sorted(set(re.findall(r"(?<![\w)])[–—][a-z][\w-]+", body)))


# ---- cells that check

CHECKS = re.compile(r"(test_\w+|np\.testing\.\w+|pd\.testing\.\w+|check_\w+)$")


def is_check(statement: ast.stmt) -> bool:
    "True: a statement that shows nothing and only holds something."
    if isinstance(statement, ast.Assert):
        return True
    if isinstance(statement, ast.With):
        return any("ExceptionExpected" in ast.unparse(i.context_expr) for i in statement.items) or all(map(is_check, statement.body))
    if isinstance(statement, (ast.For, ast.If)):
        return all(map(is_check, statement.body))
    return (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and bool(CHECKS.match(ast.unparse(statement.value.func)))
    )


def only_checks(source: str) -> bool:
    "True: a cell that a reader may skip, since most of what it does is to hold something, or to import the means for it."
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    tools = [n for n in body if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("fastcore.test")]
    if body and len(tools) == len(body):
        return True
    checks = sum(map(is_check, body))
    return checks > 0 and 2 * checks >= len(body)
