"""Training patches, cut from pairs of images on the fly: drawn, then applied.

What is drawn for a patch (image, position, orientation, percentiles) is a small dict; cutting is a plain function of
it. So every patch can be made again, and no image has to be in memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from veriscope import normalize as norm
from veriscope.errors import AxesError, DataError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.patches import augment, sampling
from veriscope.patches.cache import LIMIT_BYTES, ChunkCache
from veriscope.patches.fields import FIXED_PERCENTILES, Field
from veriscope.patches.matching import matched
from veriscope.tiling import Span

if TYPE_CHECKING:
    from veriscope.images.pairing import Pair

LOW_PERCENTILES = (1.0, 3.0)  # SI 2.2: training draws the percentile that becomes 0 in this range, ...
HIGH_PERCENTILES = (99.5, 99.9)  # ... the one that becomes 1 in this;
FOREGROUND_PERCENTILE = 99.9
SUMMARY_PERCENTILES = (0.1, 1.0, 2.0, 3.0, 50.0, 99.5, 99.8, 99.9)
MOST_CELLS_OF_ALL = 2**22  # of all maps of foreground together; 8 bytes each

_TABLE = np.array(  # percentiles taken of every image; those in between are interpolated
    sorted(
        {0.0, 100.0, *SUMMARY_PERCENTILES}
        | {value for pair in norm.WIDER for value in pair}
        | {round(float(p), 6) for p in np.linspace(*LOW_PERCENTILES, 9)}
        | {round(float(p), 6) for p in np.linspace(*HIGH_PERCENTILES, 9)}
    )
)

Array = NDArray[np.float32]
Normalize = Literal["random", "fixed", "matched", "shared"] | tuple[norm.Normalization, norm.Normalization]


class Drawn(TypedDict):
    """What makes a patch: number of the pair and of the frame in it, first corner, orientation, two percentiles."""

    pair: int
    frame: int
    start: tuple[int, ...]
    orientation: augment.Orientation
    percentiles: tuple[float, float] | None


def cut_patches(
    pairs: Sequence[Pair],
    shape: Sequence[int],
    per_image: int = 32,
    seed: int = 0,
    foreground: float | None = 0.4,
    foreground_share: float = 1.0,
    normalize: Normalize = "random",
    turns: bool | None = None,
    cache_bytes: int = LIMIT_BYTES,
) -> Patches:
    """Patches of `shape` (voxels along Y X or Z Y X), `per_image` from each frame of each pair in an epoch.

    foreground: a patch counts when the truth within its central half exceeds this part of its 99.9th percentile (0.4:
    the authors' rule; None: patches from everywhere). `foreground_share` of the patches follow the rule, the others
    come from everywhere. Images without any such position are used everywhere, with a VeriscopeWarning.
    normalize: "random" draws the two percentiles of the whole image per patch, in (1, 3) and (99.5, 99.9) (SI 2.2);
    "fixed" is always (2, 99.8), as at restoration; "matched" takes these two of the low image for both, once the high
    image is brought to its grey values by least squares: noise widens percentiles, so that otherwise the network has to
    guess each image's gain; "shared" takes these two of the low image for both, whose grey values are the same already;
    a pair of Normalizations (low, high) is used as it stands.
    turns: whether Y and X may change places; None asks the pairs and the voxel sizes. Flips are always drawn.
    cache_bytes: of decoded chunks that are kept while images are read from disk.
    seed: of the positions for checking. T (and S) are cut as separate frames, C becomes channels.

    Where high is a single plane for a stack (`Pair.projects`) patches are cut along Y and X, and the stack is taken
    whole along Z: low is (C, Z, Y, X), high (C, Y, X), `shape` that of high. Such stacks are never flipped along Z:
    light and tissue come from one side, and what lies above a surface looks unlike what lies below.

    Raises DataError for pairs that differ in shape or channels, images smaller than a patch, NaN and Inf, constant
    images, stacks to project of different depths; AxesError when `shape` does not fit the axes.
    """
    shape = _checked_shape(shape)
    depth = _depth(pairs)
    if depth and len(shape) == 3:
        if shape[0] != depth:
            raise DataError(
                f"Stacks that are projected are cut whole along Z, all {depth} planes, not {shape[0]}. "
                f"Give a shape of two numbers (Y, X), such as {_text(shape[1:])}."
            )
        shape = shape[1:]
    axes = "ZYX"[-len(shape) :]
    choices = Choices(int(per_image), int(seed), foreground, float(foreground_share), normalize)
    choices.check()
    if len(pairs) == 0:
        raise DataError("There are no pairs to cut patches from. Check the folders, or what was split off.")
    channels = _same_channels(pairs)
    _check_normalize(normalize, channels, bool(depth))
    if turns and shape[-1] != shape[-2]:
        raise DataError(f"Quarter turns need patches that are square in Y and X, not {_text(shape)}. Pass turns=False.")

    moved = [_moved(pair, "ZYX" if depth else axes, axes, shape) for pair in pairs]
    frames = sum(low.shape[0] * low.shape[1] for low, _ in moved)
    most_cells = min(max(MOST_CELLS_OF_ALL // frames, 2**10), sampling.MOST_CELLS)
    sources: list[_Source] = []
    dim: list[str] = []
    empty: list[str] = []
    for pair, (low, high) in zip(pairs, moved, strict=True):
        by_percentile = isinstance(normalize, str)
        low_table = _table(low, f"{_name(low, pair)} (low)", by_percentile, empty)
        high_table = _table(high, f"{_name(high, pair)} (high)", by_percentile, empty)
        one_scale = low_table if normalize == "shared" else high_table
        if normalize == "matched":
            one_scale = matched(low, high, low_table, pair.name)
        starts = []
        for number in range(high.shape[0] * high.shape[1]):
            found = _starts(high, number, shape, high_table, choices, most_cells)
            if len(found) == 0:
                dim.append(_name(high, pair) + (f" frame {number}" if high.shape[0] * high.shape[1] > 1 else ""))
                found = sampling.everywhere(high.shape[3:], shape)
            starts.append(found)
        orientations = augment.allowed(axes, shape, [low.voxel(letter) for letter in axes])
        if turns is not None or not pair.turns:
            orientations = augment.Orientations(axes, bool(turns))
        sources.append(_Source(pair.name, low, high, low_table, one_scale, tuple(starts), orientations))
    if empty:
        warnings.warn(
            f"Percentiles of {_listed(empty)} are the same, since most of it is empty; its lowest and highest values "
            f"become 0 and 1.",
            VeriscopeWarning,
            stacklevel=2,
        )
    if dim:
        warnings.warn(
            f"No position in {_listed(dim)} has signal above {foreground} of the brightest at the centre of a patch; "
            f"patches are cut from everywhere there. Ask for less (--foreground 0.2), or for none (foreground=None, "
            f"--foreground 0).",
            VeriscopeWarning,
            stacklevel=2,
        )
    return Patches(tuple(sources), shape, axes, channels, choices, ChunkCache(cache_bytes), depth)


@dataclass(frozen=True)
class Choices:
    """What the user chose, as in `cut_patches`."""

    per_image: int
    seed: int
    foreground: float | None
    foreground_share: float
    normalize: Normalize

    def check(self) -> None:
        if self.per_image < 1:
            raise DataError(f"per_image is the number of patches from each image, at least 1, not {self.per_image}.")
        if self.seed < 0:
            raise DataError(f"A seed is a whole number from 0, not {self.seed}.")
        if self.foreground is not None and not 0 < self.foreground <= 1:
            raise DataError(
                f"foreground is a part of the brightest signal, above 0 and up to 1, not {self.foreground}. "
                f"Pass None for patches from everywhere."
            )
        if not 0 <= self.foreground_share <= 1:
            raise DataError(f"foreground_share is a part of the patches, from 0 to 1, not {self.foreground_share}.")


@dataclass(frozen=True, eq=False)
class _Source:
    """A pair, ready to be cut: images in axes S T C [Z] Y X, percentiles (C, len(_TABLE)), starts per frame of high."""

    name: str
    low: Image
    high: Image
    low_table: NDArray[np.float64]
    high_table: NDArray[np.float64]
    starts: tuple[sampling.Starts, ...]
    orientations: augment.Orientations


class Patches:
    """Pairs of patches (low, high), float32 (C, *shape), cut when asked for. Made by `cut_patches`.

    With a `depth` low has so many planes before `shape`, whose projection is high.
    """

    def __init__(
        self,
        sources: tuple[_Source, ...],
        shape: tuple[int, ...],
        axes: str,
        channels: tuple[int, int],
        choices: Choices,
        cache: ChunkCache,
        depth: int = 0,
    ) -> None:
        self.shape = shape
        self.depth = depth
        self.axes, self.axes_out = "ZYX" if depth else axes, axes
        self.low_shape = (depth, *shape) if depth else shape
        self.channels_in, self.channels_out = channels
        self.choices = choices
        self._sources = sources
        self._frames = [(pair, frame) for pair, source in enumerate(sources) for frame in range(len(source.starts))]
        self._orders: dict[tuple[int, int], NDArray[np.int64]] = {}
        self._cache = cache

    def __len__(self) -> int:
        """Patches in one epoch: `per_image` from each frame."""
        return self.choices.per_image * len(self._frames)

    def __repr__(self) -> str:
        what = f"{_text(self.low_shape)} ({self.axes})" + (f" to {_text(self.shape)}" if self.depth else "")
        return f"<Patches: {len(self)} of {what} from {len(self._sources)} pairs>"

    # Draw

    def drawn(self, index: int, seed: int) -> Drawn:
        """What makes training patch `index` (any number from 0): a plain dict, a pure function of index and seed.

        Every run of as many patches as there are frames uses each frame once, in random order.
        """
        rng = np.random.default_rng((seed, index))
        pair, frame = self._frames[self._order(seed, index // len(self._frames))[index % len(self._frames)]]
        source = self._sources[pair]
        start = self._start(source, frame, rng)
        orientation = source.orientations.draw(rng)
        percentiles = None
        if self.choices.normalize == "random":
            percentiles = (float(rng.uniform(*LOW_PERCENTILES)), float(rng.uniform(*HIGH_PERCENTILES)))
        elif isinstance(self.choices.normalize, str):
            percentiles = FIXED_PERCENTILES
        return {
            "pair": pair,
            "frame": frame,
            "start": start,
            "orientation": orientation,
            "percentiles": percentiles,
        }

    def drawn_check(self, index: int) -> Drawn:
        """What makes checking patch `index`: frames in turn, positions fixed, percentiles (2, 99.8)."""
        rng = np.random.default_rng((self.choices.seed, index, 1))
        pair, frame = self._frames[index % len(self._frames)]
        source = self._sources[pair]
        percentiles = FIXED_PERCENTILES if isinstance(self.choices.normalize, str) else None
        return {
            "pair": pair,
            "frame": frame,
            "start": self._start(source, frame, rng),
            "orientation": source.orientations[0],
            "percentiles": percentiles,
        }

    def _start(self, source: _Source, frame: int, rng: np.random.Generator) -> tuple[int, ...]:
        starts, share = source.starts[frame], self.choices.foreground_share
        if share < 1 and rng.random() >= share:
            starts = sampling.everywhere(starts.size, starts.shape)
        return starts.draw(rng)

    def _order(self, seed: int, turn: int) -> NDArray[np.int64]:
        """The order in which frames are used in one `turn`; kept for the next patch."""
        order = self._orders.get((seed, turn))
        if order is None:
            order = np.random.default_rng((seed, turn, 2)).permutation(len(self._frames))
            if len(self._orders) >= 16:
                self._orders.clear()
            self._orders[seed, turn] = order
        return order

    # Apply

    def cut(self, drawn: Drawn) -> tuple[Array, Array]:
        """The patch (low, high) that was drawn."""
        low = np.empty((self.channels_in, *self.low_shape), dtype=np.float32)
        high = np.empty((self.channels_out, *self.shape), dtype=np.float32)
        self._cut_into(drawn, low, high)
        return low, high

    def _cut_into(self, drawn: Drawn, low: Array, high: Array) -> None:
        source = self._sources[drawn["pair"]]
        spans = tuple(slice(first, first + size) for first, size in zip(drawn["start"], self.shape, strict=True))
        for number, (image, table, out) in enumerate(
            ((source.low, source.low_table, low), (source.high, source.high_table, high))
        ):
            whole = (slice(0, self.depth),) if self.depth and number == 0 else ()
            crop = self._read(image, (drawn["pair"], number), drawn["frame"], (*whole, *spans))
            zero, one = self._range(number, table, drawn["percentiles"])
            _normalized_into(out, augment.apply(crop, self.axes_out, drawn["orientation"]), zero, one)

    def _read(self, image: Image, key: tuple[int, int], frame: int, spans: tuple[slice, ...]) -> NDArray[Any]:
        sample, time = divmod(frame, image.shape[1])
        crop: NDArray[Any]
        if image.is_lazy:
            region = (slice(sample, sample + 1), slice(time, time + 1), slice(0, image.shape[2]), *spans)
            crop = self._cache.read(image, key, region)[0, 0]
        else:
            crop = image.array[(sample, time, slice(None), *spans)]
        return crop

    def _range(
        self, number: int, table: NDArray[np.float64], percentiles: tuple[float, float] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Per channel the intensities that become 0 and 1, for the low (`number` 0) or high (1) image."""
        if percentiles is None:
            given = self.choices.normalize
            assert not isinstance(given, str)
            return np.array(given[number].low), np.array(given[number].high)
        values = np.array([np.interp(percentiles, _TABLE, row) for row in table])
        return values[:, 0], values[:, 1]

    # Use

    def training(self, index: int, seed: int) -> tuple[Array, Array]:
        """Training patch `index` of an endless supply: (low, high), each float32 (C, *shape)."""
        return self.cut(self.drawn(index, seed))

    def checking(self, index: int) -> tuple[Array, Array]:
        """Checking patch `index`: always the same, neither flipped nor turned, normalised as at restoration."""
        return self.cut(self.drawn_check(index))

    def plain(self, index: int, seed: int) -> tuple[Array, Array]:
        """As `training`, neither flipped nor turned."""
        drawn = self.drawn(index, seed)
        drawn["orientation"] = self._sources[drawn["pair"]].orientations[0]
        return self.cut(drawn)

    def batch(self, indices: Sequence[int], seed: int) -> tuple[Array, Array]:
        """Training patches stacked: (low, high), each float32 (B, C, *shape)."""
        return self._stack([self.drawn(index, seed) for index in indices])

    def check_batch(self, indices: Sequence[int]) -> tuple[Array, Array]:
        """Checking patches stacked: (low, high), each float32 (B, C, *shape)."""
        return self._stack([self.drawn_check(index) for index in indices])

    def _stack(self, drawn: Sequence[Drawn]) -> tuple[Array, Array]:
        low = np.empty((len(drawn), self.channels_in, *self.low_shape), dtype=np.float32)
        high = np.empty((len(drawn), self.channels_out, *self.shape), dtype=np.float32)
        for number, one in enumerate(drawn):
            self._cut_into(one, low[number], high[number])
        return low, high

    def fields(self) -> list[Field]:
        """Every frame of every pair as a whole, normalised by the percentiles that restoring uses."""
        return [self._field(pair, frame) for pair, frame in self._frames]

    def _field(self, pair: int, frame: int) -> Field:
        source = self._sources[pair]
        percentiles = FIXED_PERCENTILES if isinstance(self.choices.normalize, str) else None
        whole = (slice(0, self.depth),) if self.depth else ()

        def normalized(number: int, span: Span) -> Array:
            image, table = ((source.low, source.low_table), (source.high, source.high_table))[number]
            crop = self._read(image, (pair, number), frame, (*whole, *span) if number == 0 else span)
            out = np.empty(crop.shape, np.float32)
            _normalized_into(out, crop, *self._range(number, table, percentiles))
            return out

        alike = isinstance(self.choices.normalize, str) and self.choices.normalize != "shared"

        def read(span: Span) -> tuple[Array, Array]:
            return normalized(0, span), normalized(1, span)

        return Field(source.high.shape[3:], read, self.depth or 1, alike)

    # Tell

    def summary(self) -> dict[str, Any]:
        """What a model should remember of its training images, ready for JSON; reads all images once.

        "low" and "high": percentiles over all pixels of all images, {"2.0": [one per channel], ...}, minimum, maximum.
        """
        first = self._sources[0].low
        voxels = [first.voxel(letter) for letter in self.axes]
        given = self.choices.normalize
        return {
            "low": _facts([source.low for source in self._sources]),
            "high": _facts([source.high for source in self._sources]),
            "voxel_size": None if None in voxels else voxels,
            "time_step": first.time_step,
            "training": {
                "pairs": len(self._sources),
                "frames": len(self._frames),
                "names": [source.name for source in self._sources],
                "axes": self.axes,
                "shape": list(self.shape),
                **({"depth": self.depth} if self.depth else {}),
                "channels_in": self.channels_in,
                "channels_out": self.channels_out,
                "per_image": self.choices.per_image,
                "seed": self.choices.seed,
                "foreground": self.choices.foreground,
                "foreground_share": self.choices.foreground_share,
                "normalize": given if isinstance(given, str) else [one.to_json() for one in given],
            },
        }


def _normalized_into(out: Array, crop: NDArray[Any], zero: NDArray[np.float64], one: NDArray[np.float64]) -> None:
    """Write (crop - zero) / (one - zero), per channel, as float32; whole numbers of 32 bit keep their precision."""
    exact = crop.dtype.itemsize <= 2 or crop.dtype == np.float32
    for channel, (bottom, top) in enumerate(zip(zero, one, strict=True)):
        target = out[channel]
        if exact:
            np.subtract(crop[channel], np.float32(bottom), out=target, dtype=np.float32)
        else:
            target[...] = crop[channel] - bottom
        target *= np.float32(1 / (top - bottom))


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    if len(sizes) not in (2, 3) or not all(isinstance(size, int | np.integer) and size > 0 for size in sizes):
        raise DataError(
            f"The shape of a patch is two (Y, X) or three (Z, Y, X) positive whole numbers of voxels, not {shape}. "
            f"For example (128, 128) or (16, 64, 64)."
        )
    return tuple(int(size) for size in sizes)


def _depth(pairs: Sequence[Pair]) -> int:
    """How many planes the stacks have that are to be projected; 0 where nothing is."""
    stacks = [pair for pair in pairs if pair.projects]
    if not stacks:
        return 0
    if len(stacks) < len(pairs):
        other = next(pair for pair in pairs if not pair.projects)
        raise DataError(
            f"In pair '{stacks[0].name}' high is a single plane for a stack, in '{other.name}' it is not. "
            f"A network learns one of both; leave the others out."
        )
    depths = {pair.low.size("Z"): pair.name for pair in reversed(stacks)}
    if len(depths) > 1:
        named = ", ".join(f"{depth} in '{name}'" for depth, name in sorted(depths.items()))
        raise DataError(
            f"Stacks that are projected are taken whole along Z, so all must have as many planes to be learned from "
            f"together, but there are {named}. Crop or pad them along Z; the network will restore any depth."
        )
    return next(iter(depths))


def _moved(pair: Pair, axes_low: str, axes_high: str, shape: tuple[int, ...]) -> tuple[Image, Image]:
    """Low and high in axes S T C [Z] Y X, lazily, once they are known to fit each other and the patch."""
    moved = []
    for image, what, axes in ((pair.low, "low", axes_low), (pair.high, "high", axes_high)):
        name = _name(image, pair)
        if len(axes) == 3 and "Z" not in image.axes:
            raise AxesError(
                f"{name} ({what}) has the axes {image.axes}, but patches of {_text(shape)} need Z, Y and X. "
                f"Give a shape of two numbers (Y, X), or the right axes."
            )
        if len(axes) == 2 and image.size("Z") > 1:
            raise AxesError(
                f"{name} ({what}) has the axes {image.axes} with {image.size('Z')} planes in Z, but patches of "
                f"{_text(shape)} have only Y and X. Give a shape of three numbers (Z, Y, X)."
            )
        target = image.moved("STC" + axes)
        space = target.shape[-len(shape) :]
        small = [
            f"{letter} {have} < {want}"
            for letter, have, want in zip(axes_high, space, shape, strict=True)
            if have < want
        ]
        if small:
            raise DataError(
                f"{name} ({what}) is {_text(target.shape[3:])} ({axes}), smaller than a patch of {_text(shape)}: "
                f"{', '.join(small)}. Use patches of at most {_text(np.minimum(space, shape))}, "
                f"or leave this image out."
            )
        moved.append(target)
    low, high = moved
    if low.shape[:2] + low.shape[-len(shape) :] != high.shape[:2] + high.shape[3:]:
        raise DataError(
            f"Pair '{pair.name}': low is {_text(pair.low.shape)} ({pair.low.axes}), but high is "
            f"{_text(pair.high.shape)} ({pair.high.axes}). Both must show the same voxels; crop or register them first."
        )
    return low, high


def _same_channels(pairs: Sequence[Pair]) -> tuple[int, int]:
    first = pairs[0].low.size("C"), pairs[0].high.size("C")
    for pair in pairs:
        here = pair.low.size("C"), pair.high.size("C")
        if here != first:
            raise DataError(
                f"Pair '{pair.name}' has {here[0]} channels in low and {here[1]} in high, but '{pairs[0].name}' has "
                f"{first[0]} and {first[1]}. A network is trained with one number of channels; pick the same for all."
            )
    return first


def _check_normalize(given: Normalize, channels: tuple[int, int], projects: bool) -> None:
    choices = "normalize is 'random', 'fixed', 'matched', 'shared' or a pair (low, high) of Normalizations"
    if isinstance(given, str):
        if given not in ("random", "fixed", "matched", "shared"):
            raise DataError(f"{choices}, not '{given}'.")
        if given == "matched" and projects:
            raise DataError(
                "normalize='matched' compares low and high pixel by pixel, but low is a stack and high a plane. "
                "Use 'random' or 'fixed'."
            )
        if given in ("matched", "shared") and channels[0] != channels[1]:
            raise DataError(
                f"normalize='{given}' compares low and high channel by channel, but there are {channels[0]} and "
                f"{channels[1]}. Use 'random' or 'fixed'."
            )
        return
    if not (isinstance(given, tuple) and len(given) == 2 and all(isinstance(n, norm.Normalization) for n in given)):
        raise DataError(f"{choices}, not {given!r}.")
    for what, one, wanted in zip(("low", "high"), given, channels, strict=True):
        if len(one.low) != wanted:
            raise DataError(
                f"The normalisation for {what} is for {len(one.low)} channels, but the {what} images have {wanted}."
            )


def _table(image: Image, name: str, by_percentile: bool, empty: list[str]) -> NDArray[np.float64]:
    """Percentiles of the whole image (all frames) at _TABLE, per channel: (C, len(_TABLE)); read piece by piece.

    An image that is nearly empty has two values only, and is added to those that are `empty`.
    """
    try:
        table = np.asarray(norm.percentiles(lambda: _blocks(image), _TABLE.tolist()), dtype=np.float64)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    bottom, top = table[:, np.searchsorted(_TABLE, 3.0)], table[:, np.searchsorted(_TABLE, 99.5)]
    for channel in np.flatnonzero(top <= bottom):
        where = f", channel {channel}" if len(table) > 1 else ""
        if table[channel, 0] == table[channel, -1]:
            raise DataError(f"{name}{where} is constant: every pixel is {table[channel, 0]:g}. Leave this image out.")
        if by_percentile:  # few spots on an empty background: as `normalize.fit` does when restoring
            least, most = norm.widened(np.array([np.interp(sum(norm.WIDER, ()), _TABLE, table[channel])]))[0]
            table[channel] = np.where(_TABLE < 50, least, most)
            empty.append(f"{name}{where}")
    return table


def _blocks(image: Image) -> Iterator[NDArray[Any]]:
    return image.blocks("C" + image.axes.replace("C", ""))


def _starts(
    high: Image,
    frame: int,
    shape: tuple[int, ...],
    table: NDArray[np.float64],
    choices: Choices,
    most_cells: int,
) -> sampling.Starts:
    """Where patches of a frame may start; none, when the frame has no foreground."""
    if choices.foreground is None or choices.foreground_share == 0:
        return sampling.everywhere(high.shape[3:], shape)
    threshold = choices.foreground * table[:, np.searchsorted(_TABLE, FOREGROUND_PERCENTILE)]
    chunks = high.chunks[3:] if high.chunks is not None else None
    sample, time = divmod(frame, high.shape[1])

    def read(spans: tuple[slice, ...]) -> NDArray[Any]:
        return high.read(sample, time, slice(None), *spans)

    return sampling.on_foreground(read, high.shape[3:], shape, threshold.tolist(), most_cells, chunks)


def _facts(images: list[Image]) -> dict[str, Any]:
    """Minimum, maximum and percentiles per channel over all pixels of all images."""
    common = np.result_type(*[image.dtype for image in images])

    def blocks() -> Iterator[NDArray[Any]]:
        for image in images:
            for block in _blocks(image):
                yield block.astype(common, copy=False)

    return percentile_facts(blocks)


def percentile_facts(blocks: Callable[[], Iterator[NDArray[Any]]]) -> dict[str, Any]:
    """{"percentiles": {"2.0": [one per channel], ...}, "minimum": [...], "maximum": [...]} of blocks (C, ...)."""
    wanted = [0.0, *SUMMARY_PERCENTILES, 100.0]
    table = np.asarray(norm.percentiles(blocks, wanted), dtype=np.float64)
    return {
        "percentiles": {str(p): table[:, at].tolist() for at, p in enumerate(wanted) if 0 < p < 100},
        "minimum": table[:, 0].tolist(),
        "maximum": table[:, -1].tolist(),
    }


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _name(image: Image, pair: Pair) -> str:
    return f"'{image.name or pair.name}'"


def _text(shape: Sequence[int] | NDArray[Any]) -> str:
    return " x ".join(str(size) for size in shape)
