"""Learning from noisy images alone, beside Noise2Void of CAREamics: W2S channel 0, and simulated planaria.

    python benchmarks/peers/careamics_noisy.py [--minutes 2] [--python PYTHON] [--record]

Both learn from the same noisy images for as many minutes, at the same time on the same processors, so that whatever
else the machine does slows down both; those of CAREamics count from its first step, once its libraries are loaded.
Both train one network with their defaults. CAREamics 0.3.5 is installed in an environment of its own, or found in that
of `--python`. Error: NRMSE of images that neither was given, mean.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from machine import header
from w2s import DATA, split

import veriscope as vs
from veriscope.judging.quality import quality
from veriscope.tables import Column, Table
from veriscope.training.noisy import noisy_images

RESULT = Path(__file__).resolve().parents[1] / "results" / "careamics-noisy.txt"
SCRIPT = Path(__file__).with_name("in_careamics.py")
VERSION = "0.3.5"
NEEDED = (  # all that it asks for but torchvision, which has no build for this torch
    "bioimageio.core<=0.11.0", "lightning<=2.6.6", "microssim<=0.0.5", "numpy<=2.4.6", "psutil", "pydantic<2.14",
    "pyyaml", "scikit-image<=0.26.0", "tifffile<=2026.3.3", "torchmetrics<1.9", "zarr<4", "matplotlib", "pillow",
)  # fmt: skip


def installed(place: Path) -> Path:
    """An interpreter with CAREamics in a new environment."""
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = place / "bin" / "python"
    version = torch.__version__.split("+")[0]
    for words in (["--no-deps", f"careamics=={VERSION}"], [f"torch=={version}", *NEEDED]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *words], check=True)
    return python


def planaria(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy stacks to learn from; others, and their truth."""
    veriscope = Path(sys.executable).with_name("veriscope")
    asked = [veriscope, "simulate", "planaria", "--scale", "small", "--out", folder / "p"]
    subprocess.run(asked, check=True, capture_output=True)
    found = {}
    for part in ("train_data", "test_data"):
        place = folder / "p" / part
        low = sorted(path for path in place.rglob("*.tif") if "GT" not in path.parts)
        dim = low[0].parent  # the first condition
        names = sorted(path.name for path in dim.glob("*.tif"))
        found[part] = [
            np.stack([np.asarray(vs.read_image(one / n)) for n in names]) for one in (dim, dim.parent / "GT")
        ]
    return found["train_data"][0], *found["test_data"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=DATA)
    options.add_argument("--minutes", type=float, default=2)
    options.add_argument("--python", type=Path, help="an interpreter that has CAREamics")
    options.add_argument("--record", action="store_true", help="write benchmarks/results/careamics-noisy.txt")
    given = options.parse_args()
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        python = given.python or installed(place / "careamics")
        pairs, _, test = split(given.data, 0)
        w2s = [np.stack([np.asarray(one, np.float32) for one in images]) for images in (
            [pair.low for pair in pairs], [pair.low for pair in test], [pair.high for pair in test])]  # fmt: skip
        for name, (noisy, new, truth) in {"W2S": w2s, "planaria": planaria(place)}.items():
            axes = "ZYX"[-noisy.ndim + 1 :]
            source, target = place / f"{name}.npz", place / f"{name}-restored.npz"
            np.savez(source, train=noisy.astype(np.float32), test=new.astype(np.float32))
            asked = [python, SCRIPT, source, target, str(60 * given.minutes)]
            with (place / "log").open("w") as log:
                peer = subprocess.Popen(asked, stdout=log, stderr=subprocess.STDOUT)
            images = [vs.Image(image, axes, name=str(number)) for number, image in enumerate(noisy)]
            model = vs.train(vs.Recipe(axes), noisy_images(images), members=1, minutes=given.minutes, progress=False)
            ours = [vs.restore(vs.Image(image, axes), model) for image in new]
            if peer.wait():
                raise SystemExit((place / "log").read_text())
            theirs = np.load(target)
            made = {
                "noisy image": (new, None, None),
                f"CAREamics {VERSION}, Noise2Void": (theirs["restored"], int(theirs["steps"]), None),
                "veriscope, --task noisy": (
                    [np.asarray(one.mean) for one in ours],
                    int(model.facts.history[-1]["step"]),
                    np.mean([one.expected.nrmse for one in ours if one.expected is not None]),
                ),
            }
            for method, (restored, steps, expected) in made.items():
                errors = [quality(high, np.asarray(one)) for high, one in zip(truth, restored, strict=True)]
                figures = [float(np.mean([getattr(one, key) for one in errors])) for key in ("nrmse", "ssim")]
                rows.append([name, method, *figures, expected, steps])
                print(*rows[-1], flush=True)
    columns = [
        Column("images", left=True), Column("method", left=True), Column("NRMSE", ".4f"), Column("SSIM", ".3f"),
        Column("expected NRMSE", ".4f"), Column("steps"),
    ]  # fmt: skip
    title = header(f"Noisy images alone, {given.minutes:g} minutes, both at the same time")
    text = f"{title}\n\n{Table(columns, rows).text()}"
    print(text)
    if given.record:
        RESULT.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
