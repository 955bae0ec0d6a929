"""From a stack to the surface in it: a 3D network that finds the surface, then a 2D one (SI 1.1, Supp. Fig. 12).

The first says for every pixel how probable each plane is. The planes' mean by these probabilities is the projected
image; the probabilities tell the height of the surface too.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, arange, cat, nn

from veriscope.networks.recipe import Recipe
from veriscope.networks.unet import Traced, UNet, convolution, through, widened


class Surface(nn.Module):
    """How probable it is that the surface lies in each plane: (batch, channels, Z, Y, X) -> (batch, 1, Z, Y, X).

    The sum along Z is 1. All channels are looked at together: they show one surface. Any number of planes will do; Y
    and X must be multiples of `recipe.surface.step`. Inputs are normalised, float32.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.layers = layers = recipe.surface
        self.down = nn.ModuleList()
        channels, kernel = recipe.channels_in, layers.first
        for _ in range(layers.depth * layers.convolutions):
            self.down.append(convolution(channels, layers.filters, kernel))
            channels, kernel = layers.filters, layers.kernel
        before_last = (layers.depth + 1) * layers.convolutions - 1
        self.up = nn.ModuleList(convolution(channels, channels, kernel) for _ in range(before_last))
        self.last = convolution(channels, channels, kernel)
        self.logits = convolution(channels, 1, kernel)

    def forward(self, stack: Tensor) -> Tensor:
        return self.scores(stack).float().softmax(dim=2)  # bfloat16 would round the probabilities of many planes

    def scores(self, stack: Tensor) -> Tensor:
        """Logits of the probabilities, (batch, 1, Z, Y, X)."""
        x, lateral, together = stack, (1, *self.layers.pool), self.layers.convolutions
        for number, layer in enumerate(self.down, start=1):
            x = through([layer], x)
            if number % together == 0:
                x = F.max_pool3d(x, lateral)
        for number, layer in enumerate(self.up, start=1):
            x = through([layer], x)
            if number % together == 0:
                x = F.interpolate(x, scale_factor=tuple(map(float, lateral)), mode="nearest")
        x = through([self.last], x)
        logits: Tensor = self.logits(x)
        return logits

    def height(self, stack: Tensor) -> tuple[Tensor, Tensor]:
        """The expected plane, counted from 0, and its standard deviation, in planes: (batch, 1, Y, X) each."""
        probable = self(stack)
        planes = arange(stack.shape[2], device=stack.device, dtype=probable.dtype).reshape(1, 1, -1, 1, 1)
        height = (probable * planes).sum(2)
        spread = (probable * (planes - height[:, :, None]).square()).sum(2).sqrt()
        return height, spread

    def reads(self, first: int, last: int, axis: int) -> tuple[int, int]:
        """The pixels along Y (axis 0), or X (1), that outputs `first` to `last` are computed from; along Z all are."""
        pool, together = self.layers.pool[axis], self.layers.convolutions
        first, last = widened([self.last, self.logits], first, last, axis + 1)  # behind Z
        for number, layer in reversed(list(enumerate(self.up, start=1))):
            if number % together == 0:
                first, last = first // pool, last // pool
            first, last = widened([layer], first, last, axis + 1)
        for number, layer in reversed(list(enumerate(self.down, start=1))):
            if number % together == 0:
                first, last = first * pool, last * pool + pool - 1
            first, last = widened([layer], first, last, axis + 1)
        return first, last


class Projection(Traced):
    """Means, and Laplace scales when probabilistic, of the surface in a stack.

    (batch, channels_in, Z, Y, X) -> (batch, 2 channels_out, Y, X), means before scales; without scales when not
    probabilistic. Any number of planes; Y and X must be multiples of `recipe.step`. Inputs are normalised, float32.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.surface = Surface(recipe)
        self.unet = UNet(recipe.flat)

    def forward(self, stack: Tensor) -> Tensor:
        answer: Tensor = self.unet(self.before_unet(stack))
        return answer

    def before_unet(self, stack: Tensor) -> Tensor:
        """The projected image, (batch, channels_in, Y, X): every channel by the same probabilities."""
        probable: Tensor = self.surface(stack)
        return (probable * stack).sum(2)

    def reads(self, first: int, last: int, axis: int) -> tuple[int, int]:
        projected = self.unet.reads(first, last, axis)
        found = self.surface.reads(*projected, axis)
        return min(projected[0], found[0]), max(projected[1], found[1])


class Heights(Traced):
    """The height of the surface that a `Projection` finds, as if it were an image with its scale.

    (batch, channels_in, Z, Y, X) -> (batch, 2, Y, X): the expected plane, counted from 0, and its standard deviation
    under the probabilities of the planes.
    """

    def __init__(self, network: Projection) -> None:
        super().__init__()
        self.recipe = network.recipe
        self.surface = network.surface

    def forward(self, stack: Tensor) -> Tensor:
        height, spread = self.surface.height(stack)
        return cat([height, spread], dim=1)

    def reads(self, first: int, last: int, axis: int) -> tuple[int, int]:
        return self.surface.reads(first, last, axis)
