"""Options that several commands share, declared once; and groups of options, which commands take as one parameter.

A group is a frozen dataclass whose fields are options. A command with a parameter of that type shows all of them in its
help, at that place, and gets one object.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import typer

from veriscope import saving
from veriscope.apps import words
from veriscope.errors import VeriscopeError
from veriscope.wording import listed

if TYPE_CHECKING:
    from veriscope.restoring import settings

REQUIRED: Any = MISSING
ONE_OF = "Choose one of {}."  # advice for a word that is not known


def option(default: Any, help: str, metavar: str | None = None, *flags: str, **more: Any) -> Any:
    """An option of a command or a group: its default, its help, and its flags where they do not follow from its name.

    `more` is as of `typer.Option`. In a group it stands in the panel of the help that is the `PANEL` of its group.
    Where its type is a Literal, other words are refused with an `error` (VeriscopeError) and `advice`, in which {} are
    the words; by default "Choose a, b or c.". `suffixes` are those of a file to write, in commands with `overwrite`.
    """
    return field(default=default, metadata={"flags": flags, "help": help, "metavar": metavar, **more})


def argument(help: str, metavar: str, default: Any = REQUIRED, **more: Any) -> Any:
    """A word of a command that is told by its place."""
    return field(default=default, metadata={"flags": None, "help": help, "metavar": metavar, **more})


# By the name of the parameter; None where the range depends on the model.
RANGES: dict[str, tuple[float, float] | None] = {
    "members": (1, 1000), "member": None, "minutes": (0.001, 10**6), "epochs": (1, 10**7), "check": (0.001, 0.999),
    "seed": (0, 2**32 - 1), "depth": None, "base": None, "kernel": None, "stem": None, "batch": None,
    "learning_rate": None, "per_image": (1, 10**6), "foreground": (0, 1), "subsample": (1, 1000), "channel": (0, 10**6),
    "interval": (1e-6, 1 - 1e-6), "probability": (1e-12, 1e12), "frames": (1, 10_000), "crop": (1, 10**6),
    "block": (1, 10_000), "blur": (0, 1000), "smooth": (0, 1000), "min_size": (0, 2**31 - 1), "split": (0.01, 1000),
    "cells": (0.0001, 0.9999), "trees": (1, 10_000), "iou": (0.0001, 1), "sweep": (1, 10_000),
    "gain": (1e-6, 1e6), "offset": (-1e6, 1e6), "read_noise": (0, 1e5), "photons": (1e-3, 1e9),
    "background": (-1e6, 1e6), "factor": (1, 1000),
    "fields": (1, 10**6), "pixel": (0.01, 10), "radius": (0.1, 1000), "width": (0.05, 100), "bleach": (0.1, 1e6),
    "drift": (0, 1000), "workers": (1, 1024),
}  # fmt: skip
PAGES, CHARTS = (".html", ".htm"), (".svg", ".png")  # suffixes
LIMITS = "Time and memory"
MODEL = option(REQUIRED, "Folder written by veriscope train, or a name in veriscope models.", "MODEL", "--model", "-m")
LOW = argument(
    "Folder of low-light images, or one file; or, without HIGH, a folder with GT and a folder for each condition in "
    "it.",
    "LOW",
)
HIGH = argument("Folder of the same fields in good quality, with the same names, or one file.", "HIGH", None)
PAIR_AXES = option(
    None,
    "Axes of the files, such as YX, ZYX, SCYX, or ZYX,YX where LOW and HIGH differ; needed only where the files do not "
    "state them.",
    "AXES",
)
Way = Literal["image", "frame", "model"]
NORMALIZE = option(
    "image", "Take percentiles from the whole image or series, from each time point, or from the training images."
)
CALIBRATED = option(
    True,
    "Correct the predicted distributions by what was measured after training (default), or leave them as the networks "
    "predict them.",
    None,
    "--calibrated/--raw",
)
DEVICE = option(None, "cpu, cuda, cuda:1, mps; by default the fastest.", rich_help_panel=LIMITS)
Form = Literal["tif", "zarr"]
FORM = option(
    None, "Write OME-TIFF (default) or OME-Zarr.", None, "--format", advice="Choose tif (OME-TIFF) or zarr (OME-Zarr)."
)


@dataclass(frozen=True)
class Limits:
    PANEL: ClassVar[str] = LIMITS
    tile: str | None = option(None, "Tile in pixels, such as 256 or 32,256,256.", "SIZE")
    memory: str | None = option(None, "Memory to use at most, such as 4GB.", "SIZE")
    device: str | None = DEVICE
    precision: Literal["auto", "float32", "fast", "bfloat16"] = option(
        "auto",
        "auto: float32, by OpenVINO where that is faster. float32: by PyTorch. fast: bfloat16 where that is faster and "
        "differs by 0.2 % of the range at most (root mean square, first tile). bfloat16: always.",
    )

    def settings(self) -> settings.Machine:
        """The same as keywords of `restore`. Raises VeriscopeError for a tile that is not a size."""
        shape = words.sizes("--tile", self.tile)
        tile = shape[0] if shape and len(shape) == 1 else shape
        return {"tile": tile, "memory": self.memory, "device": self.device, "precision": self.precision}


@dataclass(frozen=True)
class Workers:
    PANEL: ClassVar[str] = "Many machines"
    cluster: str | None = option(
        None, "Share the work among the workers of a Dask scheduler, such as tcp://host:8786.", "ADDRESS"
    )
    workers: int | None = option(None, "Share the work among so many processes on this machine.", "N")


@dataclass(frozen=True)
class Sharing(Workers):
    resume: bool = option(
        False,
        "Continue a restoration that was interrupted, and omit images that are done. A journal beside each result says "
        "which tiles are finished.",
    )
    chunks: str | None = option(None, "Chunks of the OME-Zarr in pixels, such as 256 or 16,256,256.", "SIZE")
    shards: str | None = option(None, "Pack chunks into files of so many pixels, such as 64,1024,1024.", "SIZE")

    @property
    def wanted(self) -> bool:
        """Whether results are written in tasks, as OME-Zarr."""
        return bool(self.cluster or self.workers is not None or self.resume or self.chunks or self.shards)

    def settings(self) -> dict[str, Any]:
        """The same as keywords of `restore_to_file`."""
        return vars(self) | {name: words.sizes(f"--{name}", getattr(self, name)) for name in ("chunks", "shards")}


def with_groups(function: Callable[..., None]) -> Callable[..., None]:
    """`function` as typer wants it: options as annotations, those of a group in place of the parameter that it is.

    Before the work begins it raises VeriscopeError for numbers outside of RANGES, and OutputError for files of other
    `suffixes` than declared, or that cannot be written. `numbers` of it are the numeric options, as they are typed.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    declared: list[tuple[str, Any, Field[Any], str | None]] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            inside, panel = get_type_hints(groups[name], include_extras=True), getattr(groups[name], "PANEL", None)
            declared += [(one.name, inside[one.name], one, panel) for one in fields(groups[name])]
        else:
            declared.append((name, hints[name], parameter.default, None))
    typed = {name: _typed(name, one) for name, _, one, _ in declared}
    numbers = {name: typed[name] for name, hint, *_ in declared if {int, float} & {hint, *get_args(hint)}}
    targets = {name: one.metadata["suffixes"] for name, _, one, _ in declared if "suffixes" in one.metadata}

    @functools.wraps(function)
    def command(**given: Any) -> None:
        for name, word in numbers.items():
            if (limits := RANGES[name]) is not None and given[name] is not None:
                check(word, given[name], *limits)
        for name, suffixes in targets.items():
            if given[name] is not None:
                saving.check_target(given[name], suffixes, given["overwrite"], typed[name])
        for name, group in groups.items():
            given[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
        function(**given)

    parameters = [_parameter(*one) for one in declared]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    command.numbers = numbers  # type: ignore[attr-defined]
    return command


def _typed(name: str, declared: Field[Any]) -> str:
    """How an option is typed: its first long flag."""
    flags = (flag for flag in declared.metadata["flags"] or () if flag.startswith("--"))
    return next(flags, f"--{name.replace('_', '-')}")


def check(option: str, value: float, least: float, most: float) -> None:
    """Raise VeriscopeError unless `value` is a number from `least` to `most`."""
    if not (isfinite(value) and least <= value <= most):
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        raise VeriscopeError(
            f"{option} {shown if len(shown) < 30 else shown[:27] + '...'} is not possible. Give a number from "
            f"{_plain(least)} to {_plain(most)}."
        )


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e10 else f"{value:g}"


def _among(words: list[str], way_out: str, error: type[VeriscopeError]) -> Callable[..., str | None]:
    def known(typed: typer.CallbackParam, value: str | None) -> str | None:
        if value not in (None, *words):
            raise error(f"{typed.opts[0]} {value} is not known. {way_out}")
        return value

    return known


def _parameter(name: str, hint: Any, declared: Field[Any], panel: str | None) -> inspect.Parameter:
    """What `option` or `argument` declared, for typer."""
    said, default = {"rich_help_panel": panel, **declared.metadata}, declared.default
    flags, advice, error = said.pop("flags"), said.pop("advice", ""), said.pop("error", VeriscopeError)
    said.pop("suffixes", None)
    if flags == () and default is False:
        flags = (_typed(name, declared),)
    if words := [word for part in (hint, *get_args(hint)) if get_origin(part) is Literal for word in get_args(part)]:
        way_out = advice.format(", ".join(words)) or f"Choose {listed(words, 'or')}."
        hint, said["callback"] = str | None, _among(words, way_out, error)
        said["metavar"] = said["metavar"] or "|".join(words)
    typed = typer.Argument(**said) if flags is None else typer.Option(*flags, **said)
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[hint, typed], default=default)
