"""Every model on every data set: what each is good for, and whether it notices what it is not (Supp. Fig. 25)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from veriscope.comparing.judge import FIGURES, RESTORATION, Judgement, Settings, check_keywords, judge
from veriscope.errors import AxesError, DataError, ModelError
from veriscope.familiarity import LEVELS
from veriscope.images.pairing import Pair
from veriscope.judging.trust import BINS
from veriscope.networks.model import Ensemble
from veriscope.tables import Column, Table, plain

EXPLAINED = (
    "disagree: mean disagreement of the networks, 0 to 1. unlike: fraction of the image that lies beyond 99 % of the "
    "training images, mean over images. like/parts/unlike: images by verdict, estimated without ground truth."
)


@dataclass(frozen=True)
class Cell:
    """One model on one data set; means over images."""

    model: str
    data: str
    images: int
    nrmse: tuple[float, float] | None = None  # of the input, of the restoration
    psnr: tuple[float, float] | None = None
    ssim: tuple[float, float] | None = None
    coverage: float | None = None  # fraction of the truth in the 90 % band
    disagreement: float | None = None  # mean over pixels, 0 to 1
    unlike: float | None = None  # mean fraction of windows unlike those of training
    verdicts: tuple[int, ...] | None = None  # images by level of their verdict
    failure: str = ""  # why the model cannot restore these images


@dataclass(frozen=True)
class CrossTable:
    """All models on all data sets, models first. Printing it gives a table."""

    cells: tuple[Cell, ...]

    def of(self, model: str, data: str) -> Cell:
        """One model on one data set."""
        cells = {(cell.model, cell.data): cell for cell in self.cells}
        if (model, data) not in cells:
            raise DataError(f"'{model}' was not tried on '{data}'.")
        return cells[model, data]

    def table(self) -> Table:
        """A row for each model and data set."""
        columns = [Column("model", left=True), Column("data", left=True), Column("images")]
        columns += [Column("NRMSE input", ".4f"), Column("restored", ".4f")]
        columns += [Column("SSIM input", ".3f"), Column("restored", ".3f")]
        columns += [Column("in 90 %", ".1%"), Column("disagree", ".3f"), Column("unlike", ".1%")]
        columns.append(Column("like/parts/unlike", lambda levels: "/".join(map(str, levels))))
        rows = []
        for one in self.cells:
            scores = *(one.nrmse or (None, None)), *(one.ssim or (None, None))
            trust = one.coverage, one.disagreement, one.unlike, "cannot" if one.failure else one.verdicts
            rows.append((one.model, one.data, one.images, *scores, *trust))
        return Table(columns, rows, blocks=True)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values for json.dumps."""
        return [plain(cell) for cell in self.cells]

    def __str__(self) -> str:
        return f"{self.table()}\n\n{EXPLAINED}"


def cross(
    models: Mapping[str, Ensemble],
    sets: Mapping[str, Sequence[Pair]],
    *,
    progress: Callable[[int, int], object] | None = None,
    **settings: Unpack[Settings],
) -> CrossTable:
    """Judge every model on every set of pairs. What a model cannot restore is said in its `Cell`, the others go on.

    The settings are those of `judge`; `progress(done, total)` hears of every pair.
    """
    check_keywords("cross", settings)
    if not models or not sets:
        raise DataError("Crossing needs at least one model and one set of pairs.")
    total = len(models) * sum(len(pairs) for pairs in sets.values())
    cells: list[Cell] = []

    def report(done: int, _: int = 0) -> None:
        if progress is not None:
            progress(sum(cell.images for cell in cells) + done, total)

    for name, model in models.items():
        for data, pairs in sets.items():
            try:
                judged = judge(model, pairs, pictures=0, progress=report, **settings)
                cells.append(_cell(name, data, len(model), judged))
            except (ModelError, AxesError, DataError) as problem:
                cells.append(Cell(name, data, len(pairs), failure=str(problem)))
            report(0)
    return CrossTable(tuple(cells))


def _cell(name: str, data: str, members: int, judged: Judgement) -> Cell:
    before, after = judged.input, judged.of(RESTORATION)
    nrmse, psnr, ssim = (None if before is None else (getattr(before, key), getattr(after, key)) for key in FIGURES)
    known = list(judged.verdicts.values())
    trust, middles = judged.trust, (np.arange(BINS) + 0.5) / BINS
    return Cell(
        name,
        data,
        len(judged.images),
        nrmse,
        psnr,
        ssim,
        coverage=after.coverage,
        disagreement=None if trust is None or members == 1 else float(middles @ trust.disagreement),
        unlike=float(np.mean([verdict.unlike for verdict in known])) if known else None,
        verdicts=tuple(sum(one.level == level for one in known) for level in range(len(LEVELS))) if known else None,
    )
