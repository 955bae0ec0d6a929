"""What veriscope train learns from: pairs, stacks on their own, patches that were cut already."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from veriscope.apps import console, isotropic, words
from veriscope.errors import DataError, TrainingError

if TYPE_CHECKING:
    from veriscope.images.pairing import Pairs
    from veriscope.networks.recipe import Recipe
    from veriscope.patches.npz import ArrayPatches
    from veriscope.training.job import Source

Sizes = Mapping[str, int]  # of an image along Z Y X
Typed = Collection[str]  # what the user decided: "patch", "depth"
LOW, HIGH = "low", "high"  # folders within one folder of pairs
STACKS = "input"  # folder of stacks without a truth, as veriscope simulate writes it
TASKS = ("restore", "project", "isotropic", "upsample")


class Material(Protocol):
    """What there is to learn from."""

    @property
    def title(self) -> str:
        """What it is, as a heading."""

    def settings(self) -> dict[str, Any]:
        """What the recipe must know of it."""

    def fitting(self, recipe: Recipe, typed: Typed) -> Recipe:
        """The recipe with patches that can be had of it, and as often halved as they can be."""

    def sources(self, recipe: Recipe, share: float, cut: dict[str, Any]) -> tuple[Source, Source, dict[str, str]]:
        """Patches to train on, patches to check with, and what there is in words."""


@dataclass(frozen=True)
class FromPairs:
    """Pairs of low and high images. `finer`: by how much low was interpolated."""

    pairs: Pairs
    finer: dict[str, float]
    title: str = "Pairs"

    def settings(self) -> dict[str, Any]:
        first = self.pairs[0]
        axes = "ZYX" if first.low.size("Z") > 1 else "YX"
        found: dict[str, Any] = {"axes": axes, "task": "project" if first.projects else "restore"}
        found |= {"channels_in": first.low.size("C"), "channels_out": first.high.size("C")}
        return found | ({"upsample": isotropic.upsample_of(self.finer, axes)} if self.finer else {})

    def fitting(self, recipe: Recipe, typed: Typed) -> Recipe:
        return fitting(recipe, sizes_of(self.pairs), typed)

    def sources(self, recipe: Recipe, share: float, cut: dict[str, Any]) -> tuple[Source, Source, dict[str, str]]:
        training, checking = _split(self.pairs, share, recipe.patch, cut["seed"])
        return *_cut(training, checking, cut), _found(self.pairs, len(training), len(checking))


@dataclass(frozen=True)
class FromStacks:
    """Stacks that are degraded to learn from."""

    stacks: isotropic.Stacks
    title: str = "Stacks"

    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {"axes": "YX", "task": "isotropic", "upsample": (self.stacks.subsample, 1, 1)}
        return found | dict.fromkeys(("channels_in", "channels_out"), self.stacks.channels)

    def fitting(self, recipe: Recipe, typed: Typed) -> Recipe:
        """By the planes of the stacks, in either direction."""
        sides = [(stack.size("Y"), stack.size("X")) for stack in self.stacks.stacks]
        return fitting(recipe, [{"Y": a, "X": b} for y, x in sides for a, b in ((y, x), (x, y))], typed)

    def sources(self, recipe: Recipe, share: float, cut: dict[str, Any]) -> tuple[Source, Source, dict[str, str]]:
        training, checking = self.stacks.pairs(share, recipe.patch, cut["seed"])
        return *_cut(training, checking, cut), self.stacks.found(training, checking)


@dataclass(frozen=True)
class FromPatches:
    """Patches in a file (.npz with X, Y and axes), as they are."""

    patches: ArrayPatches
    path: Path
    factor: float | None  # of subsampling, for the task isotropic
    title: str = "Patches"

    def settings(self) -> dict[str, Any]:
        axes = self.patches.axes
        found: dict[str, Any] = {"axes": axes, "task": "project" if self.patches.axes_out != axes else "restore"}
        if self.factor is not None:
            found |= {"task": "isotropic", "upsample": (self.factor, 1, 1)}
        return found | {"channels_in": self.patches.channels_in, "channels_out": self.patches.channels_out}

    def fitting(self, recipe: Recipe, typed: Typed) -> Recipe:
        """Patches as large as they are."""
        if "depth" not in typed:
            shape = self.patches.shape
            recipe = _halved_less(recipe, lambda step: any(n % s for n, s in zip(shape, step, strict=True)))
        return recipe.change(patch=self.patches.shape)

    def sources(self, recipe: Recipe, share: float, cut: dict[str, Any]) -> tuple[Source, Source, dict[str, str]]:
        training, checking = self.patches.split(share)
        found = {
            "found": f"{len(self.patches)} ({len(training)} to train, {len(checking)} to check)",
            "axes": self.patches.axes,
            "size": words.times(self.patches.low_shape),
            "file": str(self.path),
        }
        if self.patches.channels_in > 1 or self.patches.channels_out > 1:
            found["channels"] = f"{self.patches.channels_in} -> {self.patches.channels_out}"
        return training, checking, found


def needs_high(low: Path) -> bool:
    """Whether LOW says nothing without HIGH: neither patches nor a folder that holds patches, or truths too."""
    from veriscope.images.conditions import TRAINING, holds_conditions, part

    if low.suffix == ".npz" or (low / TRAINING).is_dir() or holds_conditions(part(low, TRAINING)):
        return False
    return not ((low / LOW).is_dir() and (low / HIGH).is_dir())


def read_material(
    task: str,
    low: Path,
    high: Path | None,
    axes: str | None,
    degrading: tuple[str | None, float | None, str | None],
    factor: str | None,
) -> Material:
    """What LOW and HIGH hold. `degrading`: PSF, subsampling and noise in words, for the task isotropic."""
    if high is not None and task == "isotropic":
        raise TrainingError(
            f"--task isotropic learns from the stacks alone, so HIGH ({high}) has no meaning. Leave it out; "
            f"several stacks are given as a folder or a pattern in quotes."
        )
    from veriscope.images import conditions

    saved = low if low.suffix == ".npz" else None
    if saved is None and high is None and low.is_dir():
        saved = conditions.patch_file(low)
    if saved is not None:
        return _saved(task, saved, high, axes, degrading)
    if task == "isotropic":
        inside = conditions.part(low, conditions.TRAINING)
        place = inside / STACKS if (inside / STACKS).is_dir() else inside
        return FromStacks(isotropic.read_stacks(place, axes, *degrading))
    if high is None and (low / LOW).is_dir() and (low / HIGH).is_dir():
        return _pairs(task, low / LOW, low / HIGH, axes, factor)
    if high is None:
        found = conditions.read_conditions(conditions.part(low, conditions.TRAINING), words.axes_of_pairs(axes))
        console.note(f"all conditions are learned together: {', '.join(found)}.")
        return FromPairs(conditions.pooled(found), {})
    return _pairs(task, low, high, axes, factor)


def _saved(
    task: str,
    path: Path,
    high: Path | None,
    axes: str | None,
    degrading: tuple[str | None, float | None, str | None],
) -> FromPatches:
    from veriscope.patches.anisotropy import checked_subsample
    from veriscope.patches.npz import load_npz

    psf, subsample, noise = degrading
    if high is not None:
        raise TrainingError(f"{path} holds low and high patches, so HIGH ({high}) has no meaning. Leave it out.")
    if psf is not None or noise is not None:
        raise TrainingError(f"The patches in {path} are degraded already. Leave out --psf and --noise.")
    if task == "isotropic" and subsample is None:
        raise TrainingError(
            f"{path} does not say how far planes lie apart, so --subsample must: their distance in pixels, such as "
            f"--subsample 5."
        )
    found = load_npz(path, axes)
    factor = checked_subsample(subsample) if subsample is not None else None
    return FromPatches(found, path, factor)


def _pairs(task: str, low: Path, high: Path, axes: str | None, factor: str | None) -> FromPairs:
    from veriscope.images.pairing import factors_between, read_pairs
    from veriscope.images.reading import list_images, read_image

    of_both = words.axes_of_pairs(axes)
    finer = isotropic.factors_from_words(factor) or {}
    if task == "upsample" and not finer:
        of_each = of_both if isinstance(of_both, tuple) else (of_both, of_both)
        first = [
            read_image(list_images(place)[0], word, lazy=True) for place, word in zip((low, high), of_each, strict=True)
        ]
        finer = factors_between(first[0], first[1], first[0].name)
        told = ",".join(f"{letter}={value:g}" for letter, value in finer.items())
        console.note(f"HIGH has more pixels than LOW by --factor {told}, as the sizes say.")
    return FromPairs(read_pairs(low, high, axes=of_both, finer=finer), finer)


def check_planes(task: str | None, material: Material, low: Path) -> None:
    """Whether the images are such that networks can learn what was asked for; says so where they decide themselves."""
    projects = material.settings()["task"] == "project"
    if task == "project" and not projects:
        raise TrainingError(
            f"--task project needs stacks and for each of them one plane, but the truths of {low} have as many planes "
            f"as the stacks. Give flat truths, or leave out --task."
        )
    if task == "restore" and projects:
        raise TrainingError(
            f"--task restore needs the same planes in both, but the truths of {low} have one plane for each stack. "
            f"Give stacks, or leave out --task to project."
        )
    if task is None and projects:
        console.note("there is one plane for each stack, so the networks learn to project (--task project).")


# -- patches of a size that fits -------------------------------------------------------------------------------------


def sizes_of(pairs: Pairs) -> list[Sizes]:
    return [{letter: pair.low.size(letter) for letter in "ZYX"} for pair in pairs]


def fitting(recipe: Recipe, images: Sequence[Sizes], typed: Typed = ()) -> Recipe:
    """The recipe with patches that fit into the smallest of `images`, where those it came with do not, and fewer
    halvings where images are thinner than those need. Raises TrainingError, with what would do, for what was `typed`.
    """
    smallest = [min(image[letter] for image in images) for letter in recipe.axes_out]
    if "depth" not in typed and "patch" not in typed:
        recipe = _halved_less(recipe, lambda step: any(n < s for n, s in zip(smallest, step, strict=True)))
    lengths = [size // step * step for size, step in zip(smallest, recipe.step, strict=True)]
    if not all(lengths):
        least = recipe.change(depth=1)
        has = f"The smallest image has {words.times(smallest)} pixels ({recipe.axes_out})"
        needs = f"a network of depth {recipe.depth} needs at least {words.times(recipe.step)}"
        if any(size < step for size, step in zip(smallest, least.step, strict=True)):
            raise TrainingError(f"{has}, but {needs}, and none works on fewer than {words.times(least.step)}.")
        while any(size < step for size, step in zip(smallest, recipe.step, strict=True)):
            recipe = recipe.change(depth=recipe.depth - 1)
        raise TrainingError(f"{has}, but {needs}. Use {_settings(recipe, smallest)}.")
    if "patch" in typed:
        if any(length > size for length, size in zip(recipe.patch, smallest, strict=True)):
            raise TrainingError(
                f"The smallest image, {words.times(smallest)} pixels ({recipe.axes_out}), is smaller than a patch of "
                f"{words.times(recipe.patch)}. Use {_settings(recipe, smallest)}, or leave this image out."
            )
        return recipe
    patch = tuple(min(length, most) for length, most in zip(recipe.patch, lengths, strict=True))
    if patch == recipe.patch:
        return recipe
    console.note(f"patches are {words.times(patch)}, so that they fit into the smallest image.")
    return recipe.change(patch=patch)


def _halved_less(recipe: Recipe, too_coarse: Callable[[tuple[int, ...]], bool]) -> Recipe:
    """The recipe with the greatest depth, up to its own, whose step is not `too_coarse`; its own where none is."""
    fewer = recipe
    while too_coarse(fewer.step) and fewer.depth > 1:
        fewer = fewer.change(depth=fewer.depth - 1)
    if fewer is recipe or too_coarse(fewer.step):
        return recipe
    console.note(f"networks have --depth {fewer.depth} instead of {recipe.depth}, to fit into the smallest image.")
    return fewer


def _settings(recipe: Recipe, smallest: Sequence[int]) -> str:
    """Options that work on images of at least `smallest` pixels."""
    fits = [min(n, size // step * step) for n, size, step in zip(recipe.patch, smallest, recipe.step, strict=True)]
    return f"--depth {recipe.depth} --patch {','.join(map(str, fits))}"


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


def _cut(training: Pairs, checking: Pairs, cut: dict[str, Any]) -> tuple[Source, Source]:
    from veriscope.patches.cutting import cut_patches

    return cut_patches(training, **cut), cut_patches(checking, **cut)


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
    voxels = {pair.low.describe().get("voxel size", "unknown") for pair in pairs}
    found["voxel"] = next(iter(voxels)) if len(voxels) == 1 else f"{len(voxels)} different sizes"
    return found


def check_cutting(material: Material, options: dict[str, Any]) -> None:
    """Patches that are cut already are neither cut nor normalised anew."""
    given = [option for option, value in options.items() if value is not None]
    if isinstance(material, FromPatches) and given:
        raise DataError(f"The patches in {material.path} are cut and normalised. Leave out {' and '.join(given)}.")
