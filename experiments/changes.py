"""Which changes of its own images should training look at, so that later ones are noticed? Trials behind `changes`.

    python experiments/changes.py --models DIR    # W2S models of benchmarks/calibration.py; a minute each on one core

Fields that the networks were trained on (1-36 of W2S), in four parts: what images look like and what changes do to them
is learned from three parts, as after training, and asked of the fourth. False alarms: its images as they are, and crops
of half and a quarter of their length. Noticed: the same images changed as benchmarks/failures.py changes test images,
whether the change does harm or not. The filters know all these fields, so that only differences between rows count.

Rows: without and with light that fades among the changes; and Fisher's direction with the covariance of images alone,
or with that of what the change does to each image beyond its mean.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import veriscope as vs
from veriscope import changes
from veriscope.familiarity import ALARMS, CHANGED, LIKE_SIZE
from veriscope.looking import counted
from veriscope.networks.filters import Filters, filters_of
from veriscope.textures import Piece
from veriscope.training.aside import PHOTOGRAPHED, _renormalized, _turned, window_of

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
import failures
import machine
import w2s

FOLDS, TURNS, CROPS = 4, 2, 4
*_, FADING = changes.WAYS
ASKED = ("out of focus, 2 px", "out of focus, 4 px", "objective x 2, not said", "objective / 2, not said")
ASKED += ("exposure / 3", "bleached along X", "no flat field")


@dataclass(frozen=True)
class Asked:
    """What filters answer on one field: (patches, values) each."""

    usual: list[NDArray[Any]] = field(default_factory=list)
    changed: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    pieces: list[tuple[int, int, NDArray[Any]]] = field(default_factory=list)  # size, windows, answers
    tests: dict[str, tuple[int, NDArray[Any]]] = field(default_factory=dict)  # windows, answers


def ask(filters: Filters, window: Sequence[int], pair: Any, rng: np.random.Generator) -> Asked:
    """Everything that is asked of one field."""

    def answers(image: Any) -> NDArray[Any]:
        own = _renormalized(image, image)
        assert own is not None
        return filters(own[0]).astype(np.float32)

    found = Asked()
    plain = np.asarray(pair.low, np.float32)[None], np.asarray(pair.high, np.float32)[None]
    both = _renormalized(*plain, alike=True)
    assert both is not None
    for turn in range(TURNS):
        low, high = (_turned(one, turn) for one in both)
        found.usual.append(filters(low).astype(np.float32))
        found.changed.append({name: answers(one) for name, one in changes.photographs(low, high, rng)})
    for size in range(3):
        length = both[0].shape[-1] >> size
        for _ in range(CROPS if size else 1):
            y, x = rng.integers(0, both[0].shape[-1] - length + 1, 2)
            crop = both[0][:, y : y + length, x : x + length]
            found.pieces.append((size, counted(crop.shape[1:], window), answers(crop)))
    images = (np.asarray(one, np.float64) for one in (pair.low, pair.high))
    for name, case in failures.changed(*images, None, rng):
        if name in ASKED:
            found.tests[name] = counted(case.low.shape, window), answers(case.low.astype(np.float32)[None])
    return found


def learned(fields: Mapping[int, Asked], ways: Sequence[str], first: int, apart: bool) -> changes.Changes:
    """As `training.aside` learns changes after training."""
    usual = {n: np.array([changes.described(view) for view in one.usual]) for n, one in fields.items()}
    shifts: dict[str, list[Any]] = {name: [] for name in ways}
    for turn, one in [*product(range(TURNS), fields.values())][:PHOTOGRAPHED]:
        seen = {name: changes.described(view) for name, view in one.changed[turn].items()}
        for name in ways:
            shifts[name].append(seen[name] - seen[""])
    if not apart:
        shifts = {name: [np.mean(every, axis=0)] for name, every in shifts.items()}
    pieces = [Piece(size, n, windows, seen, first) for n, one in fields.items() for size, windows, seen in one.pieces]
    found = changes.fit(usual, shifts, pieces, CHANGED * ALARMS)
    assert found is not None
    return found


def alarm(known: changes.Changes, windows: int, answers: NDArray[Any]) -> bool:
    usual = next(one for one in known.sizes if one.windows <= LIKE_SIZE * windows)
    return max(known.scores(answers, usual).values()) > 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--only", nargs="+", default=["w2s0", "w2s1", "w2s2"])
    given = parser.parse_args()
    print(machine.header("Changes that training looks at: alarms in % of the fields of another part"), flush=True)
    print(f"\n{'':31}{'false alarms: whole, crops':28}" + " ".join(f"{name[:14]:>14}" for name in ASKED))
    for name in given.only:
        model = vs.load(given.models / name)
        filters, window = filters_of(model.members, model.recipe.patch), window_of(model.recipe.patch)
        assert filters is not None
        places = w2s.DATA / f"ch{name[3]}"
        pairs = vs.read_pairs(places / "low", places / "high", axes="YX")
        known = [pair for pair in pairs if int(pair.name[-3:]) not in w2s.TESTED]
        rng = np.random.default_rng(0)
        asked = dict(enumerate(ask(filters, window, pair, rng) for pair in known))
        order = rng.permutation(len(asked)).tolist()
        without = [way for way in changes.WAYS if way != FADING]
        for (title, ways), apart in product((("four", without), ("with fading", [*changes.WAYS])), (False, True)):
            false: dict[int, list[bool]] = {}
            noticed: dict[str, list[bool]] = {}
            for part in range(FOLDS):
                others = {n: one for n, one in asked.items() if n not in order[part::FOLDS]}
                changed = learned(others, ways, filters.first, apart)
                for number in order[part::FOLDS]:
                    for size, windows, answers in asked[number].pieces:
                        false.setdefault(size, []).append(alarm(changed, windows, answers))
                    for change, (windows, answers) in asked[number].tests.items():
                        noticed.setdefault(change, []).append(alarm(changed, windows, answers))
            spread = "images and changes" if apart else "images"
            said = " ".join(f"{100 * np.mean(one):8.1f}" for one in false.values())
            print(
                f"{name} {title:11} {spread:18} {said:20}"
                + " ".join(f"{100 * np.mean(noticed[change]):14.0f}" for change in ASKED),
                flush=True,
            )


if __name__ == "__main__":
    main()
