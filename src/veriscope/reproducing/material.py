"""What an experiment learns from and is judged on: simulated, or the published data where a user has them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from veriscope.errors import DataError, VeriscopeWarning
from veriscope.images.conditions import TESTING, TRAINING, holds_conditions, part, patch_file, pooled, read_conditions
from veriscope.images.image import Image
from veriscope.images.pairing import Pairs
from veriscope.images.reading import holds_images, list_images, read_image
from veriscope.networks.recipe import Recipe
from veriscope.patches.npz import ArrayPatches, load_npz
from veriscope.patches.patches import Patches
from veriscope.reproducing.experiments import Experiment
from veriscope.simulate.experiments import standin
from veriscope.training.material import Axes, Cutting, FromPairs, FromPatches, FromStacks, Material
from veriscope.training.stacks import Stacks, stacks_in

CHECKED = 0.15  # fraction of the training fields that decides which weights are kept


@dataclass(frozen=True)
class ExperimentData:
    """Patches for training and checking, pairs to judge by condition, and images whose truth nobody knows."""

    recipe: Recipe
    patches: Patches | ArrayPatches
    check: Patches | ArrayPatches
    tests: dict[str, Pairs]
    unknown: tuple[Image, ...] = ()


def read_data(name: str, chosen: Experiment, folder: Path, scale: str, seed: int, axes: Axes = None) -> ExperimentData:
    """Read what `folder` holds for experiment `name`: train_data (a file of patches, or images) and test_data.

    `axes` are those of images that do not state them. Raises DataError when there is nothing to train on or to judge.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}'. Give the one that holds {TRAINING} and {TESTING}.")
    material = _material(name, chosen, folder, axes)
    settings = material.settings()
    recipe = chosen.recipe(scale, settings["channels_in"], settings["channels_out"])
    if chosen.isotropic:
        recipe = recipe.change(upsample=settings["upsample"])
    if isinstance(material, FromPatches):
        recipe = recipe.change(patch=material.patches.shape)
    cutting = Cutting(foreground=chosen.foreground, normalize=chosen.normalize(scale, recipe), seed=seed)
    with warnings.catch_warnings():
        if chosen.isotropic:
            warnings.filterwarnings("ignore", "No position", VeriscopeWarning)  # some planes hold nothing
        (patches, check), _ = material.sources(recipe, CHECKED, cutting, [])
    testing = part(folder, TESTING)
    if holds_conditions(testing):
        return ExperimentData(recipe, patches, check, read_conditions(testing, axes, finer=recipe.finer))
    if not (chosen.isotropic and holds_images(testing)):
        raise DataError(
            f"'{testing}' holds nothing to judge on. Put the truths into a folder GT and the images of each "
            f"condition into one beside it."
        )
    unknown = tuple(read_image(path, axes=_of_low(axes)) for path in list_images(testing))
    return ExperimentData(recipe, patches, check, {}, unknown)


def _material(name: str, chosen: Experiment, folder: Path, axes: Axes) -> Material:
    """A file of patches; stacks whose own planes are degraded by the stand-in's microscope (SI 2.4); or pairs, all
    conditions together, since one model restores them all.
    """
    found = patch_file(folder)
    stand = standin(name)
    if found is not None:
        return FromPatches(load_npz(found), found, stand.subsample if chosen.isotropic else None)
    if chosen.isotropic:
        stacks = [read_image(path, axes=_of_low(axes)) for path in list_images(stacks_in(folder))]
        z, x = (stacks[0].voxel(letter) for letter in "ZX")
        if z is None or x is None:
            z, x = stand.subsample * stand.voxel_size[-1], stand.voxel_size[-1]
        kernel = stand.optics.on((x, x, x)).rotated(x)
        return FromStacks(Stacks(tuple(stacks), z / x, (kernel,) * len(stacks)))
    pairs = pooled(read_conditions(part(folder, TRAINING), axes))
    if pairs[0].projects != (chosen.task == "project"):
        what = "stacks with one plane for each" if pairs[0].projects else "truths as deep as the images"
        raise DataError(
            f"'{folder}' holds {what}: these are not the data of this experiment. Choose the experiment they belong to."
        )
    return FromPairs(pairs)


def _of_low(axes: Axes) -> str | None:
    return axes[0] if isinstance(axes, tuple) else axes
