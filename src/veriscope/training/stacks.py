"""Stacks to learn from on their own: how they are degraded, and what of them is kept aside (SI 2.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veriscope.errors import DataError, VeriscopeError
from veriscope.images.conditions import TRAINING, part
from veriscope.images.image import Image
from veriscope.images.pairing import Pairs
from veriscope.images.reading import list_images, read_image
from veriscope.images.resampling import resampled
from veriscope.noise import Noise
from veriscope.normalize import Normalization, fit
from veriscope.patches.patches import Section
from veriscope.patches.scaling import FIXED_PERCENTILES
from veriscope.simulate.anisotropy import LEAST_LINES, anisotropic_pairs, checked_subsample, parts_for_checking
from veriscope.simulate.psf import from_words
from veriscope.wording import lengths

RATIOS_ALIKE = 0.05  # relative difference of voxel ratios up to which stacks make one model
SECTIONS = 24  # axial ones, that are looked at after training
LARGEST_SECTION = 2**19  # pixels
INPUT = "input"  # folder of stacks without a truth, as veriscope simulate writes it
PSF_EXAMPLE = "--psf gaussian:na=1.1"


@dataclass(frozen=True)
class Degrading:
    """What the microscope does along Z; what is None is asked of the files, or is an error where they do not know."""

    psf: str | None = None  # in words, a file, or "none"
    subsample: float | None = None
    noise: Noise | None = None


@dataclass(frozen=True)
class Stacks:
    """Stacks, and how they are degraded."""

    stacks: tuple[Image, ...]
    subsample: float
    kernels: tuple[Any, ...]  # one per stack, None without blur
    noise: Noise | None = None
    notes: tuple[str, ...] = ()

    def pairs(self, fraction: float, patch: tuple[int, ...], seed: int, notes: list[str]) -> tuple[Pairs, Pairs]:
        """Pairs to train on and to check with, which share no pixel. Raises DataError where parts become too small."""
        for kernel in self.kernels:
            if kernel is not None and any(a > b for a, b in zip(kernel.shape, patch, strict=True)):
                raise DataError(
                    f"The PSF is larger than a patch: its section is {lengths(kernel.shape)} pixels, a patch "
                    f"{lengths(patch)}. Use larger patches (--patch), or check the PSF and the voxel size."
                )
        least = max([*patch, *(max(kernel.shape) for kernel in self.kernels if kernel is not None)])
        training, checking = parts_for_checking(list(self.stacks), fraction, least)
        if len(training) == len(checking) == len(self.stacks):
            kept, whole = checking[0], self.stacks[0]
            axis = next(letter for letter in "ZYX" if kept.size(letter) != whole.size(letter))
            notes.append(
                f"for checking the last {kept.size(axis)} of {whole.size(axis)} "
                f"{'planes' if axis == 'Z' else f'pixels along {axis}'} of each stack are kept aside."
            )
        else:
            notes.append(f"for checking {len(checking)} of {len(self.stacks)} stacks are kept aside.")
        first, last = self.kernels[: len(training)], self.kernels[-len(checking) :]
        return self._degraded(training, first, seed), self._degraded(checking, last, seed + 1)

    def _degraded(self, stacks: list[Image], kernels: tuple[Any, ...], seed: int) -> Pairs:
        made = [
            anisotropic_pairs(stack, kernel, self.subsample, self.noise, seed + number)
            for number, (stack, kernel) in enumerate(zip(stacks, kernels, strict=True))
        ]
        return Pairs([pair for pairs in made for pair in pairs])

    def sections(self) -> Iterator[Section]:
        """Some axial sections, along X and along Y in turns, in no order: the first ones stand for all.

        Their planes are as fine as pixels, their values normalised.
        """
        known: dict[int, tuple[Image, Normalization]] = {}
        for turn, pair in enumerate(np.random.default_rng(0).permutation(SECTIONS // 2).tolist()):
            which = turn % len(self.stacks)
            if which not in known:
                whole = self.stacks[which]
                frame = whole.region(**{letter: slice(0, 1) for letter in "ST" if letter in whole.axes})
                fine = resampled(frame, {"Z": self.subsample})
                known[which] = fine, fit(fine.blocks_with_contrast(), FIXED_PERCENTILES)
            fine, scaling = known[which]
            for number, (across, along) in ((2 * pair, "YX"), (2 * pair + 1, "XY")):
                place = _place(number, fine.size(across))
                length = min(fine.size(along), max(LEAST_LINES, LARGEST_SECTION // fine.size("Z")))
                start = (fine.size(along) - length) // 2
                thin = fine.region(**{across: slice(place, place + 1), along: slice(start, start + length)})
                block = np.asarray(thin.moved("C" + across + "Z" + along).array)
                others = (_place(other, fine.size(along)) for other in range(1 - number % 2, SECTIONS, 2))
                met = {at - start: {across: place, along: at} for at in others if start <= at < start + length}
                crossings = {column: (which, at["Y"], at["X"]) for column, at in met.items()}
                yield Section(scaling.apply(block[(0,) * (block.ndim - 4)][:, 0]), crossings)

    def found(self, training: Pairs, checking: Pairs) -> dict[str, str]:
        """What there is to learn from, in words."""
        first = self.stacks[0]
        rows = {
            "found": f"{len(self.stacks)} stack{'s' if len(self.stacks) > 1 else ''}",
            "axes": first.axes,
            "size": lengths(first.shape),
            "type": str(first.dtype),
            "voxel": first.describe().get("voxel size", "unknown"),
            "subsampling": f"every {self.subsample:g}th line, in either lateral direction",
            "blur": "none" if self.kernels[0] is None else f"PSF of {lengths(self.kernels[0].shape)} pixels",
        }
        if self.noise is not None:
            rows["noise"] = f"gain {self.noise.gain:g}, read {self.noise.read_noise:g}, offset {self.noise.offset:g}"
        planes = [sum(pair.low.size("S") * pair.low.size("T") for pair in pairs) for pairs in (training, checking)]
        rows["planes"] = f"{planes[0]} to train, {planes[1]} to check"
        return rows


def _place(number: int, length: int) -> int:
    """Where one of SECTIONS lies that are spread evenly."""
    return (2 * number + 1) * length // (2 * SECTIONS)


def stacks_in(folder: Path) -> Path:
    """Where the stacks to train on lie in `folder`, which may be a data set."""
    inside = part(folder, TRAINING)
    return inside / INPUT if (inside / INPUT).is_dir() else inside


def read_stacks(source: Path, axes: str | None, degrading: Degrading) -> Stacks:
    """The stacks that `source` means (a file, folder or pattern), and how they are to be degraded."""
    if degrading.psf is None:
        raise VeriscopeError(
            f"--task isotropic needs to know how the microscope blurs: give {PSF_EXAMPLE}, a bead image such as "
            f"--psf bead.tif, or --psf none to undo the subsampling only."
        )
    if degrading.subsample is not None:
        checked_subsample(degrading.subsample)
    stacks = tuple(read_image(path, axes=axes) for path in list_images(source))
    for stack in stacks:
        if not {"Z", "Y", "X"} <= set(stack.axes) or stack.size("Z") < 2:
            raise DataError(
                f"--task isotropic learns from stacks, but {stack.name} has the axes {stack.axes} "
                f"({lengths(stack.shape)}). Give stacks, or state their axes with --axes."
            )
        if stack.size("C") != stacks[0].size("C"):
            raise DataError(
                f"{stack.name} has {stack.size('C')} channels, {stacks[0].name} {stacks[0].size('C')}. Stacks for one "
                f"model have the same channels."
            )
    step, notes = degrading.subsample, []
    if step is None:
        step = _ratio(stacks)
        notes.append(f"planes lie {step:.4g} pixels apart, as the file says (--subsample {step:.4g}).")
    kernels: dict[Any, Any] = {}
    for stack in stacks:
        if stack.voxel_size not in kernels:
            kernels[stack.voxel_size] = _section(degrading.psf, stack)
    return Stacks(stacks, step, tuple(kernels[stack.voxel_size] for stack in stacks), degrading.noise, tuple(notes))


def _ratio(stacks: Sequence[Image]) -> float:
    """How much longer voxels are along Z than along X, from the files."""
    ratios = []
    for stack in stacks:
        long, short = stack.voxel("Z"), stack.voxel("X")
        if long is None or short is None:
            raise VeriscopeError(
                f"{stack.name} does not say how large its voxels are, so --subsample must: the distance of planes "
                f"in pixels, such as --subsample 5."
            )
        ratios.append(long / short)
    if max(ratios) > (1 + RATIOS_ALIKE) * min(ratios):
        raise DataError(
            f"The voxels of these stacks are {min(ratios):.3g} to {max(ratios):.3g} times as long along Z as along X. "
            f"Train a model for each ratio, or choose one for all with --subsample."
        )
    if ratios[0] < 1:
        raise DataError(
            f"The voxels of {stacks[0].name} are shorter along Z than along X ({ratios[0]:.3g} times). There is "
            f"nothing to interpolate; give --subsample 1 to undo the blur only."
        )
    return float(f"{ratios[0]:.6g}")


def _section(psf: str, stack: Image) -> Any:
    """The section of the PSF that `psf` names, on the lateral pixels of `stack`; None for "none"."""
    if psf.strip().lower() == "none":
        return None
    pixel = stack.voxel("X")
    made = from_words(psf, tuple(stack.voxel(letter) or 0.0 for letter in "ZYX") if pixel is not None else None)
    if pixel is None:
        raise VeriscopeError(
            f"{stack.name} does not say how large its voxels are, so the PSF cannot be put on its pixels. Save it with "
            f"its voxel size, for example in Fiji under Image > Properties."
        )
    return made.rotated(pixel)
