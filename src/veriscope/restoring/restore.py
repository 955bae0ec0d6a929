"""Restore an image: take it apart, run the networks, put the answers together; in memory, or when they are read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DeviceError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.networks.folder import trusted
from veriscope.networks.model import Ensemble
from veriscope.restoring import devices
from veriscope.restoring.frames import Frames, Number, frames
from veriscope.restoring.heights import finders
from veriscope.restoring.isotropic import in_space
from veriscope.restoring.memory import text
from veriscope.restoring.ondemand import Computed, OnDemand
from veriscope.restoring.plan import Memory, Pixels, Plan, plan_frames
from veriscope.restoring.restoration import Restoration
from veriscope.restoring.running import Answers, Block, Networks, run
from veriscope.restoring.scaling import Choice, normalizer, restorer, to_units
from veriscope.restoring.settling import Settling, Trust, stored_calibration
from veriscope.restoring.watching import warnings_about, watcher
from veriscope.tiling import Span

__all__ = ["Restoration", "restore"]

SAMPLED = 8  # tiles that are looked at, at most, to say how far to trust what is computed lazily
KEPT = 0.25  # of the memory for the networks may be taken by tiles that were computed lazily, beside it
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
    calibrated: bool = True,
    lazy: bool | None = None,
    combine: str | None = None,
) -> Restoration:
    """Restore `image`, of any size, with all members of `model`.

    Time points and samples are restored one by one; the result has the axes of the image, and C where the model makes
    several channels. Networks that project a stack give the surface in it, without Z, and its `height`. Work goes in
    tiles that give what the whole image would. The tile follows from `memory` ("4GB", or bytes, beyond what the program
    holds already; half of what is free when not given) or is at most `tile` pixels.
    `device`: "cpu", "cuda", "cuda:1", "mps"; None takes a GPU if there is one.

    `normalize`: percentiles 2 and 99.8 of the whole "image" (all time points together), of every "frame", of the
    images the "model" was trained on, or a Normalization. `undo` takes the result back to the grey values of the
    input, or of the truth when the model projects or changes the number of channels. `channel` picks a channel of the
    image, `planes` restores a stack plane by plane with a model for planes. `calibrated` puts the predicted
    distributions right by what was measured on images kept aside in training, where the model knows that; without it
    they are what the networks said. The restored image is the same.

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
    where = devices.choose(device)
    model = in_space(model, combine)
    parts = frames(image, model.recipe, channel, planes)
    channels = model.recipe.channels_out
    work = (len(model), *parts.counts, channels, *parts.shape)
    widens = calibrated and stored_calibration(model) is not None
    size = 4 * prod(work) * (2 if model.recipe.probabilistic else 1) + (4 * prod(work[1:]) if widens else 0)
    if lazy is False:
        _check_room(size)
    planned = plan_frames(parts, model, tile, memory, where)
    normalization = normalizer(parts, model, normalize)
    back = restorer(parts, model, normalization, undo)
    settling = Settling(parts, model, normalization, back, calibrated)
    seen = watcher(model)

    def trust() -> Trust:
        with trusted():
            said = warnings_about(parts, model, normalization if isinstance(normalize, str) else None)
        return settling.trust(seen, said)

    def surface(room: int) -> Callable[[], OnDemand] | None:
        if not model.recipe.projects:
            return None

        def made() -> OnDemand:
            found = finders(model)
            own = plan_frames(parts, found, tile, memory, where)
            return OnDemand(parts, found, own, where, normalization, lambda number, answers: None, room)

        return made

    if lazy or (lazy is None and not _fits(size, planned)):
        room = int(KEPT * min(planned.allowed, devices.free_memory(devices.choose("cpu"))))
        waiting = OnDemand(parts, model, planned, where, normalization, settling, room, seen)

        def judged() -> Trust:
            waiting.see_some(SAMPLED)
            return trust()

        later = _of_image(parts, channels, *waiting.predictions(), surface(room))
        return replace(later, distribution=settling.distribution, judged=judged)
    means = np.empty(work, np.float32)
    scales = np.empty(work, np.float32) if model.recipe.probabilistic else None
    widening = np.empty(work[1:], np.float32) if settling.widens else None

    def prepare(number: Number, block: NDArray[Any]) -> Block:
        return to_units(normalization(number), block)

    def into(number: Number, core: Span) -> Answers:
        place: tuple[Any, ...] = (slice(None), *number, slice(None), *core)
        return means[place], None if scales is None else scales[place]

    done = 0
    with closing(run(parts, Networks(model, where), planned, prepare, into, watch=seen)) as finished:
        for number, core, answers in finished:
            wider = settling(number, answers)
            if widening is not None:
                inside: Any = (*number, slice(None), *core)
                widening[inside] = wider
            done += prod(s.stop - s.start for s in core)
            if progress is not None:
                progress(done, parts.voxels)

    arranged = None if scales is None else parts.arranged(scales, channels)
    room = 8 * len(model) * parts.voxels
    restored = _of_image(parts, channels, parts.arranged(means, channels), arranged, surface(room))
    found = trust()
    if found.verdict is not None and (found.verdict.level or found.verdict.warnings):
        warnings.warn(f"{image.name or 'The image'}: {found.verdict}", VeriscopeWarning, stacklevel=2)
    return replace(
        restored,
        widening=None if widening is None else parts.arranged(widening[None], channels)[0],
        distribution=settling.distribution,
        judged=lambda: found,
    )


def _of_image(
    parts: Frames,
    channels: int,
    means: Block | Computed,
    scales: Block | Computed | None,
    surface: Callable[[], OnDemand] | None,
) -> Restoration:
    """Predictions (M, *axes) with the axes, voxel size, time step and name of the image they belong to."""
    shown = parts.outline(channels)
    facts = shown.axes, shown.voxel_size, shown.time_step, shown.name
    return Restoration(means, scales, *facts, surface=surface, carried=shown.carried)


def _fits(size: int, planned: Plan) -> bool:
    """Whether so many bytes of predictions fit into memory beside the networks at work."""
    beside = planned.memory if planned.device == "cpu" else 0
    return size + beside <= devices.free_memory(devices.choose("cpu"))


def _check_room(size: int) -> None:
    free = devices.free_memory(devices.choose("cpu"))
    if size > free:
        raise DeviceError(
            f"The predictions of all members for this image take {text(size)}, but {text(free)} of memory are free. "
            f"Leave out lazy=False, or restore it to a file (restore_to_file, veriscope restore), or in parts."
        )
