"""What the tests of the command line share: small images, tiny models, and a way to type commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from veriscope.apps.cli import main
from veriscope.networks import build
from veriscope.networks.folder import save
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe


@dataclass(frozen=True)
class Answer:
    """What a command left behind: its exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


Veriscope = Callable[..., Answer]


@pytest.fixture
def veriscope(capsys: pytest.CaptureFixture[str]) -> Veriscope:
    """``veriscope("info", path)`` types a command in this process."""

    def run(*words: object) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        written = capsys.readouterr()
        return Answer(int(end.value.code or 0), written.out, written.err)

    return run


def blobs(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A smooth random image in 16 bit."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2)
    return np.clip(1000 + 4000 * (smooth - smooth.min()) / np.ptp(smooth), 0, 65535).astype(np.uint16)


def write_pairs(folder: Path, count: int = 4, shape: tuple[int, ...] = (48, 40)) -> tuple[Path, Path]:
    """Folders low and high with `count` small pairs."""
    low, high = folder / "low", folder / "high"
    low.mkdir(parents=True)
    high.mkdir()
    for number in range(count):
        truth = blobs(shape, number)
        noisy = np.random.default_rng(number).poisson(truth / 50) * 50
        tifffile.imwrite(low / f"cell{number}.tif", noisy.astype(np.uint16))
        tifffile.imwrite(high / f"cell{number}.tif", truth)
    return low, high


def write_model(
    folder: Path, axes: str = "YX", channels: int = 1, members: int = 2, probabilistic: bool = True
) -> Path:
    """An untrained ensemble, so small that it runs at once."""
    torch.manual_seed(0)
    step = {"YX": (8, 8), "ZYX": (4, 8, 8)}[axes]
    recipe = Recipe(axes, channels, channels, probabilistic, depth=1, base=2, patch=step, batch=1)
    percentiles = {"percentiles": {"2.0": [100.0] * channels, "99.8": [4000.0] * channels}}
    facts = {
        "training": {"seed": 0, "data": {"pairs": 3, "names": ["a", "b", "c"]}},
        "low": {**percentiles, "minimum": [0.0] * channels, "maximum": [5000.0] * channels},
        "high": {**percentiles, "minimum": [0.0] * channels, "maximum": [5000.0] * channels},
        "voxel_size": None,
        "history": [],
        "scores": {"check_loss": [-1.0] * members},
    }
    save(Ensemble(recipe, tuple(build(recipe) for _ in range(members)), facts), folder)
    return folder


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs, models and images, made once; `desk` is a copy of it that a test may spoil."""
    folder = tmp_path_factory.mktemp("material")
    write_pairs(folder)
    write_model(folder / "model")
    write_model(folder / "model3d", axes="ZYX")
    write_model(folder / "model2c", channels=2)
    write_model(folder / "plain", probabilistic=False, members=1)
    tifffile.imwrite(folder / "new.tif", blobs((45, 37), 9))
    tifffile.imwrite(
        folder / "movie.tif",
        np.stack([blobs((20, 24), n) for n in range(3)]),
        imagej=True,
        resolution=(1 / 0.1, 1 / 0.1),
        metadata={"axes": "TYX", "unit": "um", "finterval": 2.5},
    )
    return folder


@pytest.fixture
def desk(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a test, with its own copy of the material."""
    place = shutil.copytree(material, tmp_path / "desk")
    monkeypatch.chdir(place)
    return place
