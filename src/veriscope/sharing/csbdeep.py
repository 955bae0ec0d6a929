"""CARE models of csbdeep: a folder with config.json and weights in HDF5, read and written without Keras.

>>> model = read("models/planaria")  # doctest: +SKIP
>>> model = read("models/liver", task="isotropic", factor=8)  # doctest: +SKIP
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from veriscope import saving
from veriscope.errors import ModelError
from veriscope.networks.checking import Whole, from_json, wrong
from veriscope.networks.facts import Facts
from veriscope.networks.folder import write_file
from veriscope.networks.model import Ensemble
from veriscope.networks.network import Network, build, outline
from veriscope.networks.projection import Projection
from veriscope.networks.recipe import PATCH, Recipe, SurfaceLayers
from veriscope.networks.unet import UNet
from veriscope.sharing import keras
from veriscope.sharing.files import free
from veriscope.wording import lengths, listed

CONFIG = "config.json"
BEST, LAST = "weights_best.h5", "weights_last.h5"
TASKS = ("isotropic", "upsample")  # not in config.json
NETWORK = {  # settings in config.json, by what a recipe calls them
    "channels_in": "n_channel_in", "channels_out": "n_channel_out", "probabilistic": "probabilistic",
    "residual": "unet_residual", "depth": "unet_n_depth", "kernel": "unet_kern_size", "base": "unet_n_first",
    "activation": "unet_last_activation",
}  # fmt: skip
SURFACE = {"depth": "proj_n_depth", "filters": "proj_n_filt", "convolutions": "proj_n_conv_per_depth"}
LENGTH = {"batch": "train_batch_size", "epochs": "train_epochs", "learning_rate": "train_learning_rate"}
_FORM: dict[str | None, Any] = {  # of config.json
    **dict.fromkeys((*NETWORK.values(), *SURFACE.values()), Whole(1, 4096)),
    "proj_kern": [Whole(1, 99)],
    "proj_pool": [Whole(1, 99)],
    **dict.fromkeys(("probabilistic", "unet_residual"), bool),
    **dict.fromkeys(("n_dim", "axes", "unet_last_activation", "unet_input_shape", "proj_axis"), object),
}
FIXED = re.compile(r"(down|up)_level_\d+_no_\d+|middle_\d+")  # names of layers; the others are numbered
TRAINED: dict[str, Any] = {  # how csbdeep trains, where it differs from a recipe's defaults
    "schedule": "plateau", "scale_weight": 0.0, "scale_rate": 1.0, "warmup": 0.0, "averaging": 0.0, "clip": 0.0,
}  # fmt: skip
TRAINING = {"patch", *LENGTH, *TRAINED}  # fields of a recipe that do not change the network


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether `path` looks like a model of csbdeep, without opening it."""
    return (Path(path) / CONFIG).is_file() and not (Path(path) / "recipe.json").exists()


def read(
    *folders: str | os.PathLike[str], weights: str = "best", task: str | None = None, factor: float | None = None
) -> Ensemble:
    """The models in `folders`, which csbdeep wrote, as one ensemble that is restored as csbdeep did by default.

    `weights`: "best", "last", or the name of a file in the folder. On disk IsotropicCARE and UpsamplingCARE look like
    CARE: add task="isotropic" or "upsample", and the `factor` by which Z is made finer. Raises ModelError for folders
    that are incomplete, damaged, or hold what cannot be expressed here.
    """
    if not folders:
        raise ModelError("There is no folder to import. Give the folder with config.json and weights_best.h5.")
    recipes, members, sources = [], [], []
    for folder in map(Path, folders):
        config = _config(folder)
        recipe, order = _recipe(config, folder, task, factor)
        path = _weights(folder, config, weights)
        network, version = _network(path, recipe, order)
        recipes.append(recipe)
        members.append(network)
        sources.append({"folder": folder.resolve().name, "weights": path.name, "keras": version, "config": config})
    names = [field.name for field in fields(Recipe) if field.name not in TRAINING]
    for other, recipe in zip(folders[1:], recipes[1:], strict=True):
        if differing := [name for name in names if getattr(recipes[0], name) != getattr(recipe, name)]:
            raise ModelError(
                f"'{folders[0]}' and '{other}' cannot be members of one ensemble: {', '.join(differing)} differ. "
                f"Import them one by one."
            )
    facts = Facts(imported={"from": "csbdeep", "members": sources}, training=_training(sources))
    return Ensemble(recipes[0], tuple(members), facts)


