"""The epithelium: its flat picture is what lies at its height, cells have their size, debris stays above."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope.simulate.epithelium import Epithelium, Sheet
from veriscope.simulate.scene import Drawn

SHAPE, VOXEL = (40, 120, 120), (1.0, 0.3, 0.3)


def made(epithelium: Epithelium, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> tuple[Drawn, Sheet]:
    drawn = epithelium.draw(np.random.default_rng(seed), shape, VOXEL)
    return drawn, epithelium.apply(drawn)


def at_height(sheet: Sheet) -> np.ndarray:
    """The stack's light at the height map, linear between planes."""
    light, height = np.asarray(sheet.light), np.asarray(sheet.height)
    below = np.minimum(np.floor(height).astype(int), len(light) - 2)
    part = height - below
    first, second = (np.take_along_axis(light, (below + step)[None], axis=0)[0] for step in (0, 1))
    return np.asarray((1 - part) * first + part * second)


def test_the_target_is_what_lies_at_the_height() -> None:
    _, sheet = made(Epithelium())
    target = np.asarray(sheet.target)
    assert np.corrcoef(at_height(sheet).ravel(), target.ravel())[0, 1] > 0.99
    for shift in (-5, 5):
        moved = replace(sheet, height=sheet.height.with_array(np.asarray(sheet.height) + shift))
        assert at_height(moved).mean() < 0.5 * target.mean()


def test_everything_fits_the_stack() -> None:
    _, sheet = made(Epithelium())
    assert (sheet.light.axes, sheet.target.axes, sheet.height.axes, sheet.labels.axes) == ("ZYX", "YX", "YX", "YX")
    assert sheet.target.shape == sheet.height.shape == sheet.labels.shape == SHAPE[1:]
    assert sheet.target.voxel_size == VOXEL[1:]
    assert np.asarray(sheet.labels).min() == 1


@settings(max_examples=15)
@given(planes=st.integers(1, 40), relief=st.floats(0, 30), seed=st.integers(0, 1000))
def test_the_height_stays_in_the_stack_and_within_the_relief(planes: int, relief: float, seed: int) -> None:
    epithelium = Epithelium(relief_um=relief, relief_scale_um=5.0, cell_um=9.0)
    drawn, sheet = made(epithelium, seed, (planes, 40, 40))
    height = np.asarray(sheet.height)
    assert drawn["level"] - drawn["relief"] + 1e-3 >= 0
    assert drawn["level"] + drawn["relief"] - 1e-3 <= planes - 1
    assert height.min() >= 0
    assert height.max() <= planes - 1
    assert np.abs(height * VOXEL[0] - drawn["level"]).max() <= min(relief, drawn["relief"]) + 1e-3


def test_the_relief_is_used() -> None:
    height = np.asarray(made(Epithelium(relief_um=8.0, relief_scale_um=20.0))[1].height)
    assert 8 < np.ptp(height) <= 16


@pytest.mark.parametrize("cell_um", [4.0, 6.5])
def test_cells_have_the_mean_area_of_a_honeycomb(cell_um: float) -> None:
    _, sheet = made(Epithelium(cell_um=cell_um), shape=(3, 260, 260))
    labels = np.asarray(sheet.labels)
    border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    area = np.bincount(labels.ravel())[1:] * 0.3**2
    whole = np.setdiff1d(np.arange(1, labels.max() + 1), border)
    # Small cells are more often whole than large ones, so those at the border count as half
    expected = np.sqrt(0.75) * cell_um**2
    density = (len(whole) + len(border) / 2) / (labels.size * 0.3**2)
    assert 1 / density == pytest.approx(expected, rel=0.08)
    middles = np.array(Epithelium(cell_um=cell_um).draw(np.random.default_rng(0), (3, 900, 900), VOXEL)["cell"])
    inside = np.all((middles > -0.15) & (middles < 899.5 * 0.3), axis=1).sum()
    assert (900 * 0.3) ** 2 / inside == pytest.approx(expected, rel=0.015)
    assert 0.05 < np.std(area[whole - 1]) / np.mean(area[whole - 1]) < 0.4


def test_membranes_run_where_cells_meet() -> None:
    _, sheet = made(Epithelium())
    labels, target = np.asarray(sheet.labels), np.asarray(sheet.target)
    meets = np.zeros(labels.shape, dtype=bool)
    meets[:-1] |= labels[:-1] != labels[1:]
    meets[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    from scipy.ndimage import binary_dilation

    assert target[meets].mean() > 8 * target[~binary_dilation(meets, iterations=3)].mean()


def test_debris_floats_above_the_surface() -> None:
    clean, dirty = Epithelium(debris=0.0), Epithelium(debris=0.02, relief_um=2.0)
    drawn, sheet = made(dirty)
    assert len(drawn["debris_above"]) > 3
    assert all(5 <= above <= 12 for above in drawn["debris_above"])
    none = {name: value if not name.startswith("debris") else [] for name, value in drawn.items()}
    debris = np.asarray(sheet.light) - np.asarray(dirty.apply(none).light)
    z = np.average(np.arange(SHAPE[0]), weights=debris.sum((1, 2)))
    assert 4 < np.asarray(sheet.height).mean() - z < 13
    assert debris.max() > 0.3
    assert made(clean)[0]["debris_above"] == []


def test_the_sheet_is_as_thin_as_asked() -> None:
    flat = Epithelium(relief_um=0.0, depth=(0.5, 0.5), extent_um=1.5, lateral=0.0, debris=0.0)
    profile = np.asarray(made(flat)[1].light).sum((1, 2))
    z = np.arange(len(profile))
    middle = np.average(z, weights=profile)
    assert middle == pytest.approx(19.5, abs=0.01)
    assert np.sqrt(np.average((z - middle) ** 2, weights=profile)) == pytest.approx(1.5, rel=0.02)


def test_labels_tell_which_of_the_drawn_cells_they_are() -> None:
    drawn, sheet = made(Epithelium())
    labels = np.asarray(sheet.labels)
    assert len(sheet.cells) == labels.max()
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    whole = np.setdiff1d(labels, border)
    assert len(whole) > 10
    for label in whole:
        place = np.argwhere(labels == label).mean(0) * VOXEL[1]
        assert np.hypot(*(np.array(drawn["cell"])[sheet.cells[label - 1]] - place)) < 2.5  # um


def test_one_landscape_turns_into_another() -> None:
    epithelium = Epithelium()
    drawn = epithelium.draw(np.random.default_rng(0), SHAPE, VOXEL)
    start, nearly, other, last = (
        np.asarray(epithelium.apply({**drawn, **more}).height)
        for more in (
            {},
            {"turn": 0.02, "surface_next": 5},
            {"turn": np.pi / 2, "surface_next": 5},
            {"surface": 5},
        )
    )
    assert 0 < np.abs(nearly - start).max() < 0.5
    np.testing.assert_allclose(other, last, atol=1e-4)
    assert np.abs(last - start).max() > 2
