"""Models in and out: how far every format is from veriscope, for every kind of network.

    python benchmarks/sharing.py [--models FOLDER] [--record]

Out: networks of two members, untrained, with biases drawn at random, written in every format and run by its runtime on
images of sizes that they were not traced with. In: models that csbdeep made, in FOLDER, each with facts.json and
numbers.npz beside config.json; their networks, and what csbdeep restored of an image, against what veriscope gives.
Differences are the largest ones: of what goes out in parts of the range of the restored image, of what comes in in
parts of that of the image compared. What csbdeep and bioimageio.core say of files is measured in benchmarks/peers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import header
from peers.csbdeep_roundtrip import TWO, UNUSUAL, drawn

import veriscope as vs
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.sharing import csbdeep, fiji, onnx, openvino, torchscript, trying

RESULTS = Path(__file__).resolve().parent / "results" / "sharing.txt"
KINDS = {
    "2D (hela)": Recipe.paper("hela"),
    "3D (planaria)": Recipe.paper("planaria"),
    "two channels": Recipe(axes="YX", base=16, **TWO),
    "two to one": Recipe(axes="YX", base=16, channels_in=2, probabilistic=False),
    "stem": Recipe(axes="YX", base=16, stem=2),
    "projection (flywing)": Recipe.paper("flywing"),
    "projection (compact)": Recipe(axes="ZYX", base=16, task="project"),
    "projection (unusual)": Recipe(axes="ZYX", base=16, task="project", projection=UNUSUAL, **TWO),
    "isotropic (retina)": Recipe.paper("retina"),
    "upsampling": Recipe(axes="ZYX", base=16, upsample=(2, 1, 1)),
}
FORMATS: dict[str, tuple[Any, str, str, str]] = {
    "ONNX Runtime": (onnx, "m.onnx", "ONNX Runtime", "onnxruntime"),
    "OpenVINO": (openvino, "m.xml", "OpenVINO", "openvino"),
    "TorchScript": (torchscript, "m.pt", "PyTorch", "torch"),
    "Fiji, by OpenVINO": (fiji, "m.zip", "OpenVINO", "openvino"),
}


def main() -> None:
    """Write, run, compare, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", type=Path, help="models that csbdeep made")
    options.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    chosen = options.parse_args()
    lines = [header("Models in and out: largest differences in parts of the range"), "", *out()]
    if chosen.models:
        lines += ["", *back_in(chosen.models)]
    text = "\n".join(lines)
    print(text)
    if chosen.record:
        RESULTS.write_text(text + "\n")


def out() -> list[str]:
    lines = [f"{'written by veriscope':<22}" + "".join(f"{name:>20}" for name in FORMATS)]
    versions: dict[str, str] = {}
    for kind, recipe in KINDS.items():
        members = [drawn(recipe) for _ in range(2)]
        for weights in members[1].parameters():
            weights *= 0.9
        model, cells = Ensemble(recipe, tuple(members)), []
        for name, (form, file, runtime, package) in FORMATS.items():
            cells.append(tried(model, form, file, runtime, package, versions, name))
        lines.append(f"{kind:<22}" + "".join(f"{cell:>20}" for cell in cells))
    return [*lines, ", ".join(dict.fromkeys(versions.values()))]


def tried(
    model: Ensemble, form: Any, file: str, runtime: str, package: str, versions: dict[str, str], name: str
) -> str:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / file
        try:
            written = form.write(model, path)
        except vs.VeriscopeError:
            return "not possible"
        run: Callable[[Any], Any] = lambda image: form.run(path, image)  # noqa: E731
        found = trying.graph(written, runtime, package, run)
    versions[name] = found.runtime
    return "not installed" if found.difference is None else f"{found.difference:.1e}"


def back_in(models: Path) -> list[str]:
    lines = [f"{'made by csbdeep':<24}{'network':>12}{'mean':>12}{'scale':>12}   versions"]
    for folder in sorted(path.parent for path in models.glob("*/facts.json")):
        facts = json.loads((folder / "facts.json").read_text())
        with np.load(folder / "numbers.npz") as stored:
            numbers = dict(stored)
        task = {"IsotropicCARE": "isotropic", "UpsamplingCARE": "upsample"}.get(facts["class"])
        options = {} if task is None else {"task": task, "factor": facts["predict_arguments"]["factor"]}
        model = csbdeep.read(folder, **options)
        cells = [apart(network(model, facts, numbers), numbers["network"])]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            restored = vs.restore(vs.Image(numbers["raw"], facts["axes_of_raw"]), model)
        known = {name: numbers[name] for name in ("mean", "scale") if name in numbers}
        cells += [apart(getattr(restored, name).array, image) for name, image in known.items()]
        cells += [""] * (3 - len(cells))
        told = f"csbdeep {facts['csbdeep']}, keras {facts['keras']}"
        lines.append(f"{folder.name:<24}" + "".join(f"{cell:>12}" for cell in cells) + f"   {told}")
    return lines


@torch.inference_mode()
def network(model: Ensemble, facts: dict[str, Any], numbers: dict[str, Any]) -> Any:
    """What the network says to csbdeep's normalised image, in csbdeep's axes, channels last."""
    axes, axes_out = (facts[f"network_axes{end}"].replace("C", "") for end in ("", "_out"))
    if model.recipe.isotropic:  # the network's last axis is Z, here it is the first
        axes = axes_out = axes[::-1]
    image = numbers["normalized"]
    image = image if image.ndim == len(axes) + 2 else image[None]
    given = image.transpose(0, image.ndim - 1, *(1 + axes.index(letter) for letter in model.recipe.axes))
    found = model.members[0](torch.from_numpy(np.ascontiguousarray(given))).numpy()
    turned = found.transpose(0, *(2 + model.recipe.axes_out.index(letter) for letter in axes_out), 1)
    return turned if turned.ndim == numbers["network"].ndim else turned[0]


def apart(found: Any, expected: Any) -> str:
    return f"{np.abs(np.asarray(found) - expected).max() / np.ptp(expected):.1e}"


if __name__ == "__main__":
    main()
