"""From pairs of images to patches: what is asked for is checked, and every image looked at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError, warn
from veriscope.images.cache import LIMIT_BYTES, ChunkCache
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.patches import augment, sampling
from veriscope.patches.patches import Choices, Patches, Prepared
from veriscope.patches.scaling import FOREGROUND_PERCENTILE, Normalize, Table, percentile, scaling, table_of
from veriscope.wording import lengths, shortened

MOST_CELLS_OF_ALL = 2**22  # of all maps of foreground together; 8 bytes each


def cut_patches(
    pairs: Sequence[Pair],
    shape: Sequence[int],
    per_image: int = 32,
    seed: int = 0,
    foreground: float | None = 0.4,
    foreground_share: float = 1.0,
    normalize: Normalize = "random",
    turns: bool | None = None,
    cache_bytes: int = LIMIT_BYTES,
) -> Patches:
    """Patches of `shape` (voxels along Y X or Z Y X), `per_image` from each frame of each pair in an epoch.

    foreground: a patch counts when the truth within its central half exceeds this part of its 99.9th percentile (0.4:
    the authors' rule; None: patches from everywhere). `foreground_share` of the patches follow the rule, the others
    come from everywhere. Images without any such position are used everywhere, with a VeriscopeWarning.
    normalize: "random" draws the two percentiles of the whole image per patch, in (1, 3) and (99.5, 99.9) (SI 2.2);
    "fixed" is always (2, 99.8), as at restoration; "matched" takes these two of the low image for both, once the high
    image is brought to its grey values by least squares: noise widens percentiles, so that otherwise the network has to
    guess each image's gain; "shared" takes these two of the low image for both, whose grey values are the same already;
    a pair of Normalizations (low, high) is used as it stands.
    turns: whether Y and X may change places; None asks the pairs and the voxel sizes. Flips are always drawn.
    cache_bytes: of decoded chunks that are kept while images are read from disk.
    seed: of the positions for checking. T (and S) are cut as separate frames, C becomes channels.

    Where high is a single plane for a stack (`Pair.projects`) patches are cut along Y and X, and the stack is taken
    whole along Z: low is (C, Z, Y, X), high (C, Y, X), `shape` that of high. Such stacks are never flipped along Z:
    light and tissue come from one side, and what lies above a surface looks unlike what lies below.

    Raises DataError for pairs that differ in shape or channels, images smaller than a patch, NaN and Inf, constant
    images, stacks to project of different depths; AxesError when `shape` does not fit the axes.
    """
    sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if len(sizes) not in (2, 3) or not all(isinstance(size, int | np.integer) and size > 0 for size in sizes):
        raise DataError(
            f"The shape of a patch is two (Y, X) or three (Z, Y, X) positive whole numbers of voxels, not {shape}. "
            f"For example (128, 128) or (16, 64, 64)."
        )
    shape = tuple(int(size) for size in sizes)
    depth = _depth(pairs)
    if depth and len(shape) == 3:
        if shape[0] != depth:
            raise DataError(
                f"Stacks that are projected are cut whole along Z, all {depth} planes, not {shape[0]}. "
                f"Give a shape of two numbers (Y, X), such as {lengths(shape[1:])}."
            )
        shape = shape[1:]
    axes = "ZYX"[-len(shape) :]
    choices = Choices(int(per_image), int(seed), foreground, float(foreground_share), scaling(normalize))
    if len(pairs) == 0:
        raise DataError("There are no pairs to cut patches from. Check the folders, or what was split off.")
    channels = _same_channels(pairs)
    choices.normalize.check(channels, bool(depth))
    if turns and shape[-1] != shape[-2]:
        raise DataError(
            f"Quarter turns need patches that are square in Y and X, not {lengths(shape)}. Pass turns=False."
        )

    moved = [_moved(pair, "ZYX" if depth else axes, axes, shape) for pair in pairs]
    frames = sum(low.shape[0] * low.shape[1] for low, _ in moved)
    most_cells = min(max(MOST_CELLS_OF_ALL // frames, 2**10), sampling.MOST_CELLS)
    prepared: list[Prepared] = []
    dim: list[str] = []
    empty: list[str] = []
    widen = choices.normalize.usual is not None
    for pair, (low, high) in zip(pairs, moved, strict=True):
        low_table = table_of(low, f"{_name(low, pair)} (low)", widen, empty)
        high_table = table_of(high, f"{_name(high, pair)} (high)", widen, empty)
        ends = choices.normalize.ends((low, high), (low_table, high_table), pair.name)
        starts, count = [], high.shape[0] * high.shape[1]
        for number in range(count):
            found = _starts(high, number, shape, high_table, choices, most_cells)
            if len(found) == 0:
                dim.append(_name(high, pair) + (f" frame {number}" if count > 1 else ""))
                found = sampling.everywhere(high.shape[3:], shape)
            starts.append(found)
        orientations = augment.allowed(axes, shape, [low.voxel(letter) for letter in axes])
        if turns is not None or not pair.turns:
            orientations = augment.Orientations(axes, bool(turns))
        prepared.append(Prepared(pair.name, (low, high), ends, tuple(starts), orientations))
    if empty:
        warn(
            f"Percentiles of {shortened(empty, 5)} are the same, since most of it is empty; its lowest and highest "
            f"values become 0 and 1."
        )
    if dim:
        warn(
            f"No position in {shortened(dim, 5)} has signal above {foreground} of the brightest at the centre of a "
            f"patch; patches are cut from everywhere there. Ask for less (--foreground 0.2), or for none "
            f"(foreground=None, --foreground 0)."
        )
    return Patches(tuple(prepared), shape, axes, channels, choices, ChunkCache(cache_bytes), depth)


def _depth(pairs: Sequence[Pair]) -> int:
    """How many planes the stacks have that are to be projected; 0 where nothing is."""
    stacks, others = ([pair for pair in pairs if pair.projects is wanted] for wanted in (True, False))
    if not stacks:
        return 0
    if others:
        raise DataError(
            f"In pair '{stacks[0].name}' high is a single plane for a stack, in '{others[0].name}' it is not. "
            f"A network learns one of both; leave the others out."
        )
    depths = {pair.low.size("Z"): pair.name for pair in reversed(stacks)}
    if len(depths) > 1:
        named = ", ".join(f"{depth} in '{name}'" for depth, name in sorted(depths.items()))
        raise DataError(
            f"Stacks that are projected are taken whole along Z, so all must have as many planes to be learned from "
            f"together, but there are {named}. Crop or pad them along Z; the network will restore any depth."
        )
    return next(iter(depths))


def _moved(pair: Pair, axes_low: str, axes_high: str, shape: tuple[int, ...]) -> tuple[Image, Image]:
    """Low and high in axes S T C [Z] Y X, lazily, once they are known to fit each other and the patch."""
    moved = []
    for image, what, axes in ((pair.low, "low", axes_low), (pair.high, "high", axes_high)):
        name = _name(image, pair)
        if len(axes) == 3 and "Z" not in image.axes:
            raise AxesError(
                f"{name} ({what}) has the axes {image.axes}, but patches of {lengths(shape)} need Z, Y and X. "
                f"Give a shape of two numbers (Y, X), or the right axes."
            )
        if len(axes) == 2 and image.size("Z") > 1:
            raise AxesError(
                f"{name} ({what}) has the axes {image.axes} with {image.size('Z')} planes in Z, but patches of "
                f"{lengths(shape)} have only Y and X. Give a shape of three numbers (Z, Y, X)."
            )
        target = image.moved("STC" + axes)
        space = target.shape[-len(shape) :]
        sizes = zip(axes_high, space, shape, strict=True)
        if small := [f"{letter} {have} < {want}" for letter, have, want in sizes if have < want]:
            raise DataError(
                f"{name} ({what}) is {lengths(target.shape[3:])} ({axes}), smaller than a patch of {lengths(shape)}: "
                f"{', '.join(small)}. Use patches of at most {lengths(np.minimum(space, shape))}, "
                f"or leave this image out."
            )
        moved.append(target)
    low, high = moved
    if low.shape[:2] + low.shape[-len(shape) :] != high.shape[:2] + high.shape[3:]:
        raise DataError(
            f"Pair '{pair.name}': low is {lengths(pair.low.shape)} ({pair.low.axes}), but high is "
            f"{lengths(pair.high.shape)} ({pair.high.axes}). Both must show the same voxels; crop or register them "
            f"first."
        )
    return low, high


def _same_channels(pairs: Sequence[Pair]) -> tuple[int, int]:
    counts = [(pair.low.size("C"), pair.high.size("C")) for pair in pairs]
    first = counts[0]
    for pair, here in zip(pairs, counts, strict=True):
        if here != first:
            raise DataError(
                f"Pair '{pair.name}' has {here[0]} channels in low and {here[1]} in high, but '{pairs[0].name}' has "
                f"{first[0]} and {first[1]}. A network is trained with one number of channels; pick the same for all."
            )
    return first


def _starts(
    high: Image, frame: int, shape: tuple[int, ...], table: Table, choices: Choices, most_cells: int
) -> sampling.Starts:
    """Where patches of a frame may start; none, when the frame has no foreground."""
    if choices.foreground is None or choices.foreground_share == 0:
        return sampling.everywhere(high.shape[3:], shape)
    threshold = choices.foreground * percentile(table, FOREGROUND_PERCENTILE)
    chunks = high.chunks[3:] if high.chunks is not None else None
    sample, time = divmod(frame, high.shape[1])

    def read(spans: tuple[slice, ...]) -> NDArray[Any]:
        return high.read(sample, time, slice(None), *spans)

    return sampling.on_foreground(read, high.shape[3:], shape, threshold.tolist(), most_cells, chunks)


def _name(image: Image, pair: Pair) -> str:
    return f"'{image.name or pair.name}'"
