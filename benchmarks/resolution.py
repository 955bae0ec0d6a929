"""How fine are the details that denoised images show? Fourier ring and shell correlation, on real and simulated images.

    python benchmarks/resolution.py             # two minutes on two cores
    python benchmarks/resolution.py --record    # also writes benchmarks/results/resolution.txt

Part 1: W2S, one frame of a field against the mean of 400 (1/2: one image and its truth). There are no two low frames of
a field, so that two noisy images cannot be compared. Mind: the frame is one of the 400, and both hold the same dirt.
Part 2: a simulated planaria volume, taken twice in the same light. What two denoised acquisitions have in common (1/7)
stands beside what each has in common with the truth (1/2): where the first is finer, the filter repeats itself and not
the sample.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import w2s
from scipy.ndimage import gaussian_filter

from veriscope.classical.deconvolve import richardson_lucy
from veriscope.classical.denoise import noise_sigma, non_local_means
from veriscope.images.image import Image
from veriscope.judging.fourier import Correlation, ring_correlation
from veriscope.simulate.experiments import field, standin
from veriscope.simulate.psf import gaussian

RESULTS = Path(__file__).parent / "results"
PIXEL = 0.126  # um, of W2S
W2S_BLUR = gaussian(0.9, 0.52, 1.33, (0.3, PIXEL, PIXEL))  # an assumption: the lens is not in the data
Ways = dict[str, Callable[[Image], Any]]


def ways(blur: Any, offset: float) -> Ways:
    """Nothing, and what people did before networks; strengths are usual ones, tuned on nothing."""

    def smooth(image: Image) -> Image:
        pixels = np.asarray(image, np.float32)
        return image.with_array(gaussian_filter(pixels, (0.5,) * (pixels.ndim - 2) + (1, 1)))

    return {
        "input": lambda image: image,
        "Gaussian, 1 pixel": smooth,
        "non-local means": lambda image: non_local_means(image, 1.3 * noise_sigma(np.asarray(image))),
        "Richardson-Lucy, 10 steps": lambda image: richardson_lucy(image, blur, offset, iterations=10, tolerance=0),
    }


def on_w2s(channel: int, say: Callable[[str], None]) -> None:
    say(f"W2S channel {channel}, fields 37-40: against the mean of 400 frames, um (criterion 1/2)")
    pairs = list(w2s.split(w2s.DATA, channel)[2])
    for name, way in ways(W2S_BLUR, 0.0).items():
        found = []
        for pair in pairs:
            low, high = (Image(np.asarray(one, np.float32), "YX", (PIXEL, PIXEL)) for one in (pair.low, pair.high))
            found.append(ring_correlation(way(low), high, criterion="1/2"))
        say(f"  {name:28}{'  '.join(f'{one.resolution:6.3f}' for one in found)}")


def on_planaria(scale: str, level: float, seed: int, say: Callable[[str], None]) -> None:
    """Part 2: two acquisitions in `level` of the light of the truth."""
    stand = standin("planaria")
    truth = field("planaria", "test_data", 0, seed, scale).images["GT"]
    camera = stand.camera
    photons = np.clip((np.asarray(truth, np.float64) - camera.offset) / camera.gain, 0, None) * level
    rng = np.random.default_rng(seed)
    taken = [
        truth.with_array(
            (
                camera.gain * rng.poisson(photons) + camera.offset + rng.normal(0, camera.read_noise, photons.shape)
            ).astype(np.float32)
        )
        for _ in range(2)
    ]
    assert truth.voxel_size is not None
    blur = stand.optics.on(truth.voxel_size).cropped(0.9)
    say(
        f"planaria at the scale {scale}, {' x '.join(map(str, truth.shape))} voxels of "
        f"{' x '.join(f'{size:g}' for size in truth.voxel_size)} um, light 1/{1 / level:.0f}, "
        f"brightest {np.percentile(photons, 99.9):.1f} photons; um"
    )
    say(f"  {'':28}two acquisitions (1/7)      against the truth (1/2)")
    say(f"  {'':28}{'lateral':>10} {'axial':>10}      {'lateral':>10} {'axial':>10}")
    for name, way in ways(blur, camera.offset).items():
        first, second = (way(one) for one in taken)
        found = [ring_correlation(first, second, direction) for direction in ("lateral", "axial")]
        found += [ring_correlation(first, truth, direction, "1/2") for direction in ("lateral", "axial")]
        told = [shown(one) for one in found]
        say(f"  {name:28}{told[0]:>10} {told[1]:>10}      {told[2]:>10} {told[3]:>10}")


def shown(found: Correlation) -> str:
    if found.nothing:
        return "none"
    return f"{'<= ' if found.limited else ''}{found.resolution:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="small", help="of the simulated volume: tiny, small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/resolution.txt")
    given = parser.parse_args()
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        print(text, flush=True)

    began = time.monotonic()
    say(machine.header("Resolution by Fourier ring and shell correlation"))
    if w2s.DATA.is_dir():
        for channel in (0, 1, 2):
            on_w2s(channel, say)
    else:
        say("W2S is not beside the project: part 1 is left out")
    say("")
    for level in standin("planaria").levels:
        on_planaria(given.scale, level, given.seed, say)
    say(f"\n{(time.monotonic() - began) / 60:.1f} minutes in all")
    if given.record:
        (RESULTS / "resolution.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
