"""Every model on every data set: what each is good for, and whether it notices what it is not (Supp. Fig. 25)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from veriscope.comparing.judge import RESTORATION, judge
from veriscope.errors import AxesError, DataError, ModelError
from veriscope.familiarity import LEVELS
from veriscope.judging.trust import BINS

if TYPE_CHECKING:
    from veriscope.images.pairing import Pair
    from veriscope.networks.model import Ensemble
    from veriscope.restoring.plan import Memory, Pixels
    from veriscope.restoring.scaling import Choice

EXPLAINED = (
    "disagree: mean disagreement of the networks, 0 to 1. unlike: share of the image that lies beyond 99 % of the "
    "training images, mean over images. like/parts/unlike: images by verdict, given without looking at the truth."
)


@dataclass(frozen=True)
class Meeting:
    """One model on one data set; means over images."""

    model: str
    data: str
    images: int
    nrmse: tuple[float, float] | None = None  # of the input, of the restoration
    psnr: tuple[float, float] | None = None
    ssim: tuple[float, float] | None = None
    coverage: float | None = None  # share of the truth in the 90 % band
    disagreement: float | None = None  # mean over pixels, 0 to 1
    unlike: float | None = None  # mean share of windows unlike those of training
    verdicts: tuple[int, int, int] | None = None  # images by level of their verdict
    failure: str = ""  # why the model cannot restore these images


@dataclass(frozen=True)
class Crossing:
    """All meetings, models first. Printing it gives a table."""

    meetings: tuple[Meeting, ...]

    def of(self, model: str, data: str) -> Meeting:
        """The meeting of one model with one data set."""
        for meeting in self.meetings:
            if (meeting.model, meeting.data) == (model, data):
                return meeting
        raise DataError(f"'{model}' has not met '{data}'.")

    def rows(self) -> list[list[str]]:
        """The table as text, its head first."""
        head = ["model", "data", "images", "NRMSE input", "restored", "SSIM input", "restored", "in 90 %"]
        head += ["disagree", "unlike", "like/parts/unlike"]
        return [head, *(_row(meeting) for meeting in self.meetings)]

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values for json.dumps."""
        return [asdict(meeting) for meeting in self.meetings]

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines: list[str] = []
        last = ""
        for row in rows:
            if lines and row[0] != last:
                lines.append("")
            last = row[0]
            named = [row[column].ljust(widths[column]) for column in (0, 1)]
            lines.append("  ".join([*named, *(row[n].rjust(widths[n]) for n in range(2, len(row)))]).rstrip())
        return "\n".join([*lines, "", EXPLAINED])


def cross(
    models: Mapping[str, Ensemble],
    sets: Mapping[str, Sequence[Pair]],
    *,
    tile: Pixels = None,
    memory: Memory = None,
    device: str | None = None,
    normalize: Choice = "image",
    progress: Callable[[int, int], object] | None = None,
) -> Crossing:
    """Judge every model on every set of pairs. What a model cannot restore is told in its `Meeting`, the others go on.

    The settings are those of `restore`; `progress(done, total)` hears of every pair.
    """
    if not models or not sets:
        raise DataError("Crossing needs at least one model and one set of pairs.")
    total = len(models) * sum(len(pairs) for pairs in sets.values())
    done = 0
    meetings = []
    for name, model in models.items():
        for data, pairs in sets.items():

            def report(finished: int, of: int, before: int = done) -> None:
                if progress is not None:
                    progress(before + finished, total)

            how: dict[str, Any] = {"tile": tile, "memory": memory, "device": device, "normalize": normalize}
            try:
                meetings.append(_meeting(name, data, model, pairs, {**how, "progress": report}))
            except (ModelError, AxesError, DataError) as problem:
                meetings.append(Meeting(name, data, len(pairs), failure=str(problem)))
            done += len(pairs)
            report(0, 0, done)
    return Crossing(tuple(meetings))


def _meeting(name: str, data: str, model: Ensemble, pairs: Sequence[Pair], how: dict[str, Any]) -> Meeting:
    judged = judge(model, pairs, pictures=0, **how)
    before = judged.input
    after = judged.of(RESTORATION)
    nrmse, psnr, ssim = (
        None if before is None else (getattr(before, what), getattr(after, what)) for what in ("nrmse", "psnr", "ssim")
    )
    known = list(judged.verdicts.values())
    levels = [sum(verdict.level == level for verdict in known) for level in range(len(LEVELS))]
    middles = (np.arange(BINS) + 0.5) / BINS
    trust = judged.trust
    return Meeting(
        name,
        data,
        len(pairs),
        nrmse,
        psnr,
        ssim,
        coverage=after.coverage,
        disagreement=None if trust is None or len(model) == 1 else float(middles @ trust.disagreement),
        unlike=float(np.mean([verdict.unlike for verdict in known])) if known else None,
        verdicts=(levels[0], levels[1], levels[2]) if known else None,
    )


def _row(meeting: Meeting) -> list[str]:
    def both(values: tuple[float, float] | None, digits: int) -> list[str]:
        return ["-", "-"] if values is None else [f"{value:.{digits}f}" for value in values]

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    return [
        meeting.model,
        meeting.data,
        str(meeting.images),
        *both(meeting.nrmse, 4),
        *both(meeting.ssim, 3),
        share(meeting.coverage),
        "-" if meeting.disagreement is None else f"{meeting.disagreement:.3f}",
        share(meeting.unlike),
        "cannot" if meeting.failure else "-" if meeting.verdicts is None else "/".join(map(str, meeting.verdicts)),
    ]
