"""Pictures for docs/trust.md: a good, a doubtful and a wrong case, from the demo's stack.

python experiments/trust_pictures.py --model demo-results/model        writes docs/images/trust.png
"""

from __future__ import annotations

import argparse
import textwrap
import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.apps.demo import BORDER, JUDGED, READ_NOISE, nuclei
from veriscope.errors import VeriscopeWarning
from veriscope.judging.quality import affine_match, normalize_truth, nrmse
from veriscope.simulate.photograph import low_light

PLACE = Path(__file__).parents[1] / "docs" / "images" / "trust.png"
PLANE = 30
ROWS = ("input", "restored", "expected error", "error found")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    given = parser.parse_args()
    model, whole = vs.load(given.model), nuclei()
    judged = {"Y": JUDGED, "X": slice(BORDER, None)}
    truth = whole.region(**judged)
    usual, dim = (low_light(whole, photons, 5, READ_NOISE).region(**judged) for photons in (40, 4))
    smooth = usual.with_array(gaussian_filter(np.asarray(usual, np.float32), 1.5))
    cases = {"40 photons, as in training": usual, "4 photons, a tenth": dim, "smoothed before": smooth}
    figure = Figure(figsize=(8.4, 14.2), layout="constrained")
    panels = figure.subplots(len(ROWS), len(cases))
    for column, (title, low) in enumerate(cases.items()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VeriscopeWarning)
            restored = vs.restore(low, model)
        y = normalize_truth(truth)
        a, b = affine_match(y, np.asarray(restored.mean, np.float64))
        mean, scale = a * np.asarray(restored.mean) + b, abs(a) * np.asarray(restored.scale)
        error = gaussian_filter(np.abs(mean - y), (0, 2, 2))
        shown = [np.asarray(low), mean, gaussian_filter(scale, (0, 2, 2)), error]
        limits = [tuple(np.percentile(shown[0], (1, 99.8))), (0, 1), (0, 0.12), (0, 0.12)]
        found = nrmse(truth, restored.mean)
        assert restored.expected is not None
        for axes, image, (low_end, high_end), row in zip(panels[:, column], shown, limits, ROWS, strict=True):
            colours = "gray" if row in ROWS[:2] else "viridis"
            axes.imshow(image[PLANE], cmap=colours, vmin=low_end, vmax=high_end, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(row)
        panels[0, column].set_title(title, fontsize=11)
        said = f"{restored.expected} Found: {found:.3f}. {restored.verdict}"
        panels[-1, column].set_xlabel("\n".join(textwrap.wrap(said, 40)), fontsize=8, loc="left")
        print(f"{title}: {said}")
    figure.savefig(PLACE, dpi=80)


if __name__ == "__main__":
    main()
