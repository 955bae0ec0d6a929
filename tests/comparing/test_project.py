"""Judging networks that project: flat truths, beside the maximum of the stack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from veriscope.comparing.judge import RESTORATION, judge
from veriscope.comparing.picture import INPUT, MAXIMUM
from veriscope.errors import DataError, ModelError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope.judging.quality import nrmse
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.reporting.report import write_report


def model(**choices: object) -> Ensemble:
    torch.manual_seed(0)
    given = {"axes": "ZYX", "task": "project", "depth": 1, "base": 2, "patch": (16, 16), **choices}
    recipe = Recipe(**given)  # type: ignore[arg-type]
    stored = {"percentiles": {"2.0": [0.0] * recipe.channels_out, "99.8": [1.0] * recipe.channels_out}}
    return Ensemble(recipe, (build(recipe), build(recipe)), {"high": stored})


def pair(seed: int = 0, axes: str = "YX") -> Pair:
    rng = np.random.default_rng(seed)
    stack, truth = rng.random((5, 32, 40), np.float32), rng.random((32, 40), np.float32)
    flat = Image(truth.reshape((1,) * (len(axes) - 2) + truth.shape), axes)
    return Pair(Image(stack, "ZYX"), flat, f"wing{seed}")


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_the_maximum_stands_beside_the_restoration(axes: str) -> None:
    judged = judge(model(), [pair(0, axes), pair(1, axes)])
    assert judged.methods == (MAXIMUM, RESTORATION)
    expected = [nrmse(np.squeeze(one.high), np.asarray(one.low).max(0)) for one in (pair(0), pair(1))]
    assert judged.input is not None
    assert judged.input.nrmse == pytest.approx(np.mean(expected))
    assert judged.trust is not None
    assert judged.trust.pixels == 2 * 32 * 40


def test_movies_are_judged_frame_by_frame_and_channels_one_by_one() -> None:
    rng = np.random.default_rng(0)
    both = Pair(
        Image(rng.random((2, 3, 4, 16, 32), np.float32), "TCZYX"), Image(rng.random((2, 3, 16, 32), np.float32), "TCYX")
    )
    judged = judge(model(channels_in=3, channels_out=3), [both])
    assert {row.channel for row in judged.rows} == {0, 1, 2}


def test_the_report_tells_of_the_maximum_and_the_plane_is_kept(tmp_path: Path) -> None:
    judged = judge(model(), [pair()], keep_plane=True)
    assert judged.plane is not None
    assert judged.plane.axes == "YX"
    page = write_report(tmp_path / "report.html", judged).read_text(encoding="utf-8")
    assert MAXIMUM in page
    assert "restoration takes the error from" in page


def test_a_lazy_stack_is_read_plane_by_plane() -> None:
    from veriscope.comparing.judge import maximum

    class Planes:
        shape, dtype = (5, 2, 8, 8), np.dtype(np.uint16)
        largest = 0

        def __getitem__(self, index: object) -> np.ndarray:
            block = np.arange(5 * 2 * 64, dtype=np.uint16).reshape(self.shape)[index]  # type: ignore[index]
            self.largest = max(self.largest, block.size)
            return block

    behind = Planes()
    made = maximum(Image(behind, "ZCYX", (1.0, 0.2, 0.2)))
    assert (made.axes, made.shape, made.voxel_size) == ("CYX", (2, 8, 8), (0.2, 0.2))
    assert int(np.asarray(made).max()) == 5 * 2 * 64 - 1
    assert behind.largest == 2 * 64


def test_model_and_pairs_must_both_project() -> None:
    stack = Image(np.ones((5, 32, 40), np.float32), "ZYX")
    with pytest.raises(ModelError, match="projects stacks to planes, but pair 'a' has 5 planes in low and 5 in high"):
        judge(model(), [Pair(stack, stack, "a")])
    restoring = model(task="restore", patch=(4, 16, 16))
    with pytest.raises(ModelError, match="in pair 'wing0' high is one plane for the 5 of low"):
        judge(restoring, [pair()])
    for name in (INPUT, MAXIMUM):
        with pytest.raises(DataError, match="Choose another name"):
            judge(model(), [pair()], others={name: lambda one: one.high})
