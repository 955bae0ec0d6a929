"""Keras' files of weights (HDF5, the layout of `save_weights`), read as data and written.

A file has the attribute layer_names, each layer a group with the attribute weight_names, whose entries are paths
below the group. Layers come in the order of these lists: alphabetically conv2d_10 would precede conv2d_9.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import ModelError

NAMES = 10_000  # entries of a list of names, at most


@dataclass(frozen=True, eq=False)
class Convolution:
    """One layer of a network: its name, and its arrays as in the file, not yet read.

    `kernel` is (*space, in, out), `bias` is (out,).
    """

    name: str
    kernel: Any
    bias: Any


@contextmanager
def opened(path: Path) -> Iterator[tuple[list[Convolution], str]]:
    """The convolutions in a file, in the order of the network, and the version of Keras that wrote it.

    Raises ModelError for what is not such a file, is damaged, holds other layers, or refers to other files.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield _convolutions(file, path), _text(file.attrs.get("keras_version", "unknown"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, UnicodeDecodeError) as problem:
        if isinstance(problem, ModelError):
            raise
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise ModelError(
            f"'{path}' is not a file of weights that Keras wrote, or is damaged ({reason}). "
            f"Copy it again from where the model was trained."
        ) from problem


def write(path: Path, groups: Sequence[tuple[str, Sequence[tuple[str, NDArray[Any], NDArray[Any]]]]]) -> None:
    """Write groups of convolutions, (name, kernel (*space, in, out), bias), in the order of Keras."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name, _ in groups], "S")
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.15.0"
        for name, layers in groups:
            group = file.create_group(name)
            names = [f"{layer}/{part}:0" for layer, *_ in layers for part in ("kernel", "bias")]
            group.attrs["weight_names"] = np.array([one.encode() for one in names], "S")
            for layer, kernel, bias in layers:
                group.create_dataset(f"{layer}/kernel:0", data=np.ascontiguousarray(kernel, np.float32))
                group.create_dataset(f"{layer}/bias:0", data=np.ascontiguousarray(bias, np.float32))


def _convolutions(file: Any, path: Path) -> list[Convolution]:
    if _names(file, "layer_names") is None and "model_weights" in file:
        file = _inside(file, "model_weights", path)  # a whole model was saved, not only its weights
    layers = _names(file, "layer_names")
    if layers is None:
        raise ModelError(
            f"'{path}' holds no list of layers, so it is not a file of weights that Keras wrote. "
            f"Give the folder with config.json and weights_best.h5."
        )
    parts: dict[tuple[str, str], dict[str, Any]] = {}
    for layer in layers:
        group = _inside(file, layer, path)
        for name in _names(group, "weight_names") or []:
            place = [part for part in name.split("/") if part]
            kind = place[-1].split(":")[0] if place else ""
            if kind not in ("kernel", "bias"):
                raise ModelError(
                    f"'{path}' has a layer that no network of csbdeep has: '{layer}' with '{name}'. "
                    f"Only convolutions can be imported."
                )
            own = place[-2] if len(place) > 1 else layer
            parts.setdefault((layer, own), {})[kind] = _dataset(group, "/".join(place), path)
    if (incomplete := next((own for (_, own), arrays in parts.items() if len(arrays) < 2), None)) is not None:
        raise ModelError(f"'{path}' is incomplete: the layer '{incomplete}' lacks its kernel or its bias.")
    size = path.stat().st_size
    declared = sum(4 * prod(array.shape) for arrays in parts.values() for array in arrays.values())
    if declared > size:
        raise ModelError(
            f"'{path}' claims to hold {declared:,} bytes of weights, but has {size:,}: it is damaged, cut short or "
            f"compressed. Copy it again from where the model was trained."
        )
    return [Convolution(own, arrays["kernel"], arrays["bias"]) for (_, own), arrays in parts.items()]


def _names(group: Any, attribute: str) -> list[str] | None:
    """A list of names; Keras cuts those of more than 64 KB in pieces called name0, name1, ..."""
    numbered = takewhile(lambda name: name in group.attrs, (f"{attribute}{number}" for number in count()))
    pieces = [attribute] if attribute in group.attrs else list(numbered)
    if not pieces:
        return None
    names: list[str] = []
    for piece in pieces:
        if prod(group.attrs.get_id(piece).shape or (1,)) > NAMES or len(names) > NAMES:
            raise ModelError(f"The list {attribute} has more than {NAMES:,} entries: the file is damaged.")
        names += [_text(one) for one in np.atleast_1d(group.attrs[piece])]
    return names


def _inside(group: Any, name: str, path: Path) -> Any:
    """A member of a group, once it is known to lie in this very file."""
    import h5py

    here = group
    for part in [part for part in name.split("/") if part]:
        if not isinstance(here, h5py.Group) or part in (".", "..") or part not in here:
            raise ModelError(f"'{path}' is incomplete: '{name}' is missing. Copy it again.")
        if not isinstance(here.get(part, getlink=True), h5py.HardLink):
            raise ModelError(f"'{path}' refers to another file by '{name}', which Keras never does. It is not opened.")
        here = here[part]
    return here


def _dataset(group: Any, name: str, path: Path) -> Any:
    import h5py

    array = _inside(group, name, path)
    if not isinstance(array, h5py.Dataset) or array.dtype.kind != "f":
        raise ModelError(f"'{path}' is damaged: '{name}' does not hold numbers.")
    if array.external or array.is_virtual:
        raise ModelError(f"'{path}' keeps '{name}' in another file, which Keras never does. It is not opened.")
    return array


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
