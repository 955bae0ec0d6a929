"""restore_to_file writes what restore gives, never holds the image, and leaves nothing behind when it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from veriscope.errors import AxesError, DataError, ModelError, OutputError, VeriscopeError
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.networks.model import Ensemble
from veriscope.normalize import Normalization
from veriscope.restoring import tofile
from veriscope.restoring.frames import chunk
from veriscope.restoring.restore import restore
from veriscope.restoring.tofile import restore_to_file

Make = Callable[..., Any]


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".ome.zarr"])
def test_files_hold_what_restore_gives(ensemble: Ensemble, noise: Make, tmp_path: Path, suffix: str) -> None:
    image = Image(noise((3, 41, 50), "uint16"), "TYX", voxel_size=(0.2, 0.2), time_step=2.0)
    expected = restore(image, ensemble)
    kinds = ("mean", "scale", "lower", "upper", "probability", "entropy", "disagreement")
    names = {kind: tmp_path / f"{kind}{suffix}" for kind in kinds}
    report = restore_to_file(
        image,
        ensemble,
        names["mean"],
        scale=names["scale"],
        interval=(0.9, names["lower"], names["upper"]),
        probability=(20.0, names["probability"]),
        entropy=names["entropy"],
        disagreement=names["disagreement"],
        tile=16,
    )
    images = (
        expected.mean,
        expected.scale,
        *expected.interval(0.9),
        expected.probability(20.0),
        expected.entropy(),
        expected.disagreement(),
    )
    for kind, wanted in zip(kinds, images, strict=True):
        found = read_image(names[kind])
        assert (found.axes, found.shape, found.dtype) == ("TYX", (3, 41, 50), np.float32)
        assert found.voxel_size == pytest.approx((0.2, 0.2))
        assert found.time_step == pytest.approx(2.0)
        np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-4, atol=1e-3)
    assert [output.kind for output in report.outputs] == list(kinds)
    assert (report.clipped, report.tiles, report.voxels) == (0, 3 * 3 * 4, 3 * 41 * 50)
    assert str(names["mean"]) in str(report)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in names.values())


@pytest.mark.parametrize("axes", ["YXC", "XCY", "CYX"])
def test_axes_in_any_order_and_channels_that_appear(
    make_ensemble: Make, noise: Make, tmp_path: Path, axes: str
) -> None:
    model = make_ensemble(channels_in=2, channels_out=2)
    image = Image(noise((2, 13, 20)), "CYX").moved(axes)
    restore_to_file(image, model, tmp_path / "out.ome.zarr", tile=8)
    found = read_image(tmp_path / "out.ome.zarr")
    expected = restore(image, model)
    assert expected.mean.axes == axes
    np.testing.assert_allclose(np.asarray(found.moved(axes)), np.asarray(expected.mean), rtol=1e-5, atol=1e-6)

    split = make_ensemble(channels_out=3)
    one = Image(noise((2, 13, 20)), "TYX")
    restore_to_file(one, split, tmp_path / "split.ome.zarr", tile=8, undo=False)
    found = read_image(tmp_path / "split.ome.zarr")
    assert found.axes == "TCYX"
    np.testing.assert_allclose(
        np.asarray(found), np.asarray(restore(one, split, undo=False).mean), rtol=1e-5, atol=1e-6
    )


def test_stacks(make_ensemble: Make, noise: Make, tmp_path: Path) -> None:
    model = make_ensemble("ZYX")
    image = Image(noise((9, 21, 18)), "ZYX", voxel_size=(1.0, 0.5, 0.5))
    restore_to_file(image, model, tmp_path / "out.ome.tif", tile=(4, 8, 8))
    found = read_image(tmp_path / "out.ome.tif")
    assert found.voxel_size == pytest.approx((1.0, 0.5, 0.5))
    np.testing.assert_allclose(np.asarray(found), np.asarray(restore(image, model).mean), rtol=1e-4, atol=1e-5)


def test_integers_are_rounded_and_clipped_and_what_was_lost_is_counted(
    ensemble: Ensemble, noise: Make, tmp_path: Path
) -> None:
    image = Image(noise((40, 40), "uint16"), "YX")
    exact = np.asarray(restore(image, ensemble).mean)
    report = restore_to_file(image, ensemble, tmp_path / "out.tif", dtype="uint8", scale=tmp_path / "scale.tif")
    found = np.asarray(read_image(tmp_path / "out.tif"))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.clip(np.rint(exact), 0, 255))
    lost = int(np.count_nonzero((np.rint(exact) < 0) | (np.rint(exact) > 255)))
    assert lost > 0
    assert report.outputs[0].clipped == lost
    assert report.clipped == sum(output.clipped for output in report.outputs)
    assert f"{lost:,} of 1,600 values clipped" in str(report)


def test_shares_stay_floats_beside_integers(ensemble: Ensemble, noise: Make, tmp_path: Path) -> None:
    image = Image(noise((40, 40), "uint16"), "YX")
    names = {kind: tmp_path / f"{kind}.tif" for kind in ("entropy", "disagreement")}
    restore_to_file(
        image, ensemble, tmp_path / "out.tif", dtype="uint16", probability=(20.0, tmp_path / "probability.tif"), **names
    )
    expected = restore(image, ensemble)
    assert read_image(tmp_path / "out.tif").dtype == np.uint16
    for kind, wanted in (
        ("probability", expected.probability(20.0)),
        ("entropy", expected.entropy()),
        ("disagreement", expected.disagreement()),
    ):
        found = read_image(tmp_path / f"{kind}.tif")
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol=1e-4, atol=1e-5)


def test_a_single_network_cannot_disagree(make_ensemble: Make, noise: Make, tmp_path: Path) -> None:
    alone = make_ensemble(members=1)
    with pytest.raises(
        ModelError,
        match="is a single network, so disagreement cannot be given",
    ):
        restore_to_file(Image(noise((8, 8)), "YX"), alone, tmp_path / "a.tif", disagreement=tmp_path / "b.tif")
    assert list(tmp_path.iterdir()) == []


def test_the_volume_is_never_held(ensemble: Ensemble, noise: Make, tmp_path: Path, lazy: Make) -> None:
    image, behind = lazy(noise((2, 300, 300), "uint16"), "TYX")
    restore_to_file(image, ensemble, tmp_path / "out.ome.tif", tile=64, normalize=Normalization((100.0,), (1000.0,)))
    assert behind.largest <= (64 + 2 * 8) ** 2
    expected = restore(Image(behind.array, "TYX"), ensemble, normalize=Normalization((100.0,), (1000.0,)))
    np.testing.assert_allclose(
        np.asarray(read_image(tmp_path / "out.ome.tif")), np.asarray(expected.mean), rtol=1e-4, atol=1e-2
    )


# When things go wrong


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), RuntimeError("odd")])
@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_nothing_is_left_after_an_interruption(
    ensemble: Ensemble, noise: Make, tmp_path: Path, problem: BaseException, suffix: str
) -> None:
    (tmp_path / f"mean{suffix}").touch() if suffix == ".tif" else None
    before = sorted(tmp_path.iterdir())

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise problem

    with pytest.raises(type(problem)):
        restore_to_file(
            Image(noise((40, 40)), "YX"),
            ensemble,
            tmp_path / f"mean{suffix}",
            scale=tmp_path / f"scale{suffix}",
            tile=8,
            overwrite=True,
            progress=stop,
        )
    assert sorted(tmp_path.iterdir()) == before


def test_files_get_their_names_together(
    ensemble: Ensemble, noise: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the last of several files cannot be completed, the first ones do not appear either."""
    opened = []
    usual = tofile.open_writer

    def watched(path: Path, *args: Any, **kwargs: Any) -> Any:
        writer = usual(path, *args, **kwargs)
        opened.append(path)
        if len(opened) == 2:

            def full() -> None:
                raise OutputError("The disk is full.")

            monkeypatch.setattr(writer, "complete", full)
        return writer

    monkeypatch.setattr(tofile, "open_writer", watched)
    with pytest.raises(OutputError, match="disk is full"):
        restore_to_file(Image(noise((20, 20)), "YX"), ensemble, tmp_path / "a.tif", scale=tmp_path / "b.tif")
    assert len(opened) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_writing(
    ensemble: Ensemble, noise: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from veriscope.images.writing import Writer

    def full(self: Writer, *_: Any) -> None:
        raise OutputError("The disk is full.")

    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(OutputError, match="disk is full"):
        restore_to_file(Image(noise((20, 20)), "YX"), ensemble, tmp_path / "a.ome.zarr", tile=8)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "how", "error", "words"),
    [
        (np.full((8, 8), 3.0), {}, DataError, "constant"),
        (np.full((8, 8), np.nan), {}, DataError, "64 of 64 values"),
        (None, {"dtype": "complex64"}, DataError, "cannot be written as 'complex64'. Choose one of uint8"),
        (None, {"dtype": "colour"}, DataError, "cannot be written as 'colour'"),
        (None, {"dtype": "uint16", "undo": False}, DataError, "cannot be written as uint16"),
        (None, {"scale": "out.tif"}, OutputError, "Several results would be written to"),
        (None, {"interval": (1.0, "a.tif", "b.tif")}, DataError, "between 0 and 1"),
        (None, {"interval": (0.9, "a.tif", "a.tif")}, OutputError, "a file of its own"),
        (None, {"probability": (0.0, "a.tif")}, DataError, "eps is the half-width"),
        (None, {"probability": (float("nan"), "a.tif")}, DataError, "eps is the half-width"),
        (None, {"out": "taken.tif"}, OutputError, "exists already"),
        (None, {"out": "out.png"}, OutputError, "out.png"),
        (None, {"out": "nowhere/out.tif"}, OutputError, "nowhere"),
        (None, {"tile": -1}, DataError, "positive number of pixels"),
        (None, {"channel": 5}, DataError, "no channel 5"),
        (None, {"device": "gpu"}, VeriscopeError, "no device called 'gpu'"),
    ],
)
def test_bad_input_leaves_nothing(
    ensemble: Ensemble, noise: Make, tmp_path: Path, image: Any, how: dict[str, Any], error: type[Exception], words: str
) -> None:
    (tmp_path / "taken.tif").write_text("precious")
    how = dict(how)
    out = tmp_path / how.pop("out", "out.tif")
    if "scale" in how:
        how["scale"] = tmp_path / how["scale"]
    if "interval" in how:
        how["interval"] = (how["interval"][0], *(tmp_path / name for name in how["interval"][1:]))
    with pytest.raises(error, match=words.replace(".", r"\.")):
        restore_to_file(Image(noise((8, 8)) if image is None else image, "YX"), ensemble, out, **how)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.tif"]
    assert (tmp_path / "taken.tif").read_text() == "precious"


def test_plain_networks_write_no_scale(make_ensemble: Make, noise: Make, tmp_path: Path) -> None:
    plain = make_ensemble(probabilistic=False)
    image = Image(noise((8, 8)), "YX")
    with pytest.raises(ModelError, match=r"predicts no uncertainty \(it was .*\), so scale cannot be given"):
        restore_to_file(image, plain, tmp_path / "out.tif", scale=tmp_path / "scale.tif")
    restore_to_file(image, plain, tmp_path / "out.tif")
    np.testing.assert_allclose(
        np.asarray(read_image(tmp_path / "out.tif")), np.asarray(restore(image, plain).mean), rtol=1e-5
    )


def test_samples_do_not_go_into_tiff(ensemble: Ensemble, noise: Make, tmp_path: Path) -> None:
    with pytest.raises(AxesError, match="TIFF has no axis for samples"):
        restore_to_file(Image(noise((2, 8, 8)), "SYX"), ensemble, tmp_path / "out.ome.tif")


@pytest.mark.parametrize(("core", "expected"), [(8, 8), (256, 256), (512, 256), (768, 256), (640, 320), (2 * 521, 521)])
def test_chunks_divide_tiles(core: int, expected: int) -> None:
    assert chunk(core, 256) == expected
