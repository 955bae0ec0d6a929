"""A whole experiment of the paper, simulated into a folder that looks like the published ones.

train_data/condition_1/field-01.ome.tif    images at each level of light, and GT beside them
test_data/GT/field-01.ome.tif              ground truth without noise
test_data/labels/field-01.ome.tif          which voxel belongs to which nucleus or cell
test_data/parameters/field-01.json         everything that chance decided for this field
parameters.json                            the settings, and all that is needed to make the same files again
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from veriscope import saving
from veriscope.errors import DataError, OutputError
from veriscope.images.conditions import TESTING, TRAINING
from veriscope.images.image import Image
from veriscope.images.writing import save_image
from veriscope.simulate.movie import WingMovie, movie
from veriscope.simulate.standins import INPUT, SCALES, STANDINS, TRUTH, Simulated, StandIn
from veriscope.version import __version__

SETTINGS, DRAWN = "parameters.json", "parameters"
OWN = {INPUT: "low", TRUTH: "high"}  # folders of pairs to train with, as the other commands call them
Progress = Callable[[int, int], object]  # fields done, fields in all


def standin(name: str) -> StandIn:
    """The stand-in called `name`. Raises DataError, with the names there are, for any other."""
    if name not in STANDINS:
        raise DataError(f"There is no experiment called '{name}'. Choose one of {', '.join(STANDINS)}.")
    return STANDINS[name]


def checked_scale(scale: str) -> str:
    if scale not in SCALES:
        raise DataError(f"There is no scale called '{scale}'. Choose one of {', '.join(SCALES)}.")
    return scale


def field(name: str, part: str, number: int, seed: int, scale: str = "small") -> Simulated:
    """Field `number` (from 0) of a `part` ("train_data", "test_data"): the same for the same arguments."""
    stand = standin(name)
    _, training, _, testing = stand.fields[checked_scale(scale)]
    rng = np.random.default_rng((seed, zlib.crc32(name.encode()), part == TESTING, number))
    return stand.make(stand, rng, testing if part == TESTING else training, part == TESTING)


def simulate(
    name: str,
    folder: str | Path,
    seed: int = 0,
    scale: str = "small",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write all fields of experiment `name` at a `scale` (tiny, small, paper) to a new `folder`, and return it.

    Same seed, same files, bit by bit. Nothing appears under the final name before all is there. Raises DataError for
    unknown names and scales, OutputError when `folder` exists (and is not an earlier simulation to `overwrite`).
    """
    training, _, testing, _ = standin(name).fields[checked_scale(scale)]
    wanted = [(part, number) for part, count in ((TRAINING, training), (TESTING, testing)) for number in range(count)]
    with _whole(folder, seed, overwrite, settings(name, seed, scale)) as made:
        for done, (part, number) in enumerate(wanted):
            if progress is not None:
                progress(done, len(wanted))
            _write(made / part, f"field-{number + 1:02d}", field(name, part, number, seed, scale))
    return Path(folder)


def simulate_pairs(
    stand: StandIn,
    folder: str | Path,
    count: int,
    shape: Sequence[int],
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write `count` training pairs of a stand-in of your own to a new `folder`: low, high, and parameters beside them.

    Each field has `shape` voxels. Otherwise as `simulate`.
    """
    if count < 1:
        raise DataError(f"The number of fields is at least 1, not {count}.")
    known = {"experiment": "own", "seed": seed, "veriscope": __version__, "fields": count, "shape": list(shape)}
    with _whole(folder, seed, overwrite, {**known, **stand.settings()}) as made:
        for number in range(count):
            if progress is not None:
                progress(number, count)
            rng = np.random.default_rng((seed, number))
            _write(made, f"field-{number + 1:04d}", stand.make(stand, rng, tuple(shape), False), OWN)
    return Path(folder)


def simulate_movie(
    wing: WingMovie,
    folder: str | Path,
    shape: Sequence[int],
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a movie to a new `folder`: low, high, labels and height, each one file, and all that chance decided.

    Its stacks have `shape` voxels (Z Y X). Otherwise as `simulate`.
    """
    known = {"experiment": "movie", "seed": seed, "veriscope": __version__, "shape": list(shape)}
    with _whole(folder, seed, overwrite, {**known, **wing.settings()}) as made:
        simulated = movie(wing, tuple(shape), seed, progress)
        for kind, image in simulated.images.items():
            _save(made / f"{OWN.get(kind, kind)}.ome.tif", image)
        _write_json(made / "drawn.json", simulated.drawn)
    return Path(folder)


@contextmanager
def _whole(folder: str | Path, seed: int, overwrite: bool, facts: dict[str, Any]) -> Iterator[Path]:
    """A folder beside `folder`, which takes its place with `facts` in it when the work is done."""
    target = Path(folder)
    if seed < 0:
        raise DataError(f"A seed is a whole number from 0, not {seed}.")
    refuse_existing(target, overwrite)
    with saving.explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with saving.beside(target, overwrite, folder=True) as made:
        yield made
        _write_json(made / SETTINGS, facts)


def settings(name: str, seed: int, scale: str) -> dict[str, Any]:
    """What makes a simulation: the same settings with the same version make the same files."""
    stand = standin(name)
    training, train_shape, testing, test_shape = stand.fields[scale]
    return {
        "experiment": name,
        "scale": scale,
        "seed": seed,
        "veriscope": __version__,
        "fields": {
            TRAINING: {"count": training, "shape": list(train_shape)},
            TESTING: {"count": testing, "shape": list(test_shape)},
        },
        **stand.settings(),
    }


def made_by(folder: str | Path) -> dict[str, Any] | None:
    """The settings of the simulation in `folder`; None where there is none."""
    try:
        known = json.loads((Path(folder) / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return known if isinstance(known, dict) and "experiment" in known else None


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Stop before the work when `target` is there already; replace simulations only, never another folder."""
    if not saving.exists(target):
        return
    if not overwrite:
        raise OutputError(f"'{target}' exists already. Choose another name, or ask to overwrite it.")
    if not target.is_dir() or (any(target.iterdir()) and made_by(target) is None):
        raise OutputError(f"'{target}' exists and is not a simulation, so it is not replaced. Choose another name.")


def _write(part: Path, name: str, simulated: Simulated, folders: Mapping[str, str] | None = None) -> None:
    for named, image in simulated.images.items():
        kind = (folders or {}).get(named, named)
        (part / kind).mkdir(parents=True, exist_ok=True)
        _save(part / kind / f"{name}.ome.tif", image)
    (part / DRAWN).mkdir(parents=True, exist_ok=True)
    _write_json(part / DRAWN / f"{name}.json", simulated.drawn)


def _save(path: Path, image: Image) -> None:
    """As `save_image`; the mark of an OME-TIFF, random otherwise, is made from what it holds."""
    mark = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest())
    save_image(path, image, uuid=str(mark))


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
