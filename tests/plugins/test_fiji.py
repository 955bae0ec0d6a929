"""The plugin in the real ImageJ, with its interface and without a display: values are those of the command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

from veriscope.apps.cli import main
from veriscope.networks import build
from veriscope.networks.folder import save
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe

ROOT = Path(__file__).parents[2]
IMAGEJ = Path(os.environ.get("IJ", "/usr/share/java/ij.jar"))
SHOTS = os.environ.get("VERISCOPE_SHOTS")  # where screenshots are kept; by default they go with the test
REAL = ROOT.parent / "shared" / "data"

missing = [name for name in ("javac", "make") if shutil.which(name) is None]
if not IMAGEJ.is_file():
    missing.append(str(IMAGEJ))
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"no {', '.join(missing)}: apt-get install default-jdk libij-java xvfb xauth openbox"
)
needs_display = pytest.mark.skipif(
    not (shutil.which("xvfb-run") and shutil.which("xauth")), reason="no xvfb-run: apt-get install xvfb xauth openbox"
)

MODELS: dict[str, dict[str, Any]] = {
    "planes": {"axes": "YX"},
    "stacks": {"axes": "ZYX"},
    "channels": {"axes": "YX", "channels_in": 2, "channels_out": 2},
    "surface": {"axes": "ZYX", "task": "project"},
    "isotropic": {"axes": "YX", "task": "isotropic", "upsample": (3.0, 1.0, 1.0)},
}


@dataclass(frozen=True)
class Case:
    """An image, the model for it, and what ImageJ has to show: channels, planes, time points; spacing of the planes."""

    model: str
    real: str  # in the folder of real images
    part: tuple[slice, ...]
    axes: str
    shown: tuple[int, int, int]
    depth: float = 1.0


def span(length: int, start: int = 60) -> slice:
    return slice(start, start + length)


CASES = {
    "flat": Case("planes", "w2s/ch0/low/fov001.tif", (span(48), span(56)), "YX", (1, 1, 1)),
    "deep": Case("stacks", "nuclei3d/nuclei.tif", (span(6, 20), span(40), span(44)), "ZYX", (1, 6, 1), 0.3),
    "series": Case(
        "planes", "yeast_mito_tzyx/yeast_mito_t0-11.tif", (slice(3), 8, span(40), span(36)), "TYX", (1, 1, 3)
    ),
    "colours": Case("channels", "w2s/ch{}/low/fov001.tif", (span(40), span(48)), "CYX", (2, 1, 1)),
    "wing": Case("surface", "epithelium/stack.tif", (span(8, 8), span(48), span(44)), "ZYX", (1, 1, 1), 0.3),
    "worm": Case("isotropic", "nuclei3d/nuclei.tif", (slice(10, 28, 3), span(36), span(40)), "ZYX", (1, 18, 1), 0.3),
}


def pixels(case: Case) -> np.ndarray:
    """Part of a real image; where there are none, a smooth random one of the same size."""
    places = [REAL / case.real.format(number) for number in range(2 if case.axes == "CYX" else 1)]
    if all(place.is_file() for place in places):
        parts = [np.asarray(tifffile.imread(place))[case.part] for place in places]
    else:
        size = [part.stop - (part.start or 0) for part in case.part if isinstance(part, slice)]
        parts = [400 * gaussian_filter(np.random.default_rng(n).random(size), 2) for n in range(len(places))]
    return (np.stack(parts) if case.axes == "CYX" else parts[0]).astype(np.uint16)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin, built as users build it; models, images, and a home of its own."""
    folder = tmp_path_factory.mktemp("fiji")
    built = subprocess.run(
        ["make", "-s", "fiji", f"FIJI={folder / 'built'}", f"IJ={IMAGEJ}"], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    (folder / "plugins").mkdir()
    shutil.copy(folder / "built" / "Veriscope_.jar", folder / "plugins")
    (folder / "home").mkdir()
    program = folder / "veriscope"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -c 'from veriscope.apps.start import main; main()' \"$@\"\n")
    program.chmod(0o755)
    for name, choices in MODELS.items():
        torch.manual_seed(0)
        recipe = Recipe(**{"depth": 1, "base": 2, "batch": 1, **choices})
        save(Ensemble(recipe, tuple(build(recipe) for _ in range(2)), {}), folder / name)
    red, green = (np.outer(np.eye(3)[which], np.arange(256)).astype(np.uint8) for which in (0, 1))
    for name, case in CASES.items():
        said: dict[str, Any] = {"axes": case.axes, "unit": "um"}
        said |= {"spacing": case.depth} if "Z" in case.axes else {}
        said |= {"finterval": 2.5} if "T" in case.axes else {}
        said |= {"LUTs": [red, green], "mode": "composite"} if "C" in case.axes else {}
        tifffile.imwrite(folder / f"{name}.tif", pixels(case), imagej=True, resolution=(10, 10), metadata=said)
    return folder


