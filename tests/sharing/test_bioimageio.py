"""Packages for bioimage.io: they pass its own checks without a network, and come back as the model that they hold."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

import veriscope as vs
from veriscope.errors import DataError, ModelError, OutputError
from veriscope.networks.model import Ensemble
from veriscope.sharing import bioimageio

pytest.importorskip("onnx")

WANTED = ["bioimageio.core==0.11.0", "pydantic<2.14"]
SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"
MADE_BY: dict[str, Any] = {"authors": ["A. Person", "B. Person"], "licence": "CC-BY-4.0"}
PASSED_BY = ["2D", "3D", "two channels", "two to one", "stem", "projection", "isotropic"]
IN_BLOCKS = ["2D-image", "2D-model", "two-channels-image", "3D-image", "projection-image"]


def facts(model: Ensemble) -> dict[str, Any]:
    count_in, count_out = model.recipe.channels_in, model.recipe.channels_out
    return {
        "low": {"percentiles": {"2.0": [100.0] * count_in, "99.8": [900.0] * count_in}},
        "high": {"percentiles": {"2.0": [50.0] * count_out, "99.8": [4000.0] * count_out}},
    }


@pytest.fixture(scope="session")
def their_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with bioimageio.core, which needs older libraries than veriscope; skipped where there is none."""
    if ready := os.environ.get("VERISCOPE_BIOIMAGEIO_PYTHON"):
        return Path(ready)
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    place = tmp_path_factory.mktemp("bioimageio") / "env"
    if uv is None:
        pytest.skip("uv is not installed, so no environment with bioimageio.core can be made")
    python = place / "bin" / "python"
    for command in (
        [uv, "venv", "--python", sys.executable, place],
        [uv, "pip", "install", "--python", python, *WANTED],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        except subprocess.TimeoutExpired:
            pytest.skip("an environment with bioimageio.core cannot be made in time")
        if done.returncode:
            pytest.skip(f"an environment with bioimageio.core cannot be made here: {done.stderr.strip()[-200:]}")
    own, lent = (
        subprocess.run([one, "-c", SITE], capture_output=True, text=True, check=True).stdout.strip()
        for one in (python, sys.executable)
    )
    (Path(own) / "lent.pth").write_text(lent + "\n")  # torch and ONNX Runtime, behind what it has itself
    return python


def test_packages_pass_the_checks_of_bioimageio(
    their_python: Path, make: Callable[..., Ensemble], tmp_path: Path
) -> None:
    """Both weights, with either normalisation; prediction in blocks gives what the whole gives."""
    packages = []
    for kind in PASSED_BY:
        known = make(kind, facts=facts(make(kind, depth=1)), depth=1)
        for normalize in ("image", "model") if kind in ("2D", "two channels") else ("image",):
            path = tmp_path / f"{kind.replace(' ', '-')}-{normalize}.zip"
            bioimageio.write(known, path, normalize=normalize, **MADE_BY)  # type: ignore[arg-type]
            packages.append(str(path))
    script = Path(__file__).with_name("in_bioimageio.py")
    done = subprocess.run([their_python, script, ",".join(IN_BLOCKS), *packages], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout.splitlines()[-1])
    assert set(answers) == set(packages)
    for package, forms in answers.items():
        assert set(forms) == {"onnx", "torchscript"}
        for form, told in forms.items():
            assert told["status"] == "passed", (package, form, told["errors"])
            assert told["errors"] == []
            if form == "onnx" and Path(package).stem in IN_BLOCKS:
                assert told["blocks"] < 1e-5, (package, form, told["blocks"])


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def test_what_a_package_tells(make: Callable[..., Ensemble], tmp_path: Path) -> None:
    model = make("2D", facts=facts(make("2D")) | {"voxel_size": [0.1, 0.1]})
    bioimageio.write(model, tmp_path / "mito cells.zip", **MADE_BY)
    files = contents(tmp_path / "mito cells.zip")
    told = json.loads(files["rdf.yaml"])
    assert told["format_version"] == "0.5.4"
    assert told["name"] == "mito cells"
    assert list(told["weights"]) == ["onnx", "torchscript"]
    assert [one["id"] for one in told["outputs"]] == ["mean", "scale"]
    assert [one["name"] for one in told["authors"]] == MADE_BY["authors"]
    assert told["config"]["veriscope"]["voxel_size_um"] == [0.1, 0.1]
    assert not any("scale" in axis for one in (*told["inputs"], *told["outputs"]) for axis in one["axes"])
    with Picture.open(io.BytesIO(files["cover.png"])) as cover:
        assert cover.size == (512, 256)
    card = files["README.md"].decode()
    assert card.startswith("# mito cells")
    assert "## Validation" in card
    assert "100 to 900 (percentiles 2 and 99.8)" in card


def test_an_image_of_the_user_is_shown_and_tested_with(make: Callable[..., Ensemble], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 9000, (400, 300)).astype(np.uint16)
    made = bioimageio.write(make("2D"), tmp_path / "m.zip", image=vs.Image(pixels, "YX"), **MADE_BY)
    height, width = made.image.shape[2:]
    where = (400 - height) // 2, (300 - width) // 2
    assert np.array_equal(made.image[0, 0], pixels[where[0] : where[0] + height, where[1] : where[1] + width])
    tested = np.load(io.BytesIO(contents(tmp_path / "m.zip")["test_image.npy"]))
    assert np.array_equal(tested, made.image)
    for image, said in (
        (vs.Image(pixels[:40, :40], "YX"), "too small"),
        (vs.Image(np.stack([pixels, pixels]), "CYX"), "2 channels"),
        (vs.Image(np.stack([pixels, pixels]), "ZYX"), "axes ZYX"),
    ):
        with pytest.raises(DataError, match=said):
            bioimageio.write(make("2D"), tmp_path / "other.zip", image=image, **MADE_BY)


def test_what_is_missing_is_asked_for_and_nothing_is_written(make: Callable[..., Ensemble], tmp_path: Path) -> None:
    for changes, said in (
        ({"authors": []}, "at least one author"),
        ({"licence": "free for all"}, "SPDX"),
        ({"normalize": "model"}, "does not know the percentiles"),
        ({"member": 5}, "no member 5"),
    ):
        with pytest.raises(ModelError, match=said):
            bioimageio.write(make("2D"), tmp_path / "m.zip", **{**MADE_BY, **changes})
    with pytest.raises(ModelError, match=r"Name it .*model\.zip"):
        bioimageio.write(make("2D"), tmp_path / "model", **MADE_BY)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "m.zip").touch()
    with pytest.raises(OutputError, match="exists already"):
        bioimageio.write(make("2D"), tmp_path / "m.zip", **MADE_BY)
