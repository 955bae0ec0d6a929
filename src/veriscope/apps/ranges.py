"""The ranges of numeric options: checked in one place, before a command begins, so that none ends in a traceback."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from math import isfinite
from typing import Any, get_args, get_type_hints

from veriscope.errors import VeriscopeError

Range = tuple[float, float]

# By the name of the parameter; None where the range depends on the model.
RANGES: dict[str, Range | None] = {
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


def numbers(function: Callable[..., Any]) -> dict[str, str]:
    """The numeric options of a command: names of parameters, and as they are typed."""
    options = {}
    for name, hint in get_type_hints(function, include_extras=True).items():
        kind = getattr(hint, "__origin__", hint)
        if {int, float} & {kind, *get_args(kind)} and name != "return":
            declared = [word for option in getattr(hint, "__metadata__", ()) for word in _words(option)]
            options[name] = next(iter(declared), f"--{name.replace('_', '-')}")
    return options


def _words(option: Any) -> list[str]:
    """What is typed; typer keeps the first word of an Annotated option where others have the default."""
    words = [getattr(option, "default", None), *(getattr(option, "param_decls", None) or ())]
    return [word for word in words if isinstance(word, str) and word.startswith("--")]


def checked(function: Callable[..., None]) -> Callable[..., None]:
    """`function`, which raises VeriscopeError for numbers outside of RANGES."""
    options = numbers(function)

    @functools.wraps(function)
    def command(*args: Any, **named: Any) -> None:
        values = inspect.signature(function).bind(*args, **named).arguments
        for name, option in options.items():
            limits = RANGES[name]
            if limits is not None and values.get(name) is not None:
                check(option, values[name], *limits)
        function(*args, **named)

    return command


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
