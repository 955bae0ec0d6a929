"""An ensemble: several networks of one recipe, and what must be known to use them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from veriscope.errors import ModelError
from veriscope.networks.facts import Facts
from veriscope.networks.graph import OnnxNetwork
from veriscope.networks.network import Network
from veriscope.networks.projection import Heights
from veriscope.networks.recipe import Recipe
from veriscope.networks.slices import Slices
from veriscope.networks.unet import UNet, count_parameters

if hasattr(os, "register_at_fork"):  # a forked process has no threads of OpenMP and would wait for them for ever
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members that differ by their seed only, and what they remember of their training; JSON is understood too."""

    recipe: Recipe
    members: tuple[Network, ...] | tuple[Heights, ...] | tuple[Slices, ...] | tuple[OnnxNetwork, ...]
    facts: Facts = field(default_factory=Facts)

    def __post_init__(self) -> None:
        if not self.members:
            raise ModelError("An ensemble needs at least one member.")
        if not isinstance(self.facts, Facts):
            object.__setattr__(self, "facts", Facts.from_json(self.facts))

    def __len__(self) -> int:
        return len(self.members)

    @property
    def axes(self) -> str:
        """Spatial axes of the images the networks are given: "YX" or "ZYX"."""
        return self.recipe.axes

    @property
    def step(self) -> tuple[int, ...]:
        """Lengths of tiles are multiples of this; as `reach` and `halo` per spatial axis of the result."""
        first = self.members[0]
        return first.step if isinstance(first, Slices) else self.recipe.step

    @property
    def reach(self) -> tuple[int, ...]:
        return self.members[0].reach

    @property
    def halo(self) -> tuple[int, ...]:
        return tuple(map(max, *(member.halo for member in self.members), self.members[0].halo))

    @property
    def parameters(self) -> int:
        """Weights per member."""
        first = self.members[0]
        return first.numbers if isinstance(first, OnnxNetwork) else count_parameters(first)

    def checked(self, member: int) -> int:
        """`member` once it is known to be one of these, counted from 0. Raises ModelError."""
        if not 0 <= member < len(self):
            raise ModelError(
                f"There is no member {member}: this model has {len(self)}, counted from 0. Choose another, or none."
            )
        return member

    @property
    def on_grid(self) -> Ensemble:
        """The same for images that are on the fine grid already, as pairs are."""
        return replace(self, recipe=self.recipe.change(upsample=()))

    def to(self, device: str | torch.device) -> Ensemble:
        """The same ensemble with its weights on `device` (moved in place, as torch does)."""
        for member in self.members:
            member.to(device)
        return self

    def in_space(self, combine: str | None = None) -> Ensemble:
        """The ensemble that restores stacks, of networks for isotropic restoring (SI 2.4); others stay as they are.

        A stack made finer along Z is restored by all its xz and all its yz slices: of each of the M networks there is
        one member for xz slices, then one for yz slices. With `combine` "csbdeep", which is what the recipe says of
        networks from there, one member stands for both directions (see `Slices`).

        The restored image is the arithmetic mean of the 2 M means, as in the SI. What is predicted for a pixel is the
        mixture of all 2 M Laplace distributions with equal weights: what is known when one does not know which
        direction is right. Its spread holds the disagreement of the directions beside that of the networks, and claims
        no gain from averaging: both look at the same voxel, so that their errors are not independent.
        """
        changed = combine not in (None, self.recipe.combine)
        wanted = replace(self, recipe=self.recipe.change(combine=combine)) if changed else self
        if not wanted.recipe.isotropic or isinstance(self.members[0], Slices):
            return wanted
        flat = [member for member in self.members if isinstance(member, UNet)]
        laterals = ("XY",) if wanted.recipe.combine == "csbdeep" else ("X", "Y")
        return replace(wanted, members=tuple(Slices(member, lateral) for lateral in laterals for member in flat))

    @torch.inference_mode()
    def predict(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Means and Laplace scales of all members for a normalised image (batch, channels_in, *space).

        Each is (members, batch, channels_out, *axes of the result); scales are None when not probabilistic.
        """
        answers = torch.stack([member.eval()(image) for member in self.members])
        if not self.recipe.probabilistic:
            return answers, None
        channels = self.recipe.channels_out
        return answers[:, :, :channels], answers[:, :, channels:]
