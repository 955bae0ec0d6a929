"""A model is a folder: recipe.json, one safetensors file of weights per member, log.csv. Nothing in it is executed.

Members that are graphs of others are kept as they came, as ONNX.

Training writes the same files one by one, so that what is on disk can be loaded at any moment.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from veriscope import saving
from veriscope.errors import ModelError, OutputError
from veriscope.networks import facts, shipped
from veriscope.networks.checking import LARGEST, Whole, from_json, wrong
from veriscope.networks.facts import Facts
from veriscope.networks.graph import OnnxNetwork
from veriscope.networks.model import Ensemble
from veriscope.networks.network import Network, build, outline
from veriscope.networks.recipe import Recipe
from veriscope.version import __version__

FORMAT = 1  # of recipe.json; grows when an older veriscope could no longer read the folder
DESCRIPTION = "recipe.json"
LOG = "log.csv"
UNFINISHED = "unfinished.safetensors"  # the state of a member in training
# of recipe.json; the recipe itself is checked where it is made
_FORM = {"format": Whole(1, FORMAT), "recipe": {}, "members": Whole(0, 1000), "facts": facts.FORM}


@dataclass(frozen=True)
class Description:
    """recipe.json."""

    recipe: dict[str, Any]
    members: int  # that have weights
    facts: Facts


def member_file(number: int, kind: str = "safetensors") -> str:
    """Name of the weights of member `number`, counted from 0; of `kind` "onnx" where it is a graph."""
    return f"member-{number}.{kind}"


def save(ensemble: Ensemble, folder: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Write `ensemble` to a new folder and return its path. Raises OutputError if it exists, unless `overwrite`."""
    target = Path(folder)
    refuse_existing(target, overwrite)
    with saving.explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with saving.beside(target, overwrite or saving.exists(target), folder=True) as made:
        for number, member in enumerate(ensemble.members):
            if isinstance(member, OnnxNetwork):
                write_file(made / member_file(number, "onnx"), member.contents)
            else:
                write_member(made, number, member.state_dict())
        write_description(made, ensemble.recipe, len(ensemble), ensemble.facts)
        write_log(made, ensemble.facts.history)
    return target


def load(folder: str | os.PathLike[str]) -> Ensemble:
    """The ensemble saved in `folder`, or that comes with veriscope by this name, on the CPU.

    Raises ModelError when it is missing, damaged or too new.
    """
    source = shipped.place(folder)
    described = read_description(source)
    recipe, count = Recipe.from_json(described.recipe), described.members
    if count < 1:
        raise ModelError(f"The model '{source}' has no trained member yet. Train it, or resume its training.")
    if recipe.foreign is not None:
        try:
            files = [(source / member_file(number, "onnx")).read_bytes() for number in range(count)]
        except OSError as problem:
            said = f"The model is incomplete: '{problem.filename}' cannot be read. Copy the whole folder again."
            raise ModelError(said) from problem
        return Ensemble(recipe, tuple(OnnxNetwork(recipe, file) for file in files), described.facts)
    return Ensemble(recipe, tuple(read_members(source, recipe, count)), described.facts)


def read_members(folder: Path, recipe: Recipe, count: int) -> list[Network]:
    """The first `count` members in `folder`. Raises ModelError as `load` does."""
    return [_member(folder / member_file(number), recipe) for number in range(count)]


def is_model(folder: str | os.PathLike[str]) -> bool:
    """Whether `folder` looks like a model, without opening it."""
    return (Path(folder) / DESCRIPTION).is_file()


