"""The pixel classifier: it learns, agrees with scikit-learn, and is kept in a file that holds numbers only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load_file, save_file
from scipy import ndimage

from veriscope.errors import DataError, ModelError, OutputError
from veriscope.images.image import Image
from veriscope.objects import forest as f
from veriscope.objects import overlaps as objects
from veriscope.objects import pixels as p

SMALL: dict[str, Any] = {"trees": 8, "sigmas": (1, 4)}


def textured(seed: int, shape: tuple[int, ...] = (64, 72)) -> tuple[Any, Any]:
    """Discs that no threshold can find: as bright as the background on average, but grainy. And their labels."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.uint16)
    grid = np.meshgrid(*[np.arange(size) for size in shape], indexing="ij")
    for number, corner in enumerate(np.ndindex(*[size // 24 for size in shape]), start=1):
        centre = [24 * k + 12 for k in corner]
        truth[sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True)) <= 64] = number
    grain = ndimage.gaussian_filter(rng.normal(size=shape), 1)
    return np.where(truth > 0, 10 * grain, grain) + 5, truth


@pytest.fixture(scope="module")
def classifier() -> p.PixelClassifier:
    image, truth = textured(0)
    return p.train_pixels([image], [p.from_objects(truth, border=False)], **SMALL)


# -- the forest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_scikit_learn_agrees(classes: int) -> None:
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(0)
    samples = rng.normal(size=(300, 5)).astype(np.float32)
    kinds = (samples[:, 0] + samples[:, 1] ** 2 + rng.normal(size=300) > 0.5).astype(int) * (classes - 1)
    kinds[:10] = np.arange(10) % classes
    new = rng.normal(size=(500, 5)).astype(np.float32)
    theirs = RandomForestClassifier(7, min_samples_leaf=3, random_state=4).fit(samples, kinds).predict_proba(new)
    assert_allclose(f.grow(samples, kinds, trees=7, seed=4).probability(new), theirs, atol=1e-6)


def test_a_value_on_the_threshold_goes_left() -> None:
    half = np.float32(0.5)
    tree = {"starts": [0], "feature": [0, 0, 0], "left": [1, 1, 2], "right": [2, 1, 2]}
    arrays = {name: np.array(values, np.int32) for name, values in tree.items()}
    arrays |= {"threshold": np.array([half, 0, 0]), "value": np.array([[0.5, 0.5], [1, 0], [0, 1]])}
    drawn = f.from_arrays(arrays, 1, 2, "here")
    asked = np.array([[half], [np.nextafter(half, np.float32(1))], [-9]], np.float32)
    assert_array_equal(drawn.probability(asked), [[1, 0], [0, 1], [1, 0]])


def test_thresholds_between_neighbouring_numbers_part_them() -> None:
    low = np.nextafter(np.float32(1024), np.float32(2000))  # its mantissa is odd: halfway up is rounded to `high`
    high = np.nextafter(low, np.float32(2000))
    features = np.repeat(np.array([[low], [high]], np.float32), 10, axis=0)
    forest = f.grow(features, np.repeat([0, 1], 10), trees=5)
    told = forest.probability(np.array([[low], [high]], np.float32)).argmax(axis=1)
    assert_array_equal(told, [0, 1])


def test_many_samples_in_blocks_and_threads_are_the_same_samples(classifier: p.PixelClassifier) -> None:
    samples = np.random.default_rng(0).normal(size=(f.BLOCK + 50, 16)).astype(np.float32)
    whole = classifier.forest.probability(samples, workers=2)
    assert_array_equal(whole[-70:], classifier.forest.probability(samples[-70:]))
    assert classifier.forest.probability(samples[:0]).shape == (0, 2)


# -- learning and finding ---------------------------------------------------------------------------


def test_it_finds_what_no_threshold_finds(classifier: p.PixelClassifier) -> None:
    image, truth = textured(1)
    found = classifier.segment(image, min_size=30)
    assert found.dtype == np.int32
    assert objects.seg(truth, found) > 0.6
    sure = classifier.probability(image)
    assert sure.dtype == np.float32
    assert sure[truth > 0].mean() > 0.8 > 0.2 > sure[truth == 0].mean()
    assert_allclose(sure + classifier.probability(image, of=p.BACKGROUND), 1, atol=1e-6)


def test_a_few_strokes_are_enough() -> None:
    image, truth = textured(0)
    strokes = np.zeros(truth.shape, np.uint8)
    strokes[12] = np.where(truth[12] > 0, p.OBJECT, p.BACKGROUND)
    strokes[0] = p.BACKGROUND
    learnt = p.train_pixels([image], [strokes], **SMALL)
    assert objects.seg(textured(1)[1], learnt.segment(textured(1)[0], min_size=30)) > 0.5


def test_gain_offset_and_type_make_no_difference(classifier: p.PixelClassifier) -> None:
    image = np.rint(100 * textured(1)[0]).astype(np.int16)
    plain = classifier.probability(image)
    assert_allclose(classifier.probability(1e4 + 3.0 * image), plain, atol=0.02)
    assert_allclose(classifier.probability(image.astype(np.float32)), plain, atol=1e-6)


def test_objects_that_touch_stay_apart_where_borders_were_learnt() -> None:
    truth = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((16, 16), int))  # no background between them
    image = np.where(p.from_objects(truth) == p.BORDER, 0.3, 1) + np.random.default_rng(0).normal(0, 0.02, truth.shape)
    examples = p.from_objects(truth)
    examples[0] = p.BACKGROUND
    learnt = p.train_pixels([image], [examples], **SMALL)
    found = learnt.segment(image, min_size=20)
    assert found.max() == 9
    assert objects.seg(truth, found) > 0.85  # they have grown over the borders


