"""What the first layers of a network answer to an image: filters that it learned for the textures of its images."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from veriscope.networks.unet import UNet, fold
from veriscope.tiling import windows

PIXELS = 2**16  # of an image that the filters see, at most
LEAST = 4  # patches that are looked at, if there are as many


class Filters:
    """The first layers of `network`, as copies on the CPU; they see some patches of an image, spread evenly over it."""

    def __init__(self, network: UNet, patch: Sequence[int]) -> None:
        self.folding, self.patch = network.recipe.folding, tuple(patch)
        block = cast(nn.ModuleList, network.down[0])
        self.layers = [deepcopy(layer).to("cpu", torch.float32).eval() for layer in block]
        self.border = len(self.layers) * (network.recipe.kernel // 2)  # where answers depend on what lies outside

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Means and standard deviations of each filter's answers in every patch, (patches, 2 filters).

        `image` is what networks are given, (C_in, *space).
        """
        spans = windows(image.shape[1:], self.patch)
        most = max(LEAST, PIXELS // int(np.prod(self.patch)))
        chosen = sorted({round(at) for at in np.linspace(0, len(spans) - 1, most)})
        at_once = max(1, PIXELS // int(np.prod(self.patch)))  # memory stays small, however large patches are
        some = (chosen[first : first + at_once] for first in range(0, len(chosen), at_once))
        return np.concatenate(
            [self._answers(np.stack([image[(slice(None), *spans[at])] for at in part])) for part in some]
        )

    def _answers(self, blocks: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of patches of one size, (patches, C_in, *space)."""
        beyond = [(0, 0), (0, 0), *((0, -n % by) for n, by in zip(blocks.shape[2:], self.folding, strict=True))]
        answers = fold(torch.from_numpy(np.pad(blocks, beyond, mode="edge")), self.folding)
        for layer in self.layers:
            answers = layer(answers).relu()
        inner: Any = (..., *(_inside(length, self.border) for length in answers.shape[2:]))
        values = answers[inner].flatten(2)
        return torch.cat([values.mean(2), values.std(2, correction=0)], 1).double().numpy()


def filters_of(members: Sequence[Any], patch: Sequence[int]) -> Filters | None:
    """Those of the first of `members`; None where it does not begin with layers that see the image itself."""
    first = members[0]
    return Filters(first, patch) if isinstance(first, UNet) and len(first.down) else None


def _inside(length: int, border: int) -> slice:
    return slice(border, length - border) if length > 2 * border else slice(None)
