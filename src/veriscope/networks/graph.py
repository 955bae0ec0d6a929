"""A network that is known only by its file: a graph in ONNX, run by ONNX Runtime behind the same call as the others."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriscope.errors import ModelError
from veriscope.networks.recipe import Recipe
from veriscope.wording import lengths

MISSING = "ONNX Runtime is not installed, and this model needs it. Install it: pip install 'veriscope[sharing]'"


class OnnxNetwork(nn.Module):
    """(batch, channels_in, *space) -> (batch, channels, *space): what the file `contents` says, on the CPU.

    Raises ModelError when the file is not the one that the recipe describes, or cannot be run.
    """

    def __init__(self, recipe: Recipe, contents: bytes) -> None:
        super().__init__()
        assert recipe.foreign is not None
        self.recipe, self.contents, self.foreign = recipe, contents, recipe.foreign
        if hashlib.sha256(contents).hexdigest() != self.foreign.sha256:
            raise ModelError("The graph of this model is damaged: its checksum does not match. Copy it again.")
        check(contents)
        self.here = nn.Parameter(torch.empty(0), requires_grad=False)  # shows others the device
        self.session = session(contents)

    def __deepcopy__(self, memo: object) -> OnnxNetwork:
        return self  # nothing in it changes

    def forward(self, image: Tensor) -> Tensor:
        lengths = image.shape[2:]
        missing = [max(0, least - have) for least, have in zip(self.foreign.least, lengths, strict=True)]
        if any(missing):
            image = F.pad(image, [n for least in reversed(missing) for n in (0, least)], mode="replicate")
        answers = torch.stack([self._one(one) for one in image])
        kept: Any = (..., *(slice(0, length) for length in lengths))
        return answers[kept].to(image.device)

    def _one(self, image: Tensor) -> Tensor:
        """(channels_in, *space) -> (channels, *space), by way of the graph's own axes."""
        letters, array = "c" + self.recipe.axes.lower(), image.detach().cpu().numpy()
        given = _arranged(array, letters, self.foreign.axes_in)
        try:
            found = self.session.run(None, {self.session.get_inputs()[0].name: given})
        except Exception as problem:
            if "alloc" in str(problem).lower():
                raise MemoryError(str(problem).splitlines()[0]) from problem
            raise ModelError(f"ONNX Runtime cannot run this graph: {str(problem).splitlines()[0][:300]}") from problem
        parts = [_arranged(np.asarray(one, np.float32), self.foreign.axes_out, letters) for one in found]
        wanted = self.recipe.channels_out * (2 if self.recipe.probabilistic else 1)
        whole = np.concatenate(parts[:2] if self.recipe.probabilistic else parts[:1])
        if whole.shape != (wanted, *array.shape[1:]):
            raise ModelError(
                f"This graph answers {lengths(array.shape)} with {lengths(whole.shape)} "
                f"(channels and space), but an image of the same size with {wanted} channels is needed."
            )
        return torch.from_numpy(np.ascontiguousarray(whole))

    @property
    def numbers(self) -> int:
        """How many numbers the file holds, about."""
        return len(self.contents) // 4

    @property
    def step(self) -> tuple[int, ...]:
        return self.foreign.step

    @property
    def halo(self) -> tuple[int, ...]:
        """How far a tile is read beyond its borders: also so far that none is smaller than the graph takes."""
        least = (least - step for least, step in zip(self.foreign.least, self.foreign.step, strict=True))
        return tuple(map(max, self.foreign.halo, least))

    @property
    def reach(self) -> tuple[int, ...]:
        return self.foreign.halo


def session(contents: bytes) -> Any:
    """A session of ONNX Runtime. Raises ModelError where it is missing or does not take the file."""
    try:
        import onnxruntime
    except ImportError as problem:
        raise ModelError(MISSING) from problem
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(contents, options, providers=["CPUExecutionProvider"])
    except Exception as problem:
        raise ModelError(f"ONNX Runtime cannot open this graph: {str(problem).splitlines()[0][:300]}") from problem


def check(contents: bytes) -> None:
    """Raises ModelError for files that are no ONNX or refer to other files."""
    try:
        import onnx
    except ImportError as problem:
        raise ModelError(MISSING.replace("ONNX Runtime", "ONNX")) from problem
    try:
        model = onnx.load_from_string(contents)
    except Exception as problem:  # protobuf's own errors have no common ancestor
        raise ModelError("This is not a graph in ONNX, or it is damaged. Get the package again.") from problem
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ModelError("This graph keeps its weights in another file, which is not opened. Save it as one file.")


def _tensors(graph: Any) -> Any:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from [attribute.t, *attribute.tensors]
            for inner in [attribute.g, *attribute.graphs]:
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


def _arranged(array: Any, letters: str, wanted: str) -> Any:
    """`array` with axes `letters` in the order `wanted`; axes of length 1 come and go."""
    gone = tuple(place for place, letter in enumerate(letters) if letter not in wanted)
    if any(array.shape[place] != 1 for place in gone):
        raise ModelError(f"This graph has the axes {letters}, of which {wanted} are known here. It cannot be used.")
    kept = [letter for letter in letters if letter in wanted]
    moved = np.squeeze(array, gone).transpose([kept.index(letter) for letter in wanted if letter in kept])
    whole: Any = tuple(slice(None) if letter in kept else np.newaxis for letter in wanted)
    return np.ascontiguousarray(moved[whole])