def write(ensemble: Ensemble, folder: str | os.PathLike[str], member: int | None = None) -> list[Path]:
    """Write every member, or one alone, counted from 0, as csbdeep does; returns the folders, one for each member.

    `folder` is that of the model where there is one member, else it holds member-0, member-1, ... Raises ModelError
    for networks that csbdeep cannot build, OutputError where a file is in the way.
    """
    target, recipe = Path(folder), ensemble.recipe
    why = [
        (not all(isinstance(m, UNet | Projection) for m in ensemble.members), "its networks are not those of CARE"),
        (recipe.stem > 1, f"it folds {recipe.stem} x {recipe.stem} pixels into channels (stem)"),
        (any(letter != "Z" for letter in recipe.finer), "it makes pixels finer along Y and X, csbdeep only along Z"),
    ]
    if broken := [reason for holds, reason in why if holds]:
        raise ModelError(
            f"This model cannot be written for csbdeep: {listed(broken)}. Export it as onnx, or train one with "
            f"--stem 1."
        )
    chosen = list(range(len(ensemble))) if member is None else [ensemble.checked(member)]
    names = ["" if len(chosen) == 1 else f"member-{number}" for number in chosen]
    text = json.dumps(_settings(recipe), indent=1).encode()
    with saving.beside(free(target), overwrite=False, folder=True) as place:
        for name, number in zip(names, chosen, strict=True):
            (place / name).mkdir(parents=True, exist_ok=True)
            keras.write(place / name / BEST, _groups(cast(Network, ensemble.members[number])))
            write_file(place / name / CONFIG, text)
    return [target / name for name in names]


