"""Draw nbs/card.png, the picture that a link to the site shows: the name, what it is for, and skill with intervals beside the simple rule.

python tools/make_card.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CARD = ROOT / "nbs" / "card.png"
SIZE = (1200, 630)  # pixels: what services that show links expect
# skill of the page index
ROWS = (
    ("market", 0.098, -0.002, 0.185),
    ("ewma", 0.025, 0.005, 0.045),
    ("logistic", 0.022, -0.032, 0.060),
    ("elo", 0.015, -0.076, 0.091),
    ("catboost", -0.027, -0.072, 0.015),
)


def draw(path: Path = CARD) -> None:
    "Write the picture."
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, facecolor="#0b2a3f")
    FigureCanvasAgg(figure)
    figure.text(0.06, 0.84, "LineupIQ", color="white", size=52, weight="bold")
    figure.text(
        0.06,
        0.72,
        "Train models of time-ordered outcomes and learn honestly\nwhether they beat a simple rule",
        color="#dbe7ee",
        size=21,
        va="center",
    )
    ax = figure.add_axes((0.2, 0.1, 0.74, 0.48), facecolor="none")
    ax.axvline(0, color="#e69f00", lw=2)
    for k, (_, skill, low, high) in enumerate(ROWS):
        ax.plot([low, high], [-k, -k], color="#56b4e9", lw=6, solid_capstyle="round")
        ax.plot(skill, -k, "o", color="white", ms=11)
    ax.set_yticks([-k for k in range(len(ROWS))], [name for name, *_ in ROWS], color="white", size=18)
    ax.set_xticks([0], ["the simple rule"], color="#e69f00", size=16)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    figure.savefig(path, metadata={"Software": None})


def main() -> int:
    draw()
    print(f"wrote {CARD.relative_to(ROOT)}, {CARD.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
