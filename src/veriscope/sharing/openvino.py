"""OpenVINO's own format (IR): X.xml with X.bin beside it, made of the graph in ONNX."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import saving
from veriscope.errors import OutputError
from veriscope.networks.model import Ensemble
from veriscope.sharing import onnx
from veriscope.sharing.graph import Normalizing, Shared, shared
from veriscope.sharing.needed import needed
from veriscope.sharing.placing import free

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}  # by default some processors compute in bfloat16, with three digits


def write(
    ensemble: Ensemble,
    path: str | os.PathLike[str],
    *,
    member: int | None = None,
    members: bool = False,
    normalize: Normalizing = "image",
) -> Shared:
    """Write `path`, an .xml file, and its .bin file; inputs, outputs and options as in `onnx.write`.

    Raises ModelError and OutputError.
    """
    target = Path(path)
    if target.suffix != ".xml":
        raise OutputError(f"A model of OpenVINO is an .xml file with a .bin file beside it. Name it {target}.xml.")
    weights = free(target).with_suffix(".bin")
    free(weights)
    openvino = needed("openvino")
    graph = shared(ensemble, member, members, normalize)
    with TemporaryDirectory() as place:
        parts = Path(place)
        (parts / "graph.onnx").write_bytes(onnx.made(graph))
        model = openvino.Core().read_model(parts / "graph.onnx")
        for name, text in graph.text.items():
            model.set_rt_info(text, ["veriscope", name])
        openvino.save_model(model, parts / "graph.xml", compress_to_fp16=False)
        del model
        saving.write(weights, (parts / "graph.bin").read_bytes(), overwrite=False)
        saving.write(target, (parts / "graph.xml").read_bytes(), overwrite=False)
    return graph


def run(path: str | os.PathLike[str], image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What OpenVINO says to `image` (batch, channels_in, *space) in float32, by the names of the outputs."""
    core: Any = needed("openvino").Core()
    model = core.compile_model(core.read_model(path), "CPU", EXACT)
    found = model(image)
    return {output.get_any_name(): np.array(found[output]) for output in model.outputs}
