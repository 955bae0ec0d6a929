"""Training patches, cut from pairs of images on the fly: drawn, then applied.

What is drawn for a patch (image, position, orientation, percentiles) is a small dict; cutting is a plain function of
it. So every patch can be made again, and no image has to be in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.cache import ChunkCache
from veriscope.images.image import Image
from veriscope.patches import augment, sampling
from veriscope.patches.scaling import Ends, Scaling, percentile_facts
from veriscope.tiling import Span
from veriscope.wording import lengths

Array = NDArray[np.float32]


class Drawn(TypedDict):
    """What makes a patch: number of the pair and of the frame in it, first corner, orientation, two percentiles."""

    pair: int
    frame: int
    start: tuple[int, ...]
    orientation: augment.Orientation
    percentiles: tuple[float, float] | None


@dataclass(frozen=True)
class Choices:
    """What the user chose, as in `cut_patches`."""

    per_image: int
    seed: int
    foreground: float | None
    foreground_share: float
    normalize: Scaling

    def __post_init__(self) -> None:
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
class Prepared:
    """A pair, ready to be cut: low and high in axes S T C [Z] Y X, what becomes 0 and 1 in each, starts by frame."""

    name: str
    images: tuple[Image, Image]
    ends: tuple[Ends, ...]
    starts: tuple[sampling.Starts, ...]
    orientations: augment.Orientations


@dataclass(frozen=True, eq=False)
class Field:
    """One time point of a pair as restoring sees it: `read(span)` gives low (C, ..., Y, X) and high (C, *shape) of a
    part of `shape`.

    Both float32, normalised as at restoration. `alike`: restored images are normalised like this, and look like this;
    not so planes that stand for slices of a stack, nor patches that came without their image.
    """

    shape: tuple[int, ...]
    read: Callable[[Span], tuple[Array, Array]]
    depth: int = 1  # planes of low for each of high
    alike: bool = True
    noisy: bool = False  # high too, with noise of its own or as low itself


@dataclass(frozen=True, eq=False)
class Section:
    """An axial section of a stack as networks are given it at restoration, (C, Z, lateral): nobody knows its truth.

    `crossings`: its columns that sections along the other axis have too, and where these are (stack, Y, X).
    """

    image: Array
    crossings: dict[int, tuple[int, int, int]]


class Supply:
    """An endless supply of patches (low, high), float32 (C, *shape): what makes one is drawn, then it is cut."""

    axes: str  # of low; high may lack Z
    axes_out: str
    low_shape: tuple[int, ...]
    shape: tuple[int, ...]
    channels_in: int
    channels_out: int
    sections: Callable[[], Iterator[Section]] | None = None  # where stacks are restored by axial sections

    def drawn(self, index: int, seed: int) -> Any:
        """What makes training patch `index` (any number from 0): a plain dict, a pure function of index and seed."""
        raise NotImplementedError

    def drawn_check(self, index: int) -> Any:
        """What makes checking patch `index`: always the same, neither flipped nor turned, as at restoration."""
        raise NotImplementedError

    def cut(self, drawn: Any) -> tuple[Array, Array]:
        """The patch (low, high) that was drawn."""
        raise NotImplementedError

    def training(self, index: int, seed: int) -> tuple[Array, Array]:
        """Training patch `index`: (low, high)."""
        return self.cut(self.drawn(index, seed))

    def checking(self, index: int) -> tuple[Array, Array]:
        """Checking patch `index`: (low, high)."""
        return self.cut(self.drawn_check(index))

    def plain(self, index: int, seed: int) -> tuple[Array, Array]:
        """As `training`, neither flipped nor turned."""
        return self.cut({**self.drawn(index, seed), "orientation": augment.AS_IT_IS})

    def batch(self, indices: Iterable[int], seed: int) -> tuple[Array, Array]:
        """Training patches stacked: (low, high), each float32 (B, C, *shape)."""
        return _stacked(self.training(index, seed) for index in indices)

    def check_batch(self, indices: Iterable[int]) -> tuple[Array, Array]:
        """Checking patches stacked: (low, high), each float32 (B, C, *shape)."""
        return _stacked(self.checking(index) for index in indices)

    def _called(self) -> str:
        flat = "" if self.axes == self.axes_out else f" to {lengths(self.shape)}"
        return f"{lengths(self.low_shape)} ({self.axes}){flat}"

    def _remembered(self, pairs: int, frames: int, names: list[str], **choices: Any) -> dict[str, Any]:
        """What a model remembers of its patches beside their intensities."""
        depth = {"depth": self.low_shape[0]} if self.axes != self.axes_out else {}
        known = {"pairs": pairs, "frames": frames, "names": names, "axes": self.axes, "shape": list(self.shape)}
        return {**known, **depth, "channels_in": self.channels_in, "channels_out": self.channels_out, **choices}


def _stacked(patches: Iterable[tuple[Array, Array]]) -> tuple[Array, Array]:
    low, high = zip(*patches, strict=True)
    return np.stack(low), np.stack(high)


class Patches(Supply):
    """Pairs of patches (low, high), float32 (C, *shape), cut when asked for. Made by `cut_patches`.

    With a `depth` low has so many planes before `shape`, whose projection is high.
    """

    def __init__(
        self,
        pairs: tuple[Prepared, ...],
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
        self._pairs = pairs
        self._frames = [(number, frame) for number, pair in enumerate(pairs) for frame in range(len(pair.starts))]
        self._cache = cache

    def __len__(self) -> int:
        """Patches in one epoch: `per_image` from each frame."""
        return self.choices.per_image * len(self._frames)

    def __repr__(self) -> str:
        return f"<Patches: {len(self)} of {self._called()} from {len(self._pairs)} pairs>"

    # Draw

    def drawn(self, index: int, seed: int) -> Drawn:
        """As of any supply; every run of as many patches as there are frames uses each once, in random order."""
        order = _order(seed, index // len(self._frames), len(self._frames))
        number = int(order[index % len(self._frames)])
        return self._drawn(number, np.random.default_rng((seed, index)), training=True)

    def drawn_check(self, index: int) -> Drawn:
        """What makes checking patch `index`: frames in turn, positions fixed, percentiles (2, 99.8)."""
        rng = np.random.default_rng((self.choices.seed, index, 1))
        return self._drawn(index % len(self._frames), rng, training=False)

    def _drawn(self, number: int, rng: np.random.Generator, training: bool) -> Drawn:
        """From frame `number`, counted over all pairs."""
        pair, frame = self._frames[number]
        prepared, normalize = self._pairs[pair], self.choices.normalize
        return {
            "pair": pair,
            "frame": frame,
            "start": self._start(prepared, frame, rng),
            "orientation": prepared.orientations.draw(rng) if training else augment.AS_IT_IS,
            "percentiles": normalize.draw(rng) if training else normalize.usual,
        }

    def _start(self, prepared: Prepared, frame: int, rng: np.random.Generator) -> tuple[int, ...]:
        starts, fraction = prepared.starts[frame], self.choices.foreground_share
        if fraction < 1 and rng.random() >= fraction:
            starts = sampling.everywhere(starts.size, starts.shape)
        return starts.draw(rng)

    # Apply

    def cut(self, drawn: Drawn) -> tuple[Array, Array]:
        low = np.empty((self.channels_in, *self.low_shape), dtype=np.float32)
        high = np.empty((self.channels_out, *self.shape), dtype=np.float32)
        prepared = self._pairs[drawn["pair"]]
        spans = tuple(slice(first, first + size) for first, size in zip(drawn["start"], self.shape, strict=True))
        for number, out in enumerate((low, high)):
            crop = self._read(drawn["pair"], number, drawn["frame"], spans)
            zero, one = prepared.ends[number](drawn["percentiles"])
            _normalized_into(out, augment.apply(crop, self.axes_out, drawn["orientation"]), zero, one)
        return low, high

    def _read(self, pair: int, number: int, frame: int, spans: Span) -> NDArray[Any]:
        """Part of the low (`number` 0) or high (1) image, (C, ...); of a stack to project all planes."""
        image = self._pairs[pair].images[number]
        sample, time = divmod(frame, image.shape[1])
        whole = (slice(0, self.depth),) if self.depth and number == 0 else ()
        crop: NDArray[Any]
        if image.is_lazy:
            region = (slice(sample, sample + 1), slice(time, time + 1), slice(0, image.shape[2]), *whole, *spans)
            crop = self._cache.read(image, (pair, number), region)[0, 0]
        else:
            crop = image.array[(sample, time, slice(None), *whole, *spans)]
        return crop

    def fields(self) -> list[Field]:
        """Every frame of every pair as a whole, normalised by the percentiles that restoring uses."""
        return [self._field(pair, frame) for pair, frame in self._frames]

    def _field(self, pair: int, frame: int) -> Field:
        prepared, scaling = self._pairs[pair], self.choices.normalize

        def normalized(number: int, span: Span) -> Array:
            crop = self._read(pair, number, frame, span)
            out = np.empty(crop.shape, np.float32)
            _normalized_into(out, crop, *prepared.ends[number](scaling.usual))
            return out

        whole = prepared.images[1].shape[3:]
        return Field(whole, lambda span: (normalized(0, span), normalized(1, span)), self.depth or 1, scaling.alike)

    # Remember

    def summary(self) -> dict[str, Any]:
        """What a model should remember of its training images, ready for JSON; reads all images once.

        "low" and "high": percentiles over all pixels of all images, {"2.0": [one per channel], ...}, minimum, maximum.
        """
        first = self._pairs[0].images[0]
        voxels = [first.voxel(letter) for letter in self.axes]
        names = [pair.name for pair in self._pairs]
        choices = {**vars(self.choices), "normalize": self.choices.normalize.to_json()}
        return {
            "low": _facts([pair.images[0] for pair in self._pairs]),
            "high": _facts([pair.images[1] for pair in self._pairs]),
            "voxel_size": None if None in voxels else voxels,
            "time_step": first.time_step,
            "training": self._remembered(len(self._pairs), len(self._frames), names, **choices),
        }


@lru_cache(maxsize=16)
def _order(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    """The order in which `count` frames are used in one `turn`."""
    return np.random.default_rng((seed, turn, 2)).permutation(count)


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


def _facts(images: list[Image]) -> dict[str, Any]:
    """Minimum, maximum and percentiles per channel over all pixels of all images."""
    common = np.result_type(*[image.dtype for image in images])

    def pieces() -> Iterator[NDArray[Any]]:
        for image in images:
            for block in image.blocks_with_contrast():
                yield block.astype(common, copy=False)

    return percentile_facts(pieces)