def java(
    desk: Path, *words: str, classes: Path | None = None, display: bool = True, found: bool = True, heap: str = "512m"
) -> str:
    """What ImageJ prints; `found`: whether it finds veriscope."""
    paths = [str(IMAGEJ), *([str(classes)] if classes else [])]
    options = [f"-Dplugins.dir={desk}", f"-Duser.home={desk / 'home'}", f"-Xmx{heap}", "-cp", os.pathsep.join(paths)]
    command = ["java", *options, *([] if display else ["-Djava.awt.headless=true"]), *words]
    if display:
        manager = "openbox 2>/dev/null & " if shutil.which("openbox") else ""
        screen = ["xvfb-run", "-a", "-s", "-screen 0 1200x800x24"]
        command = [*screen, "sh", "-c", f'{manager}"$@"; code=$?; kill %1 2>/dev/null; exit $code', "sh", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"VERISCOPE": str(desk / "veriscope")} if found else {})}
    if not found:
        environment["PATH"] = "/usr/bin:/bin"
    done = subprocess.run(command, cwd=desk, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def drive(desk: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], list[str]]:
    """Drives ImageJ with its interface by the lines of a script; see Drive.java."""
    classes = desk / "driver"
    source = str(Path(__file__).with_name("Drive.java"))
    subprocess.run(["javac", "-cp", str(IMAGEJ), "-d", str(classes), source], check=True)

    def run(lines: list[str]) -> list[str]:
        script = tmp_path_factory.mktemp("script") / "script.txt"
        script.write_text("\n".join(lines))
        return java(desk, "Drive", str(script), classes=classes).splitlines()

    return run


def by_command(desk: Path, *words: str) -> None:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 0


def shot(desk: Path, name: str) -> str:
    return f"shot {Path(SHOTS or desk) / f'fiji-{name}.png'}"


