"""veriscope segment: label images that open elsewhere, scores, sweeps, classifiers, and what it refuses."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from scipy import ndimage

import veriscope as vs
from veriscope.objects import overlaps as objects
from veriscope.objects import segment


def squares() -> np.ndarray:
    """Six squares, numbered."""
    return np.kron(np.arange(1, 7).reshape(2, 3), np.pad(np.ones((10, 10), int), 4)).astype(np.uint16)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A noisy and a smooth image of squares, their labels, and more of the kind."""
    monkeypatch.chdir(tmp_path)
    truth = squares()
    rng = np.random.default_rng(0)
    noisy = rng.poisson(20 + 40 * (truth > 0)).astype(np.uint16)
    vs.save_image("noisy.tif", vs.Image(noisy, "YX", (0.5, 0.5)))
    vs.save_image("smooth.tif", vs.Image(ndimage.gaussian_filter(noisy.astype(np.float32), 1.5), "YX", (0.5, 0.5)))
    vs.save_image("truth.tif", vs.Image(truth, "YX"))
    vs.save_image("movie.tif", vs.Image(np.stack([noisy, noisy[::-1]]), "TYX", (0.5, 0.5), 2.0))
    vs.save_image("two.tif", vs.Image(np.stack([noisy, np.where(truth == 1, noisy, 20)]), "CYX"))
    for folder in ("day", "labels"):
        Path(folder).mkdir()
    for name in ("a", "b"):
        vs.save_image(f"day/{name}.tif", vs.Image(noisy, "YX"))
        vs.save_image(f"labels/{name}.tif", vs.Image(truth, "YX"))
    return tmp_path


@pytest.mark.parametrize("option", ["--truth", "--labels"])
def test_two_label_files_of_one_name_are_refused_rather_than_one_of_them_chosen(
    bench: Path, veriscope: Any, option: str
) -> None:
    vs.save_image("labels/a.ome.tif", vs.read_image("labels/a.tif", axes="YX"))
    images = ("day", "--truth", "labels") if option == "--truth" else ("day", "--out", "found", "--train", "day")
    done = veriscope("segment", *images, *(() if option == "--truth" else ("--labels", "labels")), "--axes", "YX")
    assert done.code == 2
    assert f"{option} labels has two files called a: " in done.err
    Path("labels/a.ome.tif").unlink()
    vs.save_image("labels/other.ome.tif", vs.read_image("labels/a.tif", axes="YX"))  # of no image: no matter
    vs.save_image("labels/other.tif", vs.read_image("labels/a.tif", axes="YX"))
    assert veriscope("segment", "day", "--truth", "labels", "--axes", "YX").code == 0


# -- label images -----------------------------------------------------------------------------------


def test_labels_keep_axes_and_voxel_size_and_are_what_python_finds(bench: Path, veriscope: Any) -> None:
    answer = veriscope("segment", "smooth.tif", "--out", "found.ome.tif", "--min-size", 5)
    assert answer.code == 0, answer.err
    assert "smooth.tif -> found.ome.tif: 6 objects" in answer.out
    found, image = vs.read_image("found.ome.tif"), vs.read_image("smooth.tif")
    assert (found.axes, found.voxel_size, found.dtype) == ("YX", (0.5, 0.5), np.uint16)
    assert_array_equal(found, segment.components(image, segment.automatic(image), 5))


def test_a_number_a_rule_and_the_other_options_reach_the_work(bench: Path, veriscope: Any) -> None:
    image = vs.read_image("noisy.tif")
    for words, expected in (
        (("--threshold", 45), segment.components(image, 45)),
        (("--threshold", "li", "--fill"), segment.components(image, segment.automatic(image, "li"), fill=True)),
        (("--threshold", -5), segment.components(image, -5)),
        (("--threshold", 35, "--split", 1, "--min-size", 8), segment.components(image, 35, 8, split=1)),
        (("--cells", 0.1, "--smooth", 3), segment.cells(image, 3, 0.1)),
    ):
        answer = veriscope("segment", "noisy.tif", "--out", "found.tif", "--overwrite", *words)
        assert answer.code == 0, answer.err
        assert_array_equal(vs.read_image("found.tif"), expected)


