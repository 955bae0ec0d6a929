"""The steps to deepImageJ in docs/fiji.md: what is exported, chosen and seen; deepImageJ itself is not needed.

python docs/images/deepimagej.py
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

import veriscope as vs
from veriscope.apps.demo import nuclei
from veriscope.networks import shipped
from veriscope.simulate.photograph import low_light

FILE = Path(__file__).with_name("deepimagej.png")
LINE, FIJI, OURS = "#5a606b", "#d8e2f0", "#ee964b"
STEPS = (
    ("veriscope export\n--to bioimageio", "a package: weights,\naxes, normalisation", OURS),
    ("DeepImageJ\nInstall Model", "Private model:\nthe file .zip", FIJI),
    ("open an image", "axes of the model,\ngrey values as they are", FIJI),
    ("DeepImageJ Run", "the model by its name,\nONNX or PyTorch", FIJI),
)


def pictures() -> list[tuple[str, np.ndarray]]:
    """A plane in simulated low light, and what the exported package makes of it."""
    truth = nuclei().region(Y=slice(64, 192), X=slice(128, 256))
    low = low_light(truth, 20, 0)
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = Path(place) / "nuclei.zip"
        model = vs.load(shipped.FOLDER / "nuclei-3d")
        vs.sharing.bioimageio.write(model, package, authors=["A. Person"], licence="CC-BY-4.0", image=low)
        found = vs.restore(low, vs.load(package), lazy=False)
    return [(name, np.asarray(one)[32]) for name, one in (("input", low), ("mean", found.mean), ("scale", found.scale))]


def main() -> None:
    figure = Figure((10.4, 4.6), dpi=110)
    axes = figure.add_axes((0, 0.52, 1, 0.48))
    axes.set(xlim=(-0.55, 3.55), ylim=(-0.75, 0.6))
    axes.axis("off")
    for number, (title, words, colour) in enumerate(STEPS):
        axes.add_patch(
            FancyBboxPatch((number - 0.33, -0.12), 0.66, 0.42, boxstyle="round,pad=0.04", fc=colour, ec=LINE)
        )
        axes.text(number, 0.09, title, ha="center", va="center", fontsize=10, weight="bold")
        axes.text(number, -0.28, words, ha="center", va="top", fontsize=9, color="#333")
        if number:
            axes.annotate(
                "", (number - 0.39, 0.09), (number - 0.61, 0.09), arrowprops={"arrowstyle": "-|>", "color": LINE}
            )
    for number, (name, plane) in enumerate(pictures()):
        panel = figure.add_axes((0.14 + 0.25 * number, 0.02, 0.22, 0.46))
        panel.imshow(plane, cmap="gray" if name != "scale" else "inferno", vmax=np.percentile(plane, 99.8))
        panel.set_title(name, fontsize=10)
        panel.axis("off")
    figure.savefig(FILE, facecolor="white")


if __name__ == "__main__":
    main()
