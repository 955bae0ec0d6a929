from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import veriscope as vs
from veriscope.networks import build
from veriscope.networks.filters import Filters, filters_of
from veriscope.networks.slices import Slices
from veriscope.networks.unet import UNet, through


def network(axes: str = "YX", **how: object) -> UNet:
    torch.manual_seed(0)
    found = build(vs.Recipe(axes=axes, depth=1, base=4, patch=(16,) * len(axes), **how))  # type: ignore[arg-type]
    assert isinstance(found, UNet)
    return found.eval()


@pytest.mark.parametrize(("axes", "shape"), [("YX", (32, 32)), ("ZYX", (16, 16, 16)), ("YX", (9, 40)), ("YX", (4, 4))])
def test_it_says_how_strongly_the_layers_answer(axes: str, shape: tuple[int, ...]) -> None:
    own = network(axes)
    image = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    filters = Filters(own, (64,) * len(axes))
    found = filters(image)
    assert found.shape == (1, 8 + 8)  # two levels
    assert np.isfinite(found).all()
    with torch.inference_mode():
        answers = torch.from_numpy(image)[None]
        for layer in own.down[0]:  # type: ignore[union-attr]
            answers = layer(answers).relu()
    inner = tuple(slice(2, -2) if n > 4 else slice(None) for n in shape)
    values = answers[0].numpy()[(slice(None), *inner)].reshape(4, -1)
    first = [np.concatenate([values.mean(1), values.std(1)])]
    np.testing.assert_allclose(found[:, : filters.first], first, rtol=1e-4, atol=1e-6)


def test_the_bottom_answers_what_it_answers_in_the_network() -> None:
    own, image = network(), np.random.default_rng(0).random((1, 16, 16)).astype(np.float32)
    with torch.inference_mode():
        bottom = through(own.bottom, F.max_pool2d(through(own.down[0], torch.from_numpy(image)[None]), 2))  # type: ignore[arg-type]
    values = bottom[0, :, 1:-1, 1:-1].flatten(1).double().numpy()
    found = Filters(own, (16, 16))(image)[0, 8:]
    np.testing.assert_allclose(found, np.concatenate([values.mean(1), values.std(1)]), rtol=1e-4, atol=1e-6)


def test_patches_of_a_large_image_do_not_depend_on_what_lies_around() -> None:
    image = np.random.default_rng(0).random((1, 64, 64)).astype(np.float32)
    filters = Filters(network(), (16, 16))
    all_of_it = filters(image)
    assert len(all_of_it) == 16
    np.testing.assert_allclose(all_of_it[0], filters(image[:, :16, :16])[0], rtol=1e-5)


def test_other_processes_can_be_given_them() -> None:
    image = np.random.default_rng(0).random((1, 16, 16)).astype(np.float32)
    filters = Filters(network(), (16, 16))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(filters))(image), filters(image))


def test_only_networks_that_see_the_image_itself_are_asked() -> None:
    own = network()
    assert filters_of([own], (16, 16)) is not None
    assert filters_of([Slices(own, "X")], (16, 16)) is None


def test_a_stem_folds_the_image_first() -> None:
    folded = network(stem=2)
    found = Filters(folded, (16, 16))(np.random.default_rng(0).random((1, 31, 33)).astype(np.float32))
    assert np.isfinite(found).all()
