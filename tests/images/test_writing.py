from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from veriscope.errors import AxesError, DataError, OutputError
from veriscope.images import tiff_writing
from veriscope.images.casting import cast
from veriscope.images.image import Image
from veriscope.images.lazy import Blank
from veriscope.images.reading import read_image
from veriscope.images.tiff_writing import runs
from veriscope.images.writing import open_writer, save_image
from veriscope.images.zarr_writing import pyramid_factors, shrink

FORMATS = ["a.ome.tif", "a.tif", "a.ome.zarr", "a.zarr"]
AXES = ["YX", "ZYX", "CYX", "TYX", "CZYX", "TZYX", "TCYX", "TCZYX", "XY", "YXC", "ZCYX", "XYZ", "TZCYX"]
TYPES = {
    "a.ome.tif": ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64", "int8", "bool", ">u2"],
    "a.tif": ["uint8", "uint16", "int16", "float32", "float64", "bool", ">f4"],
    "a.ome.zarr": ["uint8", "uint16", "int64", "uint64", "float16", "float32", "float64", "int8", "bool", ">u2"],
    "a.zarr": ["uint8", "uint16", "float32"],
}


def random_image(shape, axes, dtype="uint16", seed=0, **facts):
    values = np.random.default_rng(seed).integers(0, 2 if dtype == "bool" else 100, shape)
    return Image(values.astype(dtype), axes, **facts)


@st.composite
def written_images(draw):
    name = draw(st.sampled_from(FORMATS))
    axes = draw(st.sampled_from([*AXES, *(["SYX", "TSYX", "SZYX"] if "zarr" in name else [])]))
    shape = [draw(st.integers(1, 7)) for _ in axes]
    space = [a for a in axes if a in "ZYX"]
    voxel = [draw(st.sampled_from([0.065, 0.26, 1.0, 2.5])) for _ in space] if draw(st.booleans()) else None
    step = draw(st.sampled_from([None, 0.1, 2.0, 3600.0])) if "T" in axes else None
    image = random_image(shape, axes, draw(st.sampled_from(TYPES[name])), voxel_size=voxel, time_step=step)
    return name, image, draw(st.sampled_from(["0.4", "0.5"]))


@settings(deadline=None, max_examples=80)
@given(written_images(), st.booleans())
def test_what_is_written_is_read_back_with_all_that_is_known(drawn, lazy):
    name, image, version = drawn
    with tempfile.TemporaryDirectory() as folder:
        path = save_image(Path(folder, name), image, version=version)
        assert sorted(os.listdir(folder)) == [name]
        found = read_image(path, lazy=lazy)
        assert found.is_lazy is lazy
        back = found.moved(image.axes)
        assert_array_equal(np.asarray(back), np.asarray(image))
        assert back.dtype == ("uint8" if image.dtype == bool and "tif" in name else image.dtype.newbyteorder("="))
        assert back.name == "a"
        expected = image.voxel_size and [image.voxel(a) for a in found.spatial_axes]
        assert found.voxel_size == (None if expected is None else pytest.approx(expected))
        if image.size("T") > 1:
            assert back.time_step == (pytest.approx(image.time_step) if image.time_step else None)


@st.composite
def region_writes(draw):
    shape = [draw(st.integers(1, 9)) for _ in range(3)]
    corners = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    return shape, [slice(a, b) for a, b in corners]


@settings(deadline=None)
@given(region_writes())
def test_runs_put_a_region_where_numpy_puts_it(drawn):
    shape, region = drawn
    expected, flat = np.zeros(shape, int), np.zeros(np.prod(shape), int)
    block = np.arange(1, 1 + np.prod([s.stop - s.start for s in region])).reshape([s.stop - s.start for s in region])
    expected[tuple(region)] = block
    for start, run in runs(shape, region, block):
        flat[start : start + run.size] = run.ravel()
    assert_array_equal(flat.reshape(shape), expected)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(FORMATS), st.sampled_from(["ZYX", "CZYX", "XYZ", "TYX"]), st.randoms(), st.integers(2, 6))