def occupied(target: Path) -> bool:
    """Whether there is something at `target` to be kept: more than a training that ended before its first figures."""
    if not saving.exists(target):
        return False
    names = {path.name for path in target.iterdir()} if target.is_dir() else {target.name}
    if DESCRIPTION in names and names <= {DESCRIPTION, LOG}:
        with suppress(ModelError):
            return read_description(target).members > 0
    return bool(names)


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Stop before the work when `target` is there already; replace models only, never another folder."""
    if not occupied(target):
        return
    if not overwrite:
        raise OutputError(f"'{target}' exists already. Choose another name, or ask to overwrite it.")
    if not is_model(target):
        raise OutputError(
            f"'{target}' exists and is not a veriscope model, so it is not replaced. Choose another name."
        )


def clear(target: Path) -> None:
    """Remove what a training left in the folder `target` so far; the folder itself and everything else stay."""
    for path in (*target.glob("member-*.safetensors"), target / UNFINISHED, target / LOG, target / DESCRIPTION):
        path.unlink(missing_ok=True)


def read_description(folder: Path) -> Description:
    """recipe.json, checked. Raises ModelError."""
    if not folder.exists():
        raise ModelError(
            f"There is no model at '{folder}'. Give the folder that training wrote, or a network that comes with "
            f"veriscope: {', '.join(shipped.names())}."
        )
    if not is_model(folder):
        raise ModelError(
            f"'{folder}' is not a veriscope model: it holds no {DESCRIPTION}. Give the folder training wrote."
        )
    try:
        with open(folder / DESCRIPTION, encoding="utf-8") as file:
            described = from_json(file.read(LARGEST + 1))
        form, recipe, count, known = (described[name] for name in ("format", "recipe", "members", "facts"))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ModelError(f"The model '{folder}' is damaged: {DESCRIPTION} cannot be read ({problem}).") from problem
    if isinstance(form, int) and form > FORMAT:
        raise ModelError(
            f"The model '{folder}' was written by a newer veriscope (format {form}; this one reads up to {FORMAT}). "
            f"Update veriscope to use it."
        )
    if said := wrong(described, _FORM, DESCRIPTION):
        raise ModelError(f"The model '{folder}' is damaged: {said}.")
    return Description(recipe, count, Facts.from_json(known))


@contextmanager
def trusted(folder: object) -> Iterator[None]:
    """While facts of a model are used: what they lack or twist becomes a ModelError."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as problem:
        raise ModelError(
            f"The model '{folder}' is damaged: {DESCRIPTION} does not hold what it should ({type(problem).__name__}: "
            f"{problem}). Copy it again, or train again."
        ) from problem


def write_description(folder: Path, recipe: Recipe, members: int, known: Facts) -> None:
    described: dict[str, Any] = {"format": FORMAT, "veriscope": __version__, "recipe": recipe.to_json()}
    described |= {"members": members, "facts": known.to_json()}
    write_file(folder / DESCRIPTION, json.dumps(described, indent=1, allow_nan=False).encode())


def write_member(folder: Path, number: int, weights: Mapping[str, Tensor]) -> None:
    write_tensors(folder / member_file(number), weights)


def write_log(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """log.csv: one line per round of training, of all members."""
    if not history:
        return
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    write_file(folder / LOG, text.getvalue().encode())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> None:
    """A safetensors file with a checksum of its contents, so that a flipped bit is noticed when it is read."""
    flat = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    write_file(path, to_bytes(flat, {**(notes or {}), "sha256": checksum(flat)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes of a file written by `write_tensors`. Raises ModelError when it is missing or damaged."""
    if not path.is_file():
        raise ModelError(f"The model is incomplete: '{path}' is missing. Copy the whole folder again, or train again.")
    if not os.access(path, os.R_OK):
        raise ModelError(f"'{path}' may not be read. Change its permissions, or copy the model as its owner.")
    try:
        with safe_open(path, framework="pt", device="cpu") as opened:
            notes = dict(opened.metadata() or {})
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError, RuntimeError) as problem:
        raise ModelError(f"'{path}' is damaged or cut short ({problem}). Copy it again, or train again.") from problem
    if notes.pop("sha256", None) != checksum(tensors):
        raise ModelError(
            f"'{path}' is damaged: its checksum does not match its contents. Copy it again, or train again."
        )
    return tensors, notes


def write_file(path: Path, contents: bytes) -> None:
    """All of `contents` or nothing, and on the disk when this returns."""
    saving.write(path, contents, keep=True)


def _member(path: Path, recipe: Recipe) -> Network:
    weights, _ = read_tensors(path)
    wanted = {name: tuple(one.shape) for name, one in outline(recipe).state_dict().items()}
    if wanted != {name: tuple(one.shape) for name, one in weights.items()}:  # known before anything is built
        raise ModelError(
            f"The weights in '{path}' do not fit the recipe beside them: the folder mixes two models, or is damaged."
        )
    known = (torch.float32, torch.float16)  # what comes with veriscope is kept in half precision
    if any(tensor.dtype not in known or not bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise ModelError(f"The weights in '{path}' are not finite 32-bit numbers: training failed, or it is damaged.")
    network = build(recipe)
    network.load_state_dict(weights)
    return network.requires_grad_(False).eval()


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Of names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
