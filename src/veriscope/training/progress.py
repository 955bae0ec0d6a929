"""What a running training tells, and a bar that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Step:
    """One step of training. Losses are those of the loss function, None before the first was computed."""

    member: int  # counted from 0
    members: int
    step: int  # of this member
    steps: int  # planned for this member; 0 while the plan is made
    done: float  # share of the whole ensemble, 0 to 1
    loss: float | None  # mean over the current round
    check_loss: float | None  # of the last check
    best: float | None  # lowest checked loss of this member
    patches_per_second: float
    seconds_left: float | None


Listener = Callable[[Step], None]


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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def __call__(self, report: Step) -> None:
        self._bar.update(
            self._task,
            completed=report.done,
            description=f"Member {report.member + 1}/{report.members}",
            notes=", ".join(_notes(report)),
        )


def _notes(report: Step) -> list[str]:
    notes = [f"step {report.step}" + (f"/{report.steps}" if report.steps else "")]
    if report.loss is not None:
        notes.append(f"loss {report.loss:.3f}")
    if report.check_loss is not None:
        notes.append(f"check {report.check_loss:.3f}")
    notes.append(f"{report.patches_per_second:.1f} patches/s")
    if report.seconds_left is not None:
        minutes, seconds = divmod(round(report.seconds_left), 60)
        hours, minutes = divmod(minutes, 60)
        notes.append(f"{hours}:{minutes:02d}:{seconds:02d} left")
    return notes
