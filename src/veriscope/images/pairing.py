"""Pairs of a low and a high image of the same place: matched by file name, checked, split for training and judging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from veriscope import axes as ax
from veriscope.errors import DataError, PairingError, warn
from veriscope.images.image import Image
from veriscope.images.reading import identity, list_names, read_image, stem
from veriscope.images.resampling import resampled
from veriscope.wording import lengths, shortened

ALIKE, CANNOT_BE = 1.02, 1.5  # ratio of voxel sizes of low and high: a warning above, an error above
IN_MEMORY_UP_TO = 2**30  # bytes of all images of the pairs together; more stays on disk


@dataclass(frozen=True, eq=False)
class Pair:
    """A low and a high image of the same place: the same size along S, T, Z, Y and X; channels may differ.

    The high image of a stack may be a single plane: the surface in it (`projects`). Pairs that show one place several
    times, such as at several light levels, have the same `field`. `turns` is False where Y and X must not be exchanged
    in training, since low is worse along one of them. Raises DataError when the sizes differ.
    """

    low: Image
    high: Image
    name: str = ""
    field: str | None = None
    turns: bool = True

    def __post_init__(self) -> None:
        for image, which in ((self.low, "low"), (self.high, "high")):
            ax.image_axes(image.axes, f"The {which} image of pair '{self.name}'")
        free = "CZ" if self.projects else "C"
        if differing := [a for a in ax.ORDER if a not in free and self.low.size(a) != self.high.size(a)]:
            sizes = ", ".join(f"{a} {self.low.size(a)} against {self.high.size(a)}" for a in differing)
            only = ", or high a single plane, to which the stack is projected" if differing == ["Z"] else ""
            raise DataError(
                f"Low and high image of pair '{self.name}' differ in size: low is {_shape(self.low)}, "
                f"high is {_shape(self.high)} ({sizes}). Both must show the same place at the same size{only}."
            )

    @property
    def projects(self) -> bool:
        """Whether low is a stack and high a single plane."""
        return self.low.size("Z") > 1 and self.high.size("Z") == 1


class Pairs(Sequence[Pair]):
    """Pairs for one model: all of the same dimensionality and with the same channels; sizes may differ.

    Raises DataError when they cannot be combined.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = tuple(pairs)
        for pair in self._pairs[1:]:
            first = self._pairs[0]
            for here, there, which in ((pair.low, first.low, "low"), (pair.high, first.high, "high")):
                flat = {image.size("Z") == 1 for image in (here, there)}
                if (("Z" in here.axes) != ("Z" in there.axes) and flat != {True}) or here.size("C") != there.size("C"):
                    raise DataError(
                        f"The {which} images of '{first.name}' ({_shape(there)}) and '{pair.name}' ({_shape(here)}) do "
                        f"not match: images for one model all have Z or not, and the same number of channels."
                    )
            if pair.projects != first.projects:
                raise DataError(
                    f"Pairs '{first.name}' and '{pair.name}' do not match: in one of them high is a single plane "
                    f"for a stack (low {_shape(pair.low)}, high {_shape(pair.high)}), in the other it is not."
                )

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Pairs: ...
    def __getitem__(self, index: int | slice) -> Pair | Pairs:
        return Pairs(self._pairs[index]) if isinstance(index, slice) else self._pairs[index]

    def __repr__(self) -> str:
        return f"<{len(self)} pairs: {shortened(self.names)}>"

    @property
    def names(self) -> list[str]:
        return [pair.name for pair in self]

    def split(self, check: float = 0.1, test: float = 0.1, seed: int = 0) -> tuple[Pairs, Pairs, Pairs]:
        """Pairs for training, checking and testing: fractions of the images, drawn with `seed`; 0 gives none.

        Pairs of one field stay together, so that nothing is judged on a place that was learned. Each part gets at
        least one field. With too few for that, every image is cut along its longer lateral axis instead, into regions
        that do not overlap. Raises DataError for fractions that leave nothing to train on.
        """
        if not (check >= 0 and test >= 0 and check + test < 1):
            raise DataError(
                f"Fractions of {check:g} for checking and {test:g} for testing leave nothing to train on. "
                f"Give fractions from 0 to 1 whose sum is below 1, such as 0.1 and 0.1."
            )
        numbers: dict[object, list[int]] = {}  # of the pairs that show one field
        for number, pair in enumerate(self._pairs):
            numbers.setdefault(number if pair.field is None else pair.field, []).append(number)
        fields = list(numbers.values())
        counts = [max(1, round(part * len(fields))) if part > 0 else 0 for part in (check, test)]
        while sum(counts) >= len(fields) and max(counts) > 1:
            counts[counts.index(max(counts))] -= 1
        left = len(fields) - sum(counts)
        if left < 1:
            return self._split_regions(check, test)
        order = np.random.default_rng(seed).permutation(len(fields))
        groups = np.split(order, [left, left + counts[0]])
        training, checking, testing = (
            Pairs([self._pairs[i] for i in sorted(number for field in group for number in fields[field])])
            for group in groups
        )
        return training, checking, testing

    def _split_regions(self, check: float, test: float) -> tuple[Pairs, Pairs, Pairs]:
        parts: tuple[list[Pair], ...] = ([], [], [])
        for pair in self:
            axis = "Y" if pair.low.size("Y") > pair.low.size("X") else "X"
            length = pair.low.size(axis)
            widths = [max(1, round(part * length)) if part > 0 else 0 for part in (check, test)]
            stops = [length - sum(widths), length - widths[1], length]
            if stops[0] < 1:
                raise DataError(
                    f"Pair '{pair.name}' ({_shape(pair.low)}) is too small to be cut into parts for training, checking "
                    f"and testing. Give more or larger images, or smaller fractions."
                )
            for part, start, stop in zip(parts, [0, *stops[:2]], stops, strict=True):
                if stop > start:
                    span = {axis: slice(start, stop)}
                    name = f"{pair.name}[{axis} {start}:{stop}]"
                    part.append(replace(pair, low=pair.low.region(**span), high=pair.high.region(**span), name=name))
        return Pairs(parts[0]), Pairs(parts[1]), Pairs(parts[2])


