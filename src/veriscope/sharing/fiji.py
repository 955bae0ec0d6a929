"""For the CSBDeep plugin of Fiji: a zip with a SavedModel of TensorFlow 1 and meta.json, written without TensorFlow.

Experimental: the file is checked with OpenVINO, which reads such models; no Fiji was at hand. Of TensorFlow's protocol
buffers only what is needed is written: numbers of fields are those of graph.proto, node_def.proto, attr_value.proto,
tensor.proto, meta_graph.proto and saved_model.proto, which have not changed since TensorFlow 1.0.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from functools import partial, reduce
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from veriscope.errors import ModelError
from veriscope.networks.model import Ensemble
from veriscope.networks.projection import Projection, Surface
from veriscope.networks.unet import SMALLEST_SCALE
from veriscope.sharing.csbdeep import answered, kind_of
from veriscope.sharing.files import free, write_zip
from veriscope.sharing.graph import Graph
from veriscope.sharing.openvino import compiled

INPUT, OUTPUT = "input", "output"
VERSION = "0.8.2"  # of csbdeep, whose exports the plugin reads
PRODUCER = 27  # version of graphs that TensorFlow 1.12 writes


def write(ensemble: Ensemble, path: str | os.PathLike[str], member: int | None = None) -> Graph:
    """Write `path`, a .zip file: the mean and the scale of all members, or of one alone, counted from 0.

    Channels are last, as in TensorFlow; the output has the means, then the scales. The plugin normalises, and needs
    `axes_div_by` and `tile_overlap`, which are in meta.json. Raises ModelError for networks with a stem.
    """
    target = free(path, ".zip", "A model for the CSBDeep plugin of Fiji")
    graph, recipe = Graph(ensemble, member), ensemble.recipe
    if recipe.stem > 1:
        raise ModelError(
            f"This model folds {recipe.stem} x {recipe.stem} pixels into channels (stem), which cannot be written for "
            f"Fiji. Export it as bioimageio or onnx, or train one with --stem 1."
        )
    meta = json.dumps(_meta(ensemble)).encode()
    write_zip(target, {"saved_model.pb": _saved_model(graph), "variables/": b"", "meta.json": meta})
    return graph


def run(path: str | os.PathLike[str], image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What OpenVINO, which reads models of TensorFlow, makes of `image` (batch, channels, *space): mean, and scale."""
    with TemporaryDirectory() as place, zipfile.ZipFile(path) as packed:
        (Path(place) / "saved_model.pb").write_bytes(packed.read("saved_model.pb"))
        meta = json.loads(packed.read("meta.json"))
        model = compiled(place)
        result = answered(lambda pixels: model(pixels)[model.outputs[0]], image, meta["type"] == "IsotropicCARE")
    return list(np.split(result, 2, axis=1)) if meta["probabilistic"] else [result]


def _meta(ensemble: Ensemble) -> dict[str, Any]:
    recipe = ensemble.recipe
    order = -1 if recipe.isotropic else 1
    whole = len(recipe.axes) - len(recipe.axes_out)  # Z of stacks that are projected
    return {
        "type": kind_of(recipe),
        "version": VERSION,
        "probabilistic": recipe.probabilistic,
        "axes": recipe.axes + "C",
        "axes_div_by": [*[1] * whole, *recipe.step[::order], 1],
        "tile_overlap": [*[0] * whole, *ensemble.reach[::order], 0],  # csbdeep's follows from the reach
    }


def _saved_model(graph: Graph) -> bytes:
    recipe, nodes = graph.recipe, Nodes()
    lengths = [-1] * (len(recipe.axes) + 1) + [recipe.channels_in]
    image = nodes.placeholder(INPUT, lengths)
    parts = _mixture(nodes, [_network(nodes, member, image) for member in graph.members])
    whole = parts[0] if len(parts) == 1 else nodes.joined(*parts, axis=len(recipe.axes_out) + 1)
    nodes.add("Identity", whole, name=OUTPUT, T=FLOAT)
    lengths_out = [-1] * (len(recipe.axes_out) + 1) + [recipe.channels_out * len(parts)]
    return saved_model(nodes, {INPUT: lengths}, {OUTPUT: lengths_out})


