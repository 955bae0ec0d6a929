"""From a recipe to a network."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import nn

from veriscope.errors import ModelError
from veriscope.networks.projection import Projection
from veriscope.networks.recipe import Recipe
from veriscope.networks.unet import UNet

Network: TypeAlias = UNet | Projection
"""Takes (batch, channels_in, *space) to means and scales (batch, 2 channels_out, *axes of the result)."""

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


def build(recipe: Recipe) -> Network:
    """A fresh network for `recipe`, with random weights from torch's current seed. Raises ModelError for graphs."""
    if recipe.foreign is not None:
        raise ModelError("This model is a graph made by others (ONNX): it can restore, but not be trained further.")
    return Projection(recipe) if recipe.projects else UNet(recipe)


def channels_last(network: nn.Module) -> None:
    """Put the weights of 2D and 3D convolutions, in place, into the memory layout that is fastest on most devices."""
    for weights in network.parameters():
        if weights.dim() in _LAYOUTS:
            weights.data = weights.data.contiguous(memory_format=_LAYOUTS[weights.dim()])
