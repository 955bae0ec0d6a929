"""What training makes small: a loss takes the network's output and the truth and gives one number."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def laplace_nll(output: Tensor, truth: Tensor) -> Tensor:
    """Mean negative log likelihood of the truth under the predicted Laplace distributions (SI Eq. 3.9).

    `output` is (batch, 2 channels, *space), means before scales; `truth` is (batch, channels, *space), normalised.
    """
    mean, scale = output.chunk(2, dim=1)
    return _negative_log_likelihood(mean, scale, truth).mean()


def _negative_log_likelihood(mean: Tensor, scale: Tensor, truth: Tensor) -> Tensor:
    return (truth - mean).abs() / scale + torch.log(2 * scale)


def squared_error_beside_nll(weight: float) -> Loss:
    """Squared error of the means, and beside it the Laplace likelihood of the scales around means held fixed.

    In the plain likelihood the scales win: what all layers learn first is where errors are large, and a large scale
    takes the weight off the very means that are wrong. Here the means shape the shared layers. The likelihood counts
    `weight` times the present squared error of the patch, so that the balance is the same for easy and for hard
    images, and the last layer of the scales learns faster to make up for it (`Recipe.scale_rate`). The best scale of
    a pixel stays what it is in the plain likelihood. experiments/losses.py compares them.
    """

    def loss(output: Tensor, truth: Tensor) -> Tensor:
        mean, scale = output.chunk(2, dim=1)
        errors = (truth - mean).square().flatten(1).mean(1)  # of each patch
        surprise = _negative_log_likelihood(mean.detach(), scale, truth).flatten(1).mean(1)
        return (errors + weight * errors.detach() * surprise).mean()

    loss.__name__ = f"squared_error_beside_nll_{weight:g}"
    return loss


def of_hidden(loss: Loss) -> Loss:
    """`loss` of those pixels alone whose truth is not NaN, as many in every patch and the same in every channel."""

    @wraps(loss)
    def counted(output: Tensor, truth: Tensor) -> Tensor:
        places = truth[:, :1].flatten(2).isfinite().nonzero()[:, 2].view(len(truth), 1, -1)
        both = (one.flatten(2).gather(2, places.expand(-1, one.shape[1], -1)) for one in (output, truth))
        return loss(*both)

    return counted


def mae(output: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of the means; scales, if there are any, stay untrained."""
    return (truth - output[:, : truth.shape[1]]).abs().mean()


def mse(output: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of the means; scales, if there are any, stay untrained."""
    return (truth - output[:, : truth.shape[1]]).square().mean()
