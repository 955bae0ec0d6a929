"""OpenVINO's own format (IR): X.xml with X.bin beside it, converted from the graph in ONNX."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from veriscope import saving
from veriscope.networks.model import Ensemble
from veriscope.sharing import onnx
from veriscope.sharing.files import free, needed
from veriscope.sharing.graph import Graph, GraphOptions


def write(ensemble: Ensemble, path: str | os.PathLike[str], **options: Unpack[GraphOptions]) -> Graph:
    """Write `path`, an .xml file, and its .bin file; inputs, outputs and options as in `onnx.write`.

    Raises ModelError and OutputError.
    """
    target = free(path, ".xml", "A model of OpenVINO, with its weights beside it in a .bin file,")
    weights = free(target.with_suffix(".bin"))
    openvino, graph = needed("openvino"), Graph(ensemble, **options)
    with TemporaryDirectory() as place:
        parts = Path(place)
        model = openvino.Core().read_model(onnx.encoded(graph))
        for name, text in graph.texts.items():
            model.set_rt_info(text, ["veriscope", name])
        openvino.save_model(model, parts / "graph.xml", compress_to_fp16=False)
        saving.write(weights, (parts / "graph.bin").read_bytes(), overwrite=False)
        saving.write(target, (parts / "graph.xml").read_bytes(), overwrite=False)
    return graph


def run(path: str | os.PathLike[str], image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What OpenVINO makes of `image` (batch, channels_in, *space) in float32, by the names of the outputs."""
    model = compiled(path)
    results = model(image)
    return {output.get_any_name(): np.array(results[output]) for output in model.outputs}


def compiled(path: str | os.PathLike[str]) -> Any:
    """The model at `path`, also one of TensorFlow, to be called. By default some processors would compute in bfloat16,
    with three digits.
    """
    core = needed("openvino").Core()
    return core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
