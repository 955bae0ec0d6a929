"""A movie of what the ground truth may look like: images drawn from the prediction, one after the other (Supp. Vid. 9).

Every frame draws each pixel on its own from its mixture of Laplace distributions. What is certain stands still, and
where the networks are not confident the picture flickers.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import saving
from veriscope.comparing.picture import one_plane
from veriscope.errors import DataError, OutputError
from veriscope.images.image import Image
from veriscope.judging.quality import PERCENTILES
from veriscope.restoring.restoration import Restoration
from veriscope.wording import lengths, listed

Frames = NDArray[np.uint8]

FRAMES = 20
RATE = 8  # frames a second
KINDS = (".tif", ".tiff", ".gif", ".mp4")
CODECS = ("libx264", "libopenh264")  # both write H.264, which browsers and slides play; builds of FFmpeg have either
QUALITY = 90  # of WebP: off by about 1 % of the grey range, and a third of the size without loss


def write_movie(
    path: str | os.PathLike[str],
    restoration: Restoration,
    frames: int = FRAMES,
    *,
    at: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write `frames` images drawn from the prediction for one whole plane, and return the path.

    The ending decides: .tif holds the intensities of the restoration, float32, TYX, with the voxel size; .gif (loops
    for ever) and .mp4 (needs ``veriscope[movie]``) show them at RATE frames a second, black and white at the
    percentiles 0.1 and 99.9 of the restored plane. `at` picks the plane, see `one_plane`.

    Raises ModelError when the networks predict no distribution, OutputError when the file exists (unless `overwrite`),
    has another ending or cannot be written; nothing is left behind then.

    >>> write_movie("samples.gif", restore(image, model), at={"Z": 12})  # doctest: +SKIP
    """
    target = Path(path)
    check_target(target, overwrite)
    plane = one_plane(restoration, at)
    drawn = samples(plane, frames)
    kind = target.suffix.lower()
    if kind in (".tif", ".tiff"):
        from veriscope.images.writing import save_image

        return save_image(target, drawn, overwrite)
    low, high = np.percentile(np.asarray(plane.mean), PERCENTILES)
    shown = grey(np.asarray(drawn), float(low), float(high))
    hundredths = 10 * round(100 / RATE)  # in which GIF counts time, in ms
    made = _animation(shown, "GIF", duration=hundredths) if kind == ".gif" else _mp4(shown, target)
    saving.write(target, made, overwrite)
    return target


def check_target(target: Path, overwrite: bool = False, option: str = "") -> None:
    """Raise OutputError when no movie can be written to `target`; to be asked before any long work."""
    saving.check_target(target, KINDS, overwrite, option)
    if target.suffix.lower() == ".mp4" and find_spec("av") is None:
        raise OutputError(
            f'Writing {target} needs the package av. Install it with: pip install "veriscope[movie]", '
            f"or choose a name that ends in .gif or .tif."
        )


def samples(restoration: Restoration, frames: int = FRAMES, at: Mapping[str, int] | None = None) -> Image:
    """`frames` images (T, Y, X) drawn from the prediction for one plane, in its intensities; `at` as in `one_plane`.

    The same in every run. Raises ModelError when the networks predict no distribution.
    """
    if frames < 1:
        raise DataError(f"A movie of {frames} frames is not possible. Give a number above 0.")
    plane = one_plane(restoration, at)
    drawn = np.stack([np.asarray(plane.sample(seed)) for seed in range(frames)])
    return Image(drawn, "TYX", plane.voxel_size, name=plane.name)


def grey(values: NDArray[Any], low: float, high: float) -> Frames:
    """Grey from 0 (black, `low` and below) to 255 (white, `high` and above)."""
    return np.rint(255 * np.clip((values - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8)


def webp(frames: Frames) -> bytes:
    """Grey frames (T, Y, X) as small animated WebP, in an endless loop."""
    return _animation(frames, "WEBP", duration=round(1000 / RATE), quality=QUALITY)


def _animation(frames: Frames, kind: str, **choices: Any) -> bytes:
    """Grey frames (T, Y, X) as a picture that moves, in an endless loop."""
    from PIL import Image as Pillow

    pictures = [Pillow.fromarray(frame) for frame in frames]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], loop=0, **choices)
    return file.getvalue()


def _mp4(frames: Frames, target: Path) -> bytes:
    """Grey frames (T, Y, X) as H.264. It knows even sizes only: an odd last row or column is repeated."""
    import av

    even = np.pad(frames, ((0, 0), *((0, size % 2) for size in frames.shape[1:])), mode="edge")
    codec, file = next((one for one in CODECS if one in av.codecs_available), None), io.BytesIO()
    if codec is None:
        raise OutputError(
            f"Writing {target} needs FFmpeg with {listed(CODECS, 'or')}, which the installed package av lacks. "
            f"Choose a name that ends in .gif or .tif."
        )
    try:
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream(codec, rate=RATE)
            stream.height, stream.width = even.shape[1:]
            stream.pix_fmt, stream.options = "yuv420p", {"crf": "18"}
            for frame in even:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "gray")))
            container.mux(stream.encode())
    except av.FFmpegError as problem:
        size = lengths(frames.shape[1:])
        raise OutputError(
            f"The movie {target} of {size} pixels cannot be made: FFmpeg says {problem.strerror}. "
            f"Choose a name that ends in .gif or .tif."
        ) from problem
    return file.getvalue()
