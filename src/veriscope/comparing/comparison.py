"""What a comparison of methods found: a line for every image by every method, means, spread, and tables."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from veriscope import tables
from veriscope.comparing.failures import Failure
from veriscope.comparing.judge import FIGURES, RESTORATION
from veriscope.comparing.picture import INPUTS, Picture
from veriscope.errors import DataError
from veriscope.judging import quality

WHOLE = "whole images"
HEAD = ("method", "NRMSE", "± SD", "PSNR", "± SD", "SSIM", "± SD", "Mvoxel/s", "network’s speed", "network closer")
Spread = tuple[float, float]  # mean and standard deviation over images


@dataclass(frozen=True)
class Line:
    """One image by one method, in one channel; time points averaged."""

    image: str
    method: str
    nrmse: float
    psnr: float  # dB
    ssim: float
    channel: int | None = None  # None where the truth has one channel only
    coverage: float | None = None  # share of the truth in the 90 % band, of networks that predict one
    region: str = WHOLE  # what was judged
    seconds: float | None = None  # to process the image, all channels; None where nothing was run for this line
    voxels: int = 0  # given to it
    tuning: float | None = None  # seconds
    settings: str = ""

    @property
    def speed(self) -> float | None:
        """Mvoxel/s of the input."""
        return None if self.seconds is None else self.voxels / 1e6 / self.seconds


@dataclass(frozen=True)
class Summary:
    """One method over all images and channels."""

    method: str
    region: str
    count: int  # images by channels
    nrmse: Spread
    psnr: Spread
    ssim: Spread
    seconds: float | None  # of all images together
    tuning: float | None
    speed: float | None  # Mvoxel/s over all images
    times: float | None  # how many times as fast the network is
    closer: int | None  # on how many of `count` the network has the smaller NRMSE


@dataclass(frozen=True)
class Credit:
    """What a reader must know of a method."""

    name: str  # as the command line calls it
    method: str  # as the tables call it
    does: str = ""
    source: str = ""
    library: str = ""  # with version
    licence: str = ""
    tuned: str = ""  # on what, and what was tried
    region: str = WHOLE


@dataclass(frozen=True, eq=False)
class Comparison:
    """Every method on every image. Printing it gives the means; `table` gives text to copy."""

    lines: tuple[Line, ...]
    credits: tuple[Credit, ...] = field(default=(), repr=False)
    pictures: tuple[Picture, ...] = field(default=(), repr=False)
    failures: tuple[Failure, ...] = field(default=(), repr=False)  # the largest relative errors, the worst first
    notes: tuple[str, ...] = ()  # what was left out, limited or failed
    tuned: str = ""
    networks: int = 0  # members of the model; 0 without one
    facts: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    settings: str = quality.SETTINGS

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(line.image for line in self.lines))

    @property
    def regions(self) -> tuple[str, ...]:
        """What was judged: whole images, and ever smaller crops of methods that were limited; the last one by all."""
        return tuple(dict.fromkeys(line.region for line in self.lines))

    @property
    def region(self) -> str:
        """What was judged of every image by all methods that were not limited."""
        return self.lines[0].region

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """The images of each condition, where they are called CONDITION/IMAGE and there are several; else empty."""
        found: dict[str, list[str]] = {}
        for image in self.images:
            found.setdefault(image.partition("/")[0] if "/" in image else "", []).append(image)
        return {} if "" in found or len(found) < 2 else {name: tuple(images) for name, images in found.items()}

    def only(self, images: Collection[str]) -> Comparison:
        """The figures of some of the images, such as those of one condition."""
        return replace(self, lines=tuple(line for line in self.lines if line.image in images))

    def methods(self, region: str | None = None) -> tuple[str, ...]:
        """In order; the network, where there is one, last."""
        region = region or self.region
        return tuple(dict.fromkeys(line.method for line in self.lines if line.region == region))

    def of(self, method: str, region: str | None = None) -> Summary:
        """The means of one method, for example ``comparison.of("restoration").nrmse``: mean and standard deviation."""
        region = region or self.region
        lines = [line for line in self.lines if (line.method, line.region) == (method, region)]
        if not lines:
            raise DataError(
                f"'{method}' was not compared in {region}. There are: {', '.join(self.methods(region)) or 'none'}."
            )
        network = {(line.image, line.channel): line.nrmse for line in self._network(region)}
        own, speed = self._speed(method), self._speed(RESTORATION)
        met = [line for line in lines if (line.image, line.channel) in network]
        nrmse, psnr, ssim = (_spread([getattr(line, name) for line in lines]) for name in FIGURES)
        return Summary(
            method,
            region,
            len(lines),
            nrmse,
            psnr,
            ssim,
            _total(lines, "seconds"),
            _total(lines, "tuning"),
            own,
            None if method == RESTORATION or own is None or speed is None else speed / own,
            None
            if method == RESTORATION or not met
            else sum(network[line.image, line.channel] < line.nrmse for line in met),
        )

    def overall(self, region: str | None = None) -> tuple[Summary, ...]:
        """One summary per method."""
        return tuple(self.of(method, region) for method in self.methods(region))

    @property
    def best_other(self) -> Summary | None:
        """Of the methods that are neither input nor network, the closest to the truth in the region common to all."""
        others = [one for one in self.overall(self.regions[-1]) if one.method not in (*INPUTS, RESTORATION)]
        return min(others, key=lambda one: one.nrmse[0], default=None)

    def _network(self, region: str) -> list[Line]:
        return [line for line in self.lines if (line.method, line.region) == (RESTORATION, region)]

    def _speed(self, method: str) -> float | None:
        """Over all images that the method was run on, whatever the region."""
        run = {line.image: line for line in self.lines if line.method == method and line.seconds is not None}
        seconds = sum(line.seconds or 0.0 for line in run.values())
        return sum(line.voxels for line in run.values()) / 1e6 / seconds if seconds > 0 else None

    # -- tables -------------------------------------------------------------------------------------

    def rows(self, region: str | None = None) -> list[list[str]]:
        """The means as text, the head first."""
        shown = len(HEAD) if RESTORATION in self.methods(region) else len(HEAD) - 2
        return [list(HEAD[:shown]), *(_row(one)[:shown] for one in self.overall(region))]

    def table(self, form: str = "text") -> str:
        """To copy: the means as "text", "markdown" or "latex"; every line, with its settings, as "csv" or "tsv"."""
        if form in ("csv", "tsv"):
            return self._every_line("," if form == "csv" else "\t")
        makers = {"text": _aligned, "markdown": _markdown, "latex": _latex}
        if form not in makers:
            raise DataError(f"A table is text, markdown, latex, csv or tsv, not '{form}'. Choose one of them.")
        parts = []
        for region in self.regions:
            for name, part in {
                "": self,
                **{name: self.only(images) for name, images in self.conditions.items()},
            }.items():
                if any(line.region == region for line in part.lines):
                    title = f"{part.counted(region)}, {region}" + f", {name}" * bool(name)
                    parts.append(makers[form](title, part.rows(region)))
        return "\n\n".join(parts)

    def counted(self, region: str) -> str:
        """Over what the means of a region are taken: "Mean and spread over 3 images"."""
        lines = [line for line in self.lines if line.region == region]
        images, channels = len({line.image for line in lines}), len({line.channel for line in lines})
        words = f"{images} images, each" if images > 1 else "1 image"
        words = f"{words} with {channels} channels" if channels > 1 else words.removesuffix(", each")
        return f"Mean and spread over {words}" if images * channels > 1 else words

    def _every_line(self, mark: str) -> str:
        names = [*Line.__dataclass_fields__, "mvoxels_per_second"]
        values = ({**asdict(line), "mvoxels_per_second": line.speed} for line in self.lines)
        rows = [["" if of[name] is None else of[name] for name in names] for of in values]
        return tables.csv([names, *rows], mark)

    def __str__(self) -> str:
        parts = [self.table()]
        if self.tuned:
            parts.append(textwrap.fill(f"Parameters: {self.tuned}", 100))
        if self.failures:
            parts.append(textwrap.fill(str(self.failures[0]), 100))
        notes = ["\n".join(self.notes)] if self.notes else []
        return "\n\n".join([*parts, *notes, textwrap.fill(self.settings, 100)])

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; what is not finite becomes None."""
        return {
            "lines": [_plain({**asdict(line), "mvoxels_per_second": line.speed}) for line in self.lines],
            "overall": [_plain(asdict(one)) for region in self.regions for one in self.overall(region)],
            "conditions": {
                name: [_plain(asdict(one)) for region in part.regions for one in part.overall(region)]
                for name, part in ((name, self.only(images)) for name, images in self.conditions.items())
            },
            "methods": [asdict(one) for one in self.credits],
            "largest_relative_errors": [one.to_json() for one in self.failures],
            "notes": list(self.notes),
            "tuned": self.tuned,
            "settings": self.settings,
            "facts": self.facts,
        }


