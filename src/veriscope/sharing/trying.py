"""Try what was written: run it where its runtime is installed, and compare its answer with that of veriscope."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from veriscope.sharing import onnx, torchscript
from veriscope.sharing.bioimageio import Package
from veriscope.sharing.csbdeep import answered
from veriscope.sharing.graph import Graph

Answers = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Trial:
    """The runtime with its version, and the largest difference as a fraction of the image's range."""

    runtime: str
    difference: float | None  # None where the runtime is not installed
    missing: str = ""  # what to install

    def __str__(self) -> str:
        if self.difference is None:
            return f"It was not run: {self.runtime} is not installed here ({self.missing})."
        if self.difference == 0:
            return f"Run by {self.runtime}: it gives exactly what veriscope gives."
        return f"Run by {self.runtime}: it differs from veriscope by at most {self.difference:.1e} of the range."


def graph(
    written: Graph,
    name: str,
    library: str,
    run: Callable[[NDArray[np.float32]], Any],
    known: Sequence[tuple[NDArray[np.float32], Answers]] = (),
) -> Trial:
    """Run a graph on images whose answers are `known`, or on two of sizes that it was not traced with.

    `library` is the package of its runtime, which answers by names or in order.
    """
    if find_spec(library) is None:
        return Trial(name, None, f"pip install {library}")
    examples = (written.example(steps, seed=steps) for steps in (3, 4))
    largest = 0.0
    for image, expected in known or ((image, written.answer(image)) for image in examples):
        answer = run(image)
        answer = answer if isinstance(answer, Mapping) else dict(zip(expected, answer, strict=True))
        largest = max(largest, difference(answer, expected))
    return Trial(f"{name} {metadata.version(library)}", largest)


def package(written: Package, path: Path) -> list[Trial]:
    """Run the weights in a package on its test image, each in its runtime."""
    known = [(written.normalized, written.answer)]
    with TemporaryDirectory() as place, ZipFile(path) as packed:
        runtimes = (
            ("weights.onnx", "ONNX Runtime", "onnxruntime", onnx.run),
            ("weights.pt", "PyTorch", "torch", torchscript.run),
        )
        return [
            graph(written.graph, name, library, partial(run, packed.extract(file, place)), known)
            for file, name, library, run in runtimes
        ]


def csbdeep(ensemble: Ensemble, folders: list[Path], member: int | None) -> Trial:
    """Let csbdeep itself load the folders, where it is installed with TensorFlow."""
    if find_spec("csbdeep") is None or find_spec("tensorflow") is None:
        return Trial("csbdeep", None, "pip install csbdeep tensorflow")
    from csbdeep.models import CARE, ProjectionCARE

    recipe, largest = ensemble.recipe, 0.0
    kind = ProjectionCARE if recipe.projects else CARE
    numbers = range(len(ensemble)) if member is None else [member]
    for folder, number in zip(folders, numbers, strict=True):
        image = Graph(ensemble, number).example(3)
        with torch.inference_mode():
            expected = ensemble.members[number](torch.from_numpy(image)).numpy()
        network = kind(None, folder.name, str(folder.parent)).keras_model
        answer = answered(partial(network.predict, verbose=0), image, recipe.isotropic)
        largest = max(largest, difference({"": answer}, {"": expected}))
    return Trial(f"csbdeep {metadata.version('csbdeep')}", largest)


def difference(answer: Answers, expected: Answers) -> float:
    """The largest difference of any image, as a fraction of the range of the mean, whose unit the scale has too.

    Infinite where other images are expected.
    """
    if set(answer) != set(expected) or any(answer[name].shape != one.shape for name, one in expected.items()):
        return float("inf")
    largest = max(float(np.abs(answer[name] - one).max()) for name, one in expected.items())
    return largest / max(float(np.ptp(expected.get("mean", next(iter(expected.values()))))), 1e-12)
