"""The command line at work: train, restore, judge, info; interrupted, resumed, planned, replaced."""

from __future__ import annotations

import csv
import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import veriscope as vs
from veriscope.reporting.movie import samples
from veriscope.training.progress import Step

TINY = shlex.split("--depth 1 --base 2 --batch 2 --patch 16,16 --per-image 2 --members 2 --device cpu")


def losses(model: Path) -> list[tuple[str, ...]]:
    """What was logged of each round, without the time it took."""
    with open(model / "log.csv", newline="") as file:
        return [(row["member"], row["step"], row["loss"], row["check_loss"]) for row in csv.DictReader(file)]


# Helping


def test_version_and_help(veriscope: Any) -> None:
    assert veriscope("--version").out.strip() == f"veriscope {vs.__version__}"
    assert veriscope().out == veriscope("--help").out
    assert veriscope("-h").code == 0


@pytest.mark.parametrize("command", ["train", "restore", "judge", "cross", "info", "demo"])
def test_each_command_explains_itself_with_examples(command: str, veriscope: Any) -> None:
    answer = veriscope(command, "--help")
    assert answer.code == 0
    assert "Examples" in answer.out
    assert f"veriscope {command}" in answer.out.split("Examples")[1]


# The whole way


def test_train_restore_judge_info(desk: Path, veriscope: Any) -> None:
    trained = veriscope("train", "low", "high", "--axes", "YX", "--out", "fresh", "--epochs", 2, *TINY)
    assert trained.code == 0, trained.err
    assert "4 (3 to train, 1 to check)" in trained.out
    assert "veriscope restore" in trained.out
    assert len(vs.load("fresh")) == 2
    assert (desk / "fresh" / "log.csv").exists()

    restored = veriscope("restore", "new.tif", "--model", "fresh", "--out", "new.ome.tif")
    assert restored.code == 0, restored.err
    image = vs.read_image("new.ome.tif")
    assert (image.axes, image.shape, str(image.dtype)) == ("YX", (45, 37), "float32")
    np.testing.assert_allclose(image, vs.restore(vs.read_image("new.tif"), vs.load("fresh")).mean, rtol=1e-5)

    judged = veriscope("judge", "low", "high", "--model", "fresh", "--report", "report.html")
    assert judged.code == 0, judged.err
    for word in ("NRMSE", "PSNR", "SSIM", "cell0", "cell3"):
        assert word in judged.out
    assert "<html" in (desk / "report.html").read_text(encoding="utf-8").lower()

    told = veriscope("info", "fresh")
    assert told.code == 0
    for words in ("depth 1", "base 2", "cell", "per member", "reach"):
        assert words in told.out


def test_training_twice_with_a_seed_gives_the_same_losses(desk: Path, veriscope: Any) -> None:
    for out in ("one", "two"):
        assert veriscope("train", "low", "high", "--out", out, "--epochs", 1, "--seed", 5, *TINY).code == 0
    assert losses(desk / "one") == losses(desk / "two")


def test_a_budget_in_minutes_is_kept_to(desk: Path, veriscope: Any) -> None:
    answer = veriscope("train", "low", "high", "--out", "quick", "--minutes", 0.02, *TINY)
    assert answer.code == 0, answer.err
    assert "0.02 minutes in all" in answer.out
    assert len(vs.load("quick")) == 2


def test_overwrite_replaces_a_model(desk: Path, veriscope: Any) -> None:
    before = (desk / "model" / "recipe.json").read_text()
    words = ["train", "low", "high", "--out", "model", "--epochs", 1, *TINY]
    assert veriscope(*words).code == 2
    assert veriscope(*words, "--overwrite").code == 0
    assert (desk / "model" / "recipe.json").read_text() != before


def test_one_pair_of_files_is_cut_for_checking(desk: Path, veriscope: Any) -> None:
    answer = veriscope("train", "low/cell0.tif", "high/cell0.tif", "--out", "one", "--epochs", 1, *TINY)
    assert answer.code == 0, answer.err
    assert "one pair only" in answer.err


