"""A pixel classifier: what is object and what is background, learnt from examples, as in ilastik and Weka.

Every pixel is described by filters of several widths (scikit-image: intensity, edges, texture) and judged by a random
forest (scikit-learn, 200 trees). Examples are strokes of a brush or whole label images.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from veriscope import axes as axes_of
from veriscope import saving
from veriscope.errors import DataError, ModelError, OutputError
from veriscope.images.image import Image
from veriscope.images.labels import check as check_labels
from veriscope.images.volumes import Picture, each
from veriscope.objects.forest import Forest, from_arrays, grow
from veriscope.objects.segment import without_small

UNKNOWN, BACKGROUND, OBJECT, BORDER = 0, 1, 2, 3  # the colours of the brush
PERCENTILES = (2.0, 99.8)  # of each plane or volume: brought to 0 and 1, so that gain and offset do not matter
SIGMAS = (0.5, 8.0)  # pixels: the narrowest and the widest filter; between them each is twice as wide as the last
AT_MOST = 5_000  # pixels learnt from, of each class
FORMAT = 1


@dataclass(frozen=True, eq=False)
class PixelClassifier:
    """Tells for every pixel what it is. Made by `train_pixels`; kept in a file of numbers by `save` and `load`."""

    forest: Forest
    classes: tuple[int, ...]  # of the forest's answers: colours of the brush, in rising order
    dimensions: int  # 2 or 3
    sigmas: tuple[float, float] = SIGMAS

    def probability(self, image: Picture, of: int = OBJECT, workers: int = 1) -> Picture:
        """How sure each pixel is of class `of`, 0 to 1, float32."""
        self._check(image)
        column = self._column(of)
        return cast("Picture", each(image, lambda volume: self._ask(volume, workers)[..., column]))

    def segment(self, image: Picture, min_size: int = 0, threshold: float = 0.5, workers: int = 1) -> Picture:
        """Labels of the objects, int32: connected regions whose pixels are `OBJECT` with more than `threshold`.

        Where borders were learnt too, the regions then grow over them, up to the background, without meeting: so
        objects that touch stay apart. Those of fewer pixels than `min_size` are left out.
        """
        self._check(image)
        if not 0 < threshold < 1:
            raise DataError(f"A threshold of probability lies between 0 and 1, but {threshold:g} was given. Try 0.5.")

        def one(volume: NDArray[Any]) -> NDArray[np.int32]:
            from scipy import ndimage
            from skimage.segmentation import watershed

            answers = self._ask(volume, workers)
            sure = answers[..., self._column(OBJECT)]
            labels = ndimage.label(sure > threshold)[0]
            if BORDER in self.classes:
                foreground = sure + answers[..., self._column(BORDER)]
                labels = watershed(-sure, labels, mask=(foreground > threshold) | (labels > 0))
            return without_small(labels, min_size)

        return cast("Picture", each(image, one, np.int32))

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the classifier to a .safetensors file: arrays and a few words, nothing that can be executed."""
        from safetensors.numpy import save

        target = Path(path)
        if target.suffix != ".safetensors":
            raise OutputError(f"A pixel classifier is written as .safetensors, not as {target.name}. Add the suffix.")
        if saving.exists(target) and not overwrite:
            raise OutputError(f"{target} exists already. Choose another name, or replace it with overwrite.")
        facts = {"format": FORMAT, "classes": self.classes, "dimensions": self.dimensions, "sigmas": self.sigmas}
        arrays = {name: np.ascontiguousarray(array) for name, array in vars(self.forest).items()}
        saving.write(target, save(arrays, {"veriscope.pixels": json.dumps(facts)}), overwrite)
        return target

    def _ask(self, volume: NDArray[Any], workers: int) -> NDArray[np.float32]:
        """(*space, classes): the probability of each class."""
        described = features(volume, self.sigmas, workers)
        answers = self.forest.probability(described.reshape(-1, described.shape[-1]), workers)
        return answers.reshape(*volume.shape, len(self.classes))

    def _column(self, of: int) -> int:
        if of not in self.classes:
            raise DataError(f"This pixel classifier knows the classes {', '.join(map(str, self.classes))}, not {of}.")
        return self.classes.index(of)

    def _check(self, image: Any) -> None:
        found = _dimensions(image)
        if found != self.dimensions:
            raise DataError(
                f"This pixel classifier was trained on {self.dimensions}D images, but this one is {found}D. "
                f"Train one on images like it."
            )