def test_movies_are_segmented_frame_by_frame_and_one_channel_can_be_picked(bench: Path, veriscope: Any) -> None:
    answer = veriscope("segment", "movie.tif", "two.tif", "--out", "found", "--smooth", 1, "--channel", 0)
    assert answer.code == 0, answer.err
    assert "at most 6 objects in a frame" in answer.out
    movie = vs.read_image("found/movie.ome.tif")
    assert (movie.axes, movie.time_step, movie.array.max()) == ("TYX", 2.0, 6)
    soft = np.stack(
        [ndimage.gaussian_filter(frame.astype(np.float32), 1) for frame in vs.read_image("movie.tif").array]
    )
    assert_array_equal(movie.array[1], segment.components(soft[1], segment.automatic(soft)))  # blurred in space only
    assert vs.read_image("found/two.ome.tif").axes == "YX"


def test_axes_can_be_told_and_labels_need_no_channels(bench: Path, veriscope: Any) -> None:
    plain = vs.read_image("two.tif").array
    tifffile.imwrite("plain.tif", plain, metadata=None)
    assert "does not state" in veriscope("segment", "plain.tif", "--out", "x.tif").err
    words = ("--axes", "CYX", "--channel", 0, "--truth", "truth.tif", "--smooth", 1)
    answer = veriscope("segment", "plain.tif", "--out", "x.tif", *words)
    assert answer.code == 0, answer.err
    assert "6 of 6" in answer.out


def test_help_comes_with_examples(veriscope: Any) -> None:
    answer = veriscope("segment", "--help")
    assert answer.code == 0
    assert "veriscope segment" in answer.out.split("Examples")[1]


def test_the_rules_told_are_those_there_are(bench: Path, veriscope: Any) -> None:
    told = veriscope("segment", "noisy.tif", "--out", "x.tif", "--threshold", "bright").err
    for rule in segment.AUTOMATIC:
        assert rule in told
        assert veriscope("segment", "noisy.tif", "--out", f"{rule}.tif", "--threshold", rule).code == 0


def test_many_objects_need_more_than_sixteen_bits(bench: Path, veriscope: Any) -> None:
    points = np.zeros((1030, 514), np.uint8)
    points[::2, ::2] = points[1::2, 1::2] = 1
    tifffile.imwrite("points.tif", points)
    assert veriscope("segment", "points.tif", "--out", "found.ome.tif", "--threshold", 0.5).code == 0
    found = tifffile.imread("found.ome.tif")
    assert (found.dtype, found.max()) == (np.uint32, points.sum())


def test_an_image_without_objects_is_written_and_said(bench: Path, veriscope: Any) -> None:
    answer = veriscope("segment", "noisy.tif", "--out", "found.tif", "--threshold", 1e6)
    assert answer.code == 0
    assert "No objects were found in noisy.tif" in answer.err
    assert vs.read_image("found.tif").array.max() == 0


# -- comparing --------------------------------------------------------------------------------------


