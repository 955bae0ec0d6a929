"""veriscope project: stacks become flat images and height maps, with what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from veriscope.classical import project
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.images.writing import save_image


def wing(plane: int, seed: int = 0) -> Any:
    """Ten planes, bright in one of them."""
    rng = np.random.default_rng(seed)
    stack = rng.poisson(50, (10, 48, 52)).astype(np.uint16)
    stack[plane] += rng.integers(0, 900, (48, 52)).astype(np.uint16)
    return stack


@pytest.fixture
def stacks(desk: Path) -> Path:
    """A folder with two stacks; beside it a movie of two channels."""
    (desk / "stacks").mkdir()
    for number in range(2):
        save_image(desk / "stacks" / f"wing{number}.tif", Image(wing(3 + number, number), "ZYX", (1.0, 0.2, 0.2)))
    movie = np.stack([np.stack([wing(2 + time), wing(6 + time)]) for time in range(3)])
    save_image(desk / "movie.ome.tif", Image(movie, "TCZYX", (1.0, 0.2, 0.2), 30.0))
    return desk


@pytest.mark.parametrize("method", ["max", "sme", "mincost", "premosa"])
def test_a_stack_becomes_a_plane_and_a_height(stacks: Path, veriscope: Any, method: str) -> None:
    done = veriscope("project", "stacks/wing0.tif", "--method", method, "--out", "flat.ome.tif", "--height")
    assert done.code == 0, done.err
    assert "wing0.tif -> flat.ome.tif, flat.height.ome.tif" in done.out
    expected = project.PROJECTIONS[method](wing(3))
    for name, pixels in (("flat.ome.tif", expected.image), ("flat.height.ome.tif", expected.height)):
        written = read_image(name)
        assert (written.axes, written.dtype, written.voxel_size) == ("YX", np.float32, (0.2, 0.2))
        np.testing.assert_array_equal(written, pixels)


def test_premosa_is_taken_where_nothing_is_said_and_folders_go_to_folders(stacks: Path, veriscope: Any) -> None:
    done = veriscope("project", "stacks", "--out", "flat")
    assert done.code == 0, done.err
    assert sorted(path.name for path in Path("flat").iterdir()) == ["wing0.ome.tif", "wing1.ome.tif"]
    np.testing.assert_array_equal(read_image("flat/wing1.ome.tif"), project.premosa(wing(4, 1)).image)


def test_a_movie_keeps_its_axes_and_its_surface_is_found_in_the_channel_named(stacks: Path, veriscope: Any) -> None:
    done = veriscope("project", "movie.ome.tif", "--method", "premosa", "--channel", 1, "--out", "flat", "--height")
    assert done.code == 0, done.err
    flat, height = read_image("flat/movie.ome.tif"), read_image("flat/movie.height.ome.tif")
    assert (flat.axes, flat.shape, flat.time_step) == ("TCYX", (3, 2, 48, 52), 30.0)
    assert (height.axes, height.shape, height.time_step) == ("TYX", (3, 48, 52), 30.0)
    for time in range(3):
        np.testing.assert_array_equal(np.asarray(height)[time], 6 + time)


def test_settings_reach_the_method(stacks: Path, veriscope: Any) -> None:
    noisy = np.random.default_rng(0).poisson(4, (10, 48, 52)).astype(np.uint16)
    tifffile.imwrite("noisy.tif", noisy, photometric="minisblack")
    for words, expected in (
        ("--method premosa --block 8", project.premosa(noisy, block=8)),
        ("--method mincost --blur 0.5", project.minimum_cost(noisy, blur=0.5)),
    ):
        done = veriscope("project", "noisy.tif", "--axes", "ZYX", "--overwrite", "--out", "a.tif", *words.split())
        assert done.code == 0, done.err
        np.testing.assert_array_equal(read_image("a.tif"), expected.image)


def test_a_dry_run_shows_the_results_and_writes_nothing(stacks: Path, veriscope: Any) -> None:
    before = sorted(stacks.rglob("*"))
    done = veriscope("project", "stacks", "--out", "flat", "--height", "--format", "zarr", "--dry-run")
    assert done.code == 0, done.err
    assert "ZYX 10 x 48 x 52" in done.out
    assert "wing1.ome.zarr, wing1.height.ome.zarr" in done.out
    assert sorted(stacks.rglob("*")) == before


def test_one_bad_stack_does_not_keep_the_others(stacks: Path, veriscope: Any) -> None:
    tifffile.imwrite("stacks/flat.tif", wing(1)[0])
    done = veriscope("project", "stacks", "--out", "flat")
    assert done.code == 2
    assert "stacks/flat.tif: A projection needs stacks, but this image has the axes YX, without Z" in done.err
    assert "1 of 3 images could not be projected: stacks/flat.tif" in done.err
    assert sorted(path.name for path in Path("flat").iterdir()) == ["wing0.ome.tif", "wing1.ome.tif"]


def test_nothing_is_left_of_a_movie_that_goes_bad_on_the_way(stacks: Path, veriscope: Any) -> None:
    movie = np.stack([wing(3), wing(4)]).astype(np.float32)
    movie[1, 2, 3, 4] = np.nan
    save_image(stacks / "bad.ome.tif", Image(movie, "TZYX"))
    done = veriscope("project", "bad.ome.tif", "--out", "flat", "--height")
    assert done.code == 2
    assert "NaN or infinite values" in done.err
    assert not Path("flat").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("stacks --out p --method mean", "--method mean is not known. Choose one of premosa, mincost, sme, max."),
        ("stacks --out p --method sme --block 20", "--block is a setting of --method premosa, not of sme"),
        ("stacks --out p --blur 2", "--blur is a setting of --method mincost, not of premosa"),
        ("stacks --out p --format png", "--format png is not known"),
        ("stacks --out p.tif", "--out p.tif is one file, but there are 2 images"),
        ("movie.ome.tif --out movie.ome.tif --overwrite", "would replace its own input image"),
        ("stacks/wing0.tif --out p.png", "--out p.png is a kind of file that cannot be written"),
        ("stacks/wing0.tif --out p --block 1", "Blocks of PreMosa are at least 2 pixels wide, not 1"),
        ("stacks/wing0.tif --out p --method mincost --blur -1", "--blur -1 is not possible"),
        ("movie.ome.tif --out p --channel 2", "no channel 2 to find the surface in: it has 2"),
        ("movie.ome.tif --out p --channel -1", "--channel -1 is not possible"),
        ("new.tif --out p", "A projection needs stacks, but this image has the axes YX, without Z"),
        ("stacks/wing0.tif --out p --axes TYX", "this image has the axes TYX, without Z"),
        ("two.tif --out p --method sme", "at least 3 planes, not 2. Use the maximum"),
        ("nowhere.tif --out p", "'nowhere.tif' does not exist"),
        ("stacks/wing0.tif --out there.tif", "there.tif exists already"),
        ("stacks/wing0.tif", "Missing option '--out'"),
    ],
)
def test_bad_input_stops_with_a_message(words: str, message: str, stacks: Path, veriscope: Any) -> None:
    save_image(stacks / "two.tif", Image(wing(1)[:2], "ZYX"))
    save_image(stacks / "there.tif", Image(wing(1)[0], "YX"))
    before = sorted(stacks.rglob("*"))
    answer = veriscope("project", *words.split())
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert sorted(stacks.rglob("*")) == before


def test_help_shows_examples(veriscope: Any) -> None:
    answer = veriscope("project", "--help")
    assert answer.code == 0
    assert "veriscope project wing.tif" in answer.out.split("Examples")[1]
