"""Where a restoration is farthest from the truth: the largest relative error (Supp. Fig. 26a)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.comparing.judge import members_of
from veriscope.comparing.picture import as_shown
from veriscope.images.image import Image
from veriscope.judging import quality
from veriscope.restoring.restoration import Restoration

WINDOW = 7  # pixels along Y and X over which the error is averaged
FLOOR = 0.25  # of the truth's range: where the truth is darker the error is taken relative to this
SIDE = 96  # pixels of the region shown

EXPLAINED = (
    f"Relative error: ground truth and restoration are brought to one scale as for NRMSE; their absolute difference, "
    f"averaged over {WINDOW} x {WINDOW} pixels of a plane, is divided by the ground truth averaged over the same "
    f"pixels, or by {FLOOR:g} of its range where it is darker than that. Only windows that lie in the image count."
)


@dataclass(frozen=True, eq=False)
class Failure:
    """The place of one image where a method has its largest relative error, and what is seen there."""

    image: str
    method: str
    error: float  # relative, see EXPLAINED
    place: tuple[int, ...]  # Z Y X or Y X, pixels
    planes: dict[str, NDArray[np.float32]] = field(repr=False)  # method: (Y, X), parts of the truth's range
    errors: NDArray[np.float32] = field(repr=False)  # relative, (Y, X)
    scale: NDArray[np.float32] | None = field(default=None, repr=False)  # predicted, parts of the truth's range
    corner: tuple[int, int] = (0, 0)  # of the region shown, Y X

    @property
    def where(self) -> str:
        plane = f"plane {self.place[0] + 1}, " if len(self.place) == 3 else ""
        return f"{plane}Y {self.place[-2]}, X {self.place[-1]}"

    def __str__(self) -> str:
        error = f"Largest relative error of {self.method}: {self.error:.0%} of the ground truth"
        return f"{error}, in {self.image} ({self.where})."

    def to_json(self) -> dict[str, Any]:
        return {"image": self.image, "method": self.method, "error": self.error, "place": list(self.place)}


def largest_relative_error(
    name: str,
    truth: Image,
    images: Mapping[str, Image],
    method: str,
    restored: Restoration | None = None,
) -> Failure:
    """The worst place of `method` among all channels of the first time point of one image.

    `restored` is what predicts the image of `method`, if it is that of a model.
    """
    worst = []
    for channel, frame, (high, made) in quality.volumes(truth, images[method]):
        if frame == 0:
            errors = relative_error(high, made)
            place = _largest(errors)
            worst.append((float(errors[place]), channel, place, errors))
    error, channel, place, errors = max(worst, key=lambda one: one[0])
    volumes = {
        label: next(pair for c, frame, pair in quality.volumes(truth, image) if (c, frame) == (channel, 0))
        for label, image in images.items()
    }
    high, made = volumes[method]
    rows, columns = (_around(at, size) for at, size in zip(place[-2:], errors.shape[-2:], strict=True))
    window: Any = (*place[:-2], rows, columns)
    scale = None
    if (members := members_of(truth, restored, channel)) is not None:
        a, _ = quality.affine_match(quality.normalize_truth(high), np.asarray(made, np.float64))
        means, scales = (one[:, *window] for one in members)
        scale = (abs(a) * laplace.mixture_scale(means, scales)).astype(np.float32)
    planes = {label: as_shown(y, x, label)[window].astype(np.float32) for label, (y, x) in volumes.items()}
    planes["truth"] = quality.normalize_truth(high)[window].astype(np.float32)
    return Failure(
        name if truth.size("C") == 1 else f"{name}, channel {channel}",
        method,
        error,
        place,
        planes,
        errors[window].astype(np.float32),
        scale,
        (rows.start, columns.start),
    )


def relative_error(truth: Any, image: Any) -> NDArray[np.float64]:
    """Of one plane or volume (..., Y, X), pixel by pixel, see EXPLAINED."""
    from scipy.ndimage import uniform_filter

    y, x = quality.matched(truth, image)
    size = (1,) * (y.ndim - 2) + (WINDOW, WINDOW)
    wrong, bright = (uniform_filter(one, size, mode="nearest") for one in (np.abs(x - y), y))
    return np.asarray(wrong / np.maximum(bright, FLOOR))


def _largest(errors: NDArray[np.float64]) -> tuple[int, ...]:
    """Where they are largest, but for windows cut by the border, unless the image is no larger than a window."""
    edge = WINDOW // 2 if min(errors.shape[-2:]) >= WINDOW else 0
    inside = errors[..., edge : errors.shape[-2] - edge, edge : errors.shape[-1] - edge]
    *plane, row, column = map(int, np.unravel_index(int(np.argmax(inside)), inside.shape))
    return *plane, row + edge, column + edge


def _around(at: int, length: int) -> slice:
    start = max(0, min(at - SIDE // 2, length - SIDE))
    return slice(start, min(start + SIDE, length))
