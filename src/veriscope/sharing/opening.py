"""Open a model of any origin: a folder of veriscope or of csbdeep, or a package of bioimage.io."""

from __future__ import annotations

import os
from pathlib import Path

from veriscope.errors import ModelError
from veriscope.networks import folder as own
from veriscope.networks import shipped
from veriscope.networks.model import Ensemble
from veriscope.sharing import csbdeep, packages

PathLike = str | os.PathLike[str]
PICKLED = "it would have to be unpickled or executed. Import a folder of csbdeep, or a package with ONNX"
OTHERS = {  # files that people try, and what to give instead
    ".h5": "give the folder it lies in, with config.json",
    ".hdf5": "give the folder it lies in, with config.json",
    ".keras": "give the folder that csbdeep trained in, with config.json and weights_best.h5",
    ".onnx": "give the package of bioimage.io that it belongs to, which states its axes and how images are prepared",
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".pkl"), PICKLED),
}


def load(model: PathLike) -> Ensemble:
    """The ensemble at `model`, on the CPU: what `save` or training wrote, or a model from another program, see `read`.

    Or a network that comes with veriscope, by its name, such as "nuclei-3d"; `veriscope models` lists them.

    Raises ModelError when it is missing, damaged, too new, or holds what cannot be restored here.
    """
    path = shipped.place(model)
    if own.is_model(path) or not (csbdeep.is_folder(path) or path.suffix.lower() == ".zip"):
        return own.load(path)
    return read(path)


def read(*models: PathLike, weights: str = "best", task: str | None = None, factor: float | None = None) -> Ensemble:
    """A model from another program: a package of bioimage.io, or folders of csbdeep, several as one ensemble.

    `weights`, `task` and `factor` are those of `csbdeep.read`. Raises ModelError.
    """
    for model in map(Path, models):
        if own.is_model(model):
            raise ModelError(f"'{model}' is a model of veriscope already. Use it as it is: --model {model}.")
        if model.suffix.lower() in OTHERS and model.is_file():
            raise ModelError(f"'{model}' alone is not enough: {OTHERS[model.suffix.lower()]}.")
        if packages.is_package(model):
            if len(models) > 1:
                raise ModelError("Packages of bioimage.io are imported one by one: each is an ensemble of its own.")
            if (weights, task, factor) != ("best", None, None):
                raise ModelError("A package states what it does. Remove --weights, --task and --factor.")
            return packages.read(model)
    return csbdeep.read(*models, weights=weights, task=task, factor=factor)
