"""Write README.md from nbs/index.ipynb: the same text and outputs, with links that work on the repository's page.

    python tools/make_readme.py
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = "<!-- Made from nbs/index.ipynb with `make readme`; edit that. -->\n"


def readme(root: Path = ROOT) -> str:
    "The page as Markdown."
    import nbformat
    out = []
    for cell in nbformat.read(root / "nbs" / "index.ipynb", 4).cells:
        if cell.cell_type != "code":
            out.append(relink(cell.source))
            continue
        if re.search(r"^#\| *hide", cell.source, re.M):
            continue
        code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("#|"))
        if not re.search(r"^#\| *echo: *false", cell.source, re.M):
            out.append(f"```python\n{code}\n```")
        out += [text for o in cell.outputs if (text := shown(o))]
    return HEAD + "\n" + "\n\n".join(out) + "\n"


def relink(text: str) -> str:
    "Links that are relative to nbs/, made relative to the project."
    def one(match: re.Match) -> str:
        label, target = match[1], match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        return f"[{label}]({target[3:] if target.startswith('../') else 'nbs/' + target})"
    return re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", one, text)


def shown(output: dict) -> str:
    "An output as Markdown."
    data = output.get("data", {})
    if "text/markdown" in data:
        return relink("".join(data["text/markdown"]))
    text = "".join(output.get("text", data.get("text/plain", "")))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""


def main() -> int:
    path, text = ROOT / "README.md", readme()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
        print("wrote README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
