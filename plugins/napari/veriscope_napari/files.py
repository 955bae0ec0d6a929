"""Files in and out: whatever veriscope reads becomes layers, lazily, and layers are written as veriscope writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from veriscope.errors import AxesError, DataError, VeriscopeError
from veriscope.images.image import Image
from veriscope.images.reading import list_images, read_image
from veriscope.images.writing import save_image
from veriscope_napari.layers import LayerData, image_of, layer_data


def reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """What reads `path`, several paths, or the images in a folder; None for what holds no images of a known kind."""
    paths = [path] if isinstance(path, str) else list(path)
    try:
        files = list_images(*paths)
    except VeriscopeError:
        return None
    return lambda _: [layer for file in files for layer in _layers(file)]


def _layers(file: Path) -> list[LayerData]:
    try:
        return layer_data(read_image(file, lazy=True))
    except AxesError:  # the file does not state them: dimensions without names, which the user names when restoring
        raw = np.load(file, mmap_mode="r") if file.suffix == ".npy" else None
        for letters in ("ZYX", "TZYX", "TZCYX", "STCZYX"):
            try:
                image = read_image(file, axes=letters, lazy=True)
            except AxesError:
                continue
            array = image.array if raw is None else raw
            [(pixels, options, kind)] = layer_data(Image(array, letters.replace("C", "S"), name=image.name))
            return [(pixels, {"name": options["name"]}, kind)]
        raise


def write(path: str, data: Any, facts: dict[str, Any]) -> list[str]:
    """Write one layer, with axes, scale and units as it states them."""
    return write_channels(path, [(data, facts, "image")])


def write_channels(path: str, layers: list[LayerData]) -> list[str]:
    """Write layers as the channels of one image."""
    given = [_Layer(data, facts) for data, facts, _ in layers]
    image = image_of(given)
    file = Path(path)
    if not file.name.lower().endswith((".tif", ".tiff", ".zarr")):
        raise DataError(f"'{file.name}' has no suffix of an image. Use .ome.tif, .tif or .ome.zarr.")
    return [str(save_image(file, image, overwrite=True))]  # napari has asked


class _Layer:
    """A layer as writers get it."""

    def __init__(self, data: Any, facts: dict[str, Any]) -> None:
        import pint

        units = pint.get_application_registry()
        self.multiscale = isinstance(data, list | tuple) or type(data).__name__ == "MultiScaleData"
        self.data, self.rgb, self.name = data, facts.get("rgb", False), facts.get("name", "")
        self.ndim = len((data[0] if self.multiscale else data).shape) - self.rgb
        self.axis_labels = facts.get("axis_labels") or ()
        self.scale = facts.get("scale", (1.0,) * self.ndim)
        self.units = [units.Unit(str(unit)) for unit in facts.get("units") or ("pixel",) * self.ndim]
