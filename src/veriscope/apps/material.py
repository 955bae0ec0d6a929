"""What veriscope train learns from: pairs, or stacks that are degraded; from what was typed to images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veriscope.apps import console, words
from veriscope.errors import DataError, TrainingError, VeriscopeError

if TYPE_CHECKING:
    from veriscope.images.image import Image
    from veriscope.images.pairing import Pairs
    from veriscope.patches.anisotropy import Noise

Sizes = Mapping[str, int]  # of an image along Z Y X
RATIOS_ALIKE = 0.05  # relative difference of voxel ratios up to which stacks make one model
NOISE = ("gain", "read", "offset")
PSF_EXAMPLE = "--psf gaussian:na=1.1"


@dataclass(frozen=True)
class Stacks:
    """Stacks to learn from on their own, and how they are degraded."""

    stacks: tuple[Image, ...]
    subsample: float
    kernels: tuple[Any, ...]  # one per stack, None without blur
    noise: Noise | None

    @property
    def sizes(self) -> list[Sizes]:
        """Of their planes, in either direction."""
        sides = [(stack.size("Y"), stack.size("X")) for stack in self.stacks]
        return [{"Y": a, "X": b} for y, x in sides for a, b in ((y, x), (x, y))]

    def settings(self) -> dict[str, Any]:
        """What the recipe must know of them."""
        found: dict[str, Any] = {"axes": "YX", "task": "isotropic", "upsample": (self.subsample, 1, 1)}
        return found | dict.fromkeys(("channels_in", "channels_out"), self.stacks[0].size("C"))

    def split(self, share: float, patch: tuple[int, ...], seed: int) -> tuple[Pairs, Pairs, dict[str, str]]:
        """Pairs to train on, to check with, and what there is in words."""
        training, checking = self.pairs(share, patch, seed)
        return training, checking, self.found(training, checking)

    def pairs(self, share: float, patch: tuple[int, ...], seed: int) -> tuple[Pairs, Pairs]:
        """Pairs to train on and to check with, which share no pixel. Raises DataError where parts become too small."""
        from veriscope.patches.anisotropy import parts_for_checking

        for kernel in self.kernels:
            if kernel is not None and any(a > b for a, b in zip(kernel.shape, patch, strict=True)):
                raise DataError(
                    f"The PSF is larger than a patch: its section is {words.times(kernel.shape)} pixels, a patch "
                    f"{words.times(patch)}. Use larger patches (--patch), or check the PSF and the voxel size."
                )
        least = max([*patch, *(max(kernel.shape) for kernel in self.kernels if kernel is not None)])
        training, checking = parts_for_checking(list(self.stacks), share, least)
        if len(training) == len(checking) == len(self.stacks):
            kept, whole = checking[0], self.stacks[0]
            axis = next(letter for letter in "ZYX" if kept.size(letter) != whole.size(letter))
            console.note(
                f"for checking the last {kept.size(axis)} of {whole.size(axis)} "
                f"{'planes' if axis == 'Z' else f'pixels along {axis}'} of each stack are kept aside."
            )
            kernels = self.kernels, self.kernels
        else:
            console.note(f"for checking {len(checking)} of {len(self.stacks)} stacks are kept aside.")
            kernels = self.kernels[: len(training)], self.kernels[len(training) :]
        return self._degraded(training, kernels[0], seed), self._degraded(checking, kernels[1], seed + 1)

    def _degraded(self, stacks: list[Image], kernels: tuple[Any, ...], seed: int) -> Pairs:
        from veriscope.images.pairing import Pairs
        from veriscope.patches.anisotropy import anisotropic_pairs

        made = [
            anisotropic_pairs(stack, kernel, self.subsample, self.noise, seed + number)
            for number, (stack, kernel) in enumerate(zip(stacks, kernels, strict=True))
        ]
        return Pairs([pair for pairs in made for pair in pairs])

    def found(self, training: Pairs, checking: Pairs) -> dict[str, str]:
        """What there is to learn from, in words."""
        first = self.stacks[0]
        rows = {
            "found": f"{len(self.stacks)} stack{'s' if len(self.stacks) > 1 else ''}",
            "axes": first.axes,
            "size": words.times(first.shape),
            "type": str(first.dtype),
            "voxel": first.describe().get("voxel size", "unknown"),
            "subsampling": f"every {self.subsample:g}th line, in either lateral direction",
            "blur": "none" if self.kernels[0] is None else f"PSF of {words.times(self.kernels[0].shape)} pixels",
        }
        if self.noise is not None:
            rows["noise"] = f"gain {self.noise.gain:g}, read {self.noise.read:g}, offset {self.noise.offset:g}"
        planes = [sum(pair.low.size("S") * pair.low.size("T") for pair in pairs) for pairs in (training, checking)]
        rows["planes"] = f"{planes[0]} to train, {planes[1]} to check"
        return rows


@dataclass(frozen=True)
class Paired:
    """Pairs to learn from. `finer`: by how much LOW was interpolated."""

    pairs: Pairs
    finer: dict[str, float]

    @property
    def sizes(self) -> list[Sizes]:
        return sizes_of(self.pairs)

    def settings(self) -> dict[str, Any]:
        """What the recipe must know of them."""
        first = self.pairs[0]
        axes = "ZYX" if first.low.size("Z") > 1 else "YX"
        found: dict[str, Any] = {"axes": axes, "task": "project" if first.projects else "restore"}
        found |= {"channels_in": first.low.size("C"), "channels_out": first.high.size("C")}
        return found | ({"upsample": upsample_of(self.finer, axes)} if self.finer else {})

    def split(self, share: float, patch: tuple[int, ...], seed: int) -> tuple[Pairs, Pairs, dict[str, str]]:
        """Pairs to train on, to check with, and what there is in words."""
        training, checking = _split(self.pairs, share, patch, seed)
        return training, checking, _found(self.pairs, len(training), len(checking))


def read(
    task: str | None,
    low: Path,
    high: Path | None,
    axes: str | None,
    degrading: tuple[str | None, float | None, str | None],
    factor: str | None,
) -> Paired | Stacks:
    """What the networks learn from; `degrading` is what was typed for --psf, --subsample and --noise."""
    if task == "isotropic":
        if high is not None:
            raise TrainingError(
                f"--task isotropic learns from the stacks alone, so HIGH ({high}) has no meaning. Leave it out; "
                f"several stacks are given as a folder or a pattern in quotes."
            )
        return read_stacks(low, axes, *degrading)
    from veriscope.images.pairing import factors_between, read_pairs
    from veriscope.images.reading import list_images, read_image

    if high is None:
        raise TrainingError("HIGH is missing: training learns from pairs, LOW and HIGH. See: veriscope train --help")
    words_for_both = words.axes_of_pairs(axes)
    finer = factors_from_words(factor) or {}
    if task == "upsample" and not finer:
        each = words_for_both if isinstance(words_for_both, tuple) else (words_for_both, words_for_both)
        first = [
            read_image(list_images(place)[0], own, lazy=True) for place, own in zip((low, high), each, strict=True)
        ]
        finer = factors_between(first[0], first[1], first[0].name)
        told = ",".join(f"{letter}={value:g}" for letter, value in finer.items())
        console.note(f"HIGH has more pixels than LOW by --factor {told}, as the sizes say.")
    pairs = read_pairs(low, high, axes=words_for_both, finer=finer)
    if task is None and pairs[0].projects:
        console.note("HIGH has one plane for each stack of LOW, so the networks learn to project (--task project).")
    _check_projecting(task, pairs, low, high)
    return Paired(pairs, finer)


def _check_projecting(task: str | None, pairs: Pairs, low: Path, high: Path) -> None:
    """Whether the images are such that networks can learn what was asked for."""
    stack, plane = pairs[0].low, pairs[0].high
    if task == "project" and not pairs[0].projects:
        raise TrainingError(
            f"--task project needs stacks and for each one plane, but {low} has {stack.size('Z')} and {high} "
            f"{plane.size('Z')} planes in Z. Give flat images in {high}, or leave out --task."
        )
    if task in ("restore", "upsample") and pairs[0].projects:
        raise TrainingError(
            f"--task {task} needs the same planes in both, but {low} has {stack.size('Z')} and {high} has one. "
            f"Give stacks in {high}, or leave out --task to project."
        )


def sizes_of(pairs: Pairs) -> list[Sizes]:
    return [{letter: pair.low.size(letter) for letter in "ZYX"} for pair in pairs]


def _split(pairs: Pairs, share: float, patch: tuple[int, ...], seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to train on and to check with. A single image is cut in two, with room for a patch in the smaller part."""
    if len(pairs) == 1:
        image = pairs[0].low
        length, width = max((image.size("Y"), patch[-2]), (image.size("X"), patch[-1]))
        if width > round(share * length) and 2 * width <= length:
            share = width / length
            console.note(f"there is one pair only, so {100 * share:.0f} % of its field are kept aside for checking.")
    training, checking, _ = pairs.split(check=share, test=0, seed=seed)
    return training, checking


