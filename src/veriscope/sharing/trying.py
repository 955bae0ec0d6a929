"""Try what was written: run it where its runtime is installed, and tell how far it is from what veriscope says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.networks.model import Ensemble
from veriscope.sharing.bioimageio import Package
from veriscope.sharing.graph import Shared

Answers = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Tried:
    """What became of it: the runtime with its version, and the largest difference in parts of the image's range."""

    runtime: str
    apart: float | None  # None where the runtime is not installed
    missing: str = ""  # what to install

    def __str__(self) -> str:
        if self.apart is None:
            return f"It was not run: {self.runtime} is not installed here ({self.missing})."
        if self.apart == 0:
            return f"Run by {self.runtime}: it gives exactly what veriscope gives."
        return f"Run by {self.runtime}: it differs from veriscope by at most {self.apart:.1e} of the range."


def graph(written: Shared, name: str, package: str, run: Callable[[NDArray[np.float32]], Any]) -> Tried:
    """Run a graph on images of two sizes that it was not traced with; `package` is the one of its runtime."""
    if find_spec(package) is None:
        return Tried(name, None, f"pip install {package}")
    largest = 0.0
    for steps in (3, 4):
        image = written.example(steps, seed=steps)
        expected, found = written.answer(image), run(image)
        found = found if isinstance(found, Mapping) else dict(zip(expected, found, strict=True))
        largest = max(largest, apart(found, expected))
    return Tried(f"{name} {metadata.version(package)}", largest)


def package(made: Package, path: Path) -> list[Tried]:
    """Run the weights in a package on its test image, each in its runtime."""
    from veriscope.sharing import onnx, torchscript

    found = []
    with TemporaryDirectory() as place, ZipFile(path) as packed:
        for file, name, library in (
            ("weights.onnx", "ONNX Runtime", "onnxruntime"),
            ("weights.pt", "PyTorch", "torch"),
        ):
            if find_spec(library) is None:
                found.append(Tried(name, None, f"pip install {library}"))
                continue
            weights = Path(packed.extract(file, place))
            expected = made.graph.answer(made.normal)
            if library == "torch":
                answers = dict(zip(expected, torchscript.run(weights, made.normal), strict=True))
            else:
                answers = onnx.run(weights, made.normal)
            found.append(Tried(f"{name} {metadata.version(library)}", apart(answers, expected)))
    return found


def csbdeep(ensemble: Ensemble, folders: list[Path], member: int | None) -> Tried:
    """Let csbdeep itself load the folders, where it is installed with TensorFlow."""
    if find_spec("csbdeep") is None or find_spec("tensorflow") is None:
        return Tried("csbdeep", None, "pip install csbdeep tensorflow")
    from csbdeep.models import CARE, ProjectionCARE

    recipe, largest = ensemble.recipe, 0.0
    made = ProjectionCARE if recipe.projects else CARE
    space = [n * 3 for n in recipe.step]
    shape = (1, recipe.channels_in, *((9,) if recipe.projects else ()), *space)
    image = np.random.default_rng(0).random(shape, np.float32)
    numbers = range(len(ensemble)) if member is None else [member]
    for folder, number in zip(folders, numbers, strict=True):
        with torch.inference_mode():
            expected = ensemble.members[number](torch.from_numpy(image)).numpy()
        turned = image.swapaxes(2, 3) if recipe.isotropic else image  # there Z is the last axis
        network = made(None, folder.name, str(folder.parent)).keras_model
        found = np.moveaxis(np.asarray(network.predict(np.moveaxis(turned, 1, -1), verbose=0)), -1, 1)
        largest = max(largest, apart({"": found.swapaxes(2, 3) if recipe.isotropic else found}, {"": expected}))
    return Tried(f"csbdeep {metadata.version('csbdeep')}", largest)


def apart(found: Answers, expected: Answers) -> float:
    """The largest difference of any image, in parts of the range of the mean, whose unit the scale has too.

    Infinite where other images are expected.
    """
    if set(found) != set(expected) or any(found[name].shape != one.shape for name, one in expected.items()):
        return float("inf")
    largest = max(float(np.abs(found[name] - one).max()) for name, one in expected.items())
    return largest / max(float(np.ptp(expected.get("mean", next(iter(expected.values()))))), 1e-12)
