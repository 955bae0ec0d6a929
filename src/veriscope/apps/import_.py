"""veriscope import: models that others trained."""

from __future__ import annotations

from pathlib import Path

from veriscope.apps import console, words
from veriscope.apps.options import REQUIRED, argument, option


def import_model(
    sources: list[Path] = argument(
        "Folders of csbdeep, of which several become one ensemble; or a package (.zip) of bioimage.io.",
        "FOLDER|PACKAGE...",
    ),
    out: Path = option(REQUIRED, "Folder for the imported model.", "MODEL", "--out", "-o"),
    weights: str = option("best", "Which weights of csbdeep: a file in the folder.", "best|last|FILE"),
    task: str | None = option(None, "Of IsotropicCARE and UpsamplingCARE; no folder says so.", "isotropic|upsample"),
    factor: float | None = option(None, "By which Z is made finer, for --task: the factor given to predict."),
    overwrite: bool = option(False, "Replace a model that is there already."),
) -> None:
    """Take over a model that was trained elsewhere: a CARE model of csbdeep, or a package of bioimage.io.

    Of csbdeep: CARE in 2D and 3D, ProjectionCARE, IsotropicCARE and UpsamplingCARE, probabilistic or not, written under
    any Keras; neither Keras nor TensorFlow is needed. The model gives what csbdeep gave. Of bioimage.io: what veriscope
    exported, and networks of others in ONNX that make images of images; these need ONNX Runtime, and cannot be trained
    further. Nothing that is imported is executed. Imported models restore, are judged and compared like any other.

    Examples:
    veriscope import models/planaria --out planaria.veriscope
    veriscope import run-1 run-2 run-3 --out ensemble.veriscope --weights last
    veriscope import models/liver --out liver.veriscope --task isotropic --factor 8
    veriscope import package.zip --out model.veriscope
    """
    from veriscope.networks import folder
    from veriscope.sharing.opening import read

    folder.refuse_existing(out, overwrite)
    ensemble = read(*sources, weights=weights, task=task, factor=factor)
    folder.save(ensemble, out, overwrite)
    recipe = ensemble.recipe
    console.written({"model": out}, ", ".join(map(str, sources)))
    members = f"{len(ensemble)} member{'s' if len(ensemble) > 1 else ''}"
    console.show(f"  {words.network(recipe)}, {members}, {ensemble.parameters:,} weights each, for {recipe.space}")
    console.facts("", words.task(recipe))
    folders = not any(source.is_file() for source in sources)
    if folders and task is None and not recipe.projects:
        console.note(
            "taken as CARE. If it was an IsotropicCARE or UpsamplingCARE model, import it with --task and --factor."
        )
    if (tested := ensemble.facts.imported.get("apart_from_its_test")) is not None:
        console.show(f"  Run on the package's own test image: it differs by at most {tested:.1e} of the range.")
    if "familiar" not in ensemble.facts.measured:
        console.note(
            "it does not know its training images, so restorations come without a verdict and expected errors. Measure "
            f"them on pairs of your own: veriscope calibrate {out} LOW HIGH"
        )
    console.show(f"Restore with it: veriscope restore new.tif --model {out} --out restored.ome.tif")
