"""veriscope export: a model for other programs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from veriscope import wording
from veriscope.apps import console, files
from veriscope.apps.options import ONE_OF, REQUIRED, argument, option
from veriscope.errors import VeriscopeError
from veriscope.images.reading import read_image

if TYPE_CHECKING:
    from veriscope.networks.model import Ensemble
    from veriscope.sharing.graph import Graph

Format = Literal["csbdeep", "bioimageio", "onnx", "openvino", "torchscript", "fiji"]
GRAPHS = {  # the program that runs them, and its package
    "onnx": ("ONNX Runtime", "onnxruntime"),
    "openvino": ("OpenVINO", "openvino"),
    "torchscript": ("PyTorch", "torch"),
}
FAR = 1e-4  # of the range: then something is wrong


@dataclass(frozen=True)
class Package:
    PANEL: ClassVar[str] = "For bioimage.io"
    author: list[str] | None = option(None, "Who made the model; repeat it.", "NAME")
    licence: str | None = option(None, "Such as CC-BY-4.0.", "SPDX", "--licence", "--license")
    image: Path | None = option(None, "An image to show and test it with.", "FILE")


def export(
    model: Path = argument("Folder that veriscope train or import wrote.", "MODEL"),
    to: Format = option(REQUIRED, "For which program.", advice=ONE_OF),
    out: Path = option(REQUIRED, "What to write.", "FILE|FOLDER", "--out", "-o"),
    member: int | None = option(None, "Only this network of the ensemble, counted from 0."),
    members: bool = option(False, "onnx, openvino, torchscript: also the answers of every member."),
    normalize: Literal["image", "model"] = option(
        "image",
        "Expect images normalised by their own percentiles, or take grey values and normalise by those of "
        "the training images.",
    ),
    *,
    package: Package,
) -> None:
    """Write a model for other programs, and try what was written.

    csbdeep: a folder for csbdeep in Python. bioimageio: a package for bioimage.io and the programs that use it (Fiji
    and others). onnx, openvino: a file for the runtimes of these names. torchscript: a file for PyTorch. fiji: a file
    for the CSBDeep plugin of Fiji (experimental). The networks of an ensemble become one graph, whose answer is the
    mean of all and the scale of their mixture; csbdeep knows single networks only.

    Examples:
    veriscope export mito.veriscope --to onnx --out mito.onnx --normalize model
    veriscope export mito.veriscope --to csbdeep --out models/mito
    veriscope export mito.veriscope --to bioimageio --out mito.zip --author 'A. Person' --licence CC-BY-4.0
    """
    if members and to not in GRAPHS:
        raise VeriscopeError(f"--members is for {', '.join(GRAPHS)}, not for {to}. Remove it.")
    if normalize == "model" and to in ("csbdeep", "fiji"):
        raise VeriscopeError(f"{to} normalises every image by its own percentiles. Remove --normalize model.")
    given = [name for name, value in vars(package).items() if value]
    if given and to != "bioimageio":
        raise VeriscopeError(f"--{given[0]} belongs to packages for bioimage.io, not to {to}. Remove it.")

    from veriscope.sharing.opening import load

    ensemble = load(model)
    with files.no_empty_folder(out.absolute().parent):
        if to in GRAPHS:
            _graph(ensemble, model, to, out, {"member": member, "members": members, "normalize": normalize})
        elif to == "csbdeep":
            _csbdeep(ensemble, model, out, member)
        elif to == "fiji":
            _graph(ensemble, model, to, out, {"member": member})
        else:
            _package(ensemble, model, out, {"member": member, "normalize": normalize}, package)


def _graph(ensemble: Ensemble, model: Path, to: str, out: Path, how: dict[str, Any]) -> None:
    from veriscope.sharing import trying

    form = import_module(f"veriscope.sharing.{to}")
    written: Graph = form.write(ensemble, out, **how)
    console.written({"model": out}, model)
    _tell(trying.graph(written, *GRAPHS.get(to, GRAPHS["openvino"]), lambda image: form.run(out, image)))
    if to != "fiji":
        _use(written)
        return
    console.note("experimental: it was never tried in Fiji. Compare its result with that of veriscope on an image.")
    console.show("In Fiji, with the update site CSBDeep: Plugins > CSBDeep > Run your network, and choose this file.")


def _csbdeep(ensemble: Ensemble, model: Path, out: Path, member: int | None) -> None:
    from veriscope.sharing import csbdeep, trying

    folders = csbdeep.write(ensemble, out, member)
    console.written({folder.name: folder for folder in folders}, model)
    _tell(trying.csbdeep(ensemble, folders, member))
    recipe = ensemble.recipe
    factor = f", and give it factor={recipe.finer['Z']:g}" if recipe.finer else ""
    kind, first = csbdeep.kind_of(recipe), folders[0]
    console.show(f"Open it with csbdeep.models.{kind}(None, '{first.name}', '{first.parent}'){factor}.")
    if len(folders) > 1:
        console.note(
            f"csbdeep knows single networks only, so each of the {len(folders)} members is a folder of its own."
        )
    if recipe.combine == "mixture":
        console.note("csbdeep continues images at their borders in another way, so results differ a little there.")


def _package(ensemble: Ensemble, model: Path, out: Path, how: dict[str, Any], package: Package) -> None:
    from veriscope.sharing import bioimageio, trying

    authors, licence = package.author, package.licence
    if not authors or licence is None:
        missing = [*([] if authors else ["--author 'A. Person'"]), *([] if licence else ["--licence CC-BY-4.0"])]
        raise VeriscopeError(f"A package names its authors and its licence. Add {wording.listed(missing)}.")
    image = None if package.image is None else read_image(package.image)
    made = bioimageio.write(ensemble, out, authors=authors, licence=licence, image=image, **how)
    console.written({"model": out}, model)
    for tried in trying.package(made, out):
        _tell(tried)
    console.note(f"{made.normalization} Check the package with: bioimageio test {out}")
    if image is None:
        console.note("its cover and test show artificial spots. Give an image of your own: --image FILE.")


def _tell(tried: Any) -> None:
    if tried.difference is None:
        console.note(str(tried))
    elif tried.difference > FAR:
        console.fail(f"{tried} That is too much. Do not use this file.")
    else:
        console.show(f"  {tried}")


def _use(written: Graph) -> None:
    recipe, facts = written.recipe, written.description
    console.facts(
        "",
        {
            "input": f"image, float32, axes {facts['axes']} (N images, C channels: {recipe.channels_in}); lengths "
            f"along {' '.join(recipe.axes_out)} are multiples of {wording.lengths(facts['step'])}",
            "output": f"{', '.join(written.outputs)}, axes {facts['axes_out']}",
            "tiles": f"read {wording.lengths(facts['halo'])} pixels ({recipe.axes_out}) beyond what you keep",
        },
    )
    if facts["normalization"]["by"] == "caller":
        console.note(
            "normalise each image first: its percentiles 2 and 99.8 become 0 and 1. The result is normalised too."
        )
    elif facts["normalization"]["output"] is None:
        console.note(
            "it takes grey values, but its result is normalised: the grey values of the ground truth are not known."
        )
    if recipe.finer:
        finer = ", ".join(f"{letter} {factor:g} times" for letter, factor in recipe.finer.items())
        console.note(f"interpolate images first ({finer}).")
    if recipe.isotropic:
        console.note("it restores slices: give it all xz and all yz slices of a stack, Z as their Y, and average both.")
