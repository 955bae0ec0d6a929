"""What training makes small. A loss takes the network's output and the truth and gives one number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def laplace_nll(output: Tensor, truth: Tensor) -> Tensor:
    """Mean negative log likelihood of the truth under the predicted Laplace distributions (SI Eq. 3.9).

    `output` is (batch, 2 channels, *space), means before scales; `truth` is (batch, channels, *space), normalised.
    """
    mean, scale = output.chunk(2, dim=1)
    return ((truth - mean).abs() / scale + torch.log(2 * scale)).mean()


def squared_error_beside_nll(weight: float) -> Loss:
    """Squared error of the means, plus `weight` times the Laplace likelihood of the scales around means held fixed.

    In the plain likelihood the scales win: what all layers learn first is where errors are large, and a large scale
    takes the weight off the very means that are wrong. Here the means shape the shared layers and the scales follow,
    since Adam takes steps of the same size in their own last layer however small `weight` is. The best scale of a
    pixel stays what it is in the plain likelihood. experiments/losses.py compares them.
    """

    def loss(output: Tensor, truth: Tensor) -> Tensor:
        mean, scale = output.chunk(2, dim=1)
        around_fixed_means = torch.cat([mean.detach(), scale], dim=1)
        return (truth - mean).square().mean() + weight * laplace_nll(around_fixed_means, truth)

    loss.__name__ = f"squared_error_beside_nll_{weight:g}"
    return loss


def mae(output: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of the means; scales, if there are any, stay untrained."""
    return (truth - output[:, : truth.shape[1]]).abs().mean()


def mse(output: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of the means; scales, if there are any, stay untrained."""
    return (truth - output[:, : truth.shape[1]]).square().mean()
