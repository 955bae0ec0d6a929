"""Pairs out of one anisotropic stack (SI 2.4): its lateral planes as truth, beside what they would look like from the
side.

A microscope resolves less along Z, and takes fewer planes than pixels. A lateral plane that is blurred by the section
of the PSF along the optical axis, and of which only every n-th line is kept, looks like an axial one. A network that
learns to undo this on lateral planes restores axial ones.
"""

from __future__ import annotations

from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.cache import ChunkCache
from veriscope.images.image import Image
from veriscope.images.lazy import plain_index
from veriscope.images.pairing import Pair, Pairs
from veriscope.images.resampling import Grid, Resampled
from veriscope.noise import Noise
from veriscope.simulate.optics import at_lines, lines
from veriscope.wording import lengths

MANY = 5  # stacks: then whole ones are kept aside for checking
LEAST_LINES = 4  # that must be left of a plane, as many as the interpolation looks at


def anisotropic_pairs(
    stack: Image, kernel: NDArray[Any] | None, subsample: float, noise: Noise | None = None, seed: int = 0
) -> Pairs:
    """Pairs (degraded, original) of the lateral planes of `stack`, to train a network that restores axial ones.

    `kernel`: the section of the PSF along the optical axis on the stack's lateral pixels, rows along the degraded axis
    (odd lengths; its sum is made 1); None blurs nothing. `subsample`: the distance of planes in lateral pixels, any
    number from 1; lines between pixels are interpolated linearly. `noise` is added to these lines, drawn with `seed`.
    Then the lines are interpolated back to the grid of the plane exactly as `resampled` does it along Z, so that
    training and restoring see the same.

    The degraded axis is Y of the pairs. There are two pairs: planes as they are, and with Y and X exchanged so that
    both lateral directions teach. Planes are the axis S; T and C stay. Grey values are the same in both images: cut
    patches with ``normalize="shared"``. Nothing is computed here: planes are degraded when they are read, and their
    lines kept, up to 256 MiB of them.

    Raises DataError for a stack without Z or too small, a kernel larger than a plane or without a sum, and a subsample
    below 1.
    """
    step = checked_subsample(subsample)
    if "Z" not in stack.axes:
        raise DataError(
            f"Isotropic training needs a stack, but {_name(stack)} has the axes {stack.axes}. Give an image with Z, "
            f"or state its axes."
        )
    if not {"Y", "X"} <= set(stack.axes):
        raise DataError(f"Isotropic training needs the axes Z, Y and X, but {_name(stack)} has {stack.axes}.")
    section = None if kernel is None else checked_kernel(kernel)
    pairs: list[Pair] = []
    for sample in range(stack.size("S")):
        one = stack.region(S=sample) if "S" in stack.axes else stack
        name = stack.name + (f"[{sample}]" if stack.size("S") > 1 else "")
        for order in ("YX", "XY"):
            truth = _planes(one, order)
            _check_size(truth, section, step, stack, order)
            few = Image(_Lines(truth, section, step, noise, (seed, sample, len(pairs))), truth.axes)
            grid = Grid(step, truth.shape[3], points=True)  # the geometry of planes along Z
            low = truth.with_array(Resampled(_Kept(few), {3: grid}))
            pairs.append(Pair(low, truth, f"{name} along {order[0]}".strip(), turns=False))
    return Pairs(pairs)


def checked_subsample(subsample: float) -> float:
    """`subsample` once it is known to be a number from 1."""
    step = float(subsample)
    if not (isfinite(step) and step >= 1):
        raise DataError(
            f"The subsampling is the distance of planes in lateral pixels, a number from 1 such as 5 or 10.2, not "
            f"{step:g}. Divide the voxel size along Z by that along X."
        )
    return step


def checked_kernel(kernel: NDArray[Any]) -> NDArray[np.float32]:
    """`kernel` with the sum 1, once it is known to be a plane of odd lengths, finite, and of a positive sum."""
    values = np.asarray(kernel, np.float64)
    if values.ndim != 2 or not all(length % 2 for length in values.shape):
        raise DataError(
            f"The kernel is a plane of odd lengths with its middle at the focus, rows along the optical axis, not of "
            f"shape {lengths(values.shape)}. Crop it."
        )
    total = float(values.sum())
    if not (isfinite(total) and total > 1e-6 * float(np.abs(values).max())):
        raise DataError(
            f"The kernel cannot be brought to the sum 1: its sum is {total:g}. Give a PSF with positive values and "
            f"without NaN, its background subtracted."
        )
    return np.asarray(values / total, np.float32)


def _planes(stack: Image, order: str) -> Image:
    """Lateral planes as samples S, with the axes S T C Y X; `order` is what becomes of Y and X."""
    moved = stack.moved("ZTC" + order)
    sizes = tuple(stack.voxel(letter) for letter in order)
    return Image(moved.array, "STCYX", sizes if all(sizes) else None, stack.time_step, stack.name)


