"""Packages of every kind of network, tested by bioimageio.core without a network connection.

    python benchmarks/peers/bioimageio_packages.py [--record] [--python PYTHON ...]

bioimageio.core is installed in an environment of its own for each of VERSIONS, or found in those of PYTHON. Printed:
what its test says of both weights, and how far blockwise prediction is from that of the whole image: anywhere, and
farther from its border than the halo. Version 0.9.6 continues blocks beyond the border of the image, but not the image.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from machine import header
from peers.csbdeep_roundtrip import TWO, drawn

from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.sharing import bioimageio

RESULTS = Path(__file__).resolve().parents[1] / "results" / "bioimageio-packages.txt"
SCRIPT = Path(__file__).resolve().parents[2] / "tests" / "sharing" / "in_bioimageio.py"
VERSIONS = ("0.11.0", "0.9.6")
SMALL = {"base": 8, "depth": 1}
KINDS = {
    "2D": Recipe(axes="YX", **SMALL),
    "3D": Recipe(axes="ZYX", **SMALL),
    "two-channels": Recipe(axes="YX", **SMALL, **TWO),
    "two-to-one": Recipe(axes="YX", **SMALL, channels_in=2, probabilistic=False),
    "stem": Recipe(axes="YX", **SMALL, stem=2),
    "projection": Recipe(axes="ZYX", task="project", **SMALL),
    "isotropic": Recipe(axes="YX", task="isotropic", upsample=(3, 1, 1), **SMALL),
}


def main() -> None:
    """Write packages, have them tested, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    options.add_argument("--python", type=Path, nargs="*", help="interpreters that have bioimageio.core")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        names = packages(Path(place))
        pythons = chosen.python or [installed(Path(place) / version, version) for version in VERSIONS]
        lines = [header("Packages of veriscope in bioimageio.core"), ""]
        for python in pythons:
            lines += [*tested(python, names), ""]
    text = "\n".join(lines).rstrip()
    print(text)
    if chosen.record:
        RESULTS.write_text(text + "\n")


def packages(place: Path) -> list[Path]:
    """A package of each kind with either normalisation."""
    written = []
    for kind, recipe in KINDS.items():
        counts = {"low": recipe.channels_in, "high": recipe.channels_out}
        facts = {which: {"percentiles": {"2.0": [100.0] * n, "99.8": [900.0] * n}} for which, n in counts.items()}
        model = Ensemble(recipe, (drawn(recipe),), facts)
        for normalize in ("image", "model"):
            path = place / f"{kind}-{normalize}.zip"
            bioimageio.write(model, path, authors=["veriscope"], licence="CC0-1.0", normalize=normalize)
            written.append(path)
    return written


def installed(place: Path, version: str) -> Path:
    """An interpreter with this version of bioimageio.core in a new environment."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / "bin" / "python"
    needed = [
        f"bioimageio.core=={version}",
        "pydantic<2.14",
        "onnxruntime",
        f"torch=={torch.__version__.split('+')[0]}",
    ]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *needed], check=True)
    return python


def tested(python: Path, names: list[Path]) -> list[str]:
    asked = "from importlib.metadata import version as v; print(v('bioimageio.core'), v('bioimageio.spec'))"
    core, spec = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True).stdout.split()
    chosen = ",".join(name.stem for name in names)
    done = subprocess.run([python, SCRIPT, chosen, *names], check=True, capture_output=True, text=True)
    answers = json.loads(done.stdout.splitlines()[-1])
    lines = [f"bioimageio.core {core}, bioimageio.spec {spec}"]
    lines.append(f"{'package':<22}{'onnx':>12}{'torchscript':>14}{'blocks, whole':>15}{'within halo':>13}")
    for name in names:
        forms = answers[str(name)]
        found = [forms["onnx"].get(name) for name in ("blocks", "within")]
        shown = "".join(f"{f'{one:.1e}' if isinstance(one, float) else 'not possible':>14}" for one in found)
        lines.append(f"{name.stem:<22}{forms['onnx']['status']:>12}{forms['torchscript']['status']:>14}{shown}")
    return lines


if __name__ == "__main__":
    main()
