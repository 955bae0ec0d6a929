"""U-Nets as graphs of OpenVINO, for images of any size. The graph is written layer by layer in memory, in milliseconds:
nothing is traced, and nothing is kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from veriscope.networks.unet import SMALLEST_SCALE, UNet


class OpenVino(nn.Module):
    """`networks` of the same kind, given the same images; they share the memory for what lies between their layers.

    Answers are views of memory that the next images overwrite.
    """

    def __init__(self, networks: Sequence[UNet], precision: str) -> None:
        super().__init__()
        self.graph = _graph(networks)
        self.hint = "f32" if precision == "float32" else "bf16"
        self.threads = 0  # of torch, for which the graph is compiled
        self.compiled: Any = None

    def answers(self, images: Tensor) -> list[Tensor]:
        """What each network makes of `images` (batch, channels_in, *space)."""
        found = self._ready()(images.contiguous().numpy(), share_inputs=True, share_outputs=True)
        return [torch.from_numpy(found[number]) for number in range(len(found))]

    def forward(self, images: Tensor) -> Tensor:
        return self.answers(images)[0]

    def rest(self) -> None:
        """Hand back the memory for what lies between the layers."""
        if self.compiled is not None:
            self.compiled.release_memory()

    def _ready(self) -> Any:
        import openvino

        if self.compiled is None or self.threads != torch.get_num_threads():
            self.threads = torch.get_num_threads()
            settings = {"INFERENCE_PRECISION_HINT": self.hint, "INFERENCE_NUM_THREADS": self.threads}
            settings |= {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}  # pinned, they wait for busy cores
            self.compiled = openvino.Core().compile_model(self.graph, "CPU", settings)
        return self.compiled


def _graph(networks: Sequence[UNet]) -> Any:
    import openvino
    from openvino import opset13

    recipe = networks[0].recipe
    image = opset13.parameter([-1, recipe.channels_in, *(-1 for _ in recipe.axes)], np.float32)
    return openvino.Model([_answer(opset13, network, image) for network in networks], [image])


def _answer(op: Any, network: UNet, image: Any) -> Any:
    """What `UNet.forward` does."""
    recipe, dims = network.recipe, network.dimensions
    one, none, two = [1] * dims, [0] * dims, [2] * dims
    by = list(recipe.folding)

    def ordered(channels: int) -> Any:
        """Kernels that put each pixel of a block into a channel of its own; backwards, each channel into its pixel."""
        size = channels * int(np.prod(by))
        return op.constant(np.eye(size, dtype=np.float32).reshape(size, channels, *by))

    def layer(convolution: Any, x: Any) -> Any:
        reach = [n // 2 for n in convolution.kernel_size]
        weight, bias = (part.detach().cpu().contiguous().numpy() for part in (convolution.weight, convolution.bias))
        x = op.convolution(x, op.constant(weight), one, reach, reach, one)
        return op.add(x, op.constant(bias.reshape(1, -1, *one)))

    def through(block: Any, x: Any) -> Any:
        for convolution in block:
            x = op.relu(layer(convolution, x))
        return x

    def unfolded(x: Any) -> Any:
        if recipe.stem == 1:
            return x
        return op.convolution_backprop_data(x, ordered(recipe.channels_out), by, None, none, none, one)

    x, skips = image, []
    if recipe.stem > 1:
        x = op.convolution(x, ordered(recipe.channels_in), by, none, none, one)
    for block in network.down:
        x = through(block, x)
        skips.append(x)
        x = op.max_pool(x, two, one, none, none, two).output(0)
    x = through(network.bottom, x)
    for block in network.up:
        factors, axes = op.constant(np.full(dims, 2, np.float32)), op.constant(np.arange(2, 2 + dims))
        nearest = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        x = op.interpolate(x, factors, "nearest", "scales", axes=axes, **nearest)
        x = through(block, op.concat([x, skips.pop()], 1))
    mean = unfolded(layer(network.mean, x))
    if recipe.residual:
        mean = op.add(mean, image)
    if recipe.activation == "relu":
        mean = op.relu(mean)
    if network.scale is None:
        return mean
    scale = op.softplus(unfolded(layer(network.scale, x)))
    return op.concat([mean, op.add(scale, op.constant(np.float32(SMALLEST_SCALE)))], 1)
