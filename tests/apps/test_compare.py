"""veriscope compare: tables and a page from one command, and plain words where it cannot be done."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

QUICK = ("--axes", "YX", "--methods", "lowpass")


def test_a_model_and_methods_are_compared_in_one_table(desk: Path, veriscope: Any) -> None:
    done = veriscope("compare", "low", "high", "--model", "model", *QUICK)
    assert done.code == 0, done.err
    assert "Mean and spread over 4 images, whole images" in done.out
    methods = [line.split("  ")[0] for line in done.out.splitlines()[2:5]]
    assert methods == ["input", "Gaussian low-pass", "restoration"]
    assert "tuned on each test image itself" in done.out


def test_report_and_tables_are_written_and_say_how_to_repeat(desk: Path, veriscope: Any) -> None:
    done = veriscope("compare", "low", "high", "-m", "model", *QUICK, "--report", "all.html", "--table", "all.csv")
    assert done.code == 0, done.err
    page = (desk / "all.html").read_text()
    assert "veriscope compare low high --model model --methods lowpass --axes YX --report all.html" in page
    assert len(list(csv.reader((desk / "all.csv").read_text().splitlines()))) == 1 + 4 * 3
    done = veriscope("compare", "low", "high", *QUICK, "--no-tune", "--table", "all.tex")
    assert done.code == 0, done.err
    assert "tabular" in (desk / "all.tex").read_text()


def test_a_dry_run_lists_methods_sizes_and_times_and_writes_nothing(desk: Path, veriscope: Any) -> None:
    done = veriscope("compare", "low", "high", "--axes", "YX", "--report", "all.html", "--out", "kept", "--dry-run")
    assert done.code == 0, done.err
    assert "4, 48 x 40 YX" in done.out
    assert "nlm" in done.out
    assert not (desk / "all.html").exists()
    assert not (desk / "kept").exists()


def test_parameters_may_come_from_another_pair(desk: Path, veriscope: Any) -> None:
    words = ("--tune-on", "low/cell0.tif,high/cell0.tif")
    done = veriscope("compare", "low/cell1.tif", "high/cell1.tif", *QUICK, *words)
    assert done.code == 0, done.err
    assert "tuned on one image for all, cell0" in done.out.replace("\n", " ")


def test_a_folder_with_conditions_is_compared_too(desk: Path, veriscope: Any) -> None:
    place = desk / "set" / "test_data"
    shutil.copytree(desk / "high", place / "GT")
    shutil.copytree(desk / "low", place / "condition_1")
    done = veriscope("compare", "set", *QUICK, "--table", "all.csv")
    assert done.code == 0, done.err
    assert "condition_1/cell0" in (desk / "all.csv").read_text()


def test_what_is_kept_is_there_and_the_same_command_goes_on(desk: Path, veriscope: Any) -> None:
    words = ("compare", "low", "high", *QUICK, "--out", "kept")
    assert veriscope(*words).code == 0
    image = desk / "kept/lowpass/cell0.ome.tif"
    written = image.stat().st_mtime_ns
    assert veriscope(*words).code == 0
    assert image.stat().st_mtime_ns == written
    assert json.loads((desk / "kept/comparison.json").read_text())["methods"][0]["name"] == "lowpass"


def test_ctrl_c_keeps_what_was_finished(desk: Path, veriscope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from veriscope.comparing import run as timing

    real, seen = timing.judge_one, []

    def once(*words: Any) -> Any:
        seen.append(words)
        if len(seen) > 1:
            raise KeyboardInterrupt
        return real(*words)

    monkeypatch.setattr(timing, "judge_one", once)
    words = ("compare", "low", "high", *QUICK, "--report", "all.html")
    done = veriscope(*words, "--out", "kept")
    assert done.code == 130
    assert "what was finished is kept in kept" in done.err
    assert sorted(path.name for path in (desk / "kept/lowpass").glob("*.tif")) == ["cell0.ome.tif", "cell1.ome.tif"]
    seen.clear()
    assert "nothing unfinished was left behind" in veriscope(*words).err
    assert not (desk / "all.html").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("low", "high", "--methods", "nonsense"), "There is no method 'nonsense' that denoises images. Choose from "),
        (("low", "high", "--methods", "max"), "'max' projects stacks to planes, but this needs a method that denoises"),
        (("low", "high", "--methods", ","), "names no method"),
        (("low", "high", "-m", "model3d", *QUICK), "Z"),
        (("low", "high", "-m", "model2c", *QUICK), "the model takes 2"),
        (("low", "high", "-m", "nowhere", *QUICK), "nowhere"),
        (("low", "low", *QUICK), "Low and high are the same"),
        (("low", "other", *QUICK), "paired by file name"),
        (("low", *QUICK), "should hold a folder GT"),
        (("low", "high", *QUICK, "--crop", "100"), "48 x 40 pixels, less than the crop of 100"),
        (("low", "high", *QUICK, "--crop", "4"), "too small to compare"),
        (("low", "high", *QUICK, "--minutes", "0"), "--minutes 0 is not possible"),
        (("low", "high", *QUICK, "--tune-on", "low"), "--tune-on low is not understood"),
        (("low", "high", *QUICK, "--tune-on", "two.tif,two.tif"), "Low and high are the same"),
        (("low", "high", *QUICK, "--tune-on", "low/cell0.tif,high/cell0.tif", "--no-tune"), "contradict each other"),
        (("low", "high", *QUICK, "--report", "all.txt"), "--report all.txt is written as .html or .htm"),
        (("low", "high", *QUICK, "--table", "all.xls"), "--table all.xls is written as .csv, .tsv, .md or .tex"),
        (("low", "high", *QUICK, "--report", "there.html"), "there.html exists already"),
        (("low", "high", *QUICK, "--report", "nowhere/all.html"), "there is no folder"),
        (("low", "high", *QUICK, "--background", "100"), "Give --psf too"),
        (("low", "high", *QUICK, "--psf", "gaussian:na=1.1", "--background", "-1"), "grey value of at least 0, not -1"),
        (("low", "high", *QUICK, "--out", "low"), "files that no comparison wrote"),
        (("low", "high", *QUICK, "--psf", "gaussian:na=1.1"), "voxel size of the images, which is unknown"),
    ],
)
def test_bad_input_is_refused_in_plain_words_before_the_work(
    desk: Path, veriscope: Any, words: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from veriscope.comparing import run as timing

    def never(*_: Any) -> Any:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(timing, "timed", never)
    (desk / "there.html").write_text("mine")
    (desk / "other").mkdir()
    tifffile.imwrite(desk / "other" / "else.tif", np.zeros((8, 8), np.uint16))
    tifffile.imwrite(desk / "two.tif", np.zeros((8, 8), np.uint16))
    before = sorted(desk.rglob("*"))
    done = veriscope("compare", *words, *(() if "--axes" in words else ("--axes", "YX")))
    assert done.code == 2, done.err + done.out
    assert says in done.err
    assert "Traceback" not in done.err
    assert sorted(desk.rglob("*")) == before
    assert (desk / "there.html").read_text() == "mine"


def test_images_without_contrast_are_told_and_the_others_compared(desk: Path, veriscope: Any) -> None:
    tifffile.imwrite(desk / "low/cell1.tif", np.full((48, 40), 7, np.uint16))
    done = veriscope("compare", "low", "high", "-m", "model", *QUICK)
    assert "Traceback" not in done.err
    assert "restoration failed on cell1: " in done.err
    assert "Gaussian low-pass failed on cell1" in done.err
    assert done.code == 0, done.err
