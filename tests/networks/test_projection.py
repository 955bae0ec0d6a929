from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from veriscope.errors import ModelError
from veriscope.networks import build
from veriscope.networks.folder import load, save
from veriscope.networks.model import Ensemble
from veriscope.networks.projection import Heights, Projection
from veriscope.networks.recipe import Recipe, SurfaceLayers
from veriscope.networks.unet import count_parameters


def small(**choices: object) -> Recipe:
    return Recipe(**{"axes": "ZYX", "task": "project", "depth": 1, "base": 2, "patch": (16, 16), **choices})  # type: ignore[arg-type]


def projection(recipe: Recipe, seed: int = 0) -> Projection:
    torch.manual_seed(seed)
    network = build(recipe)
    assert isinstance(network, Projection)
    return network.eval()


UNEQUAL = SurfaceLayers((3, 3, 5), (1, 5, 3), (2, 3), 1, 2, 2)  # convolutions in pairs, kernels and pools unlike


@pytest.mark.parametrize(("kind", "parameters"), [("paper", 1_386_347), ("compact", 1_379_835)])
def test_networks_have_the_parameter_counts_of_the_paper(kind: str, parameters: int) -> None:
    network = projection(Recipe.paper("flywing", projection=kind))
    assert count_parameters(network) == parameters
    assert count_parameters(network.unet) == 1_365_506


@given(
    kind=sampled_from(["paper", "compact"]),
    channels=sampled_from([(1, 1), (2, 2), (2, 1)]),
    planes=integers(1, 9),
    probabilistic=sampled_from([True, False]),
)
@settings(max_examples=12, deadline=None)
def test_stacks_of_any_depth_become_planes(
    kind: str, channels: tuple[int, int], planes: int, probabilistic: bool
) -> None:
    c_in, c_out = channels
    network = projection(small(projection=kind, channels_in=c_in, channels_out=c_out, probabilistic=probabilistic))
    with torch.no_grad():
        answer = network(torch.randn(2, c_in, planes, 16, 32))
    assert answer.shape == (2, c_out * (2 if probabilistic else 1), 16, 32)
    if probabilistic:
        assert bool((answer[:, c_out:] > 0).all())