def _mixture(nodes: Nodes, answers: Sequence[list[str]]) -> list[str]:
    """Mean and scale of the mixture of several members, as in `graph.Graph`."""
    if len(answers) == 1:
        return answers[0]
    count = nodes.constant(float(len(answers)))

    def average(images: Sequence[str]) -> str:
        return nodes.plain("RealDiv", reduce(partial(nodes.plain, "Add"), images), count)

    mean = average([answer[0] for answer in answers])
    if len(answers[0]) == 1:
        return [mean]
    scales = []
    for own, scale in answers:
        distance = nodes.plain("Abs", nodes.plain("Sub", own, mean))
        less = nodes.plain("Exp", nodes.plain("Neg", nodes.plain("RealDiv", distance, scale)))
        scales.append(nodes.plain("Add", distance, nodes.plain("Mul", scale, less)))
    return [mean, average(scales)]


def _network(nodes: Nodes, network: nn.Module, image: str) -> list[str]:
    """The mean, and the scale where there is one, of a network."""
    if isinstance(network, Projection):
        probable = _surface(nodes, network.surface, image)
        image = nodes.reduced("Sum", nodes.plain("Mul", probable, image), axis=1, keep=False)
    unet: Any = network.unet
    recipe = unet.recipe
    space, turned = len(recipe.axes), recipe.isotropic
    x, skips = image, []
    for block in unet.down:
        x = _through(nodes, block, x, turned)
        skips.append(x)
        x = _pooled(nodes, x, (2,) * space)
    x = _through(nodes, unet.bottom, x, turned)
    for block in unet.up:
        x = nodes.joined(_finer(nodes, x, (2,) * space), skips.pop(), axis=space + 1)
        x = _through(nodes, block, x, turned)
    mean = _convolved(nodes, unet.mean, x, turned)
    if recipe.residual:
        mean = nodes.plain("Add", mean, image)
    if recipe.activation == "relu":
        mean = nodes.plain("Relu", mean)
    if unet.scale is None:
        return [mean]
    positive = nodes.plain("Softplus", _convolved(nodes, unet.scale, x, turned))
    return [mean, nodes.plain("Add", positive, nodes.constant(SMALLEST_SCALE))]


def _surface(nodes: Nodes, surface: Surface, stack: str) -> str:
    """How probable each plane is, (batch, Z, Y, X, 1)."""
    layers, x = surface.layers, stack
    for side, resized in ((surface.down, _pooled), (surface.up, _finer)):
        for count, layer in enumerate(side, start=1):
            x = _through(nodes, [layer], x)
            if count % layers.convolutions == 0:
                x = resized(nodes, x, (1, *layers.pool))
    scores = _convolved(nodes, surface.logits, _through(nodes, [surface.last], x))
    raised = nodes.plain("Exp", nodes.plain("Sub", scores, nodes.reduced("Max", scores, axis=1, keep=True)))
    return nodes.plain("RealDiv", raised, nodes.reduced("Sum", raised, axis=1, keep=True))


def _through(nodes: Nodes, block: Iterable[nn.Module], x: str, turned: bool = False) -> str:
    for layer in block:
        x = nodes.plain("Relu", _convolved(nodes, layer, x, turned))
    return x


def _convolved(nodes: Nodes, layer: nn.Module, x: str, turned: bool = False) -> str:
    kernel = cast(Tensor, layer.weight).detach().cpu().numpy()
    kernel = kernel.swapaxes(2, 3) if turned else kernel
    space = kernel.ndim - 2
    weights = nodes.constant(kernel.transpose(*range(2, space + 2), 1, 0))
    op, order = ("Conv2D", "NHWC") if space == 2 else ("Conv3D", "NDHWC")
    stride = [1] * (space + 2)
    convolved = nodes.add(op, x, weights, T=FLOAT, strides=stride, padding="SAME", data_format=order)
    return nodes.plain("Add", convolved, nodes.constant(cast(Tensor, layer.bias).detach().cpu().numpy()))


def _pooled(nodes: Nodes, x: str, by: Sequence[int]) -> str:
    op, order = ("MaxPool", "NHWC") if len(by) == 2 else ("MaxPool3D", "NDHWC")
    window = [1, *by, 1]
    return nodes.add(op, x, T=FLOAT, ksize=window, strides=window, padding="VALID", data_format=order)


