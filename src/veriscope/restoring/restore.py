"""Restore an image: in memory, or when its pixels are read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from math import prod
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from veriscope import wording
from veriscope.errors import DeviceError, warn
from veriscope.images.image import Image
from veriscope.networks import devices
from veriscope.networks.model import Ensemble
from veriscope.restoring.frames import Number
from veriscope.restoring.ondemand import OnDemand
from veriscope.restoring.outputs import BY_NAME
from veriscope.restoring.plan import Memory, Pixels
from veriscope.restoring.prepared import Prepared, prepare
from veriscope.restoring.restoration import Restoration
from veriscope.restoring.running import Answers
from veriscope.restoring.scaling import Choice
from veriscope.restoring.settings import Details, Progress, Settings
from veriscope.restoring.settling import Trust
from veriscope.stores import PathLike
from veriscope.tiling import Span

Room = Callable[[tuple[int, ...], Any], NDArray[Any]]  # an empty array of this shape and type

__all__ = ["Restoration", "restore", "restore_to_explore"]

SAMPLED = 8  # tiles that are looked at, at most, to say how far to trust what is computed lazily
KEPT = 0.25  # of the memory for the networks may be taken by tiles that were computed lazily, beside it


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
    lazy: bool | None = None,
    **details: Unpack[Details],
) -> Restoration:
    """Restore `image`, of any size, with all members of `model`.

    Time points and samples are restored one by one; the result has the axes of the image, and C where the model makes
    several channels. Networks that project a stack give the surface in it, without Z, and its `height`. Work goes in
    tiles that give what the whole image would. The tile follows from `memory` ("4GB", or bytes, beyond what the program
    holds already; half of what is free when not given) or is at most `tile` pixels.
    `device`: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU if there is one.

    `normalize`: percentiles 2 and 99.8 of the whole "image" (all time points together), of every "frame", of the
    images the "model" was trained on, or a Normalization. `undo` takes the result back to the grey values of the
    input, or of the truth when the model projects or changes the number of channels. `channel` (None: all) picks a
    channel of the image, `planes` (False) restores a stack plane by plane with a model for planes. `calibrated` (True)
    corrects the predicted distributions by what was measured on images kept aside in training, where the model knows
    that; without it they are what the networks predict. The restored image is the same.

    `precision` "auto" is float32, by OpenVINO where that is installed, faster on this processor and agrees with PyTorch
    to 1e-5 of the range; "float32" is PyTorch alone. "fast" takes bfloat16 where that is faster and stays within 0.2 %
    of the range of float32 on a piece of the first tile (root mean square); "bfloat16" takes that in any case.

    `combine` "csbdeep" treats borders, interpolates, joins both directions of isotropic restoring and returns to grey
    values as csbdeep does, "mixture" as this package does; None as the model says, which is "csbdeep" for models
    that came from there.

    The predictions of all members are held in memory (`lazy` False), or computed when they are read (True); None does
    the latter where they do not fit. Lazily nothing is computed here: every image made of the answer runs the networks
    on the tiles that are read of it, once for each tile when it is saved, and `progress` hears nothing. The last tiles
    are kept, in up to a quarter of the memory. `restore_to_file` writes several images in one pass.

    The result says without ground truth which error is `expected`, and by its `verdict` whether the image is like those
    of the training, with a VeriscopeWarning where that is in doubt. Lazily both come from some tiles, when they are
    asked for.

    Raises ModelError (other axes or channels than trained for), DataError (NaN, constant image, senseless settings),
    DeviceError (device absent, memory too small); what is wrong with pixels is found when they are read.

    >>> restored = restore(read_image("new.tif"), load("mito.veriscope"))  # doctest: +SKIP
    >>> save_image("restored.ome.tif", restored.mean)  # doctest: +SKIP
    """
    settings: Settings = {
        "tile": tile, "memory": memory, "device": device, "normalize": normalize, "undo": undo, **details
    }  # fmt: skip
    prepared = prepare(image, model, **settings)
    free = devices.free_memory(devices.choose("cpu"))
    if lazy is False and prepared.nbytes > free:
        raise DeviceError(
            f"The predictions of all members for this image take {wording.size(prepared.nbytes)}, but "
            f"{wording.size(free)} of memory are free. Remove "
            f"lazy=False, or restore it to a file (restore_to_file, veriscope restore), or in parts."
        )
    beside = prepared.plan.memory if prepared.device.type == "cpu" else 0
    if lazy or (lazy is None and prepared.nbytes + beside > free):
        return _when_read(prepared, int(KEPT * min(prepared.plan.allowed, free)))
    restored = _at_once(prepared, progress)
    _say(restored)
    return restored


def restore_to_explore(
    image: Image,
    model: Ensemble,
    folder: PathLike | None = None,
    progress: Progress | None = None,
    **settings: Unpack[Settings],
) -> Restoration:
    """As `restore`, with all that can be asked for later at hand: nothing runs the networks again, but for `height`.

    The predictions of all members are kept, and the trust mask of models that know their training images: in memory, or
    in files in the existing `folder`, of the size `Prepared.nbytes`, which may go when the restoration does.
    """
    knows = model.facts.familiar is not None
    prepared = prepare(image, model, [BY_NAME["trust_mask"]] * knows, **settings)
    restored = _at_once(prepared, progress, np.empty if folder is None else _files(Path(folder)), knows)
    _say(restored)
    return restored


def _files(folder: Path) -> Room:
    numbers = itertools.count()
    return lambda shape, dtype: np.memmap(folder / f"{next(numbers)}.raw", dtype, "w+", shape=shape)


def _say(restored: Restoration) -> None:
    """Warn where the image is not like those of the training."""
    found = restored.verdict
    if found is not None and (found.level or found.warnings):
        warn(f"{restored.name or 'The image'}: {found}")


def _when_read(prepared: Prepared, room: int) -> Restoration:
    source = OnDemand(prepared, room)

    def judged() -> Trust:
        source.see_some(SAMPLED)
        return prepared.trust()

    return _of_image(prepared, *source.predictions(), room, judged=judged)


def _at_once(
    prepared: Prepared, progress: Progress | None, room: Room = np.empty, masking: bool = False
) -> Restoration:
    parts, shape = prepared.parts, prepared.shape
    means = room(shape, np.float32)
    scales = room(shape, np.float32) if prepared.probabilistic else None
    widening, mask = None, room(shape[1:], np.uint8) if masking else None

    def into(number: Number, core: Span) -> Answers:
        place: tuple[Any, ...] = (slice(None), *number, slice(None), *core)
        return means[place], None if scales is None else scales[place]

    done = 0
    with closing(prepared.tiles(into=into)) as tiles:
        for number, core, _, wider in tiles:
            inside: Any = (*number, slice(None), *core)
            if wider is not None:
                widening = room(shape[1:], np.float32) if widening is None else widening
                widening[inside] = wider
            if mask is not None and prepared.watcher is not None:
                mask[inside] = prepared.watcher.mask
            done += prod(part.stop - part.start for part in core)
            if progress is not None:
                progress(done, parts.voxels)
    found = prepared.trust()

    def arranged(values: Any) -> Any:
        return None if values is None else parts.arranged(values, prepared.channels)

    wide, trusted = (None if one is None else arranged(one[None])[0] for one in (widening, mask))
    kept = 8 * shape[0] * parts.voxels
    return _of_image(
        prepared, arranged(means), arranged(scales), kept, widening=wide, mask=trusted, judged=lambda: found
    )


def _of_image(prepared: Prepared, means: Any, scales: Any, room: int, **more: Any) -> Restoration:
    """Predictions (M, *axes) with all that is known of their image, and `more`; heights may take `room` bytes."""
    shown = prepared.parts.outline(prepared.channels)
    projects = prepared.model.recipe.projects
    return Restoration(
        means, scales, shown.axes, shown.voxel_size, shown.time_step, shown.name, carried=shown.carried,
        distribution=prepared.distribution,
        surface=(lambda: OnDemand(prepared.surface(), room)) if projects else None, **more,
    )  # fmt: skip
