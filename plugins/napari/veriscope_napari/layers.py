"""From layers to images, and back: axes, scale, units, and the names and colours of channels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np

from veriscope.axes import spatial
from veriscope.errors import AxesError, DataError
from veriscope.images.carried import named
from veriscope.images.image import Image
from veriscope.wording import lengths

LayerData = tuple[Any, dict[str, Any], str]
UNITS = {**dict.fromkeys("ZYX", "micrometer"), "T": "second"}


def axes_of(layer: Any) -> str:
    """The axes that `layer` states, or has to have; "" where only the user knows."""
    word = "".join(map(str, layer.axis_labels)).upper()
    if len(word) == layer.ndim == len(set(word)) and set(word) <= set("STCZYX"):
        return word
    return "YX" if layer.ndim == 2 else ""


def image_of(layers: Sequence[Any], axes: str = "") -> Image:
    """The image in a layer, or in several as channels, from the bottom of the list up; lazy where one of them is.

    Of pyramids the finest level. `axes` of one layer, where it does not state them. Raises AxesError and DataError.
    """
    if not layers:
        raise DataError("No image is selected. Select one in the list of layers, or several as its channels.")
    first, arrays = layers[0], [_pixels(layer) for layer in layers]
    if len({array.shape for array in arrays}) > 1:
        sizes = ", ".join(f"'{one.name}' {lengths(array.shape)}" for one, array in zip(layers, arrays, strict=True))
        raise DataError(f"The selected layers are the channels of one image, of one size, but differ: {sizes}.")
    word = axes or axes_of(first)
    if not word:
        raise AxesError(
            f"Layer '{first.name}' does not state its {first.ndim} axes ({lengths(arrays[0].shape)}). "
            f"Name them in the field Axes, slowest first, for example {'ZYX' if first.ndim == 3 else 'TZYX'}."
        )
    step: dict[str, float] = {}
    for letter, size, unit in zip(word.upper(), first.scale, first.units, strict=False):
        if letter in UNITS and str(unit) != "pixel":
            try:
                step[letter] = float((float(size) * unit).to(UNITS[letter]).magnitude)
            except Exception as problem:  # pint has errors of its own
                raise DataError(
                    f"Layer '{first.name}' has the unit {unit} along {letter}, which is no "
                    f"{'time' if letter == 'T' else 'length'}. Change its units (layer controls, or layer.units)."
                ) from problem
    array = arrays[0]
    if len(layers) > 1:
        if "C" in word.upper():
            raise AxesError(f"Layer '{first.name}' has channels already. Select it alone, without further layers.")
        array, word = _stacked(arrays), "C" + word
    voxel_size = tuple(step.get(letter) for letter in spatial(word.upper()))
    names = [layer.name for layer in layers]
    alike = takewhile(lambda same: len(set(same)) == 1, zip(*(name.split() for name in names), strict=False))
    shared = " ".join(same[0] for same in alike)  # "cells DAPI" and "cells GFP" are channels of "cells"
    image = Image(array, word, voxel_size, step.get("T"), shared)
    own = [name.removeprefix(shared).strip() for name in names]
    return image if len(own) == 1 else replace(image, carried=replace(image.carried, channels=named(own)))


def _pixels(layer: Any) -> Any:
    if getattr(layer, "rgb", False):
        raise DataError(f"Layer '{layer.name}' is a colour picture. Split its channels: right-click it, Split RGB.")
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return data if hasattr(data, "dtype") and isinstance(data.dtype, np.dtype) else np.asarray(data)


def _stacked(arrays: Sequence[Any]) -> Any:
    """Read when it is looked at: in memory they would be copied, in the thread of the window."""
    import dask.array as da

    return da.stack([as_dask(array) for array in arrays])


def as_dask(array: Any, chunks: tuple[int, ...] | None = None) -> Any:
    """`array`, read when it is looked at."""
    import dask.array as da

    if isinstance(array, da.Array):
        return array
    meta = np.empty((0,) * len(array.shape), array.dtype)
    return da.from_array(array, chunks or "auto", name=False, asarray=True, fancy=False, meta=meta)


def layer_data(image: Image, kind: str = "image", **options: Any) -> list[LayerData]:
    """`image` as napari takes layers: one for each channel, with scale, units and names; lazy as it is."""
    in_place = isinstance(image.array, np.ndarray)  # also in files: dask would keep old values
    array = image.array if in_place else as_dask(image.array, _looked_at(image))
    rest = image.axes.replace("C", "")
    steps = {letter: image.voxel(letter) for letter in "ZYX"} | {"T": image.time_step}
    options = {
        "scale": [steps.get(letter) or 1.0 for letter in rest],
        "units": [UNITS[letter] if steps.get(letter) else "pixel" for letter in rest],
        "axis_labels": list(rest.lower()),
        **options,
    }
    if "C" not in image.axes:
        return [(array, {"name": image.name, **options}, kind)]
    count, at = image.size("C"), image.axes.index("C")
    channels = image.carried.channels or named([f"channel {number}" for number in range(count)])
    found = []
    for number, channel in enumerate(channels):
        part = array[(slice(None),) * at + (number,)]
        own = {"name": f"{image.name} {channel.name or f'channel {number}'}".strip(), **options}
        if count > 1 and kind == "image" and "colormap" not in own:
            own["colormap"] = f"#{channel.colour}" if channel.colour else ("green", "magenta", "cyan")[number % 3]
            own["blending"] = "additive"
        found.append((part, own, kind))
    return found


def _looked_at(image: Image) -> tuple[int, ...]:
    """Chunks for looking at planes: those of the file, whole planes where it has none."""
    return image.chunks or tuple(
        size if letter in "YX" else 1 for letter, size in zip(image.axes, image.shape, strict=True)
    )


def placed(source: Any, image: Image, result: Image, corner: Sequence[int] = ()) -> dict[str, Any]:
    """Scale, place and units for layers of `result`, which restored `image`, the part of `source` from `corner` on."""
    letters = image.axes.replace("C", "") if source.ndim < image.ndim else image.axes
    starts = dict(zip(letters, corner or (0,) * len(letters), strict=True))
    scale, translate = (dict(zip(letters, values, strict=True)) for values in (source.scale, source.translate))
    units = dict(zip(letters, source.units, strict=True))
    rest = result.axes.replace("C", "")
    finer = {letter: result.size(letter) / image.size(letter) if letter in "ZYX" else 1.0 for letter in rest}
    return {
        "scale": [scale.get(letter, 1.0) / finer[letter] for letter in rest],
        "translate": [translate.get(letter, 0.0) + starts.get(letter, 0) * scale.get(letter, 1.0) for letter in rest],
        "units": [str(units.get(letter, "pixel")) for letter in rest],
        "axis_labels": list(rest.lower()),
    }


def selected(viewer: Any) -> list[Any]:
    """The selected image layers, from the bottom of the list up, which is the order of channels in files."""
    from napari.layers import Image as ImageLayer

    return [one for one in viewer.layers if one in viewer.layers.selection and isinstance(one, ImageLayer)]


def create(layers: Iterable[LayerData], visible: bool = True) -> list[Any]:
    """Layers that are in no viewer yet: making one takes napari half as long as showing it."""
    from napari.layers import Layer

    return [Layer.create(data, {**options, "visible": visible}, kind) for data, options, kind in layers]


def add(viewer: Any, layers: Iterable[LayerData], visible: bool = True) -> list[Any]:
    """Layers in `viewer`, added."""
    return [viewer.add_layer(layer) for layer in create(layers, visible)]
