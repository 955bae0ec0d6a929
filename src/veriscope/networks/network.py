"""From a recipe to a network."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from veriscope.errors import ModelError
from veriscope.networks.projection import Projection
from veriscope.networks.recipe import Recipe
from veriscope.networks.unet import UNet

Network: TypeAlias = UNet | Projection
"""Takes (batch, channels_in, *space) to means and scales (batch, 2 channels_out, *axes of the result)."""

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
MOST_PARAMETERS = 2**28  # of one network: 1 GB of weights, and four times as much in training


def build(recipe: Recipe) -> Network:
    """A fresh network for `recipe`, with random weights from torch's current seed.

    Raises ModelError for one that is too large to be meant, and for graphs of others.
    """
    outline(recipe)
    return _made(recipe)


def outline(recipe: Recipe) -> Network:
    """The network of `recipe` without its weights, which costs nothing whatever its size. Raises as `build` does."""
    if recipe.foreign is not None:
        raise ModelError("This model is a graph made by others (ONNX): it can restore, but not be trained further.")
    with torch.device("meta"):
        made = _made(recipe)
    count = sum(weights.numel() for weights in made.parameters())
    if count > MOST_PARAMETERS:
        raise ModelError(
            f"A network of depth {recipe.depth}, base {recipe.base} and kernel {recipe.kernel} has {count / 1e6:,.0f} "
            f"million weights, more than the {MOST_PARAMETERS / 1e6:.0f} million that are possible here. Choose less."
        )
    return made


def _made(recipe: Recipe) -> Network:
    return Projection(recipe) if recipe.projects else UNet(recipe)


class OneDNN(nn.Conv3d):
    """A convolution that oneDNN computes whatever the shape of its input; as long as its input along every axis.

    PyTorch gives single small volumes or few channels to code of its own, which takes up to ten times as long. For
    float32 on a processor, and not for training.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        around = [length // 2 for length in self.kernel_size]
        found: Tensor = torch.mkldnn_convolution(input, weight, bias, around, self.stride, self.dilation, self.groups)
        return found


def by_onednn(network: nn.Module) -> None:
    """Let oneDNN compute all 3D convolutions, in place, where PyTorch has it."""
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        for layer in network.modules():
            if type(layer) is nn.Conv3d and all(length % 2 for length in layer.kernel_size):
                layer.__class__ = OneDNN


def channels_last(network: nn.Module) -> None:
    """Put the weights of 2D and 3D convolutions, in place, into the memory layout that is fastest on most devices."""
    for weights in network.parameters():
        if weights.dim() in _LAYOUTS:
            weights.data = weights.data.contiguous(memory_format=_LAYOUTS[weights.dim()])
