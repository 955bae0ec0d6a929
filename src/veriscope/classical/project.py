"""Projection of a stack to the surface in it, as it was done before networks (SI, Supp. Fig. 10).

Each takes an Image with Z (time points one by one; all channels at the height found in one of them) or an array Z Y X,
and answers in kind: the flat image, float32, in the unit of the stack, and the height of the surface, in planes.
Scale and offset of the grey values do not change the height. Raises AxesError where there is no Z, DataError for NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.classical.method import Method
from veriscope.classical.surface import Flat, Projected, along, at_height, by_stack
from veriscope.errors import DataError
from veriscope.images.volumes import Picture

__all__ = ["METHODS", "PROJECTIONS", "Projected", "at_height", "maximum", "minimum_cost", "premosa", "smooth_manifold"]


def maximum(stack: Picture, *, channel: int = 0) -> Projected[Picture]:
    """The brightest value above every pixel, wherever it lies; of several channels each its own.

    The height is that of `channel`: the first of its brightest planes.
    """

    def work(volumes: NDArray[Any]) -> tuple[Flat, Flat]:
        return np.asarray(volumes.max(axis=1), np.float32), np.asarray(volumes[channel].argmax(axis=0), np.float32)

    return by_stack(stack, channel, work)


def smooth_manifold(stack: Picture, *, channel: int = 0) -> Projected[Picture]:
    """SME: a smooth sheet through the brightest planes of those columns that show something (Shihavuddin et al. 2017).

    It has no settings. Pixels come from the nearest plane, as in the authors' program. Lumps of bright pixels that
    float beside the surface draw the sheet to them.
    """
    from veriscope.classical.manifold import find_surface

    return along(stack, channel, find_surface, nearest=True)


def minimum_cost(
    stack: Picture, *, blur: float = 2.0, step: int = 4, bend: int = 1, channel: int = 0
) -> Projected[Picture]:
    """The brightest of all sheets that bend no more than allowed, by a minimum cut (Wu and Chen 2002, Li et al. 2006).

    The brightness is that after a Gaussian of `blur` pixels (0: none). The sheet is found on a grid of `step` pixels,
    on which neighbours differ by `bend` planes at most, and is linear in between; so is the image between planes.
    Where there is only noise the search takes many times as long.
    """
    if not (np.isfinite(blur) and blur >= 0):
        raise DataError(f"The blur of the minimum-cost surface is 0 pixels or more, not {blur:g}. Try 2.")
    _at_least_one("step", step, 4)
    _at_least_one("bend", bend, 1)
    from veriscope.classical.mincost import find_surface

    return along(stack, channel, lambda volume: find_surface(volume, blur, int(step), int(bend)))


def premosa(
    stack: Picture, *, block: int = 20, brightest: int = 50, reach: int = 2, channel: int = 0
) -> Projected[Picture]:
    """PreMosa: blocks of pixels vote for a plane, smaller cells move to where they have contrast (Blasse et al. 2017).

    `block` is the width of a block in pixels: somewhat more than a membrane and its surroundings, so that each holds
    some of the surface. Its `brightest` pixels vote. Cells look `reach` planes up and down for more contrast.
    """
    if not block >= 2:
        raise DataError(f"Blocks of PreMosa are at least 2 pixels wide, not {block:g}. Try 20.")
    _at_least_one("brightest", brightest, 50)
    _at_least_one("reach", reach, 2)
    from veriscope.classical.premosa import find_surface

    return along(stack, channel, lambda volume: find_surface(volume, int(block), int(brightest), int(reach)))


def _at_least_one(name: str, value: float, usual: int) -> None:
    if not value >= 1:
        raise DataError(f"The {name} of a projection is at least 1, not {value:g}. Try {usual}.")


PROJECTIONS: dict[str, Callable[..., Projected[Any]]] = {
    "max": maximum,
    "sme": smooth_manifold,
    "mincost": minimum_cost,
    "premosa": premosa,
}


def _image_of(project: Callable[..., Projected[Any]]) -> Callable[..., Any]:
    @wraps(project)  # reports show its docstring
    def flat(stack: Any, **parameters: Any) -> Any:
        return project(stack, **parameters).image

    return flat


METHODS = (  # speeds: benchmarks/projections.py
    Method("max", "maximum", "project", _image_of(maximum), library="numpy", speed=(100.0, 100.0)),
    Method("sme", "SME", "project", _image_of(smooth_manifold), source="Shihavuddin et al. 2017", speed=(1.0, 1.0)),
    Method(
        "mincost",
        "minimum-cost surface",
        "project",
        _image_of(minimum_cost),
        usual={"blur": 2.0},
        grid={"blur": (1.0, 2.0, 4.0)},
        source="Wu and Chen 2002, Li et al. 2006",
        speed=(2.0, 2.0),
    ),
    Method(
        "premosa",
        "PreMosa",
        "project",
        _image_of(premosa),
        usual={"block": 20},
        grid={"block": (10, 20, 40)},
        source="Blasse et al. 2017",
        speed=(25.0, 25.0),
    ),
)
