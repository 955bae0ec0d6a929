"""Muon: steps along the nearest orthogonal matrix, for the kernels of convolutions alone."""

from __future__ import annotations

import pytest
import torch

import veriscope as vs
from veriscope.networks.network import build
from veriscope.training.optimisers import SIZE, Muon, optimisers, orthogonal, remembered

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (16, 16)])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_matrix_keeps_its_directions_and_all_weigh_about_the_same(shape: tuple[int, int], kind: torch.dtype) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * torch.logspace(0, -0.5, shape[1])
    left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix.to(kind)).float()
    inside = left.T @ found @ right.T
    assert sizes.max() / sizes.min() > 1.8
    assert 0.5 < inside.diag().min() <= inside.diag().max() < 1.3
    assert (inside - inside.diag().diag()).abs().max() < (1e-3 if kind == torch.float32 else 0.1)


def test_a_kernel_without_gradient_stays() -> None:
    assert orthogonal(torch.zeros(4, 9)).abs().max() == 0


@pytest.mark.parametrize("shape", [(32, 16, 3, 3), (4, 8, 3, 3, 3)])
def test_no_direction_of_a_kernel_moves_farther_than_the_learning_rate_says(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.zeros(shape))
    kernel.grad = torch.randn_like(kernel)
    Muon([{"params": [kernel]}], 1e-3, 0.0, torch.float32).step()
    moved = torch.linalg.svdvals(kernel.detach().flatten(1))
    assert 0.5 * SIZE * 1e-3 < moved.min() < moved.max() < 1.3 * SIZE * 1e-3


@pytest.mark.parametrize("axes", ["YX", "ZYX"])
def test_muon_learns_kernels_of_more_than_the_image_and_adam_all_else(axes: str) -> None:
    recipe = vs.Recipe(axes, depth=1, base=4)
    network = build(recipe)
    adam, muon = optimisers(network, recipe, CPU)
    names = {weights: name for name, weights in network.named_parameters()}
    by_muon = {names[w] for group in muon.param_groups for w in group["params"]}
    by_adam = {names[w] for group in adam.param_groups for w in group["params"]}
    assert not by_muon & by_adam
    assert by_muon | by_adam == set(names.values())
    assert by_muon == {name for name in names.values() if name.endswith("weight")} - {
        "down.0.0.weight", "mean.weight", "scale.weight"
    }  # fmt: skip
    assert len(optimisers(network, recipe.change(optimizer="adam"), CPU)) == 1


def test_what_is_remembered_is_there_before_the_first_step_and_is_what_the_next_steps_use() -> None:
    recipe = vs.Recipe("YX", depth=1, base=4)
    networks = [build(recipe), build(recipe)]
    networks[1].load_state_dict(networks[0].state_dict())
    ways = [optimisers(network, recipe, CPU) for network in networks]
    assert remembered(ways[0]).keys() == remembered(ways[1]).keys()

    def step(which: int, seed: int) -> None:
        torch.manual_seed(seed)
        for weights in networks[which].parameters():
            weights.grad = torch.randn(weights.shape)
        for way in ways[which]:
            way.step()

    for seed in range(3):
        step(0, seed)
    networks[1].load_state_dict(networks[0].state_dict())
    for target, source in zip(remembered(ways[1]).values(), remembered(ways[0]).values(), strict=True):
        target.copy_(source)
    for which in range(2):
        step(which, 3)
    both = zip(networks[0].parameters(), networks[1].parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in both)


def test_recipes_of_earlier_models_and_of_the_paper_are_adams() -> None:
    old = vs.Recipe("YX").to_json()
    assert old.pop("optimizer") == "muon"
    assert vs.Recipe.from_json(old).optimizer == "adam"
    assert vs.Recipe.paper("planaria").optimizer == "adam"
    assert "optimizer" not in vs.Recipe.paper("planaria").to_json()
    assert vs.Recipe.from_json(vs.Recipe("YX").to_json()) == vs.Recipe("YX")
