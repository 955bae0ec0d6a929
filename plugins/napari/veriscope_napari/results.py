"""What a restoration shows as layers: images made of its members piece by piece, what is looked at first."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DeviceError
from veriscope.images.image import Image, pieces
from veriscope.images.lazy import Blank
from veriscope.networks import devices
from veriscope.networks.model import Ensemble
from veriscope.restoring.outputs import BY_NAME
from veriscope.restoring.prepared import prepare
from veriscope.restoring.restore import Restoration, restore_to_explore
from veriscope.wording import size
from veriscope_napari.working import Job

PIECE = 2**21  # values made at once
IN_MEMORY = 0.25  # of what is free may be taken by the predictions of all members; more of them lie in files


class Result:
    """A restoration with the files that hold it, if memory does not; they go with it."""

    def __init__(self, image: Image, model: Ensemble, job: Job, **settings: Any) -> None:
        nbytes = prepare(image, model, **settings).nbytes
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        if nbytes > IN_MEMORY * devices.free_memory(devices.choose("cpu")):
            self.folder = tempfile.TemporaryDirectory(prefix="veriscope-", ignore_cleanup_errors=True)
            free = shutil.disk_usage(self.folder.name).free
            if 1.5 * nbytes > free:
                raise DeviceError(
                    f"The predictions of all members take {size(1.5 * nbytes)}, but {size(free)} are free in "
                    f"'{self.folder.name}'. Free some, set TMPDIR to a larger disk, or restore a part of the image."
                )
        self.image, self.made = image, 0
        place = None if self.folder is None else self.folder.name
        self.restored: Restoration = restore_to_explore(image, model, place, job.tell, **settings)

    def room(self, dtype: Any = np.float32) -> NDArray[Any]:
        """An empty array of the size of the result."""
        shape = self.restored.means.shape[1:]
        if self.folder is None:
            return np.zeros(shape, dtype)
        self.made += 1
        return np.memmap(Path(self.folder.name) / f"image-{self.made}.raw", dtype, "w+", shape=shape)

    def make(
        self, job: Job, name: str, *arguments: float, into: Sequence[NDArray[Any]] = (), first: Sequence[int] = ()
    ) -> list[Image]:
        """The images of output `name`, made of the members; the piece that holds the pixel `first` comes first.

        `into` are the arrays of earlier images. The job sends `name` whenever there is a piece more to see.
        """
        outline = Image(Blank(self.restored.means.shape[1:]), self.restored.axes)
        made = list(into) or [self.room() for _ in BY_NAME[name].files]
        spans = sorted(pieces(outline, 4 * PIECE), key=lambda piece: not _holds(piece, first))
        for done, where in enumerate(spans):
            job.tell(done, len(spans))
            for array, image in zip(made, self.restored.part(where).output(name, *arguments), strict=True):
                array[where] = np.asarray(image)
            job.sent.emit(name)
        facts = self.restored.voxel_size, self.restored.time_step, self.restored.name, self.restored.carried
        return [Image(array, self.restored.axes, *facts) for array in made]

    def mean(self, job: Job) -> Image:
        return self.make(job, "mean")[0]


def _holds(piece: Sequence[slice], pixel: Sequence[int]) -> bool:
    return len(pixel) == len(piece) and all(part.start <= at < part.stop for part, at in zip(piece, pixel, strict=True))


def limits(image: Image) -> tuple[float, float]:
    """Contrast for looking at `image`: percentiles 0.2 and 99.8 of some of its pixels."""
    array = image.array
    step = tuple(slice(None, None, max(1, length // 128)) for length in array.shape)
    low, high = np.percentile(np.asarray(array[step]), (0.2, 99.8))
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1)
