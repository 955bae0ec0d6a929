"""A network for planes at work in a stack: on all slices that hold Z and one lateral axis, or on those of both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from veriscope.networks.unet import UNet

PIECE = 2**19  # pixels of the slices that go through the network together; one slice may be larger


class Slices(nn.Module):
    """`unet` on all slices of a stack along Z, which meets its first axis, and `lateral`: "X", "Y", or "XY" for both.

    (batch, channels_in, Z, Y, X) -> (batch, channels, Z, Y, X), channels as `unet` makes them. The answers of both
    directions are made one as csbdeep does: the mean is the geometric mean, negative ones counted as 0, the scale the
    larger one; slices along Y are shown upside down.
    """

    def __init__(self, unet: UNet, lateral: str) -> None:
        super().__init__()
        self.unet, self.recipe, self.lateral = unet, unet.recipe, lateral

    def forward(self, stack: Tensor) -> Tensor:
        return self.part(stack, tuple(slice(0, length) for length in stack.shape[2:]))

    def part(self, stack: Tensor, inner: tuple[slice, ...]) -> Tensor:
        """The part `inner` of the answer to `stack`: slices that it does not meet are not computed."""
        if self.lateral != "XY":
            return self._along(self.lateral, stack, inner)
        planes, (z, *lateral) = stack.shape[2], inner
        upside_down = (slice(planes - z.stop, planes - z.start), *lateral)
        one = self._along("X", stack, inner)
        other = self._along("Y", stack.flip(2), upside_down).flip(2)
        count = self.recipe.channels_out
        mean = (one[:, :count].clamp_min(0) * other[:, :count].clamp_min(0)).sqrt()
        return torch.cat([mean, torch.maximum(one[:, count:], other[:, count:])], dim=1)

    def _along(self, lateral: str, stack: Tensor, inner: tuple[slice, ...]) -> Tensor:
        z, y, x = inner
        wanted, across, inside = (y, 3, (z, x)) if lateral == "X" else (x, 4, (z, y))
        slices = stack.movedim(across, 1)[:, wanted]  # (batch, slices, channels, Z, lateral)
        batch, count = slices.shape[:2]
        slices = slices.flatten(0, 1)
        together = max(1, PIECE // (slices.shape[-1] * slices.shape[-2]))
        answers: Any = None
        for first in range(0, len(slices), together):
            answer = self.unet(slices[first : first + together])[(..., *inside)]
            if answers is None:
                answers = answer.new_empty((len(slices), *answer.shape[1:]))
            answers[first : first + together] = answer
            del answer
        result: Tensor = answers.unflatten(0, (batch, count)).movedim(1, across)
        return result

    @property
    def step(self) -> tuple[int, ...]:
        """Of tiles that do for the slices of either direction."""
        along_z, lateral = self.recipe.step
        return along_z, lateral, lateral

    @property
    def halo(self) -> tuple[int, ...]:
        """How far, along Z Y X, a tile must be read beyond its borders: not at all across the slices."""
        return self._in_space(*self.unet.halo)

    @property
    def reach(self) -> tuple[int, ...]:
        return self._in_space(*self.unet.reach)

    def _in_space(self, along_z: int, lateral: int) -> tuple[int, ...]:
        return along_z, lateral * ("Y" in self.lateral), lateral * ("X" in self.lateral)
