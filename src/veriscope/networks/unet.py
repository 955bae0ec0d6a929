"""The U-Net of the paper (SI 1.1, Supp. Figs. 8, 12, 19), in two and three dimensions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriscope.networks.recipe import Recipe

FIRST_SCALE = 0.1  # of the normalised intensity range, before training; the paper's zero bias means 0.69
SMALLEST_SCALE = 1e-3  # of the normalised intensity range; keeps the log likelihood bounded


class Traced(nn.Module):
    """A network whose answers can be followed back to the pixels that they are computed from."""

    recipe: Recipe

    def reads(self, first: int, last: int, axis: int) -> tuple[int, int]:
        """The first and last input pixel that the outputs `first` to `last` are computed from, along `axis`."""
        raise NotImplementedError

    @property
    def reach(self) -> tuple[int, ...]:
        """How far, in pixels per axis of the result, an input pixel can lie from an output pixel that it influences."""
        result = []
        for axis, length in enumerate(self.recipe.step):
            spans = [(position, *self.reads(position, position, axis)) for position in range(length)]
            result.append(max(max(position - first, last - position) for position, first, last in spans))
        return tuple(result)

    @property
    def halo(self) -> tuple[int, ...]:
        """How far, in pixels per axis of the result, a tile on multiples of the step must be read beyond its borders.

        Less than `reach` where the pixels that see farthest never lie at the border of such a tile.
        """
        steps = self.recipe.step
        spans = [(length, *self.reads(0, length - 1, axis)) for axis, length in enumerate(steps)]
        return tuple(max(-first, last - (length - 1)) for length, first, last in spans)


class UNet(Traced):
    """Means, and Laplace scales when probabilistic, for every pixel.

    (batch, channels_in, *space) -> (batch, 2 channels_out, *space), means before scales; without scales when not
    probabilistic. Lengths of `space` must be multiples of `step`. Inputs are normalised, float32.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.dimensions = len(recipe.axes)
        self.step = recipe.step
        folded = math.prod(recipe.folding)
        width = [recipe.base * 2**level for level in range(recipe.depth + 1)]

        self.down = nn.ModuleList()
        channels = recipe.channels_in * folded
        for level in range(recipe.depth):
            self.down.append(self._convolutions(channels, width[level], width[level]))
            channels = width[level]
        self.bottom = self._convolutions(channels, width[-1], width[-2])
        self.up = nn.ModuleList()
        channels = width[-2]
        for level in reversed(range(recipe.depth)):
            narrow = width[max(0, level - 1)]
            self.up.append(self._convolutions(channels + width[level], width[level], narrow))
            channels = narrow
        ends = channels, recipe.channels_out * folded, (1,) * self.dimensions
        self.mean = convolution(*ends)
        self.scale = convolution(*ends) if recipe.probabilistic else None
        if self.scale is not None and recipe.scale_weight:  # beside the means scales learn late: begin near their end
            nn.init.constant_(cast(Tensor, self.scale.bias), math.log(math.expm1(FIRST_SCALE)))

    def _convolutions(self, *channels: int) -> nn.ModuleList:
        kernel = (self.recipe.kernel,) * self.dimensions
        return nn.ModuleList(convolution(a, b, kernel) for a, b in pairwise(channels))

    def forward(self, image: Tensor) -> Tensor:
        return self.answer(self.features(image), image)

    def answer(self, features: Tensor, image: Tensor) -> Tensor:
        """The last layers: means, and scales, from the `features` of `image`."""
        mean = unfold(self.mean(features), self.recipe.folding).to(image.dtype)
        if self.recipe.residual:
            mean = mean + image
        if self.recipe.activation == "relu":
            mean = F.relu(mean)
        if self.scale is None:
            return mean
        scale = unfold(self.scale(features), self.recipe.folding).to(image.dtype)
        return torch.cat([mean, F.softplus(scale) + SMALLEST_SCALE], dim=1)

    def features(self, image: Tensor) -> Tensor:
        """What the last layers are given: (batch, features, *space / folding)."""
        x = fold(image, self.recipe.folding)
        pool = F.max_pool3d if self.dimensions == 3 else F.max_pool2d
        skips = []
        for block in self.down:
            x = through(block, x)
            skips.append(x)
            x = pool(x, 2)
        x = through(self.bottom, x)
        for block in self.up:
            x = torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()], dim=1)
            x = through(block, x)
        return x

    @property
    def unet(self) -> UNet:
        """The network whose last layers give the answer: this one."""
        return self

    def before_unet(self, image: Tensor) -> Tensor:
        """What `unet` is given: the image itself."""
        return image

    def reads(self, first: int, last: int, axis: int) -> tuple[int, int]:
        folding = self.recipe.folding[axis]
        first, last = first // folding, last // folding
        skips = []
        for block in reversed(self.up):
            first, last = widened(block, first, last, axis)
            skips.append((first, last))
            first, last = first // 2, last // 2  # upsampled pixel i is a copy of pixel i // 2
        first, last = widened(self.bottom, first, last, axis)
        for block in reversed(self.down):
            skip = skips.pop()
            first, last = min(2 * first, skip[0]), max(2 * last + 1, skip[1])  # a pooled pixel i has seen 2i and 2i + 1
            first, last = widened(block, first, last, axis)
        return first * folding, last * folding + folding - 1


