"""Networks of every kind, written for csbdeep and opened by the real csbdeep: how far its answers are from ours.

    python benchmarks/peers/csbdeep_roundtrip.py [--record] [--python PYTHON]

csbdeep needs TensorFlow, so it is installed in an environment of its own, or found in that of PYTHON. Networks are
untrained, with biases drawn at random; images are random pixels. Also run: the networks as they come back.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from machine import header

from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe, SurfaceLayers
from veriscope.sharing import csbdeep

RESULTS = Path(__file__).resolve().parents[1] / "results" / "csbdeep-roundtrip.txt"
NEEDED = ["tensorflow-cpu<2.16", "csbdeep", "h5py"]
MOST = 1e-5  # of the range
TWO = {"channels_in": 2, "channels_out": 2}
UNUSUAL = SurfaceLayers((5, 3, 3), (3, 3, 5), (2, 4), 1, 3, 2)
KINDS = {
    "planaria": Recipe.paper("planaria"),
    "hela": Recipe.paper("hela"),
    "flywing": Recipe.paper("flywing"),
    "retina": Recipe.paper("retina"),
    "default-2D": Recipe(axes="YX"),
    "two-channels": Recipe(axes="YX", base=8, **TWO),
    "two-to-one": Recipe(axes="YX", base=8, channels_in=2, probabilistic=False),
    "relu": Recipe(axes="YX", base=8, residual=False, activation="relu"),
    "compact-surface": Recipe(axes="ZYX", task="project", base=8),
    "unusual-surface": Recipe(axes="ZYX", task="project", base=8, projection=UNUSUAL, **TWO),
    "upsampling": Recipe(axes="ZYX", base=8, upsample=(2, 1, 1)),
}


def main() -> None:
    """Write, run, compare, print; ends with an error where an answer is too far off."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    options.add_argument("--python", type=Path, help="an interpreter that has csbdeep and TensorFlow")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        python = chosen.python or installed(Path(place) / "env")
        text = compared(Path(place) / "models", python)
    print(text)
    if chosen.record:
        RESULTS.write_text(text + "\n")


def installed(place: Path) -> Path:
    """An interpreter with csbdeep in a new environment."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *NEEDED], check=True)
    return python


def compared(place: Path, python: Path) -> str:
    place.mkdir()
    images, expected, back = {}, {}, {}
    for name, recipe in KINDS.items():
        network = drawn(recipe)
        folder = csbdeep.write(Ensemble(recipe, (network,)), place / name)[0]
        space = [3 * step for step in recipe.step]
        shape = (1, recipe.channels_in, *((9,) if recipe.projects else ()), *space)
        image = torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))
        options = {}
        if recipe.finer:
            options = {"task": "isotropic" if recipe.isotropic else "upsample", "factor": recipe.finer["Z"]}
        again = csbdeep.read(folder, **options).members[0]
        with torch.inference_mode():
            expected[name], back[name] = network(image).numpy(), again(image).numpy()
        turned = image.numpy().swapaxes(2, 3) if recipe.isotropic else image.numpy()
        images[name] = np.moveaxis(turned, 1, -1)
    np.savez(place / "images.npz", **images)
    script = Path(__file__).with_name("in_csbdeep.py")
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([python, script, place], check=True, capture_output=True, env=quiet)
    versions = json.loads((place / "versions.json").read_text())
    rows, worst = [], 0.0
    with np.load(place / "answers.npz") as answers:
        for name, recipe in KINDS.items():
            answer = np.moveaxis(answers[name], -1, 1)
            answer = answer.swapaxes(2, 3) if recipe.isotropic else answer
            apart = [np.abs(one - expected[name]).max() / np.ptp(expected[name]) for one in (answer, back[name])]
            worst = max(worst, *apart)
            size = " x ".join(map(str, images[name].shape[1:-1]))
            rows.append(f"{name:<18}{size:>14}{apart[0]:>14.1e}{apart[1]:>16.1e}")
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        header("Networks of veriscope in csbdeep: largest differences in parts of the range of the answer"),
        told,
        "",
        f"{'network':<18}{'image':>14}{'csbdeep':>14}{'read back here':>16}",
        *rows,
    ]
    if worst > MOST:
        raise SystemExit("\n".join([*lines, f"A difference of {worst:.1e} is too much."]))
    return "\n".join(lines)


def drawn(recipe: Recipe) -> torch.nn.Module:
    """A network with random weights, and biases that matter."""
    torch.manual_seed(3)
    network = build(recipe).eval().requires_grad_(False)
    for weights in network.parameters():
        if weights.dim() == 1:
            weights += 0.05 * torch.randn_like(weights)
    return network


if __name__ == "__main__":
    main()
