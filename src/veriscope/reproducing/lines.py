"""How close may two tubules lie to be seen as two, before and after restoration? Simulated, so that all is known."""

from __future__ import annotations

import warnings
from math import pi

import numpy as np

from veriscope.errors import VeriscopeWarning
from veriscope.images.image import Image
from veriscope.judging.two_lines import TwoLines, resolved, smallest_resolved
from veriscope.networks.model import Ensemble
from veriscope.reproducing.paper import INPUT, NETWORK
from veriscope.restoring.restore import restore
from veriscope.simulate.camera import to_integers
from veriscope.simulate.experiments import standin
from veriscope.simulate.standins import blurred_light
from veriscope.simulate.tubules import pair

DISTANCES = tuple(round(0.06 + 0.02 * number, 2) for number in range(15))  # um, 0.06 to 0.34
TRIALS = 20  # pairs at each distance, in all directions
SIDE = 96  # pixels of a field


def smallest_distances(
    name: str, model: Ensemble, seed: int = 0, device: str | None = None, trials: int = TRIALS
) -> dict[str, float]:
    """For input and network the smallest distance (um) at which at least 80 % of pairs are resolved; inf for none.

    Each field holds one pair of tubules and is seen by the microscope and camera of the stand-in `name`.
    """
    stand = standin(name)
    pixel = stand.voxel_size[-1]
    rng = np.random.default_rng((seed, 5))
    seen: dict[str, list[list[bool]]] = {INPUT: [], NETWORK: []}
    for distance in DISTANCES:
        fields, places = [], []
        for _ in range(trials):
            turn = float(rng.uniform(0, 1))
            centre = [(SIDE - 1) / 2 + float(rng.uniform(-0.5, 0.5)) for _ in range(2)]
            scene = pair((SIDE, SIDE), stand.voxel_size, distance, turn, [pixel * at for at in centre])
            light = blurred_light(stand, rng, {}, np.asarray(scene.light))
            fields.append(to_integers(stand.camera.apply(light, stand.camera.draw(rng))))
            places.append(TwoLines((centre[0], centre[1]), 2 * pi * turn, distance / pixel, SIDE / 3))
        low = Image(np.stack(fields), "TYX", stand.voxel_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VeriscopeWarning)  # fields this empty are unlike those of training
            high = np.asarray(restore(low, model, device=device, normalize="frame").mean)
        for method, planes in ((INPUT, np.asarray(low)), (NETWORK, high)):
            seen[method].append([resolved(plane, place) for plane, place in zip(planes, places, strict=True)])
    return {method: smallest_resolved(DISTANCES, found) or float("inf") for method, found in seen.items()}