def _finer(nodes: Nodes, x: str, by: Sequence[int]) -> str:
    """Every pixel repeated: copies of all images, which become the pixels of a block in each place."""
    copies = nodes.constant([prod(by), *[1] * (len(by) + 1)], INT32)
    many = nodes.add("Tile", x, copies, T=FLOAT, Tmultiples=INT32)
    block, crops = nodes.constant(by, INT32), nodes.constant(np.zeros((len(by), 2)), INT32)
    return nodes.add("BatchToSpaceND", many, block, crops, T=FLOAT, Tblock_shape=INT32, Tcrops=INT32)


# Graphs of TensorFlow 1, as bytes


class Kind(IntEnum):
    """Kinds of numbers, of types.proto."""

    FLOAT = 1
    INT32 = 3


FLOAT, INT32 = Kind


def number(value: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first; negative ones as 64-bit complements."""
    rest, bits = value & (2**64 - 1), bytearray()
    while rest > 127:
        bits.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*bits, rest])


def field(at: int, value: int | str | bytes) -> bytes:
    """One field of a message: a whole number, or text, or a message within."""
    if isinstance(value, int):
        return number(at << 3) + number(value)
    contents = value.encode() if isinstance(value, str) else value
    return number(at << 3 | 2) + number(len(contents)) + contents


def entry(key: str, value: bytes) -> bytes:
    return field(1, key) + field(2, value)


def shape_of(lengths: Sequence[int]) -> bytes:
    return b"".join(field(2, field(1, length)) for length in lengths)


def attribute(value: Any) -> bytes:
    """The value of an attribute: text, a kind, true or false, a whole number, a list of them; or bytes, as they are."""
    match value:
        case bytes():
            return value
        case str():
            return field(2, value)
        case Kind():
            return field(6, value)
        case bool():
            return field(5, value)
        case int():
            return field(3, value)
    return field(1, field(3, b"".join(map(number, value))))


class Nodes:
    """A graph under construction. Every method adds a node and returns its name."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.counts: Counter[str] = Counter()

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node with what its operation needs to know, see `attribute`."""
        self.counts[op] += 1
        own = name or f"{op}_{self.counts[op]}"
        parts = [field(1, own), field(2, op), *(field(3, name) for name in inputs)]
        parts += [field(5, entry(key, attribute(value))) for key, value in attributes.items()]
        self.written += field(1, b"".join(parts))
        return own

    def placeholder(self, name: str, lengths: Sequence[int]) -> str:
        return self.add("Placeholder", name=name, dtype=FLOAT, shape=field(7, shape_of(lengths)))

    def constant(self, values: Any, of: Kind = FLOAT) -> str:
        array = np.asarray(values, "<f4" if of == FLOAT else "<i4")
        tensor = field(1, of) + field(2, shape_of(array.shape)) + field(4, array.tobytes())
        return self.add("Const", dtype=of, value=field(8, tensor))

    def plain(self, op: str, *inputs: str, of: Kind = FLOAT) -> str:
        """An operation whose only attribute is its type."""
        return self.add(op, *inputs, T=of)

    def reduced(self, op: str, image: str, axis: int, keep: bool) -> str:
        return self.add(op, image, self.constant([axis], INT32), T=FLOAT, Tidx=INT32, keep_dims=keep)

    def joined(self, *images: str, axis: int) -> str:
        return self.add("ConcatV2", *images, self.constant(axis, INT32), N=len(images), T=FLOAT, Tidx=INT32)


def saved_model(nodes: Nodes, inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]]) -> bytes:
    """saved_model.pb, tag serve, signature serving_default; nodes by name, with lengths or -1."""

    def tensors(at: int, named: Mapping[str, Sequence[int]]) -> bytes:
        return b"".join(
            field(at, entry(name, field(1, f"{name}:0") + field(2, FLOAT) + field(3, shape_of(lengths))))
            for name, lengths in named.items()
        )

    signature = tensors(1, inputs) + tensors(2, outputs) + field(3, "tensorflow/serving/predict")
    graph = bytes(nodes.written) + field(4, field(1, PRODUCER))
    about = field(4, "serve") + field(5, "1.12.0")
    meta = field(1, about) + field(2, graph) + field(5, entry("serving_default", signature))
    return field(1, 1) + field(2, meta)