def _found(pairs: Pairs, training: int, checking: int) -> dict[str, str]:
    low, high = pairs[0].low, pairs[0].high
    shapes = {pair.low.shape for pair in pairs}
    size = words.times(low.shape) if len(shapes) == 1 else f"{len(shapes)} different sizes"
    found = {
        "found": f"{len(pairs)} ({training} to train, {checking} to check)",
        "axes": low.axes,
        "size": size,
        "type": f"{low.dtype} -> {high.dtype}",
    }
    if low.size("C") > 1 or high.size("C") > 1:
        found["channels"] = f"{low.size('C')} -> {high.size('C')}"
    sizes = [low.voxel(letter) for letter in low.spatial_axes]
    found["voxel"] = "unknown" if None in sizes else f"{words.times([f'{size:g}' for size in sizes])} um"
    return found


def read_stacks(source: Path, axes: str | None, psf: str | None, subsample: float | None, noise: str | None) -> Stacks:
    """The stacks that `source` means (a file, folder or pattern), and how they are to be degraded."""
    from veriscope.images.reading import list_images, read_image
    from veriscope.patches.anisotropy import checked_subsample

    if psf is None:
        raise VeriscopeError(
            f"--task isotropic needs to know how the microscope blurs: give {PSF_EXAMPLE}, a bead image such as "
            f"--psf bead.tif, or --psf none to undo the subsampling only."
        )
    added = noise_from_words(noise)
    if subsample is not None:
        checked_subsample(subsample)
    stacks = tuple(read_image(path, axes=axes) for path in list_images(source))
    for stack in stacks:
        if not {"Z", "Y", "X"} <= set(stack.axes) or stack.size("Z") < 2:
            raise DataError(
                f"--task isotropic learns from stacks, but {stack.name} has the axes {stack.axes} "
                f"({words.times(stack.shape)}). Give stacks, or say by --axes what the axes are."
            )
        if stack.size("C") != stacks[0].size("C"):
            raise DataError(
                f"{stack.name} has {stack.size('C')} channels, {stacks[0].name} {stacks[0].size('C')}. Stacks for one "
                f"model have the same channels."
            )
    step = subsample if subsample is not None else ratio_of(stacks)
    kernels: dict[Any, Any] = {}
    for stack in stacks:
        if stack.voxel_size not in kernels:
            kernels[stack.voxel_size] = section(psf, stack)
    return Stacks(stacks, step, tuple(kernels[stack.voxel_size] for stack in stacks), added)