def read_pairs(
    low: str | Path,
    high: str | Path,
    axes: str | tuple[str, str] | None = None,
    lazy: bool | None = None,
    finer: Mapping[str, float] | None = None,
) -> Pairs:
    """Pairs from two folders (or globs), matched by file name without suffix, or from two files.

    An axis S is split into pairs named file[0], file[1], ... `axes` as in read_image, for low and high alike,
    or one word for each, such as ("ZYX", "YX") for stacks and the planes they are projected to.
    `lazy` None leaves the pixels on disk when all images together exceed 1 GB. Raises PairingError listing what has no
    partner, DataError for sizes that differ.

    `finer`: how many times as many pixels high has as low, {"Z": 4}; low is interpolated to its grid, lazily.
    """
    lows, highs = list_names(low), list_names(high)
    if Path(low).exists() and Path(high).exists() and Path(low).resolve() == Path(high).resolve():
        raise PairingError(f"Low and high are the same, '{low}'. Give the folders of the low and of the high images.")
    if lows == [Path(low)] and highs == [Path(high)]:
        matched = [(lows[0], highs[0], stem(lows[0]))]
    else:
        matched = _matched(low, high, _by_name(lows), _by_name(highs))
    fields = _fields_of(matched)
    of_low, of_high = axes if isinstance(axes, tuple) else (axes, axes)
    used = [one for one in matched if one[2] in fields]
    opened = [(read_image(a, of_low, lazy=True), read_image(b, of_high, lazy=True), name) for a, b, name in used]
    if lazy is None:
        lazy = sum(a.nbytes + b.nbytes for a, b, _ in opened) > IN_MEMORY_UP_TO
    if not lazy:
        opened = [(a.in_memory(), b.in_memory(), name) for a, b, name in opened]
    if finer:
        opened = [(on_grid_of(b, a, finer, name), b, name) for a, b, name in opened]
    _check_voxels(opened)
    turns = not finer or finer.get("Y", 1.0) == finer.get("X", 1.0)
    return Pairs([pair for a, b, name in opened for pair in _samples(Pair(a, b, name, fields[name], turns))])


def factors_between(low: Image, high: Image, name: str = "") -> dict[str, float]:
    """How many times as many pixels `high` has along each axis in space, where that is a whole number and not 1.

    Raises DataError where it is not a whole number somewhere, or nothing is finer.
    """
    ratios = {letter: high.size(letter) / low.size(letter) for letter in high.spatial_axes}
    if any(ratio < 1 or ratio != int(ratio) for ratio in ratios.values()) or set(ratios.values()) == {1.0}:
        raise DataError(
            f"The sizes of pair '{name}' do not show how much finer high is: low is {_shape(low)}, high is "
            f"{_shape(high)}. State it, for example finer={{'Z': 4}} (--factor Z=4)."
        )
    return {letter: ratio for letter, ratio in ratios.items() if ratio != 1}


def on_grid_of(high: Image, low: Image, factors: Mapping[str, float], name: str = "") -> Image:
    """`low` interpolated by `factors` to the pixels of `high`, lazily. Raises DataError where sizes do not agree."""
    for letter, factor in factors.items():
        expected, size = low.size(letter) * factor, high.size(letter)
        if not abs(size - expected) < factor:
            raise DataError(
                f"High of pair '{name}' should have {factor:g} times as many pixels along {letter} as low, about "
                f"{expected:g}, but has {size}: low is {_shape(low)}, high is {_shape(high)}. Check the factor."
            )
    return resampled(low, factors, {letter: high.size(letter) for letter in factors})