def train_pixels(
    images: Sequence[Image | NDArray[Any]],
    examples: Sequence[Image | NDArray[Any]],
    trees: int = 200,
    sigmas: tuple[float, float] = SIGMAS,
    at_most: int = AT_MOST,
    seed: int = 0,
    workers: int = 1,
) -> PixelClassifier:
    """Learn from `examples`, one for each image and of its shape: 0 unknown, 1 background, 2 object, 3 border.

    Few strokes are enough; of dense ones at most `at_most` pixels of each class are drawn. Label images of objects are
    turned into examples by `from_objects`. Raises DataError when shapes differ or a class has no pixels at all.
    """
    if not images or len(images) != len(examples):
        raise DataError(
            f"Each training image needs its examples, but there are {len(images)} images and {len(examples)} examples."
        )
    if trees < 1 or at_most < 1 or not 0 < sigmas[0] <= sigmas[1]:
        raise DataError(
            f"Trees ({trees}) and pixels ({at_most}) are at least 1, and the filters' widths ({sigmas[0]:g}, "
            f"{sigmas[1]:g}) two positive numbers of pixels, the smaller first."
        )
    dimensions = {_dimensions(image) for image in images}
    if len(dimensions) > 1:
        raise DataError("Training images must be all 2D or all 3D, but there are both. Train one classifier for each.")
    pairs = [pair for image, example in zip(images, examples, strict=True) for pair in _volumes(image, example)]
    classes = tuple(sorted({int(kind) for _, example in pairs for kind in np.unique(example)} - {UNKNOWN}))
    if not {BACKGROUND, OBJECT} <= set(classes) <= {BACKGROUND, OBJECT, BORDER}:
        raise DataError(
            f"Examples hold 0 (unknown), 1 (background), 2 (object) and if wanted 3 (border), at least 1 and 2; but "
            f"these hold {', '.join(map(str, classes[:8])) or 'nothing but 0'}. Are they label images of objects? Then "
            f"use from_objects."
        )
    chosen = _drawn([example for _, example in pairs], classes, at_most, np.random.default_rng(seed))
    described, kinds = [], []
    for (volume, example), places in zip(pairs, chosen, strict=True):
        if len(places):
            table = features(volume, sigmas, workers)
            described.append(table.reshape(-1, table.shape[-1])[places])
            kinds.append(np.searchsorted(classes, example.ravel()[places]))
    forest = grow(np.concatenate(described), np.concatenate(kinds), trees, seed, workers)
    return PixelClassifier(forest, classes, dimensions.pop(), sigmas)


def from_objects(labels: Picture, border: bool = True) -> Picture:
    """Examples from a label image of objects (0 is background): everywhere 1 background, 2 object and, if wanted, 3
    for the outermost pixels of an object, where it meets the background or another one.
    Raises DataError unless they are whole numbers from 0.
    """
    check_labels(np.asarray(labels), "The example")

    def one(volume: NDArray[Any]) -> NDArray[np.int32]:
        from skimage.segmentation import find_boundaries

        kinds = np.where(volume > 0, OBJECT, BACKGROUND).astype(np.int32)
        if border:
            kinds[find_boundaries(volume, mode="inner")] = BORDER
        return kinds

    return cast("Picture", each(labels, one, np.int32))


def features(volume: NDArray[Any], sigmas: tuple[float, float] = SIGMAS, workers: int = 1) -> NDArray[np.float32]:
    """(*space, features) of a plane or volume: smoothed intensity, size of the gradient and eigenvalues of the
    curvature, for each width of filter. Gain, offset and type of the camera make no difference.
    """
    from skimage.feature import multiscale_basic_features

    low, high = (float(value) for value in np.percentile(volume, PERCENTILES))
    scaled = (volume.astype(np.float64) - low) / (high - low if high > low else 1.0)
    found: NDArray[np.float32] = multiscale_basic_features(
        scaled.astype(np.float32), sigma_min=sigmas[0], sigma_max=sigmas[1], workers=workers
    ).astype(np.float32, copy=False)
    return found


