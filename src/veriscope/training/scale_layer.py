"""The last layer of the scales, fitted outright to the errors that a network makes."""

from __future__ import annotations

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