def _fields_of(matched: Sequence[tuple[Path, Path, str]]) -> dict[str, str | None]:
    """The field of each pair by its name, where it shares an image with another; pairs that repeat others are omitted,
    with a warning. Raises PairingError where low and high are one image.
    """
    fields: dict[str, str] = {}  # by the name of a pair in it; that of the pair where it is alone
    of_image: dict[object, str] = {}
    seen, again = set(), []
    for low, high, name in matched:
        marks = identity(low), identity(high)
        if marks[0] == marks[1]:
            raise PairingError(f"Low and high of pair '{name}' are one image: '{low}' and '{high}'. Give another high.")
        if marks in seen:
            again.append(name)
            continue
        seen.add(marks)
        shared = [fields[of_image[mark]] for mark in marks if mark in of_image]
        fields[name] = shared[0] if shared else name
        if len(set(shared)) > 1:  # they all show one field now
            fields = {known: shared[0] if field in shared else field for known, field in fields.items()}
        of_image |= dict.fromkeys(marks, name)
    if again:
        warn(f"{shortened(again)}: the same images as other pairs under other names; each is used once.")
    count = Counter(fields.values())
    return {name: field if count[field] > 1 else None for name, field in fields.items()}


def _check_voxels(pairs: Sequence[tuple[Image, Image, str]]) -> None:
    """Low and high with the same pixels have voxels of the same size, and images for one model usually do too.

    Raises DataError where sizes differ so much that the places cannot be the same; smaller differences are a warning.
    """
    differing: dict[str, list[str]] = {}
    sizes: dict[str, list[str]] = {}
    for low, high, name in pairs:
        alike = [letter for letter in high.spatial_axes if low.size(letter) == high.size(letter)]
        both = [(low.voxel(letter), high.voxel(letter)) for letter in alike]
        worst = max((max(a / b, b / a) for a, b in both if a and b), default=1.0)
        words = f"low has voxels of {_voxel(low)}, high of {_voxel(high)}"
        if worst > CANNOT_BE:
            raise DataError(
                f"Pair '{name}' has as many pixels in low as in high, but {words}: they cannot show the same place. "
                f"Give images of the same field, or correct the voxel size in the files (in Fiji: Image > Properties)."
            )
        if worst > ALIKE:
            differing.setdefault(words, []).append(name)
        if high.full_voxel_size:
            sizes.setdefault(_voxel(high), []).append(name)
    for words, names in differing.items():
        warn(f"{shortened(names, 3)}: {words}, with the same number of pixels. One of them may be wrong.")
    if len(sizes) > 1:
        listed = ", ".join(f"{size} ({len(names)})" for size, names in sizes.items())
        warn(f"the images have voxels of different sizes: {listed}. A network learns structures by their pixels.")


def _voxel(image: Image) -> str:
    return f"{lengths(size and float(f'{size:.4g}') for size in image.voxel_size or ())} um"


def _samples(pair: Pair) -> list[Pair]:
    """The samples along S as pairs of their own."""
    if "S" not in pair.low.axes and "S" not in pair.high.axes:
        return [pair]
    pairs = []
    for number in range(pair.low.size("S")):
        field = None if pair.field is None else f"{pair.field}[{number}]"
        low, high = (one.region(S=number) if "S" in one.axes else one for one in (pair.low, pair.high))
        pairs.append(Pair(low, high, f"{pair.name}[{number}]", field, pair.turns))
    return pairs


def _by_name(files: Sequence[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for file in files:
        if (name := stem(file)) in named:
            raise PairingError(
                f"'{named[name]}' and '{file}' differ only in their suffix, so it is not clear which one to pair. "
                f"Rename or move one of them."
            )
        named[name] = file
    return named


def _matched(
    low: str | Path, high: str | Path, lows: dict[str, Path], highs: dict[str, Path]
) -> list[tuple[Path, Path, str]]:
    parts = []
    for place, files, other, partners in ((low, lows, high, highs), (high, highs, low, lows)):
        if alone := [files[name].name for name in files if name not in partners]:
            have = "has" if len(alone) == 1 else "have"
            names = shortened(alone)
            parts.append(f"{len(alone)} of {len(files)} in '{place}' {have} no partner in '{other}': {names}")
    if parts:
        raise PairingError(f"Images are paired by file name. {'; '.join(parts)}. Rename, add or remove these files.")
    return [(lows[name], highs[name], name) for name in lows]


def _shape(image: Image) -> str:
    return f"{lengths(image.shape)} ({image.axes})"
