"""veriscope info: what an image or a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from veriscope import wording
from veriscope.apps import console, events, words
from veriscope.apps.options import argument, option
from veriscope.errors import ImageFormatError
from veriscope.images.reading import read_image
from veriscope.networks import shipped

if TYPE_CHECKING:
    from veriscope.networks.facts import Facts
    from veriscope.networks.model import Ensemble

ZARR = ("zarr.json", ".zgroup", ".zattrs")
WANTED = (0.0, 0.1, 2.0, 50.0, 99.8, 99.9, 100.0)


def info(
    path: Path = argument("An image, or a folder that training wrote.", "FILE|MODEL"),
    axes: str | None = option(None, "Axes of the image, where the file does not state them.", "AXES"),
    card: bool = option(False, "Of a model: its card in Markdown, to be published with it."),
    quick: bool = option(False, "Do not read the pixels: no percentiles."),
) -> None:
    """Show what an image or a model is.

    For an image: axes, size, voxel size, type, percentiles. For a model: recipe, parameters, reach, what it
    was trained on, scores.

    Examples:
    veriscope info new.tif
    veriscope info model
    veriscope info model --card > model.md
    """
    path = shipped.place(path)
    packed = path.is_file() and path.suffix.lower() == ".zip"
    if packed or (path.is_dir() and any((path / name).exists() for name in ("recipe.json", "config.json"))):
        from veriscope.networks.folder import trusted
        from veriscope.sharing import card as cards
        from veriscope.sharing.opening import load

        ensemble = load(path)
        if card:
            console.show(cards.card(ensemble, path.resolve().name.removesuffix(".veriscope")).rstrip())
            return
        with trusted(path):
            _tell_model(path, ensemble)
    elif card:
        raise ImageFormatError(f"Only models have a card, and {path} is none. Remove --card.")
    elif path.is_dir() and path.suffix != ".zarr" and not any((path / name).exists() for name in ZARR):
        raise ImageFormatError(
            f"{path} is a folder that is neither a model (no recipe.json or config.json) nor an OME-Zarr image. "
            f"Give one of its files."
        )
    else:
        _image(path, axes, quick)


def _image(path: Path, axes: str | None, quick: bool) -> None:
    image = read_image(path, axes=axes)
    console.facts(str(path), image.describe())
    if events.on():
        events.emit("image", source=path, image=events.of_image(image))
    if quick:
        return
    from veriscope.normalize import percentiles

    rest = image.axes.replace("C", "")
    found = percentiles(lambda: image.blocks("C" + rest), WANTED)
    columns = ["channel", "minimum", *[f"{wanted:g} %" for wanted in WANTED[1:-1]], "maximum"]
    console.table("", columns, [[str(c), *[wording.number(float(v)) for v in row]] for c, row in enumerate(found)])


def _tell_model(path: Path, ensemble: Ensemble) -> None:
    recipe, known = ensemble.recipe, ensemble.facts
    network = f"{words.network(recipe)} ({recipe.axes}{f' to {recipe.axes_out}' * recipe.projects})"
    if recipe.foreign is None:
        network += f", depth {recipe.depth}, kernel {recipe.kernel}, base {recipe.base}"
        network += f", stem {recipe.stem}" * (recipe.stem > 1)
    console.facts(
        str(path),
        {
            "network": network,
            **words.task(recipe),
            "channels": f"{recipe.channels_in} -> {recipe.channels_out}",
            "predicts": "mean and scale of a Laplace distribution per pixel" if recipe.probabilistic else "mean",
            "members": str(len(ensemble)),
            "parameters": f"{ensemble.parameters:,} per member",
            "reach": f"{wording.lengths(ensemble.reach)} pixels ({recipe.axes_out})",
            "step": f"{wording.lengths(ensemble.step)} pixels",
        },
    )
    console.facts("Training", _training(known))
    measured = {
        "Scores": {name.replace("_", " "): wording.number(value) for name, value in known.scores.items()},
        "Calibration": words.calibration(known),
        "Training images that it knows": words.familiar(known),
    }
    for title, rows in measured.items():
        if rows:
            console.facts(title, rows)


def _training(known: Facts) -> dict[str, str]:
    shown = dict(known.training)
    shown = {**shown, **shown.pop("data", {})} if isinstance(shown.get("data"), dict) else shown
    rows = {}
    names = shown.pop("names", None)
    for name, value in shown.items():
        if value is not None and not isinstance(value, dict):
            rows[name.replace("_", " ")] = wording.lengths(value) if isinstance(value, list) else wording.number(value)
    if names:
        rows["images"] = wording.shortened(names, 4)
    rows["voxel size"] = f"{wording.lengths(known.voxel_size)} um" if known.voxel_size else "unknown"
    for which, seen in (("low", known.low), ("high", known.high)):
        if seen is not None:
            ends = zip(seen.minimum, seen.maximum, strict=False)
            rows[f"{which} range"] = ", ".join(f"{wording.number(low)} to {wording.number(high)}" for low, high in ends)
    return rows