@needs_display
def test_what_imagej_shows_is_what_the_command_line_writes(desk, drive, monkeypatch):
    monkeypatch.chdir(desk)
    script = ["record", "open flat.tif", "menu Veriscope Restore", "field 0 planes", "field 5 90", "tick 0"]
    script += [shot(desk, "restore"), "ok", "wait", "recorded", shot(desk, "results"), "save shown/flat", "close"]
    for name, case in list(CASES.items())[1:]:
        more = {"wing": " height", "deep": " input=[] output=[] memory=[] tile=[]"}.get(name, "")
        run = f'macro run("Veriscope Restore", "model={case.model}{more}");'
        script += [f"open {name}.tif", run, "wait", shot(desk, name), f"save shown/{name}", "close"]
    said = drive([line.replace("open ", f"open {desk}/") for line in script])
    recorded = next(line for line in said if line.startswith("recorded "))
    chosen = "model=planes input=[] output=[] memory=[] tile=[] interval=90 scale"
    assert f'run("Veriscope Restore", "{chosen}");' in recorded

    for name, case in CASES.items():
        extra = {"flat": ["--scale", "--interval", "0.9"], "wing": ["--height"]}.get(name, [])
        by_command(desk, "restore", f"{name}.tif", "--model", case.model, "--out", f"cli/{name}-restored.tif", *extra)
        expected = sorted(path.name for path in (desk / "cli").glob(f"{name}-restored*.tif"))
        assert sorted(path.name for path in (desk / "shown" / name).glob("*-restored*.tif")) == expected
        for file in expected:
            shown, wanted = (tifffile.imread(place / file) for place in (desk / "shown" / name, desk / "cli"))
            np.testing.assert_array_equal(shown, wanted)
        line = next(line for line in said if line.startswith(f"image {name}-restored.tif"))
        _, sizes, scale, colours, info = line.split(" | ")
        channels, planes, times = case.shown
        assert sizes.startswith(f"c{channels} z{planes} t{times} ")
        x, y, z, unit, interval = scale.split()
        assert (x, y, unit) == ("0.1000", "0.1000", "µm")
        assert interval == ("2.50" if "T" in case.axes else "0.00")
        if planes > 1:
            assert float(z) == pytest.approx(case.depth / (3 if name == "worm" else 1), abs=1e-3)
        assert colours == ("ff0000 00ff00" if name == "colours" else "ffffff")
        assert f"restore --model {case.model}" in info
        assert "Veriscope verdict: Whether it resembles the training images is unknown" in info


@needs_display
def test_escape_cancels_and_messages_stand_where_the_user_looks(desk, drive):
    noise = np.random.default_rng(0).integers(0, 4000, (2500, 2500), np.uint16)
    tifffile.imwrite(desk / "large.tif", noise, imagej=True)
    run = 'macro run("Veriscope Restore", "model={}");'
    said = drive(
        [
            f"open {desk}/large.tif", run.format("planes tile=32 output=cancelled"), "busy %", "alive",
            shot(desk, "progress"), "escape", "wait", "status", "save kept", "close",
            f"open {desk}/flat.tif", "menu Veriscope Restore", "field 0 nowhere", "ok", "message",
            shot(desk, "message"), "ok", "wait",
            run.format("stacks"), "message", "ok", "wait",
            run.format("planes memory=1MB"), "message", "ok", "wait", "alive",
        ]
    )  # fmt: skip
    assert said.count("answered true") == 2
    assert "status Veriscope Restore was cancelled: nothing unfinished was left behind." in said
    assert not (desk / "cancelled").exists()
    assert [path.name for path in (desk / "kept").iterdir()] == ["large.tif"]
    wrong, axes, memory = (line for line in said if line.startswith("message "))
    assert wrong.startswith(
        "message Veriscope Restore: There is no model at 'nowhere'. Give the folder that training wrote"
    )
    assert "This model restores stacks (ZYX), but the image has the axes YX. Give a stack, or train" in axes
    assert "Memory of 1 MB is too small" in memory
    assert "Allow at least that" in memory


CALL = 'print("[" + call("veriscope.fiji.Batch.run", "{}", "{}") + "]");\n'


