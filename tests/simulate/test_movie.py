"""A wing over time: cells keep their numbers, the light fades as told, and every frame can be made again."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from math import exp

import numpy as np
import pytest

from veriscope.errors import DataError
from veriscope.simulate.flow import Flow
from veriscope.simulate.movie import WingMovie, movie
from veriscope.simulate.standins import STANDINS, Simulated

SHAPE = (14, 72, 80)
WING = WingMovie(frames=5, photons=60.0, bleach=2.0)


@cache
def made() -> Simulated:
    return movie(WING, SHAPE, seed=3)


def test_a_movie_holds_stacks_planes_labels_and_heights() -> None:
    images = made().images
    assert {name: (image.axes, image.shape) for name, image in images.items()} == {
        "input": ("TZYX", (5, *SHAPE)),
        "GT": ("TYX", (5, 72, 80)),
        "height": ("TYX", (5, 72, 80)),
        "labels": ("TYX", (5, 72, 80)),
    }
    assert images["input"].voxel_size == (1.0, 0.25, 0.25)
    assert images["labels"].voxel_size == (0.25, 0.25)
    assert (images["input"].dtype, images["labels"].dtype) == (np.uint16, np.uint16)


def test_a_cell_keeps_its_number_from_frame_to_frame() -> None:
    labels = np.asarray(made().images["labels"])
    assert set(np.unique(labels)) == set(range(1, int(labels.max()) + 1))
    for before, after in pairwise(labels):
        inside = np.unique(before[24:48, 24:56])  # far from the borders nobody leaves
        for cell in inside:
            was, is_now = before == cell, after == cell
            assert (was & is_now).sum() > 0.5 * min(was.sum(), is_now.sum())
        assert (before != after).mean() > 0.02  # and they do move


def test_cells_move_as_was_drawn() -> None:
    still = Flow(drift_um=(1.0, 1.0), shear=(0, 0), rotation=(0, 0), jostle_um=0.0)
    taken = movie(WingMovie(frames=4, bleach=None, flow=still), (4, 80, 80), seed=0)
    labels = np.asarray(taken.images["labels"])
    whole = [cell for cell in np.unique(labels[:, 20:60, 20:60]) if not _at_border(labels, cell)]
    assert len(whole) >= 2
    for cell in whole:
        first, last = (np.argwhere(labels[t] == cell).mean(0) * 0.25 for t in (0, 3))
        # Middles move by 3 um; the wobble of membranes stays with the field
        np.testing.assert_allclose(last - first, 3 * np.array(taken.drawn["flow"]["drift"]), atol=0.4)


def _at_border(labels: np.ndarray, cell: int) -> bool:
    mine = labels == cell
    return bool(mine[:, [0, -1]].any() or mine[:, :, [0, -1]].any() or not mine.any((1, 2)).all())


def test_the_light_fades_and_the_truth_does_not() -> None:
    stacks = np.asarray(made().images["input"], np.float64) - 100
    light = stacks.mean((1, 2, 3))
    np.testing.assert_allclose(light / light[0], [exp(-t / 2) for t in range(5)], atol=0.05)
    truth = np.asarray(made().images["GT"], np.float64).mean((1, 2))
    assert np.ptp(truth) < 0.1 * truth.mean()
    steady = np.asarray(movie(WingMovie(frames=3, bleach=None), (6, 32, 32)).images["input"], np.float64) - 100
    assert np.ptp(steady.mean((1, 2, 3))) < 0.1 * steady.mean()


def test_membranes_of_the_truth_run_where_cells_meet_in_every_frame() -> None:
    images = made().images
    for labels, truth in zip(np.asarray(images["labels"]), np.asarray(images["GT"], np.float64), strict=True):
        meets = np.zeros(labels.shape, bool)
        meets[:-1] |= labels[:-1] != labels[1:]
        meets[:, :-1] |= labels[:, :-1] != labels[:, 1:]
        assert truth[meets].mean() - 100 > 3 * (truth[~meets].mean() - 100)


def test_what_was_drawn_survives_json_and_makes_the_same_movie_frame_by_frame() -> None:
    drawn = json.loads(json.dumps(made().drawn))
    again = WING.apply(drawn)
    for name, image in made().images.items():
        np.testing.assert_array_equal(image, again.images[name])
    alone = WING.frame(drawn, 3)
    np.testing.assert_array_equal(alone.height, np.asarray(made().images["height"])[3])
    assert not np.array_equal(movie(WING, SHAPE, seed=4).images["labels"], made().images["labels"])


def test_new_cells_come_in_where_others_leave() -> None:
    fast = Flow(drift_um=(4.0, 4.0))
    labels = np.asarray(movie(WingMovie(frames=9, flow=fast, bleach=None), (3, 64, 64), seed=1).images["labels"])
    assert labels.min() == 1  # nowhere is nobody
    assert set(labels[0].ravel()).isdisjoint(labels[-1].ravel())  # 32 um are more than field and cell
    sizes = np.bincount(labels[-1].ravel())
    assert sizes.max() * 0.25**2 < 3 * 0.87 * 6.5**2  # and none is as large as the edge of a sheet would be


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"frames": 0}, "at least 1 frame, not 0"),
        ({"photons": 0.0}, "photons of the first frame must be above 0"),
        ({"bleach": -1.0}, "37 % of the light are left must be above 0"),
        ({"bleach": 0.1}, "No light would be left after 20 frames"),
        ({"landscape": 0.0}, "surface is another must be above 0"),
        ({"stand": STANDINS["planaria"]}, "Only epithelia are simulated over time"),
    ],
)
def test_impossible_movies_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        WingMovie(**wrong)  # type: ignore[arg-type]


def test_movies_larger_than_memory_and_negative_seeds_are_refused() -> None:
    with pytest.raises(DataError, match=r"do not fit in memory\. Choose fewer frames"):
        movie(WingMovie(frames=100_000, bleach=None), (50, 500, 500))
    with pytest.raises(DataError, match="whole number from 0, not -1"):
        movie(WING, SHAPE, seed=-1)
