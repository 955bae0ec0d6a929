"""Percentile normalisation (SI 2.2): fit, apply, undo; percentiles of images too large for memory.

Fitted values are plain numbers in a frozen `Normalization`, one low and one high per channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError, warn
from veriscope.wording import listed

Blocks = Iterable[NDArray[Any]] | Callable[[], Iterable[NDArray[Any]]]

WIDER = ((0.02, 99.98), (0.0, 100.0))  # percentiles for images that are nearly empty: the first that differ
Leaders = Sequence[Sequence[int]]  # of each channel; none: all values
_DIGIT = 16  # bits looked at in one pass over the data
_PIECE = 2**21  # pixels counted at once, to keep temporary arrays small
_CLOSE = 1e-4  # of the range: 64-bit numbers need not be known better


@dataclass(frozen=True)
class Normalization:
    """The linear map that takes `low` to 0 and `high` to 1, one of each per channel.

    Raises DataError where a channel is constant (high <= low) or not finite.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", tuple(float(value) for value in self.low))
        object.__setattr__(self, "high", tuple(float(value) for value in self.high))
        if not self.low or len(self.low) != len(self.high):
            raise DataError(f"A normalisation needs one low and one high per channel, not {self.low} and {self.high}.")
        for channel, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            if not (isfinite(low) and isfinite(high) and low < high):
                where = f" in channel {channel}" if len(self.low) > 1 else ""
                raise DataError(
                    f"The image is constant{where}: its lowest value {low:g} is not below its highest {high:g}, so it "
                    f"cannot be normalised by itself. Leave this image out, or normalise it as the images of the "
                    f"training were (normalize='model', --normalize model)."
                )

    @property
    def channels(self) -> int:
        return len(self.low)

    @property
    def range(self) -> tuple[float, ...]:
        """high - low per channel: one unit of a normalised image, in grey values."""
        return tuple(high - low for low, high in zip(self.low, self.high, strict=True))

    def apply(self, array: NDArray[Any], channel_axis: int = 0) -> NDArray[np.float32]:
        """(array - low) / (high - low) as float32; any shape with the channels on `channel_axis`."""
        low, span = self._shaped(array, channel_axis)
        exact = array.dtype.itemsize <= 2 or array.dtype == np.float32
        work = np.float32 if exact else np.float64
        result = np.subtract(array, low, dtype=work)
        result /= span.astype(work)
        return np.asarray(result, np.float32)

    def undo(self, array: NDArray[Any], channel_axis: int = 0) -> NDArray[np.float32]:
        """array * (high - low) + low as float32: back to grey values."""
        low, span = self._shaped(array, channel_axis)
        work = np.float64 if array.dtype == np.float64 else np.float32
        result = np.multiply(array, span.astype(work), dtype=work)
        result += low.astype(work)
        return np.asarray(result, np.float32)

    def _shaped(self, array: NDArray[Any], channel_axis: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not -array.ndim <= channel_axis < array.ndim or array.shape[channel_axis] != self.channels:
            raise DataError(
                f"This normalisation is for {self.channels} channel(s), but the array has shape {array.shape} with "
                f"channels on axis {channel_axis}. Fit one for this image."
            )
        shape = [1] * array.ndim
        shape[channel_axis] = self.channels
        return np.array(self.low).reshape(shape), np.array(self.range).reshape(shape)

    def to_json(self) -> dict[str, list[float]]:
        return {"low": list(self.low), "high": list(self.high)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Sequence[float]]) -> Normalization:
        return cls(tuple(stored["low"]), tuple(stored["high"]))


def fit(blocks: Blocks | Count, wanted: Sequence[float] = (2.0, 99.8)) -> Normalization:
    """The normalisation that takes the two percentiles `wanted` of the data (SI 2.2: 2 and 99.8) to 0 and 1.

    `blocks` as in `percentiles`. Where both are the same, as in images of few spots on an empty background, wider ones
    are taken, with a warning. Raises DataError for constant images and for NaN or infinite values.
    """
    if len(wanted) != 2 or not wanted[0] < wanted[1]:
        raise DataError(f"Normalisation needs a lower and a higher percentile, such as 2 and 99.8, not {wanted}.")
    count = counting(blocks)
    found = percentiles(count, wanted)
    alike = found[:, 0] >= found[:, 1]
    if alike.any():
        found[alike] = widened(percentiles(count, sum(WIDER, ())))[alike]
        if (found[:, 0] < found[:, 1]).all():
            warn(
                f"percentiles {wanted[0]:g} and {wanted[1]:g} of the image are the same, since most of it is "
                f"empty: it is normalised by {listed(f'{value:g}' for value in found[alike][0])} instead."
            )
    return Normalization(tuple(found[:, 0].tolist()), tuple(found[:, 1].tolist()))


