"""Isotropic restoring (SI 2.4): a stack made finer along Z, then all its xz and all its yz slices restored by networks
that have learned to undo the loss of sharpness along one axis of a plane.
"""

from __future__ import annotations

from dataclasses import replace

from veriscope.networks.model import Ensemble
from veriscope.networks.slices import BothWays, Slices
from veriscope.networks.unet import UNet


def in_space(ensemble: Ensemble, combine: str | None = None) -> Ensemble:
    """The ensemble that restores stacks: of each of the M networks one member for xz slices, then one for yz slices.

    Ensembles for other tasks, and those that are in space already, come back as they are.

    The restored image is the arithmetic mean of the 2 M means, as in the SI. What is predicted for a pixel is the
    mixture of all 2 M Laplace distributions with equal weights. That is what is known when one does not know which of
    the directions is right: its spread holds the disagreement of the two directions beside that of the networks, and it
    claims no gain from averaging. Both directions look at the same voxel, so that their errors are not independent;
    the distribution of the average of two independent ones would be too narrow.

    With `combine` "csbdeep", which is what the recipe says of networks from there, one member stands for both
    directions of a network (see `BothWays`).
    """
    if combine is not None and combine != ensemble.recipe.combine:
        ensemble = replace(ensemble, recipe=ensemble.recipe.change(combine=combine))
    if not ensemble.recipe.isotropic or isinstance(ensemble.members[0], Slices | BothWays):
        return ensemble
    flat = [member for member in ensemble.members if isinstance(member, UNet)]
    if ensemble.recipe.combine == "csbdeep":
        return replace(ensemble, members=tuple(BothWays(member) for member in flat))
    return replace(ensemble, members=tuple(Slices(member, lateral) for lateral in "XY" for member in flat))