def ratio_of(stacks: tuple[Image, ...]) -> float:
    """How much longer voxels are along Z than along X, from the files; said aloud."""
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
            f"Train a model for each ratio, or say by --subsample which one to use for all."
        )
    ratio = ratios[0]
    if ratio < 1:
        raise DataError(
            f"The voxels of {stacks[0].name} are shorter along Z than along X ({ratio:.3g} times). There is nothing to "
            f"interpolate; give --subsample 1 to undo the blur only."
        )
    console.note(f"planes lie {ratio:.4g} pixels apart, as the file says (--subsample {ratio:.4g}).")
    return float(f"{ratio:.6g}")


def section(psf: str, stack: Image) -> Any:
    """The section of the PSF that `psf` names, on the lateral pixels of `stack`; None for "none"."""
    if psf.strip().lower() == "none":
        return None
    from veriscope.simulate.psf import from_words

    pixel = stack.voxel("X")
    size = tuple(stack.voxel(letter) or 0.0 for letter in "ZYX") if pixel is not None else None
    made = from_words(psf, size)
    if pixel is None:
        raise VeriscopeError(
            f"{stack.name} does not say how large its voxels are, so the PSF cannot be put on its pixels. Save it with "
            f"its voxel size, for example in Fiji under Image > Properties."
        )
    return made.rotated(pixel)


def noise_from_words(text: str | None) -> Noise | None:
    """``gain=2,read=5,offset=100``, all in grey values."""
    if text is None:
        return None
    from veriscope.patches.anisotropy import Noise

    return Noise(**_numbers("--noise", text, NOISE, "--noise gain=2,read=5,offset=100"))


def factors_from_words(text: str | None) -> dict[str, float] | None:
    """``Z=4`` or ``Y=2,X=2``: how many times as many pixels HIGH has; None to be told by the sizes."""
    if text is None:
        return None
    found = _numbers("--factor", text.upper(), tuple("ZYX"), "--factor Z=4")
    if not found or any(not 1 <= value < float("inf") for value in found.values()):
        raise VeriscopeError(f"--factor {text} is not possible. Give numbers from 1, such as --factor Z=4.")
    return found


def _numbers(option: str, text: str, names: tuple[str, ...], example: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = (word.strip() for word in part.partition("="))
        try:
            found[next(known for known in names if known.lower() == name.lower())] = float(value)
        except (StopIteration, ValueError):
            raise VeriscopeError(
                f"{option} {text} is not understood at '{part}'. Give {', '.join(names)} a number each: {example}."
            ) from None
    return found


def upsample_of(factors: Mapping[str, float], axes: str) -> tuple[float, ...]:
    """As the recipe has them: one factor for each of `axes`."""
    unknown = sorted(set(factors) - set(axes))
    if unknown:
        raise VeriscopeError(f"--factor names {', '.join(unknown)}, but the images have {axes}. Leave it out.")
    return tuple(factors.get(letter, 1.0) for letter in axes)
