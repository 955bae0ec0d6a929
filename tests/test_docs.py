"""What README and docs/ show works: their Python and their veriscope commands are run, page by page, on small images.

A page sees a folder with the files named in `make_files`. To be quick, training keeps its call but shrinks its numbers.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy.ndimage import label

import veriscope as vs

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
LANGUAGES = {"python", "sh", "text", "html", "json"}


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its language, its lines, and where it begins."""

    language: str
    code: str
    line: int


def snippets(text: str) -> list[Snippet]:
    """The fenced blocks of a page, in order."""
    found = re.finditer(r"^```([a-z]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Snippet(match[1], match[2], text[: match.start()].count("\n") + 1) for match in found]


def commands(code: str) -> list[list[str]]:
    """The lines of a shell block as words, without comments; a backslash joins lines."""
    lines = code.replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if words]


def picture(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image and its truth, uint16."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    truth = gaussian_filter(rng.random(shape), 2)
    truth = 2000 * (truth - truth.min()) / np.ptp(truth) + 100
    return rng.poisson(truth / 20).astype(np.uint16) * 20, truth.astype(np.uint16)


def make_files(folder: Path) -> None:
    """The files that the pages speak of."""
    for place, count in (("mito", 6), ("test", 2)):
        for number in range(count):
            for kind, array in zip(("low", "high"), picture((160, 144), number), strict=True):
                (folder / place / kind).mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(folder / place / kind / f"field{number}.tif", array)
    for name in ("new.tif", "day1/a.tif", "day1/b.tif", "day2/c.tif"):
        (folder / name).parent.mkdir(exist_ok=True)
        noisy, truth = picture((100, 90), len(name))
        tifffile.imwrite(folder / name, noisy)
        if name == "new.tif":
            tifffile.imwrite(folder / "labels.tif", label(truth > 1000)[0].astype(np.uint16))
    seen = np.random.default_rng(0).poisson(picture((80, 80), 7)[1] / 20, (2, 80, 80))
    for name, photons in zip(("once.tif", "again.tif"), seen, strict=True):
        tifffile.imwrite(folder / name, (2 * photons + 100).astype(np.uint16))
    options: dict[str, Any] = {"imagej": True, "resolution": (10.0, 10.0)}
    movie = np.stack([picture((64, 64), n)[0] for n in range(3)])
    tifffile.imwrite(folder / "movie.tif", movie, metadata={"axes": "TYX", "unit": "um", "finterval": 5}, **options)
    stack = picture((12, 48, 48), 3)[0]
    tifffile.imwrite(folder / "stack.tif", stack, metadata={"axes": "ZYX", "unit": "um", "spacing": 0.3}, **options)
    tifffile.imwrite(folder / "plain.tif", stack)
    worm = picture((3, 80, 132), 4)[1]
    tifffile.imwrite(folder / "worm.tif", worm, metadata={"axes": "ZYX", "unit": "um", "spacing": 0.5}, **options)
    for number in range(3):
        fine = picture((32, 40, 40), number)[1]
        for kind, array in (("fine", fine), ("coarse", fine[::4])):
            (folder / kind).mkdir(exist_ok=True)
            tifffile.imwrite(folder / kind / f"{number}.tif", array, metadata={"axes": "ZYX"}, imagej=True)
    for number in range(3):
        stack, surface = picture((4, 64, 80), number)
        for kind, array, axes in (("stacks", stack, "ZYX"), ("surfaces", surface[3], "YX")):
            (folder / kind).mkdir(exist_ok=True)
            vs.save_image(folder / kind / f"wing{number}.tif", vs.Image(array, axes, (1.0, 0.1, 0.1)[-len(axes) :]))
    make_published(folder / "Denoising_Planaria", (8, 32, 32))
    make_published(folder / "cells", (100, 90))
    vs.save_image(folder / "huge.ome.zarr", vs.Image(picture((256, 256), 5)[0], "YX", (0.1, 0.1)))
    recipe = vs.Recipe(axes="YX", base=2, depth=1)
    pairs = vs.read_pairs(folder / "mito/low", folder / "mito/high")
    patches = vs.cut_patches(pairs, shape=recipe.patch, per_image=3)
    vs.train(recipe, patches, patches, members=2, epochs=1, folder=folder / "model", device="cpu", progress=False)


def make_published(place: Path, shape: tuple[int, ...]) -> None:
    """A data set as the authors publish them: a file of patches, truths, and images of two conditions."""
    low, high = zip(*(picture(shape, number) for number in range(6)), strict=True)
    (place / "train_data").mkdir(parents=True)
    axes = "SC" + "ZYX"[-len(shape) :]
    np.savez(place / "train_data/data_label.npz", X=np.stack(low)[:, None], Y=np.stack(high)[:, None], axes=axes)
    for kind, array in (("GT", high[0]), ("condition_1", low[0]), ("condition_2", low[0])):
        (place / "test_data" / kind).mkdir(parents=True)
        tifffile.imwrite(place / "test_data" / kind / "field1.tif", array)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    make_files(folder)
    return folder


@pytest.fixture
def place(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files as working folder, and training that is over at once."""
    from veriscope.training import loop

    real = loop.train

    def small(*args: Any, **options: Any) -> Any:
        asked = inspect.signature(real).bind(*args, **options).arguments
        asked["recipe"] = asked["recipe"].change(base=2)
        asked |= {"members": min(asked.get("members", 5), 2), "epochs": 1, "minutes": None}
        return real(**{**asked.pop("options", {}), **asked, "device": "cpu"})

    monkeypatch.setattr(loop, "train", small)
    monkeypatch.setattr(vs, "train", small)
    for module in ("reproduce", "datasize"):
        monkeypatch.setattr(f"veriscope.reproducing.{module}.train", small)
    monkeypatch.chdir(shutil.copytree(files, tmp_path / "files"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # where veriscope is installed
    return Path.cwd()


def run_command(words: list[str], where: str) -> None:
    from veriscope.apps.cli import main

    with pytest.raises(SystemExit) as end:
        main(words[1:])
    assert end.value.code in (0, None), where


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")  # such small training knows little
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_works(page: Path, place: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for snippet in snippets(page.read_text(encoding="utf-8")):
        where = f"{page.name}, line {snippet.line}"
        assert snippet.language in LANGUAGES, where
        if "veriscope[srrf]" in snippet.code and find_spec("nanopyx") is None:
            continue
        if snippet.language == "python":
            exec(compile(snippet.code, where, "exec"), names)
        elif snippet.language == "sh":
            for words in commands(snippet.code):
                if words[0] == "make":
                    assert words[1] in targets, where
                elif words[:2] == ["veriscope", "demo"]:  # takes minutes; its own tests run it small
                    continue
                elif words[:2] == ["veriscope", "reproduce"] and "tiny" not in words:  # takes minutes
                    run_command([*words, "--dry-run"], where)
                elif words[0] == "veriscope":
                    run_command(words, where)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


def test_readme_holds_six_lines_of_python_and_a_picture() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = next(snippet.code for snippet in snippets(text) if snippet.language == "python")
    assert len([line for line in code.splitlines() if line.strip()]) == 6
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures
    assert all((ROOT / picture).stat().st_size < 500_000 for picture in pictures)
