"""Options that several commands share, declared once; and groups of options, which commands take as one parameter.

A group is a frozen dataclass whose fields are options. A command with a parameter of that type shows all of them in its
help, at that place, and gets one object.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast, get_type_hints

import typer

from veriscope.apps import words
from veriscope.errors import VeriscopeError

if TYPE_CHECKING:
    from veriscope.restoring import settings

LIMITS = "Time and memory"

Model = Annotated[
    Path,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="Folder written by veriscope train, or a name in veriscope models."
    ),
]
Low = Annotated[
    Path,
    typer.Argument(
        metavar="LOW",
        help="Folder of low-light images, or one file; or, without HIGH, a folder with GT and a folder for each "
        "condition in it.",
    ),
]
High = Annotated[
    Path | None,
    typer.Argument(metavar="HIGH", help="Folder of the same fields in good quality, with the same names, or one file."),
]
PairAxes = Annotated[
    str | None,
    typer.Option(
        "--axes",
        metavar="AXES",
        help="Axes of the files, such as YX, ZYX, SCYX, or ZYX,YX where LOW and HIGH differ; needed only where the "
        "files do not state them.",
    ),
]
Normalize = Annotated[
    str,
    typer.Option(
        "--normalize",
        metavar="image|frame|model",
        help="Take percentiles from the whole image or series, from each time point, or from the training images.",
    ),
]
Calibrated = Annotated[
    bool,
    typer.Option(
        "--calibrated/--raw",
        help="Correct the predicted distributions by what was measured after training (default), or leave them as the "
        "networks predict them.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, cuda, cuda:1, mps; by default the fastest.", rich_help_panel=LIMITS),
]


def option(default: Any, help: str, metavar: str | None = None, *flags: str) -> Any:
    """A field of a group: its default, its help, and its flags where they do not follow from its name.

    It stands in the panel of the help that is the `PANEL` of its group.
    """
    return field(default=default, metadata={"flags": flags, "help": help, "metavar": metavar})


@dataclass(frozen=True)
class Limits:
    """What restoring may use of the machine."""

    tile: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Tile in pixels, such as 256 or 32,256,256.", rich_help_panel=LIMITS),
    ] = None
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory to use at most, such as 4GB.", rich_help_panel=LIMITS),
    ] = None
    device: Device = None
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|float32|fast|bfloat16",
            help="auto: float32, by OpenVINO where that is faster. float32: by PyTorch. fast: bfloat16 where that is "
            "faster and differs by 0.2 % of the range at most (root mean square, first tile). bfloat16: always.",
            rich_help_panel=LIMITS,
        ),
    ] = "auto"

    def settings(self) -> settings.Machine:
        """The same as keywords of `restore`. Raises VeriscopeError for a tile that is not a size."""
        shape = words.sizes("--tile", self.tile)
        tile = shape[0] if shape and len(shape) == 1 else shape
        if self.precision not in ("auto", "float32", "fast", "bfloat16"):
            raise VeriscopeError(f"--precision {self.precision} is not known. Choose auto, float32, fast or bfloat16.")
        precision = cast('Literal["auto", "float32", "fast", "bfloat16"]', self.precision)
        return {"tile": tile, "memory": self.memory, "device": self.device, "precision": precision}


@dataclass(frozen=True)
class Workers:
    """Who does the work."""

    PANEL: ClassVar[str] = "Many machines"
    cluster: str | None = option(
        None, "Share the work among the workers of a Dask scheduler, such as tcp://host:8786.", "ADDRESS"
    )
    workers: int | None = option(None, "Share the work among so many processes on this machine.", "N")


@dataclass(frozen=True)
class Sharing(Workers):
    """Who does the work, and how what is written is cut into files."""

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
        sizes = {name: words.sizes(f"--{name}", getattr(self, name)) for name in ("chunks", "shards")}
        return {"cluster": self.cluster, "workers": self.workers, "resume": self.resume, **sizes}


def with_groups(function: Callable[..., None]) -> Callable[..., None]:
    """`function` as typer wants it: every parameter that is a group is replaced by the options in it."""
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    if not groups:
        return function
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        group = groups.get(parameter.name)
        if group is None:
            options = [(parameter.name, hints[parameter.name], parameter.default)]
        else:
            inside = get_type_hints(group, include_extras=True)
            panel = getattr(group, "PANEL", None)
            options = [(one.name, _annotated(inside[one.name], one, panel), one.default) for one in fields(group)]
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default)
            for name, hint, default in options
        ]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        made = {}
        for name, group in groups.items():
            made[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
        function(**given, **made)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _annotated(hint: Any, one: Field[Any], panel: str | None) -> Any:
    """The type of a field with the option that `option` described, if it did."""
    if not one.metadata:
        return hint
    said = dict(one.metadata)
    flags = said.pop("flags") or ((f"--{one.name.replace('_', '-')}",) if one.default is False else ())
    return Annotated[hint, typer.Option(*flags, **said, rich_help_panel=panel)]
