"""The screenshots of docs/fiji.md: a model trained for two minutes, and ImageJ driven as the tests of the plugin do.

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

import veriscope as vs
from veriscope.apps.demo import nuclei

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENDING = "; kill %1; exit 0"


def main() -> None:
    truth = np.asarray(nuclei()).astype(np.float32)
    rng = np.random.default_rng(0)
    light = rng.poisson((truth - truth.min()) / np.percentile(truth, 99.8) * 20).astype(np.uint16) * 50
    with TemporaryDirectory() as place:
        desk = Path(place)
        for kind, stack in (("low", light), ("high", truth.astype(np.uint16))):
            (desk / kind).mkdir()
            for plane in range(8, 56, 2):
                tifffile.imwrite(desk / kind / f"{plane}.tif", stack[plane, :144], metadata={"axes": "YX"}, imagej=True)
        pairs = vs.read_pairs(desk / "low", desk / "high", axes="YX")
        vs.train(vs.Recipe(axes="YX"), pairs, members=2, minutes=2, folder=desk / "nuclei.veriscope")
        said = {"unit": "um"}
        tifffile.imwrite(
            desk / "low-light.tif", light[30, 144:], imagej=True, resolution=(1 / 0.26, 1 / 0.26), metadata=said
        )
        tifffile.imwrite(
            desk / "stack.tif", light[20:40], imagej=True, metadata={"axes": "ZYX", "unit": "um", "spacing": 0.29}
        )
        drive(desk)
        for name in ("restore", "results", "message"):
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
    larger = 'macro for (i = 1; i <= nImages; i++) { selectImage(i); run("Set... ", "zoom=200"); } run("Tile");'
    lines = [f"open {desk}/low-light.tif", "menu Veriscope Restore", f"field 0 {desk}/nuclei.veriscope", "tick 0"]
    lines += [f"shot {desk}/restore.png", "ok", "wait", larger, "wait", f"shot {desk}/results.png", "close"]
    lines += [f"open {desk}/stack.tif", "menu Veriscope Restore", f"field 0 {desk}/nuclei.veriscope", "tick 0", "ok"]
    lines += ["message", f"shot {desk}/message.png", "ok", "wait"]
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
