"""The drawing of the workflow in docs/knime.md; KNIME itself is not needed.

python docs/images/knime.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

FILE = Path(__file__).with_name("knime-workflow.png")
KNIME, OURS, LINE = "#f4d35e", "#ee964b", "#5a606b"
NODES = {  # place, kind, what it is set to
    "List Files/Folders": (0, 1, KNIME, "the folder of images"),
    "Path to String": (1, 1, KNIME, "paths as words"),
    "Read Image Metadata": (2, 1, OURS, "axes, sizes, voxels"),
    "Row Filter": (3, 1, KNIME, "Axes = ZYX"),
    "Restore Images": (0, 0, OURS, "model, folder for results"),
    "Row Filter ": (1, 0, KNIME, "Level = 0: can be trusted"),
    "Image Reader (Table)": (2, 0, KNIME, "column Restored"),
    "Judge": (3, 0, OURS, "alone: ground truth in a folder"),
}
WIDE, HIGH, SIDE = 2.6, 1.75, 0.62


def main() -> None:
    figure = Figure((10.4, 3.7), dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1.3, 3 * WIDE + 1.3), ylim=(-0.95, HIGH + 0.85), aspect="equal")
    axes.axis("off")
    places = {name: (WIDE * column, HIGH * row) for name, (column, row, *_) in NODES.items()}
    for name, (_, _, colour, setting) in NODES.items():
        x, y = places[name]
        box = FancyBboxPatch((x - SIDE / 2, y - SIDE / 2), SIDE, SIDE, boxstyle="round,pad=0.05", fc=colour, ec=LINE)
        axes.add_patch(box)
        axes.text(x, y + 0.5, name.strip(), ha="center", va="bottom", fontsize=10, weight="bold")
        axes.text(x, y - 0.5, setting, ha="center", va="top", fontsize=9, color="#333")
    chain = list(NODES)[:-1]
    for before, after in pairwise(chain):
        (x, y), (u, v) = places[before], places[after]
        ends = [x + 0.4, x + 0.7, x + 0.7, u - 0.7, u - 0.7, u - 0.4], [y, y, HIGH / 2, HIGH / 2, v, v]
        if y == v:
            ends = [x + 0.4, u - 0.4], [y, v]
        axes.plot(*ends, color=LINE, lw=1.6, solid_joinstyle="round")
        axes.plot(u - 0.42, v, marker=">", color=LINE, ms=7)
    figure.savefig(FILE, facecolor="white")


if __name__ == "__main__":
    main()
