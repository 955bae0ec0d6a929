"""Open a model wherever it was made: a folder of veriscope or of csbdeep, or a package of bioimage.io."""

from __future__ import annotations

import os
from pathlib import Path

from veriscope.errors import ModelError
from veriscope.networks import folder as own
from veriscope.networks.model import Ensemble
from veriscope.sharing import csbdeep

PathLike = str | os.PathLike[str]


def load(model: PathLike) -> Ensemble:
    """The ensemble at `model`, on the CPU: what `save` or training wrote, or a CARE model that csbdeep wrote.

    Raises ModelError when it is missing, damaged, too new, or holds what cannot be restored here.
    """
    path = Path(model)
    if own.is_model(path) or not (csbdeep.is_folder(path) or path.suffix.lower() == ".zip"):
        return own.load(path)
    return read(path)


def read(*models: PathLike, weights: str = "best", task: str | None = None, factor: float | None = None) -> Ensemble:
    """A model of others; several folders of csbdeep become one ensemble. Options as in `csbdeep.read`."""
    for model in models:
        if own.is_model(model):
            raise ModelError(f"'{model}' is a model of veriscope already. Use it as it is: --model {model}.")
    return csbdeep.read(*models, weights=weights, task=task, factor=factor)
