"""Packages of bioimage.io, read: our own, and those from other programs whose network is in ONNX and makes images.

TorchScript, pickled weights of PyTorch, Keras and TensorFlow would have to be executed, and are not read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from veriscope.errors import ModelError
from veriscope.images.image import Image
from veriscope.networks import folder as own
from veriscope.networks.facts import Facts
from veriscope.networks.graph import OnnxNetwork, session
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Foreign, Recipe
from veriscope.patches.npz import UNREADABLE
from veriscope.sharing.files import Zipped, is_own, needed, opened

DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml", "model.yaml")
LETTERS = {"batch": "b", "channel": "c"}
LARGEST_TEXT = 2**20  # bytes of a description
FAR = 1e-2  # of the range of the package's own test: the network is not used as it is meant to be
BLUNT = 1e-6  # of the range: less is rounding
PROBES = 6
LONGEST = {2: 1024, 3: 192}  # pixels of the image looked at
WORK = 1.5  # memory for the work of convolutions, beside their tensors


def read(path: str | os.PathLike[str]) -> Ensemble:
    """The model in the package at `path`, a .zip file. Raises ModelError for what cannot be read or restored here."""
    with opened(Path(path)) as package:
        description = _description(package)
        config = description.get("config")
        veriscope = config.get("veriscope") if isinstance(config, Mapping) else None
        if isinstance(veriscope, Mapping) and isinstance(veriscope.get("files"), Mapping):
            return _own(package, veriscope["files"])
        return _foreign(package, description)


def is_package(path: Path) -> bool:
    """Whether `path` is a zip file with the description of a package."""
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    with opened(path) as package:
        return bool(_descriptions(package))


def _descriptions(package: Zipped) -> list[str]:
    return [name for name in sorted(package.infos) if name in DESCRIPTIONS or name.endswith(".bioimageio.yaml")]


def _description(package: Zipped) -> Mapping[str, Any]:
    names = _descriptions(package)
    if not names:
        raise ModelError(f"'{package.path}' is not a package of bioimage.io: it holds no {DESCRIPTIONS[0]}.")
    contents = package.read(names[0], most=LARGEST_TEXT)
    try:
        description = json.loads(contents)
    except (ValueError, RecursionError):
        yaml = needed("yaml")
        try:
            description = yaml.safe_load(contents)
        except (yaml.YAMLError, ValueError, RecursionError) as problem:
            where = f"The description in '{package.path}' is damaged"
            raise ModelError(f"{where} ({str(problem).splitlines()[0]}).") from problem
    if not isinstance(description, Mapping) or description.get("type", "model") != "model":
        raise ModelError(f"'{package.path}' does not describe a model ({names[0]}). Get the package again.")
    return description


def _own(package: Zipped, files: Mapping[str, Any]) -> Ensemble:
    """What veriscope packed: the recipe and the weights as they were."""
    with TemporaryDirectory() as place:
        for name, sha256 in files.items():
            if Path(str(name)).name != name or not is_own(name):
                raise ModelError(f"'{package.path}' names the file '{str(name)[:80]}', which no model has. Not opened.")
            (Path(place) / name).write_bytes(package.read(name, str(sha256)))
        try:
            ensemble = own.load(place)
        except ModelError as problem:
            raise ModelError(
                f"The model in '{package.path}' cannot be read. {problem}".replace(place, "it")
            ) from problem
    return replace(ensemble, facts=replace(ensemble.facts, package=package.path.name))


def _foreign(package: Zipped, description: Mapping[str, Any]) -> Ensemble:
    weights = description.get("weights")
    onnx = weights.get("onnx") if isinstance(weights, Mapping) else None
    if not isinstance(onnx, Mapping):
        names = ", ".join(map(str, weights)) if isinstance(weights, Mapping) and weights else "none"
        raise ModelError(
            f"'{package.path}' holds weights that would have to be executed or unpickled to be read ({names}), and "
            f"none in ONNX. Ask its authors for ONNX, or convert it with bioimageio.core."
        )
    contents = package.read(str(onnx.get("source")), onnx.get("sha256"))
    try:
        image, result = (_tensor(description[which], which) for which in ("inputs", "outputs"))
        recipe = _recipe(image, result, hashlib.sha256(contents).hexdigest())
        # results return to grey values here, so a package's own step for that is not needed; others cannot be used
        steps = [_name(step) for step in result.get("postprocessing") or []]
        if others := [name for name in steps if name not in ("ensure_dtype", "scale_linear")]:
            raise ModelError(f"It changes its images by {', '.join(others)}, so they are not restored images.")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as problem:
        if isinstance(problem, ModelError):
            raise ModelError(f"The model in '{package.path}' cannot be used here. {problem}") from problem
        raise ModelError(
            f"The description in '{package.path}' is damaged, or of an unknown form ({problem!r:.200})."
        ) from problem
    network = OnnxNetwork(recipe, contents)
    halo = network.foreign.halo if any(network.foreign.halo) else measured_halo(network)
    foreign = replace(network.foreign, halo=halo, bytes=measured_bytes(network))
    network = OnnxNetwork(replace(recipe, foreign=foreign), contents)
    authors = [author for author in description.get("authors") or () if isinstance(author, Mapping)]
    imported: dict[str, Any] = {
        "from": "bioimage.io",
        "name": str(description.get("name", ""))[:200],
        "authors": [str(author.get("name", ""))[:100] for author in authors][:50],
        "licence": str(description.get("license", "unknown"))[:100],
    }
    if (difference := _tested(package, description, network)) is not None:
        imported["apart_from_its_test"] = difference
    facts = Facts(imported=imported, training={"program": "unknown", "members": 1, "finished_members": 1})
    return Ensemble(network.recipe, (network,), facts)


# What a description says of images


def _tensor(tensors: Any, which: str) -> Mapping[str, Any]:
    if not isinstance(tensors, Sequence) or not tensors or (which == "inputs" and len(tensors) > 1):
        raise ModelError(f"Its networks have {len(tensors)} {which}; one image in and one out is needed.")
    first: Mapping[str, Any] = tensors[0]
    return first


def _axes(tensor: Mapping[str, Any], channels_in: int = 0) -> dict[str, Mapping[str, Any]]:
    """The axes of a tensor by their letters "bczyx", as newer descriptions list them; older ones state a word and a
    shape, in which the channels of a result may follow from `channels_in`.
    """
    axes, shape, halo = tensor["axes"], tensor.get("shape"), tensor.get("halo")
    if not isinstance(axes, str):
        letters = [LETTERS.get(axis["type"], str(axis.get("id", axis["type"]))) for axis in axes]
        described = dict(zip(letters, axes, strict=True))
    else:
        letters, described = list(axes), {}
        for place, letter in enumerate(letters):
            if not isinstance(shape, Mapping):
                size: Any = shape[place] if shape else None
                channels = size
            elif "min" in shape:
                size = {"min": shape["min"][place], "step": shape["step"][place]}
                channels = size["min"]
            else:
                scale, offset = float(shape["scale"][place] or 0), float((shape.get("offset") or [0] * 9)[place])
                size = {"axis_id": letter, "offset": offset if scale == 1 else 1}
                channels = round(scale * channels_in + 2 * offset)
            described[letter] = {"size": size, "halo": halo[place] if halo else 0}
            if letter == "c":
                described[letter] |= {"channel_names": range(int(channels))}
    if len(described) != len(axes) or set(described) - set("bczyx") or not set("yx") <= set(described):
        raise ModelError(f"Its axes are {''.join(letters)}; images of Z, Y, X are needed.")
    return described


def _recipe(image: Mapping[str, Any], result: Mapping[str, Any], sha256: str) -> Recipe:
    axes = _axes(image)
    channels_in = len(axes["c"]["channel_names"]) if "c" in axes else 1
    axes_out = _axes(result, channels_in)
    channels_out = len(axes_out["c"]["channel_names"]) if "c" in axes_out else 1
    letters, letters_out = "".join(axes), "".join(axes_out)
    space = "zyx" if "z" in letters else "yx"
    if set(letters) & set("zyx") != set(letters_out) & set("zyx"):
        raise ModelError(f"It turns images with the axes {letters} into images with {letters_out}.")
    least, step = zip(*(_size(axes[letter], letter) for letter in space), strict=True)
    halo = tuple(_halo(axes_out[letter]) for letter in space)
    scaling = _scaling(image.get("preprocessing") or [], channels_in)
    foreign = Foreign(sha256, step, least, halo, letters, letters_out, 1.0, **scaling)
    sizes = channels_in, channels_out, False, 1, 1, 1  # nothing is known of the network's own
    return Recipe(space.upper(), *sizes, foreign=foreign)


def _size(axis: Mapping[str, Any], letter: str) -> tuple[int, int]:
    """The smallest length along an axis, and the step of larger ones."""
    size = axis["size"]
    if not isinstance(size, Mapping) or "min" not in size:
        raise ModelError(f"It takes images of {size} pixels along {letter} only, so it cannot work in tiles.")
    least, step = int(size["min"]), int(size["step"])
    if step < 1 or least % step:
        raise ModelError(f"It takes lengths of {least} + n x {step} along {letter}, which tiles cannot have.")
    return least, step


def _halo(axis: Mapping[str, Any]) -> int:
    size, scale = axis["size"], float(axis.get("scale", 1))
    if not isinstance(size, Mapping) or "axis_id" not in size or size.get("offset", 0) or scale != 1:
        raise ModelError("Its results differ in size from its input.")
    return int(axis.get("halo", 0))


def _scaling(steps: Sequence[Mapping[str, Any]], channels: int) -> dict[str, Any]:
    """How images are scaled for the network."""
    steps = [step for step in steps if _name(step) != "ensure_dtype"]
    if len(steps) > 1:
        raise ModelError(f"It prepares images by {', '.join(map(_name, steps))}; only a single step can be used here.")
    if not steps:
        return {"scaling": "fixed", "low": (0.0,) * channels, "high": (1.0,) * channels}
    name, options = _name(steps[0]), steps[0].get("kwargs") or {}
    mode = options.get("mode", "per_sample")
    if options.get("reference_tensor") or mode not in ("per_sample", "fixed"):
        raise ModelError(f"It prepares images by {name} of other images, which are not available.")
    if name == "scale_range" or (name == "zero_mean_unit_variance" and mode == "per_sample"):
        axes = options.get("axes")
        if channels > 1 and (axes is None or "c" in axes or "channel" in axes):
            raise ModelError("It normalises all channels together, and here each has its own percentiles.")
        if name != "scale_range":
            return {"scaling": "moments"}
        ends = float(options.get("min_percentile", 0)), float(options.get("max_percentile", 100))
        return {"scaling": "percentiles", "percentiles": ends}
    if name in ("zero_mean_unit_variance", "fixed_zero_mean_unit_variance"):
        low, span = (_each(options[key], channels) for key in ("mean", "std"))
    elif name == "scale_linear":
        gain, offset = _each(options.get("gain", 1), channels), _each(options.get("offset", 0), channels)
        low, span = tuple(-b / a for a, b in zip(gain, offset, strict=True)), tuple(1 / a for a in gain)
    else:
        raise ModelError(f"It prepares images by {name}, which is not known here.")
    return {"scaling": "fixed", "low": low, "high": tuple(a + b for a, b in zip(low, span, strict=True))}


def _name(step: Mapping[str, Any]) -> str:
    return str(step.get("id") or step.get("name"))


def _each(values: Any, channels: int) -> tuple[float, ...]:
    if isinstance(values, list | tuple):
        return tuple(float(value) for value in values)
    return (float(values),) * channels


def _tested(package: Zipped, description: Mapping[str, Any], network: OnnxNetwork) -> float | None:
    """How far the network is from the package's own result for its test image, as a fraction of the range; None if
    that is unclear. Raises ModelError where they have nothing in common.
    """
    from veriscope.restoring.restore import restore

    entries = description["inputs"][0], description["outputs"][0]
    if entries[1].get("postprocessing"):
        return None
    if "test_tensor" in entries[0]:
        tests = [entry["test_tensor"] for entry in entries]
        sources = [(test.get("source"), test.get("sha256")) for test in tests]
    else:
        sources = [((description.get(f"test_{which}") or [None])[0], None) for which in ("inputs", "outputs")]
    if not all(isinstance(source, str) and source.endswith(".npy") for source, _ in sources):
        return None
    image, expected = (_array(package, str(source), sha256) for source, sha256 in sources)
    letters = network.foreign.axes_in
    pixels = np.asarray(image[0] if letters[0] == "b" else image, np.float32)
    model = Ensemble(network.recipe, (network,))
    restored = restore(Image(pixels, letters.replace("b", "").upper()), model, undo=False, device="cpu", lazy=False)
    result = restored.means[0]
    wanted = expected[0] if network.foreign.axes_out[0] == "b" else expected
    if result.size != wanted.size:
        return None
    difference = float(np.abs(result.reshape(wanted.shape) - wanted).max() / max(float(np.ptp(wanted)), 1e-12))
    if not difference <= FAR:  # also where it is not a number
        raise ModelError(
            f"The model in '{package.path}' does not reproduce the package's own result for its test image (it differs "
            f"by {difference:.2g} of the range), so it is not imported."
        )
    return difference


def _array(package: Zipped, source: str, sha256: object) -> NDArray[Any]:
    contents = io.BytesIO(package.read(source, sha256))
    try:
        array: NDArray[Any] = np.load(contents, allow_pickle=False)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"it holds {array.dtype}")
    except (*UNREADABLE, OSError) as problem:
        raise ModelError(f"'{source[:80]}' in '{package.path}' is not an array of numbers ({problem}).") from problem
    return array


def measured_halo(network: OnnxNetwork) -> tuple[int, ...]:
    """How far, per spatial axis, a change of one pixel changes the result.

    Pixels at several places within a step are made much brighter and much darker, one after the other. Raises
    ModelError when the whole image changes: such a network cannot work in tiles.
    """
    dimensions = len(network.step)
    length = 64 if dimensions == 2 else 24
    rng = np.random.default_rng(0)
    while length <= LONGEST[dimensions]:
        pairs = zip(network.foreign.least, network.step, strict=True)
        lengths = [max(least, -(-length // step) * step) for least, step in pairs]
        halo = _seen(network, lengths, rng)
        if all(2 * far + 2 * step < whole for far, step, whole in zip(halo, network.step, lengths, strict=True)):
            return halo
        length *= 2
    raise ModelError("This graph uses the whole image for every pixel, as by normalising, so it cannot work in tiles.")


def _seen(network: OnnxNetwork, lengths: list[int], rng: np.random.Generator) -> tuple[int, ...]:
    image = torch.from_numpy(rng.random((1, network.recipe.channels_in, *lengths), np.float32))
    answer = network(image)
    least = BLUNT * float(answer.max() - answer.min())
    corners = list(product(*({0, step - 1} for step in network.step)))
    offsets = [*corners, *(tuple(int(rng.integers(step)) for step in network.step) for _ in range(PROBES))]
    far = np.zeros(len(lengths), np.intp)
    for offset in offsets:
        pixel = [n // 2 // step * step + at for n, step, at in zip(lengths, network.step, offset, strict=True)]
        for change in (10.0, -10.0):
            changed, place = image.clone(), cast(Any, (..., *pixel))
            changed[place] += change
            reached = np.argwhere(((network(changed) - answer).abs() > least).any(0).any(0).numpy())
            far = np.maximum(far, np.abs(reached - pixel).max(axis=0, initial=0))
    return tuple(far.tolist())


def measured_bytes(network: OnnxNetwork) -> float:
    """Memory per voxel at the peak, about: all tensors within the graph that are needed at the same time."""
    import onnx

    model = onnx.load_from_string(network.contents)
    nodes = list(model.graph.node)
    names = [name for node in nodes for name in node.output if name]
    had = [one.name for one in model.graph.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in had)
    lengths = [max(least, 2 * step) for least, step in zip(network.foreign.least, network.step, strict=True)]
    probe = session(model.SerializeToString())
    letters = {"b": 1, "c": network.recipe.channels_in, **dict(zip(network.recipe.axes.lower(), lengths, strict=True))}
    shape = [letters[letter] for letter in network.foreign.axes_in]
    values: list[Any] = probe.run(None, {probe.get_inputs()[0].name: np.zeros(shape, np.float32)})
    sizes = {one.name: np.asarray(value).nbytes for one, value in zip(probe.get_outputs(), values, strict=True)}
    last = {name: number for number, node in enumerate(nodes) for name in (*node.input, *node.output)}
    alive: dict[str, int] = {}
    peak = 0
    for number, node in enumerate(nodes):
        alive |= {name: sizes.get(name, 0) for name in node.output}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last[name] > number or name in had}
    return max(WORK * peak / prod(lengths), 1.0)
