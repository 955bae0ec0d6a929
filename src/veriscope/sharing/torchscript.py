"""TorchScript: one file for programs that hold PyTorch. Written and tried, never read from others: it can run code."""

from __future__ import annotations

import io
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.networks.folder import write_file
from veriscope.networks.model import Ensemble
from veriscope.sharing.graph import Normalizing, Shared, shared
from veriscope.sharing.placing import free


def write(
    ensemble: Ensemble,
    path: str | os.PathLike[str],
    *,
    member: int | None = None,
    members: bool = False,
    normalize: Normalizing = "image",
) -> Shared:
    """Write `path`; inputs, outputs and options as in `onnx.write`. Raises ModelError and OutputError."""
    target = free(Path(path))
    graph = shared(ensemble, member, members, normalize)
    write_file(target, made(graph))
    return graph


def made(graph: Shared) -> bytes:
    """The file; what is to be known of it is in its extra file veriscope.json."""
    written = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        traced = trace(graph.graph, torch.from_numpy(graph.example()), check_trace=False)
        torch.jit.save(traced, written, _extra_files={"veriscope.json": json.dumps(graph.described)})
    return written.getvalue()


def run(path: str | os.PathLike[str], image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What a file that was written here says to `image`, in the order of the outputs."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        load: Any = torch.jit.load
        return [one.numpy() for one in load(str(path))(torch.from_numpy(image))]