def test_regions_in_any_order_and_alignment_make_the_whole(name, axes, random, step):
    image = random_image([7, 5, 8, 6][: len(axes)], axes, "float32")
    corners = [[slice(a, min(a + step, n)) for a in range(0, n, step)] for n in image.shape]
    grid = [[corners[i][k] for i, k in enumerate(at)] for at in np.ndindex(*(len(c) for c in corners))]
    random.shuffle(grid)
    with tempfile.TemporaryDirectory() as folder:
        with open_writer(Path(folder, name), image, chunks=(3,) * len(axes)) as writer:
            assert len(writer.chunks) == len(axes)
            for spans in grid:
                writer.write(spans, image.read(*spans))
        assert_array_equal(np.asarray(read_image(Path(folder, name)).moved(axes)), np.asarray(image))


def test_an_int_in_a_region_means_one_entry(tmp_path):
    with open_writer(tmp_path / "a.ome.tif", Image(Blank((2, 3, 4), "uint8"), "TYX")) as writer:
        writer.write((0,), np.ones((3, 4), "uint8"))
        writer.write((1, slice(None), 2), np.full((3,), 5, "uint8"))
    expected = np.zeros((2, 3, 4))
    expected[0], expected[1, :, 2] = 1, 5
    assert_array_equal(np.asarray(read_image(tmp_path / "a.ome.tif")), expected)


# What other programs see


def test_imagej_sees_a_calibrated_hyperstack(tmp_path):
    image = random_image((2, 3, 4, 5, 6), "TCZYX", voxel_size=(0.5, 0.2, 0.1), time_step=2.5)
    save_image(tmp_path / "a.tif", image)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_imagej
        facts = tif.imagej_metadata
        assert (facts["frames"], facts["slices"], facts["channels"], facts["images"]) == (2, 4, 3, 24)
        assert (facts["spacing"], facts["unit"], facts["finterval"], facts["mode"]) == (0.5, "um", 2.5, "composite")
        pixels, per = tif.pages[0].tags["XResolution"].value
        assert pixels / per == pytest.approx(10)
        assert tif.series[0].axes == "TZCYX"
        assert_array_equal(tif.asarray(), np.asarray(image).swapaxes(1, 2))


def test_ome_xml_says_size_unit_and_time(tmp_path):
    import ome_types

    image = random_image((2, 3, 4, 5, 6), "TCZYX", voxel_size=(0.5, 0.2, 0.1), time_step=2.5, name="cells")
    save_image(tmp_path / "a.ome.tif", image)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        pixels = ome_types.from_xml(tif.ome_metadata).images[0].pixels
        assert tif.series[0].axes == "TCZYX"
    assert (pixels.size_t, pixels.size_c, pixels.size_z, pixels.size_y, pixels.size_x) == (2, 3, 4, 5, 6)
    assert (pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x) == (0.5, 0.2, 0.1)
    assert {pixels.physical_size_x_unit.value, pixels.physical_size_z_unit.value} == {"µm"}
    assert (pixels.time_increment, pixels.time_increment_unit.value) == (2.5, "s")