# What a folder says


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not folder.exists():
        raise ModelError(f"There is no model at '{folder}'. Check the path.")
    if folder.suffix.lower() == ".zip" or (folder / "saved_model.pb").exists():
        raise ModelError(
            f"'{folder}' is an export of TensorFlow (SavedModel), which cannot be read without running it. Give the "
            f"folder that csbdeep trained in: it holds {CONFIG} and {BEST}."
        )
    if not path.is_file():
        within = sorted(one.parent.name for one in folder.glob(f"*/{CONFIG}")) if folder.is_dir() else []
        advice = f"There are models in it: {', '.join(within[:6])}. Give one of them" if within else "Give the folder"
        raise ModelError(f"'{folder}' is not a model of csbdeep: it holds no {CONFIG}. {advice} that csbdeep wrote.")
    try:
        if path.stat().st_size > 10**6:
            raise ValueError("it is too large")
        config = from_json(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("it holds no names and values")
    except (OSError, ValueError) as problem:
        raise ModelError(f"'{path}' cannot be read: {problem}. Copy the folder again.") from problem
    unknown = sorted(name for name in config if name not in _FORM and not name.startswith("train_"))
    if unknown or "axes" not in config:
        why = f"CARE has no settings {', '.join(unknown[:6])}" if unknown else "it names no axes"
        raise ModelError(
            f"'{folder}' is not a CARE model of csbdeep: {why}. Models of Noise2Void, StarDist and others have "
            f"other networks, which cannot be imported."
        )
    if said := wrong(config, {None: object, **_FORM}, CONFIG):
        raise ModelError(f"The model in '{folder}' is damaged: {said}. Copy the folder again.")
    return config


def _recipe(config: dict[str, Any], folder: Path, task: str | None, factor: float | None) -> tuple[Recipe, list[int]]:
    """The recipe, and for each of its axes (of the stack, where it projects) the place in the network's kernels."""
    axes = str(config["axes"]).upper()
    space = axes.replace("C", "")
    projects = any(name.startswith("proj_") for name in config)
    if sorted(space) not in (["X", "Y"], ["X", "Y", "Z"]) or axes.count("C") > 1:
        raise ModelError(
            f"The network in '{folder}' works on the axes {axes}. Only planes (Y, X) and stacks (Z, Y, X) with "
            f"channels can be restored here."
        )
    order = [space.index(letter) for letter in ("ZYX" if len(space) == 3 else "YX")]
    options: dict[str, Any] = {}
    if projects:
        options = _surface(config, folder, space, order)
    elif task is not None:
        options, order = _with_task(task, factor, axes, order, folder)
    if task is None and factor is not None:
        raise ModelError(f"A factor of {factor:g} needs a task: isotropic or upsample (--task upsample).")
    if projects and task is not None:
        raise ModelError(f"'{folder}' projects stacks (ProjectionCARE). Remove --task {task}.")
    known = {"probabilistic": False, "depth": 2, "kernel": 5 if len(space) == 2 else 3, **_named(config, NETWORK)}
    flat = "YX" if projects or len(space) == 2 else "ZYX"
    pools = options["projection"].step if projects else (1,) * len(flat)
    steps = [math.lcm(2 ** min(known["depth"], 8), pool) for pool in pools]
    patch = tuple(-(-n // step) * step for n, step in zip(PATCH[flat], steps, strict=True))
    given = {**known, **TRAINED, **_usable_training(config), "combine": "csbdeep", "patch": patch, **options}
    try:
        return Recipe("YX" if len(space) == 2 else "ZYX", **given), order
    except (ModelError, TypeError, ValueError) as problem:
        raise ModelError(f"The network in '{folder}' cannot be built here. {problem}") from problem


def _named(config: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """What is set, as it is called here."""
    return {name: config[key] for name, key in names.items() if key in config}


def _surface(config: dict[str, Any], folder: Path, space: str, order: Sequence[int]) -> dict[str, Any]:
    axis = config.get("proj_axis", "Z")
    if len(space) != 3 or axis != "Z":
        raise ModelError(
            f"The network in '{folder}' projects {space} along {axis}. Only stacks (Z, Y, X) can be projected here, "
            f"along Z."
        )
    sizes = config.get("proj_kern", [3, 3, 3]), config.get("proj_pool", [1 if a == axis else 2 for a in space])
    if any(len(size) != 3 for size in sizes):
        raise ModelError(f"The model in '{folder}' is damaged: proj_kern and proj_pool are three numbers each.")
    kernel, pool = ([size[place] for place in order] for size in sizes)
    if pool[0] != 1:
        raise ModelError(f"The network in '{folder}' pools planes along Z ({pool[0]}), which cannot be done here.")
    first: Any = tuple(kernel)
    layers = {"depth": 4, **_named(config, SURFACE)}
    return {"task": "project", "projection": SurfaceLayers(first, first, (pool[1], pool[2]), **layers)}


def _with_task(
    task: str, factor: float | None, axes: str, order: list[int], folder: Path
) -> tuple[dict[str, Any], list[int]]:
    if task not in TASKS:
        raise ModelError(f"The task {task} is unknown. Choose isotropic (IsotropicCARE) or upsample (UpsamplingCARE).")
    if factor is None or not (math.isfinite(factor) and factor >= 1):
        raise ModelError(
            f"A model for the task {task} needs the factor by which Z is made finer, a number from 1, as predict of "
            f"csbdeep does (--factor 4)."
        )
    wanted = "YX" if task == "isotropic" else "ZYX"
    if axes.replace("C", "") != wanted:
        raise ModelError(
            f"The network in '{folder}' has the axes {axes}, but one for the task {task} has {wanted}. "
            f"Choose another task, or none."
        )
    upsample = (float(factor), 1.0, 1.0)
    if task == "upsample":
        return {"upsample": upsample}, order
    return {"task": "isotropic", "upsample": upsample}, [1, 0]  # Z meets the network's last axis, here the first


def _weights(folder: Path, config: dict[str, Any], wanted: str) -> Path:
    present = [file for file in folder.iterdir() if file.suffix.lower() in (".h5", ".hdf5") and file.is_file()]
    present.sort(key=lambda file: (-file.stat().st_mtime, file.name))
    names = {"best": config.get("train_checkpoint", BEST), "last": config.get("train_checkpoint_last", LAST)}
    name = names.get(wanted, wanted)
    matching = [file for file in present if file.name == name]
    if not matching and wanted == "best":  # as csbdeep chooses
        matching = [file for file in present if "best" in file.name] or present
    if not matching:
        names_here = ", ".join(file.name for file in present) or "none at all"
        raise ModelError(f"'{folder}' holds no weights '{name}'. It has {names_here}. Choose with --weights FILE.")
    return matching[0]


def _network(path: Path, recipe: Recipe, order: list[int]) -> tuple[Network, str]:
    wanted = outline(recipe).state_dict()  # nothing is built for a file that does not hold it
    state: dict[str, Tensor] = {}
    with keras.opened(path) as (layers, version):
        flat = [place - sum(other < place for other in order[:1]) for place in order[1:]]
        placed = _placed(layers, recipe, path)
        if set(wanted) != {f"{key}.{part}" for key in placed for part in ("weight", "bias")}:
            raise ModelError(f"'{path}' does not fit {CONFIG} beside it: it has {len(layers)} convolutions.")
        for key, layer in placed.items():
            space = flat if recipe.projects and key.startswith("unet.") else order
            shape, have = tuple(wanted[f"{key}.weight"].shape), layer.kernel.shape
            axes = len(space) + 1, len(space), *space  # out, in, space, as PyTorch has them
            fits = len(have) == len(shape) and tuple(have[axis] for axis in axes) == shape
            if not fits or layer.bias.shape != shape[:1]:
                raise ModelError(
                    f"'{path}' does not fit {CONFIG} beside it: the layer '{layer.name}' has a kernel of "
                    f"{lengths(have)}, where {lengths(shape)} is expected (out, in, space). Copy the folder again."
                )
            kernel = np.asarray(layer.kernel[()], np.float32).transpose(axes)
            state[f"{key}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
            state[f"{key}.bias"] = torch.from_numpy(np.asarray(layer.bias[()], np.float32))
    if not all(bool(values.isfinite().all()) for values in state.values()):
        raise ModelError(f"The weights in '{path}' are not finite numbers: that training failed. Choose another file.")
    network = build(recipe)
    network.load_state_dict(state)
    return network.requires_grad_(False).eval(), version


def _placed(layers: Sequence[keras.Convolution], recipe: Recipe, path: Path) -> dict[str, keras.Convolution]:
    """The layers by their names here. Those of the U-Net have fixed names, the others come in order."""
    names = _names(recipe)
    placed = {names.get(layer.name, layer.name): layer for layer in layers if FIXED.fullmatch(layer.name)}
    rest = [layer for layer in layers if not FIXED.fullmatch(layer.name)]
    surface = [layer for layer in rest if recipe.projects and layer.kernel.ndim == 5]
    last = [layer for layer in rest if layer not in surface]
    finding = _surface_names(recipe) if recipe.projects else []
    ends = [key for name, key in names.items() if not FIXED.fullmatch(name)]
    if len(surface) != len(finding) or len(last) != len(ends):
        raise ModelError(
            f"'{path}' does not fit {CONFIG} beside it: it has {len(last)} last layers and {len(surface)} that find a "
            f"surface, but should have {len(ends)} and {len(finding)}. Copy the folder again."
        )
    return placed | dict(zip([*finding, *ends], [*surface, *last], strict=True))


def _names(recipe: Recipe) -> dict[str, str]:
    """What the layers of the U-Net are called here, by their names in csbdeep and in its order."""
    levels, kind = range(recipe.depth), f"conv{len(recipe.axes_out)}d"
    names = {f"down_level_{level}_no_{n}": f"down.{level}.{n}" for level in levels for n in range(2)}
    names |= {f"middle_{2 * n}": f"bottom.{n}" for n in range(2)}
    for place, level in enumerate(reversed(levels)):
        names |= {f"up_level_{level}_no_{2 * n}": f"up.{place}.{n}" for n in range(2)}
    names |= {kind: "mean", f"{kind}_1": "scale"} if recipe.probabilistic else {kind: "mean"}
    return {name: f"unet.{key}" if recipe.projects else key for name, key in names.items()}


def _surface_names(recipe: Recipe) -> list[str]:
    """Names of the layers that find the surface, in the order of csbdeep."""
    count, together = recipe.surface.depth, recipe.surface.convolutions
    names = [f"surface.down.{n}" for n in range(count * together)]
    names += [f"surface.up.{n}" for n in range((count + 1) * together - 1)]
    return [*names, "surface.last", "surface.logits"]


def _usable_training(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of the training, as far as it can be continued with them."""
    kinds: dict[str, Any] = {"batch": int, "epochs": int, "learning_rate": float}
    return {
        name: value
        for name, value in _named(config, LENGTH).items()
        if type(value) is kinds[name] and 0 < value < math.inf
    }


def _training(sources: Sequence[dict[str, Any]]) -> dict[str, Any]:
    config = sources[0]["config"]
    shown = {"train_epochs": "epochs", "train_steps_per_epoch": "steps_per_epoch", "train_loss": "loss"}
    known = {name: config[key] for key, name in shown.items() if isinstance(config.get(key), int | float | str)}
    return {"program": "csbdeep", **known, "members": len(sources), "finished_members": len(sources)}


# What is written


def _settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that csbdeep needs; it fills in the rest, and stops at any that it does not know."""
    config = {"axes": recipe.axes + "C", **{key: getattr(recipe, name) for name, key in NETWORK.items()}}
    if recipe.projects:
        layers = recipe.surface
        config |= {"proj_axis": "Z", **{key: getattr(layers, name) for name, key in SURFACE.items()}}
        config |= {"proj_kern": list(_largest(layers)), "proj_pool": [1, *layers.pool]}
    return config


def answered(run: Callable[[NDArray[Any]], Any], image: NDArray[Any], turned: bool) -> NDArray[Any]:
    """What `run`, which has channels last, makes of `image` (batch, channels, *space); `turned` slices have Z last too,
    which is the first axis here.
    """
    given = np.moveaxis(image.swapaxes(2, 3) if turned else image, 1, -1)
    answer = np.moveaxis(np.array(run(np.ascontiguousarray(given))), -1, 1)
    return answer.swapaxes(2, 3) if turned else answer


def kind_of(recipe: Recipe) -> str:
    """The class of csbdeep that restores as the recipe says."""
    if recipe.isotropic:
        return "IsotropicCARE"
    return "ProjectionCARE" if recipe.projects else "UpsamplingCARE" if recipe.finer else "CARE"


def _groups(network: Network) -> list[tuple[str, list[tuple[str, NDArray[Any], NDArray[Any]]]]]:
    recipe = network.recipe
    order = [1, 0] if recipe.isotropic else range(len(recipe.axes_out))
    modules = dict(network.named_modules())
    layers = [(name, *_arrays(modules[key], order)) for name, key in _names(recipe).items()]
    if not recipe.projects:
        return [(layer[0], [layer]) for layer in layers]
    size = _largest(recipe.surface)
    surface = [modules[name] for name in _surface_names(recipe)]
    model = [(f"conv3d{f'_{n}' if n else ''}", *_arrays(layer, range(3), size)) for n, layer in enumerate(surface)]
    return [("input_1", []), ("model", model), ("model_1", layers)]


def _arrays(
    layer: nn.Module, order: Sequence[int], size: Sequence[int] | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Kernel (*space, in, out) and bias; a kernel smaller than `size` with zeros around it, which changes nothing."""
    kernel = cast(Tensor, layer.weight).detach().cpu().numpy()
    kernel = kernel.transpose(*(2 + n for n in order), 1, 0)
    if size is not None:
        around = [((n - have) // 2,) * 2 for n, have in zip(size, kernel.shape, strict=False)]
        kernel = np.pad(kernel, [*around, (0, 0), (0, 0)])
    return kernel, cast(Tensor, layer.bias).detach().cpu().numpy()


def _largest(layers: SurfaceLayers) -> tuple[int, ...]:
    return tuple(map(max, layers.first, layers.kernel))
