"""How each experiment of Supp. Table 2 is run: its task, its network at every scale, and what it has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from veriscope.errors import DataError
from veriscope.networks.recipe import Recipe
from veriscope.patches.scaling import Normalize
from veriscope.reproducing.paper import NLM

# What learns most in minutes on two cores: in 3D many small steps; a tiny run only shows that everything works.
SMALL: dict[str, dict[str, Any]] = {"YX": {}, "ZYX": {"base": 16, "batch": 2, "learning_rate": 2e-3}}
PAPER_EPOCHS, PAPER_MEMBERS = 200, 5
_TINY: dict[str, Any] = {"depth": 1, "base": 4, "batch": 2, "learning_rate": 2e-3}


@dataclass(frozen=True)
class Experiment:
    """One row of Supp. Table 2."""

    task: str  # "restore", "project", "isotropic"
    axes: str  # of what the network is given
    preset: str  # of `Recipe.paper`
    rival: str | None = None  # what it has to beat beside its input
    minutes: float = 8.0  # of training at the scale small
    members: int = 2
    foreground: float | None = 0.4  # as in `cut_patches`
    lines: bool = False  # the resolution of two tubules is measured
    enhances: bool = False  # the truth is sharper than any microscope sees

    @property
    def isotropic(self) -> bool:
        """Whether Phi is measured, and stacks without a truth will do."""
        return self.task == "isotropic"

    def recipe(self, scale: str, channels_in: int, channels_out: int) -> Recipe:
        """The network for images with so many channels, and its training."""
        channels: dict[str, Any] = {"channels_in": channels_in, "channels_out": channels_out}
        if scale == "paper":
            return Recipe.paper(self.preset).change(residual=channels_in == channels_out, **channels)
        dims = "YX" if self.task == "project" else self.axes  # of the network behind the projection
        settings: dict[str, Any] = {"axes": self.axes, "task": self.task, **channels}
        if scale == "tiny":
            return Recipe(**settings, **_TINY, patch=(8, 32, 32)[-len(dims) :])
        return Recipe(**settings, **SMALL[dims])

    def length(self, scale: str, minutes: float | None) -> tuple[float | None, int | None]:
        if minutes is not None:
            return minutes, None
        return {"tiny": (None, 1), "small": (self.minutes, None), "paper": (None, PAPER_EPOCHS)}[scale]

    def members_at(self, scale: str) -> int:
        return {"tiny": 1, "small": self.members, "paper": PAPER_MEMBERS}[scale]

    def normalize(self, scale: str, recipe: Recipe) -> Normalize:
        """As in `cut_patches`: the paper's percentiles at its scale and for stacks beside planes, else matched."""
        if self.isotropic:
            return "shared"
        if recipe.projects:
            return "random" if scale == "paper" else "fixed"
        same = recipe.channels_in == recipe.channels_out and not self.enhances
        return "random" if scale == "paper" else "matched" if same else "fixed"


EXPERIMENTS: dict[str, Experiment] = {
    "planaria": Experiment("restore", "ZYX", "planaria", NLM),
    "tribolium": Experiment("restore", "ZYX", "tribolium", NLM, foreground=None),  # half of a field is empty
    "flywing": Experiment("project", "ZYX", "flywing", NLM),
    "drosophila": Experiment("isotropic", "YX", "drosophila"),
    "retina": Experiment("isotropic", "YX", "retina"),
    "liver": Experiment("isotropic", "YX", "liver"),
    "ins1-tubules": Experiment("restore", "YX", "ins1", lines=True, enhances=True, minutes=5.0),
    "ins1-granules": Experiment("restore", "YX", "ins1", enhances=True, minutes=5.0),
    "hela": Experiment("restore", "YX", "hela", lines=True, enhances=True, minutes=5.0),
}


def experiment(name: str) -> Experiment:
    """The experiment called `name`. Raises DataError, with the names there are, for any other."""
    if name not in EXPERIMENTS:
        raise DataError(f"There is no experiment called '{name}'. Choose one of {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]
