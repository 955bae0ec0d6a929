"""What runs the networks: PyTorch and OpenVINO, in float32 and bfloat16, on the same networks and images in turns.

    python benchmarks/engines.py --record                         # untrained networks, noise
    python benchmarks/engines.py --model MODEL --on IMAGE         # and a model of yours on an image

Milliseconds are of the processor for one network, the least of three runs. Differences are from PyTorch in float32, as
fractions of the range of the predicted means: the greatest, and the root mean square. "First" is what the first answer
takes more than the others: the graph is made and compiled.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import machine
import numpy as np
import torch

import veriscope as vs
from veriscope.networks import build
from veriscope.restoring.engines import Engine

RESULTS = Path(__file__).parent / "results" / "engines.txt"
CASES = {
    "2D, kernel 3, depth 3": (vs.Recipe("YX"), (512, 512)),
    "2D, kernel 5, depth 2": (vs.Recipe("YX", depth=2, kernel=5), (512, 512)),
    "2D, stem 2": (vs.Recipe("YX", stem=2), (512, 512)),
    "3D, kernel 3, depth 2": (vs.Recipe("ZYX"), (16, 64, 64)),
}
ENGINES = [Engine(name, kind) for kind in ("float32", "bfloat16") for name in ("torch", "openvino")]


def compared(name: str, network: torch.nn.Module, image: torch.Tensor) -> list[str]:
    whole = tuple(slice(0, length) for length in image.shape[2:])
    taken: dict[Engine, list[float]] = {engine: [] for engine in ENGINES}
    answers, runs = {}, {}
    with torch.inference_mode():
        for turn in range(4):
            for engine in ENGINES:
                began = time.process_time()
                if turn == 0:
                    runs[engine] = engine.load([network], image.device)
                answers[engine] = next(answer.clone() for answer in runs[engine](image, whole))[0]
                taken[engine].append(1000 * (time.process_time() - began))
    truth, lines = answers[ENGINES[0]], []
    for engine in ENGINES:
        first, *others = taken[engine]
        off, usual = (answers[engine] - truth) / (truth.max() - truth.min()), min(taken[ENGINES[0]][1:])
        lines.append(
            f"{name:<24}{engine!s:<20}{min(others):>8.0f}{first - min(others):>8.0f}"
            f"{usual / min(others):>8.2f}{off.abs().max():>10.1e}{off.square().mean().sqrt():>10.1e}"
        )
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name} too")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--on", type=Path, help="an image of the model's axes, one channel")
    given = parser.parse_args()
    lines = [
        machine.header(f"What runs the networks; {torch.get_num_threads()} threads"),
        "",
        f"{'network':<24}{'engine':<20}{'ms':>8}{'first':>8}{'faster':>8}{'greatest':>10}{'rms':>10}",
    ]
    print("\n".join(lines), flush=True)
    torch.manual_seed(0)
    for name, (recipe, shape) in CASES.items():
        lines += compared(name, build(recipe).eval(), torch.rand(1, 1, *shape))
    if given.model and given.on:
        pixels = np.asarray(vs.read_image(given.on), np.float32).squeeze()
        low, high = np.percentile(pixels, [2, 99.8])
        image = torch.from_numpy((pixels - low) / (high - low)).float()[None, None]
        lines += compared(f"{given.model.name} on an image", vs.load(given.model).members[0], image)
    if given.record:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