def test_examples_from_objects() -> None:
    labels = np.array([[0, 0, 0, 5, 5, 5, 7, 7, 7]] * 3)
    assert_array_equal(p.from_objects(labels)[1], [1, 1, 1, 3, 2, 3, 3, 2, 2])
    assert_array_equal(p.from_objects(labels, border=False)[1], [1, 1, 1, 2, 2, 2, 2, 2, 2])


@pytest.mark.parametrize("labels", [np.full((4, 4), -1), np.ones((4, 4)), np.ones((4, 4), bool)])
def test_what_is_no_label_image_makes_no_examples(labels: Any) -> None:
    with pytest.raises(DataError, match="The example"):
        p.from_objects(labels)


def test_the_same_seed_learns_the_same() -> None:
    image, truth = textured(0)
    made = [p.train_pixels([image], [p.from_objects(truth)], seed=s, at_most=200, **SMALL) for s in (3, 3, 4)]
    first, again, other = (one.probability(image) for one in made)
    assert_array_equal(first, again)
    assert (first != other).any()


def test_volumes_and_frames() -> None:
    image, truth = textured(0, (24, 48, 24))
    learnt = p.train_pixels([Image(image, "ZYX")], [Image(truth.clip(0, 1).astype(np.int32) + 1, "ZYX")], **SMALL)
    assert learnt.dimensions == 3
    assert learnt.segment(Image(image, "ZYX", (1.0, 0.5, 0.5)), min_size=50).voxel_size == (1.0, 0.5, 0.5)
    movie, labels = Image(image[:2], "TYX"), Image(truth[11:13].clip(0, 1).astype(np.int32) + 1, "TYX")
    flat = p.train_pixels([movie], [labels], **SMALL)
    assert_array_equal(flat.segment(movie).array[1], flat.segment(image[1]))


# -- kept in a file ---------------------------------------------------------------------------------


