"""Whatever is wrong: one clear message, exit code 2, no traceback, and the disk as it was before."""
# ruff: noqa: E501 - one case is one line

from __future__ import annotations

import errno
import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

TRAIN = "train low high --out out --epochs 1 --members 1 --depth 1 --base 2 --patch 16,16 --per-image 1 --device cpu "
RESTORE = "restore new.tif --model model --out out "
JUDGE = "judge low high --model model "

Prepare = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """`prepare` spoils the desk, `command` is typed, and the message holds all of `said`."""

    name: str
    command: str
    said: tuple[str, ...]
    prepare: Prepare | None = None


def case(name: str, command: str, *said: str, prepare: Prepare | None = None) -> Case:
    return Case(name, command, said, prepare)


# Ways to spoil something


def image(path: str, array: Any) -> Prepare:
    def write(desk: Path) -> None:
        (desk / path).parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(desk / path, np.asarray(array), photometric="minisblack")

    return write


def text(path: str, contents: str = "not an image at all") -> Prepare:
    return lambda desk: (desk / path).write_text(contents)


def truncated(path: str, keep: float = 0.5) -> Prepare:
    def cut(desk: Path) -> None:
        whole = (desk / path).read_bytes()
        (desk / path).write_bytes(whole[: int(len(whole) * keep)])

    return cut


def flipped(path: str) -> Prepare:
    """One bit of the last byte turned over."""

    def flip(desk: Path) -> None:
        whole = bytearray((desk / path).read_bytes())
        whole[-1] ^= 1
        (desk / path).write_bytes(bytes(whole))

    return flip


def gone(path: str) -> Prepare:
    return lambda desk: (desk / path).unlink()


def folder(path: str) -> Prepare:
    return lambda desk: (desk / path).mkdir(parents=True)


def copied(source: str, target: str) -> Prepare:
    def copy(desk: Path) -> None:
        (desk / target).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (desk / source).is_dir() else shutil.copy)(desk / source, desk / target)

    return copy


def recipe(**changes: Any) -> Prepare:
    """Other values at the top of model/recipe.json; None removes one."""

    def change(desk: Path) -> None:
        path = desk / "model" / "recipe.json"
        told = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({name: value for name, value in told.items() if value is not None}))

    return change


def pixel(value: float, shape: tuple[int, ...] = (48, 40)) -> np.ndarray:
    """A float image with one strange pixel."""
    array = np.random.default_rng(0).random(shape, dtype=np.float32)
    array[(5,) * len(shape)] = value
    return array


def zarr_array(path: str, shape: tuple[int, ...], attributes: dict[str, Any] | None = None) -> Prepare:
    def write(desk: Path) -> None:
        import zarr

        group = zarr.open_group(desk / path, mode="w")
        group.create_array("0", shape=shape, dtype="uint16", chunks=tuple(max(1, n) for n in shape))
        group.attrs.update(attributes or {})

    return write


def both(*steps: Prepare) -> Prepare:
    def all_of_them(desk: Path) -> None:
        for step in steps:
            step(desk)

    return all_of_them


EMPTY_ZARR = {
    "ome": {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}],
                "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]}],
            }
        ],
    }
}

