"""Which data? Python and the command line learn from the same images, cut in the same way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.apps.cli import main
from veriscope.errors import ModelError, TrainingError, VeriscopeWarning
from veriscope.images.pairing import Pair, Pairs
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.restoring.frames import frames
from veriscope.restoring.scaling import normalizer
from veriscope.sharing import csbdeep
from veriscope.training.material import Cutting, FromPairs, prepare, usual_scaling
from veriscope.training.stacks import Stacks

QUICK: dict[str, Any] = {"members": 1, "epochs": 1, "device": "cpu", "progress": False}


def pairs(count: int = 4, shape: tuple[int, ...] = (80, 72)) -> Pairs:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        high = 1000 * gaussian_filter(rng.random(shape), 2).astype(np.float32)
        low = (high / 10 + rng.normal(0, 2, shape)).astype(np.float32)
        axes = "ZYX"[-len(shape) :]
        made.append(Pair(vs.Image(low, axes, name=f"{number}"), vs.Image(high, axes, name=f"{number}"), f"{number}"))
    return Pairs(made)


def typed(*words: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([*map(str, words), "--members", "1", "--epochs", "1", "--device", "cpu"])
    assert not end.value.code


def weights(model: Any) -> list[np.ndarray]:
    return [values.numpy() for values in model.members[0].state_dict().values()]


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")
@pytest.mark.parametrize(
    ("recipe", "images", "words", "options"),
    [
        (vs.Recipe(axes="YX"), pairs(), [], {}),
        (vs.Recipe(axes="YX"), pairs(1, (96, 160)), [], {}),
        (vs.Recipe(axes="YX", base=4), pairs(), ["--base", 4, "--seed", 3], {"seed": 3}),
        (vs.Recipe(axes="ZYX"), pairs(3, (10, 24, 40)), [], {}),
        (
            vs.Recipe(axes="YX", probabilistic=False),
            pairs(),
            ["--loss", "mae", "--foreground", 0, "--per-image", 4, "--normalize", "fixed", "--check", 0.5],
            {"foreground": 0, "per_image": 4, "normalize": "fixed", "check": 0.5},
        ),
        (vs.Recipe.paper("ins1", base=4, depth=1, patch=(32, 32)), pairs(),
         ["--preset", "ins1", "--base", 4, "--depth", 1, "--patch", "32,32"], {}),
    ],
    ids=["usual", "one pair", "another seed", "small stacks", "all options", "as the paper"],
)  # fmt: skip
def test_python_gives_the_network_that_the_shell_gives(
    recipe: vs.Recipe, images: Pairs, words: list[object], options: dict[str, Any], tmp_path: Path
) -> None:
    for pair in images:
        for kind, image in (("low", pair.low), ("high", pair.high)):
            (tmp_path / kind).mkdir(exist_ok=True)
            vs.save_image(tmp_path / kind / f"{pair.name}.ome.tif", image)
    typed("train", tmp_path / "low", tmp_path / "high", "--out", tmp_path / "shell", *words)
    shell = vs.load(tmp_path / "shell")
    read = vs.read_pairs(tmp_path / "low", tmp_path / "high")
    python = vs.train(recipe, read, folder=tmp_path / "python", **QUICK, **options)
    assert python.recipe == shell.recipe
    assert all(np.array_equal(a, b) for a, b in zip(weights(python), weights(shell), strict=True))
    assert python.facts.training == shell.facts.training
    assert python.facts.measured == shell.facts.measured


def test_training_starts_from_a_model_alike_in_both(tmp_path: Path) -> None:
    """Also from one of csbdeep without scales: layers and weights are its own, scales are learned afresh."""
    begun = vs.train(vs.Recipe(axes="YX", base=4, depth=1, probabilistic=False), pairs(), **QUICK)
    csbdeep.write(begun, tmp_path / "csbdeep")
    for pair in pairs():
        for kind, image in (("low", pair.low), ("high", pair.high)):
            (tmp_path / kind).mkdir(exist_ok=True)
            vs.save_image(tmp_path / kind / f"{pair.name}.ome.tif", image)
    words = [tmp_path / "low", tmp_path / "high", "--out", tmp_path / "shell", "--start", tmp_path / "csbdeep"]
    typed("train", *words, "--learning-rate", "1e-6")
    shell, start = vs.load(tmp_path / "shell"), vs.load(tmp_path / "csbdeep")
    slow = vs.Recipe(axes="YX", learning_rate=1e-6)
    read = vs.read_pairs(tmp_path / "low", tmp_path / "high")
    python = vs.train(slow, read, start=start, epochs=1, device="cpu", progress=False)
    assert len(python) == 1  # as many as it has
    assert (python.recipe.base, python.recipe.depth, python.recipe.probabilistic) == (4, 1, True)
    assert python.recipe == shell.recipe
    assert python.facts.training == shell.facts.training
    assert all(np.array_equal(a, b) for a, b in zip(weights(python), weights(shell), strict=True))
    own = begun.members[0].state_dict()
    assert all(
        np.allclose(own[name], now, atol=1e-3) for name, now in python.members[0].state_dict().items() if name in own
    )


def test_a_member_starts_from_the_member_of_its_number_in_turn_and_resumes(tmp_path: Path) -> None:
    tiny = vs.Recipe(axes="YX", base=2, depth=1, patch=(16, 16), learning_rate=1e-7)
    start = vs.train(tiny, pairs(), **{**QUICK, "members": 2})
    options: dict[str, Any] = {**QUICK, "start": start, "members": 3, "folder": tmp_path / "model"}
    made = vs.train(tiny, pairs(), **options)
    for number, from_ in enumerate((0, 1, 0)):
        a, b = (one.state_dict()["bottom.0.weight"] for one in (made.members[number], start.members[from_]))
        assert np.allclose(a, b, atol=1e-3)
    with pytest.raises(TrainingError, match="trained with other start"):
        vs.train(tiny, pairs(), **{**options, "members": 4, "resume": True, "start": made})


@pytest.mark.parametrize(
    ("recipe", "needed"),
    [
        (vs.Recipe(axes="YX", channels_in=2), "restore on YX, 2 to 1 channels"),
        (vs.Recipe(axes="ZYX"), "restore on ZYX, 1 to 1 channels"),
        (vs.Recipe(axes="YX", upsample=(2, 1)), "restore on YX, 1 to 1 channels, Y 2 times finer"),
    ],
)
def test_a_model_for_other_images_is_nothing_to_start_from(recipe: vs.Recipe, needed: str) -> None:
    with pytest.raises(
        ModelError, match=rf"this model is for restore on YX, 1 to 1 channels; the images need {needed}\."
    ):
        recipe.starting_from(vs.Recipe(axes="YX"))


def test_images_too_small_for_the_layers_started_from_are_refused() -> None:
    start = Ensemble(vs.Recipe(axes="YX", base=2, depth=4), (build(vs.Recipe(axes="YX", base=2, depth=4)),))
    with pytest.raises(TrainingError, match=r"12 x 12 pixels.*depth 4 needs at least 16 x 16\. Leave small images out"):
        vs.train(vs.Recipe(axes="YX"), pairs(2, (12, 12)), start=start, **QUICK)


def test_pairs_to_check_with_can_be_given() -> None:
    images, recipe = pairs(5), vs.Recipe(axes="YX", base=2, depth=1, patch=(32, 32))
    model = vs.train(recipe, images[:3], images[3:], per_image=2, **QUICK)
    assert model.facts.training["data"]["names"] == ["0", "1", "2"]
    cut: dict[str, Any] = {"shape": recipe.patch, "per_image": 2, "normalize": "matched"}
    own = vs.train(recipe, vs.cut_patches(images[:3], **cut), vs.cut_patches(images[3:], **cut), **QUICK)
    assert all(np.array_equal(a, b) for a, b in zip(weights(model), weights(own), strict=True))


def test_images_smaller_than_the_patches_make_smaller_ones_and_say_so() -> None:
    with pytest.warns(VeriscopeWarning, match="patches are 32 x 40, so that they fit into the smallest image"):
        model = vs.train(vs.Recipe(axes="YX", base=2), pairs(4, (36, 44)), per_image=1, **QUICK)
    assert model.recipe.patch == (32, 40)


def test_what_is_kept_aside_is_said(recwarn: pytest.WarningsRecorder) -> None:
    ready = prepare(FromPairs(pairs(1, (64, 256))), vs.Recipe(axes="YX"), cutting=Cutting(per_image=1))
    assert ready.notes == ["there is one pair only, so 25 % of its field are kept aside for checking."]
    assert ready.found["found"] == "1 (1 to train, 1 to check)"
    assert not recwarn.list  # notes are returned


def test_sections_are_looked_at_as_restoring_gives_them_to_the_networks() -> None:
    stack = np.random.default_rng(0).integers(0, 1000, (3, 2, 48, 40)).astype(np.uint16)
    image = vs.Image(stack, "ZCYX", (4.0, 1.0, 1.0))
    sections = list(Stacks((image,), 4.0, (None,)).sections())
    recipe = vs.Recipe(axes="YX", task="isotropic", upsample=(4, 1, 1), channels_in=2, channels_out=2)
    apart = frames(image, recipe)
    scaling = normalizer(apart, Ensemble(recipe, (build(recipe),)))(())
    whole = scaling.apply(apart.read((), tuple(slice(0, n) for n in apart.shape)))
    assert len(sections) == 24
    assert {section.image.shape for section in sections[::2]} == {(2, 12, 40)}
    assert {section.image.shape for section in sections[1::2]} == {(2, 12, 48)}
    for section in sections:
        assert len(section.crossings) == 12
        for column, (stack, y, x) in section.crossings.items():
            assert stack == 0
            np.testing.assert_allclose(section.image[..., column], whole[..., y, x], rtol=1e-5)
    along_x, along_y = (
        {place for one in some for place in one.crossings.values()} for some in (sections[::2], sections[1::2])
    )
    assert along_x == along_y
    assert len(along_x) == 144


def test_how_pairs_are_normalised_follows_from_the_recipe() -> None:
    words = {
        "matched": vs.Recipe(axes="YX"),
        "random": vs.Recipe(axes="YX", channels_in=2),
        "shared": vs.Recipe(axes="YX", task="isotropic", upsample=(4, 1, 1)),
    }
    assert all(usual_scaling(recipe).to_json() == word for word, recipe in words.items())
    assert usual_scaling(vs.Recipe.paper("planaria")).to_json() == "random"
    assert usual_scaling(vs.Recipe(axes="ZYX", task="project")).to_json() == "random"


def test_what_does_not_go_together_is_refused() -> None:
    recipe, images = vs.Recipe(axes="YX", base=2, depth=1, patch=(16, 16)), pairs()
    patches = vs.cut_patches(images, (16, 16))
    with pytest.raises(TypeError, match=r"train\(\) got an unexpected keyword argument 'learning_rate'"):
        vs.train(recipe, images, learning_rate=1.0)  # type: ignore[call-arg]
    with pytest.raises(TrainingError, match="Give patches for check"):
        vs.train(recipe, patches)
    with pytest.raises(TrainingError, match="take no per_image, foreground, normalize"):
        vs.train(recipe, patches, patches, normalize="fixed")
    with pytest.raises(TrainingError, match="pairs to check with, or a fraction"):
        vs.train(recipe, images, patches)
