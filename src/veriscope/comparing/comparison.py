"""What a comparison of methods found: a result for every image by every method, means, spread, and tables."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from veriscope import notebook
from veriscope.comparing.failures import Failure
from veriscope.comparing.judge import FIGURES, RESTORATION, Score
from veriscope.comparing.picture import INPUTS, Picture
from veriscope.errors import DataError
from veriscope.judging import quality
from veriscope.tables import Column, Table, plain

WHOLE = "whole images"
Spread = tuple[float, float]  # mean and standard deviation over images
KEPT = ("image", "method", *FIGURES, "channel", "coverage", "region", "seconds", "voxels", "tuning", "settings")


@dataclass(frozen=True)
class Result(Score):
    """One image by one method, in one channel: how close, and how fast."""

    region: str = WHOLE  # what was judged
    seconds: float | None = None  # to process the image, all channels; None where nothing was run for this result
    voxels: int = 0  # of the input
    tuning: float | None = None  # seconds
    settings: str = ""

    @property
    def speed(self) -> float | None:
        """Mvoxel/s of the input; None where nothing was run, or too briefly for the clock."""
        return self.voxels / 1e6 / self.seconds if self.seconds else None


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

    @property
    def wins(self) -> str | None:
        """Those of the network, in words."""
        return None if self.closer is None else f"{self.closer} of {self.count}"


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

    lines: tuple[Result, ...]
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
    def by_channel(self) -> bool:
        """Whether there are lines for each of several channels."""
        return any(line.channel is not None for line in self.lines)

    @property
    def regions(self) -> tuple[str, ...]:
        """What was judged: whole images, and ever smaller crops of methods that were limited; the last one by all."""
        return tuple(dict.fromkeys(line.region for line in self.lines)) or (WHOLE,)

    @property
    def region(self) -> str:
        """What was judged of every image by all methods that were not limited."""
        return self.regions[0]

    @property
    def conditions(self) -> dict[str, tuple[str, ...]]:
        """The images of each condition, where they are called CONDITION/IMAGE and there are several; else empty."""
        names: dict[str, list[str]] = {}
        for image in self.images:
            names.setdefault(image.partition("/")[0] if "/" in image else "", []).append(image)
        return {} if "" in names or len(names) < 2 else {name: tuple(images) for name, images in names.items()}

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
        lines, network = (
            [line for line in self.lines if (line.method, line.region) == (name, region)]
            for name in (method, RESTORATION)
        )
        if not lines:
            raise DataError(
                f"'{method}' was not compared in {region}. There are: {', '.join(self.methods(region)) or 'none'}."
            )
        speed, of_network = self._speed(method), self._speed(RESTORATION)
        times, closer = None, None
        if method != RESTORATION:
            times = None if speed is None or of_network is None else of_network / speed
            its = {(line.image, line.channel): line.nrmse for line in network}
            wins = [its[line.image, line.channel] < line.nrmse for line in lines if (line.image, line.channel) in its]
            closer = sum(wins) if wins else None
        nrmse, psnr, ssim = (_spread([getattr(line, name) for line in lines]) for name in FIGURES)
        seconds, tuning = _total(lines, "seconds"), _total(lines, "tuning")
        return Summary(method, region, len(lines), nrmse, psnr, ssim, seconds, tuning, speed, times, closer)

    def overall(self, region: str | None = None) -> tuple[Summary, ...]:
        """One summary per method."""
        return tuple(self.of(method, region) for method in self.methods(region))

    @property
    def best_other(self) -> Summary | None:
        """Of the methods that are neither input nor network, the closest to the truth in the region common to all."""
        others = [one for one in self.overall(self.regions[-1]) if one.method not in (*INPUTS, RESTORATION)]
        return min(others, key=lambda one: one.nrmse[0], default=None)

    def _speed(self, method: str) -> float | None:
        """Over all images that the method was run on, whatever the region."""
        run = {line.image: line for line in self.lines if line.method == method and line.seconds is not None}
        seconds = sum(line.seconds or 0.0 for line in run.values())
        return sum(line.voxels for line in run.values()) / 1e6 / seconds if seconds > 0 else None

    # -- tables -------------------------------------------------------------------------------------

    def means(self, region: str | None = None) -> Table:
        """A row for each method: means and spread over images."""
        region = region or self.region
        columns = [Column("method", left=True)]
        for name, form in zip(FIGURES, (".4f", ".2f", ".3f"), strict=True):
            columns += [Column(name.upper(), form), Column("± SD", form)]
        columns.append(Column("Mvoxel/s", speed_in_words))
        if RESTORATION in self.methods(region):
            columns += [Column("network’s speed", times_in_words), Column("network closer")]
        rows = []
        for one in self.overall(region):
            figures = [value if math.isfinite(value) else None for name in FIGURES for value in getattr(one, name)]
            row = [one.method, *figures, one.speed, one.times, one.wins]
            rows.append(row[: len(columns)])
        return Table(columns, rows, f"{self.counted(region)}, {region}")

    def parts(self) -> list[tuple[str, str, Comparison]]:
        """Of every region all images ("") and those of each condition: region, name of the condition, their figures."""
        named = {"": self, **{name: self.only(images) for name, images in self.conditions.items()}}
        return [
            (region, name, part)
            for region in self.regions
            for name, part in named.items()
            if any(line.region == region for line in part.lines)
        ]

    def table(self, form: str = "text") -> str:
        """To copy: the means as "text", "markdown" or "latex"; every line, with its settings, as "csv" or "tsv"."""
        if form in ("csv", "tsv"):
            return self._every_line().write(form)
        texts = []
        for region, name, part in self.parts():
            table = part.means(region)
            texts.append(replace(table, title=f"{table.title}, {name}" if name else table.title).write(form))
        return "\n\n".join(texts)

    def counted(self, region: str) -> str:
        """Over what the means of a region are taken: "Mean and spread over 3 images"."""
        lines = [line for line in self.lines if line.region == region]
        images, channels = len({line.image for line in lines}), len({line.channel for line in lines})
        words = f"{images} images, each" if images > 1 else "1 image"
        words = f"{words} with {channels} channels" if channels > 1 else words.removesuffix(", each")
        return f"Mean and spread over {words}" if images * channels > 1 else words

    def _every_line(self) -> Table:
        columns = [Column(name) for name in (*KEPT, "mvoxels_per_second")]
        rows = [[*(getattr(line, name) for name in KEPT), line.speed] for line in self.lines]
        return Table(columns, rows, missing="")

    def __str__(self) -> str:
        words = [f"Parameters: {self.tuned}"] if self.tuned else []
        words += map(str, self.failures[:1])
        notes = ["\n".join(self.notes)] if self.notes else []
        filled = [textwrap.fill(one, 100) for one in (*words, self.settings)]
        return "\n\n".join([self.table(), *filled[:-1], *notes, filled[-1]])

    def _repr_html_(self) -> str:
        return "".join(notebook.words([self.counted(one)]) + notebook.table(self.means(one)) for one in self.regions)

    def _summaries(self) -> list[dict[str, Any]]:
        return [plain(one) for region in self.regions for one in self.overall(region)]

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps; what is not finite becomes None."""
        return {
            "lines": self._every_line().to_json(),
            "overall": self._summaries(),
            "conditions": {name: self.only(images)._summaries() for name, images in self.conditions.items()},
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


def _spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation; NaN for the latter of a single value."""
    if not np.isfinite(values).all():
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _total(lines: Sequence[Result], what: str) -> float | None:
    """Summed over images: channels share what they took."""
    known = {line.image: getattr(line, what) for line in lines if getattr(line, what) is not None}
    return float(sum(known.values())) if known else None
