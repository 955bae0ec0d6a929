from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import veriscope as vs
from veriscope.networks import build
from veriscope.training.losses import laplace_nll
from veriscope.training.scale_layer import features_and_errors, fit_scale_layer


def network(**changes: Any) -> Any:
    torch.manual_seed(1)
    return build(vs.Recipe(axes="YX", depth=1, base=8, patch=(16, 16), residual=False, **changes)).requires_grad_(False)


def pairs(net: Any, width: Any, count: int = 32, channels: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Low images, each of one brightness, and truth with Laplace errors around the means, as wide as `width` says."""
    rng = np.random.default_rng(0)
    brightness = rng.random((count, 1, 1, 1)) + rng.normal(0, 0.01, (count, 1, 16, 16))
    low = torch.from_numpy(brightness.astype(np.float32))
    mean = net(low)[:, :channels]
    noise = torch.from_numpy(rng.laplace(size=mean.shape).astype(np.float32))
    return low, mean + noise * width(low)


def fitted(net: Any, low: torch.Tensor, high: torch.Tensor) -> Any:
    fit_scale_layer(net, *features_and_errors(net, low, high))
    return net


@pytest.mark.parametrize("width", [0.01, 0.2, 3.0])
def test_equal_errors_everywhere_give_one_scale(width: float) -> None:
    net = network()
    low, high = pairs(net, lambda low: width)
    scale = fitted(net, low, high)(low)[:, 1]
    assert scale.mean().item() == pytest.approx(width, rel=0.05)
    assert scale.std() < 0.15 * width


def test_scales_grow_where_errors_do() -> None:
    net = network()
    low, high = pairs(net, lambda low: 0.02 + 0.2 * low)
    scale = fitted(net, low, high)(low)[:, 1]
    dark, bright = (scale[low[:, 0].gt(a) & low[:, 0].lt(b)].mean() for a, b in ((0, 0.2), (0.8, 1)))
    assert bright > 2 * dark


def test_the_fit_is_the_most_likely_layer() -> None:
    net = network()
    low, high = pairs(net, lambda low: 0.02 + 0.2 * low)
    best = laplace_nll(fitted(net, low, high)(low), high)
    for _ in range(10):
        other = network()
        other.load_state_dict(net.state_dict())
        other.scale.weight += 0.05 * torch.randn_like(other.scale.weight)
        other.scale.bias += 0.05 * torch.randn_like(other.scale.bias)
        assert laplace_nll(other(low), high) > best - 1e-3


def test_means_and_shared_layers_stay_as_they_are() -> None:
    net = network()
    low, high = pairs(net, lambda low: 0.3)
    before = {name: weights.clone() for name, weights in net.state_dict().items()}
    fitted(net, low, high)
    changed = {name for name, weights in net.state_dict().items() if not torch.equal(weights, before[name])}
    assert changed == {"scale.weight", "scale.bias"}


def test_folded_networks_and_several_channels_are_fitted_pixel_by_pixel() -> None:
    net = network(stem=2, channels_out=2)
    low, high = pairs(net, lambda low: torch.tensor([0.02, 0.5])[:, None, None], channels=2)
    scale = fitted(net, low, high)(low)[:, 2:]
    np.testing.assert_allclose(scale.mean((0, 2, 3)), [0.02, 0.5], rtol=0.05)


@pytest.mark.parametrize("value", [0.0, 1e-12, float("inf"), float("nan")])
def test_features_or_errors_without_sense_leave_finite_scales(value: float) -> None:
    net = network()
    fit_scale_layer(net, torch.zeros(100, 8), torch.full((100, 1), value))
    assert all(torch.isfinite(weights).all() for weights in net.parameters())


def test_short_training_already_knows_where_errors_are_large(blobs: Any) -> None:
    recipe = vs.Recipe(axes="YX", depth=1, base=8, patch=(16, 16), batch=4, learning_rate=5e-3, precision="float32")
    quick = vs.train(recipe, blobs(), blobs(), members=1, epochs=8, progress=False)
    low, high = (torch.from_numpy(part) for part in blobs().check_batch(range(16)))
    mean, scale = quick.members[0](low).chunk(2, dim=1)
    error = (high - mean).abs()
    assert scale[error > error.quantile(0.8)].mean() > scale[error < error.quantile(0.2)].mean()
