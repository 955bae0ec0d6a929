from __future__ import annotations

import json
from typing import Any

import pytest

from veriscope.errors import ModelError
from veriscope.networks.recipe import Recipe


def test_what_is_left_open_follows_from_the_axes() -> None:
    flat, deep = Recipe(axes="yx"), Recipe(axes="ZYX")
    assert (flat.axes, flat.depth, flat.patch, flat.residual) == ("YX", 3, (64, 64), True)
    assert (deep.depth, deep.patch, deep.step) == (2, (16, 32, 32), (4, 4, 4))
    assert Recipe(axes="YX", channels_in=2).residual is False
    assert Recipe(axes="ZYX", stem=2).step == (4, 8, 8)


def test_recipes_for_isotropic_stacks_know_how_much_finer_z_becomes() -> None:
    recipe = Recipe("YX", task="isotropic", upsample=(5, 1, 1))
    assert (recipe.space, recipe.finer, recipe.axes_out, recipe.upsample) == ("ZYX", {"Z": 5.0}, "YX", (5.0, 1.0, 1.0))
    assert (Recipe("ZYX", upsample=(4, 1, 2)).finer, Recipe("YX").finer) == ({"Z": 4.0, "X": 2.0}, {})
    assert "upsample" not in Recipe("YX").to_json()  # earlier versions can read it
    found = {name: Recipe.paper(name) for name in ("drosophila", "retina", "liver")}
    assert {name: one.finer["Z"] for name, one in found.items()} == {"drosophila": 5, "retina": 10.2, "liver": 8}
    assert [one.channels_in for one in found.values()] == [1, 2, 2]
    assert all((one.kernel, one.depth, one.base, one.patch) == (5, 2, 32, (128, 128)) for one in found.values())


@pytest.mark.parametrize("recipe", [Recipe("YX"), Recipe("ZYX", stem=2, base=48), Recipe.paper("retina")])
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_the_papers_planaria_is_supplementary_table_3() -> None:
    recipe = Recipe.paper("planaria")
    assert (recipe.axes, recipe.kernel, recipe.depth, recipe.base) == ("ZYX", 3, 2, 32)
    assert (recipe.batch, recipe.patch, recipe.epochs) == (16, (16, 64, 64), 200)
    assert (recipe.learning_rate, recipe.schedule, recipe.patience) == (4e-4, "plateau", 10)
    assert (recipe.averaging, recipe.clip, recipe.warmup) == (0, 0, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"axes": "XYC"}, "axes are YX or ZYX, not 'XYC'"),
        ({"axes": "YX", "kernel": 4}, "kernel is odd"),
        ({"axes": "YX", "depth": -1}, "depth lies between"),
        ({"axes": "YX", "patch": (100, 128)}, "100 x 128 does not fit.*multiple of 8 x 8"),
        ({"axes": "YX", "patch": (128,)}, "one length per axis"),
        ({"axes": "YX", "channels_out": 2, "residual": True}, "residual needs"),
        ({"axes": "ZYX", "task": "isotropic"}, "works on their planes, axes YX"),
        ({"axes": "YX", "task": "isotropic", "upsample": (5,)}, "a factor for each of ZYX"),
        ({"axes": "YX", "upsample": (0.5, 1)}, "upsample.* lies between 1 and 1,000"),
        ({"axes": "YX", "upsample": (float("inf"), 1)}, "upsample.* lies between 1 and 1,000"),
        ({"axes": "YX", "schedule": "magic"}, "schedule is cosine or plateau"),
        ({"axes": "YX", "learning_rate": 0.0}, "learning_rate and scale_rate are positive"),
    ],
)
def test_recipes_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Recipe(**settings)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ModelError, match=r"no experiment called 'mouse'.*planaria"):
        Recipe.paper("mouse")
    with pytest.raises(ModelError, match="no field called colour"):
        Recipe("YX").change(colour=1)
    with pytest.raises(ModelError, match="unknown fields colour"):
        Recipe.from_json({"axes": "YX", "colour": 1})
    with pytest.raises(ModelError, match="damaged"):
        Recipe.from_json({"axes": "YX", "depth": "deep"})
