"""A method people used before: how to run it, which settings to try when tuning it, and who described it.

A method is a value, so a comparison, a report or a user's own script handles one of ours and one of theirs alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata, util
from typing import Any, Literal

from veriscope.errors import DataError

Task = Literal["restore", "project", "isotropic"]  # as in Recipe.task: the networks it is compared with


@dataclass(frozen=True)
class Method:
    """One way to make the good image from the bad one, without a network.

    `run(image, **parameters)` takes an Image or an array (Y X, Z Y X) and answers in kind, float32, in the same unit;
    methods of the task "project" take Z Y X and answer Y X. Values of `usual` and `grid` are passed to `run` as they
    are, except those named in `in_noise`, which count standard deviations of the noise in the image at hand. Where
    there is a method that goes `before`, `run` takes what that one makes.
    """

    name: str  # as the command line calls it, such as "nlm"
    title: str  # as tables call it
    task: Task
    run: Callable[..., Any]
    usual: Mapping[str, float] = field(default_factory=dict)  # settings without tuning
    grid: Mapping[str, Sequence[float]] = field(default_factory=dict)  # settings that tuning tries
    in_noise: frozenset[str] = frozenset()
    climbs: str = ""  # the parameter of the grid searched on beyond either end for as long as that helps
    source: str = ""  # who described it
    library: str = "veriscope"  # the distribution that does the work
    licence: str = "BSD-3-Clause"  # of that distribution
    extra: str = ""  # of ours, that installs it
    module: str = ""  # that must be importable
    speed: tuple[float, float] = (1.0, 1.0)  # about so many Mvoxel/s in 2D and in 3D on two cores, to plan with
    dimensions: tuple[int, ...] = (2, 3)  # of the planes and volumes it takes
    before: Method | None = None  # runs first, as usual; its library and licence are its own
    fit: Callable[[Any], Method] | None = None  # what it learns from all of a plane or volume before it sees parts

    def check(self) -> None:
        """Raise DataError, with what to install, where the library is missing."""
        if self.before is not None:
            self.before.check()
        if self.module and util.find_spec(self.module) is None:
            raise DataError(
                f"{self.title} needs the package {self.library} ({self.licence}), which is not installed. "
                f"Install it with: pip install 'veriscope[{self.extra}]', or omit this method."
            )

    @property
    def steps(self) -> tuple[Method, ...]:
        """This method behind all those that go before it, the first one first."""
        return (*(() if self.before is None else self.before.steps), self)

    @property
    def version(self) -> str:
        """The installed version of the library, or "" where there is none."""
        try:
            return metadata.version(self.library)
        except metadata.PackageNotFoundError:
            return ""

    def parameters(self, choice: Mapping[str, float], sigma: float) -> dict[str, float]:
        """`choice`, in the words of the grid, as `run` takes it for an image whose noise has this deviation."""
        return {name: value * sigma if name in self.in_noise else value for name, value in choice.items()}
