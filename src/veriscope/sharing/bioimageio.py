"""A package for bioimage.io: a zip with a description (rdf.yaml, format 0.5.4), weights, and images to test them with.

The description is JSON, which is YAML too. The networks are in it three times: as ONNX, as TorchScript, and as
safetensors with the recipe, from which veriscope loads the same model.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.errors import DataError, ModelError
from veriscope.images.image import Image
from veriscope.networks import folder as own
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.normalize import Normalization, fit
from veriscope.restoring.scaling import PERCENTILES, stored_normalization
from veriscope.sharing import card as cards
from veriscope.sharing import onnx, torchscript
from veriscope.sharing.files import free, is_own, write_zip
from veriscope.sharing.graph import Graph, Normalizing
from veriscope.wording import lengths

FORMAT = "0.5.4"  # newer descriptions are refused by programs of 2025
EPS = 1e-20
COVER = (512, 256)  # pixels, 2 : 1
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{1,60}")
Fixed: TypeAlias = Mapping[str, Normalization]  # of the input and of outputs, by their names; empty: by each image


@dataclass(frozen=True, eq=False)
class Package:
    """What was written: the graph, its test image, and how images are normalised, in a sentence."""

    graph: Graph
    image: NDArray[np.float32]  # (1, channels_in, *space), in grey values
    normalized: NDArray[np.float32]  # the same as the weights take it
    answer: dict[str, NDArray[np.float32]]  # what they make of it
    normalization: str


def write(
    ensemble: Ensemble,
    path: str | os.PathLike[str],
    *,
    authors: Sequence[str],
    licence: str,
    name: str | None = None,
    image: Image | None = None,
    member: int | None = None,
    normalize: Normalizing = "image",
) -> Package:
    """Write `path`, a .zip file, whose outputs are "mean" and "scale" of the ensemble, or of one `member`.

    `licence` is an SPDX identifier such as CC-BY-4.0. `image` is shown on the cover and used as the test image; without
    it an artificial one is. With `normalize` "image" every image is normalised by its own percentiles, and results stay
    normalised; "model" means those of the training images, and grey values on both sides. Raises ModelError,
    OutputError, and DataError for images that do not fit.
    """
    if not authors or not all(author.strip() for author in authors):
        raise ModelError("A package names who made the model. Give at least one author (--author 'A. Person').")
    if not SPDX.fullmatch(licence):
        raise ModelError(f"'{licence}' is not an SPDX identifier of a licence. Use for example CC-BY-4.0 or MIT.")
    target = free(path, ".zip", "A package for bioimage.io")
    recipe, allowed = ensemble.recipe, re.sub(r"[^A-Za-z0-9_+\- /()]+", " ", name or target.stem).strip()
    title = allowed[:100] or "veriscope model"
    graph = Graph(ensemble, member)  # without normalisation: that is in the description
    pixels = _test_image(ensemble, image)
    described = Graph(ensemble, member, normalize=normalize)
    fixed = _fixed(*described.normalizations)
    normalized = (fixed.get("image") or fit(pixels[0], PERCENTILES)).apply(pixels, 1)
    answer = graph.answer(normalized)
    outputs = {what: fixed[what].undo(array, 1) if what in fixed else array for what, array in answer.items()}
    files: dict[str, bytes] = {
        "README.md": cards.card(ensemble, title, authors, licence).encode(),
        "cover.png": _cover(normalized, answer["mean"], recipe),
        "weights.onnx": onnx.encoded(graph),
        "weights.pt": torchscript.encoded(graph),
        "test_image.npy": _npy(pixels),
        **{f"test_{what}.npy": _npy(array) for what, array in outputs.items()},
        "sample_image.tif": _tiff(pixels, recipe.axes),
        **{f"sample_{what}.tif": _tiff(array, recipe.axes_out) for what, array in outputs.items()},
        **_own_files(ensemble, member),
    }
    about = {"name": title, "authors": [{"name": author} for author in authors], "license": licence}
    rdf = json.dumps(_description(described, files, fixed, ensemble) | about, indent=1).encode()
    write_zip(target, {"rdf.yaml": rdf, **files})
    return Package(graph, pixels, normalized, answer, _sentence(fixed))


def _fixed(low: Normalization | None, back: Normalization | None) -> Fixed:
    of_input = {} if low is None else {"image": low}
    if back is None:
        return of_input
    return {**of_input, "mean": back, "scale": Normalization((0.0,) * back.channels, back.range)}


def _sentence(fixed: Fixed) -> str:
    if not fixed:
        return "Every image is normalised by its own percentiles 2 and 99.8, and the result stays normalised."
    stays = "stays normalised: the grey values of the ground truth are unknown"
    return (
        f"Every image is normalised by the percentiles of the training images ({cards.spans(fixed['image'])}), and the "
        f"result {'is in grey values' if 'mean' in fixed else stays}."
    )


# The description


def _description(graph: Graph, files: Mapping[str, bytes], fixed: Fixed, ensemble: Ensemble) -> dict[str, Any]:
    def source(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}

    def tensor(what: str, text: str, steps: str) -> dict[str, Any]:
        is_input, by = what == "image", fixed.get(what)
        return {
            "id": what,
            "description": text,
            "axes": _axes(recipe, ensemble.halo, None if is_input else what),
            "test_tensor": source(f"test_{what}.npy"),
            "sample_tensor": source(f"sample_{what}.tif"),
            "data": {"type": "float32"},
            steps: _steps_in(by, recipe) if is_input else [_linear(by.range, by.low)] if by else [],
        }

    recipe = ensemble.recipe
    own_files = [name for name in files if is_own(name)]
    unit = "in grey values" if "mean" in fixed else "of the normalised image"
    meaning = {"mean": "The restored image", "scale": "The mean error to expect of each pixel"}
    return {
        "type": "model",
        "format_version": FORMAT,
        "description": cards.summary(ensemble)[:1000],
        "cite": [{"text": cards.PAPER, "doi": cards.DOI}],
        "documentation": "README.md",
        "covers": ["cover.png"],
        "tags": ["fluorescence", "image-restoration", "denoising", "uncertainty", f"{len(recipe.axes)}d", "pytorch"],
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "inputs": [tensor("image", "Grey values.", "preprocessing")],
        "outputs": [tensor(what, f"{meaning[what]}, {unit}.", "postprocessing") for what in graph.outputs],
        "weights": {
            "onnx": {**source("weights.onnx"), "opset_version": onnx.OPSET, "parent": "torchscript"},
            "torchscript": {**source("weights.pt"), "pytorch_version": torch.__version__.split("+")[0]},
        },
        "attachments": [source(name) for name in own_files],
        "config": {
            "veriscope": {
                "format": 1,
                "files": {name: source(name)["sha256"] for name in own_files},
                **graph.description,
            }
        },
    }


def _axes(recipe: Recipe, halo: Sequence[int], output: str | None) -> list[dict[str, Any]]:
    """The axes of the input, or of an output. Halos are whole steps, so that blocks begin on them."""
    count = recipe.channels_in if output is None else recipe.channels_out
    names = [f"{output or 'channel'}{n}" for n in range(count)]
    axes: list[dict[str, Any]] = [{"type": "batch"}, {"type": "channel", "channel_names": names}]
    if output is None and recipe.projects:
        axes.append({"type": "space", "id": "z", "size": {"min": 1, "step": 1}})
    for letter, step, reach in zip(recipe.axes_out.lower(), recipe.step, halo, strict=True):
        wide = -(-reach // step) * step
        if output is None:
            size: dict[str, Any] = {"size": {"min": 2 * wide + step, "step": step}}
        else:
            size = {"size": {"tensor_id": "image", "axis_id": letter}, "halo": wide}
        axes.append({"type": "space", "id": letter, **size})
    return axes


def _steps_in(by: Normalization | None, recipe: Recipe) -> list[dict[str, Any]]:
    first = {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}
    if by is not None:
        gain = [1 / span for span in by.range]
        return [first, _linear(gain, [-low * rate for low, rate in zip(by.low, gain, strict=True)])]
    ends = dict(zip(("min_percentile", "max_percentile"), PERCENTILES, strict=True))
    return [first, {"id": "scale_range", "kwargs": {"axes": list(recipe.axes.lower()), **ends, "eps": EPS}}]


def _linear(gain: Sequence[float], offset: Sequence[float]) -> dict[str, Any]:
    if len(gain) == 1:
        return {"id": "scale_linear", "kwargs": {"gain": gain[0], "offset": offset[0]}}
    return {"id": "scale_linear", "kwargs": {"axis": "channel", "gain": list(gain), "offset": list(offset)}}


def _own_files(ensemble: Ensemble, member: int | None) -> dict[str, bytes]:
    """What veriscope itself loads the model from."""
    chosen = ensemble.members if member is None else (ensemble.members[member],)
    with TemporaryDirectory() as place:
        own.save(Ensemble(ensemble.recipe, tuple(chosen), ensemble.facts), Path(place) / "model")  # type: ignore[arg-type]
        return {file.name: file.read_bytes() for file in sorted(Path(place, "model").iterdir()) if is_own(file.name)}


# Images


def _test_image(ensemble: Ensemble, image: Image | None) -> NDArray[np.float32]:
    """(1, channels_in, *space) in grey values: the middle of `image`, or artificial spots."""
    recipe, halo = ensemble.recipe, ensemble.halo
    space = [2 * (-(-reach // step) * step) + 2 * step for step, reach in zip(recipe.step, halo, strict=True)]
    planes = [9] if recipe.projects else []
    if image is None:
        return _spots(recipe, [*planes, *space], ensemble)
    if any(image.size(letter) > 1 for letter in set(image.axes) - set("C" + recipe.axes)):
        raise DataError(f"The example has the axes {image.axes}, but the networks take {recipe.axes}. Pick one image.")
    if image.size("C") != recipe.channels_in:
        raise DataError(f"The example has {image.size('C')} channels, the model {recipe.channels_in}.")
    pixels = np.asarray(image.moved("C" + recipe.axes).array, np.float32)
    size = pixels.shape[-len(space) :]
    wanted = [
        min(length // step * step, max(least, 256 // len(space) // step * step))
        for length, step, least in zip(size, recipe.step, space, strict=True)
    ]
    if any(have < least for have, least in zip(wanted, space, strict=True)):
        raise DataError(
            f"The example is too small: it needs at least {lengths(space)} pixels ({recipe.axes_out}), and has "
            f"{lengths(size)}. Choose a larger one."
        )
    middle: Any = (..., *(slice((a - b) // 2, (a - b) // 2 + b) for a, b in zip(size, wanted, strict=True)))
    return np.ascontiguousarray(pixels[middle][None])


def _spots(recipe: Recipe, space: Sequence[int], ensemble: Ensemble) -> NDArray[np.float32]:
    """Noisy blobs in the intensities of the training images, where these are known."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    known = stored_normalization(ensemble.facts, "low")
    channels = []
    for channel in range(recipe.channels_in):
        low, high = (100.0, 1000.0) if known is None else (known.low[channel], known.high[channel])
        smooth = gaussian_filter((rng.random(space) < 0.01).astype(float), 2)
        noisy = smooth / smooth.max() + 0.1 * rng.standard_normal(space)
        channels.append(low + (high - low) * noisy)
    return np.asarray(channels, np.float32)[None]


def _cover(image: NDArray[Any], restored: NDArray[Any], recipe: Recipe) -> bytes:
    """The input on the left, the restored image on the right, of one plane, as PNG."""
    from PIL import Image as Picture

    width, height = COVER
    halves = []
    for pixels in (image[0, 0], restored[0, 0]):
        if pixels.ndim == 3:
            pixels = pixels.max(0) if recipe.projects else pixels[len(pixels) // 2]
        grey = np.clip(pixels * 255, 0, 255).astype(np.uint8)
        side = min(grey.shape)
        halves.append(np.asarray(Picture.fromarray(grey[:side, :side]).resize((width // 2, height))))
    file = io.BytesIO()
    Picture.fromarray(np.hstack(halves)).save(file, "PNG")
    return file.getvalue()


def _npy(array: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return file.getvalue()


def _tiff(array: NDArray[np.float32], axes: str) -> bytes:
    import tifffile

    file = io.BytesIO()
    shown = np.ascontiguousarray(np.moveaxis(array[0], 0, -3))
    tifffile.imwrite(file, shown, imagej=True, metadata={"axes": axes.replace("YX", "CYX")})
    return file.getvalue()
