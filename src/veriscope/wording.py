"""Numbers, sizes and lists as people read them: the only place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def listed(names: Iterable[object], last: str = "and") -> str:
    """ "a", "a and b", "a, b and c"."""
    *first, end = [str(name) for name in names] or [""]
    return f"{', '.join(first)} {last} {end}" if first else end


def shortened(names: Iterable[object], most: int = 10) -> str:
    """The first of many names: "a, b, c and 4 more"."""
    words = [str(name) for name in names]
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def counted(count: int, what: str) -> str:
    """ "1 image", "3 images"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def lengths(values: Iterable[object]) -> str:
    """Sizes along several axes: "16 x 64 x 64", "0.3 x 0.1 x 0.1"; what is None is unknown."""
    words = (
        "unknown" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in values
    )
    return " x ".join(words)


def size(count: float) -> str:
    """A number of bytes: "640 bytes", "1.5 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """A time: "5 s", "12 min", "3.0 h"."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def number(value: object) -> str:
    """A score: four digits; those of several channels one by one; what is not a number as it is."""
    if isinstance(value, list | tuple):
        return ", ".join(number(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short_names(paths: Sequence[str]) -> list[str]:
    """The last part of every path, with as many of those before it as it takes to distinguish them."""
    split = [[part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] or [path] for path in paths]
    for count in range(1, max(map(len, split), default=1) + 1):
        names = ["/".join(parts[-count:]) for parts in split]
        if len(set(names)) == len(set(paths)):
            return names
    return list(paths)
