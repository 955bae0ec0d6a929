"""Restore an image in memory: take it apart, run the networks, put the answers together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DeviceError
from veriscope.images.image import Image
from veriscope.networks.model import Ensemble
from veriscope.restoring import devices
from veriscope.restoring.frames import Number, frames
from veriscope.restoring.memory import text
from veriscope.restoring.plan import Memory, Pixels, plan_frames
from veriscope.restoring.restoration import Restoration
from veriscope.restoring.running import Answers, Block, Networks, run
from veriscope.restoring.scaling import Choice, from_units, normalizer, restorer, scale_factors, to_units
from veriscope.tiling import Span

__all__ = ["Restoration", "restore"]

Progress = Callable[[int, int], object]  # voxels done, voxels in all


def restore(
    image: Image,
    model: Ensemble,
    tile: Pixels = None,
    memory: Memory = None,
    device: str | None = None,
    normalize: Choice = "image",
    undo: bool = True,
    progress: Progress | None = None,
    *,
    channel: int | None = None,
    planes: bool = False,
    calibrated: bool = False,
) -> Restoration:
    """Restore `image`, of any size, with all members of `model`; the answer is held in memory.

    Time points and samples are restored one by one; the result has the axes of the image, and C where the model makes
    several channels. Work goes in tiles that give what the whole image would. The tile follows from `memory` ("4GB", or
    bytes, beyond what the program holds already; half of what is free when not given) or is at most `tile` pixels.
    `device`: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU if there is one.

    `normalize`: percentiles 2 and 99.8 of the whole "image" (all time points together), of every "frame", of the
    images the "model" was trained on, or a Normalization. `undo` takes the result back to the grey values of the
    input, or of the truth when the model changes the number of channels. `channel` picks a channel of the image,
    `planes` restores a stack plane by plane with a model for planes. `calibrated` multiplies the predicted scales by
    the factor that made them right on the images kept aside in training.

    Raises ModelError (other axes or channels than trained for), DataError (NaN, constant image, senseless settings),
    DeviceError (device absent, memory too small).

    >>> restored = restore(read_image("new.tif"), load("mito.veriscope"))  # doctest: +SKIP
    >>> save_image("restored.ome.tif", restored.mean)  # doctest: +SKIP
    """
    where = devices.choose(device)
    parts = frames(image, model.recipe, channel, planes)
    channels = model.recipe.channels_out
    work = (len(model), *parts.counts, channels, *parts.shape)
    _check_room(4 * prod(work) * (2 if model.recipe.probabilistic else 1))
    planned = plan_frames(parts, model, tile, memory, where)
    normalization = normalizer(parts, model, normalize)
    back = restorer(parts, model, normalization, undo)
    factors = scale_factors(model, calibrated)
    means = np.empty(work, np.float32)
    scales = np.empty(work, np.float32) if model.recipe.probabilistic else None

    def prepare(number: Number, block: NDArray[Any]) -> Block:
        return to_units(normalization(number), block)

    def into(number: Number, core: Span) -> Answers:
        place: tuple[Any, ...] = (slice(None), *number, slice(None), *core)
        return means[place], None if scales is None else scales[place]

    done = 0
    with closing(run(parts, Networks(model, where, factors), planned, prepare, into)) as finished:
        for number, core, answers in finished:
            from_units(back(number), *answers)
            done += prod(s.stop - s.start for s in core)
            if progress is not None:
                progress(done, parts.voxels)

    order = parts.to_result(channels)
    shown = parts.source.with_array(_Empty(parts.result_shape(channels)), parts.result_axes(channels))
    return Restoration(
        _arranged(means, order),
        None if scales is None else _arranged(scales, order),
        shown.axes,
        shown.voxel_size,
        shown.time_step,
        shown.name,
    )


def _arranged(values: Block, order: Sequence[int]) -> Block:
    """Members' answers (M, outer axes, C, space) as a view with the axes of the result behind M."""
    lost = [axis for axis in range(values.ndim - 1) if axis not in order]  # C, of size 1
    moved = values.transpose([0, *(axis + 1 for axis in order), *(axis + 1 for axis in lost)])
    kept: tuple[Any, ...] = (..., *(0 for _ in lost))
    return np.asarray(moved[kept])


class _Empty:
    """Stands for pixels where only their arrangement matters."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(np.float32)

    def __getitem__(self, index: Any) -> Any:
        raise IndexError("there are no pixels here")


def _check_room(size: int) -> None:
    free = devices.free_memory(devices.choose("cpu"))
    if size > free:
        raise DeviceError(
            f"The predictions of all members for this image take {text(size)}, but {text(free)} of memory are free. "
            f"Restore it to a file (restore_to_file, veriscope restore), in parts, or with fewer members."
        )