@pytest.mark.parametrize(("version", "zarr_format"), [("0.4", 2), ("0.5", 3)])
@pytest.mark.parametrize("axes", ["YX", "ZYX", "CYX", "TZYX", "CZYX", "TCZYX", "SYX", "TSYX"])
def test_ome_zarr_is_valid_with_types_units_and_scales(tmp_path, version, zarr_format, axes):
    import yaozarrs

    shape = [{"Z": 4, "Y": 600, "X": 300}.get(a, 2) for a in axes]
    voxel = [{"Z": 0.5, "Y": 0.2, "X": 0.1}[a] for a in axes if a in "ZYX"]
    image = random_image(shape, axes, voxel_size=voxel, time_step=3.0 if "T" in axes else None)
    path = save_image(tmp_path / "a.ome.zarr", image, version=version)
    yaozarrs.validate_zarr_store(str(path))
    group = zarr.open_group(str(path), mode="r")
    assert group.metadata.zarr_format == zarr_format
    facts = group.attrs["ome"]["multiscales"][0] if version == "0.5" else group.attrs["multiscales"][0]
    units = {axis["name"]: axis.get("unit") for axis in facts["axes"]}
    assert units["x"] == "micrometer"
    assert units.get("t") == ("second" if "T" in axes else None)
    scale = dict(zip(units, facts["datasets"][0]["coordinateTransformations"][0]["scale"], strict=True))
    assert (scale["y"], scale["x"], scale.get("t", 3), scale.get("z", 0.5)) == (0.2, 0.1, 3, 0.5)
    assert len(facts["datasets"]) == 3
    assert group["2"].shape[-2:] == (150, 75)
    if version == "0.4":
        assert (path / "0" / "/".join("0" * len(axes))).is_file()


def test_pyramid_levels_are_means_and_lie_where_they_should(tmp_path):
    image = random_image((8, 1025, 515), "ZYX", voxel_size=(0.2, 0.2, 0.2))
    path = save_image(tmp_path / "a.zarr", image)
    group = zarr.open_group(str(path), mode="r")
    assert [group[str(level)].shape for level in range(4)] == [
        (8, 1025, 515),
        (4, 513, 258),
        (2, 257, 129),
        (1, 129, 65),
    ]
    pixels = np.asarray(image).astype(float)
    mean = pixels[:, :1024, :514].reshape(4, 2, 512, 2, 257, 2).mean((1, 3, 5))
    assert_array_equal(group["1"][:, :512, :257], np.rint(mean))
    assert_array_equal(group["1"][:, 512, 257], np.rint(pixels[:, 1024, 514].reshape(4, 2).mean(1)))
    moves = group.attrs["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    assert_allclose(moves[0]["scale"], [0.4, 0.4, 0.4])
    assert_allclose(moves[1]["translation"], [0.1, 0.1, 0.1])  # the middle of the first box of two


@pytest.mark.parametrize(
    ("voxel", "expected"),
    [
        ((2.0, 0.2, 0.2), [(1, 2, 2), (1, 2, 2), (1, 2, 2)]),
        ((0.8, 0.2, 0.2), [(1, 2, 2), (1, 2, 2), (2, 2, 2)]),
        ((0.2, 0.2, 0.2), [(2, 2, 2), (2, 2, 2), (2, 2, 2)]),
        (None, [(1, 2, 2), (1, 2, 2), (1, 2, 2)]),
    ],
)
def test_z_is_halved_once_it_is_sampled_as_finely(voxel, expected):
    assert pyramid_factors(Image(np.zeros((32, 2048, 300), "u1"), "ZYX", voxel)) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 7), st.sampled_from([1, 2])), min_size=1, max_size=3), st.booleans())
def test_shrinking_agrees_with_a_loop(sizes, integers):
    shape, factor = [n for n, _ in sizes], [f for _, f in sizes]
    block = np.random.default_rng(0).integers(0, 250, shape).astype("uint8" if integers else "float64")
    small = shrink(block, factor)
    for at in np.ndindex(*small.shape):
        box = block[tuple(slice(i * f, (i + 1) * f) for i, f in zip(at, factor, strict=True))].astype(float)
        assert small[at] == (np.rint(box.mean()) if integers else pytest.approx(box.mean()))


# Size and place


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
def test_more_pixels_than_a_classic_tiff_holds_make_a_bigtiff(tmp_path, monkeypatch, name):
    image = random_image((5, 20, 30), "ZYX", voxel_size=(1, 0.5, 0.5))
    save_image(tmp_path / "small.ome.tif", image)
    monkeypatch.setattr(tiff_writing, "CLASSIC_LIMIT", image.nbytes - 1)
    save_image(tmp_path / name, image)
    for file, big in (("small.ome.tif", False), (name, True)):
        with tifffile.TiffFile(tmp_path / file) as tif:
            assert tif.is_bigtiff is big
            assert tif.is_ome  # ImageJ cannot read BigTIFF
        assert_array_equal(np.asarray(read_image(tmp_path / file)), np.asarray(image))


