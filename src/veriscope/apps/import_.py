"""veriscope import: models that others trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veriscope.apps import console, words


def import_model(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER|PACKAGE...", help="Folders of csbdeep; several become one ensemble."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL", help="Folder for the imported model.")],
    weights: Annotated[
        str, typer.Option(metavar="best|last|FILE", help="Which weights of csbdeep: a file in the folder.")
    ] = "best",
    task: Annotated[
        str | None,
        typer.Option(metavar="isotropic|upsample", help="Of IsotropicCARE and UpsamplingCARE; no folder says so."),
    ] = None,
    factor: Annotated[
        float | None, typer.Option(help="By which Z is made finer, for --task: the factor given to predict.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there already.")] = False,
) -> None:
    """Take over a model that was trained elsewhere: a CARE model of csbdeep.

    CARE in 2D and 3D, ProjectionCARE, IsotropicCARE and UpsamplingCARE, probabilistic or not, written under any Keras;
    neither Keras nor TensorFlow is needed, and nothing in the folder is executed. The model gives what csbdeep gave.
    It can be restored with, judged, compared, calibrated and exported like any other.

    Examples:
    veriscope import models/planaria --out planaria.veriscope
    veriscope import run-1 run-2 run-3 --out ensemble.veriscope --weights last
    veriscope import models/liver --out liver.veriscope --task isotropic --factor 8
    """
    from veriscope.networks import folder
    from veriscope.sharing.opening import read

    folder.refuse_existing(out, overwrite)
    words.positive("--factor", factor)
    ensemble = read(*sources, weights=weights, task=task, factor=factor)
    folder.save(ensemble, out, overwrite)
    recipe = ensemble.recipe
    console.show(f"{', '.join(map(str, sources))} -> {out}")
    members = f"{len(ensemble)} member{'s' if len(ensemble) > 1 else ''}"
    console.show(f"  {words.network(recipe)} for {recipe.space}, {members}, {ensemble.parameters:,} weights each")
    if task is None and not recipe.projects and "csbdeep" in str(ensemble.facts["imported"]["from"]):
        console.note(
            "taken as CARE. If it was an IsotropicCARE or UpsamplingCARE model, import it with --task and --factor."
        )
    console.note(
        "nothing is known of the images it was trained on, so restorations come without a verdict, and --calibrated "
        "is not possible. Judge it on pairs of your own: veriscope judge."
    )
    console.show(f"Restore with it: veriscope restore new.tif --model {out} --out restored.ome.tif")
