"""After training: how far the predicted scales are off, measured on the patches kept aside for checking."""

from __future__ import annotations

from typing import Any

import numpy as np

from veriscope.calibration import EPS, reliability, scale_factor
from veriscope.training.answers import Answers


def recalibration(answers: Answers) -> dict[str, Any]:
    """One factor per output channel that makes the scales right on check patches, and what it changes.

    {"scale_factor": [per channel], "ece": {eps: [before, after]}, "patches": how many}; the expected calibration errors
    (3.18) are means over channels. Patches are looked at in their central half, away from the padding at the border.
    """
    inner = answers.centre
    assert inner.scales is not None
    factors, errors = [], []
    for channel in range(inner.high.shape[1]):
        mu, b, y = inner.means[:, :, channel], inner.scales[:, :, channel], inner.high[:, channel]
        factor = scale_factor(mu, b, y)
        errors.append([[reliability(mu, each, y, eps).ece for each in (b, b * factor)] for eps in EPS])
        factors.append(factor)
    averaged = np.mean(errors, axis=0).tolist()
    return {
        "scale_factor": factors,
        "ece": {f"{eps:g}": pair for eps, pair in zip(EPS, averaged, strict=True)},
        "patches": len(answers.low),
    }
