from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import veriscope as vs
from veriscope.comparing.cross import cross
from veriscope.errors import DataError
from veriscope.images.pairing import Pair
from veriscope.networks import build
from veriscope.networks.model import Ensemble


def model(axes: str = "YX", members: int = 2, probabilistic: bool = True) -> Ensemble:
    torch.manual_seed(0)
    recipe = vs.Recipe(axes, depth=1, base=2, probabilistic=probabilistic)
    return Ensemble(recipe, tuple(build(recipe).requires_grad_(False) for _ in range(members)))


def pairs(count: int, noise: float) -> list[Pair]:
    rng = np.random.default_rng(0)
    high = np.add.outer(np.arange(20.0), np.arange(24.0)).astype(np.float32)
    lows = [high + rng.normal(0, noise, high.shape).astype(np.float32) for _ in range(count)]
    return [Pair(vs.Image(low, "YX"), vs.Image(high, "YX"), f"{n}") for n, low in enumerate(lows)]


def test_every_model_meets_every_set() -> None:
    sets = {"clean": pairs(2, 1), "noisy": pairs(3, 8)}
    heard: list[tuple[int, int]] = []
    crossed = cross({"a": model(), "b": model(members=1)}, sets, progress=lambda *done: heard.append(done))
    assert [(one.model, one.data, one.images) for one in crossed.cells] == [
        ("a", "clean", 2),
        ("a", "noisy", 3),
        ("b", "clean", 2),
        ("b", "noisy", 3),
    ]
    assert heard[-1] == (10, 10)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)


def test_figures_are_those_of_judge() -> None:
    network, pair = model(), pairs(2, 4)
    meeting = cross({"a": network}, {"set": pair}).of("a", "set")
    judged = vs.judge(network, pair)
    assert meeting.nrmse == (judged.of("input").nrmse, judged.of("restoration").nrmse)
    assert meeting.ssim == (judged.of("input").ssim, judged.of("restoration").ssim)
    assert meeting.coverage == judged.of("restoration").coverage
    assert meeting.verdicts is None  # this model remembers no training images


def test_mean_disagreement_is_that_of_the_restorations() -> None:
    network, pair = model(), pairs(2, 4)
    found = cross({"a": network}, {"set": pair}).of("a", "set").disagreement
    expected = np.mean([np.asarray(vs.restore(one.low, network).disagreement()).mean() for one in pair])
    assert found == pytest.approx(expected, abs=0.01)  # half a bin
    assert cross({"a": model(members=1)}, {"set": pair}).of("a", "set").disagreement is None


def test_a_model_that_cannot_is_named_and_the_others_go_on() -> None:
    crossed = cross({"stacks": model("ZYX"), "planes": model()}, {"set": pairs(1, 1)})
    assert "restores stacks" in crossed.of("stacks", "set").failure
    assert crossed.of("planes", "set").failure == ""
    assert "cannot" in str(crossed)


def test_models_without_scales_have_scores_only() -> None:
    meeting = cross({"a": model(probabilistic=False)}, {"set": pairs(1, 1)}).of("a", "set")
    assert meeting.nrmse is not None
    assert (meeting.coverage, meeting.disagreement) == (None, None)


def test_the_table_has_a_line_for_each_and_survives_json() -> None:
    crossed = cross({"a": model()}, {"first": pairs(1, 1), "second": pairs(1, 2)})
    assert len(crossed.table().rows) == 2
    assert len({len(row) for row in crossed.table().cells()}) == 1
    assert str(crossed).index("first") < str(crossed).index("second")
    assert json.loads(json.dumps(crossed.to_json()))[1]["data"] == "second"


def test_nothing_to_cross_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one"):
        cross({}, {"set": pairs(1, 1)})
    with pytest.raises(DataError, match="was not tried on"):
        cross({"a": model()}, {"set": pairs(1, 1)}).of("a", "other")