def test_scores_are_those_of_python(bench: Path, veriscope: Any) -> None:
    answer = veriscope("segment", "day", "--truth", "labels", "--smooth", 1, "--iou", 0.7, "--table", "scores.csv")
    assert answer.code == 0, answer.err
    image = vs.read_image("day/a.tif")
    soft = ndimage.gaussian_filter(image.array.astype(np.float32), 1)
    expected = objects.scores(squares(), segment.components(soft, segment.automatic(soft)), iou=0.7)
    rows = list(csv.DictReader(Path("scores.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == ["a.tif", "b.tif"]
    assert rows[0]["seg"] == f"{expected.seg:.6g}"
    assert rows[0]["average_precision"] == f"{expected.average_precision:.6g}"
    assert (rows[0]["truth"], rows[0]["found"]) == (str(expected.truth), str(expected.found))
    assert f"{expected.seg:.3f}" in answer.out
    assert not list(bench.glob("**/*.ome.tif"))  # nothing was asked to be written


def test_a_sweep_compares_images_of_one_field_and_draws_it(bench: Path, veriscope: Any) -> None:
    words = ("--truth", "truth.tif", "--sweep", 12, "--plot", "curves.svg", "--table", "curves.csv", "--out", "best")
    answer = veriscope("segment", "noisy.tif", "smooth.tif", *words, "--jaccard", "--min-size", 3)
    assert answer.code == 0, answer.err
    rows = list(csv.DictReader(Path("curves.csv").read_text().splitlines()))
    assert len(rows) == 2 * 12
    best = max(float(row["seg"]) for row in rows if row["image"] == "noisy.tif")
    labels, truth = vs.read_image("best/noisy.ome.tif"), vs.read_image("truth.tif")
    assert abs(objects.seg(truth, labels) - best) < 1e-5  # the labels written are those of the best threshold
    assert_array_equal(vs.read_image("best/noisy.jaccard.ome.tif"), objects.jaccard_image(truth, labels))
    ET.parse("curves.svg")
    assert "smooth.tif" in answer.out
    assert answer.out.index("Plot:") < answer.out.index("best/noisy.ome.tif")


def test_scores_of_the_others_are_told_where_one_image_fails(bench: Path, veriscope: Any) -> None:
    tifffile.imwrite("day/aa.tif", np.full(squares().shape, 7, np.uint16))
    tifffile.imwrite("labels/aa.tif", squares())
    answer = veriscope("segment", "day", "--truth", "labels", "--smooth", 1, "--table", "scores.csv")
    assert answer.code == 2
    assert "day/aa.tif: The image is constant (7)" in answer.err
    assert "1 of 3 images" in answer.err
    assert [row["image"] for row in csv.DictReader(Path("scores.csv").read_text().splitlines())] == ["a.tif", "b.tif"]
    assert "b.tif" in answer.out


def test_a_mask_as_truth_is_noticed_and_the_way_out_works(bench: Path, veriscope: Any) -> None:
    tifffile.imwrite("mask.tif", np.where(squares() > 0, 255, 0).astype(np.uint8))
    answer = veriscope("segment", "noisy.tif", "smooth.tif", "--truth", "mask.tif", "--smooth", 1)
    assert answer.code == 0, answer.err
    assert answer.err.count("mask.tif is a mask rather than a label image: its 6 pieces") == 1
    way_out = answer.err.split("To number them: veriscope ")[1].split()
    assert veriscope(*way_out).code == 0
    assert_array_equal(tifffile.imread("numbered.tif"), squares())
    assert "mask" not in veriscope("segment", "noisy.tif", "--truth", "numbered.tif", "--smooth", 1).err


def test_a_problem_names_its_file_once(bench: Path, veriscope: Any) -> None:
    tifffile.imwrite("plain.tif", np.zeros((5, 9, 9), np.uint8), metadata=None)
    assert veriscope("segment", "plain.tif", "--out", "x.tif").err.count("plain.tif") == 1


# -- following --------------------------------------------------------------------------------------


def test_objects_of_a_movie_keep_their_numbers_where_that_is_asked(bench: Path, veriscope: Any) -> None:
    truth = np.stack([np.roll(squares(), 2 * frame, axis=1) for frame in range(3)])
    vs.save_image("moving.tif", vs.Image((40 * (truth > 0)).astype(np.uint8), "TYX", (0.5, 0.5), 2.0))
    vs.save_image("cells.tif", vs.Image(truth, "TYX"))
    words = ("--threshold", 20, "--truth", "cells.tif", "--table", "scores.csv")
    answer = veriscope("segment", "moving.tif", "--out", "tracks.ome.tif", "--track", *words)
    assert answer.code == 0, answer.err
    assert "6 tracks through 3 frames" in answer.out
    found = vs.read_image("tracks.ome.tif")
    assert (found.axes, found.voxel_size, found.time_step) == ("TYX", (0.5, 0.5), 2.0)
    assert_array_equal(found, truth)
    row = next(csv.DictReader(Path("scores.csv").read_text().splitlines()))
    assert (row["tracks_cells"], row["tracks_frames"], row["tracks_recall"]) == ("6", "3", "1")
    assert "3.0 of 3.0" in answer.out
    assert "one by one" not in answer.err
    turned = (truth + np.array([0, 2, 4]).reshape(3, 1, 1)) % 6 + 1
    vs.save_image("shuffled.tif", vs.Image(np.where(truth > 0, turned, 0).astype(np.uint8), "TYX"))
    shuffled = veriscope("segment", "moving.tif", "--threshold", 20, "--truth", "shuffled.tif", "--track")
    assert "shuffled.tif a number is seldom at the same place" in shuffled.err
    assert veriscope("segment", "moving.tif", *words, "--overwrite").code == 0
    assert "tracks_cells" not in Path("scores.csv").read_text()


def test_a_sweep_can_be_tracked_at_its_best(bench: Path, veriscope: Any) -> None:
    vs.save_image("cells.tif", vs.Image(np.stack([squares(), squares()[::-1]]), "TYX"))
    words = ("--truth", "cells.tif", "--sweep", 5, "--smooth", 1, "--out", "best", "--track")
    answer = veriscope("segment", "movie.tif", *words)
    assert answer.code == 0, answer.err
    assert "through 2 frames" in answer.out
    assert "Followed from frame to frame" in answer.out


# -- learning ---------------------------------------------------------------------------------------


def test_what_is_learnt_can_be_kept_and_used_again(bench: Path, veriscope: Any) -> None:
    learn = ("--train", "day", "--labels", "labels", "--trees", 10, "--keep", "squares.safetensors")
    answer = veriscope("segment", "noisy.tif", "--out", "one.tif", *learn, "--truth", "truth.tif", "--min-size", 9)
    assert answer.code == 0, answer.err
    assert objects.seg(squares(), tifffile.imread("one.tif")) > 0.9
    again = ("--classifier", "squares.safetensors", "--min-size", 9)
    assert veriscope("segment", "noisy.tif", "--out", "two.tif", *again, "--overwrite").code == 0
    assert_array_equal(tifffile.imread("one.tif"), tifffile.imread("two.tif"))


def test_strokes_are_enough(bench: Path, veriscope: Any) -> None:
    strokes = np.zeros(squares().shape, np.uint8)
    strokes[8] = np.where(squares()[8] > 0, 2, 1)
    strokes[0] = 1
    tifffile.imwrite("strokes.tif", strokes)
    learn = ("--train", "noisy.tif", "--labels", "strokes.tif", "--strokes", "--trees", 10)
    assert veriscope("segment", "noisy.tif", "--out", "one.tif", *learn, "--min-size", 9).code == 0
    assert objects.seg(squares(), tifffile.imread("one.tif")) > 0.7


# -- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("noisy.tif", "nothing to do: give --out"),
        ("absent.tif --out x.tif", "'absent.tif' does not exist"),
        ("noisy.tif --out truth.tif", "truth.tif exists already"),
        ("noisy.tif --out noisy.tif --overwrite", "would replace its own input"),
        ("noisy.tif --out truth.tif --truth truth.tif --overwrite", "would replace the true labels"),
        ("noisy.tif --out x.png", "cannot be written"),
        ("noisy.tif --out x.tif --threshold bright", "neither a number nor a rule"),
        ("noisy.tif --out x.tif --threshold nan", "neither a number nor a rule"),
        ("noisy.tif --out x.tif --split 0", "--split 0 is not possible"),
        ("noisy.tif --out x.tif --cells 2", "--cells 2 is not possible"),
        ("noisy.tif --out x.tif --smooth -1", "--smooth -1 is not possible"),
        ("noisy.tif --out x.tif --min-size -1", "--min-size -1 is not possible"),
        ("noisy.tif --out x.tif --format png", "--format png is not known"),
        ("noisy.tif --out x.tif --channel 3", "has 1 channel, counted from 0"),
        ("noisy.tif --out x.tif --cells 0.1 --split 1", "--cells and --split contradict"),
        ("noisy.tif --out x.tif --jaccard", "--jaccard needs --truth"),
        ("noisy.tif --truth truth.tif --iou 0", "--iou 0 is not possible"),
        ("noisy.tif --truth smooth.tif", "smooth.tif is not a label image: its pixels are float32"),
        ("noisy.tif --truth movie.tif", "same shape, but they have as TYX 2 x"),
        ("noisy.tif --truth labels", "no labels for noisy.tif"),
        ("noisy.tif --truth empty.tif --sweep 3", "truth holds no objects"),
        ("noisy.tif --truth truth.tif --plot x.svg", "--plot needs --sweep"),
        ("noisy.tif --truth truth.tif --sweep 0", "--sweep 0 is not possible"),
        ("noisy.tif --truth truth.tif --sweep 3 --threshold 5", "--sweep and --threshold contradict"),
        ("noisy.tif --truth truth.tif --sweep 3 --plot x.pdf", "--plot x.pdf is written as .svg or .png"),
        (
            "noisy.tif --truth truth.tif --table absent/x.csv",
            "--table absent/x.csv cannot be written: there is no folder",
        ),
        ("noisy.tif --out x.tif --track", "--track follows objects from frame to frame of a movie"),
        ("two.tif --out x.tif --track", "CYX. Leave it out, or choose a --channel"),
        ("movie.tif --truth truth.tif --sweep 3 --track", "--track with --sweep needs --out"),
        ("noisy.tif --out x.tif --train noisy.tif --labels negative.tif", "negative.tif holds -3"),
        ("noisy.tif --out x.tif --train day", "--train needs --labels"),
        ("noisy.tif --out x.tif --train day --labels truth.tif", "no labels for a.tif"),
        ("noisy.tif --out x.tif --train noisy.tif --labels movie.tif", "must have the shape of their image"),
        ("noisy.tif --out x.tif --train noisy.tif --labels truth.tif --strokes", "hold 0 (unknown)"),
        ("noisy.tif --out x.tif --train noisy.tif --labels truth.tif --split 1", "--train and --split contradict"),
        ("noisy.tif --out x.tif --classifier truth.tif", "truth.tif is no pixel classifier"),
        ("constant.tif --out x.tif", "constant (7)"),
        ("two.tif --truth truth.tif --train two.tif --labels two.tif", "looks at one channel"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(bench: Path, veriscope: Any, words: str, says: str) -> None:
    tifffile.imwrite("constant.tif", np.full((20, 20), 7, np.uint8))
    tifffile.imwrite("negative.tif", np.full(squares().shape, -3, np.int16))
    tifffile.imwrite("empty.tif", np.zeros(squares().shape, np.uint8))
    before = {path: path.stat().st_mtime_ns for path in bench.glob("**/*")}
    answer = veriscope("segment", *words.split())
    assert answer.code == 2, answer.out
    assert says in answer.err.replace("\n", " ")
    assert "Traceback" not in answer.err
    assert {path: path.stat().st_mtime_ns for path in bench.glob("**/*")} == before


def test_one_bad_image_does_not_stop_the_others(bench: Path, veriscope: Any) -> None:
    (bench / "day" / "aa.tif").write_bytes(b"not an image")
    answer = veriscope("segment", "day", "--out", "found")
    assert answer.code == 2
    assert "1 of 3 images could not be segmented: day/aa.tif" in answer.err
    assert sorted(path.name for path in Path("found").iterdir()) == ["a.ome.tif", "b.ome.tif"]
