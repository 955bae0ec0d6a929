"""What an experiment learns from and is judged on: simulated, or the published data where a user has them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veriscope.errors import DataError, VeriscopeWarning
from veriscope.images.conditions import (
    TESTING,
    TRAINING,
    holds_conditions,
    part,
    patch_file,
    pooled,
    read_conditions,
)
from veriscope.images.image import Image
from veriscope.images.pairing import Pairs
from veriscope.images.reading import holds_images, list_images, read_image
from veriscope.networks.recipe import Recipe
from veriscope.patches.anisotropy import anisotropic_pairs, parts_for_checking
from veriscope.patches.cutting import cut_patches
from veriscope.patches.npz import ArrayPatches, load_npz
from veriscope.patches.patches import Patches
from veriscope.reproducing.experiments import Experiment
from veriscope.simulate.experiments import standin
from veriscope.simulate.standins import INPUT

CHECKED = 0.15  # share of the training fields that decides which weights are kept
PER_IMAGE = 32  # patches in one epoch from each image


@dataclass(frozen=True)
class Material:
    """Patches for training and checking, pairs to judge by condition, and images whose truth nobody knows."""

    recipe: Recipe
    patches: Patches | ArrayPatches
    check: Patches | ArrayPatches
    tests: dict[str, Pairs]
    unknown: tuple[Image, ...] = ()


def material(
    name: str, chosen: Experiment, folder: Path, scale: str, seed: int, axes: str | tuple[str, str] | None = None
) -> Material:
    """Read what `folder` holds for experiment `name`: train_data (a file of patches, or images) and test_data.

    `axes` are those of images that do not say them. Raises DataError when there is nothing to train on or to judge.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}'. Give the one that holds {TRAINING} and {TESTING}.")
    found = patch_file(folder)
    if found is not None:
        patches, check = load_npz(found).split(CHECKED)
        recipe = chosen.recipe(scale, patches.channels_in, patches.channels_out)
        if chosen.isotropic:
            recipe = recipe.change(upsample=(standin(name).subsample, 1.0, 1.0))
        learned: tuple[Recipe, Any, Any] = recipe.change(patch=patches.shape), patches, check
    elif chosen.isotropic:
        learned = _from_stacks(name, chosen, folder, scale, seed, axes)
    else:
        learned = _from_pairs(chosen, folder, scale, seed, axes)
    testing = part(folder, TESTING)
    tests = read_conditions(testing, axes, finer=learned[0].finer) if holds_conditions(testing) else {}
    unknown: tuple[Image, ...] = ()
    if not tests:
        if not (chosen.isotropic and holds_images(testing)):
            raise DataError(
                f"'{testing}' holds nothing to judge on. Put the truths into a folder GT and the images of each "
                f"condition into one beside it."
            )
        unknown = tuple(read_image(path, axes=_of_low(axes)) for path in list_images(testing))
    return Material(*learned, tests, unknown)


def _from_pairs(
    chosen: Experiment, folder: Path, scale: str, seed: int, axes: str | tuple[str, str] | None
) -> tuple[Recipe, Patches, Patches]:
    """All conditions together: one model restores them all."""
    pairs = pooled(read_conditions(part(folder, TRAINING), axes))
    if pairs[0].projects != (chosen.task == "project"):
        what = "stacks with one plane for each" if pairs[0].projects else "truths as deep as the images"
        raise DataError(
            f"'{folder}' holds {what}: these are not the data of this experiment. Choose the experiment they belong to."
        )
    recipe = chosen.recipe(scale, pairs[0].low.size("C"), pairs[0].high.size("C"))
    training, checking, _ = pairs.split(check=CHECKED, test=0, seed=seed)
    cut: dict[str, Any] = {"shape": recipe.patch, "per_image": PER_IMAGE, "seed": seed}
    cut |= {"foreground": chosen.foreground, "normalize": chosen.normalize(scale, recipe)}
    return recipe, cut_patches(training, **cut), cut_patches(checking, **cut)


def _from_stacks(
    name: str, chosen: Experiment, folder: Path, scale: str, seed: int, axes: str | tuple[str, str] | None
) -> tuple[Recipe, Patches, Patches]:
    """Semi-synthetic pairs of the stacks' own planes, degraded by the stand-in's microscope (SI 2.4)."""
    place = part(folder, TRAINING)
    inside = place / INPUT if (place / INPUT).is_dir() else place
    stacks = [read_image(path, axes=_of_low(axes)) for path in list_images(inside)]
    stand = standin(name)
    z, x = (stacks[0].voxel(letter) for letter in "ZX")
    if z is None or x is None:
        z, x = stand.subsample * stand.voxel_size[-1], stand.voxel_size[-1]
    factor = z / x
    recipe = chosen.recipe(scale, stacks[0].size("C"), stacks[0].size("C")).change(upsample=(factor, 1.0, 1.0))
    kernel = stand.optics.on((x, x, x)).rotated(x)
    cut: dict[str, Any] = {"shape": recipe.patch, "per_image": PER_IMAGE, "seed": seed}
    cut |= {"foreground": chosen.foreground, "normalize": "shared"}
    halves = []
    for group in parts_for_checking(stacks, CHECKED, recipe.patch[-1]):
        pairs = Pairs([pair for stack in group for pair in anisotropic_pairs(stack, kernel, factor, seed=seed)])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No position", VeriscopeWarning)  # some planes hold nothing
            halves.append(cut_patches(pairs, **cut))
    return recipe, halves[0], halves[1]


def _of_low(axes: str | tuple[str, str] | None) -> str | None:
    return axes[0] if isinstance(axes, tuple) else axes