@given(planes=integers(1, 60), seed=integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_the_probabilities_of_the_planes_sum_to_one(planes: int, seed: int) -> None:
    network = projection(small(), seed)
    with torch.no_grad():
        probable = network.surface(torch.randn(1, 1, planes, 16, 16))
    assert probable.shape == (1, 1, planes, 16, 16)
    assert bool((probable >= 0).all())
    torch.testing.assert_close(probable.sum(2), torch.ones(1, 1, 16, 16))


def test_the_projected_image_is_the_mean_of_the_planes_by_their_probabilities_in_every_channel() -> None:
    network = projection(small(channels_in=2, channels_out=2))
    stack = torch.randn(1, 2, 7, 16, 16)
    with torch.no_grad():
        probable = network.surface(stack)
        projected = network.before_unet(stack)
        answer = network.unet(projected)
        assert torch.equal(network(stack), answer)
    for channel in range(2):
        torch.testing.assert_close(projected[0, channel], (probable[0, 0] * stack[0, channel]).sum(0))


def pointing(network: Projection, sharpness: float = 200.0) -> Projection:
    """The network with weights by which the brightest plane is the surface: kernels pass on what is at their centre."""
    with torch.no_grad():
        for name, weights in network.surface.named_parameters():
            weights.zero_()
            if name.endswith("weight"):
                middle = [n // 2 for n in weights.shape[2:]]
                weights[(0, 0, *middle)] = sharpness if name.startswith("logits") else 1.0
    return network


@pytest.mark.parametrize("kind", ["paper", "compact"])
def test_the_height_is_the_plane_of_the_surface_and_its_spread_is_small(kind: str) -> None:
    """The surface lies in plane 3 of one half and in plane 6 of the other, each wider than what is pooled together."""
    network = pointing(projection(small(projection=kind)))
    stack = torch.zeros(1, 1, 9, 32, 64)
    stack[:, :, 3, :, :32] = 1
    stack[:, :, 6, :, 32:] = 1
    with torch.no_grad():
        height, spread = network.surface.height(stack)
    assert torch.allclose(height[0, 0, :, :32], torch.tensor(3.0), atol=1e-3)
    assert torch.allclose(height[0, 0, :, 32:], torch.tensor(6.0), atol=1e-3)
    assert float(spread.max()) < 1e-3


def test_height_and_spread_are_mean_and_deviation_under_the_probabilities() -> None:
    network = projection(small())
    stack = torch.randn(1, 1, 6, 16, 16)
    with torch.no_grad():
        probable = network.surface(stack)[0, 0].numpy()
        height, spread = Heights(network)(stack)[0].numpy()
    planes = np.arange(6).reshape(-1, 1, 1)
    np.testing.assert_allclose(height, (probable * planes).sum(0), rtol=1e-5)
    np.testing.assert_allclose(spread, np.sqrt((probable * (planes - height) ** 2).sum(0)), rtol=1e-4)


def all_through(network: Projection) -> Projection:
    """The network with positive weights, so that every path from input to output shows, and a soft softmax."""
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_().add_(0.1)
        for weights in network.surface.parameters():
            weights /= weights.sum()
    return network.double()


@pytest.mark.parametrize(("kind", "axis"), [("paper", 0), ("compact", 1), (UNEQUAL, 0), (UNEQUAL, 1)])
def test_reach_is_as_far_as_gradients_travel(kind: str | SurfaceLayers, axis: int) -> None:
    recipe = small(projection=kind, probabilistic=False, residual=False, patch=(48, 48))
    network = all_through(projection(recipe))
    step = recipe.step[axis]
    shape = [-(-32 // n) * n for n in recipe.step]
    length = shape[axis] = -(-2 * network.reach[axis] // step) * step + 2 * step
    farthest = 0
    for seed in range(6):  # max pooling shows one of its inputs at a time
        if farthest == network.reach[axis]:
            break
        generator = torch.Generator().manual_seed(seed)
        image = torch.rand(1, 1, 4, *shape, dtype=torch.double, generator=generator, requires_grad=True)
        answer = network(image).movedim(axis + 2, 0)
        for position in range(length // 2, length // 2 + step):
            (gradient,) = torch.autograd.grad(answer[position].sum(), image, retain_graph=True)
            touched = gradient.abs().movedim(axis + 3, 0).flatten(1).sum(1).nonzero().ravel()
            farthest = max(farthest, position - int(touched.min()), int(touched.max()) - position)
    assert farthest == network.reach[axis]


@pytest.mark.parametrize(("kind", "halo", "of_heights"), [("paper", 106, 58), ("compact", 95, 47)])
def test_tiles_need_the_halo_of_both_parts_and_for_heights_that_of_one(kind: str, halo: int, of_heights: int) -> None:
    network = projection(Recipe.paper("flywing", projection=kind, base=2))
    assert network.halo == (halo, halo)
    assert Heights(network).halo == (of_heights, of_heights)


def test_saved_and_loaded_it_answers_the_same(tmp_path: Path) -> None:
    recipe = small()
    ensemble = Ensemble(recipe, tuple(projection(recipe, seed) for seed in range(2)))
    again = load(save(ensemble, tmp_path / "model"))
    assert again.recipe == recipe
    stack = torch.randn(1, 1, 5, 16, 16)
    assert torch.equal(again.predict(stack)[0], ensemble.predict(stack)[0])


def test_the_recipe_of_a_projection_is_flat_behind_it() -> None:
    recipe = Recipe(axes="ZYX", task="project")
    assert (recipe.axes, recipe.axes_out, recipe.projects) == ("ZYX", "YX", True)
    assert (recipe.patch, recipe.depth, recipe.step, recipe.projection) == ((64, 64), 3, (16, 16), "compact")
    assert Recipe(axes="ZYX", task="project", depth=5, patch=(96, 32)).step == (32, 32)
    assert recipe.flat == Recipe(axes="YX")
    assert Recipe.from_json(recipe.to_json()) == recipe
    paper = Recipe.paper("flywing")
    assert (paper.projection, paper.patch, paper.kernel, paper.depth) == ("paper", (64, 64), 3, 3)


def test_layers_of_ones_own_survive_json() -> None:
    recipe = small(projection=UNEQUAL, patch=(24, 24))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe
    assert recipe.step == (2, 6)
    assert len(projection(recipe).surface.up) == 3


@pytest.mark.parametrize("changes", [{"depth": "2"}, {"pool": [2]}, {"first": [2, 3, 3]}, {"filters": 0}, {"more": 1}])
def test_layers_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    values = small(projection=UNEQUAL, patch=(24, 24)).to_json()
    with pytest.raises(ModelError, match=r"recipe is damaged|cannot find a surface"):
        Recipe.from_json({**values, "projection": {**values["projection"], **changes}})


def test_recipes_that_do_not_project_are_told_as_before() -> None:
    """So models stay readable for the programs of before, and an interrupted training can be resumed."""
    assert not {"task", "projection"} & set(Recipe(axes="ZYX").to_json())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"axes": "YX", "task": "project"}, "a network that projects is given stacks, axes ZYX"),
        ({"axes": "ZYX", "task": "flatten"}, "task is restore, project or isotropic"),
        ({"axes": "ZYX", "projection": "paper"}, "projection is paper or compact for the task project, and not set"),
        ({"axes": "ZYX", "task": "project", "projection": "huge"}, "projection is paper or compact"),
        ({"axes": "ZYX", "task": "project", "patch": (16, 64, 64)}, "axis of YX.* taken whole along Z"),
        ({"axes": "ZYX", "task": "project", "patch": (64, 40)}, "64 x 40 does not fit.* multiple of 16 x 16"),
    ],
)
def test_recipes_that_cannot_be_built_are_refused(choices: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Recipe(**choices)  # type: ignore[arg-type]
