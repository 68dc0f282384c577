"""Write the shipped configurations, lineupiq/configs/, from the defaults in the parameter classes.

    python tools/make_configs.py

A test compares what is shipped with what this would write, so the files are never edited by hand.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BY_HAND = ("experiments", "rules", "scoring")  # folders of what is written by hand: grids, and the rules of leagues


def shipped() -> dict[str, str]:
    "Path under lineupiq/configs -> text, for training, gate and drift, and for every registered model."
    from lineupiq.core.config import common_yaml
    from lineupiq.workflows.configs import SETTINGS, default_yaml
    from lineupiq.registry import registry

    out = {f"{name}.yaml": default_yaml(name) for name in SETTINGS if name != "default"} | {"models/default.yaml": common_yaml()}
    for entry in registry().list_models():
        if entry["available"] and entry["module"].startswith("lineupiq."):
            out[f"models/{entry['name']}.yaml"] = default_yaml(f"{entry['family']}:{entry['name']}")
    own = ROOT / "lineupiq" / "configs"
    return out | {p.relative_to(own).as_posix(): p.read_text(encoding="utf-8") for p in own.glob("*/*.yaml") if p.parent.name in BY_HAND}


def main() -> int:
    folder, wanted = ROOT / "lineupiq" / "configs", shipped()
    for name, text in wanted.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    for path in sorted(folder.rglob("*.yaml")):
        if str(path.relative_to(folder)) not in wanted:
            path.unlink()
            print(f"removed {path.relative_to(ROOT)}: no such model")
    print(f"{len(wanted)} configurations are as the classes say")
    return 0


if __name__ == "__main__":
    sys.exit(main())