def _check_size(truth: Image, kernel: NDArray[Any] | None, step: float, stack: Image, order: str) -> None:
    size = truth.shape[3:]
    if kernel is not None and any(have < need for have, need in zip(size, kernel.shape, strict=True)):
        raise DataError(
            f"The PSF is larger than the image: its section is {lengths(kernel.shape)} pixels, the planes of "
            f"{_name(stack)} are {lengths(size)} ({order}). Crop the PSF (only "
            f"{lengths(n - (n + 1) % 2 for n in size)} fit), or give a larger image."
        )
    if lines(size[0], step) < LEAST_LINES:
        raise DataError(
            f"{_name(stack)} is too small: of {size[0]} pixels along {order[0]} every {step:g}th leaves "
            f"{lines(size[0], step)} lines, and at least {LEAST_LINES} are needed. Give a wider image."
        )


class _Lines:
    """A lazy float32 array S T C Y X: planes of `truth`, blurred by `kernel`, of which every `step`-th line is left."""

    dtype = np.dtype(np.float32)

    def __init__(
        self, truth: Image, kernel: NDArray[Any] | None, step: float, noise: Noise | None, seed: tuple[int, ...]
    ) -> None:
        self.truth, self.kernel, self.step, self.noise, self.seed = truth, kernel, step, noise, seed
        self.shape = (*truth.shape[:3], lines(truth.shape[3], step), truth.shape[4])
        self.chunks = (1, 1, *self.shape[2:])

    def __getitem__(self, index: Any) -> NDArray[np.float32]:
        plane, time, *inner = index  # slices: what the cache asks for
        planes, times = (range(part.start, part.stop) for part in (plane, time))
        return np.asarray([[self.plane(s, t)[tuple(inner)] for t in times] for s in planes], np.float32)

    def plane(self, number: int, time: int) -> NDArray[np.float32]:
        """The lines (C, Y, X) of one plane."""
        image = self.truth.read(number, time).astype(np.float32)
        sampled = at_lines(image if self.kernel is None else blurred(image, self.kernel), 1, self.step)
        return self.noise.apply(sampled, (*self.seed, number, time)) if self.noise else sampled


def blurred(image: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """`image` (C, Y, X) convolved with `kernel` (Y, X); beyond its borders it is continued by reflection."""
    from scipy.signal import fftconvolve

    by = [(length // 2, length // 2) for length in kernel.shape]
    base = image.mean(dtype=np.float64).astype(np.float32)  # less to lose in the digits of the transform
    wide = np.pad(image - base, [(0, 0), *by], mode="symmetric")
    return np.asarray(fftconvolve(wide, kernel[None], mode="valid", axes=(1, 2)) + base, np.float32)


class _Kept:
    """The same array, with the chunks read last kept in memory."""

    def __init__(self, image: Image) -> None:
        self.image, self.cache = image, ChunkCache()
        self.shape, self.dtype = image.shape, image.dtype

    def __getitem__(self, index: Any) -> NDArray[Any]:
        parts = plain_index(index, self.shape)
        spans = (part if isinstance(part, slice) else slice(part, part + 1) for part in parts)
        region = tuple(slice(span.start, span.stop) for span in spans)
        inner = tuple(slice(None, None, part.step) if isinstance(part, slice) else 0 for part in parts)
        return self.cache.read(self.image, 0, region)[inner]


def split_stack(stack: Image, fraction: float, least: int) -> tuple[Image, Image]:
    """Parts of `stack` to train on and to check with, which share no pixel: a strip at the far end of the longer
    lateral axis, `fraction` of it and at least `least` pixels; where that is more than half, the last planes.
    """
    if not 0 < fraction < 1:
        raise DataError(f"The fraction kept aside for checking lies between 0 and 1, not at {fraction:g}. Use 0.1.")
    axis = "Y" if stack.size("Y") > stack.size("X") else "X"
    length = stack.size(axis)
    width = max(least, round(fraction * length))
    if 2 * width > length:
        axis, length = "Z", stack.size("Z")
        width = max(1, round(fraction * length))
        if length < 2:
            raise DataError(
                f"{_name(stack)} ({lengths(stack.shape)}, {stack.axes}) is too small to keep a part aside for "
                f"checking. Give a larger stack, or several."
            )
    return stack.region(**{axis: slice(0, length - width)}), stack.region(**{axis: slice(length - width, length)})


def parts_for_checking(stacks: list[Image], fraction: float, least: int) -> tuple[list[Image], list[Image]]:
    """Stacks to train on and to check with: whole ones where there are many, else parts of each."""
    if len(stacks) >= MANY:
        count = max(1, round(fraction * len(stacks)))
        return stacks[:-count], stacks[-count:]
    parts = [split_stack(stack, fraction, least) for stack in stacks]
    return [training for training, _ in parts], [checking for _, checking in parts]


def _name(image: Image) -> str:
    return f"'{image.name}'" if image.name else "the image"
