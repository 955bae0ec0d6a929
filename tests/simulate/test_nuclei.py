"""Nuclei: of the size asked for wherever they lie, side by side, and where their shell is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope.simulate.nuclei import Nuclei, Shell, pack
from veriscope.simulate.scene import Drawn, Scene

VOXEL = (0.5, 0.25, 0.25)
PLAIN: dict[str, Any] = {"texture": 0.0, "bumps": 0.0, "mitotic": 0.0}


def crowd(nuclei: Nuclei, shape: tuple[int, ...], voxel_size: tuple[float, ...], seed: int = 0) -> tuple[Drawn, Scene]:
    drawn = nuclei.draw(np.random.default_rng(seed), shape, voxel_size)
    return drawn, nuclei.apply(drawn)


def alone(drawn: Drawn, **changes: Any) -> Drawn:
    """The same draw with its first nucleus only, changed as told."""
    single = {name: drawn[name][:1] for name in ("centre", "along", "across", "direction", "light", "offset")}
    return {**drawn, **single, **{name: [value] for name, value in changes.items()}}


@settings(max_examples=30)
@given(
    radius=st.floats(1.5, 3.0),
    longer=st.floats(1.0, 2.2),
    place=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    seed=st.integers(0, 1000),
)
def test_a_nucleus_has_the_volume_of_its_radius_wherever_it_lies(
    radius: float, longer: float, place: tuple[float, ...], seed: int
) -> None:
    nuclei = Nuclei(radius_um=(radius, radius), elongation=(longer, longer), edge_um=0.3, **PLAIN)
    shape = (36, 72, 72)
    middle = [(size // 2 + off) * step for size, off, step in zip(shape, place, VOXEL, strict=True)]
    drawn = alone(nuclei.draw(np.random.default_rng(seed), shape, VOXEL), centre=middle, light=1.0)
    assert drawn["along"][0] / drawn["across"][0] == pytest.approx(longer, rel=1e-3)
    scene = nuclei.apply(drawn)
    volume = 4 / 3 * np.pi * radius**3
    assert (np.asarray(scene.labels) == 1).sum() * np.prod(VOXEL) == pytest.approx(volume, rel=0.07)
    assert np.asarray(scene.light).sum() * np.prod(VOXEL) == pytest.approx(volume, rel=0.03)


@given(place=st.tuples(*[st.floats(-0.5, 0.5)] * 3))
@settings(max_examples=10)
def test_the_light_of_a_nucleus_lies_around_its_centre(place: tuple[float, ...]) -> None:
    nuclei, shape = Nuclei(radius_um=(2, 2), **PLAIN), (24, 48, 48)
    middle = [(size // 2 + off) * step for size, off, step in zip(shape, place, VOXEL, strict=True)]
    drawn = alone(nuclei.draw(np.random.default_rng(1), shape, VOXEL), centre=middle, light=1.0)
    light = np.asarray(nuclei.apply(drawn).light, dtype=np.float64)
    found = [np.average(index * step, weights=light) for index, step in zip(np.indices(shape), VOXEL, strict=True)]
    np.testing.assert_allclose(found, middle, atol=0.02)


def test_a_disc_has_the_area_of_its_radius() -> None:
    nuclei = Nuclei(radius_um=(3, 3), elongation=(1.8, 1.8), **PLAIN)
    drawn = alone(nuclei.draw(np.random.default_rng(0), (80, 80), (0.25, 0.25)), centre=[10.1, 9.93])
    area = (np.asarray(nuclei.apply(drawn).labels) == 1).sum() * 0.25**2
    assert area == pytest.approx(np.pi * 9, rel=0.02)


def test_radii_elongation_and_light_are_drawn_from_their_ranges() -> None:
    nuclei = Nuclei(radius_um=(1.0, 2.0), elongation=(1.2, 1.9), brightness=(0.6, 0.9), mitotic=0.0, crowding=0.3)
    drawn, _ = crowd(nuclei, (16, 48, 48), (0.5, 0.5, 0.5))
    along, across = np.array(drawn["along"]), np.array(drawn["across"])
    radius, longer = (along * across**2) ** (1 / 3), along / across
    for values, (low, high) in ((radius, (1, 2)), (longer, (1.2, 1.9)), (np.array(drawn["light"]), (0.6, 0.9))):
        margin = 0.1 * (high - low)
        assert low - 1e-3 <= values.min() <= low + margin
        assert high - margin <= values.max() <= high + 1e-3


@pytest.mark.parametrize("crowding", [0.05, 0.2, 0.35, 0.5])
def test_nuclei_fill_the_share_asked_for(crowding: float) -> None:
    _, scene = crowd(Nuclei(radius_um=(1.0, 1.5), crowding=crowding, **PLAIN), (40, 64, 64), (0.4, 0.4, 0.4))
    assert (np.asarray(scene.labels) > 0).mean() == pytest.approx(crowding, rel=0.15)


def test_no_nucleus_takes_the_place_of_another() -> None:
    """Those that lie wholly inside own nearly all of their volume, even in the densest tissue."""
    shape, size = (40, 64, 64), 0.4
    drawn, scene = crowd(Nuclei(radius_um=(1.0, 1.6), crowding=0.5, **PLAIN), shape, (size,) * 3)
    centre, along, across = (np.array(drawn[name]) for name in ("centre", "along", "across"))
    inside = np.all((centre > 2.5) & (centre < np.array(shape) * size - 2.5), axis=1)
    assert inside.sum() > 100
    owned = np.bincount(np.asarray(scene.labels).ravel(), minlength=len(centre) + 1)[1:] * size**3
    share = owned[inside] / (4 / 3 * np.pi * along * across**2)[inside]
    assert share.min() > 0.75
    assert np.median(share) == pytest.approx(1, abs=0.04)


@settings(max_examples=20)
@given(count=st.integers(0, 60), gap=st.sampled_from([0.0, 0.7]), seed=st.integers(0, 1000))
def test_spheres_are_pushed_apart(count: int, gap: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places, radius = rng.uniform(0, 10, (count, 3)), rng.uniform(0.5, 1.0, count)
    directions = np.tile([1.0, 0.0, 0.0], (count, 1))
    after, stays = pack(places, directions, radius, radius, gap, 1.0, lambda where: np.clip(where, 0, 10))
    after, radius = after[stays], radius[stays]
    apart = np.sqrt(((after[:, None] - after) ** 2).sum(-1)) + 99 * np.eye(len(after))
    contact = radius[:, None] + radius
    assert (apart >= 0.9 * contact - 1e-9).all()
    if count <= 30:  # enough room for everyone, so the gap can be kept too
        assert stays.all()
        assert (apart >= contact + gap - 0.1).all()


def test_of_many_in_one_place_only_one_stays() -> None:
    places, radius = np.full((5, 3), 2.0), np.full(5, 1.0)
    _, stays = pack(places, np.tile([1.0, 0.0, 0.0], (5, 1)), radius, radius, 0.0, 1.0, lambda where: 0 * where + 2)
    assert stays.sum() == 1


def test_a_voxel_belongs_to_the_nucleus_it_lies_deeper_in() -> None:
    """Two discs that overlap are divided half-way, whichever was drawn first."""
    nuclei = Nuclei(elongation=(1, 1), **PLAIN)
    drawn = alone(nuclei.draw(np.random.default_rng(0), (21, 31), (1.0, 1.0)), along=6.0, across=6.0)
    both = {name: value * 2 if isinstance(value, list) and len(value) == 1 else value for name, value in drawn.items()}
    for left, right in ((1, 2), (2, 1)):
        centre = [[10.0, 11.1], [10.0, 19.0]] if left == 1 else [[10.0, 19.0], [10.0, 11.1]]
        row = np.asarray(nuclei.apply({**both, "centre": centre}).labels)[10]
        assert row.tolist() == [0] * 6 + [left] * 10 + [right] * 9 + [0] * 6


def test_bumps_change_the_outline_and_not_the_volume() -> None:
    volumes: dict[float, list[int]] = {0.0: [], 0.15: []}
    for bumps, found in volumes.items():
        nuclei = Nuclei(radius_um=(3, 3), elongation=(1, 1), bumps=bumps, mitotic=0.0)
        for seed in range(12):
            drawn = nuclei.draw(np.random.default_rng(seed), (32, 32, 32), (0.3,) * 3)
            found.append(int((np.asarray(nuclei.apply(alone(drawn, centre=[4.6] * 3)).labels) > 0).sum()))
    assert np.ptp(volumes[0.0]) <= 4  # voxels on the very surface
    assert np.ptp(volumes[0.15]) > 40
    assert np.mean(volumes[0.15]) == pytest.approx(volumes[0.0][0], rel=0.03)
    assert np.std(volumes[0.15]) < 0.1 * volumes[0.0][0]


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_large_nuclei_and_the_last_piece_of_texture_can_be_drawn(offset: float) -> None:
    nuclei = Nuclei(radius_um=(20, 20), elongation=(1, 1))
    drawn = nuclei.draw(np.random.default_rng(0), (400, 400), (0.1, 0.1))
    scene = nuclei.apply(alone(drawn, centre=[20.0, 20.0], offset=[offset, offset]))
    assert (np.asarray(scene.labels) > 0).mean() > 0.7


def test_labels_are_bright_and_the_rest_is_dark() -> None:
    nuclei = Nuclei(radius_um=(2.0, 2.5), crowding=0.3, mitotic=0.0)
    drawn, scene = crowd(nuclei, (20, 64, 64), (0.5, 0.4, 0.4))
    light, labels = np.asarray(scene.light), np.asarray(scene.labels)
    assert labels.max() <= len(drawn["centre"])
    assert light[labels == 0].mean() < 0.05
    for number in np.unique(labels)[1:]:
        inside = light[labels == number]
        if len(inside) > 100:
            assert inside.mean() == pytest.approx(drawn["light"][number - 1], rel=0.35)


def test_texture_varies_the_light_within_a_nucleus() -> None:
    spread = []
    for texture in (0.0, 0.2, 0.4):
        nuclei = Nuclei(radius_um=(3, 3), texture=texture, bumps=0.0, mitotic=0.0)
        drawn = alone(nuclei.draw(np.random.default_rng(0), (32, 32, 32), (0.3,) * 3), centre=[4.6] * 3, light=1.0)
        light = np.asarray(nuclei.apply(drawn).light)[11:20, 11:20, 11:20]
        spread.append(float(light.std()))
    assert spread[0] < 1e-6
    assert 0.05 < spread[1] < 0.25
    assert spread[2] == pytest.approx(2 * spread[1], rel=0.1)


def test_aligned_nuclei_point_the_same_way() -> None:
    def together(aligned: float) -> float:
        drawn, _ = crowd(Nuclei(aligned=aligned), (12, 48, 48), (0.5, 0.5, 0.5))
        directions = np.array(drawn["direction"])
        return float(np.linalg.eigvalsh(directions.T @ directions / len(directions))[-1])  # 1/3 random, 1 parallel

    assert together(0.0) < 0.45
    assert 0.6 < together(0.6) < 0.97
    assert together(1.0) == pytest.approx(1, abs=1e-4)


def test_dividing_nuclei_are_bright_thin_plates() -> None:
    drawn, _ = crowd(Nuclei(mitotic=0.3, brightness=(1.0, 1.0)), (16, 64, 64), (0.5, 0.5, 0.5))
    thin = np.array(drawn["along"]) < np.array(drawn["across"])
    assert thin.mean() == pytest.approx(0.3, abs=0.1)
    light = np.array(drawn["light"])
    assert light[thin].min() > 1.5
    assert light[~thin].max() == 1


def test_the_envelope_is_a_thin_rim_around_the_nucleus() -> None:
    nuclei = Nuclei(radius_um=(3, 3), elongation=(1, 1), envelope_um=0.4, **PLAIN)
    field = ((40, 60, 60), (0.3, 0.2, 0.2))
    drawn = alone(nuclei.draw(np.random.default_rng(0), *field), centre=[6.0, 6.0, 6.0], light=1.0)
    scene = nuclei.apply(drawn)
    assert scene.light.axes == "CZYX"
    inner, rim = np.asarray(scene.light)
    away = np.sqrt(sum(((np.indices(field[0])[axis] * field[1][axis]) - 6) ** 2 for axis in range(3)))
    assert rim[away < 2.2].max() == 0
    assert rim[away > 3.8].max() == 0
    assert rim[np.abs(away - 3) < 0.05].min() > 0.5
    assert rim.sum() * np.prod(field[1]) == pytest.approx(4 * np.pi * 9 * 0.4, rel=0.1)
    assert inner[away < 2.4].min() == 1
    divided = nuclei.apply({**drawn, "along": [1.0]})
    assert not np.asarray(divided.light)[1].any()  # the envelope dissolves


def test_nuclei_on_a_shell_lie_in_a_thin_sheet_with_yolk_below() -> None:
    shell = Shell(
        radius_um=(40, 45), stretch=(1.5, 1.5), thickness_um=2.0, depth=(0.3, 0.3), tilt_deg=(0, 10), yolk=0.1
    )
    nuclei = Nuclei(radius_um=(2.0, 2.5), crowding=0.3, shell=shell, **PLAIN)
    drawn, scene = crowd(nuclei, (40, 64, 64), (1.0, 0.7, 0.7))
    centre, radii = np.array(drawn["shell"]["centre"]), np.array(drawn["shell"]["radii"])
    level = np.sqrt((((np.array(drawn["centre"]) - centre) / radii) ** 2).sum(1))
    assert np.abs(level - 1).max() * radii.max() < 2.5  # half the thickness, along the longest axis
    places = np.moveaxis(np.indices((40, 64, 64)), 0, -1) * [1.0, 0.7, 0.7]
    depth = (np.sqrt((((places - centre) / radii) ** 2).sum(-1)) - 1) * radii.min()
    light, labels = np.asarray(scene.light), np.asarray(scene.labels)
    assert not light[depth > 8].any()  # medium
    assert not labels[depth < -10].any()
    assert light[depth < -12].mean() == pytest.approx(0.1, rel=0.1)  # yolk
    assert (labels[np.abs(depth) < 1] > 0).mean() > 0.25
    column = labels[:, 28:36, 28:36].reshape(40, -1).any(axis=1)
    assert column[:25].any()  # the sheet crosses the middle of the field
