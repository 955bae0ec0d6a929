"""A model's card, in Markdown: what it was trained on, how good it was there, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from veriscope.networks import shipped
from veriscope.networks.facts import Facts
from veriscope.networks.model import Ensemble
from veriscope.normalize import Normalization
from veriscope.restoring.scaling import stored_normalization
from veriscope.tables import Column, Table
from veriscope.wording import lengths, listed, number, shortened

PAPER = "Weigert et al. (2018), Content-aware image restoration: pushing the limits of fluorescence microscopy"
DOI = "10.1038/s41592-018-0216-7"


def card(ensemble: Ensemble, name: str, authors: Sequence[str] = (), licence: str | None = None) -> str:
    """The card of `ensemble`, called `name`. What is not known is listed as unknown."""
    imported = ensemble.facts.imported
    authors, licence = authors or imported.get("authors") or (), licence or imported.get("licence")
    about = shipped.about(name) if name in shipped.names() else {}
    licence = licence or about.get("licence")
    sections = {
        "Images it is made for": _list(_images(ensemble)),
        "Training": _list(_training(ensemble.facts)),
        "Validation": _list(_figures(ensemble)),
        "Limits": _list(_limits(ensemble)),
        "Licence": f"{licence or 'Not stated'}.{f' Made by {listed(authors)}.' if authors else ''}",
        "Citation": f"{PAPER}. https://doi.org/{DOI}",
    }
    chapters = (part for title, text in sections.items() for part in (f"## {title}", text))
    return "\n\n".join([f"# {name}", summary(ensemble), *known(about), *chapters]) + "\n"


def known(about: Mapping[str, Any]) -> Iterator[str]:
    """What is known beside that of a network that comes with veriscope; nothing of others."""
    if about:
        yield "## In short"
        yield _list(
            {word.replace("_", " "): about[word] for word in ("images", "pixels", "trained_on", "light", "limits")}
        )
    if about.get("scores"):
        yield "## On images that it has never seen"
        rows = about["scores"]
        columns = [
            Column(name, ".4f" if name == "NRMSE" else ".3f", left=name not in ("NRMSE", "SSIM")) for name in rows[0]
        ]
        yield Table(columns, [list(row.values()) for row in rows]).markdown()


def summary(ensemble: Ensemble) -> str:
    """What the model does, in a paragraph."""
    recipe, count = ensemble.recipe, len(ensemble)
    does = {
        "restore": f"Restores {'stacks' if recipe.axes == 'ZYX' else 'planes'} of fluorescence microscopy",
        "project": "Projects stacks of fluorescence microscopy to the surface in them, and restores it",
        "isotropic": "Makes stacks of fluorescence microscopy as sharp along Z as across, slice by slice",
    }[recipe.task]
    finer = ", ".join(f"{letter} {factor:g} times" for letter, factor in recipe.finer.items())
    finer = f" after interpolation ({finer})" if finer else ""
    output = "the mean and the scale of a Laplace distribution for every pixel" if recipe.probabilistic else "the image"
    networks = "One network predicts" if count == 1 else f"An ensemble of {count} networks predicts"
    return f"{does}{finer}. {networks} {output}."


def _images(ensemble: Ensemble) -> dict[str, str]:
    recipe, facts = ensemble.recipe, ensemble.facts
    size = facts.voxel_size
    rows = {
        "axes": recipe.space + (f", to {recipe.axes_out}" if recipe.projects else ""),
        "channels": f"{recipe.channels_in} in, {recipe.channels_out} out",
        "voxel size": f"{lengths(size)} um ({recipe.axes})" if size else "unknown",
    }
    for which, what in (("low", "intensities of the input"), ("high", "intensities of the ground truth")):
        known = stored_normalization(facts, which)  # type: ignore[arg-type]
        rows[what] = f"{spans(known)} (percentiles 2 and 99.8)" if known else "unknown"
    return rows


def spans(normalization: Normalization) -> str:
    """What becomes 0 and 1 in each channel: "100 to 900, 20 to 150"."""
    pairs = zip(normalization.low, normalization.high, strict=True)
    return ", ".join(f"{low:.5g} to {high:.5g}" for low, high in pairs)


def _training(facts: Facts) -> dict[str, str]:
    training, imported = facts.training, facts.imported
    data = training.get("data") if isinstance(training.get("data"), Mapping) else {}
    rows = {}
    if imported:
        rows["imported from"] = f"{imported.get('from')}; the training images are unknown"
    if data:
        rows["pairs of images"] = f"{data.get('pairs')}: {shortened(data.get('names') or (), 8)}"
    for name in ("patches", "epochs", "minutes", "loss", "seed"):
        if (value := training.get(name)) is not None:
            rows[name] = lengths(value) if isinstance(value, list) else str(value)
    return rows or {"training": "unknown"}


def _figures(ensemble: Ensemble) -> dict[str, str]:
    """Scores and calibration, on images kept aside in training."""
    facts = ensemble.facts
    rows = {str(name).replace("_", " "): number(value) for name, value in facts.scores.items()}
    if facts.calibration is not None:
        rows["calibration"] = f"on {facts.calibration.pixels} pixels of {facts.calibration.images} images"
    for eps, errors in facts.calibration_errors.items():
        before, after = (f"{100 * error:.1f} %" for error in errors)
        rows[f"calibration error at {eps} of the range"] = f"{before} as predicted, {after} calibrated"
    if not rows:
        return {"figures": "none were measured. Judge the model on pairs of your own before you rely on it"}
    return {"measured on": "images that were not trained on, of the same experiment", **rows}


def _limits(ensemble: Ensemble) -> dict[str, str]:
    rows = {
        "other images": "only images like those of the training are restored reliably: same microscope, same sample, "
        "similar noise. Networks can invent structures that are not there",
        "measurements": "check intensities and small structures against raw images before you measure them",
    }
    if not ensemble.recipe.probabilistic:
        rows["uncertainty"] = "none is predicted"
    elif "calibration" not in ensemble.facts.measured:
        rows["uncertainty"] = "the predicted scales were not checked against ground truth"
    if "familiar" not in ensemble.facts.measured:
        rows["unfamiliar images"] = "cannot be recognised: the model does not know its training images"
    return rows


def _list(rows: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in rows.items())
