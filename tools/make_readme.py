"""Write README.md from nbs/index.ipynb: the same text, outputs and pictures, with links that work on the repository's page.

    python tools/make_readme.py

The repository's page shows no picture that is written into the text, so each becomes a file of nbs/images.
"""

import base64
import html
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = "<!-- Made from nbs/index.ipynb with `make readme`; edit that. -->\n"


def name(number: int) -> str:
    "The file of a picture, below nbs."
    return f"images/index-{number + 1}.png"


def page(root: Path = ROOT) -> tuple[str, list[bytes]]:
    "The page as Markdown, and its pictures in their order."
    import nbformat

    out, pictures = [], []
    for cell in nbformat.read(root / "nbs" / "index.ipynb", 4).cells:
        if cell.cell_type != "code":
            out.append(relink(cell.source))
            continue
        if re.search(r"^#\| *hide", cell.source, re.M):
            continue
        code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("#|"))
        if not re.search(r"^#\| *echo: *false", cell.source, re.M):
            out.append(f"```python\n{code}\n```")
        alt = re.search(r"^#\| *fig-alt: *\"?(.+?)\"?$", cell.source, re.M)
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                out.append(
                    f'<img src="nbs/{name(len(pictures))}" width="{output.get("metadata", {}).get("image/png", {}).get("width", 640)}" '
                    f'alt="{html.escape(alt[1] if alt else "")}">'
                )
                pictures.append(output["data"]["image/png"])
            elif text := shown(output):
                out.append(text)
    return HEAD + "\n" + "\n\n".join(out) + "\n", [base64.b64decode(p) for p in pictures]


def readme(root: Path = ROOT) -> str:
    "The page as Markdown."
    return page(root)[0]


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
    text, pictures = page()
    files = {ROOT / "README.md": text.encode(), **{ROOT / "nbs" / name(k): data for k, data in enumerate(pictures)}}
    for path, data in files.items():
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
