"""veriscope calibrate: measure on pairs of images how far to trust a model, and store that in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from veriscope.apps import console, words
from veriscope.apps.options import argument, option
from veriscope.errors import DataError, OutputError
from veriscope.images.pairing import read_pairs
from veriscope.networks import shipped

VOXELS = 2**24  # of the images that are used, at most


def calibrate(
    model: Path = argument("Folder of the model; the result is stored in it.", "MODEL"),
    low: Path = argument("Folder of low-light images, or one file.", "LOW"),
    high: Path = argument("Folder of the same fields in good quality, with the same names.", "HIGH"),
    axes: str | None = option(None, "Axes of the files, such as YX, ZYX or ZYX,YX.", "AXES"),
    dry_run: bool = option(False, "Show what would be measured; change nothing."),
) -> None:
    """Measure on pairs how often a model's predictions are right, and what its images look like.

    The model then predicts intervals, expected errors and verdicts for images like these: for models from other
    programs, for another microscope, or when there are more pairs than in training. Use pairs that were not trained on.
    Its networks, and the images they restore, stay the same.

    Examples:
    veriscope calibrate model low high --axes YX
    """
    from veriscope.networks import folder as files
    from veriscope.patches.cutting import cut_patches
    from veriscope.training.aside import measured

    if shipped.is_name(model):
        raise OutputError(
            f"{model} comes with veriscope and stays as it is. Calibrate a copy: veriscope models {model} --out COPY."
        )
    ensemble = files.load(model)
    recipe = ensemble.recipe
    if recipe.isotropic:
        raise DataError(
            f"{model} makes stacks isotropic, which is measured in training, on stacks whose planes are degraded. "
            f"Train it again to calibrate it."
        )
    pairs = read_pairs(low, high, axes=words.axes_of_pairs(axes), finer=recipe.finer)
    smallest = [min(pair.high.size(letter) for pair in pairs) for letter in recipe.axes_out]
    shape = [min(n, size // step * step) for n, size, step in zip(recipe.patch, smallest, recipe.step, strict=True)]
    alike = recipe.channels_in == recipe.channels_out and not recipe.projects
    cut: dict[str, Any] = {"foreground": None, "normalize": "matched" if alike else "fixed"}
    source = cut_patches(pairs, shape, **cut)
    if dry_run:
        console.facts("Plan (nothing is changed)", {"pairs": str(len(pairs)), "model": str(model)})
        return
    console.say(f"Measuring on {len(pairs)} pairs")
    known = measured(ensemble, source, None, VOXELS)
    summary = source.summary()
    before = ensemble.facts.to_json()
    looks = {name: summary[name] for name in ("low", "high", "voxel_size", "time_step") if not before[name]}
    facts = ensemble.facts.change(**looks, **known)
    files.write_description(model, recipe, len(ensemble), facts)
    console.facts("Calibration", words.calibration(facts))
    console.facts("Training images that it knows", words.familiar(facts))