def test_a_preset_is_the_networks_of_the_paper(desk: Path, veriscope: Any) -> None:
    small = shlex.split("--base 2 --batch 2 --patch 16,16 --per-image 2 --members 1 --epochs 1 --device cpu")
    answer = veriscope("train", "low", "high", "--out", "paper", "--preset", "hela", *small)
    assert answer.code == 0, answer.err
    recipe = vs.load("paper").recipe
    assert (recipe.kernel, recipe.depth, recipe.schedule) == (5, 2, "plateau")


def test_the_fast_preset_is_a_small_network_with_the_usual_training(desk: Path, veriscope: Any) -> None:
    words = shlex.split("--preset fast --batch 2 --patch 16,16 --per-image 2 --members 1 --epochs 1 --device cpu")
    answer = veriscope("train", "low", "high", "--out", "fast", *words)
    assert answer.code == 0, answer.err
    found, usual = vs.load("fast").recipe, vs.Recipe("YX")
    assert found.base < usual.base
    assert found.schedule == usual.schedule
    assert found == vs.Recipe.fast("YX", batch=2, patch=(16, 16), depth=found.depth)


@pytest.mark.parametrize("loss", ["mae", "mse"])
def test_other_losses_predict_the_image_only(loss: str, desk: Path, veriscope: Any) -> None:
    answer = veriscope("train", "low", "high", "--out", loss, "--epochs", 1, "--loss", loss, "--stem", 2, *TINY)
    assert answer.code == 0, answer.err
    recipe = vs.load(loss).recipe
    assert not recipe.probabilistic
    assert recipe.stem == 2


# Stopping


def type_in_a_process(words: list[object], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "veriscope.apps.cli", *map(str, words)]
    return subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_heeding_ctrl_c
    )


