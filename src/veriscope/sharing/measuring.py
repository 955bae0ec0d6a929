"""What a graph from another program does not state: how far it looks around a pixel, and how much memory it takes."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch

from veriscope.errors import ModelError
from veriscope.networks.graph import OnnxNetwork, session

BLUNT = 1e-6  # of the range: less is rounding
PROBES = 6
LONGEST = {2: 1024, 3: 192}  # pixels of the image looked at
WORK = 1.5  # memory for the work of convolutions, beside their tensors


def measured_halo(network: OnnxNetwork) -> tuple[int, ...]:
    """How far, per spatial axis, a change of one pixel changes the result.

    Pixels at several places within a step are made much brighter and much darker, one after the other. Raises
    ModelError when the whole image changes: such a network cannot work in tiles.
    """
    dimensions = len(network.step)
    length = 64 if dimensions == 2 else 24
    rng = np.random.default_rng(0)
    while length <= LONGEST[dimensions]:
        pairs = zip(network.foreign.least, network.step, strict=True)
        lengths = [max(least, -(-length // step) * step) for least, step in pairs]
        halo = _seen(network, lengths, rng)
        if all(2 * far + 2 * step < whole for far, step, whole in zip(halo, network.step, lengths, strict=True)):
            return halo
        length *= 2
    raise ModelError("This graph uses the whole image for every pixel, as by normalising, so it cannot work in tiles.")


def _seen(network: OnnxNetwork, lengths: list[int], rng: np.random.Generator) -> tuple[int, ...]:
    image = torch.from_numpy(rng.random((1, network.recipe.channels_in, *lengths), np.float32))
    answer = network(image)
    least = BLUNT * float(answer.max() - answer.min())
    corners = list(product(*({0, step - 1} for step in network.step)))
    offsets = [*corners, *(tuple(int(rng.integers(step)) for step in network.step) for _ in range(PROBES))]
    far = [0] * len(lengths)
    for offset in offsets:
        pixel = [n // 2 // step * step + at for n, step, at in zip(lengths, network.step, offset, strict=True)]
        for change in (10.0, -10.0):
            changed = image.clone()
            place: Any = (slice(None), slice(None), *pixel)
            changed[place] += change
            where = ((network(changed) - answer).abs() > least).any(0).any(0).nonzero()
            for axis, at in enumerate(pixel):
                far[axis] = max(far[axis], int((where[:, axis] - at).abs().max()) if len(where) else 0)
    return tuple(far)


def measured_bytes(network: OnnxNetwork) -> float:
    """Memory per voxel at the peak, about: all tensors within the graph that are needed at the same time."""
    import onnx

    model = onnx.load_from_string(network.contents)
    nodes = list(model.graph.node)
    names = [name for node in nodes for name in node.output if name]
    had = [one.name for one in model.graph.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in had)
    lengths = [max(least, 2 * step) for least, step in zip(network.foreign.least, network.step, strict=True)]
    probe = session(model.SerializeToString())
    letters = {"b": 1, "c": network.recipe.channels_in, **dict(zip(network.recipe.axes.lower(), lengths, strict=True))}
    shape = [letters[letter] for letter in network.foreign.axes_in]
    values: list[Any] = probe.run(None, {probe.get_inputs()[0].name: np.zeros(shape, np.float32)})
    sizes = {one.name: np.asarray(value).nbytes for one, value in zip(probe.get_outputs(), values, strict=True)}
    last = {name: number for number, node in enumerate(nodes) for name in (*node.input, *node.output)}
    alive: dict[str, int] = {}
    peak = 0
    for number, node in enumerate(nodes):
        alive |= {name: sizes.get(name, 0) for name in node.output}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last[name] > number or name in had}
    return max(WORK * peak / prod(lengths), 1.0)
