"""What a GPU gives: training, restoring and entropy beside plain torch and the paper; agreement with the processor.

    python benchmarks/gpu.py --record            # make gpu-check
    python benchmarks/gpu.py --device cpu --small     # tries the script itself where there is no GPU

The paper (GTX 1080, SI): 17,005 patches of 16 x 64 x 64 x 200 epochs in 30 hours, 1024 x 1024 x 100 in under 20 s. A
part that fails says why, and the others go on. The exit code is 1 when a part failed or results differ by more than
1e-3 of the range.
"""

from __future__ import annotations

import argparse
import time
import traceback
import warnings
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch

import veriscope as vs
from veriscope import laplace
from veriscope.images.pairing import Pair, Pairs
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.training.losses import laplace_nll

RESULTS = Path(__file__).parent / "results" / "gpu.txt"
EPOCHS = 17_005 * 200  # patches in a training of the paper


class Parts:
    """The parts of the check, on a device, large or small."""

    def __init__(self, device: str, small: bool) -> None:
        self.device, self.small = device, small
        self.recipe = vs.Recipe.paper("planaria").change(
            **({"base": 4, "batch": 4, "patch": (8, 16, 16)} if small else {})
        )
        self.network = build(self.recipe).eval()

    def seconds(self, work: Callable[[], object], rounds: int = 3) -> float:
        """The fastest of some rounds, after one that warms up."""
        taken = []
        for _ in range(1 + rounds):
            began = time.perf_counter()
            work()
            if self.device.startswith("cuda"):
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
        return min(taken[1:])

    def training(self) -> str:
        """Patches a second of `vs.train`, checking included, beside a bare step of torch."""
        recipe, rng = self.recipe, np.random.default_rng(0)
        size = tuple(2 * length for length in recipe.patch)
        images = [vs.Image(rng.random(size, np.float32), "ZYX") for _ in range(8)]
        patches = vs.cut_patches(
            Pairs(
                [Pair(low, high, str(n)) for n, (low, high) in enumerate(zip(images[::2], images[1::2], strict=True))]
            ),
            shape=recipe.patch,
            per_image=(1 if self.small else 40) * recipe.batch,
            seed=0,
        )
        speeds: list[float] = []
        vs.train(
            recipe, patches, patches, members=1, epochs=2, device=self.device,
            progress=lambda report: speeds.append(report.patches_per_second),
        )  # fmt: skip
        network = build(recipe).to(self.device)
        optimizer = torch.optim.Adam(network.parameters())
        low = torch.rand(recipe.batch, 1, *recipe.patch, device=self.device)

        def step() -> None:
            optimizer.zero_grad()
            laplace_nll(network(low), low).backward()
            optimizer.step()

        plain = recipe.batch / self.seconds(step)
        hours = EPOCHS / speeds[-1] / 3600
        return (
            f"{speeds[-1]:.1f} patches/s (plain torch in float32 {plain:.1f}); the paper's training would take "
            f"{hours:.2f} h (paper: 30 h; aim on an H100: 0.5 h)"
        )

    def restoring(self) -> str:
        """Seconds for the paper's stack, in each precision."""
        shape = (16, 64, 64) if self.small else (100, 1024, 1024)
        image = vs.Image(np.random.default_rng(0).integers(100, 1000, shape, np.uint16), "ZYX")
        model, found = Ensemble(self.recipe, (self.network,)), []
        for precision in ("float32", "bfloat16"):
            run = lambda how=precision: vs.restore(image, model, device=self.device, precision=how)  # noqa: E731
            found.append(f"{self.seconds(run, 2):.2f} s in {precision}")
        return f"{' x '.join(map(str, shape))}: {', '.join(found)} (paper: under 20 s; aim: 1 s)"

    def agreement(self) -> str:
        """The same restoration on both. Raises AssertionError where they differ."""
        shape = (16, 64, 64) if self.small else (32, 256, 256)
        image = vs.Image(np.random.default_rng(1).integers(100, 1000, shape, np.uint16), "ZYX")
        model = Ensemble(self.recipe, (self.network,))
        here, there = (vs.restore(image, model, device=one, precision="float32").mean for one in ("cpu", self.device))
        exact = np.asarray(here)
        apart = float(np.abs(np.asarray(there) - exact).max() / np.ptp(exact))
        assert apart <= 1e-3, f"results differ by {apart:.1e} of the range from the processor's"
        return f"differs from the processor by {apart:.1e} of the range at most"

    def entropy(self) -> str:
        """Of an ensemble of five."""
        shape = (5, *((64, 64) if self.small else (4096, 4096)))
        mean, scale = (torch.rand(shape, device=self.device) + offset for offset in (0.0, 0.05))
        rate = prod(shape[1:]) / self.seconds(lambda: laplace.entropy(mean, scale)) / 1e6
        return f"{rate:.1f} Mpixel/s (aim: 200)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name} too")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, whose speeds mean nothing")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA GPU here. Try the script itself with --device cpu --small.")
    warnings.simplefilter("ignore")
    parts, failed = Parts(given.device, given.small), False
    lines = [machine.header(f"What {given.device} gives"), ""]
    print("\n".join(lines), flush=True)
    work: Any
    for work in (parts.agreement, parts.restoring, parts.training, parts.entropy):
        try:
            said = work()
        except Exception as problem:
            failed, said = True, f"FAILED: {type(problem).__name__}: {problem}"
            traceback.print_exc()
        lines.append(f"{work.__name__:<12}{said}")
        print(lines[-1], flush=True)
    if given.record:
        RESULTS.write_text("\n".join(lines) + "\n")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
