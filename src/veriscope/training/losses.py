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


def mae(output: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of the means; scales, if there are any, stay untrained."""
    return (truth - output[:, : truth.shape[1]]).abs().mean()


def mse(output: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of the means; scales, if there are any, stay untrained."""
    return (truth - output[:, : truth.shape[1]]).square().mean()
