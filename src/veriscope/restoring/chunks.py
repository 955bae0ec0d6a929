"""Chunks that fit tiles: what a tile gives is written as whole pieces of a file."""

from __future__ import annotations

from collections.abc import Sequence

from veriscope.restoring.frames import Frames

SIDE = {"Z": 16, "Y": 256, "X": 256}  # pixels of a chunk on disk, about


def chunks(parts: Frames, core: Sequence[int], channels: int) -> tuple[int, ...]:
    """Good chunks of a result with so many channels whose tiles give `core` pixels of each frame."""
    cores = dict(zip(parts.space, core, strict=True))
    axes, shape = parts.result_axes(channels), parts.result_shape(channels)
    return tuple(
        min(size, chunk(cores[letter], SIDE[letter]) if letter in cores else SIDE[letter] if letter in "YX" else 1)
        for letter, size in zip(axes, shape, strict=True)
    )


def chunk(core: int, about: int) -> int:
    """A length of chunks near `about` that divides `core`, so that no tile writes a part of a chunk; else `about`."""
    if core <= about:
        return core
    fitting = [n for n in range(max(1, about // 3), about * 3 // 2 + 1) if core % n == 0]
    return min(fitting, key=lambda n: abs(n - about), default=about)
