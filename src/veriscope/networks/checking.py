"""Whether values from a file are what they should be: types, bounds and shapes, with the name of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from veriscope.errors import ModelError
from veriscope.wording import listed

DEEPEST, LARGEST = 100, 2**28  # levels, and bytes, of a description


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int


@dataclass(frozen=True)
class Real:
    """A finite number from `least` to `most`."""

    least: float = -1e300
    most: float = 1e300


class OneOf:
    """One of several forms, None among them where it may be left empty."""

    def __init__(self, *forms: Any) -> None:
        self.forms = forms


Kind = TypeVar("Kind")
Form = Any
"""bool, str, object (anything), Whole, Real, OneOf, a tuple of words to choose from, [form] for a list of any length,
or {name: form} for names that may be there; the name None stands for all others."""


def wrong(value: Any, form: Form, name: str) -> str:
    """What is wrong with `value`, called `name`, in words; "" where it has the `form`."""
    if isinstance(form, OneOf):
        if value is None and None in form.forms:
            return ""
        found = [wrong(value, one, name) for one in form.forms if one is not None]
        return found[0] if all(found) else ""
    if isinstance(form, list):
        if not isinstance(value, list | tuple):
            return f"{name} is a list, not {_short(value)}"
        return next((said for n, one in enumerate(value) if (said := wrong(one, form[0], f"{name}[{n}]"))), "")
    if isinstance(form, dict):
        if not isinstance(value, Mapping):
            return f"{name} is a group of named values, not {_short(value)}"
        known = ((key, form.get(key, form.get(None, object))) for key in value)
        return next((said for key, one in known if (said := wrong(value[key], one, f"{name}.{key}"))), "")
    if isinstance(form, tuple):
        right = isinstance(value, str) and value in form
        return "" if right else f"{name} is {listed(filter(None, form), 'or')}, not {_short(value)}"
    if isinstance(form, Whole | Real):
        kind = int if isinstance(form, Whole) else int | float
        if not isinstance(value, kind) or isinstance(value, bool):
            return f"{name} is a {'whole ' * isinstance(form, Whole)}number, not {_short(value)}"
        within = form.least <= value <= form.most  # neither holds for NaN
        return "" if within else f"{name} lies between {form.least:,} and {form.most:,}, not {_short(value)}"
    words = {bool: "true or false", str: "text"}
    return "" if form is object or isinstance(value, form) else f"{name} is {words[form]}, not {_short(value)}"


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # whole numbers of thousands of digits
        text = "a huge number"
    return text if len(text) <= 40 else f"{text[:37]}..."


def to_json(one: Any) -> dict[str, Any]:
    """The fields of a dataclass of plain values, tuples as lists."""
    fields: dict[str, Any] = json.loads(json.dumps(asdict(one)))
    return fields


def made(kind: type[Kind], values: Any, form: dict[str, Form]) -> Kind:
    """The dataclass `kind` whose `to_json` gave `values`. Raises ModelError for anything else."""
    said = wrong(values, form, kind.__name__)
    if said or set(values) != set(form):
        raise ModelError(f"This recipe is damaged: {said or f'{kind.__name__} has other fields'}.")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def from_json(text: str) -> Any:
    """The value in a JSON text. Raises ValueError for what is no JSON, NaN, infinity, and deep nesting."""
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text) / 1e6:.0f} MB")

    def refuse(word: str) -> None:
        raise ValueError(f"it holds {word}, which is no number")

    try:
        value = json.loads(text, parse_constant=refuse)
        if _depth(value) > DEEPEST:
            raise RecursionError
    except RecursionError as problem:
        raise ValueError("it is nested too deeply") from problem
    return value


def _depth(value: Any) -> int:
    """Levels of lists and groups."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)
