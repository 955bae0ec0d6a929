"""What training makes small, and the last layer of the scales, fitted outright to the errors that a network makes.

A loss takes the network's output and the truth and gives one number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriscope.networks.network import Network
from veriscope.networks.unet import SMALLEST_SCALE, fold

PIXELS = 2**18  # that are looked at, at most
RIDGE = 1e-3  # keeps the weights of features that hardly vary small
FLAT = 0.1  # of the largest deviation: features that vary less than this weigh less, lest their weights explode
ITERATIONS = 100

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


@torch.inference_mode()
def features_and_errors(network: Network, low: Tensor, high: Tensor, hides: bool = False) -> tuple[Tensor, Tensor]:
    """What the last layers see, (pixels, features), and |truth - mean|, (pixels, outputs of the scale layer).

    `low` and `high` are (batch, channels, *space), normalised; `low` a stack where the network projects. With `hides`
    those pixels are dropped whose truth is NaN.
    """
    unet, image = network.unet, network.before_unet(low)
    features = unet.features(image)
    mean = unet.answer(features, image)[:, : high.shape[1]]
    errors = fold((high - mean).abs(), unet.recipe.folding)
    seen, made = (values.float().movedim(1, -1).flatten(0, -2) for values in (features, errors))
    if hides:
        known = made.isfinite().all(1)
        return seen[known], made[known]
    return seen, made


def fit_scale_layer(network: Network, features: Tensor, errors: Tensor) -> None:
    """Weights of the scale layer with the smallest Laplace negative log likelihood (SI Eq. 3.9), all others held.

    A small problem with one minimum to speak of, solved by L-BFGS in a fraction of a second, where the optimiser of
    the networks takes minutes: after half a minute on real pairs it had not yet found that errors are larger where
    the image is bright. A fit that is worse than the layer as it was is dropped.
    """
    layer = cast(nn.Conv2d, network.unet.scale)
    old_weight, old_bias = layer.weight.flatten(1).T, cast(Tensor, layer.bias)
    if not (features.isfinite().all() and errors.isfinite().all()):
        return  # training will stop at such a loss and say so
    every = -(-len(features) // PIXELS)
    features, errors = (values[::every].clone() for values in (features, errors))  # no longer inference tensors
    deviation, centre = features.std(0), features.mean(0)
    deviation = deviation.clamp_min(FLAT * float(deviation.max()) + 1e-6)

    def likelihood(values: Tensor) -> Tensor:
        scale = F.softplus(values) + SMALLEST_SCALE
        return (errors / scale + torch.log(2 * scale)).mean()

    standard = (features - centre) / deviation
    weight = torch.zeros(standard.shape[1], errors.shape[1], device=features.device, requires_grad=True)
    start = torch.log(torch.expm1(errors.mean(0).clamp_min(SMALLEST_SCALE)))
    bias = start.clone().requires_grad_()
    search = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = likelihood(standard @ weight + bias) + RIDGE * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        weight /= deviation[:, None]
        bias -= centre @ weight
        fitted = likelihood(features @ weight + bias)
        if fitted < likelihood(features @ old_weight + old_bias):
            layer.weight.copy_(weight.T.reshape(layer.weight.shape))
            old_bias.copy_(bias)
