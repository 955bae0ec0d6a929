"""A package for bioimage.io: a zip with a description (rdf.yaml, format 0.5.4), weights, and images to try them with.

The description is JSON, which is YAML too. The networks lie in it three times: as ONNX, as TorchScript, and as
safetensors with the recipe, from which veriscope makes the same model again.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.errors import DataError, ModelError
from veriscope.images.image import Image
from veriscope.networks import folder as own
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.normalize import Normalization, fit
from veriscope.restoring.scaling import PERCENTILES, stored_normalization, target_normalization
from veriscope.sharing import card as cards
from veriscope.sharing import onnx, torchscript
from veriscope.sharing.graph import Normalizing, Shared, described, shared, trained_normalization
from veriscope.sharing.placing import free

FORMAT = "0.5.4"  # newer descriptions are refused by programs of 2025
EPS = 1e-20
COVER = (512, 256)  # pixels, 2 : 1
SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{1,60}")
RECIPE = "recipe.json"


@dataclass(frozen=True, eq=False)
class Package:
    """What a package holds: the description, and the files beside it by their names."""

    graph: Shared
    files: Mapping[str, bytes]
    image: NDArray[np.float32]  # that it is tested with, (1, channels_in, *space), in grey values
    normal: NDArray[np.float32]  # the same as the weights take it
    normalized: str  # who normalises, and by what, in a sentence


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

    `licence` is an SPDX identifier such as CC-BY-4.0. `image` is shown on the cover and tested with; an artificial one
    stands in for it. With `normalize` "image" every image is normalised by its own percentiles, and results stay
    normalised; "model" means those of the training images, and grey values on both sides. Raises ModelError,
    OutputError, and DataError for images that do not fit.
    """
    target = Path(path)
    if target.suffix.lower() != ".zip":
        raise ModelError(f"A package for bioimage.io is a .zip file. Name it {target}.zip.")
    if not authors or not all(one.strip() for one in authors):
        raise ModelError("A package names who made the model. Give at least one author (--author 'A. Person').")
    if not SPDX.fullmatch(licence):
        raise ModelError(f"'{licence}' is no SPDX identifier of a licence. Give for example CC-BY-4.0, MIT or CC0-1.0.")
    free(target)
    title = _title(name or target.stem)
    made = _package(ensemble, title, list(authors), licence, image, member, normalize)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as packed:
        for file, contents in made.files.items():
            packed.writestr(file, contents)
    own.write_file(target, written.getvalue())
    return made


def _package(
    ensemble: Ensemble,
    title: str,
    authors: list[str],
    licence: str,
    image: Image | None,
    member: int | None,
    normalize: Normalizing,
) -> Package:
    graph = shared(ensemble, member)  # without normalisation: the description tells of it
    pixels = _test_image(ensemble, image)
    fixed = _fixed(ensemble) if normalize == "model" else None
    low, back = fixed or (fit(pixels[0], PERCENTILES), None)
    normal = low.apply(pixels, 1)
    answered = graph.answer(normal)
    expected = answered if back is None else {name: _undone(one, back, name) for name, one in answered.items()}
    recipe = ensemble.recipe
    files: dict[str, bytes] = {
        "README.md": cards.card(ensemble, title, authors, licence).encode(),
        "cover.png": _cover(normal, answered["mean"], recipe),
        "weights.onnx": onnx.made(graph),
        "weights.pt": torchscript.made(graph),
        "test_image.npy": _npy(pixels),
        **{f"test_{what}.npy": _npy(one) for what, one in expected.items()},
        "sample_image.tif": _tiff(pixels, recipe.axes),
        **{f"sample_{what}.tif": _tiff(one, recipe.axes_out) for what, one in expected.items()},
        **_own_files(ensemble, member),
    }
    told = _description(graph, title, authors, licence, files, fixed, ensemble)
    files = {"rdf.yaml": json.dumps(told, indent=1).encode(), **files}
    return Package(graph, files, pixels, normal, _said(fixed))


def _said(fixed: tuple[Normalization, Normalization | None] | None) -> str:
    if fixed is None:
        return "Every image is normalised by its own percentiles 2 and 99.8, and the result stays normalised."
    values = ", ".join(f"{low:.5g} to {high:.5g}" for low, high in zip(fixed[0].low, fixed[0].high, strict=True))
    back = "and the result is in grey values" if fixed[1] else "and the result stays normalised: the truth is unknown"
    return f"Every image is normalised by the percentiles of the training images ({values}), {back}."