def _heeding_ctrl_c() -> None:
    """A shell makes its background jobs, and so perhaps these tests, deaf to Ctrl-C; a typed command is not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_keeps_its_weights_and_goes_on(how: signal.Signals, desk: Path, veriscope: Any) -> None:
    words = ["train", "low", "high", "--out", "stopped", "--epochs", 400, *TINY, "--members", 1]
    process = type_in_a_process(words, desk)
    told = desk / "stopped" / "recipe.json"  # replaced as a whole, so never half there
    for _ in range(600):
        if (told.exists() and json.loads(told.read_text())["members"] == 1) or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped: " in err
    assert "--resume" in err
    assert "Traceback" not in err
    assert len(vs.load(desk / "stopped")) == 1

    short = [word if word != 400 else 3 for word in words]
    assert "epochs" in veriscope(*short, "--resume").err  # another length is another training


def test_a_resumed_training_has_the_losses_of_an_uninterrupted_one(
    desk: Path, veriscope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "low", "high", "--epochs", 4, *TINY, "--out"]
    assert veriscope(*words, "whole").code == 0

    from veriscope.apps import train

    def interrupting() -> Callable[[Step], None]:
        def listen(report: Step) -> None:
            if report.member == 1 and report.step == 6:
                raise KeyboardInterrupt

        return listen

    with monkeypatch.context() as patched:
        patched.setattr(train, "LogLines", interrupting)
        stopped = veriscope(*words, "parts")
    assert stopped.code == 130
    assert "continue with --resume" in stopped.err
    assert veriscope(*words, "parts", "--resume").code == 0
    assert losses(desk / "parts") == losses(desk / "whole")
    for a, b in zip(vs.load("whole").members, vs.load("parts").members, strict=True):
        for name, weights in a.state_dict().items():
            assert weights.equal(b.state_dict()[name])


def test_a_training_interrupted_before_its_first_figures_is_not_in_the_way(
    desk: Path, veriscope: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from veriscope.apps import train

    def interrupt(step: Step) -> None:
        raise KeyboardInterrupt

    words = ["train", "low", "high", "--epochs", 1, *TINY, "--out", "new/model"]
    with monkeypatch.context() as patched:
        patched.setattr(train, "LogLines", lambda: interrupt)
        stopped = veriscope(*words)
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1] == "stopped: nothing had been learned yet, so nothing was left behind."
    assert not (desk / "new").exists()
    assert veriscope(*words).code == 0


def test_interrupted_restoring_leaves_nothing(desk: Path, veriscope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from veriscope.restoring import tofile

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tofile, "restore_to_file", interrupt)
    answer = veriscope("restore", "new.tif", "--model", "model", "--out", "new.ome.tif")
    assert answer.code == 130
    assert answer.err.strip() == "stopped: nothing unfinished was left behind."


def test_the_log_of_a_cluster_gets_lines_instead_of_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    from veriscope.apps.train import LogLines

    report = Step(0, 2, 30, 100, 0.15, -1.5, -1.25, -1.25, 12.5, 125.0)
    LogLines(every=60)(report)
    assert capsys.readouterr().err == ""
    LogLines(every=0)(report)
    assert capsys.readouterr().err.strip() == (
        "member 1 of 2, step 30 of 100, check -1.250, 12.5 patches/s, 2 min left"
    )


# Restoring


def test_all_results_are_written_side_by_side(desk: Path, veriscope: Any) -> None:
    asked = ("--scale", "--interval", 0.9, "--probability", 50, "--entropy", "--disagreement")
    answer = veriscope("restore", "low", "--model", "model", "--out", "done", *asked)
    assert answer.code == 0, answer.err
    kinds = ("", ".scale", ".lower", ".upper", ".probability", ".entropy", ".disagreement")
    assert sorted(path.name for path in (desk / "done").iterdir()) == sorted(
        f"cell{number}{end}" for number in range(4) for end in [*(f"{kind}.ome.tif" for kind in kinds), ".trust.json"]
    )
    found = [np.asarray(vs.read_image(f"done/cell0{kind}.ome.tif")) for kind in kinds]
    mean, scale, lower, upper, probability, entropy, disagreement = found
    assert (lower <= mean).all()
    assert (mean <= upper).all()
    assert (scale > 0).all()
    assert ((probability > 0) & (probability < 1)).all()
    assert ((disagreement >= 0) & (disagreement <= 1)).all()
    assert np.isfinite(entropy).all()


def test_files_folders_and_patterns_are_restored_once_each(desk: Path, veriscope: Any) -> None:
    answer = veriscope("restore", "new.tif", "low/*0.tif", "low/cell0.tif", "--model", "model", "--out", "done")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in (desk / "done").glob("*.tif")) == ["cell0.ome.tif", "new.ome.tif"]


def test_zarr_out_keeps_axes_voxel_size_and_time_step(desk: Path, veriscope: Any) -> None:
    answer = veriscope("restore", "movie.tif", "--model", "model", "--out", "done", "--format", "zarr")
    assert answer.code == 0, answer.err
    movie = vs.read_image("done/movie.ome.zarr")
    assert movie.axes == "TYX"
    assert movie.voxel_size == pytest.approx((0.1, 0.1))
    assert movie.time_step == pytest.approx(2.5)


def test_fiji_reads_a_tif(desk: Path, veriscope: Any) -> None:
    assert veriscope("restore", "movie.tif", "--model", "model", "--out", "movie-restored.tif").code == 0
    with tifffile.TiffFile("movie-restored.tif") as file:
        assert file.is_imagej
        assert file.series[0].axes == "TYX"


def test_integers_are_clipped_and_the_user_is_told(desk: Path, veriscope: Any) -> None:
    answer = veriscope("restore", "new.tif", "--model", "model", "--out", "out", "--dtype", "uint8")
    assert answer.code == 0, answer.err
    assert vs.read_image("out/new.ome.tif").dtype == np.uint8
    assert "clipped" in answer.err


def test_intensities_can_stay_normalised(desk: Path, veriscope: Any) -> None:
    for option in ("--undo", "--keep-normalized"):
        assert veriscope("restore", "new.tif", "--model", "model", "--out", option[2:], option).code == 0
    undone, kept = (np.asarray(vs.read_image(f"{name}/new.ome.tif")) for name in ("undo", "keep-normalized"))
    assert np.abs(kept).max() < 20 < undone.mean()
    np.testing.assert_allclose(np.corrcoef(undone.ravel(), kept.ravel())[0, 1], 1, atol=1e-4)


def test_tiles_do_not_change_the_result(desk: Path, veriscope: Any) -> None:
    for tile in ("8", "16,24"):
        assert veriscope("restore", "new.tif", "--model", "model", "--out", f"t{tile}", "--tile", tile).code == 0
    assert veriscope("restore", "new.tif", "--model", "model", "--out", "whole").code == 0
    whole = np.asarray(vs.read_image("whole/new.ome.tif"))
    for tile in ("8", "16,24"):
        np.testing.assert_allclose(vs.read_image(f"t{tile}/new.ome.tif"), whole, atol=1e-5 * np.ptp(whole))


def test_a_dry_run_shows_the_plan_and_writes_nothing(desk: Path, veriscope: Any) -> None:
    before = sorted(desk.rglob("*"))
    answer = veriscope("restore", "new.tif", "--model", "model", "--out", "out", "--dry-run", "--tile", 16, "--scale")
    assert answer.code == 0, answer.err
    for words in ("new.tif", "YX 45 x 37", "16 x 16", "new.ome.tif", "new.scale.ome.tif", "%"):
        assert words in answer.out
    assert sorted(desk.rglob("*")) == before


def test_an_image_smaller_than_a_patch_is_restored(desk: Path, veriscope: Any) -> None:
    tifffile.imwrite("small.tif", np.arange(15, dtype=np.uint16).reshape(3, 5))
    assert veriscope("restore", "small.tif", "--model", "model", "--out", "out").code == 0
    assert vs.read_image("out/small.ome.tif").shape == (3, 5)


def test_overwrite_replaces_a_result(desk: Path, veriscope: Any) -> None:
    words = ["restore", "new.tif", "--model", "model", "--out", "out"]
    assert veriscope(*words).code == 0
    tifffile.imwrite("out/new.ome.tif", np.zeros((2, 2), np.uint8))
    assert veriscope(*words).code == 2
    assert veriscope(*words, "--overwrite").code == 0
    assert vs.read_image("out/new.ome.tif").shape == (45, 37)


def test_one_bad_image_among_many_does_not_stop_the_others(desk: Path, veriscope: Any) -> None:
    tifffile.imwrite("low/cell1.tif", np.zeros((48, 40), np.uint16))
    answer = veriscope("restore", "low", "--model", "model", "--out", "done")
    assert answer.code == 2
    assert "cell1.tif" in answer.err
    assert "1 of 4 images could not be restored" in answer.err
    assert sorted(path.name for path in (desk / "done").glob("*.tif")) == [f"cell{n}.ome.tif" for n in (0, 2, 3)]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_images_of_a_wrong_kind_are_listed_and_the_others_done(
    dry: tuple[str, ...], desk: Path, veriscope: Any
) -> None:
    """What a model cannot restore, and what cannot be read, each with its reason."""
    pixels = np.random.default_rng(0).integers(0, 900, (2, 48, 40), np.uint16)
    tifffile.imwrite("low/stack.tif", pixels, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite("low/channels.tif", pixels, imagej=True, metadata={"axes": "CYX"})
    Path("low/text.tif").write_text("nothing")
    answer = veriscope("restore", "low", "--model", "model", "--out", "done", *dry)
    assert answer.code == 2
    assert "3 of 7 images could not be " + ("planned" if dry else "restored") in answer.err
    for words in ("stack.tif: This model restores planes", "channels.tif: This model was trained on", "text.tif"):
        assert words in answer.err
    if dry:
        assert all(f"cell{number}.tif" in answer.out for number in range(4))
    else:
        assert sorted(path.name for path in Path("done").glob("*.tif")) == [f"cell{n}.ome.tif" for n in range(4)]


@pytest.mark.parametrize("out", ["out.ome.tif", "out.ome.zarr", "out.tif"])
def test_a_full_disk_leaves_no_result(out: str, desk: Path, veriscope: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from veriscope.images import writing

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writing.Writer, "write", full)
    before = sorted(desk.rglob("*"))
    answer = veriscope("restore", "new.tif", "--model", "model", "--out", out)
    assert answer.code == 2
    assert "full" in answer.err.lower() or "space" in answer.err.lower()
    assert "Traceback" not in answer.err
    assert sorted(desk.rglob("*")) == before


# Telling


def test_info_tells_axes_voxel_size_type_and_percentiles(desk: Path, veriscope: Any) -> None:
    answer = veriscope("info", "movie.tif")
    assert answer.code == 0, answer.err
    for words in ("TYX", "3 x 20 x 24", "0.1 x 0.1 um", "uint16", "2.5 s", "99.8 %"):
        assert words in answer.out
    assert "99.8 %" not in veriscope("info", "movie.tif", "--quick").out


def test_info_tells_of_a_model_what_it_was_trained_on(desk: Path, veriscope: Any) -> None:
    answer = veriscope("info", "model3d")
    for words in ("3D U-Net (ZYX)", "mean and scale", "members", "reach", "a, b, c", "0 to 5000", "check loss"):
        assert words in answer.out


def test_the_report_is_replaced_only_when_asked(desk: Path, veriscope: Any) -> None:
    Path("r.html").write_text("mine")
    words = ["judge", "low", "high", "--model", "model", "--report", "r.html"]
    assert veriscope(*words).code == 2
    assert Path("r.html").read_text() == "mine"
    assert veriscope(*words, "--overwrite").code == 0
    assert "<html" in Path("r.html").read_text().lower()


def test_a_movie_of_samples_is_written_beside_the_report(desk: Path, veriscope: Any) -> None:
    words = ["judge", "low", "high", "--model", "model", "--frames", 3, "--movie"]
    told = veriscope(*words, "samples.tif", "--report", "r.html")
    assert told.code == 0, told.err
    assert f"Movie: {desk / 'samples.tif'}" in told.out
    drawn, model = vs.read_image("samples.tif"), vs.load("model")
    assert (drawn.axes, drawn.shape) == ("TYX", (3, 48, 40))
    restored = vs.restore(vs.read_image("low/cell0.tif"), model)
    np.testing.assert_array_equal(drawn, samples(restored, 3))
    assert "image/webp" in Path("r.html").read_text(encoding="utf-8")
    assert veriscope(*words, "samples.gif").code == 0
    assert veriscope(*words, "samples.gif").code == 2
    assert veriscope(*words, "samples.gif", "--overwrite").code == 0


# Talking


def test_notes_of_ours_are_shown_and_warnings_of_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    from veriscope.apps import console
    from veriscope.errors import VeriscopeWarning

    with console.listening():
        warnings.warn("this is for you", VeriscopeWarning)
        warnings.warn("this is for programmers", DeprecationWarning)
    assert capsys.readouterr().err == "note: this is for you\n"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.tif"), "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "a.tif"), "Permission denied"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (MemoryError(), "memory"),
    ],
)
def test_what_the_system_refuses_becomes_a_message(
    problem: BaseException, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from veriscope.apps import console

    def work() -> None:
        raise problem

    assert console.answer(work) == 2
    assert said in capsys.readouterr().err


def test_a_mistake_in_our_program_is_not_hidden() -> None:
    from veriscope.apps import console

    with pytest.raises(ZeroDivisionError):
        console.answer(lambda: 1 / 0)


def test_only_the_first_process_of_a_team_speaks(desk: Path) -> None:
    words = [sys.executable, "-m", "veriscope.apps.cli", "info", "new.tif", "--quick"]
    done = subprocess.run(words, env={**os.environ, "RANK": "1"}, capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_the_log_of_a_model_can_be_read_by_any_program(desk: Path) -> None:
    assert json.loads(Path("model/recipe.json").read_text())["format"] == 1


# What can be trusted


def known_model(desk: Path, veriscope: Any) -> None:
    """A model that remembers its training images."""
    how = shlex.split("--depth 1 --base 2 --batch 2 --patch 16,16 --per-image 12 --members 2 --device cpu --axes YX")
    assert veriscope("train", "low", "high", "--out", "known", "--epochs", 2, *how).code == 0


def test_every_restoration_comes_with_a_verdict_and_a_mask_if_wanted(desk: Path, veriscope: Any) -> None:
    known_model(desk, veriscope)
    answer = veriscope("restore", "new.tif", "--model", "known", "--out", "checked", "--trust-mask")
    assert answer.code == 0, answer.err
    assert "ike the training images" in answer.out
    mask = vs.read_image("checked/new.trust-mask.ome.tif")
    assert (mask.axes, mask.shape, str(mask.dtype)) == ("YX", (45, 37), "uint8")
    assert "windows of 8 x 8 pixels" in veriscope("info", "known").out
    judged = veriscope("judge", "low", "high", "--model", "known", "--report", "known.html")
    assert "of 4 images are like the training images" in judged.out
    assert "Estimated without ground truth" in (desk / "known.html").read_text(encoding="utf-8")


def test_a_mask_needs_a_model_that_knows_its_training_images(desk: Path, veriscope: Any) -> None:
    answer = veriscope("restore", "new.tif", "--model", "model", "--out", "checked", "--trust-mask")
    assert answer.code == 2
    assert "does not know what its training images looked like" in answer.err
    assert not (desk / "checked").exists()


def test_models_and_data_sets_are_crossed(desk: Path, veriscope: Any) -> None:
    answer = veriscope("cross", "model", "plain", "--on", ".", "--on", "low,high", "--axes", "YX", "--out", "t.csv")
    assert answer.code == 0, answer.err
    with open(desk / "t.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert [row[:3] for row in rows[1:]] == [[m, d, "4"] for m in ("model", "plain") for d in (".", "low,high")]
    shutil.copytree("low", "other/low")
    named = veriscope(
        "cross", "model", "--on", "other/low,high", "--on", "./low,./high", "--axes", "YX", "--out", "n.csv"
    )
    assert named.code == 0, named.err
    with open(desk / "n.csv", newline="") as file:
        assert [row[1] for row in csv.reader(file)][1:] == ["other/low,high", "low,high"]
    again = veriscope("cross", "model", "--on", "low,high", "--axes", "YX", "--out", "t.csv")
    assert again.code == 2
    assert "--overwrite" in again.err
    assert veriscope("cross", "model", "--on", "low,high", "--axes", "YX", "--out", "t.json").code == 0
    assert json.loads((desk / "t.json").read_text())[0]["images"] == 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("nowhere", "LOW,HIGH"),
        ("low", "holds no pairs"),
        ("low,high,low", "LOW,HIGH"),
        ("low,nowhere", "nowhere"),
    ],
)
def test_data_sets_that_are_none_are_named(data: str, words: str, desk: Path, veriscope: Any) -> None:
    answer = veriscope("cross", "model", "--on", data, "--axes", "YX")
    assert answer.code == 2
    assert words in answer.err


def test_crossing_tables_have_a_known_ending(desk: Path, veriscope: Any) -> None:
    answer = veriscope("cross", "model", "--on", "low,high", "--axes", "YX", "--out", "t.xlsx")
    assert answer.code == 2
    assert ".csv or .json" in answer.err
