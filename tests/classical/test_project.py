"""Projections: they find the surface that is there, wherever light lies beside it, and keep axes and units."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from veriscope.classical import project
from veriscope.classical.surfaces import BACKGROUND, FOREGROUND, column_kinds, edges_of, least_cost
from veriscope.errors import AxesError, DataError
from veriscope.images.image import Image
from veriscope.simulate.camera import Camera, to_integers
from veriscope.simulate.epithelium import Epithelium
from veriscope.simulate.optics import convolve
from veriscope.simulate.standins import STANDINS

Project = Callable[..., Any]
SURFACES = {name: made for name, made in project.PROJECTIONS.items() if name != "max"}
each_surface = pytest.mark.parametrize("found", SURFACES.values(), ids=SURFACES.keys())
each = pytest.mark.parametrize("found", project.PROJECTIONS.values(), ids=project.PROJECTIONS.keys())


def sheet(height: Any, seed: int = 0) -> Any:
    """A stack (24 planes) with a grid of bright lines at `height` (Y X), as broad as two planes, and a little noise."""
    height = np.asarray(height, np.float64)
    rng = np.random.default_rng(seed)
    y, x = np.indices(height.shape)
    lines = np.where((y % 8 < 3) | (x % 8 < 3), 1.0, 0.3) * rng.uniform(0.8, 1.2, height.shape)
    below = np.arange(24).reshape(-1, 1, 1) - height
    return 100 * lines * np.exp(-(below**2) / 2) + rng.normal(0, 1, below.shape)


def plane(shape: tuple[int, int] = (64, 72), along_y: float = 0.0, along_x: float = 0.0) -> Any:
    y, x = np.indices(shape)
    return 8 + along_y * y + along_x * x


@each
def test_a_flat_plane_is_found(found: Project) -> None:
    image, height = found(sheet(plane()))
    assert image.dtype == height.dtype == np.float32
    assert image.shape == height.shape == (64, 72)
    assert_allclose(height, 8, atol=0.5)
    assert image.max() > 90


@each_surface
def test_a_tilted_plane_is_found(found: Project) -> None:
    truth = plane(along_y=0.04, along_x=0.06)
    _, height = found(sheet(truth))
    assert np.abs(height - truth).mean() < 0.35
    assert np.abs(height - truth).max() < 2


@each_surface
def test_a_speck_beside_the_surface_takes_in_only_the_maximum(found: Project) -> None:
    """Of one pixel for SME, which keeps to groups of bright pixels wherever they are."""
    size = 1 if found is project.smooth_manifold else 3
    stack, near = sheet(plane()), np.s_[30 : 30 + size, 40 : 40 + size]
    stack[18:20][:, *near] = 400
    image, height = project.maximum(stack)
    assert_array_equal(image[near], 400)
    assert height[near].min() >= 18
    image, height = found(stack)
    assert image[near].max() < 150
    assert_allclose(height[near], 8, atol=1)


@each
def test_rows_and_columns_are_alike(found: Project) -> None:
    stack = sheet(plane((48, 60), 0.05, 0.02))
    one, other = found(stack), found(stack.swapaxes(1, 2))
    assert_allclose(one.height, other.height.T, atol=1e-3)
    assert_allclose(one.image, other.image.T, rtol=1e-3, atol=0.1)


@each
def test_factor_and_offset_of_the_grey_values_change_no_height(found: Project) -> None:
    stack = sheet(plane((48, 60), 0.05, 0.02))
    one, other = found(stack), found(4 * stack + 1000)
    assert_allclose(one.height, other.height, atol=1e-3)
    assert_allclose(4 * one.image + 1000, other.image, rtol=1e-3)


@each
@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 5, 4), (5, 1, 30), (7, 23, 2)])
def test_stacks_smaller_than_a_block_are_projected(found: Project, shape: tuple[int, ...]) -> None:
    stack = np.random.default_rng(0).poisson(5, shape)
    image, height = found(stack)
    assert image.shape == height.shape == shape[1:]
    assert np.isfinite(image).all()
    assert (height >= 0).all()
    assert (height <= shape[0] - 1).all()


@each
@pytest.mark.parametrize("value", [0, 7, -2.5])
def test_a_constant_stack_has_a_flat_surface(found: Project, value: float) -> None:
    image, height = found(np.full((6, 30, 31), value))
    assert_array_equal(image, np.float32(value))
    assert_array_equal(height, 0)


@each
def test_planes_that_are_all_alike_have_a_flat_surface(found: Project) -> None:
    picture = np.random.default_rng(0).uniform(0, 9, (30, 31))
    image, height = found(np.stack([picture] * 6))
    assert np.ptp(height) == 0
    assert_allclose(image, picture, rtol=1e-6)


@each
def test_time_points_channels_and_sizes_are_kept(found: Project) -> None:
    heights = [plane(), plane(along_x=0.05)]
    movie = np.stack([np.stack([sheet(height), sheet(plane(), 1)]) for height in heights])
    image = Image(movie, "TCZYX", (1.0, 0.2, 0.3), 60.0, "wing")
    flat, height = found(image)
    assert (flat.axes, flat.shape, height.axes, height.shape) == ("TCYX", (2, 2, 64, 72), "TYX", (2, 64, 72))
    for made in (flat, height):
        assert (made.voxel_size, made.time_step, made.name) == ((0.2, 0.3), 60.0, "wing")
    for time in range(2):
        alone = found(movie[time, 0])
        assert_array_equal(np.asarray(height)[time], alone.height)
        assert_array_equal(np.asarray(flat)[time, 0], alone.image)
    other = found(image, channel=1)
    assert_array_equal(np.asarray(other.height)[1], found(movie[1, 1]).height)
    turned = found(image.moved("XZCYT"))
    assert (turned.image.axes, turned.height.axes) == ("XCYT", "XYT")
    assert_array_equal(np.asarray(turned.image.moved("TCYX")), np.asarray(flat))


@each_surface
def test_every_channel_is_read_at_the_same_height(found: Project) -> None:
    """A second channel that says nothing of the surface: the number of its plane."""
    stack = sheet(plane(along_x=0.06))
    planes = np.arange(24.0).reshape(-1, 1, 1) + np.zeros(stack.shape)
    flat, height = found(Image(np.stack([stack, planes]), "CZYX"))
    expected = np.rint(height) if found is project.smooth_manifold else np.asarray(height)
    assert_allclose(np.asarray(flat)[1], expected, atol=1e-4)


def test_between_planes_a_stack_is_linear() -> None:
    stack = np.array([0, 10, 40], np.uint8).reshape(3, 1, 1) * np.ones((1, 1, 6), np.uint8)
    height = np.array([[0, 0.5, 1, 1.25, 2, 9]])
    assert_array_equal(project.at_height(stack, height), [[0, 5, 10, 17.5, 40, 40]])


# -- an epithelium with a known surface -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wing() -> tuple[Any, Any]:
    """A stack as of the fly wing in a twentieth of full light, and where its surface lies."""
    stand, shape = STANDINS["flywing"], (40, 128, 128)
    seen = Epithelium(cytoplasm=0.2)
    drawn = seen.draw(np.random.default_rng(1), shape, stand.voxel_size)
    made, psf = seen.apply(drawn), stand.optics.on(stand.voxel_size)
    stack = Camera(photons=12.0).apply(convolve(np.asarray(made.light), psf), {"seed": 1})
    return to_integers(stack), np.asarray(made.height)


def test_the_surface_of_an_epithelium_is_found_within_a_plane(wing: tuple[Any, Any]) -> None:
    stack, truth = wing
    off = {name: float(np.abs(found(stack).height - truth).mean()) for name, found in project.PROJECTIONS.items()}
    assert off["max"] > 1
    for name in SURFACES:
        assert off[name] < 1, off
        assert off[name] < 0.5 * off["max"], off
    assert off["premosa"] < 0.4
    assert off["mincost"] < 0.4


# -- the parts of the methods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bend", "seed"), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (5, 0)])
def test_the_sheet_of_least_cost_is_the_best_of_all(bend: int, seed: int) -> None:
    """All sheets of a small stack, tried one by one."""
    cost = np.random.default_rng(seed).normal(size=(4, 2, 3))
    rows, columns = np.indices((2, 3))

    def total(sheet: Any) -> float:
        steps = [np.abs(np.diff(sheet, axis=axis)).max() for axis in range(2)]
        return float(cost[sheet, rows, columns].sum()) if max(steps) <= bend else np.inf

    best = min(total(np.reshape(heights, (2, 3))) for heights in product(range(4), repeat=6))
    assert total(least_cost(cost, bend)) == pytest.approx(best, abs=1e-4)


def test_columns_are_sorted_by_how_they_vary_along_z() -> None:
    rng = np.random.default_rng(0)
    stack = rng.normal(0, 0.02, (20, 30, 30)).astype(np.float32)
    stack[9:11, :, 10:20] += 0.4
    stack[9:11, :, 20:] += 1.0
    kinds = column_kinds(stack)
    assert (kinds[:, :10] == BACKGROUND).all()
    assert (kinds[:, 10:20] == 1).all()
    assert (kinds[:, 20:] == FOREGROUND).all()


@pytest.mark.parametrize("size", [1, 7, 20, 29, 31, 100])
def test_blocks_cover_everything_and_are_about_as_wide_as_asked(size: int) -> None:
    edges = edges_of(size, 20)
    widths = np.diff(edges)
    assert (edges[0], edges[-1]) == (0, size)
    assert widths.min() >= min(size, 13)
    assert widths.max() < 31


# -- what cannot be projected ---------------------------------------------------------------------------------------


@each
def test_images_without_z_and_nan_are_refused(found: Project) -> None:
    with pytest.raises(AxesError, match=r"the axes TYX, without Z\. Give stacks"):
        found(Image(np.zeros((3, 8, 8)), "TYX"))
    with pytest.raises(AxesError, match=r"array of shape \(8, 8\)"):
        found(np.zeros((8, 8)))
    with pytest.raises(DataError, match="no channel 1 to find"):
        found(np.zeros((5, 8, 8)), channel=1)
    for bad in (np.nan, np.inf):
        stack = np.zeros((5, 8, 8))
        stack[2, 3, 4] = bad
        with pytest.raises(DataError, match="NaN or infinite"):
            found(stack)
    with pytest.raises(DataError, match="too large for 32-bit"):
        found(np.linspace(0, 1e60, 320).reshape(5, 8, 8))


@each_surface
def test_two_planes_show_no_surface(found: Project) -> None:
    with pytest.raises(DataError, match=r"at least 3 planes, not 2\. Use the maximum"):
        found(np.zeros((2, 8, 8)))
    assert project.maximum(np.ones((2, 8, 8))).image.shape == (8, 8)


@pytest.mark.parametrize(
    ("found", "settings", "message"),
    [
        (project.premosa, {"block": 1}, "at least 2 pixels wide, not 1"),
        (project.premosa, {"brightest": 0}, "brightest of a projection is at least 1, not 0. Try 50"),
        (project.premosa, {"reach": 0}, "reach of a projection is at least 1"),
        (project.minimum_cost, {"blur": -1}, "0 pixels or more, not -1"),
        (project.minimum_cost, {"blur": float("nan")}, "0 pixels or more, not nan"),
        (project.minimum_cost, {"step": 0}, "step of a projection is at least 1, not 0. Try 4"),
        (project.minimum_cost, {"bend": 0}, "bend of a projection is at least 1"),
    ],
)
def test_bad_settings_are_refused(found: Project, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        found(np.zeros((5, 8, 8)), **settings)


def test_what_is_known_of_the_methods_runs_them() -> None:
    stack = sheet(plane((40, 44)))
    assert [method.name for method in project.METHODS] == list(project.PROJECTIONS)
    for method in project.METHODS:
        assert method.task == "project"
        usual = method.run(Image(stack, "ZYX"), **method.usual)
        assert_array_equal(np.asarray(usual), project.PROJECTIONS[method.name](stack).image)
        for name, values in method.grid.items():
            for value in values:
                assert method.run(stack, **{name: value}).shape == (40, 44)
