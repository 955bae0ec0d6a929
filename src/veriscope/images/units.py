"""Lengths to um and times to seconds, with the many spellings found in image files."""

from __future__ import annotations

import re
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
