"""Numbers and lists in words for people: the only place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def size(count: float) -> str:
    """Bytes: "64 bytes", "1.5 GB"."""
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


def times(lengths: Iterable[object]) -> str:
    """Lengths along axes: "16 x 64 x 64"."""
    return " x ".join(map(str, lengths))


def listed(names: Iterable[object], word: str = "and") -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    *first, last = map(str, names)
    return f"{', '.join(first)} {word} {last}" if first else last


def number(value: object) -> str:
    """A score: four digits; lists one by one; names as they are."""
    if isinstance(value, (list, tuple)):
        return ", ".join(number(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def short_names(paths: Sequence[str]) -> list[str]:
    """The last part of every path, with as many of those before it as it takes to tell them apart."""
    split = [[part for part in path.replace("\\", "/").split("/") if part not in ("", ".")] or [path] for path in paths]
    for count in range(1, max(map(len, split), default=1) + 1):
        names = ["/".join(parts[-count:]) for parts in split]
        if len(set(names)) == len(set(paths)):
            return names
    return list(paths)
