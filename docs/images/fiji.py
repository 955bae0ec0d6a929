"""The screenshots of docs/fiji.md: ImageJ driven as the tests of the plugin do, with a network that comes along.

    python docs/images/fiji.py

Needs what the tests need (a JDK, ImageJ, xvfb, openbox) and the image of the demo.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from PIL import Image

from veriscope.apps.demo import nuclei

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENDING = "; exit 0"


def main() -> None:
    truth = np.asarray(nuclei()).astype(np.float32)[16:44, 40:240, 160:]  # X from 160 on: never seen in its training
    rng = np.random.default_rng(0)
    electrons = rng.poisson(truth / np.percentile(truth, 99.8) * 20) + rng.normal(0, 1.5, truth.shape)
    light = (50 * electrons + 500).clip(0).astype(np.uint16)
    said = {"imagej": True, "resolution": (1 / 0.26, 1 / 0.26)}
    with TemporaryDirectory() as place:
        desk = Path(place)
        for name, pixels, axes in (("low-light", light, "ZYX"), ("plane", light[14], "YX")):
            tifffile.imwrite(
                desk / f"{name}.tif", pixels, metadata={"axes": axes, "unit": "um", "spacing": 0.29}, **said
            )
        drive(desk)
        for name in ("restore", "results", "info", "message"):
            cropped(desk / f"{name}.png").save(HERE / f"fiji-{name}.png", optimize=True)


def drive(desk: Path) -> None:
    """ImageJ by the lines of a script, see tests/plugins/Drive.java."""
    subprocess.run(["make", "-s", "fiji", f"FIJI={desk}/built"], cwd=ROOT, check=True)
    (desk / "plugins").mkdir()
    shutil.copy(desk / "built/Veriscope_.jar", desk / "plugins")
    jar = "/usr/share/java/ij.jar"
    subprocess.run(["javac", "-cp", jar, "-d", desk, ROOT / "tests/plugins/Drive.java"], check=True)
    program = desk / "veriscope"
    program.write_text(f"#!{sys.executable}\nfrom veriscope.apps.start import main\nmain()\n")
    program.chmod(0o755)
    better = 'run("Enhance Contrast", "saturated=0.35"); run("Set... ", "zoom=200");'
    middle = f"for (i = 1; i <= nImages; i++) {{ selectImage(i); setSlice(14); {better} }}"
    tidy = 'if (isOpen("Log")) { selectWindow("Log"); run("Close"); }'
    lines = [f"open {desk}/plane.tif", "menu Veriscope Restore", "field 0 nuclei-3d", "ok", "message"]
    lines += [f"shot {desk}/message.png", "ok", "wait", "close"]
    lines += [f"open {desk}/low-light.tif", f"macro setSlice(14); {better}", "wait"]
    lines += ["menu Veriscope Restore", "field 0 nuclei-3d", "tick 0"]
    lines += [f"shot {desk}/restore.png", "ok", "wait", f'macro {tidy} {middle} run("Tile");', "wait"]
    lines += [f"shot {desk}/results.png", 'macro selectImage("low-light-restored.tif"); run("Show Info...");', "wait"]
    lines += [f"shot {desk}/info.png"]
    (desk / "script.txt").write_text("\n".join(lines))
    java = f"java -Dplugins.dir={desk} -Duser.home={desk} -cp {jar}:{desk} Drive {desk}/script.txt"
    screen = ["xvfb-run", "-a", "-s", "-screen 0 1280x800x24"]
    environment = {**os.environ, "VERISCOPE": str(program)}
    subprocess.run([*screen, "sh", "-c", f"openbox 2>/dev/null & {java}{ENDING}"], env=environment, check=True)


def cropped(path: Path) -> Image.Image:
    """Without the black of the screen."""
    picture = Image.open(path).convert("RGB")
    box = picture.point(lambda value: 255 if value > 40 else 0).getbbox()
    return picture.crop(box).quantize(64)


if __name__ == "__main__":
    main()
