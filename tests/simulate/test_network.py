"""The network: tubes of their radius, between nuclei and never in them, branching and mostly of one piece."""

from __future__ import annotations

import numpy as np
import pytest

from veriscope.simulate.network import Network
from veriscope.simulate.nuclei import Nuclei
from veriscope.simulate.scene import Drawn

VOXEL = (0.4, 0.4, 0.4)


@pytest.fixture(scope="module")
def made() -> tuple[Drawn, np.ndarray, np.ndarray]:
    network = Network()
    drawn = network.draw(np.random.default_rng(0), (64, 96, 96), VOXEL)
    scene = network.apply(drawn)
    assert scene.light.axes == "CZYX"
    assert scene.labels is not None
    assert scene.labels.axes == "ZYX"
    return drawn, np.asarray(scene.light), np.asarray(scene.labels)


def test_tubes_and_nuclei_share_no_voxel(made: tuple[Drawn, np.ndarray, np.ndarray]) -> None:
    _, light, labels = made
    assert (light[1] > 0).any()
    assert not light[1][labels > 0].any()
    assert light[0][labels > 0].mean() > 0.5


def test_a_tube_that_would_pierce_a_nucleus_is_cut(made: tuple[Drawn, np.ndarray, np.ndarray]) -> None:
    drawn, _, _ = made
    inside = next(place for place in drawn["nuclei"]["centre"] if all(3 < part < 25 for part in place))
    ends = [inside, [inside[0], inside[1], inside[2] + 8]]
    tube = {"joint": ends, "tube": [[0, 1]], "radius": [0.8, 0.8], "light": [1.0, 1.0]}
    scene = Network().apply({**drawn, **tube})
    pierced = np.asarray(scene.light)[1]
    assert pierced.max() > 0.9
    assert not pierced[np.asarray(scene.labels) > 0].any()


def test_the_first_channel_is_the_nuclei_alone(made: tuple[Drawn, np.ndarray, np.ndarray]) -> None:
    drawn, light, labels = made
    scene = Network().nuclei.apply(drawn["nuclei"])
    assert np.array_equal(light[0], np.asarray(scene.light))
    assert np.array_equal(labels, np.asarray(scene.labels))


def test_tubes_branch(made: tuple[Drawn, np.ndarray, np.ndarray]) -> None:
    drawn, _, _ = made
    meeting = np.bincount(np.array(drawn["tube"]).ravel())
    assert (meeting >= 3).sum() > 10
    assert meeting.max() <= 6
    assert (meeting == 2).mean() > 0.5


def test_tubes_keep_away_from_nuclei(made: tuple[Drawn, np.ndarray, np.ndarray]) -> None:
    from scipy.spatial import cKDTree

    drawn, _, _ = made
    away, _ = cKDTree(np.array(drawn["nuclei"]["centre"])).query(np.array(drawn["joint"]))
    assert np.quantile(away, 0.02) > 4.0  # beyond the largest radius


def test_radii_and_light_stay_in_their_ranges(made: tuple[Drawn, np.ndarray, np.ndarray]) -> None:
    drawn, light, _ = made
    assert 0.5 <= min(drawn["radius"]) <= max(drawn["radius"]) <= 1.0
    assert 0.6 <= min(drawn["light"]) <= max(drawn["light"]) <= 1.2
    assert light[1].max() <= 1.2 + 1e-5


def test_a_straight_tube_has_the_volume_of_its_radius() -> None:
    network = Network(nuclei=Nuclei(crowding=0.0))
    drawn = network.draw(np.random.default_rng(0), (40, 40, 80), VOXEL)
    assert drawn["tube"] == []
    assert not np.asarray(network.apply(drawn).light).any()
    tube = {"joint": [[7.9, 8.1, 6.0], [7.9, 8.1, 26.0]], "tube": [[0, 1]], "radius": [1.6, 1.6], "light": [1.0, 1.0]}
    light = np.asarray(network.apply({**drawn, **tube}).light)[1]
    assert light.sum() * 0.4**3 == pytest.approx(np.pi * 1.6**2 * 20 + 4 / 3 * np.pi * 1.6**3, rel=0.03)
