"""The height of the surface in a stack, and how sure the networks are of it.

Networks that project say for every pixel how probable each plane is. That is a restoration of its own kind, by the
first part of the same networks, in tiles of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import ModelError
from veriscope.networks.model import Ensemble
from veriscope.networks.projection import Heights, Projection

Block = NDArray[np.float32]


def finders(model: Ensemble) -> Ensemble:
    """The parts of the networks that find the surface: means are heights, scales are standard deviations, in planes.

    Raises ModelError when the model does not project.
    """
    members = [Heights(member) for member in model.members if isinstance(member, Projection)]
    if not members:
        raise ModelError(
            "This model finds no surface, so there is no height: it does not project stacks to planes. "
            "Train one with Recipe(axes='ZYX', task='project') on stacks and planes."
        )
    recipe = model.recipe.change(channels_out=1, residual=False, probabilistic=True)
    return Ensemble(recipe, tuple(members))


def height_and_spread(heights: Block, spreads: Block) -> tuple[Block, Block]:
    """Expected plane, counted from 0, and standard deviation of the mixture of what the members (M, ...) say."""
    height = heights.mean(0, dtype=np.float64)
    variance = np.square(spreads, dtype=np.float64).mean(0) + heights.var(0, dtype=np.float64)
    return height.astype(np.float32), np.sqrt(variance).astype(np.float32)