def fit_moments(blocks: Iterable[NDArray[Any]]) -> Normalization:
    """The normalisation that takes the mean of the data to 0, and one standard deviation above it to 1.

    `blocks` are arrays (C, ...). Raises DataError for constant images and for NaN or infinite values.
    """
    count, sums = 0, np.zeros((2, 1))
    for block in blocks:
        flat = np.asarray(block, np.float64).reshape(len(block), -1)
        count += flat.shape[1]
        sums = sums + np.stack([flat.sum(1), np.square(flat).sum(1)])
    if not count or not np.isfinite(sums).all():
        raise DataError("The image is empty, or holds NaN or infinite values, so it cannot be normalised.")
    mean = sums[0] / count
    deviation = np.sqrt(np.maximum(sums[1] / count - mean**2, 0))
    return Normalization(tuple(mean.tolist()), tuple((mean + deviation).tolist()))


def widened(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of percentiles (C, 4) at WIDER, those of the first two that differ, (C, 2)."""
    return np.where((found[:, 0] < found[:, 1])[:, None], found[:, :2], found[:, 2:])


def percentiles(blocks: Blocks | Count, wanted: Sequence[float]) -> NDArray[np.float64]:
    """Percentiles (0 to 100) of each channel, (C, len(wanted)), over pieces of an image given one after the other.

    `blocks` are arrays (C, ...) of one dtype, or a function that starts them again; an iterator is kept in memory. The
    result is that of np.percentile (linear), for integers of up to 16 bits in one pass, for other numbers in as many
    passes as they have 16-bit digits (64-bit numbers stop when known to 0.01 % of the range). Raises DataError when
    there is no data, or NaN or infinite values.
    """
    if not wanted or not all(0 <= value <= 100 for value in wanted):
        raise DataError(f"Percentiles lie between 0 and 100, unlike {tuple(wanted)}.")
    return _by_digits(counting(blocks), np.asarray(wanted, dtype=np.float64))


@dataclass(frozen=True)
class Count:
    """How the digits of an image are counted: given the digits before, of each channel, and how many bits they are."""

    run: Callable[[Leaders, int], Counted]


def counting(blocks: Blocks | Count) -> Count:
    """Counting here, one piece after the other; a Count as it is."""
    if isinstance(blocks, Count):
        return blocks
    kept = blocks if callable(blocks) else [blocks] if isinstance(blocks, np.ndarray) else list(blocks)
    return Count(lambda leaders, done: Counted().see(kept() if callable(kept) else kept, leaders, done))


class Counted:
    """What a pass over some pieces checks and counts: channels, pixels, values that are no numbers, and digits."""

    def __init__(self) -> None:
        self.dtype: np.dtype[Any] | None = None
        self.channels = self.pixels = self.bad = self.all = 0
        self.counts: list[dict[int, NDArray[np.int64]]] = []

    def see(self, blocks: Iterable[NDArray[Any]], leaders: Leaders, done: int) -> Counted:
        """Count the next digit of all values that begin with one of their channel's `leaders`, of `done` bits."""
        for block in blocks:
            for channel, piece in self.pieces(block):
                if not self.counts:
                    self.counts = [{} for _ in range(self.channels)]
                keys = _keys(piece)
                bits = 8 * keys.dtype.itemsize
                for leader in leaders[channel] if leaders else (0,):
                    digits = _digits(keys, leader, done, bits)
                    seen = np.bincount(digits, minlength=2 ** min(_DIGIT, bits))
                    self.counts[channel][leader] = self.counts[channel].get(leader, 0) + seen
        return self

    def merge(self, other: Counted) -> None:
        """Add what was counted in other pieces of the same image."""
        if self.dtype is None:
            self.dtype, self.channels, self.counts = other.dtype, other.channels, [{} for _ in other.counts]
        for mine, theirs in zip(self.counts, other.counts, strict=True):
            for leader, seen in theirs.items():
                mine[leader] = mine.get(leader, 0) + seen
        self.pixels, self.bad, self.all = self.pixels + other.pixels, self.bad + other.bad, self.all + other.all

    def pieces(self, block: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
        """The block in flat pieces with their channel, in native byte order and without NaN and Inf."""
        block = np.asarray(block)
        native = block.dtype.newbyteorder("=")
        if self.dtype is None:
            if block.ndim < 1 or block.dtype.kind not in "buif":
                raise DataError(f"Percentiles need arrays of real numbers, not {block.dtype} of shape {block.shape}.")
            self.dtype, self.channels = native, block.shape[0]
        if native != self.dtype or block.ndim < 1 or block.shape[0] != self.channels:
            raise DataError(
                f"Pieces of one image differ: {self.dtype} with {self.channels} channels, then {block.dtype} "
                f"with shape {block.shape}."
            )
        for channel in range(self.channels):
            flat = block[channel].reshape(-1)
            for start in range(0, flat.size, _PIECE):
                piece = flat[start : start + _PIECE].astype(native, copy=False)
                self.all += piece.size
                if native.kind == "f":
                    finite = np.isfinite(piece)
                    if not finite.all():
                        piece = piece[finite]
                        self.bad += int(finite.size - piece.size)
                yield channel, piece
        self.pixels += block[0].size if self.channels else 0

    def check(self) -> None:
        if self.bad:
            raise DataError(
                f"{self.bad:,} of {self.all:,} values of the image are NaN or infinite, so it cannot be normalised. "
                f"Replace them first, for example with numpy.nan_to_num."
            )
        if not self.pixels or not self.channels:
            raise DataError("There are no pixels to take percentiles of. Check how the image was read or cropped.")


def _by_digits(count: Count, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """A digit of 16 bits per pass, from the front, as one looks up words in a dictionary."""
    found: list[dict[int, tuple[int, int]]] = []  # per channel: rank -> (leading digits of its key, values before)
    done = 0
    while True:
        watch = count.run([sorted({leader for leader, _ in ranked.values()}) for ranked in found], done)
        watch.check()
        assert watch.dtype is not None
        if not found:  # ranks below and above each percentile, and the weight of the upper one, as in np.percentile
            place = wanted / 100 * (watch.pixels - 1)
            below = np.floor(place).astype(np.int64)
            above, weight = np.minimum(below + 1, watch.pixels - 1), place - below
            found = [dict.fromkeys([*below.tolist(), *above.tolist()], (0, 0)) for _ in range(watch.channels)]
        bits = 8 * watch.dtype.itemsize
        step = min(_DIGIT, bits)
        for ranked, counted in zip(found, watch.counts, strict=True):
            totals = {leader: np.cumsum(seen) for leader, seen in counted.items()}
            for rank, (leader, before) in ranked.items():
                total = totals[leader]
                digit = int(np.searchsorted(total, rank - before, side="right"))
                ranked[rank] = leader << step | digit, before + (int(total[digit - 1]) if digit else 0)
        done += step
        if done == bits or (done >= 32 and all(_is_close(ranked, done, bits, watch.dtype) for ranked in found)):
            low, high = (
                np.array([[_value(of[rank][0], done, bits, watch.dtype) for rank in ranks.tolist()] for of in found])
                for ranks in (below, above)
            )
            # interpolated linearly, with np.percentile's rounding
            blend = np.where(weight >= 0.5, high - (high - low) * (1 - weight), low + (high - low) * weight)
            return np.asarray(blend)


def _keys(values: NDArray[Any]) -> NDArray[Any]:
    """Unsigned integers in the same order as `values`."""
    bits = 8 * values.dtype.itemsize
    raw: NDArray[Any] = values.view(f"u{values.dtype.itemsize}")
    top = raw.dtype.type(1 << (bits - 1))
    if values.dtype.kind == "i":
        raw = raw ^ top
    elif values.dtype.kind == "f":
        signs = (values.view(f"i{values.dtype.itemsize}") >> (bits - 1)).view(raw.dtype)  # all bits of negative floats,
        raw = raw ^ (signs | top)  # which count downwards
    return raw


def _digits(keys: NDArray[Any], leader: int, done: int, bits: int) -> NDArray[Any]:
    """The next digit of those keys that begin with `leader`."""
    if bits <= _DIGIT:
        return keys
    kind = keys.dtype.type
    if done:
        keys = keys[keys >> kind(bits - done) == kind(leader)]
    digits: NDArray[Any] = (keys >> kind(bits - done - _DIGIT)) & kind(2**_DIGIT - 1)
    return digits.astype(np.uint16)


def _value(leader: int, done: int, bits: int, dtype: np.dtype[Any]) -> float:
    """The smallest value whose key begins with `leader`."""
    key = min(leader << (bits - done), 2**bits - 1)
    top = 1 << (bits - 1)
    if dtype.kind == "i":
        key ^= top
    elif dtype.kind == "f":
        key = key ^ top if key & top else key ^ (2 * top - 1)
    return float(np.array([key], dtype=f"u{dtype.itemsize}").view(dtype)[0])


def _is_close(ranked: dict[int, tuple[int, int]], done: int, bits: int, dtype: np.dtype[Any]) -> bool:
    """Whether the leading digits already give every value to a small part of the range that they span."""
    leaders = sorted(leader for leader, _ in ranked.values())
    edges = [(_value(leader, done, bits, dtype), _value(leader + 1, done, bits, dtype)) for leader in leaders]
    span = edges[-1][0] - edges[0][0]
    return all(abs(stop - start) <= _CLOSE * span for start, stop in edges)