def test_what_is_saved_is_loaded(classifier: p.PixelClassifier, tmp_path: Path) -> None:
    path = classifier.save(tmp_path / "nuclei.safetensors")
    again = p.load(path)
    assert_array_equal(again.segment(textured(1)[0]), classifier.segment(textured(1)[0]))
    assert (again.classes, again.dimensions, again.sigmas) == ((1, 2), 2, (1, 4))
    with pytest.raises(OutputError, match="exists already"):
        classifier.save(path)
    classifier.save(path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["nuclei.safetensors"]
    with pytest.raises(OutputError, match=r"written as .safetensors, not as nuclei.pkl"):
        classifier.save(tmp_path / "nuclei.pkl")
    with pytest.raises(OutputError, match="cannot be written"):
        classifier.save(tmp_path / "absent" / "nuclei.safetensors")


def spoil(name: str, value: Any) -> Any:
    def change(arrays: dict[str, Any], facts: dict[str, Any]) -> None:
        if name in facts:
            facts[name] = value
        elif value is None:
            del arrays[name]
        else:
            arrays[name] = value(arrays[name])

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (spoil("left", None), "it has no left"),
        (spoil("left", lambda old: old * 0), "its trees lead nowhere"),  # a circle: asking would never end
        (spoil("right", lambda old: old + 10**6), "its trees lead nowhere"),
        (spoil("feature", lambda old: old + 100), "its trees lead nowhere"),
        (spoil("starts", lambda old: old - 1), "its trees lead nowhere"),
        (spoil("value", lambda old: old[:, :1].copy()), "its parts do not fit"),
        (spoil("right", lambda old: old[1:].copy()), "its parts do not fit"),
        (spoil("feature", lambda old: old.astype(np.float32)), "of the wrong type"),
        (spoil("format", 99), "newer veriscope"),
        (spoil("dimensions", "many"), "damaged pixel classifier"),
        (spoil("sigmas", [1]), "damaged pixel classifier"),
    ],
)
def test_a_damaged_file_is_refused(classifier: p.PixelClassifier, tmp_path: Path, change: Any, says: str) -> None:
    path = classifier.save(tmp_path / "a.safetensors")
    arrays = load_file(path)
    facts = {"format": 1, "classes": [1, 2], "dimensions": 2, "sigmas": [1, 4]}
    change(arrays, facts)
    save_file(arrays, path, {"veriscope.pixels": json.dumps(facts)})
    with pytest.raises(ModelError, match=says):
        p.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": np.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "note.safetensors").write_text("hello")
    for name in ("other", "note", "absent"):
        with pytest.raises(ModelError, match="is no pixel classifier"):
            p.load(tmp_path / f"{name}.safetensors")


# -- bad input --------------------------------------------------------------------------------------

IMAGE, TRUTH = textured(0)


@pytest.mark.parametrize(
    ("images", "examples", "says"),
    [
        ([], [], "needs its examples"),
        ([IMAGE], [], "1 images and 0 examples"),
        ([IMAGE], [p.from_objects(TRUTH)[:9]], "shape of their image"),
        ([IMAGE], [TRUTH], "label images of objects.*from_objects"),
        ([IMAGE], [np.zeros(IMAGE.shape, int)], "nothing but 0"),
        ([IMAGE], [np.ones(IMAGE.shape, int)], "at least 1 and 2"),
        ([IMAGE], [TRUTH.astype(float)], "whole numbers"),
        ([IMAGE, IMAGE[None]], [TRUTH, TRUTH[None]], "all 2D or all 3D"),
        ([Image(np.stack([IMAGE, IMAGE]), "CYX")], [Image(np.stack([TRUTH, TRUTH]), "CYX")], "one channel"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(images: Any, examples: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        p.train_pixels(images, examples, **SMALL)


def test_what_it_was_not_made_for_is_refused(classifier: p.PixelClassifier) -> None:
    with pytest.raises(DataError, match="trained on 2D images, but this one is 3D"):
        classifier.segment(IMAGE[None])
    with pytest.raises(DataError, match="knows the classes 1, 2, not 3"):
        classifier.probability(IMAGE, of=p.BORDER)
    with pytest.raises(DataError, match="between 0 and 1"):
        classifier.segment(IMAGE, threshold=2)
