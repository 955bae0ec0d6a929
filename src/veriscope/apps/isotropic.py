"""veriscope train --task isotropic and --task upsample: from what was typed to pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veriscope.apps import console, words
from veriscope.errors import DataError, VeriscopeError

if TYPE_CHECKING:
    from veriscope.images.image import Image
    from veriscope.images.pairing import Pairs
    from veriscope.noise import Noise

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
    def channels(self) -> int:
        return self.stacks[0].size("C")

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
            rows["noise"] = f"gain {self.noise.gain:g}, read {self.noise.read_noise:g}, offset {self.noise.offset:g}"
        planes = [sum(pair.low.size("S") * pair.low.size("T") for pair in pairs) for pairs in (training, checking)]
        rows["planes"] = f"{planes[0]} to train, {planes[1]} to check"
        return rows


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
    from veriscope.noise import Noise

    found = _numbers("--noise", text, NOISE, "--noise gain=2,read=5,offset=100")
    return Noise(found.get("gain", 0.0), found.get("offset", 0.0), found.get("read", 0.0))


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
            found[next(known for known in names if known.lower() == name.lower())] = number = float(value)
            if not abs(number) <= 1e9:
                raise ValueError(value)
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
