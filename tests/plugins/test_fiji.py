"""The plugin in the real ImageJ, with its interface and without a display: values are those of the command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).parents[2]
IMAGEJ = Path(os.environ.get("IJ", "/usr/share/java/ij.jar"))
SHOTS = os.environ.get("VERISCOPE_SHOTS")  # where screenshots are kept; by default they go with the test

missing = [name for name in ("javac", "make") if shutil.which(name) is None]
if not IMAGEJ.is_file():
    missing.append(str(IMAGEJ))
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"no {', '.join(missing)}: apt-get install default-jdk libij-java xvfb xauth openbox"
)
needs_display = pytest.mark.skipif(
    not (shutil.which("xvfb-run") and shutil.which("xauth")), reason="no xvfb-run: apt-get install xvfb xauth openbox"
)


@pytest.fixture(scope="module")
def desk(material: Any) -> Path:
    """The folder of images and models, with the plugin, built as users build it, and a home of its own."""
    folder: Path = material.folder
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
    return folder


def java(
    desk: Path, *words: str, classes: Path | None = None, display: bool = True, found: bool = True, heap: str = "512m",
    code: int = 0,
) -> str:  # fmt: skip
    """What ImageJ prints; `found`: whether it finds veriscope; `code`: its exit code."""
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
    assert done.returncode == code, done.stdout + done.stderr
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


def shot(desk: Path, name: str) -> str:
    return f"shot {Path(SHOTS or desk) / f'fiji-{name}.png'}"


@needs_display
def test_what_imagej_shows_is_what_the_command_line_writes(desk, drive, material):
    script = ["record", "open flat.tif", "menu Veriscope Restore", "field 0 planes", "field 5 90", "tick 0"]
    script += [shot(desk, "restore"), "ok", "wait", "recorded", shot(desk, "results"), "save shown/flat", "close"]
    for name, case in list(material.cases.items())[1:]:
        more = " input=[] output=[] memory=[] tile=[]" if name == "deep" else case.words.replace("--", " ")
        run = f'macro run("Veriscope Restore", "model={case.model}{more}");'
        script += [f"open {name}.tif", run, "wait", shot(desk, name), f"save shown/{name}", "close"]
    said = drive([line.replace("open ", f"open {desk}/") for line in script])
    recorded = next(line for line in said if line.startswith("recorded "))
    chosen = "model=planes input=[] output=[] memory=[] tile=[] interval=90 scale"
    assert f'run("Veriscope Restore", "{chosen}");' in recorded

    for name, case in material.cases.items():
        expected = sorted(path.name for path in material.by_command(name).glob(f"{name}-restored*.tif"))
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


def test_without_a_display_macros_restore_project_and_train(desk, material, run_command):
    for kind in ("low", "high"):
        (desk / kind).mkdir()
        for number in range(3):
            shutil.copy(desk / "flat.tif", desk / kind / f"{number}.tif")
    runs = [
        ("Veriscope Restore", "input=deep.tif model=stacks output=batch disagreement"),
        ("Veriscope Project", "input=wing.tif method=max output=batch height"),
        ("Veriscope Train", "low=low high=high new_model=mine minutes=0.05 members=1 axes=YX"),
        ("Veriscope Model Information", "model=mine"),
    ]
    (desk / "macro.ijm").write_text(
        "".join(f'run("{name}", "{options}");\n' for name, options in runs)
        + CALL.format("Veriscope Restore", "input=deep.tif model=stacks output=batch")
        + CALL.format("Invert", "")
        + 'for (i = 1; i <= nImages; i++) { selectImage(i); print(getTitle(), "virtual", is("Virtual Stack")); }\n'
        + 'print(getArgument()); run("Veriscope Restore", "input=deep.tif"); print("not reached");'
    )
    words = ["veriscope.fiji.Batch", str(desk / "macro.ijm"), "its argument"]
    jar = desk / "plugins" / "Veriscope_.jar"
    said = java(desk, *words, classes=jar, display=False, heap="64m", code=2)
    assert "deep-restored.tif virtual 1" in said  # so little memory that results are opened from disk
    assert re.search(r"^\[.*deep-restored.tif and 1 more exist already", said, re.MULTILINE)
    assert "its argument\nModel is missing. Choose the folder that training wrote, or give the name" in said
    assert "[Without a display plain ImageJ does not know the command Invert." in said
    assert "not reached" not in said
    assert "members: 1" in said
    run_command(desk, "restore deep.tif --model stacks --out same/deep-restored.tif --disagreement")
    run_command(desk, "project wing.tif --method max --out same/wing-flat.tif --height")
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
