"""ONNX: one file that most programs can run. Opset 17 in IR 8, which old runtimes read too; sizes are dynamic."""

from __future__ import annotations

import io
import os
import warnings
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.errors import ModelError
from veriscope.networks.folder import write_file
from veriscope.networks.model import Ensemble
from veriscope.sharing.files import free, needed
from veriscope.sharing.graph import Graph, GraphOptions

OPSET, IR = 17, 8
LARGEST = 2 * 10**9  # bytes of a file; protobuf holds no more


def write(ensemble: Ensemble, path: str | os.PathLike[str], **options: Unpack[GraphOptions]) -> Graph:
    """Write `path`: the input "image", the outputs "mean" and "scale", with `members` also "means" and "scales".

    `member` (from 0) is written alone. `normalize` "image" expects images that the caller has normalised (their
    percentiles 2 and 99.8 become 0 and 1); "model" takes grey values and gives grey values, by the percentiles of the
    training images. The file's metadata hold axes, step, halo and normalisation. Raises ModelError and OutputError.
    """
    target, graph = free(path), Graph(ensemble, **options)
    write_file(target, encoded(graph))
    return graph


def encoded(graph: Graph) -> bytes:
    """The file."""
    onnx = needed("onnx")
    recipe = graph.recipe
    if 4 * sum(weights.numel() for weights in graph.parameters()) > LARGEST:
        raise ModelError("This model is too large for an ONNX file, which holds 2 GB. Export one member (--member 0).")
    dynamic = {"image": {0: "batch", **dict(enumerate(recipe.axes.lower(), start=2))}}
    for name in graph.outputs:
        first = 3 if name in ("means", "scales") else 2
        dynamic[name] = {0: "batch", **dict(enumerate(recipe.axes_out.lower(), start=first))}
    file: Any = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):  # the newer exporter makes files that older runtimes cannot read
        torch.onnx.export(
            graph,
            (torch.from_numpy(graph.example()),),
            file,
            input_names=["image"],
            output_names=graph.outputs,
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
    model.ir_version = IR
    model.producer_name, _, model.producer_version = graph.description["program"].partition(" ")
    onnx.helper.set_model_props(model, graph.texts)
    onnx.checker.check_model(model)
    contents: bytes = model.SerializeToString()
    return contents


def run(path: str | os.PathLike[str], image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What ONNX Runtime makes of `image` (batch, channels_in, *space), by the names of the outputs."""
    session: Any = needed("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    results = session.run(None, {session.get_inputs()[0].name: image})
    return dict(zip([output.name for output in session.get_outputs()], results, strict=True))
