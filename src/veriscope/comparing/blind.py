"""What a network learns from a noisy image alone: Noise2Void as a method to compare with."""

from __future__ import annotations

import warnings

import numpy as np

from veriscope.classical.method import Method
from veriscope.errors import VeriscopeWarning
from veriscope.images.image import Image
from veriscope.images.volumes import Picture

MINUTES = 1.0  # for each image


def noise2void(image: Picture, minutes: float = MINUTES) -> Picture:
    """One network trained for so many minutes on the image itself, by blind spots, and the image restored with it.

    An Image, or an array (Y X, Z Y X), of any number type; float32 in the same unit. Raises TrainingError.
    """
    from veriscope.networks.recipe import Recipe
    from veriscope.restoring.restore import restore
    from veriscope.training.loop import train
    from veriscope.training.noisy import noisy_images

    given = image if isinstance(image, Image) else Image(np.asarray(image), "ZYX"[-np.ndim(image) :])
    channels = given.size("C")
    recipe = Recipe("ZYX" if given.size("Z") > 1 else "YX", channels, channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)  # of patches that are fitted, as in any training
        model = train(recipe, noisy_images([given]), members=1, minutes=minutes, progress=False)
        made = restore(given, model, memory=None).mean
    return made if isinstance(image, Image) else np.asarray(made)


METHOD = Method(
    "noise2void",
    "Noise2Void, trained on the image itself",
    "restore",
    noise2void,
    {"minutes": MINUTES},
    source="Krull et al., CVPR 2019",
    speed=(0.005, 0.02),
)