def convolution(channels_in: int, channels_out: int, kernel: tuple[int, ...]) -> nn.Conv2d | nn.Conv3d:
    """A convolution with an odd `kernel` that keeps the lengths, and with Glorot's random weights."""
    kind: Any = nn.Conv3d if len(kernel) == 3 else nn.Conv2d
    layer: nn.Conv2d | nn.Conv3d = kind(channels_in, channels_out, kernel, padding=tuple(n // 2 for n in kernel))
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


def through(block: nn.Module | Iterable[nn.Module], x: Tensor) -> Tensor:
    """`x` after the convolutions of `block`, each with its ReLU."""
    for layer in cast(Iterable[nn.Module], block):
        x = F.relu(layer(x), inplace=True)
    return x


def widened(block: nn.Module | Iterable[nn.Module], first: int, last: int, axis: int) -> tuple[int, int]:
    """The pixels along `axis` of space that the convolutions of `block` compute the pixels `first` to `last` from."""
    reach = sum(layer.kernel_size[axis] // 2 for layer in cast(Iterable[nn.Conv2d], block))
    return first - reach, last + reach


def fold(image: Tensor, by: tuple[int, ...]) -> Tensor:
    """(batch, channels, *space) -> (batch, channels * prod(by), *space / by): blocks of pixels become channels."""
    if all(n == 1 for n in by):
        return image
    batch, channels, *space = image.shape
    dims, blocks = len(by), [length // n for length, n in zip(space, by, strict=True)]
    split = image.reshape(batch, channels, *(size for pair in zip(blocks, by, strict=True) for size in pair))
    order = [0, 1, *(3 + 2 * axis for axis in range(dims)), *(2 + 2 * axis for axis in range(dims))]
    return split.permute(order).reshape(batch, -1, *blocks)


def unfold(image: Tensor, by: tuple[int, ...]) -> Tensor:
    """The inverse of `fold`."""
    if all(n == 1 for n in by):
        return image
    batch, _, *space = image.shape
    dims = len(by)
    split = image.reshape(batch, -1, *by, *space)
    order = [0, 1, *(position for axis in range(dims) for position in (2 + dims + axis, 2 + axis))]
    return split.permute(order).reshape(batch, -1, *(length * n for length, n in zip(space, by, strict=True)))


def count_parameters(network: nn.Module) -> int:
    """How many numbers training can change."""
    return sum(weights.numel() for weights in network.parameters())
