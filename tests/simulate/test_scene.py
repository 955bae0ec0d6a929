"""What all structures promise: chance only in `draw`, light of at least 0, fields of any size, plain refusals."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from veriscope import VeriscopeError
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.labels import label_type
from veriscope.simulate.epithelium import Epithelium
from veriscope.simulate.granules import Granules
from veriscope.simulate.network import Network
from veriscope.simulate.nuclei import Nuclei, Shell
from veriscope.simulate.perlin import Background
from veriscope.simulate.scene import Field, soft_edge
from veriscope.simulate.tubules import Tubules

STACK, VOXEL = (12, 40, 44), (0.8, 0.4, 0.4)
PLANE, PIXEL = (40, 44), (0.08, 0.08)
CASES = {
    "nuclei": (Nuclei(), STACK, VOXEL),
    "nuclei in a section": (Nuclei(), (60, 70), (0.4, 0.4)),
    "nuclei with envelopes": (Nuclei(elongation=(1.8, 2.2), aligned=0.7, envelope_um=0.3), STACK, VOXEL),
    "nuclei on a shell": (Nuclei(shell=Shell(radius_um=(30, 40))), STACK, VOXEL),
    "tubules": (Tubules(), PLANE, PIXEL),
    "granules": (Granules(), PLANE, PIXEL),
    "an epithelium": (Epithelium(), STACK, VOXEL),
    "a network": (Network(), STACK, VOXEL),
    "background": (Background(), STACK, VOXEL),
}
ALL = pytest.mark.parametrize("name", CASES)


def drawn_case(name: str, seed: int = 0) -> tuple[Any, dict[str, Any]]:
    structure, shape, voxel_size = CASES[name]
    return structure, structure.draw(np.random.default_rng(seed), shape, voxel_size)


def images(scene: Any) -> dict[str, Image]:
    return {name: value for name, value in vars(scene).items() if value is not None}


@ALL
def test_the_same_draw_gives_the_same_bits(name: str) -> None:
    structure, drawn = drawn_case(name)
    assert drawn == drawn_case(name)[1]
    first, second = images(structure.apply(drawn)), images(structure.apply(drawn))
    for part in first:
        assert np.array_equal(np.asarray(first[part]), np.asarray(second[part]))
    other = images(structure.apply(drawn_case(name, seed=1)[1]))
    assert not np.array_equal(np.asarray(first["light"]), np.asarray(other["light"]))


@ALL
def test_what_was_drawn_survives_json(name: str) -> None:
    structure, drawn = drawn_case(name)
    again = json.loads(json.dumps(drawn))
    assert again == drawn
    assert np.array_equal(np.asarray(structure.apply(again).light), np.asarray(structure.apply(drawn).light))


@ALL
def test_light_is_not_negative_and_knows_its_voxels(name: str) -> None:
    structure, drawn = drawn_case(name)
    _, shape, voxel_size = CASES[name]
    light = structure.apply(drawn).light
    pixels = np.asarray(light)
    assert pixels.dtype == np.float32
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    assert pixels.max() > 0
    assert light.voxel_size == voxel_size
    assert tuple(light.size(axis) for axis in light.spatial_axes) == shape


@ALL
def test_labels_count_objects(name: str) -> None:
    structure, drawn = drawn_case(name)
    labels = images(structure.apply(drawn)).get("labels")
    if labels is not None:
        assert labels.dtype == np.uint16
        assert labels.axes in ("ZYX", "YX")
        assert np.asarray(labels).max() > 0


@ALL
def test_the_smallest_fields_can_be_drawn(name: str) -> None:
    structure, shape, voxel_size = CASES[name]
    for size in (1, 2, 5):
        for thin in {(size,) * len(shape), (1, *(size + 3,) * (len(shape) - 1))}:
            for seed in range(3):
                scene = structure.apply(structure.draw(np.random.default_rng(seed), thin, voxel_size))
                assert all(np.isfinite(np.asarray(part)).all() for part in images(scene).values())


@ALL
@pytest.mark.parametrize(
    ("shape", "voxel_size", "words"),
    [
        ((8,), (1.0,), "axes"),
        ((8,) * 4, (1.0,) * 4, "axes"),
        (None, (1.0,), "one size in um for each axis"),
        (0, None, "at least 1, along each axis"),
        (8.5, None, "a whole number of voxels"),
        (None, 0.0, "positive numbers in um"),
        (None, -1.0, "positive numbers in um"),
        (None, float("nan"), "positive numbers in um"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(name: str, shape: Any, voxel_size: Any, words: str) -> None:
    structure, right_shape, right_size = CASES[name]
    shape = (shape, *right_shape[1:]) if isinstance(shape, int | float) else shape or right_shape
    voxel_size = (voxel_size, *right_size[1:]) if isinstance(voxel_size, float) else voxel_size or right_size
    with pytest.raises(DataError, match=words):
        structure.draw(np.random.default_rng(0), shape, voxel_size)


@pytest.mark.parametrize(
    "structure",
    [Tubules(), Granules(), Nuclei(shell=Shell()), Epithelium(), Network()],
    ids=lambda one: type(one).__name__,
)
def test_planes_and_stacks_are_not_confused(structure: Any) -> None:
    shape = (8, 8, 8) if isinstance(structure, Tubules | Granules) else (8, 8)
    with pytest.raises(DataError, match="have the axes"):
        structure.draw(np.random.default_rng(0), shape, (1.0,) * len(shape))


@pytest.mark.parametrize("structure", [Nuclei(), Epithelium(), Tubules()], ids=lambda one: type(one).__name__)
def test_a_size_in_the_wrong_unit_is_noticed(structure: Any) -> None:
    """Voxels of 300 um (meant: nm) would need millions of objects."""
    shape = (200, 200) if isinstance(structure, Tubules) else (20, 200, 200)
    with pytest.raises(DataError, match=r"in um"):
        structure.draw(np.random.default_rng(0), shape, (300.0,) * len(shape))


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (Nuclei, {"radius_um": (0.0, 1.0)}, "radius of nuclei in um .* above 0"),
        (Nuclei, {"radius_um": (3.0, 2.0)}, "begins with the smallest value"),
        (Nuclei, {"radius_um": 3.0}, "pair"),
        (Nuclei, {"elongation": (0.5, 1.0)}, "at least 1"),
        (Nuclei, {"crowding": 0.7}, "at most 0.5"),
        (Nuclei, {"gap_um": -1.0}, "gap between nuclei"),
        (Nuclei, {"aligned": 2.0}, "at most 1"),
        (Nuclei, {"edge_um": float("nan")}, "edge of nuclei"),
        (Nuclei, {"mitotic": -0.1}, "dividing"),
        (Nuclei, {"envelope_um": 0.0}, "envelope in um must be above 0"),
        (Nuclei, {"brightness": (-1.0, 1.0)}, "brightness"),
        (Shell, {"thickness_um": 0.0}, "thickness"),
        (Shell, {"depth": (0.2, 1.4)}, "at most 1"),
        (Background, {"amount": -0.1}, "amount of background"),
        (Background, {"scale_um": 0.0}, "above 0"),
        (Tubules, {"kmax": 0.4}, "at most 0.25"),
        (Tubules, {"density": (-1.0, 1.0)}, "density"),
        (Tubules, {"steps": (0, 5)}, "steps"),
        (Granules, {"threshold": 1.5}, "at most 1"),
        (Granules, {"size_um": -1.0}, "size of granules"),
        (Epithelium, {"cell_um": 0.0}, "size of cells"),
        (Epithelium, {"depth": (0.5, 2.0)}, "depth of the surface"),
        (Epithelium, {"relief_um": float("inf")}, "relief"),
        (Network, {"radius_um": (0.0, 1.0)}, "radius of tubes"),
        (Network, {"loops": 1.5}, "loops"),
        (Network, {"nuclei": Nuclei(envelope_um=0.3)}, "remove shell and envelope_um"),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: Any, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(VeriscopeError, match=words):
        kind(**wrong)


def test_labels_of_more_than_65535_objects_need_wider_numbers() -> None:
    assert label_type(65_535) is np.uint16
    assert label_type(65_536) is np.uint32


def test_a_field_reaches_half_a_voxel_beyond_the_outer_centres() -> None:
    field = Field((3, 5), (2.0, 1.0))
    assert field.low.tolist() == [-1.0, -0.5]
    assert field.high.tolist() == [5.0, 4.5]
    assert field.box(np.array([1.0, -3.0]), np.array([4.0, 2.0])) == (slice(1, 3), slice(0, 3))
    assert field.box(np.array([4.1, 0.0]), np.array([9.0, 2.0])) is None
    assert field.places((slice(1, 3), slice(0, 2)), (2.0, 0.5))[0].tolist() == [[0.0], [2.0]]


def test_a_soft_edge_covers_as_much_as_a_hard_one() -> None:
    distance = np.linspace(-2, 2, 4001, dtype=np.float32)
    for width in (0.1, 0.5, 2.0):
        covered = soft_edge(distance, width)
        assert np.all(np.diff(covered) <= 0)
        assert covered.mean() == pytest.approx(0.5, abs=1e-3)
        assert (covered[0], covered[-1]) == (1, 0)
