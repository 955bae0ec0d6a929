"""veriscope import and export, as typed: what they write, what they say, and what they leave after an error."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import veriscope as vs
from veriscope.sharing import csbdeep

Veriscope = Callable[..., Any]
MADE_BY = ["--author", "A. Person", "--licence", "CC-BY-4.0"]


@pytest.fixture
def theirs(desk: Path) -> Path:
    """A model of csbdeep on the desk, with two members."""
    csbdeep.write(vs.load("model"), "theirs")
    (desk / "model.pt").write_bytes(b"PK")
    return desk / "theirs"


def test_a_folder_of_csbdeep_is_imported_and_restores(veriscope: Veriscope, theirs: Path) -> None:
    found = veriscope("import", theirs / "member-0", theirs / "member-1", "--out", "mine.veriscope")
    assert found.code == 0
    assert "2D U-Net, 2 members" in found.out
    assert "taken as CARE" in found.err
    assert "without a verdict" in found.err
    done = veriscope("restore", "new.tif", "--model", "mine.veriscope", "--out", "out/new.ome.tif", "--scale")
    assert done.code == 0
    restored = vs.restore(vs.read_image("new.tif", axes="YX"), vs.load("mine.veriscope"))
    assert np.allclose(tifffile.imread("out/new.ome.tif"), restored.mean.array, rtol=1e-5)
    ours = veriscope("restore", "new.tif", "-m", "mine.veriscope", "-o", "ours.ome.tif", "--combine", "mixture")
    assert ours.code == 0


def test_a_folder_of_csbdeep_can_be_used_as_it_is(veriscope: Veriscope, theirs: Path) -> None:
    """Restored, judged, told of."""
    assert "csbdeep" in veriscope("info", theirs / "member-0").out
    assert veriscope("restore", "new.tif", "-m", theirs / "member-0", "-o", "new.ome.tif").code == 0
    judged = veriscope("judge", "low", "high", "--model", theirs / "member-0", "--axes", "YX")
    assert judged.code == 0, judged.err
    assert "restoration" in judged.out


@pytest.mark.parametrize(
    ("to", "out", "said"),
    [
        ("onnx", "x/m.onnx", "Run by ONNX Runtime"),
        ("openvino", "x/m.xml", "Run by OpenVINO"),
        ("torchscript", "x/m.pt", "Run by PyTorch"),
        ("fiji", "x/m.zip", "Run by OpenVINO"),
    ],
)
def test_what_is_exported_is_run(veriscope: Veriscope, desk: Path, to: str, out: str, said: str) -> None:
    for library in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(library)
    found = veriscope("export", "model", "--to", to, "--out", out)
    assert found.code == 0, found.err
    assert said in found.out
    assert "gives exactly" in found.out or "differs from veriscope by at most" in found.out
    assert Path(out).exists()
    assert ("experimental" in found.err) == (to == "fiji")


def test_members_become_folders_of_csbdeep(veriscope: Veriscope, desk: Path) -> None:
    found = veriscope("export", "model", "--to", "csbdeep", "--out", "x")
    assert found.code == 0
    assert "CARE(None, 'member-0', 'x')" in found.out
    assert "each of the 2 members is a folder" in found.err
    assert sorted(path.name for path in Path("x").iterdir()) == ["member-0", "member-1"]


def test_a_package_goes_out_and_comes_in(veriscope: Veriscope, desk: Path) -> None:
    pytest.importorskip("onnx")
    tifffile.imwrite("example.tif", np.random.default_rng(0).integers(0, 999, (90, 99)).astype(np.uint16))
    done = veriscope("export", "model", "--to", "bioimageio", "--out", "m.zip", "--image", "example.tif", *MADE_BY)
    assert done.code == 0, done.err
    assert "normalised by its own percentiles" in done.err
    assert "artificial" not in done.err
    back = veriscope("import", "m.zip", "--out", "back")
    assert back.code == 0, back.err
    assert "taken as CARE" not in back.err
    assert vs.load("back").recipe == vs.load("model").recipe
    assert "# m" in veriscope("info", "m.zip", "--card").out


def test_a_package_can_hold_the_normalisation_of_the_training_images(veriscope: Veriscope, desk: Path) -> None:
    pytest.importorskip("onnx")
    found = veriscope("export", "model", "--to", "bioimageio", "--out", "m.zip", "--normalize", "model", *MADE_BY)
    assert found.code == 0
    assert "percentiles of the training images (100 to 4000), and the result is in grey values" in found.err
    assert "artificial spots" in found.err
    with zipfile.ZipFile("m.zip") as packed:
        told = json.loads(packed.read("rdf.yaml"))
    forth, back = told["inputs"][0]["preprocessing"][1], told["outputs"][0]["postprocessing"][0]
    assert forth["kwargs"]["gain"] == pytest.approx(1 / 3900)
    assert forth["kwargs"]["offset"] == pytest.approx(-100 / 3900)
    assert back["kwargs"] == {"gain": 3900.0, "offset": 100.0}


def test_a_card_tells_what_is_known(veriscope: Veriscope, desk: Path) -> None:
    card = veriscope("info", "model", "--card").out
    assert card.startswith("# model\n")
    for heading in ("Images it is made for", "Training", "Validation", "Limits", "Licence", "Citation"):
        assert f"## {heading}" in card
    assert "100 to 4000 (percentiles 2 and 99.8)" in card
    assert "pairs of images: 3: a, b, c" in card
    assert "the predicted scales were not checked" in card


def test_an_imported_model_can_be_calibrated(veriscope: Veriscope, theirs: Path) -> None:
    assert veriscope("import", theirs / "member-0", "--out", "mine").code == 0
    assert "is unknown: this model" in veriscope("restore", "new.tif", "-m", "mine", "-o", "a.ome.tif").out
    assert veriscope("calibrate", "mine", "low", "high", "--axes", "YX").code == 0
    assert "calibration error at 0.1 of the range" in veriscope("info", "mine", "--card").out
    assert "Expected NRMSE" in veriscope("restore", "new.tif", "-m", "mine", "-o", "b.ome.tif").out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("import nowhere --out x", "no model at 'nowhere'"),
        ("import nowhere.zip --out x", "no model at 'nowhere.zip'"),
        ("import model --out x", "a model of veriscope already"),
        ("import new.tif --out x", "holds no config.json"),
        ("import theirs/member-0/weights_best.h5 --out x", "give the folder it lies in"),
        ("import model.pt --out x", "unpickled or executed"),
        ("import theirs/member-0 --out model", "exists already"),
        ("import theirs/member-0 --out x --weights worst.h5", "no weights 'worst.h5'"),
        ("import theirs/member-0 --out x --task isotropic", "needs the factor"),
        ("import theirs/member-0 --out x --task dance --factor 2", "task dance is unknown"),
        ("import theirs --out x", "models in it: member-0, member-1"),
        ("export model --to matlab --out x/m", "--to matlab is not known"),
        ("export nowhere --to onnx --out x/m.onnx", "no model at 'nowhere'"),
        ("export model --to onnx --out x/m.onnx --member 7", "no member 7"),
        ("export model --to csbdeep --out x/m --member -1", "no member -1"),
        ("export model --to onnx --out new.tif", "exists already"),
        ("export model --to csbdeep --out x/m --normalize model", "Remove --normalize model"),
        ("export model --to csbdeep --out x/m --members", "Remove it"),
        ("export model --to onnx --out x/m.onnx --author A", "belongs to packages"),
        ("export model --to bioimageio --out x/m.zip", "Add --author 'A. Person' and --licence"),
        ("export model --to bioimageio --out x/m --author A --licence MIT", "Name it x/m.zip"),
        ("export model --to fiji --out x/m", "Name it x/m.zip"),
        ("export model --to openvino --out x/m", "Name it x/m.xml"),
        ("export model --to onnx --out x/m.onnx --normalize dance", "--normalize dance is not known"),
        ("export theirs/member-0 --to onnx --out x/m.onnx --normalize model", "does not know the percentiles"),
        ("restore new.tif --model model --out x --combine both", "--combine both is not known"),
        ("info new.tif --card", "Only models have a card"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(
    veriscope: Veriscope, theirs: Path, command: str, said: str
) -> None:
    before = sorted(theirs.parent.rglob("*"))
    found = veriscope(*command.split())
    assert found.code == 2
    assert said in found.err
    assert found.err.count("error: ") == 1
    assert "Traceback" not in found.err
    assert sorted(theirs.parent.rglob("*")) == before
