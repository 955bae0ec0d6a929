from __future__ import annotations

import numpy as np
import torch
from scipy.stats import laplace
from torch import Tensor

from veriscope.training.losses import laplace_nll, mae, mse, squared_error_beside_nll


def test_laplace_nll_is_scipys_log_density() -> None:
    rng = np.random.default_rng(0)
    mean, truth = rng.normal(size=(2, 3, 2, 5, 4))
    scale = rng.uniform(0.01, 2, size=mean.shape)
    ours = laplace_nll(torch.from_numpy(np.concatenate([mean, scale], axis=1)), torch.from_numpy(truth))
    assert np.isclose(float(ours), -laplace.logpdf(truth, mean, scale).mean())


def test_mae_and_mse_look_at_the_means_only() -> None:
    output = torch.tensor([[[[1.0, 2.0]], [[9.0, 9.0]]]])  # mean, scale
    truth = torch.tensor([[[[0.0, 5.0]]]])
    assert float(mae(output, truth)) == 2.0
    assert float(mse(output, truth)) == 5.0


def test_scales_follow_the_means_without_moving_them() -> None:
    truth = torch.tensor([0.0, 0.0]).view(1, 1, 2)
    mean = torch.tensor([0.1, 2.0]).view(1, 1, 2).requires_grad_()
    for scales in ([0.1, 2.0], [5.0, 0.01]):
        scale = torch.tensor(scales).view(1, 1, 2).requires_grad_()
        loss = squared_error_beside_nll(0.01)(torch.cat([mean, scale], dim=1), truth)
        to_mean, to_scale = torch.autograd.grad(loss, [mean, scale])
        assert torch.allclose(to_mean, mean.detach())  # of the squared error alone: 2 e / n
        error, b = mean.detach().abs(), scale.detach()
        weight = 0.01 * error.square().mean() / 2  # the squared error of the patch, and two pixels
        assert torch.allclose(to_scale, weight * (1 / b - error / b**2), atol=1e-7)  # zero where b is the error


def test_the_balance_of_means_and_scales_does_not_depend_on_how_hard_a_patch_is() -> None:
    rng = torch.Generator().manual_seed(0)
    truth, mean = torch.rand(3, 1, 8, 8, generator=rng), torch.rand(3, 1, 8, 8, generator=rng).requires_grad_()
    scale = (torch.rand(3, 1, 8, 8, generator=rng) + 0.1).requires_grad_()

    def balance(times: float) -> Tensor:
        loss = squared_error_beside_nll(0.1)(torch.cat([times * mean, times * scale], dim=1), times * truth)
        to_mean, to_scale = torch.autograd.grad(loss, [mean, scale])
        return to_scale.norm() / to_mean.norm()

    assert torch.isclose(balance(1.0), balance(0.01))


def test_patches_may_be_shared_between_processes() -> None:
    rng = torch.Generator().manual_seed(0)
    output, truth = torch.rand(4, 2, 8, 8, generator=rng) + 0.1, torch.rand(4, 1, 8, 8, generator=rng)
    loss = squared_error_beside_nll(0.1)
    assert torch.isclose(loss(output, truth), (loss(output[:2], truth[:2]) + loss(output[2:], truth[2:])) / 2)
