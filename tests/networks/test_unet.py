from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from veriscope import networks
from veriscope.networks import build
from veriscope.networks.recipe import Recipe
from veriscope.networks.unet import count_parameters, fold, unfold


@pytest.mark.parametrize(
    ("recipe", "probabilistic", "plain"),
    [
        (Recipe.paper("planaria"), 996_802, 996_769),
        (Recipe.paper("tribolium"), 996_802, 996_769),
        (Recipe.paper("ins1"), 923_010, 922_977),
        (Recipe.paper("hela"), 923_010, 922_977),
        (Recipe.paper("retina"), 923_876, 923_810),
        (Recipe.paper("liver"), 923_876, 923_810),
        (Recipe.paper("drosophila"), 923_010, 922_977),
        (Recipe(axes="YX", depth=3), 1_365_506, None),  # the 2D part of the flywing network
    ],
)
def test_networks_have_the_papers_parameter_counts(recipe: Recipe, probabilistic: int, plain: int | None) -> None:
    assert count_parameters(build(recipe)) == probabilistic
    if plain is not None:
        assert count_parameters(build(recipe.change(probabilistic=False))) == plain


def measured_reach(recipe: Recipe, axis: int) -> int:
    """How far gradients travel: with positive weights every path from input to output shows."""
    network = build(recipe.change(probabilistic=False, residual=False)).double()
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_().add_(0.1)
    shape = [2 * step for step in recipe.step]
    length = shape[axis] = -(-2 * network.reach[axis] // recipe.step[axis]) * recipe.step[axis] + 2 * recipe.step[axis]
    farthest = 0
    for seed in range(8):  # max pooling shows one of its inputs at a time
        image = torch.rand(1, 1, *shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
        image.requires_grad_()
        answer = network(image).movedim(axis + 2, 0)
        for position in range(length // 2, length // 2 + recipe.step[axis]):
            (gradient,) = torch.autograd.grad(answer[position].sum(), image, retain_graph=True)
            others = [a for a in range(gradient.ndim) if a != axis + 2]
            touched = gradient.abs().sum(others).nonzero().ravel()
            farthest = max(farthest, position - int(touched.min()), int(touched.max()) - position)
    return farthest


@pytest.mark.parametrize(
    ("recipe", "axis"),
    [
        (Recipe("YX", depth=1, base=2), 0),
        (Recipe("YX", depth=1, base=2, kernel=5), 1),
        (Recipe("YX", depth=2, base=2), 1),
        (Recipe("YX", depth=3, base=2), 0),
        (Recipe("YX", depth=1, base=2, stem=2), 1),
        (Recipe("ZYX", depth=1, base=2), 0),
        (Recipe("ZYX", depth=1, base=2, stem=2), 0),
    ],
)
def test_reach_is_as_far_as_gradients_travel(recipe: Recipe, axis: int) -> None:
    assert build(recipe).reach[axis] == measured_reach(recipe, axis)


@pytest.mark.parametrize(
    ("depth", "kernel", "halo"),
    [(1, 3, 8), (1, 5, 16), (2, 3, 22), (2, 5, 40), (3, 3, 46), (3, 5, 92), (4, 3, 94), (4, 5, 188)],
)
def test_tiles_need_the_halo_that_was_measured_for_them(depth: int, kernel: int, halo: int) -> None:
    network = build(Recipe("YX", depth=depth, kernel=kernel, base=2))
    assert network.halo == (halo, halo)
    assert all(halo <= reach for reach in network.reach)


@given(
    axes=sampled_from(["YX", "ZYX"]),
    depth=integers(1, 2),
    kernel=sampled_from([1, 3, 5]),
    channels=sampled_from([(1, 1), (2, 2), (1, 3)]),
    stem=sampled_from([1, 2]),
    probabilistic=sampled_from([True, False]),
)
@settings(max_examples=25, deadline=None)
def test_means_come_before_positive_scales(
    axes: str, depth: int, kernel: int, channels: tuple[int, int], stem: int, probabilistic: bool
) -> None:
    c_in, c_out = channels
    recipe = Recipe(axes, c_in, c_out, probabilistic, depth=depth, kernel=kernel, base=2, stem=stem)
    image = torch.randn(2, c_in, *recipe.step)
    answer = build(recipe)(image)
    assert answer.shape == (2, c_out * (2 if probabilistic else 1), *recipe.step)
    if probabilistic:
        assert bool((answer[:, c_out:] >= 1e-3).all())


def test_a_residual_network_starts_from_its_input() -> None:
    network = build(Recipe("YX", base=2))
    torch.nn.init.zeros_(network.mean.weight)
    image = torch.randn(1, 1, 16, 16)
    assert torch.equal(network(image)[:, :1], image)


def test_upsampled_features_come_before_the_skip() -> None:
    """Weights trained elsewhere with this topology rely on the order of the concatenation."""
    network = build(Recipe("YX", depth=1, base=2))
    first = network.up[0][0]
    with torch.no_grad():
        for weights in network.down.parameters():
            weights.zero_()  # the skip is silent
        network.bottom[1].bias.fill_(1.0)  # type: ignore[union-attr, index, operator]
        first.weight.zero_()
        first.weight[:, : network.bottom[1].out_channels] = 1.0  # type: ignore[index, union-attr, misc]
    seen: list[torch.Tensor] = []
    first.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    network(torch.rand(1, 1, 8, 8))
    assert float(seen[0].detach().min()) > 0


@given(dims=integers(2, 3), by=integers(1, 3), channels=integers(1, 2))
def test_folding_is_undone_by_unfolding(dims: int, by: int, channels: int) -> None:
    folding = (1, by, by)[-dims:]
    image = torch.randn(2, channels, *(3 * n for n in folding))
    folded = fold(image, folding)
    assert folded.shape == (2, channels * by**2, *[3] * dims)
    assert torch.equal(unfold(folded, folding), image)


def test_bfloat16_changes_the_answer_only_slightly() -> None:
    torch.manual_seed(0)
    network = build(Recipe("YX", base=4))
    image = torch.rand(1, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        fast = network(image)
    assert fast.dtype == torch.float32
    assert torch.allclose(fast, network(image), atol=0.02)


def test_networks_are_built_by_the_room_that_they_are_in() -> None:
    network = networks.build(Recipe("YX", base=4, channels_out=2, channels_in=2))
    assert isinstance(network, torch.nn.Module)
    assert network(torch.zeros(1, 2, 16, 16)).shape == (1, 4, 16, 16)
    with pytest.raises(AttributeError, match="no attribute 'rebuild'"):
        _ = networks.rebuild
