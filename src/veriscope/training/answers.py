"""What an ensemble says to some of the patches, once it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.networks.model import Ensemble
from veriscope.training.job import Source

LEAST = 4  # patches

Block = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answers:
    """Patches (patches, channels, *space), normalised, and the members' answers (M, patches, channels_out, *space).

    Of stacks that are projected `low` is the maximum along Z.
    """

    low: Block
    high: Block
    means: Block
    scales: Block | None

    @property
    def centre(self) -> Answers:
        """The central half of every patch, away from the padding at its border."""
        inner: Any = (..., *(slice(n // 4, n - n // 4) for n in self.high.shape[2:]))
        return Answers(
            self.low[inner], self.high[inner], self.means[inner], None if self.scales is None else self.scales[inner]
        )


def ask(ensemble: Ensemble, source: Source, voxels: int) -> Answers:
    """The answers to patches of `source` spread evenly, as they are, about `voxels` voxels in all."""
    count = min(len(source), max(LEAST, voxels // prod(source.shape)))
    chosen = np.linspace(0, len(source) - 1, count).round().astype(int).tolist()
    lows, highs, means, scales = [], [], [], []
    for first in range(0, count, ensemble.recipe.batch):
        low, high = source.check_batch(chosen[first : first + ensemble.recipe.batch])
        mean, scale = ensemble.predict(torch.from_numpy(low))
        lows.append(low.max(axis=2) if ensemble.recipe.projects else low)
        highs.append(high)
        means.append(mean.numpy())
        if scale is not None:
            scales.append(scale.numpy())
    return Answers(
        np.concatenate(lows),
        np.concatenate(highs),
        np.concatenate(means, axis=1),
        np.concatenate(scales, axis=1) if scales else None,
    )
