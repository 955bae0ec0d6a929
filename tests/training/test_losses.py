from __future__ import annotations

import numpy as np
import torch
from scipy.stats import laplace

from veriscope.training.losses import laplace_nll, mae, mse


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
