from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import veriscope as vs
from veriscope.networks.build import build
from veriscope.networks.model import Ensemble
from veriscope.training.answers import ask
from veriscope.training.recalibration import recalibration


class TruthAround:
    """Truth drawn around what untrained networks say, with scales `times` as large as they say."""

    axes = "YX"
    shape = (32, 32)
    count = 8

    def __init__(self, network: Any, times: float) -> None:
        self.network, self.times = network, times

    def __len__(self) -> int:
        return self.count

    def check_batch(self, indices: Any) -> Any:
        rng = np.random.default_rng(list(indices))
        low = rng.normal(0.5, 0.2, (len(indices), 1, *self.shape)).astype(np.float32)
        with torch.inference_mode():
            mean, scale = self.network(torch.from_numpy(low)).numpy().transpose(1, 0, 2, 3)[:, :, None]
        return low, (mean + self.times * scale * rng.laplace(size=mean.shape)).astype(np.float32)


@pytest.mark.parametrize("times", [0.4, 1.0, 3.0])
def test_the_factor_that_is_missing_is_found(times: float) -> None:
    torch.manual_seed(0)
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(32, 32), residual=False)
    network = build(recipe).eval()
    found = recalibration(ask(Ensemble(recipe, (network,)), TruthAround(network, times), 2**18))  # type: ignore[arg-type]
    assert found["scale_factor"] == pytest.approx([times], rel=0.05)
    for before, after in found["ece"].values():
        assert after < 0.05
        assert times == 1 or after <= before + 0.005


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")  # noise alone is not what it was trained on
def test_trained_models_know_how_far_their_scales_are_off(blobs: Any, tmp_path: Path) -> None:
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(16, 16), batch=4, precision="float32")
    ensemble = vs.train(recipe, blobs(), blobs(), members=2, epochs=2, folder=tmp_path / "model")
    known = ensemble.facts["calibration"]
    assert vs.load(tmp_path / "model").facts["calibration"] == known
    (factor,) = known["scale_factor"]
    assert factor > 0
    assert list(known["ece"]) == ["0.01", "0.025", "0.05", "0.1"]
    image = vs.Image(np.random.default_rng(0).random((20, 24)), "YX")
    plain, right = vs.restore(image, ensemble), vs.restore(image, ensemble, calibrated=True)
    np.testing.assert_array_equal(plain.means, right.means)
    assert plain.scales is not None
    assert right.scales is not None
    np.testing.assert_allclose(right.scales, factor * plain.scales, rtol=1e-5)


def test_models_that_predict_no_scales_are_not_calibrated(blobs: Any) -> None:
    recipe = vs.Recipe(axes="YX", depth=1, base=4, patch=(16, 16), batch=4, probabilistic=False)
    ensemble = vs.train(recipe, blobs(), blobs(), members=1, epochs=1)
    assert "calibration" not in ensemble.facts
    with pytest.raises(vs.VeriscopeError, match="was not calibrated"):
        vs.restore(vs.Image(np.random.default_rng(0).random((20, 24)), "YX"), ensemble, calibrated=True)
