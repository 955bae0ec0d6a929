"""What a file states of an image besides pixels and axes.

Lengths and times, in the many spellings of units that are found in files, become um and seconds; the rest is read,
carried through unchanged, and written back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import inf, isfinite
from typing import Any

_MICROMETRES = {
    "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "um": 1.0, "µm": 1.0, "μm": 1.0, "nm": 1e-3, "pm": 1e-6,
    "Å": 1e-4, "in": 25400.0,
    "meter": 1e6, "metre": 1e6, "centimeter": 1e4, "centimetre": 1e4, "millimeter": 1e3, "millimetre": 1e3,
    "micron": 1.0, "micrometer": 1.0, "micrometre": 1.0, "nanometer": 1e-3, "nanometre": 1e-3,
    "picometer": 1e-6, "picometre": 1e-6, "angstrom": 1e-4, "inch": 25400.0,
}  # fmt: skip
_SECONDS = {
    "h": 3600.0, "min": 60.0, "s": 1.0, "sec": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6,
    "ns": 1e-9, "d": 86400.0,
    "day": 86400.0, "hour": 3600.0, "minute": 60.0, "second": 1.0, "millisecond": 1e-3, "microsecond": 1e-6,
    "nanosecond": 1e-9,
}  # fmt: skip


@dataclass(frozen=True)
class Channel:
    """What a channel shows, "" where unknown: its name, and its colour as RRGGBB."""

    name: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Carried:
    """Facts of an image that no computation here uses.

    `channels` has one entry for each channel, or none. `position` is where the first voxel of the image lies on the
    stage, by spatial letter: a number and its unit, as the file gives them. `labels` has one entry for each plane.
    """

    channels: tuple[Channel, ...] = ()
    position: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    acquired: str = ""  # time of acquisition, ISO 8601
    description: str = ""
    labels: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    @property
    def channel_names(self) -> list[str]:
        return [channel.name for channel in self.channels if channel.name]

    def fitting(self, channels: int, planes: int) -> Carried:
        """The same without what belongs to other numbers of channels or planes."""
        labels = self.labels if len(self.labels) == planes else ()
        return replace(self, channels=self.channels if len(self.channels) == channels else (), labels=labels)

    def of(self, channels: slice | None, cut: Iterable[str]) -> Carried:
        """Of a part of the image: some of its channels (None: all), without the position along the axes `cut`."""
        position = {letter: place for letter, place in self.position.items() if letter not in set(cut)}
        return replace(self, channels=self.channels[channels or slice(None)], position=position)

    def describe(self) -> dict[str, str]:
        """What a person wants to know."""
        places = (f"{letter} {value:g} {unit}".rstrip() for letter, (value, unit) in sorted(self.position.items()))
        names = ", ".join(channel.name or "?" for channel in self.channels) if self.channel_names else ""
        known = {"channels": names, "position": ", ".join(places), "acquired": self.acquired}
        return {name: value for name, value in known.items() if value}


NOTHING = Carried()


def named(names: Sequence[str], colours: Sequence[str] = ()) -> tuple[Channel, ...]:
    """Channels called `names`; none where nothing is stated of any of them."""
    known = zip(names, [*colours, *[""] * len(names)], strict=False)
    channels = tuple(Channel(name.strip(), colour) for name, colour in known)
    return channels if any(channel.name or channel.colour for channel in channels) else ()


def encodable(text: str) -> str:
    """`text` without what UTF-8 and XML cannot hold: halves of characters, such as names in another encoding give, and
    control characters. Each becomes "?".
    """
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c in "\t\n\r" or (c >= " " and c not in "\x7f\ufffe\uffff") else "?" for c in whole)


def micrometres(value: float, unit: str | None) -> float | None:
    """`value` in um; None when the unit is unknown (pixels, empty) or the value is not a positive length."""
    return _convert(value, unit, _MICROMETRES)


def seconds(value: float, unit: str | None) -> float | None:
    """`value` in seconds; None when the unit is unknown or the value is not a positive time."""
    return _convert(value, unit, _SECONDS)


def as_number(value: Any) -> float:
    """`value` as a number, also with a decimal comma; 0 where it is not one."""
    try:
        number = float(value.replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if isfinite(number) else 0.0


def _convert(value: float, unit: str | None, table: dict[str, float]) -> float | None:
    # ImageJ writes the micro sign as the six letters \u00B5
    word = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), unit or "").strip()
    lower = word.lower()
    factor = table.get(word) or table.get(lower if len(lower) > 2 else word)
    if factor is None and len(lower) > 3:
        factor = table.get(lower.removesuffix("s")) or (table["in"] if lower == "inches" and "in" in table else None)
    number = as_number(value) * (factor or 0)
    return float(f"{number:.12g}") if 0 < number < inf else None  # 260 nm is 0.26 um, not 0.26000000000000001
