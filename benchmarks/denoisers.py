"""How fast the classical denoisers are, and how well they do when tuned, on simulated images with few photons.

    python benchmarks/denoisers.py [--quick]

Prints, for a plane and a stack: million pixels per second with the usual settings, how many times as long as the
Gaussian low-pass that is, and the NRMSE after tuning, without and with the Anscombe transform. BM3D and BM4D are slow:
they get a corner of the images and are not tuned; without the extra `nonfree` they are left out. --quick leaves the
tuning out.
"""

from __future__ import annotations

import argparse
import time

import machine
import numpy as np
from scipy.ndimage import gaussian_filter

from veriscope.classical.anscombe import estimate, with_anscombe
from veriscope.classical.denoise import METHODS, noise_sigma
from veriscope.classical.tune import best
from veriscope.errors import DataError
from veriscope.judging.quality import nrmse
from veriscope.simulate.camera import Camera

SHAPES = ((1024, 1024), (32, 160, 160))
CORNER = {2: (slice(128), slice(128)), 3: (slice(12), slice(48), slice(48))}  # for BM3D and BM4D
PHOTONS = 10  # at the brightest places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="speed only")
    given = parser.parse_args()
    print(machine.header(f"Classical denoisers on simulated images with {PHOTONS} photons"))
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        light = gaussian_filter(rng.random(shape), 2.5)
        light = np.clip((light - light.min()) / np.ptp(light) * 2 - 0.8, 0, None) / 1.2
        camera = Camera(photons=PHOTONS)
        low = camera.apply(light, camera.draw(rng))
        noise = estimate(low)
        print(f"{' x '.join(map(str, shape))}: NRMSE {nrmse(light, low):.4f}, {noise}")
        fastest = 0.0
        for method in METHODS:
            if low.ndim not in method.dimensions:
                continue
            part = low[CORNER[low.ndim]] if method.module else low
            try:
                method.check()
            except DataError as reason:
                print(f"  {method.title:20} {reason}")
                continue
            usual = method.parameters(method.usual, noise_sigma(part))
            method.run(part[..., :32, :32], **usual)  # what is loaded at the first call does not count
            start = time.perf_counter()
            method.run(part, **usual)
            speed = part.size / (time.perf_counter() - start) / 1e6
            fastest = fastest or speed
            told = f"{speed:8.3f} Mpixel/s, {fastest / speed:8.1f} x low-pass"
            if not given.quick and not method.module:
                plain, even = best(method, low, light), best(with_anscombe(method, noise), low, light)
                told += f"   tuned {plain.nrmse:.4f} ({plain.settings[0]})   with Anscombe {even.nrmse:.4f}"
            print(f"  {method.title:20} {told}", flush=True)


if __name__ == "__main__":
    main()
