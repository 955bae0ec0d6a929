"""TorchScript: one file for programs with PyTorch. Written and tried here, never read from others: it can run code."""

from __future__ import annotations

import io
import json
import os
import warnings
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.networks.folder import write_file
from veriscope.networks.model import Ensemble
from veriscope.sharing.files import free
from veriscope.sharing.graph import Graph, GraphOptions

_JIT: Any = torch.jit  # whose functions have no types


def write(ensemble: Ensemble, path: str | os.PathLike[str], **options: Unpack[GraphOptions]) -> Graph:
    """Write `path`; inputs, outputs and options as in `onnx.write`. Raises ModelError and OutputError."""
    target, graph = free(path), Graph(ensemble, **options)
    write_file(target, encoded(graph))
    return graph


def encoded(graph: Graph) -> bytes:
    """The file; its extra file veriscope.json describes it."""
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), torch.inference_mode():
        traced = _JIT.trace(graph, torch.from_numpy(graph.example()), check_trace=False)
        _JIT.save(traced, file, _extra_files={"veriscope.json": json.dumps(graph.description)})
    return file.getvalue()


def run(path: str | os.PathLike[str], image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What a file that was written here makes of `image`, in the order of the outputs."""
    with warnings.catch_warnings(action="ignore"), torch.inference_mode():
        return [output.numpy() for output in _JIT.load(str(path))(torch.from_numpy(image))]