def _fixed(ensemble: Ensemble) -> tuple[Normalization, Normalization | None]:
    """The normalisation of the training images, and what takes results back where that is known."""
    low = trained_normalization(ensemble)
    return low, target_normalization(ensemble, low)


def _undone(image: NDArray[np.float32], by: Normalization, name: str) -> NDArray[np.float32]:
    return by.undo(image, 1) if name == "mean" else np.asarray(image * _column(by.range, image.ndim), np.float32)


def _column(values: Sequence[float], dimensions: int) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, -1, *(1,) * (dimensions - 2))


# The description


def _description(
    written: Shared,
    title: str,
    authors: Sequence[str],
    licence: str,
    files: Mapping[str, bytes],
    fixed: tuple[Normalization, Normalization | None] | None,
    ensemble: Ensemble,
) -> dict[str, Any]:
    def source(name: str) -> dict[str, str]:
        return {"source": name, "sha256": hashlib.sha256(files[name]).hexdigest()}

    recipe = ensemble.recipe
    own_files = [name for name in files if name == RECIPE or name.endswith(".safetensors")]
    return {
        "type": "model",
        "format_version": FORMAT,
        "name": title,
        "description": cards.summary(ensemble)[:1000],
        "authors": [{"name": one} for one in authors],
        "cite": [{"text": cards.PAPER, "doi": cards.DOI}],
        "license": licence,
        "documentation": "README.md",
        "covers": ["cover.png"],
        "tags": ["fluorescence", "image-restoration", "denoising", "uncertainty", f"{len(recipe.axes)}d", "pytorch"],
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "inputs": [
            {
                "id": "image",
                "description": "Grey values.",
                "axes": _axes(recipe, ensemble.halo, None),
                "test_tensor": source("test_image.npy"),
                "sample_tensor": source("sample_image.tif"),
                "data": {"type": "float32"},
                "preprocessing": [
                    {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
                    _scale_linear(fixed[0]) if fixed else _scale_range(recipe),
                ],
            }
        ],
        "outputs": [
            {
                "id": what,
                "description": f"{text} {'in grey values' if fixed and fixed[1] else 'of the normalised image'}.",
                "axes": _axes(recipe, ensemble.halo, what),
                "test_tensor": source(f"test_{what}.npy"),
                "sample_tensor": source(f"sample_{what}.tif"),
                "data": {"type": "float32"},
                "postprocessing": [_scale_back(fixed[1], what == "scale")] if fixed and fixed[1] else [],
            }
            for what, text in (("mean", "The restored image,"), ("scale", "The mean error to expect of each pixel,"))
            if what in written.graph.outputs
        ],
        "weights": {
            "onnx": {**source("weights.onnx"), "opset_version": onnx.OPSET, "parent": "torchscript"},
            "torchscript": {**source("weights.pt"), "pytorch_version": torch.__version__.split("+")[0]},
        },
        "attachments": [source(name) for name in own_files],
        "config": {
            "veriscope": {
                "format": 1,
                "files": {name: hashlib.sha256(files[name]).hexdigest() for name in own_files},
                **described(ensemble, len(written.graph.members), *(fixed or (None, None))),
            }
        },
    }


def _axes(recipe: Recipe, halo: Sequence[int], output: str | None) -> list[dict[str, Any]]:
    """The axes of the input, or of an output. Halos are whole steps, so that blocks begin on them."""
    count = recipe.channels_in if output is None else recipe.channels_out
    names = [f"channel{n}" for n in range(count)] if output is None else [f"{output}{n}" for n in range(count)]
    found: list[dict[str, Any]] = [{"type": "batch"}, {"type": "channel", "channel_names": names}]
    if output is None and recipe.projects:
        found.append({"type": "space", "id": "z", "size": {"min": 1, "step": 1}})
    for letter, step, reach in zip(recipe.axes_out.lower(), recipe.step, halo, strict=True):
        wide = -(-reach // step) * step
        if output is None:
            size: dict[str, Any] = {"size": {"min": 2 * wide + step, "step": step}}
        else:
            size = {"size": {"tensor_id": "image", "axis_id": letter}, "halo": wide}
        found.append({"type": "space", "id": letter, **size})
    return found


def _scale_range(recipe: Recipe) -> dict[str, Any]:
    low, high = PERCENTILES
    joint = list(recipe.axes.lower())
    return {"id": "scale_range", "kwargs": {"axes": joint, "min_percentile": low, "max_percentile": high, "eps": EPS}}


def _scale_linear(by: Normalization) -> dict[str, Any]:
    gain = [1 / span for span in by.range]
    return _linear(gain, [-low * rate for low, rate in zip(by.low, gain, strict=True)])


def _scale_back(by: Normalization, scale: bool) -> dict[str, Any]:
    return _linear(list(by.range), [0.0] * by.channels if scale else list(by.low))


def _linear(gain: list[float], offset: list[float]) -> dict[str, Any]:
    if len(gain) == 1:
        return {"id": "scale_linear", "kwargs": {"gain": gain[0], "offset": offset[0]}}
    return {"id": "scale_linear", "kwargs": {"axis": "channel", "gain": gain, "offset": offset}}


def _title(name: str) -> str:
    """`name` with the letters that bioimage.io allows."""
    allowed = re.sub(r"[^A-Za-z0-9_+\- /()]+", " ", name).strip()
    return allowed[:100] or "veriscope model"


def _own_files(ensemble: Ensemble, member: int | None) -> dict[str, bytes]:
    """What veriscope itself makes the model of again."""
    from tempfile import TemporaryDirectory

    chosen = ensemble.members if member is None else (ensemble.members[member],)
    with TemporaryDirectory() as place:
        own.save(Ensemble(ensemble.recipe, tuple(chosen), ensemble.facts), Path(place) / "model")  # type: ignore[arg-type]
        files = sorted((Path(place) / "model").iterdir())
        return {one.name: one.read_bytes() for one in files if one.name == RECIPE or one.suffix == ".safetensors"}


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
    lengths = pixels.shape[-len(space) :]
    wanted = [
        min(length // step * step, max(least, 256 // len(space) // step * step))
        for length, step, least in zip(lengths, recipe.step, space, strict=True)
    ]
    if any(have < least for have, least in zip(wanted, space, strict=True)):
        raise DataError(
            f"The example is too small: it needs at least {' x '.join(map(str, space))} pixels ({recipe.axes_out}), "
            f"and has {' x '.join(map(str, lengths))}. Choose a larger one."
        )
    middle: Any = (..., *(slice((a - b) // 2, (a - b) // 2 + b) for a, b in zip(lengths, wanted, strict=True)))
    return np.ascontiguousarray(pixels[middle][None])


def _spots(recipe: Recipe, space: Sequence[int], ensemble: Ensemble) -> NDArray[np.float32]:
    """Noisy blobs in the intensities of the training images, where these are known."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    known = stored_normalization(ensemble.facts, "low")
    found = []
    for channel in range(recipe.channels_in):
        low, high = (100.0, 1000.0) if known is None else (known.low[channel], known.high[channel])
        smooth = gaussian_filter((rng.random(space) < 0.01).astype(float), 2)
        noisy = smooth / smooth.max() + 0.1 * rng.standard_normal(space)
        found.append(low + (high - low) * noisy)
    return np.asarray(found, np.float32)[None]


def _cover(given: NDArray[Any], restored: NDArray[Any], recipe: Recipe) -> bytes:
    """The input on the left, the restored image on the right, of one plane, as PNG."""
    from PIL import Image as Picture

    width, height = COVER
    halves = []
    for image in (given[0, 0], restored[0, 0]):
        if image.ndim == 3:
            image = image.max(0) if recipe.projects else image[len(image) // 2]
        grey = np.clip(image * 255, 0, 255).astype(np.uint8)
        side = min(grey.shape)
        halves.append(Picture.fromarray(grey[:side, :side]).resize((width // 2, height)))
    both = Picture.new("L", COVER)
    for place, half in enumerate(halves):
        both.paste(half, (place * width // 2, 0))
    written = io.BytesIO()
    both.save(written, "PNG")
    return written.getvalue()


def _npy(array: NDArray[np.float32]) -> bytes:
    written = io.BytesIO()
    np.save(written, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return written.getvalue()


def _tiff(array: NDArray[np.float32], axes: str) -> bytes:
    import tifffile

    written = io.BytesIO()
    order = "ZCYX" if "Z" in axes else "CYX"
    shown = np.moveaxis(array[0], 0, 1) if "Z" in axes else array[0]
    tifffile.imwrite(written, np.ascontiguousarray(shown), imagej=True, metadata={"axes": order})
    return written.getvalue()