def test_without_a_display_macros_restore_project_and_train(desk, monkeypatch):
    monkeypatch.chdir(desk)
    for kind in ("low", "high"):
        (desk / kind).mkdir()
        for number in range(3):
            tifffile.imwrite(desk / kind / f"{number}.tif", pixels(CASES["flat"]))
    (desk / "macro.ijm").write_text(
        CALL.format("Veriscope Restore", "input=deep.tif model=stacks output=batch disagreement")
        + CALL.format("Veriscope Project", "input=wing.tif method=max output=batch height")
        + CALL.format("Veriscope Train", "low=low high=high new_model=mine minutes=0.05 members=1 axes=YX")
        + CALL.format("Veriscope Model Information", "model=mine")
        + CALL.format("Veriscope Restore", "input=deep.tif model=stacks output=batch")
        + CALL.format("Veriscope Restore", "input=deep.tif")
        + 'for (i = 1; i <= nImages; i++) { selectImage(i); print(getTitle(), "virtual", is("Virtual Stack")); }'
    )
    said = java(desk, "ij.ImageJ", "-batch", str(desk / "macro.ijm"), display=False, heap="64m")
    assert "deep-restored.tif virtual 1" in said  # so little memory that results are opened from disk
    assert re.findall(r"^\[(.*?)\]$", said, re.MULTILINE | re.DOTALL)[:4] == [""] * 4, said
    assert "deep-restored.tif and 1 more exist already" in said
    assert "[Model is missing. Choose the folder that training wrote, or give the name" in said
    assert "members: 1" in said
    by_command(desk, "restore", "deep.tif", "--model", "stacks", "--out", "same/deep-restored.tif", "--disagreement")
    by_command(desk, "project", "wing.tif", "--method", "max", "--out", "same/wing-flat.tif", "--height")
    files = sorted(path.name for path in (desk / "same").glob("*.tif"))
    assert len(files) == 4
    for file in files:
        np.testing.assert_array_equal(tifffile.imread(desk / "batch" / file), tifffile.imread(desk / "same" / file))
    assert (desk / "mine" / "recipe.json").is_file()


def test_veriscope_is_found_in_environments_or_how_to_install_it_is_said(desk):
    (desk / "macro.ijm").write_text(CALL.format("Veriscope Model Information", "model=planes"))
    said = java(desk, "ij.ImageJ", "-batch", str(desk / "macro.ijm"), display=False, found=False)
    assert "was not found on this computer" in said
    assert "veriscope-env/bin/pip install" in said
    environment = desk / "home" / "miniconda3" / "envs" / "care" / "bin"
    environment.mkdir(parents=True)
    shutil.copy(desk / "veriscope", environment)
    said = java(desk, "ij.ImageJ", "-batch", str(desk / "macro.ijm"), display=False, found=False)
    assert "network: 2D U-Net (YX)" in said
    chosen = CALL.format("Veriscope Settings", "program=nowhere")
    chosen += CALL.format("Veriscope Settings", f"program={environment.parent}")
    (desk / "macro.ijm").write_text(chosen + 'print(call("ij.Prefs.get", "veriscope.command", "none"));')
    said = java(desk, "ij.ImageJ", "-batch", str(desk / "macro.ijm"), display=False, found=False)
    assert "There is no veriscope in nowhere.\nChoose the program or the folder of its environment." in said
    assert said.splitlines()[-1] == str(environment.parent)
    shutil.rmtree(desk / "home")
    (desk / "home").mkdir()


def test_the_json_reader_reads_what_python_writes(desk, tmp_path):
    import json

    value = {"a": [1, -2.5e-3, None, True, False, [], {}], 'µ\n"\\/ \ud83d': "x\t\u2028", "": {"b": {"c": "}"}}}
    (tmp_path / "veriscope" / "fiji").mkdir(parents=True)
    (tmp_path / "veriscope" / "fiji" / "Try.java").write_text(
        "package veriscope.fiji; public class Try { public static void main(String[] a) {"
        " for (String one : a) try { System.out.println(Json.object(one).equals(Json.object(a[0]))); }"
        ' catch (IllegalArgumentException wrong) { System.out.println("wrong"); } } }'
    )
    built = desk / "built" / "classes"
    subprocess.run(
        ["javac", "-cp", str(built), "-d", str(tmp_path), str(tmp_path / "veriscope/fiji/Try.java")], check=True
    )
    texts = [
        json.dumps(value),
        json.dumps(value, indent=2),
        json.dumps({"a": 1}),
        '{"a": }',
        '{"a": 1',
        "[1]",
        '{"a": 1} x',
        "",
    ]
    classes = os.pathsep.join([str(built), str(tmp_path)])
    done = subprocess.run(
        ["java", "-cp", classes, "veriscope.fiji.Try", *texts], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["true", "true", "false", *["wrong"] * 5]
