"""Super-resolution by fluctuations: SRRF and eSRRF, computed by nanopyx (Main Fig. 4).

nanopyx runs in a process of its own, with a temporary home folder: it greets on the console, warns of graphics cards,
takes seconds to load, and leaves folders in the home folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib import util
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.images.volumes import finite
from veriscope.wording import lengths, listed

Combined = Literal["mean", "maximum", "correlation"]
ECombined = Literal["mean", "variance", "correlation"]
LEAST = 12  # pixels along Y and X

# How nanopyx calls the ways to make one image of all frames; the correlation is that of frames one apart.
ORDERS = {"mean": 1, "maximum": 0, "correlation": 2}
NAMES = {"mean": "AVG", "variance": "VAR", "correlation": "TAC2"}

# The run type is fixed: by default nanopyx uses what it measured to be fastest, and rounding differs.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[1])
settings = json.loads((folder / "settings.json").read_text())
movie = np.load(folder / "movie.npy")
from nanopyx.methods import SRRF, eSRRF
from nanopyx.core.transform.sr_temporal_correlations import calculate_SRRF_temporal_correlations
if settings.pop("method") == "srrf":
    order = settings.pop("order")
    frames = SRRF(movie, **settings, _force_run_type="threaded")
    result = calculate_SRRF_temporal_correlations(np.asarray(frames), order)
else:
    result = eSRRF(movie, **settings, _force_run_type="threaded")
np.save(folder / "result.npy", np.asarray(result, np.float32))
"""


def srrf(movie: Image | NDArray[Any], magnification: int = 5, radius: float = 0.5, combine: Combined = "mean") -> Image:
    """One image (Y X) with `magnification` times as many pixels, from frames (T Y X) of blinking light: SRRF.

    Gustafsson et al. 2016: where gradients converge within `radius` pixels there is light, and `combine` says how
    frames become one: their mean, maximum, or what neighbouring frames have in common, which asks for fluctuations.
    The result is about 1 in the mean, not in grey values: SRRF does not keep brightness, and lines that cross, or
    dense ones, come out thinner than they are. Pixels are areas: the outer borders stay where they are.

    Raises DataError where nanopyx is missing, saying how to install it, and for unusable movies.
    """
    order = ORDERS.get(combine)
    return _made(movie, magnification, radius, combine, tuple(ORDERS), method="srrf", ringRadius=radius, order=order)


def esrrf(
    movie: Image | NDArray[Any],
    magnification: int = 5,
    radius: float = 1.5,
    sensitivity: float = 1.0,
    combine: ECombined = "mean",
) -> Image:
    """As `srrf`, by the later eSRRF (Laine et al. 2023), more faithful to what is bright and what is dim.

    `radius` is about that of the PSF in pixels; more `sensitivity` is sharper, and harder on noise.
    """
    if not (isfinite(sensitivity) and sensitivity > 0):
        raise DataError(f"The sensitivity of eSRRF is a number above 0, not {sensitivity:g}. Usual are 1 to 5.")
    settings = {"radius": radius, "sensitivity": sensitivity, "temporal_correlation": NAMES.get(combine)}
    return _made(movie, magnification, radius, combine, tuple(NAMES), method="esrrf", **settings)


def _made(
    movie: Any, magnification: int, radius: float, combine: str, choices: tuple[str, ...], **settings: Any
) -> Image:
    """The image that nanopyx makes with these `settings`, once they are known to be possible."""
    if not isinstance(movie, Image) and np.ndim(movie) != 3:
        raise AxesError(f"SRRF needs frames of one field (T Y X), not an array of shape {np.shape(movie)}.")
    whole = movie if isinstance(movie, Image) else Image(movie, "TYX")
    if not {"T", "Y", "X"} <= set(whole.axes):
        raise AxesError(f"SRRF needs frames of one field, with the axes T Y X, but the movie has {whole.axes}.")
    frames = np.asarray(whole.moved("TYX"), np.float32)
    if len(frames) < 2 or min(frames.shape[1:]) < LEAST:
        raise DataError(
            f"SRRF needs fluctuations: at least 2 frames of {LEAST} x {LEAST} pixels, not {lengths(frames.shape)} "
            f"(T Y X). Give a longer or larger movie."
        )
    finite(frames, "movie")
    if not (isinstance(magnification, int | np.integer) and 1 <= magnification <= 20):
        raise DataError(f"The magnification is a whole number from 1 to 20, not {magnification}. Usual are 4 or 5.")
    if not (isfinite(radius) and 0 < radius < min(frames.shape[1:]) / 4):
        raise DataError(f"The radius is above 0 and below a quarter of the image, not {radius:g} pixels. Try 0.5 to 3.")
    if combine not in choices:
        raise DataError(f"Frames cannot be combined by '{combine}'. Choose {listed(choices, 'or')}.")
    pixels = _run(frames, magnification=magnification, **settings)
    y, x = whole.voxel("Y"), whole.voxel("X")
    finer = None if y is None or x is None else (y / magnification, x / magnification)
    return Image(pixels, "YX", finer, None, whole.name)


def _run(frames: NDArray[np.float32], **settings: Any) -> NDArray[np.float32]:
    if util.find_spec("nanopyx") is None:
        raise DataError("SRRF needs nanopyx, which is not installed. Install it with: pip install 'veriscope[srrf]'.")
    import matplotlib

    with tempfile.TemporaryDirectory(prefix="veriscope-srrf-") as own:
        folder = Path(own)
        np.save(folder / "movie.npy", frames)
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        fonts = matplotlib.get_cachedir()  # else nanopyx searches for all fonts again
        home = {"HOME": own, "USERPROFILE": own, "MPLBACKEND": "Agg", "MPLCONFIGDIR": fonts, "NUMBA_CACHE_DIR": own}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PROGRAM, own],
            env={**os.environ, **home},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        result = folder / "result.npy"
        if done.returncode != 0 or not result.is_file():
            reason = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise DataError(
                f"nanopyx failed on {lengths(frames.shape)} pixels (T Y X): {reason}. Try a lower magnification, fewer "
                "frames, or another version of nanopyx."
            )
        return np.asarray(np.load(result))