CASES = [
    # How a command is written
    case("unknown command", "restaurate new.tif", "No such command 'restaurate'", "veriscope --help"),
    case("unknown option", "info new.tif --fast", "--fast", "veriscope info --help"),
    case("missing option", "restore new.tif --model model", "--out", "veriscope restore --help"),
    case("missing argument", "train low", "HIGH", "veriscope train --help"),
    case("words for a number", "train low high --out out --epochs many", "--epochs", "integer"),
    # Training: images
    case("missing folder", TRAIN.replace("low", "lwo"), "lwo", "does not exist"),
    case("empty folder", TRAIN.replace("low", "empty"), "empty", "no images", prepare=folder("empty")),
    case("folder of notes", TRAIN.replace("low", "notes"), "notes", prepare=both(folder("notes"), text("notes/a.md"))),
    case("unpaired names", TRAIN, "cell1", "partner", prepare=gone("low/cell1.tif")),
    case("one name more", TRAIN, "extra", prepare=copied("low/cell1.tif", "low/extra.tif")),
    case("the same folder twice", TRAIN.replace("high", "low"), "are the same"),
    case("pair of different shape", TRAIN, "cell2", "40 x 40", prepare=image("low/cell2.tif", np.eye(40, 40, dtype="u2"))),
    case("not an image", TRAIN, "cell0", "not an image", prepare=text("low/cell0.tif")),
    case("truncated TIFF", TRAIN, "cell3", prepare=truncated("low/cell3.tif")),
    case("TIFF cut in its header", TRAIN, "cell3", prepare=truncated("low/cell3.tif", 0.002)),
    case("file of no bytes", TRAIN, "cell0", "empty", prepare=text("low/cell0.tif", "")),
    case("unknown axis", TRAIN + "--axes YQ", "unknown letter", "Q"),
    case("axis twice", TRAIN + "--axes YY", "more than once"),
    case("axes that do not fit", TRAIN + "--axes ZYX", "ZYX", "48 x 40"),
    case("axes without X", TRAIN + "--axes TY", "X"),
    case(
        "stack of unknown axes",
        TRAIN.replace("low high", "a b"),
        "does not state",
        "--axes",
        prepare=both(image("a/s.tif", np.ones((3, 9, 9), "u2")), image("b/s.tif", np.ones((3, 9, 9), "u2"))),
    ),
    case("NaN in low", TRAIN, "cell0", "NaN", prepare=image("low/cell0.tif", pixel(np.nan))),
    case("infinity in high", TRAIN, "cell0", "Inf", prepare=image("high/cell0.tif", pixel(np.inf))),
    case("constant image", TRAIN, "cell1", "constant", prepare=image("low/cell1.tif", np.full((48, 40), 7, "u2"))),
    case("complex numbers", TRAIN, "complex64", prepare=image("low/cell0.tif", np.ones((48, 40), "c8"))),
    case("image smaller than a patch", TRAIN.replace("16,16", "64,64"), "smaller than a patch", "64 x 64"),
    # Training: choices
    case("no members", TRAIN + "--members 0", "--members 0"),
    case("no time", TRAIN.replace("--epochs 1", "--minutes 0"), "--minutes 0"),
    case("negative time", TRAIN.replace("--epochs 1", "--minutes -3"), "--minutes -3"),
    case("no epochs", TRAIN + "--epochs 0", "--epochs 0"),
    case("time and epochs", TRAIN + "--minutes 1", "--minutes and --epochs"),
    case("model exists", TRAIN.replace("--out out", "--out model"), "exists already", "--overwrite", "--resume"),
    case("overwriting what is no model", TRAIN.replace("--out out", "--out high") + "--overwrite", "not a veriscope model"),
    case("resume and overwrite", TRAIN + "--resume --overwrite", "--resume", "--overwrite"),
    case("nothing to resume", TRAIN + "--resume", "nothing to resume"),
    case("model under a file", TRAIN.replace("--out out", "--out new.tif/model"), "new.tif"),
    case("all images for checking", TRAIN + "--check 1", "check"),
    case("negative share for checking", TRAIN + "--check -0.5", "check"),
    case("unknown preset", TRAIN + "--preset mouse", "mouse", "planaria"),
    case("preset for other axes", TRAIN + "--preset planaria --patch 16,16,16", "planaria", "ZYX", "YX"),
    case("patch of zero", TRAIN + "--patch 0,16", "--patch 0,16"),
    case("patch of words", TRAIN + "--patch large", "--patch large"),
    case("patch of three lengths in 2D", TRAIN + "--patch 16,16,16", "16 x 16 x 16"),
    case("patch that cannot be halved", TRAIN + "--patch 15,16", "15 x 16", "multiple"),
    case("even kernel", TRAIN + "--kernel 4", "kernel is odd"),
    case("too deep", TRAIN + "--depth 99", "depth lies between"),
    case("foreground above all", TRAIN + "--foreground 3", "foreground"),
    case("unknown normalisation", TRAIN + "--normalize often", "--normalize often"),
    case("unknown loss", TRAIN + "--loss love", "--loss love", "laplace"),
    case("no patches", TRAIN + "--per-image 0", "--per-image 0"),
    case("unknown device", TRAIN + "--device quantum", "quantum"),
    case("learning rate below zero", TRAIN + "--learning-rate -1", "learning_rate"),
    # Restoring: images
    case("missing image", RESTORE.replace("new", "old"), "old.tif", "does not exist"),
    case("pattern without a match", "restore 'x*.tif' --model model --out out", "x*.tif", "No image matches"),
    case("folder without images", "restore empty --model model --out out", "no images", prepare=folder("empty")),
    case("text called TIFF", RESTORE, "new.tif", "not an image", prepare=text("new.tif")),
    case("truncated image", RESTORE, "new.tif", prepare=truncated("new.tif")),
    case("a picture", "restore a.png --model model --out out", "PNG", prepare=text("a.png", "\x89PNG\r\n")),
    case("NaN", RESTORE, "NaN", prepare=image("new.tif", pixel(np.nan))),
    case("infinity", RESTORE, "Inf", prepare=image("new.tif", pixel(-np.inf))),
    case("constant", RESTORE, "constant", prepare=image("new.tif", np.full((30, 30), 3, "u2"))),
    case("wrong axes", RESTORE + "--axes TYX", "TYX"),
    case("axes given twice", RESTORE + "--axes YXX", "more than once"),
    case("no pixels", "restore a.zarr --model model --out out", "no pixels", prepare=zarr_array("a.zarr", (0, 8), EMPTY_ZARR)),
    case("Zarr without multiscales", "restore a.zarr --model model --out out", "multiscales", prepare=zarr_array("a.zarr", (8, 8))),
    case("empty Zarr folder", "restore a.zarr --model model --out out", "a.zarr", prepare=folder("a.zarr")),
    case("volume for a 2D model", RESTORE + "--axes ZYX", "Z", prepare=image("new.tif", np.arange(640, dtype="u2").reshape(10, 8, 8))),
    case("plane for a 3D model", RESTORE.replace("--model model", "--model model3d"), "ZYX"),
    case("one channel for two", RESTORE.replace("--model model", "--model model2c"), "channel"),
    case("three channels for one", RESTORE + "--axes CYX", "channel", prepare=image("new.tif", np.arange(192, dtype="u2").reshape(3, 8, 8))),
    # Restoring: models
    case("missing model", RESTORE.replace("--model model", "--model modle"), "modle", "no model"),
    case("folder that is no model", RESTORE.replace("--model model", "--model low"), "not a veriscope model"),
    case("model of a newer version", RESTORE, "newer veriscope", prepare=recipe(format=99)),
    case("recipe that is no JSON", RESTORE, "damaged", prepare=text("model/recipe.json", "{")),
    case("recipe that lacks parts", RESTORE, "damaged", prepare=recipe(members=None)),
    case("recipe of unknown fields", RESTORE, "unknown fields", prepare=recipe(recipe={"axes": "YX", "magic": 1})),
    case("recipe of another network", RESTORE, "do not fit", prepare=recipe(recipe={"axes": "YX", "base": 4})),
    case("missing weights", RESTORE, "member-1.safetensors", "missing", prepare=gone("model/member-1.safetensors")),
    case("truncated weights", RESTORE, "member-0.safetensors", prepare=truncated("model/member-0.safetensors")),
    case("damaged weights", RESTORE, "checksum", prepare=flipped("model/member-0.safetensors")),
    case("weights that are a pickle", RESTORE, "damaged", prepare=text("model/member-0.safetensors", "cos\nsystem\n(S'x'\ntR.")),
    case("model without members", RESTORE, "no trained member", prepare=recipe(members=0)),
    case("scale of a model without", RESTORE.replace("--model model", "--model plain") + "--scale", "no uncertainty"),
    # Restoring: choices
    case("unknown dtype", RESTORE + "--dtype float7", "float7", "uint16"),
    case("unknown format", RESTORE + "--format jpeg", "jpeg"),
    case("unknown way to normalise", RESTORE + "--normalize twice", "twice"),
    case("certainty", RESTORE + "--interval 1", "--interval 1"),
    case("interval below zero", RESTORE + "--interval -0.2", "--interval -0.2"),
    case("chance within no distance", RESTORE + "--probability 0", "--probability 0"),
    case("tile of zero", RESTORE + "--tile 0", "--tile 0"),
    case("negative tile", RESTORE + "--tile -64", "--tile -64"),
    case("tile of words", RESTORE + "--tile big", "--tile big"),
    case("tile of three lengths in 2D", RESTORE + "--tile 8,8,8", "tile"),
    case("memory too small", RESTORE + "--memory 1kB", "memory"),
    case("memory of words", RESTORE + "--memory plenty", "plenty"),
    case("no memory", RESTORE + "--memory 0GB", "memory"),
    case("device that is not there", RESTORE + "--device cuda:77", "cuda:77"),
    # Restoring: results
    case("result exists", RESTORE, "exists already", "--overwrite", prepare=both(folder("out"), text("out/new.ome.tif"))),
    case("scale exists", RESTORE + "--scale", "new.scale.ome.tif", prepare=both(folder("out"), text("out/new.scale.ome.tif"))),
    case("result in place of its input", "restore new.tif --model model --out new.tif --overwrite", "would replace its own input"),
    case("many images, one file", "restore low --model model --out out.ome.tif", "one file", "4 images"),
    case("two images, one name", "restore low high --model model --out out", "both be written"),
    case("format against name", RESTORE.replace("--out out", "--out a.zarr") + "--format tif", "contradicts"),
    case("result as a picture", RESTORE.replace("--out out", "--out a.png"), "cannot be written"),
    case("result under a file", RESTORE.replace("--out out", "--out new.tif/a.ome.tif"), "new.tif"),
    case("result folder is a file", RESTORE.replace("--out out", "--out notes"), "notes", prepare=text("notes")),
    case("plan for a missing image", RESTORE.replace("new", "old") + "--dry-run", "old.tif"),
    # Judging and telling
    case("report exists", "judge low high --model model --report r.html", "exists already", prepare=text("r.html")),
    case("report as PDF", "judge low high --model model --report r.pdf", "r.pdf", "report.html"),
    case("report in no folder", "judge low high --model model --report there/r.html", "there"),
    case("judged without truth", "judge low empty --model model", "no images", prepare=folder("empty")),
    case("judged by a missing model", "judge low high --model modle", "no model"),
    case("judged by a 3D model", "judge low high --model model3d", "ZYX"),
    case("judged by a constant", "judge low high --model model", "no contrast", prepare=image("high/cell1.tif", np.ones((48, 40), "u2"))),
    case("movie exists", JUDGE + "--movie s.gif", "exists already", "--overwrite", prepare=text("s.gif")),
    case("movie as AVI", JUDGE + "--movie s.avi", "s.avi", ".mp4"),
    case("movie in no folder", JUDGE + "--movie there/s.gif", "there"),
    case("movie of no frames", JUDGE + "--movie s.gif --frames 0", "--frames 0"),
    case("movie in place of its image", JUDGE + "--movie low/cell0.tif --overwrite", "would replace an image"),
    case("movie of a model without scales", JUDGE.replace("--model model", "--model plain") + "--movie s.gif", "no distribution"),
    case("about nothing", "info nothing.tif", "does not exist"),
    case("about a folder", "info low", "neither a model"),
    case("about a text", "info notes.txt", "not an image", prepare=text("notes.txt")),
    case("about a damaged model", "info model", "damaged", prepare=text("model/recipe.json", "[]")),
]  # fmt: skip


