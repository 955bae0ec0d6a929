from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from veriscope.errors import TrainingError
from veriscope.reproducing.datasize import Point, Study, first, plot, study
from veriscope.reproducing.experiments import experiment
from veriscope.reproducing.material import read_data
from veriscope.simulate.experiments import simulate


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = simulate("hela", tmp_path_factory.mktemp("sizes") / "set", scale="tiny")
    return read_data("hela", experiment("hela"), folder, "tiny", seed=0)


def test_small_sets_are_parts_of_larger_ones(found) -> None:  # type: ignore[no-untyped-def]
    few, many = first(found.patches, 3, seed=0), first(found.patches, 5, seed=0)
    assert (len(few), len(many)) == (3, 5)
    np.testing.assert_array_equal(few.low, many.low[:3])
    of_file = first(many, 2, seed=1)
    np.testing.assert_array_equal(of_file.high, first(many, 4, seed=1).high[:2])
    with pytest.raises(TrainingError, match="There are 5 patches only, not 6"):
        first(many, 6, seed=0)


def test_patches_of_stacks_that_are_projected_are_kept_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = simulate("flywing", tmp_path_factory.mktemp("wing") / "set", scale="tiny")
    wing = read_data("flywing", experiment("flywing"), folder, "tiny", seed=0)
    few = first(wing.patches, 3, seed=0)
    assert (few.low.shape, few.axes_out) == ((3, 1, 12, 32, 32), "YX")


def test_a_study_has_a_point_for_each_number_and_condition(found) -> None:  # type: ignore[no-untyped-def]
    heard: list[tuple[int, int]] = []
    given = found.recipe, found.patches, found.check, found.tests
    done = study(*given, [8, 2], 0.01, progress=lambda *n: heard.append(n))
    assert [point.patches for point in done.of("input")] == [2, 8]
    assert heard == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(TrainingError, match="numbers of patches are positive, not 0, 4"):
        study(*given, [0, 4], 0.01)


def test_the_plot_shows_a_line_for_each_condition() -> None:
    points = tuple(Point(n, c, 0.1 / n, 1 - 0.1 / n) for n in (1, 10) for c in ("condition_1", "condition_2"))
    made = Study(points, {c: {"nrmse": 0.2, "ssim": 0.3} for c in ("condition_1", "condition_2")}, 1.0)
    drawn = ElementTree.fromstring(plot(made, "planaria"))
    texts = "".join(drawn.itertext())
    assert all(
        word in texts for word in ("condition_1", "condition_2", "training patches", "NRMSE", "SSIM", "planaria")
    )
