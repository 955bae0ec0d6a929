"""Sample data: enough to train on and to restore, in a minute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from veriscope.images.image import Image
from veriscope_napari.layers import LayerData, layer_data

SIZE, PHOTONS, PIXEL = 384, 12.0, 0.3


def simulated_nuclei() -> list[LayerData]:
    """A section of nuclei in low light and its ground truth: two layers to train on, or to compare."""
    from veriscope.simulate.nuclei import Nuclei

    nuclei = Nuclei(crowding=0.35)
    light = np.asarray(nuclei.apply(nuclei.draw(np.random.default_rng(4), (SIZE, SIZE), (PIXEL, PIXEL))).light)
    return _both(Image(np.round(60 + 940 * light / light.max()).astype(np.uint16), "YX", (PIXEL, PIXEL), name="nuclei"))


def real_nuclei() -> list[LayerData]:
    """The part of a real stack of nuclei that the network nuclei-3d did not see, and the same as in low light."""
    from veriscope.apps.demo import BORDER, JUDGED, nuclei

    return _both(nuclei().region(Z=slice(20, 44), Y=JUDGED, X=slice(BORDER, None)))


def _both(truth: Image) -> list[LayerData]:
    from veriscope.simulate.photograph import low_light

    low = low_light(truth, PHOTONS, seed=0)
    shown = {"low light": low, "ground truth": truth}
    return [
        layer for kind, image in shown.items() for layer in layer_data(replace(image, name=f"{image.name}, {kind}"))
    ]
