"""What the filters that a network has learned answer on an image: how it looks to the network."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from veriscope.networks.network import channels_last
from veriscope.networks.unet import UNet, fold, through
from veriscope.tiling import windows

PIXELS_SEEN = 2**16  # of an image, at most
LEAST_SEEN = 4  # patches that are looked at, if there are as many
AT_ONCE = 2**15  # pixels: what is made of them stays in the processor's cache


class Filters:
    """What the layers of `network` up to its bottom answer: filters that it learned for the textures of its images.

    They are copies on the CPU, and see some patches of an image, spread evenly over it.
    """

    def __init__(self, network: UNet, patch: Sequence[int]) -> None:
        recipe = network.recipe
        self.folding, self.step, self.patch = recipe.folding, recipe.step, tuple(patch)
        blocks = [cast(nn.ModuleList, block) for block in (*network.down, network.bottom)]
        self.blocks = [[deepcopy(layer).to("cpu", torch.float32).eval() for layer in block] for block in blocks]
        for layer in chain(*self.blocks):
            channels_last(layer)
        self.first = 2 * recipe.base  # values of the first level
        self.border = len(self.blocks[0]) * (recipe.kernel // 2)  # where first answers depend on what lies outside

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float64]:
        """Means and standard deviations of each filter's answers in every patch, (patches, values).

        First the means and then the deviations of the first level, then those of the next, ... `image` is what
        networks are given, (C_in, *space).
        """
        spans = windows(image.shape[1:], self.patch)
        most = max(LEAST_SEEN, PIXELS_SEEN // int(np.prod(self.patch)))
        chosen = sorted({round(at) for at in np.linspace(0, len(spans) - 1, most)})
        at_once = max(1, AT_ONCE // int(np.prod(self.patch)))
        some = (chosen[first : first + at_once] for first in range(0, len(chosen), at_once))
        return np.concatenate(
            [self._answers(np.stack([image[(slice(None), *spans[at])] for at in part])) for part in some]
        )

    def _answers(self, blocks: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of patches of one size, (patches, C_in, *space)."""
        beyond = [(0, 0), (0, 0), *((0, -n % by) for n, by in zip(blocks.shape[2:], self.step, strict=True))]
        real = [-(-n // by) for n, by in zip(blocks.shape[2:], self.folding, strict=True)]
        answers = fold(torch.from_numpy(np.pad(blocks, beyond, mode="edge")), self.folding)
        space = tuple(range(2, answers.ndim))
        pool = F.max_pool3d if len(self.step) == 3 else F.max_pool2d
        found = []
        for level, block in enumerate(self.blocks):
            answers = through(block, answers if level == 0 else pool(answers, 2))
            inner: Any = (..., *(_inside(-(-length // 2**level), self.border >> level) for length in real))
            values = answers[inner]
            means = values.mean(space, keepdim=True)
            deviations = (values - means).square_().mean(space).sqrt_()  # `std` is far slower
            found += [means.flatten(1), deviations]
        return torch.cat(found, 1).double().numpy()


def filters_of(members: Sequence[Any], patch: Sequence[int]) -> Filters | None:
    """Those of the first of `members`; None where it does not begin with layers that see the image itself."""
    first = members[0]
    return Filters(first, patch) if isinstance(first, UNet) and len(first.down) else None


def _inside(length: int, border: int) -> slice:
    return slice(border, length - border) if length > 2 * border else slice(None)
