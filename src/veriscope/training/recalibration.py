"""After training: how far the predicted scales are off, measured on the patches kept aside for checking."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch

from veriscope.calibration import EPS, reliability, scale_factor
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.networks.unet import UNet
from veriscope.training.job import Source

VOXELS = 2**18  # that are looked at, about
LEAST = 4  # patches


def recalibration(recipe: Recipe, members: Sequence[UNet], check: Source) -> dict[str, Any]:
    """One factor per output channel that makes the scales right on the check patches, and what it changes.

    {"scale_factor": [per channel], "ece": {eps: [before, after]}, "patches": how many}; the expected calibration errors
    (3.18) are means over channels. Patches are looked at in their central half, away from the padding at the border.
    """
    count = min(len(check), max(LEAST, VOXELS // prod(check.shape)))
    chosen = np.linspace(0, len(check) - 1, count).round().astype(int).tolist()
    ensemble = Ensemble(recipe, tuple(members))
    found = []
    for first in range(0, count, recipe.batch):
        low, high = check.check_batch(chosen[first : first + recipe.batch])
        mean, scale = ensemble.predict(torch.from_numpy(low))
        assert scale is not None
        centre: Any = (..., *(slice(n // 4, n - n // 4) for n in check.shape))
        found.append([mean.numpy()[centre], scale.numpy()[centre], high[None][centre]])
    means, scales, truths = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    factors, errors = [], []
    for channel in range(recipe.channels_out):
        mu, b, y = means[:, :, channel], scales[:, :, channel], truths[0, :, channel]
        factor = scale_factor(mu, b, y)
        errors.append([[reliability(mu, each, y, eps).ece for each in (b, b * factor)] for eps in EPS])
        factors.append(factor)
    averaged = np.mean(errors, axis=0).tolist()
    return {
        "scale_factor": factors,
        "ece": {f"{eps:g}": pair for eps, pair in zip(EPS, averaged, strict=True)},
        "patches": count,
    }
