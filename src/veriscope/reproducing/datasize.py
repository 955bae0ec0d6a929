"""How much data is enough? Error against the number of training patches (Supp. Fig. 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

import numpy as np

from veriscope.comparing.judge import RESTORATION, judge
from veriscope.errors import TrainingError
from veriscope.images.pairing import Pairs
from veriscope.networks.recipe import Recipe
from veriscope.patches.npz import ArrayPatches
from veriscope.patches.patches import Patches
from veriscope.reporting.charts import INK, MEMBERS, chart, svg_file
from veriscope.tables import Column, Table
from veriscope.training.loop import train

FIGURES = ("nrmse", "ssim")


@dataclass(frozen=True)
class Point:
    """What a model that learned from so many patches does to one condition."""

    patches: int
    condition: str
    nrmse: float
    ssim: float


@dataclass(frozen=True)
class Study:
    """A point for each number of patches and condition, and what the input of each condition is without a network."""

    points: tuple[Point, ...]
    inputs: dict[str, dict[str, float]]  # by condition
    minutes: float

    def of(self, condition: str) -> list[Point]:
        """The points of one condition, from few patches to many."""
        return sorted((one for one in self.points if one.condition == condition), key=lambda one: one.patches)

    def table(self) -> Table:
        """The input of each condition, and what networks that learned from ever more patches do to it."""
        columns = [Column("condition"), Column("patches"), Column("NRMSE", ".4f"), Column("SSIM", ".3f")]
        rows = []
        for condition, scores in self.inputs.items():
            rows.append((condition, "input", *(scores[name] for name in FIGURES)))
            rows += [(condition, point.patches, point.nrmse, point.ssim) for point in self.of(condition)]
        return Table(columns, rows, "Error against the number of training patches")

    def to_json(self) -> dict[str, Any]:
        return {"points": [asdict(point) for point in self.points], "inputs": self.inputs, "minutes": self.minutes}


def study(
    recipe: Recipe,
    patches: Patches | ArrayPatches,
    check: Patches | ArrayPatches,
    tests: dict[str, Pairs],
    counts: Sequence[int],
    minutes: float,
    seed: int = 0,
    device: str | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Study:
    """Train one network for each of `counts` on so many of `patches`, all for the same time, and judge it on `tests`.

    The same time, not the same number of passes: what few patches lack is variety, not steps. Smaller sets are parts of
    the larger ones. `tests` are pairs by condition. Raises TrainingError for counts that make no sense.
    """
    wanted = sorted(set(counts))
    if not wanted or wanted[0] < 1:
        raise TrainingError(f"The numbers of patches are positive, not {', '.join(map(str, counts)) or 'none'}.")
    points: list[Point] = []
    inputs: dict[str, dict[str, float]] = {}
    for number, count in enumerate(wanted):
        progress(number, len(wanted))
        few = first(patches, count, seed)
        model = train(recipe, few, check, members=1, minutes=minutes, seed=seed, device=device, progress=False)
        for condition, pairs in tests.items():
            judged = judge(model, pairs, device=device, pictures=0)
            before, after = judged.of(judged.methods[0]), judged.of(RESTORATION)
            points.append(Point(count, condition, after.nrmse, after.ssim))
            inputs[condition] = {name: getattr(before, name) for name in FIGURES}
    progress(len(wanted), len(wanted))
    return Study(tuple(points), inputs, minutes)


def first(patches: Patches | ArrayPatches, count: int, seed: int) -> ArrayPatches:
    """The first `count` of the endless supply of training patches, cut once and for all."""
    if isinstance(patches, ArrayPatches):
        if count > len(patches):
            raise TrainingError(f"There are {len(patches)} patches only, not {count}. Ask for fewer.")
        order = np.random.default_rng(seed).permutation(len(patches))[:count]
        return ArrayPatches(patches.low[order], patches.high[order], patches.axes, patches.name)
    lows, highs = zip(*(patches.plain(index, seed) for index in range(count)), strict=True)
    return ArrayPatches(np.stack(lows), np.stack(highs), patches.axes, "The patches")


def plot(found: Study, title: str) -> str:
    """An SVG file: NRMSE and SSIM against the number of patches, a line for each condition; dashed the input's."""
    figure, axes = chart(9.0, 3.4, 2)
    for panel, name in zip(axes, FIGURES, strict=True):
        for colour, condition in zip(cycle(MEMBERS), found.inputs, strict=False):
            points = found.of(condition)
            values = [getattr(point, name) for point in points]
            style: Any = {"color": colour, "linewidth": 1.5, "markersize": 4}
            panel.plot([point.patches for point in points], values, "o-", label=condition, **style)
            panel.axhline(found.inputs[condition][name], color=colour, linewidth=1, linestyle=(0, (3, 2)), alpha=0.6)
        panel.set(xscale="log", xlabel="training patches", ylabel=name.upper())
        panel.set_title(title if name == FIGURES[0] else "dashed: the input", fontsize=10)
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylim(top=1)
    axes[1].legend(frameon=False, labelcolor=INK, fontsize=9)
    return svg_file(figure)
