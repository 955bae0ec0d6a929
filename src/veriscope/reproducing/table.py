"""The table of an experiment: ours, and what the paper reports, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from veriscope.reproducing.paper import NETWORK, figure


@dataclass(frozen=True)
class Line:
    """One method in one condition: means over its test images."""

    condition: str
    method: str  # "input", the name of the baseline, or "network"
    nrmse: float | None = None
    ssim: float | None = None
    isotropy: tuple[float, float] | None = None  # Phi of xz and yz slices; 1 is isotropic
    resolved_um: float | None = None  # smallest distance of two tubules that are told apart; inf: none was
    ece: float | None = None  # expected calibration error for eps = 0.05 of the truth's range


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
        ours = self.of(condition, NETWORK)
        found = []
        for other in self.lines:
            if other.condition != condition or other.method == NETWORK:
                continue
            found += [f"{name} of {other.method}" for name in _behind(ours, other)]
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        return {
            "experiment": self.experiment,
            "facts": self.facts,
            "lines": [{name: _plain(value) for name, value in asdict(line).items()} for line in self.lines],
            "shortfalls": {condition: self.shortfalls(condition) for condition in self.conditions},
        }

    def __str__(self) -> str:
        return "\n".join([*_lines(self), "", *self.said()])

    def said(self) -> list[str]:
        """Where the network is ahead and where not, a sentence for each condition."""
        told = []
        for condition in self.conditions:
            missing = self.shortfalls(condition)
            verdict = f"NOT ahead in {', '.join(missing)}" if missing else "ahead of every other method in every figure"
            told.append(f"{condition}: the network is {verdict}.")
        return told


def _behind(ours: Line, other: Line) -> list[str]:
    """The figures in which `other` is as good or better."""
    found = []
    if _reaches(other.nrmse, ours.nrmse):
        found.append("NRMSE")
    if _reaches(ours.ssim, other.ssim):
        found.append("SSIM")
    if _reaches(_off(other.isotropy), _off(ours.isotropy)):
        found.append("Phi")
    if _reaches(other.resolved_um, ours.resolved_um):
        found.append("resolution")
    return found


def _reaches(one: float | None, other: float | None) -> bool:
    """Whether both are known and `one` is at most `other`."""
    return one is not None and other is not None and one <= other


def _off(phi: tuple[float, float] | None) -> float | None:
    """How far from isotropic."""
    return None if phi is None else sum(abs(1 - part) for part in phi)


def _lines(outcome: Outcome) -> list[str]:
    columns: list[tuple[str, Sequence[str]]] = []
    lines = outcome.lines
    columns.append(("condition", [line.condition for line in lines]))
    columns.append(("method", [line.method for line in lines]))
    columns.append(("NRMSE", [_digits(line.nrmse, 4) for line in lines]))
    columns.append(("SSIM", [_digits(line.ssim, 3) for line in lines]))
    if any(line.isotropy for line in lines):
        columns.append(("Phi xz/yz", [_two(line.isotropy) for line in lines]))
    if any(line.resolved_um is not None for line in lines):
        columns.append(("resolves", [_length(line) for line in lines]))
    if any(line.ece is not None for line in lines):
        columns.append(("ECE %", [_digits(None if line.ece is None else 100 * line.ece, 1) for line in lines]))
    papers = [figure(outcome.experiment, line.condition, line.method) for line in lines]
    for title, values in (
        ("paper NRMSE", [_digits(one.nrmse, 4) for one in papers]),
        ("paper SSIM", [_digits(one.ssim, 3) for one in papers]),
        ("paper Phi", [_two(one.isotropy) for one in papers]),
    ):
        if any(value != "-" for value in values):
            columns.append((title, values))
    widths = [max(len(title), *map(len, values)) for title, values in columns]
    rows = [[title for title, _ in columns], *zip(*(values for _, values in columns), strict=True)]
    return ["  ".join(_placed(cell, n, width) for n, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
            for row in rows]  # fmt: skip


def _placed(cell: str, column: int, width: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)


def _digits(value: float | None, count: int) -> str:
    return "-" if value is None else f"{value:.{count}f}"


def _two(values: tuple[float, float] | None) -> str:
    return "-" if values is None else f"{values[0]:.2f}/{values[1]:.2f}"


def _length(line: Line) -> str:
    if line.resolved_um is None:
        return "-"
    return f"{1000 * line.resolved_um:.0f} nm" if isfinite(line.resolved_um) else "none"


def _plain(value: Any) -> Any:
    return "none" if isinstance(value, float) and not isfinite(value) else value
