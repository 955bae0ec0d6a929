"""Words become methods: one, several, and one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from veriscope.classical import denoise, tune
from veriscope.classical.method import Method
from veriscope.classical.methods import chain, for_task, from_words, installed, several
from veriscope.classical.project import METHODS as PROJECTIONS
from veriscope.errors import DataError
from veriscope.images.image import Image

NLM = next(method for method in denoise.METHODS if method.name == "nlm")
MAX = next(method for method in PROJECTIONS if method.name == "max")


def stack(seed: int = 0) -> tuple[Image, Image]:
    """A noisy stack whose brightest plane is the middle one, and its truth."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40]
    plane = (100 + 50 * np.sin(x / 4) * np.cos(y / 5)).astype(np.float32)
    planes = np.stack([0.1 * plane, plane, 0.1 * plane]) + rng.normal(0, 4, (3, 40, 40))
    return Image(planes.astype(np.float32), "ZYX", (1, 0.1, 0.1)), Image(plane, "YX", (0.1, 0.1))


def test_a_word_is_the_method_of_that_name_and_order_and_case_are_kept() -> None:
    assert from_words("nlm", "restore") is NLM
    assert from_words("max", "project") is MAX
    assert [method.name for method in several("nlm, lowpass,NLM,", "restore")][:2] == ["nlm", "lowpass"]


def test_every_task_knows_its_own_methods_only() -> None:
    assert {method.task for method in for_task("restore")} == {"restore"}
    assert {method.task for method in for_task("project")} == {"project"}
    assert for_task("project")[-1].name.endswith("+nlm")


@pytest.mark.parametrize(
    ("words", "task", "says"),
    [
        ("nonsense", "restore", "no method 'nonsense' that denoises images. Choose from .*nlm"),
        ("max", "restore", "'max' projects stacks to planes, but this needs a method that denoises images"),
        ("nlm", "project", "'nlm' denoises images, but this needs a method that projects"),
        ("nlm+tv", "restore", "names several denoisers"),
        ("nlm+max", "project", "'nlm' denoises images"),
        ("max+max", "project", "'max' projects"),
        (" , ", "restore", "names no method. Choose from .*nlm"),
    ],
)
def test_what_is_no_method_is_refused_with_what_there_is(words: str, task: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        several(words, task)


def test_a_chain_is_the_second_method_on_what_the_first_makes() -> None:
    low, _ = stack()
    both = from_words("max+nlm", "project")
    assert (both.task, both.name, both.title) == ("project", "max+nlm", "maximum, non-local means")
    assert [step.name for step in both.steps] == ["max", "max+nlm"]
    flat = tune.apply(MAX, low, tune.usual(MAX, low))
    expected = tune.apply(NLM, flat, tune.usual(NLM, flat))
    made = tune.apply(both, low, tune.usual(both, low))
    assert made.axes == "YX"
    assert_allclose(np.asarray(made), np.asarray(expected))


def test_a_chain_is_tuned_as_its_second_method_on_the_projected_image() -> None:
    low, truth = stack()
    both = from_words("max+nlm", "project")
    flat = tune.apply(MAX, low, tune.usual(MAX, low))
    assert tune.find(both, low, truth) == tune.find(NLM, flat, truth)


def test_three_in_a_chain_run_in_order() -> None:
    def adding(name: str, amount: float) -> Method:
        return Method(name, name, "restore", lambda image: np.asarray(image, np.float32) * 2 + amount)

    both = chain(MAX, chain(adding("a", 1), adding("b", 10)))
    assert [step.name.rsplit("+")[-1] for step in both.steps] == ["max", "a", "b"]
    made = tune.apply(both, np.zeros((3, 4, 4), np.float32), tune.usual(both, np.zeros((3, 4, 4), np.float32)))
    assert_allclose(made, 12)


def test_what_is_not_installed_is_told_apart_also_within_a_chain() -> None:
    absent = replace(MAX, name="far", title="far away", module="no_such_module", extra="far", library="far-away")
    able, missing = installed([MAX, absent, chain(absent, NLM)])
    assert able == (MAX,)
    assert set(missing) == {"far", "far+nlm"}
    assert "pip install 'veriscope[far]'" in missing["far+nlm"]


def test_anscombe_goes_around_a_denoiser_also_behind_a_projection() -> None:
    assert (from_words("gat+nlm", "restore").name, from_words("gat+nlm", "restore").before) == ("gat+nlm", None)
    both = from_words("max+gat+nlm", "project")
    assert [step.name for step in both.steps] == ["max", "max+gat+nlm"]
    low, _ = stack()
    assert np.isfinite(np.asarray(tune.apply(both, low, tune.usual(both, low)))).all()
    with pytest.raises(DataError, match="no method 'nothing'"):
        from_words("gat+nothing", "restore")
