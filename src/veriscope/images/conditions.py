"""Folders as the field publishes them: one folder of ground truth, `GT`, and beside it one for each condition.

Denoising_Planaria/train_data/data_label.npz      patches to train on, or folders as below
Denoising_Planaria/test_data/GT/*.tif             ground truth to judge against
Denoising_Planaria/test_data/condition_1/*.tif    the same fields at low light
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
NO_CONDITIONS = ("labels", "height")  # folders that may lie beside, without images of the same fields


def read_conditions(
    folder: str | Path,
    axes: str | tuple[str, str] | None = None,
    lazy: bool | None = None,
    finer: Mapping[str, float] | None = None,
) -> dict[str, Pairs]:
    """The pairs of every condition in `folder`, each low image with the ground truth of the same name, by condition.

    `axes`, `lazy` and `finer` as in read_pairs. Pairs with one ground truth share their `field`.
    Raises PairingError when there is no folder GT or no condition beside it.
    """
    place = Path(folder)
    truth = place / TRUTH
    names = _conditions(place)
    if not truth.is_dir() or not names:
        held = ", ".join(sorted(path.name for path in place.iterdir())) if place.is_dir() else "nothing"
        raise PairingError(
            f"'{place}' should hold a folder {TRUTH} with the ground truth and one folder for each condition, but "
            f"holds {held or 'nothing'}. Arrange it like that, or give the folders of low and high images."
        )
    conditions = {}
    for name in names:
        pairs = read_pairs(place / name, truth, axes, lazy, finer)
        named = (replace(pair, name=f"{name}/{pair.name}", field=pair.field or pair.name) for pair in pairs)
        conditions[name] = Pairs(list(named))
    return conditions


def pooled(conditions: dict[str, Pairs]) -> Pairs:
    """All conditions together, for one model that restores them all."""
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
            f"Give the one to train on."
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
