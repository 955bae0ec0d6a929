"""The table of an experiment: ours, and what the paper reports, line by line."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from veriscope.reproducing.paper import NETWORK, figure
from veriscope.tables import Column, Table, plain


@dataclass(frozen=True)
class Line:
    """One method in one condition: means over its test images."""

    condition: str
    method: str  # "input", the name of the baseline, or "network"
    nrmse: float | None = None
    ssim: float | None = None
    isotropy: tuple[float, float] | None = None  # Phi of xz and yz slices; 1 is isotropic
    resolved_um: float | None = None  # smallest distance at which two tubules are resolved; inf: none was
    ece: float | None = None  # expected calibration error for eps = 0.05 of the truth's range

    @property
    def anisotropy(self) -> float | None:
        """How far from isotropic."""
        return None if self.isotropy is None else sum(abs(1 - part) for part in self.isotropy)


@dataclass(frozen=True)
class Outcome:
    """An experiment, done. Printing it gives the table."""

    experiment: str
    lines: tuple[Line, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(line.condition for line in self.lines))

    def of(self, condition: str, method: str) -> Line:
        return next(line for line in self.lines if (line.condition, line.method) == (condition, method))

    def shortfalls(self, condition: str) -> list[str]:
        """In which figures the network does not beat every other method of a condition, in words; none is good."""
        ours, missing = self.of(condition, NETWORK), []
        for other in self.lines:
            if other.condition != condition or other.method == NETWORK:
                continue
            for name, worse, better in (
                ("NRMSE", other.nrmse, ours.nrmse),
                ("SSIM", ours.ssim, other.ssim),
                ("Phi", other.anisotropy, ours.anisotropy),
                ("resolution", other.resolved_um, ours.resolved_um),
            ):
                if worse is not None and better is not None and worse <= better:
                    missing.append(f"{name} of {other.method}")
        return missing

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        return {
            "experiment": self.experiment,
            "facts": self.facts,
            "lines": plain(self.lines, "none"),
            "shortfalls": {condition: self.shortfalls(condition) for condition in self.conditions},
        }

    def __str__(self) -> str:
        """The table, and a sentence for each condition: where the network is ahead and where not."""
        lines = [str(_table(self)), ""]
        for condition in self.conditions:
            missing = ", ".join(self.shortfalls(condition))
            verdict = f"NOT ahead in {missing}" if missing else "ahead of every other method in every figure"
            lines.append(f"{condition}: the network is {verdict}.")
        return "\n".join(lines)


def _table(outcome: Outcome) -> Table:
    columns = [
        Column("condition", left=True),
        Column("method", left=True),
        Column("NRMSE", ".4f"),
        Column("SSIM", ".3f"),
        Column("Phi xz/yz", _two, optional=True),
        Column("resolves", _length, optional=True),
        Column("ECE %", ".1f", optional=True),
        Column("paper NRMSE", ".4f", optional=True),
        Column("paper SSIM", ".3f", optional=True),
        Column("paper Phi", _two, optional=True),
    ]
    rows = []
    for line in outcome.lines:
        error = None if line.ece is None else 100 * line.ece
        ours = (line.condition, line.method, line.nrmse, line.ssim, line.isotropy, line.resolved_um, error)
        paper = figure(outcome.experiment, line.condition, line.method)
        rows.append((*ours, paper.nrmse, paper.ssim, paper.isotropy))
    return Table(columns, rows)


def _two(values: tuple[float, float]) -> str:
    return f"{values[0]:.2f}/{values[1]:.2f}"


def _length(um: float) -> str:
    return f"{1000 * um:.0f} nm" if isfinite(um) else "none"