def test_a_classic_tiff_holds_just_under_4_gb():
    assert 2**32 - 2**26 < tiff_writing.CLASSIC_LIMIT < 2**32


@pytest.mark.parametrize("name", FORMATS)
def test_existing_results_are_replaced_only_when_asked(tmp_path, name):
    one, two = random_image((3, 4), "YX", seed=1), random_image((5, 6), "YX", seed=2)
    save_image(tmp_path / name, one)
    with pytest.raises(OutputError, match="exists already"):
        save_image(tmp_path / name, two)
    assert_array_equal(np.asarray(read_image(tmp_path / name)), np.asarray(one))
    save_image(tmp_path / name, two, overwrite=True)
    assert_array_equal(np.asarray(read_image(tmp_path / name)), np.asarray(two))
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", FORMATS)
def test_an_interrupted_write_leaves_what_was_there(tmp_path, name):
    image = random_image((3, 4), "YX")
    save_image(tmp_path / name, image)

    def interrupted():
        with open_writer(tmp_path / name, Image(Blank((9, 9), "uint8"), "YX"), overwrite=True) as writer:
            writer.write((slice(0, 2),), np.ones((2, 9), "uint8"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == [name]
    assert_array_equal(np.asarray(read_image(tmp_path / name)), np.asarray(image))


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


async def full_store(*args, **kwargs):
    full()


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
@pytest.mark.parametrize("where", ["reserving", "writing", "free"])
def test_a_full_disk_is_told_and_leaves_nothing_in_tiff(tmp_path, monkeypatch, name, where):
    if where == "reserving":
        monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    elif where == "writing":
        monkeypatch.setattr(tiff_writing, "_write_all", full)
    else:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10))
    with pytest.raises(OutputError, match="disk is full"):
        save_image(tmp_path / name, random_image((3, 4, 5), "ZYX"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_a_full_disk_is_told_and_leaves_nothing_in_zarr(tmp_path, monkeypatch, after):
    write, calls = zarr.storage.LocalStore.set, []

    async def fills_up(self, *args, **kwargs):
        calls.append(args[0])
        if len(calls) > after:
            full()
        await write(self, *args, **kwargs)

    monkeypatch.setattr(zarr.storage.LocalStore, "set", fills_up)
    with pytest.raises(OutputError, match="disk is full"):
        save_image(tmp_path / "a.zarr", random_image((600, 600), "YX"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", FORMATS)
def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch, name):
    image = random_image((3, 4), "YX")
    with pytest.raises(OutputError, match="does not exist"):
        save_image(tmp_path / "nowhere" / name, image)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="does not exist"):
        save_image(tmp_path / "file" / name, image)
    monkeypatch.setattr(os, "access", lambda *args: False)
    with pytest.raises(OutputError, match="not writable"):
        save_image(tmp_path / name, image)
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_that_refuses_while_writing_is_told(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "rename", refuse)
    for name in FORMATS:
        with pytest.raises(OutputError, match="Permission denied"):
            save_image(tmp_path / name, random_image((3, 4), "YX"))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "text", "name", "image"),
    [
        (OutputError, "names no format", "a.png", random_image((3, 4), "YX")),
        (OutputError, "names no format", "a", random_image((3, 4), "YX")),
        (DataError, "int64", "a.ome.tif", random_image((3, 4), "YX", "int64")),
        (DataError, "float16", "a.tif", random_image((3, 4), "YX", "float16")),
        (AxesError, "no axis for samples", "a.tif", random_image((2, 3, 4), "SYX")),
        (AxesError, "no axis for samples", "a.ome.tif", random_image((2, 3, 4), "SYX")),
        (AxesError, "not both", "a.zarr", random_image((2, 2, 3, 4), "SCYX")),
        (AxesError, "lacks Y", "a.zarr", random_image((3, 4), "ZX")),
    ],
)
def test_what_a_format_cannot_hold_is_told(tmp_path, error, text, name, image):
    with pytest.raises(error, match=text):
        save_image(tmp_path / name, image)
    assert os.listdir(tmp_path) == []


