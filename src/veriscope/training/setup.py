"""What is trained, from what, for how long, and where it goes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.networks import folder as files
from veriscope.networks.devices import fast_bfloat16
from veriscope.networks.facts import Facts
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.networks.threads import Threads
from veriscope.training.losses import Loss
from veriscope.training.team import Team

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]


class Source(Protocol):
    """Where patches come from; `veriscope.cut_patches` makes one. Arrays are float32, (batch, channels, *space).

    `axes` are those of low, `shape` is that of high. Stacks with flat truths say so by `axes_out`, the axes of high,
    which are taken to be `axes` where a source has none.
    """

    @property
    def axes(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def channels_in(self) -> int: ...
    @property
    def channels_out(self) -> int: ...
    def __len__(self) -> int: ...
    def batch(self, indices: Any, seed: int) -> Batch: ...
    def check_batch(self, indices: Any) -> Batch: ...
    def summary(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Setup:
    """What is trained, from what, for how long, and where it goes."""

    recipe: Recipe
    patches: Source
    check: Source
    members: int
    epochs: int | None
    minutes: float | None
    seed: int
    loss: Loss
    check_loss: Loss
    folder: Path | None
    team: Team
    threads: Threads
    fits_scales: bool = False  # the last layer of the scales outright, after every round
    start: Ensemble | None = None  # members begin with the weights of its members, in turn
    shared: tuple[Any, int | None] = (None, None)  # a cluster, or so many processes, that train members side by side

    @cached_property
    def seen(self) -> dict[str, Any]:
        """What the patches know of their images; asked once, since it reads them all."""
        return self.patches.summary()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        return {
            "recipe": self.recipe.to_json(),
            "seed": self.seed,
            "epochs": self.epochs or (None if self.minutes else self.recipe.epochs),
            "minutes": self.minutes,
            "loss": getattr(self.loss, "__name__", type(self.loss).__name__),
            "data": self.seen.get("training"),
            "patches": [len(self.patches), *self.patches.shape],
            **({} if self.start is None else {"start": files.checksum(self.start.members[0].state_dict())[:16]}),
        }

    @cached_property
    def fast(self) -> bool:
        """Whether convolutions are trained in bfloat16."""
        if self.recipe.precision != "auto":
            return self.recipe.precision == "bfloat16"
        return fast_bfloat16(self.team.device) and not self._has_thin_level

    @property
    def _has_thin_level(self) -> bool:
        """Whether a 3D network, or a part of it, sees patches of two planes at some level, on a CPU.

        There torch 2.13 gives weight gradients of narrow convolutions in bfloat16 that hold NaN now and then: its
        kernel reads memory it has not written. Wider or thicker ones were never seen to fail.
        """
        if self.team.device.type != "cpu" or len(self.recipe.axes) < 3:
            return False
        if self.recipe.projects:  # stacks keep their planes
            return bool(getattr(self.patches, "low_shape", (2,))[0] == 2)
        return any(self.patches.shape[0] >> level == 2 for level in range(self.recipe.depth + 1))

    def facts(self, finished: int, history: list[dict[str, Any]], measured: dict[str, Any] | None = None) -> Facts:
        """What the model remembers of its training; `finished` members are done."""
        best = {row["member"]: row["best"] for row in history}
        training = {
            **self.identity,
            "members": self.members,
            "finished_members": finished,
            "processes": self.team.size,
            "device": self.team.device.type,
            "precision": "bfloat16" if self.fast else "float32",
            "torch": torch.__version__,
        }
        images = {name: self.seen.get(name) for name in ("low", "high", "voxel_size", "time_step")}
        scores = {"check_loss": [best[member] for member in sorted(best)]}
        known = {"training": training, **images, "scores": scores, **(measured or {}), "history": history}
        return Facts.from_json(json.loads(json.dumps(known)))  # as they come back from a file

    def write(self, members: int, facts: Facts) -> None:
        """Description and log; `members` have weights on disk."""
        if self.folder and self.team.leads:
            files.write_description(self.folder, self.recipe, members, facts)
            files.write_log(self.folder, facts.history)
