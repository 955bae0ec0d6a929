"""What all pages share: their style and colours, panels as PNG, scale bars, and facts in words."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from veriscope.comparing.judge import RESTORATION
from veriscope.comparing.picture import INPUT, INPUTS
from veriscope.reporting.charts import INK
from veriscope.reporting.movie import grey

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Okabe and Ito's colours, told apart by colour-blind eyes; names are those of the page's style.
COLOURS = {"input": "#7f7f7f", "classical": "#e69f00", "restoration": "#0072b2", "truth": INK}
SCALE_MAP = "cividis"


def style_sheet() -> str:
    """The style sheet, to stand in the page itself."""
    return Path(__file__).with_name("page.css").read_text("utf-8")


def role_of(method: str) -> str:
    if method in INPUTS:
        return INPUT
    return method if method in (RESTORATION, "truth") else "classical"


def in_words(group: Mapping[str, Any]) -> dict[str, str]:
    """Facts as a page lists them; what is not known is left out."""
    return {name.replace("_", " "): _words(value) for name, value in group.items() if value is not None}


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_words(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        shown = [_words(one) for one in value[:12]]
        return ", ".join(shown) + (f", … ({len(value)} in all)" if len(value) > 12 else "")
    return str(value)


def png(plane: NDArray[Any], colours: str, low: float, high: float, stretch: float = 1.0) -> str:
    """Base64 of a PNG, one pixel per pixel; rows are repeated where pixels are taller than wide."""
    from matplotlib import colormaps
    from PIL import Image as Pillow

    if colours == "gray":
        shown = grey(plane, low, high)
    else:
        share = np.clip((plane - low) / ((high - low) or 1.0), 0, 1)
        shown = np.rint(255 * colormaps[colours](share)[..., :3]).astype(np.uint8)
    file = io.BytesIO()
    Pillow.fromarray(in_proportion(shown, stretch)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def in_proportion(shown: NDArray[Any], stretch: float) -> NDArray[Any]:
    """(Y, X, ...) with rows repeated where pixels are `stretch` times as tall as wide."""
    if abs(stretch - 1) <= 0.01:
        return shown
    height = max(1, round(len(shown) * stretch))
    return np.asarray(shown[((np.arange(height) + 0.5) * len(shown) / height).astype(int)])


def gradient(colours: str = SCALE_MAP) -> str:
    """The colours of a map for a style sheet, dark to bright."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return ", ".join(to_hex(colormaps[colours](share)) for share in np.linspace(0, 1, 9))


def scale_bar(width: int, pixel: float | None) -> tuple[float, str] | None:
    """Length in pixels, and in words, of a round length in um: about a quarter of `width` pixels of `pixel` um."""
    if not pixel:
        return None
    wide = width * pixel
    power = 10.0 ** math.floor(math.log10(wide / 4))
    length = max(step * power for step in (1, 2, 5) if step * power <= wide / 4)
    return length / pixel, f"{length:g} µm"