def test_regions_that_do_not_fit_are_told(tmp_path):
    with open_writer(tmp_path / "a.tif", Image(Blank((4, 5), "uint8"), "YX")) as writer:
        with pytest.raises(DataError, match="does not fit"):
            writer.write((slice(0, 3), slice(None)), np.ones((4, 5), "uint8"))
        with pytest.raises(DataError, match="does not fit"):
            writer.write((slice(0, 9), slice(None)), np.ones((9, 5), "uint8"))
        with pytest.raises(DataError, match="without rounding"):
            writer.write((slice(None), slice(None)), np.ones((4, 5), "float32"))
        with pytest.raises(DataError, match="step 1"):
            writer.write((slice(None, None, 2), slice(None)), np.ones((2, 5), "uint8"))
    with pytest.raises(DataError, match="not a pixel type"):
        open_writer(tmp_path / "b.tif", Image(Blank((4, 5), "banana"), "YX"))
    (tmp_path / "c.tif").mkdir()
    with pytest.raises(OutputError, match="folder"):
        open_writer(tmp_path / "c.tif", Image(Blank((4, 5), "uint8"), "YX"), overwrite=True)
    (tmp_path / "e.zarr").mkdir()
    (tmp_path / "e.zarr" / "thesis.txt").write_text("precious")
    with pytest.raises(OutputError, match="a folder with other things in it"):
        save_image(tmp_path / "e.zarr", random_image((3, 4), "YX"), overwrite=True)
    assert (tmp_path / "e.zarr" / "thesis.txt").exists()
    with pytest.raises(OutputError, match=r"0\.4 or 0\.5"):
        save_image(tmp_path / "d.zarr", random_image((3, 4), "YX"), version="0.3")


# Casting


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=20),
    st.sampled_from(["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "uint64", "bool"]),
)
def test_casting_to_integers_rounds_clips_and_counts(values, dtype):
    result, clipped = cast(np.array(values, "float32"), dtype)
    least, most = (0, 1) if dtype == "bool" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    assert result.dtype == dtype
    count = 0
    for value, got in zip(values, result.tolist(), strict=True):
        if np.isnan(value):
            expected = 0
        elif np.isinf(value):
            expected = most if value > 0 else least
        else:
            expected = min(max(int(np.rint(value)), least), most)
        assert abs(int(got) - expected) <= (2048 if most > 2**60 else 0)
        count += bool(np.isnan(value) or np.isinf(value) or not least <= int(np.rint(value)) <= most)
    assert clipped == count


@settings(deadline=None, max_examples=60)
@given(
    st.data(),
    st.sampled_from(["uint8", "int16", "int32", "uint64", "bool"]),
    st.sampled_from(["uint8", "int8", "uint32", "bool"]),
)
def test_casting_integers_clips_and_counts(data, source, dtype):
    low, high = (0, 1) if source == "bool" else (int(np.iinfo(source).min), int(np.iinfo(source).max))
    values = data.draw(st.lists(st.integers(low, high), min_size=1, max_size=10))
    least, most = (0, 1) if dtype == "bool" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    result, clipped = cast(np.array(values, source), dtype)
    assert [int(v) for v in result] == [min(max(v, least), most) for v in values]
    assert clipped == sum(not least <= v <= most for v in values)


def test_casting_to_smaller_floats_clips_what_would_be_infinite():
    assert cast(np.array([65535, 65504, 0], "uint16"), "float16")[0].max() == 65504
    result, clipped = cast(np.array([1e300, -1e300, 1.5, np.inf, np.nan]), "float32")
    assert clipped == 2
    assert_array_equal(result, np.array([np.finfo("f4").max, np.finfo("f4").min, 1.5, np.inf, np.nan], "f4"))
