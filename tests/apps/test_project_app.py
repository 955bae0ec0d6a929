"""The command line on stacks and the planes they are projected to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from veriscope.images.reading import read_image
from veriscope.networks.folder import load
from veriscope.training import loop

Veriscope = Callable[..., Any]


@pytest.fixture
def wing(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders stacks and surfaces beside the other material, and training that is over at once."""
    for place in ("stacks", "surfaces"):
        (desk / place).mkdir()
    for number in range(3):
        surface = np.random.default_rng(number).integers(500, 5000, (5, 6)).astype(np.uint16).repeat(8, 0).repeat(8, 1)
        stack = np.random.default_rng(number).poisson(400, (4, 40, 48)).astype(np.uint16)
        stack[number % 4] += surface
        name = f"wing{number}.tif"
        options: dict[str, Any] = {"imagej": True, "resolution": (10.0, 10.0)}
        tifffile.imwrite(
            desk / "stacks" / name, stack, metadata={"axes": "ZYX", "unit": "um", "spacing": 1.0}, **options
        )
        tifffile.imwrite(desk / "surfaces" / name, surface, metadata={"axes": "YX", "unit": "um"}, **options)
    real = loop.train

    def small(recipe: Any, *patches: Any, **options: Any) -> Any:
        return real(recipe.change(base=2), *patches, **{**options, "members": 2, "epochs": 1, "minutes": None})

    monkeypatch.setattr(loop, "train", small)
    return desk


def train(veriscope: Veriscope, *words: object) -> Any:
    return veriscope("train", "stacks", "surfaces", "--out", "project", "--per-image", 2, "--depth", 1, *words)


def test_stacks_with_planes_are_noticed_learned_and_restored_with_a_height(wing: Path, veriscope: Veriscope) -> None:
    trained = train(veriscope)
    assert trained.code == 0, trained.err
    assert "there is one plane for each stack, so the networks learn to project" in trained.err
    assert "surface finder (compact) and 2D U-Net" in trained.out
    model = load("project")
    assert model.recipe.projects
    assert model.facts.training["data"]["normalize"] == "random"

    done = veriscope(
        "restore", "stacks/wing0.tif", "--model", "project", "--out", "out", "--height", "--scale", "--interval", 0.9
    )
    assert done.code == 0, done.err
    for name in ("", ".scale", ".lower", ".upper", ".height", ".height-spread"):
        image = read_image(f"out/wing0{name}.ome.tif")
        assert (image.axes, image.shape, image.dtype) == ("YX", (40, 48), np.float32)
        assert image.voxel_size == pytest.approx((0.1, 0.1))
    height = np.asarray(read_image("out/wing0.height.ome.tif"))
    assert (height >= 0).all()
    assert (height <= 3).all()

    told = veriscope("info", "project")
    assert "surface finder (compact) and 2D U-Net (ZYX to YX)" in told.out

    planned = veriscope("restore", "stacks", "--model", "project", "--out", "out2", "--height", "--dry-run")
    assert "wing2.height" in planned.out
    assert not Path("out2").exists()


def test_projections_are_judged_beside_the_maximum_of_the_input(wing: Path, veriscope: Veriscope) -> None:
    assert train(veriscope).code == 0
    judged = veriscope("judge", "stacks", "surfaces", "--model", "project", "--report", "report.html")
    assert judged.code == 0, judged.err
    assert "input (maximum)" in judged.out
    assert "input (maximum)" in Path("report.html").read_text(encoding="utf-8")
    crossed = veriscope("cross", "project", "model", "--on", "stacks,surfaces", "--on", "low,high")
    assert crossed.code == 0, crossed.err


def test_axes_are_told_for_both_where_the_files_do_not_say_them(wing: Path, veriscope: Veriscope) -> None:
    for place in ("stacks", "surfaces"):
        for path in (wing / place).iterdir():
            tifffile.imwrite(path, tifffile.imread(path), photometric="minisblack")
    trained = train(veriscope, "--axes", "ZYX,YX", "--task", "project")
    assert trained.code == 0, trained.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "train low high --out p --task project",
            "--task project needs stacks and for each of them one plane, but the truths of low have as many",
        ),
        ("train stacks surfaces --out p --task restore", "--task restore needs the same planes in both"),
        ("train stacks surfaces --out p --task flatten", "--task flatten is not known. Choose one of restore, project"),
        ("train stacks surfaces --out p --preset planaria", "--preset planaria is a network for images of the same"),
        ("train stacks stacks2 --out p --preset flywing", "--preset flywing is a network for stacks with one plane"),
        ("train stacks surfaces --out p --normalize matched", "low is a stack and high a plane. Use 'random'"),
        ("train stacks surfaces --out p --patch 16,32,32", "16 x 32 x 32 does not fit"),
        ("train stacks surfaces --out p --axes ZYX,YX,C", "--axes ZYX,YX,C is not understood"),
        ("restore stacks --model model3d --out p --height", "model3d does not project stacks to planes, so --height"),
        ("restore new.tif --model flat --out p", "projects stacks (ZYX), but the image has the axes YX"),
        ("judge low high --model flat", "This model projects stacks to planes, but pair 'cell0'"),
        ("judge stacks surfaces --model model3d", "This model does not project stacks to planes, but in pair 'wing0'"),
    ],
)
def test_bad_input_stops_with_a_message(words: str, message: str, wing: Path, veriscope: Veriscope) -> None:
    import shutil

    import torch

    from veriscope.networks import build
    from veriscope.networks.folder import save
    from veriscope.networks.model import Ensemble
    from veriscope.networks.recipe import Recipe

    torch.manual_seed(0)
    recipe = Recipe(axes="ZYX", task="project", depth=1, base=2, patch=(16, 16))
    save(Ensemble(recipe, (build(recipe),)), "flat")
    shutil.copytree("stacks", "stacks2")
    answer = veriscope(*words.split())
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not Path("p").exists()
