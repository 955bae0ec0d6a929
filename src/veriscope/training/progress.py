"""What a running training reports, and a bar that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Triple: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Planes (Y, X) of a check patch: what is given, what the network makes of it, and the truth (NaN where not known)."""


@dataclass(frozen=True)
class Step:
    """One step of training. Losses are those of the loss function, None before the first was computed."""

    member: int  # counted from 0
    members: int
    step: int  # of this member
    steps: int  # planned for this member; 0 while the plan is made
    done: float  # fraction of the whole ensemble, 0 to 1
    loss: float | None  # mean over the current round
    check_loss: float | None  # of the last check
    best: float | None  # lowest checked loss of this member
    patches_per_second: float
    seconds_left: float | None
    look: InitVar[Callable[[], list[Triple]]] = list  # how `pictures` are made; no value of its own

    def __post_init__(self, look: Callable[[], list[Triple]]) -> None:
        self.__dict__["_look"] = look

    def pictures(self) -> list[Triple]:
        """The first check patches, as the network restores them now; it does so when asked."""
        made: list[Triple] = self.__dict__["_look"]()
        return made


Listener = Callable[[Step], None]


def several(*listeners: Listener) -> Listener:
    """One listener that hands on to all."""

    def tell(step: Step) -> None:
        for listener in listeners:
            listener(step)

    return tell


class Bar:
    """A progress bar in the terminal: `with Bar() as bar: train(..., progress=bar)`."""

    def __init__(self, console: Any = None) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[notes]}"),
            console=console,
        )
        self._task = self._bar.add_task("Training", total=1.0, notes="planning")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: Step) -> None:
        losses = {"loss": step.loss, "check": step.check_loss}
        notes = [f"step {step.step}" + (f"/{step.steps}" if step.steps else "")]
        notes += [f"{name} {value:.3f}" for name, value in losses.items() if value is not None]
        notes.append(f"{step.patches_per_second:.1f} patches/s")
        if step.seconds_left is not None:
            minutes, seconds = divmod(round(step.seconds_left), 60)
            hours, minutes = divmod(minutes, 60)
            notes.append(f"{hours}:{minutes:02d}:{seconds:02d} left")
        title = f"Member {step.member + 1}/{step.members}"
        self._bar.update(self._task, completed=step.done, description=title, notes=", ".join(notes))