def contents(place: Path) -> dict[str, str]:
    """Every path below `place` with a checksum of what it holds."""
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(place.rglob("*"))
    }


def assert_refused(answer: Any, *said: str) -> None:
    assert answer.code == 2, answer
    assert answer.err.count("error: ") == 1, answer.err
    assert "Traceback" not in answer.err + answer.out
    for words in said:
        assert words.lower() in answer.err.lower(), (words, answer.err)
    message = answer.err[answer.err.index("error: ") :].strip()
    assert message.endswith((".", "--help")), message
    assert len(message.splitlines()) == 1, message


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 100
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_ends_in_one_clear_message(case: Case, desk: Path, veriscope: Any) -> None:
    if case.prepare is not None:
        case.prepare(desk)
    before = contents(desk)
    answer = veriscope(*shlex.split(case.command))
    assert_refused(answer, *case.said)
    assert contents(desk) == before


def test_a_folder_that_may_not_be_written_is_found_before_the_work(
    desk: Path, veriscope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, **_: not mode & os.W_OK)
    before = contents(desk)
    assert_refused(veriscope(*shlex.split(RESTORE)), "not writable")
    assert contents(desk) == before


def full_disk(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("command", "where"),
    [
        (TRAIN, "os.replace"),
        (RESTORE, "os.link"),
        (JUDGE + "--report r.html", "os.link"),
        (JUDGE + "--movie s.gif", "os.link"),
    ],
    ids=["train", "restore", "judge", "movie"],
)
def test_a_disk_that_fills_up_is_told_and_nothing_half_written_stays(
    command: str, where: str, desk: Path, veriscope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(desk)
    with monkeypatch.context() as full:
        full.setattr(where, full_disk)
        answer = veriscope(*shlex.split(command))
    assert_refused(answer, "full", "space")
    assert contents(desk) == before