def speed_in_words(speed: float | None) -> str:
    """Mvoxel/s with two digits."""
    return "-" if speed is None else f"{speed:.2g}" if speed < 99.5 else f"{speed:.0f}"


def times_in_words(times: float | None) -> str:
    """How many times as fast, with two digits."""
    return "-" if times is None else f"{times:.2g}x" if times < 99.5 else f"{times:,.0f}x"


def _row(one: Summary) -> list[str]:
    digits = {"nrmse": 4, "psnr": 2, "ssim": 3}
    figures = [
        f"{value:.{digits[name]}f}" if math.isfinite(value) else "-" for name in FIGURES for value in getattr(one, name)
    ]
    closer = "-" if one.closer is None else f"{one.closer} of {one.count}"
    return [one.method, *figures, speed_in_words(one.speed), times_in_words(one.times), closer]


def _spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation; NaN for the latter of a single value."""
    if not np.isfinite(values).all():
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _total(lines: Sequence[Line], what: str) -> float | None:
    """Summed over images: channels share what they took."""
    known = {line.image: getattr(line, what) for line in lines if getattr(line, what) is not None}
    return float(sum(known.values())) if known else None


def _aligned(title: str, rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    return "\n".join([title, *lines])


def _markdown(title: str, rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(map(tables.markdown, row))} |" for row in rows]
    lines.insert(1, "|" + " --- |" + " ---: |" * (len(rows[0]) - 1))
    return "\n".join([f"{title}:", "", *lines])


def _latex(title: str, rows: list[list[str]]) -> str:
    lines = [" & ".join(map(tables.latex, row)) + r" \\" for row in rows]
    body = [r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"]
    return "\n".join(
        [f"% {' '.join(title.split())}", f"\\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}", *body, r"\end{tabular}"]
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return [one(part) for part in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: one(value) for name, value in values.items()}
