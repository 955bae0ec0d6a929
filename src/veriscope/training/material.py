"""Which data? What there is to learn from, which part of it is kept aside, and patches of a size that fits.

The one answer for `veriscope.train`, the command line, the demo and the experiments of the paper.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

from veriscope.errors import TrainingError, VeriscopeError
from veriscope.images import conditions
from veriscope.images.pairing import Pairs, factors_between, read_pairs
from veriscope.images.reading import list_images, read_image
from veriscope.networks.recipe import Recipe
from veriscope.patches.cutting import cut_patches
from veriscope.patches.npz import ArrayPatches, load_npz
from veriscope.patches.patches import Patches
from veriscope.patches.scaling import MATCHED, RANDOM, SHARED, Normalize, Scaling
from veriscope.simulate.anisotropy import checked_subsample
from veriscope.training.stacks import Degrading, Stacks, read_stacks, stacks_in
from veriscope.wording import lengths

Cut: TypeAlias = Patches | ArrayPatches
Found: TypeAlias = tuple[list[Cut], dict[str, str]]  # patches to train on and to check with; what there is, in words
Aside: TypeAlias = float | Pairs  # to check with: a fraction of the images, or others
Axes: TypeAlias = str | tuple[str, str] | None  # of both images of a pair, or of low and of high
LOW, HIGH = "low", "high"  # folders within one folder of pairs
STARTED = "start"  # among what was typed: the layers of the network are those of another
ASIDE = 0.1  # fraction of the images kept aside to check the training and to calibrate


@dataclass(frozen=True)
class Cutting:
    """How patches are cut; see `cut_patches`. `foreground` 0 or None: from everywhere; `normalize` None: as usual."""

    per_image: int = 32
    foreground: float | None = 0.4
    normalize: Normalize | None = None
    seed: int = 0

    def patches(self, recipe: Recipe, *groups: Pairs) -> list[Cut]:
        options: dict[str, Any] = {**vars(self), "foreground": self.foreground or None}
        options["normalize"] = usual_scaling(recipe) if self.normalize is None else self.normalize
        return [cut_patches(pairs, recipe.patch, **options) for pairs in groups]


@dataclass(frozen=True)
class Prepared:
    """What a training takes, and what a user may want to know of it: rows in words, and notes."""

    recipe: Recipe
    patches: Cut
    check: Cut
    found: dict[str, str]
    notes: list[str]


def prepare(
    material: Material,
    recipe: Recipe,
    check: Aside = ASIDE,
    cutting: Cutting | None = None,
    typed: Collection[str] = (),
) -> Prepared:
    """`recipe` with patches that fit the images, but for what the user `typed`, and patches that are cut for it."""
    notes = list(material.notes)
    recipe = material.fitting(recipe, typed, notes)
    if isinstance(check, Pairs):
        recipe = FromPairs(check).fitting(recipe, typed, notes)
    (patches, checking), found = material.sources(recipe, check, cutting or Cutting(), notes)
    return Prepared(recipe, patches, checking, found, notes)


def usual_scaling(recipe: Recipe) -> Scaling:
    """How pairs are normalised for `recipe` unless the user wants it otherwise.

    By low alone where both images have the same grey values already; with high brought to the grey values of low where
    they have the same pixels and channels; by percentiles drawn for each image where they have not, and in the paper's
    own training.
    """
    if recipe.isotropic:
        return SHARED
    alike = recipe.channels_in == recipe.channels_out and not recipe.projects
    return MATCHED if alike and not recipe.as_the_paper else RANDOM


@dataclass(frozen=True)
class FromPairs:
    """Pairs of low and high images. `finer`: by how much low was interpolated."""

    pairs: Pairs
    finer: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what was noticed when they were read
    title: ClassVar[str] = "Pairs"

    def settings(self) -> dict[str, Any]:
        """What the recipe must know of them."""
        first = self.pairs[0]
        axes = "ZYX" if first.low.size("Z") > 1 else "YX"
        if unknown := sorted(set(self.finer) - set(axes)):
            raise VeriscopeError(f"--factor names {', '.join(unknown)}, but the images have {axes}. Remove it.")
        found: dict[str, Any] = {"axes": axes, "task": "project" if first.projects else "restore"}
        found |= {"channels_in": first.low.size("C"), "channels_out": first.high.size("C")}
        return found | ({"upsample": tuple(self.finer.get(letter, 1.0) for letter in axes)} if self.finer else {})

    def fitting(self, recipe: Recipe, typed: Collection[str], notes: list[str]) -> Recipe:
        """The recipe with patches that can be had of them, and as often halved as they can be, but for what the user
        `typed` ("patch", "depth").
        """
        sizes = [{letter: pair.low.size(letter) for letter in "ZYX"} for pair in self.pairs]
        return _fitting(recipe, sizes, typed, notes)

    def sources(self, recipe: Recipe, check: Aside, cutting: Cutting, notes: list[str]) -> Found:
        training, checking = self.pairs, check
        if not isinstance(checking, Pairs):
            fraction = self._fraction(checking, recipe.patch, notes)
            training, checking, _ = self.pairs.split(check=fraction, test=0, seed=cutting.seed)
        return cutting.patches(recipe, training, checking), self._found(len(training), len(checking))

    def _fraction(self, fraction: float, patch: tuple[int, ...], notes: list[str]) -> float:
        """A single image is cut in two, with room for a patch in the smaller part."""
        if len(self.pairs) > 1:
            return fraction
        image = self.pairs[0].low
        length, width = max((image.size("Y"), patch[-2]), (image.size("X"), patch[-1]))
        if not round(fraction * length) < width <= length / 2:
            return fraction
        notes.append(
            f"there is one pair only, so {100 * width / length:.0f} % of its field are kept aside for checking."
        )
        return width / length

    def _found(self, training: int, checking: int) -> dict[str, str]:
        low, high = self.pairs[0].low, self.pairs[0].high
        shapes = {pair.low.shape for pair in self.pairs}
        found = {
            "found": f"{len(self.pairs)} ({training} to train, {checking} to check)",
            "axes": low.axes,
            "size": lengths(low.shape) if len(shapes) == 1 else f"{len(shapes)} different sizes",
            "type": f"{low.dtype} -> {high.dtype}",
        }
        if low.size("C") > 1 or high.size("C") > 1:
            found["channels"] = f"{low.size('C')} -> {high.size('C')}"
        voxels = {pair.low.describe().get("voxel size", "unknown") for pair in self.pairs}
        found["voxel"] = next(iter(voxels)) if len(voxels) == 1 else f"{len(voxels)} different sizes"
        return found


@dataclass(frozen=True)
class FromStacks:
    """Stacks that are degraded to learn from."""

    stacks: Stacks
    title: ClassVar[str] = "Stacks"

    @property
    def notes(self) -> Sequence[str]:
        return self.stacks.notes

    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {"axes": "YX", "task": "isotropic", "upsample": (self.stacks.subsample, 1, 1)}
        return found | dict.fromkeys(("channels_in", "channels_out"), self.stacks.stacks[0].size("C"))

    def fitting(self, recipe: Recipe, typed: Collection[str], notes: list[str]) -> Recipe:
        """By the planes of the stacks, in either direction."""
        sides = [(stack.size("Y"), stack.size("X")) for stack in self.stacks.stacks]
        return _fitting(recipe, [{"Y": a, "X": b} for y, x in sides for a, b in ((y, x), (x, y))], typed, notes)

    def sources(self, recipe: Recipe, check: Aside, cutting: Cutting, notes: list[str]) -> Found:
        assert not isinstance(check, Pairs)
        halves = self.stacks.pairs(check, recipe.patch, cutting.seed, notes)
        training, checking = cutting.patches(recipe, *halves)
        checking.sections = self.stacks.sections
        return [training, checking], self.stacks.found(*halves)


@dataclass(frozen=True)
class FromPatches:
    """Patches in a file (.npz with X, Y and axes), as they are."""

    patches: ArrayPatches
    path: Path
    factor: float | None = None  # of subsampling, for the task isotropic
    notes: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = "Patches"

    def settings(self) -> dict[str, Any]:
        axes = self.patches.axes
        found: dict[str, Any] = {"axes": axes, "task": "project" if self.patches.axes_out != axes else "restore"}
        if self.factor is not None:
            found |= {"task": "isotropic", "upsample": (self.factor, 1, 1)}
        return found | {"channels_in": self.patches.channels_in, "channels_out": self.patches.channels_out}

    def fitting(self, recipe: Recipe, typed: Collection[str], notes: list[str]) -> Recipe:
        """Patches as large as they are."""
        if not {"depth", STARTED} & set(typed):
            recipe = halved_less(recipe, self.patches.shape, notes, whole=True)
        return recipe.change(patch=self.patches.shape)

    def sources(self, recipe: Recipe, check: Aside, cutting: Cutting, notes: list[str]) -> Found:
        assert not isinstance(check, Pairs)
        training, checking = self.patches.split(check)
        found = {
            "found": f"{len(self.patches)} ({len(training)} to train, {len(checking)} to check)",
            "axes": self.patches.axes,
            "size": lengths(self.patches.low_shape),
            "file": str(self.path),
        }
        if self.patches.channels_in > 1 or self.patches.channels_out > 1:
            found["channels"] = f"{self.patches.channels_in} -> {self.patches.channels_out}"
        return [training, checking], found


class Material(Protocol):
    """What there is to learn from: `FromPairs`, `FromStacks`, `FromPatches`, or noisy images (`training.noisy`)."""

    @property
    def title(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]: ...
    def settings(self) -> dict[str, Any]: ...
    def fitting(self, recipe: Recipe, typed: Collection[str], notes: list[str]) -> Recipe: ...
    def sources(self, recipe: Recipe, check: Aside, cutting: Cutting, notes: list[str]) -> Found: ...


# -- reading ---------------------------------------------------------------------------------------------------------


def needs_high(low: Path) -> bool:
    """Whether LOW says nothing without HIGH: neither patches nor a folder that holds patches, or truths too."""
    inside = conditions.part(low, conditions.TRAINING)
    alone = low.suffix == ".npz" or inside != low or conditions.holds_conditions(inside) or _holds_both(low)
    return not alone


def read_material(
    task: str,
    low: Path,
    high: Path | None = None,
    axes: Axes = None,
    degrading: Degrading | None = None,
    finer: Mapping[str, float] | None = None,
) -> Material:
    """What LOW and HIGH hold. `degrading` is for the task isotropic, `finer` for upsample (from the sizes if None)."""
    degrading = degrading or Degrading()
    if high is not None and task == "isotropic":
        raise TrainingError(
            f"--task isotropic learns from the stacks alone, so HIGH ({high}) has no meaning. Remove it; several "
            f"stacks are given as a folder or a pattern in quotes."
        )
    saved = low if low.suffix == ".npz" else None
    if saved is None and high is None and low.is_dir():
        saved = conditions.patch_file(low)
    of_low = axes[0] if isinstance(axes, tuple) else axes
    if saved is not None:
        return _saved(task, saved, high, of_low, degrading)
    if task == "isotropic":
        return FromStacks(read_stacks(stacks_in(low), of_low, degrading))
    if high is None and not _holds_both(low):
        found = conditions.read_conditions(conditions.part(low, conditions.TRAINING), axes)
        note = f"all conditions are learned together: {', '.join(found)}."
        return FromPairs(conditions.pooled(found), notes=(note,))
    return _pairs(task, *((low, high) if high is not None else (low / LOW, low / HIGH)), axes, finer)


def _holds_both(folder: Path) -> bool:
    return (folder / LOW).is_dir() and (folder / HIGH).is_dir()


def _saved(task: str, path: Path, high: Path | None, axes: str | None, degrading: Degrading) -> FromPatches:
    if high is not None:
        raise TrainingError(f"{path} holds low and high patches, so HIGH ({high}) has no meaning. Remove it.")
    if degrading.psf is not None or degrading.noise is not None:
        raise TrainingError(f"The patches in {path} are degraded already. Remove --psf and --noise.")
    if task == "isotropic" and degrading.subsample is None:
        raise TrainingError(
            f"{path} does not say how far planes lie apart, so --subsample must: their distance in pixels, such as "
            f"--subsample 5."
        )
    factor = None if degrading.subsample is None else checked_subsample(degrading.subsample)
    return FromPatches(load_npz(path, axes), path, factor)


def _pairs(task: str, low: Path, high: Path, axes: Axes, finer: Mapping[str, float] | None) -> FromPairs:
    notes = []
    if task == "upsample" and not finer:
        words = axes if isinstance(axes, tuple) else (axes, axes)
        first, second = (
            read_image(list_images(place)[0], word, lazy=True) for place, word in zip((low, high), words, strict=True)
        )
        finer = factors_between(first, second, first.name)
        factors = ",".join(f"{letter}={value:g}" for letter, value in finer.items())
        notes.append(f"HIGH has more pixels than LOW by --factor {factors}, as the sizes say.")
    return FromPairs(read_pairs(low, high, axes=axes, finer=finer or {}), finer or {}, tuple(notes))


# -- patches of a size that fits -------------------------------------------------------------------------------------


def _fitting(recipe: Recipe, images: Sequence[Mapping[str, int]], typed: Collection[str], notes: list[str]) -> Recipe:
    """The recipe with patches that fit into the smallest of `images`, where those it came with do not, and fewer
    halvings where images are thinner than those need. Raises TrainingError, with what would do, for what was `typed`.
    """
    smallest = [min(image[letter] for image in images) for letter in recipe.axes_out]
    if not {"depth", "patch", STARTED} & set(typed):
        recipe = halved_less(recipe, smallest, notes)
    largest = [size // step * step for size, step in zip(smallest, recipe.step, strict=True)]
    if not all(largest):
        least = recipe.change(depth=1)
        has = f"The smallest image has {lengths(smallest)} pixels ({recipe.axes_out})"
        needs = f"a network of depth {recipe.depth} needs at least {lengths(recipe.step)}"
        if any(size < step for size, step in zip(smallest, least.step, strict=True)):
            raise TrainingError(f"{has}, but {needs}, and none works on fewer than {lengths(least.step)}.")
        if STARTED in typed:
            raise TrainingError(f"{has}, but {needs}. Leave small images out, or start from no model or another.")
        raise TrainingError(f"{has}, but {needs}. Use {_options(halved_less(recipe, smallest, []), smallest)}.")
    if "patch" in typed:
        if any(length > size for length, size in zip(recipe.patch, smallest, strict=True)):
            raise TrainingError(
                f"The smallest image, {lengths(smallest)} pixels ({recipe.axes_out}), is smaller than a patch of "
                f"{lengths(recipe.patch)}. Use {_options(recipe, smallest)}, or leave this image out."
            )
        return recipe
    patch = tuple(min(length, most) for length, most in zip(recipe.patch, largest, strict=True))
    if patch == recipe.patch:
        return recipe
    notes.append(f"patches are {lengths(patch)}, so that they fit into the smallest image.")
    return recipe.change(patch=patch)


def halved_less(recipe: Recipe, sizes: Sequence[int], notes: list[str], whole: bool = False) -> Recipe:
    """The recipe with the greatest depth, up to its own, whose step fits into `sizes` (as a `whole` number of times);
    its own where none does.
    """

    def too_coarse(step: Sequence[int]) -> bool:
        return any(size % n if whole else size < n for size, n in zip(sizes, step, strict=False))

    fewer = recipe
    while too_coarse(fewer.step) and fewer.depth > 1:
        fewer = fewer.change(depth=fewer.depth - 1)
    if fewer is recipe or too_coarse(fewer.step):
        return recipe
    notes.append(f"networks have --depth {fewer.depth} instead of {recipe.depth}, to fit into the smallest image.")
    return fewer


def _options(recipe: Recipe, smallest: Sequence[int]) -> str:
    """Options that work on images of at least `smallest` pixels."""
    fits = [min(n, size // step * step) for n, size, step in zip(recipe.patch, smallest, recipe.step, strict=True)]
    return f"--depth {recipe.depth} --patch {','.join(map(str, fits))}"