def load(path: str | os.PathLike[str]) -> PixelClassifier:
    """A pixel classifier from its file. Raises ModelError for anything else; runs no code from it."""
    from safetensors import SafetensorError, safe_open

    if Path(path).exists() and not Path(path).is_file():
        raise ModelError(f"{path} is no pixel classifier, but a folder, pipe or device. Check the path.")
    try:
        with safe_open(path, framework="numpy") as file:
            words = (file.metadata() or {}).get("veriscope.pixels")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as problem:
        raise ModelError(f"{path} is no pixel classifier: {problem}. Check the path, or train one.") from problem
    if words is None:
        raise ModelError(f"{path} is no pixel classifier. Name a file that PixelClassifier.save wrote.")
    try:
        facts = json.loads(words)
        if facts["format"] > FORMAT:
            raise ModelError(f"{path} was written by a newer veriscope. Update veriscope to use it.")
        classes = tuple(int(kind) for kind in facts["classes"])
        dimensions, sigmas = int(facts["dimensions"]), (float(facts["sigmas"][0]), float(facts["sigmas"][1]))
        width = features(np.zeros((3,) * dimensions, np.float32), sigmas).shape[-1]
    except (LookupError, TypeError, ArithmeticError, ValueError) as problem:
        if isinstance(problem, ModelError):
            raise
        raise ModelError(f"{path} is a damaged pixel classifier ({problem}). Train it anew.") from problem
    return PixelClassifier(from_arrays(arrays, width, len(classes), str(path)), classes, dimensions, sigmas)


def _drawn(
    examples: Sequence[NDArray[Any]], classes: Sequence[int], at_most: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """For each example the flat positions to learn from: at most `at_most` of each class in all of them together."""
    chosen: list[list[NDArray[np.int64]]] = [[] for _ in examples]
    for kind in classes:
        places = [np.flatnonzero(example == kind) for example in examples]
        ends = np.cumsum([0, *map(len, places)])
        picked = np.arange(ends[-1])
        if len(picked) > at_most:
            picked = np.sort(rng.choice(ends[-1], at_most, replace=False))
        for number, own in enumerate(places):
            chosen[number].append(own[picked[(picked >= ends[number]) & (picked < ends[number + 1])] - ends[number]])
    return [np.concatenate(parts) for parts in chosen]


def _volumes(image: Any, example: Any) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """The planes or volumes of an image, each with its examples."""
    pixels, kinds = np.asarray(image), np.asarray(example)
    if (word := getattr(image, "axes", None)) is not None:
        order = axes_of.canonical(word)
        pixels = axes_of.move(pixels, word, order)
        kinds = axes_of.move(kinds, getattr(example, "axes", word), order)
    if pixels.shape != kinds.shape:
        raise DataError(
            f"Examples must have the shape of their image, but they have {kinds.shape} and the image {pixels.shape} "
            f"pixels. Is it the right file?"
        )
    if kinds.dtype.kind not in "ui":
        raise DataError(f"Examples are whole numbers, but these are {kinds.dtype}. Save them as uint8.")
    space = pixels.shape[-_dimensions(image) :]
    yield from zip(pixels.reshape(-1, *space), kinds.reshape(-1, *space), strict=True)


def _dimensions(image: Any) -> int:
    word = getattr(image, "axes", None)
    if word is not None and image.size("C") > 1:
        raise DataError(f"A pixel classifier looks at one channel, but the image has {image.size('C')}. Pick one.")
    found = np.ndim(image) if word is None else len(axes_of.spatial(word))
    if found not in (2, 3):
        raise DataError(f"A pixel classifier works on 2D and 3D images, but this one has {found} dimensions.")
    return found
