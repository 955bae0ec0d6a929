"""Folders as the field publishes them: one folder of truths, `GT`, and beside it one for each condition of imaging.

Denoising_Planaria/train_data/data_label.npz      patches to train on, or folders as below
Denoising_Planaria/test_data/GT/*.tif             what is judged against
Denoising_Planaria/test_data/condition_1/*.tif    the same fields with less light
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from veriscope.errors import PairingError
from veriscope.images.pairing import Pairs, read_pairs
from veriscope.images.reading import holds_images

TRUTH = "GT"
TRAINING, TESTING = "train_data", "test_data"
NO_CONDITIONS = ("labels", "height")  # folders that may stand beside, of something else than images of the same fields


def read_conditions(
    folder: str | Path,
    axes: str | tuple[str, str] | None = None,
    lazy: bool | None = None,
    finer: Mapping[str, float] | None = None,
) -> dict[str, Pairs]:
    """The pairs of every condition in `folder`, each low image with the truth of the same name, by name of condition.

    `axes`, `lazy` and `finer` as in read_pairs. Pairs of one truth share their `field`, whatever the condition. Raises
    PairingError when there is no folder GT or no condition beside it.
    """
    place = Path(folder)
    truth = place / TRUTH
    names = _conditions(place)
    if not truth.is_dir() or not names:
        held = ", ".join(sorted(path.name for path in place.iterdir())) if place.is_dir() else "nothing"
        raise PairingError(
            f"'{place}' should hold a folder {TRUTH} with the truths and one folder for each condition beside it, but "
            f"holds {held or 'nothing'}. Arrange it so, or give the folders of low and high images themselves."
        )
    found = {}
    for name in names:
        pairs = read_pairs(place / name, truth, axes, lazy, finer)
        named = (replace(pair, name=f"{name}/{pair.name}", field=pair.field or pair.name) for pair in pairs)
        found[name] = Pairs(list(named))
    return found


def pooled(conditions: dict[str, Pairs]) -> Pairs:
    """All conditions together, for one model that is to restore them all."""
    return Pairs([pair for pairs in conditions.values() for pair in pairs])


def holds_conditions(folder: str | Path) -> bool:
    """Whether `folder` looks like one with conditions, by the names in it."""
    place = Path(folder)
    return (place / TRUTH).is_dir() and bool(_conditions(place))


def part(folder: str | Path, which: str) -> Path:
    """The folder `which` (TRAINING or TESTING) within `folder`; `folder` itself where there is none."""
    inside = Path(folder) / which
    return inside if inside.is_dir() else Path(folder)


def patch_file(folder: str | Path) -> Path | None:
    """The one file of training patches (.npz) in `folder`; None if there is none. Raises PairingError for several."""
    files = sorted(part(folder, TRAINING).glob("*.npz"))
    if len(files) > 1:
        raise PairingError(
            f"'{folder}' holds several files of patches: {', '.join(file.name for file in files)}. "
            f"Say which one to train on."
        )
    return files[0] if files else None


def _conditions(place: Path) -> list[str]:
    if not place.is_dir():
        return []
    return sorted(
        path.name
        for path in place.iterdir()
        if path.is_dir() and path.name not in (TRUTH, *NO_CONDITIONS) and path.name[0] != "." and holds_images(path)
    )
