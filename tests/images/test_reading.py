from __future__ import annotations

import pickle
import shutil
import sys
import tempfile
import tracemalloc
import warnings
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from veriscope.errors import AxesError, DataError, ImageFormatError, VeriscopeWarning
from veriscope.images.carried import micrometres, seconds
from veriscope.images.image import Image
from veriscope.images.reading import list_images, read_image, split_choice, stem
from veriscope.images.writing import save_image

PIXELS = np.random.default_rng(0).integers(0, 1000, (2, 3, 4, 40, 50)).astype("uint16")


# Files that others write


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": (16, 16)},
        {"rowsperstrip": 7},
        {"compression": "zlib"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd", "tile": (32, 16)},
        {"byteorder": ">"},
        {"byteorder": ">", "tile": (16, 16), "compression": "zlib"},
        {"bigtiff": True},
    ],
    ids=str,
)
def test_ome_tiff_of_every_layout_reads_the_same(tmp_path, options, lazy):
    facts = {
        "axes": "TCZYX", "PhysicalSizeX": 100, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.0001,
        "PhysicalSizeYUnit": "mm", "PhysicalSizeZ": 0.3, "TimeIncrement": 500, "TimeIncrementUnit": "ms",
    }  # fmt: skip
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, metadata=facts, photometric="minisblack", **options)
    image = read_image(tmp_path / "a.ome.tif", lazy=lazy)
    assert image.is_lazy is lazy
    assert (image.axes, image.voxel_size, image.time_step, image.name) == ("TCZYX", (0.3, 0.1, 0.1), 0.5, "a")
    assert image.dtype == np.dtype("uint16")
    assert image.dtype.isnative
    assert_array_equal(np.asarray(image), PIXELS)
    assert_array_equal(image.read(1, slice(0, 2), 2, slice(3, 30), slice(5, 6)), PIXELS[1, 0:2, 2, 3:30, 5:6])


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize("options", [{}, {"byteorder": "<"}, {"compression": "zlib"}], ids=str)
@pytest.mark.parametrize("unit", ["micron", "um", "\\u00B5m"])
def test_imagej_hyperstacks_are_read_with_their_calibration(tmp_path, options, unit, lazy):
    facts = {"axes": "TZCYX", "spacing": 0.3, "unit": unit, "finterval": 1.5}
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, imagej=True, resolution=(10, 5), metadata=facts, **options)
    image = read_image(tmp_path / "a.tif", lazy=lazy)
    assert (image.axes, image.time_step) == ("TZCYX", 1.5)
    assert image.voxel_size == pytest.approx((0.3, 0.2, 0.1))
    assert_array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize(
    ("unit", "resolution", "facts", "expected"),
    [
        ("nm", 0.01, {"spacing": 300}, (0.3, 0.1, 0.1)),
        ("mm", 10000, {"spacing": -0.0003}, (0.3, 0.1, 0.1)),
        ("micron", 10, {}, (1.0, 0.1, 0.1)),  # ImageJ leaves out a spacing of 1
        ("pixel", 10, {"spacing": 0.3}, None),
        ("", 10, {"spacing": 0.3}, None),
        ("inch", 72, {"spacing": 1}, None),  # a printer's resolution
        ("micron", 10, {"spacing": 500, "zunit": "nm"}, (0.5, 0.1, 0.1)),
    ],
)
@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")
def test_imagej_units_become_um(tmp_path, unit, resolution, facts, expected):
    facts = {"axes": "ZYX", "unit": unit, **facts}
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0, 0], imagej=True, resolution=(resolution,) * 2, metadata=facts)
    assert read_image(tmp_path / "a.tif").voxel_size == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("lazy", [True, False])
def test_imagej_stacks_over_4_gb_have_one_page_and_are_read_whole(tmp_path, lazy):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, imagej=True, truncate=True, metadata={"axes": "TZCYX"})
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert len(tif.pages) == 1
    image = read_image(tmp_path / "a.tif", lazy=lazy)
    assert_array_equal(np.asarray(image), PIXELS)
    assert_array_equal(image.read(1, 2, slice(1, 3), 5), PIXELS[1, 2, 1:3, 5])
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-50])
    with pytest.raises(ImageFormatError, match="cut short"):
        read_image(tmp_path / "a.tif", lazy=lazy)


@pytest.mark.parametrize("lazy", [True, False])
def test_pyramids_in_tiff_are_read_at_full_size(tmp_path, lazy):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as tif:
        options = {"tile": (16, 16), "photometric": "minisblack"}
        tif.write(PIXELS[0, 0], subifds=1, metadata={"axes": "ZYX"}, **options)
        tif.write(PIXELS[0, 0, :, ::2, ::2], subfiletype=1, **options)
    assert_array_equal(np.asarray(read_image(tmp_path / "a.ome.tif", lazy=lazy)), PIXELS[0, 0])


def test_a_voxel_size_that_is_known_in_part_is_told_and_not_made_up(tmp_path):
    facts = {"axes": "ZYX", "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1}
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS[0, 0], metadata=facts)
    with pytest.warns(VeriscopeWarning, match="along Z"):
        assert read_image(tmp_path / "a.ome.tif").voxel_size == (None, 0.1, 0.1)


@pytest.mark.parametrize(("pixels_per_cm", "expected"), [(100_000, (0.1, 0.1)), (28.35, None)])
def test_plain_tiff_resolution_counts_where_it_is_a_microscope_s(tmp_path, pixels_per_cm, expected):
    resolution = {"resolution": (pixels_per_cm, pixels_per_cm), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0, 0, 0], metadata=None, **resolution)
    assert read_image(tmp_path / "a.tif").voxel_size == (None if expected is None else pytest.approx(expected))
    tifffile.imwrite(tmp_path / "b.tif", PIXELS[0, 0, 0], metadata=None, resolution=(300, 300), resolutionunit="INCH")
    assert read_image(tmp_path / "b.tif").voxel_size is None


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(260, "nm", 0.26), (1, "micron", 1), (2, "Microns", 2), (1, "Å", 1e-4), (1, "inch", 25400), (3, "µm", 3),
     (3, "μm", 3),
     (1, "micrometer", 1), (1, "pixel", None), (1, None, None), (0, "um", None), (float("nan"), "um", None),
     (-1, "um", None), (1, "millimetres", 1000), (1, "Mm", None)],
)  # fmt: skip
def test_lengths_in_um(value, unit, expected):
    assert micrometres(value, unit) == expected


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [(500, "ms", 0.5), (2, "min", 120), (1, "h", 3600), (3, "sec", 3), (1, "frame", None)],
)
def test_times_in_seconds(value, unit, expected):
    assert seconds(value, unit) == expected


def test_a_tiff_of_many_pages_without_metadata_needs_axes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for page in PIXELS[0, 0]:
            tif.write(page, contiguous=False, metadata=None)
    with pytest.raises(AxesError, match=r"does not state its 3 axes \(4 x 40 x 50\).*--axes ZYX"):
        read_image(tmp_path / "a.tif")
    for lazy in (True, False):
        image = read_image(tmp_path / "a.tif", axes="zyx", lazy=lazy)
        assert_array_equal(np.asarray(image), PIXELS[0, 0])
        assert image.axes == "ZYX"
    assert read_image(tmp_path / "a.tif", axes="SYX").axes == "SYX"


@pytest.mark.parametrize("lazy", [True, False])
def test_colours_are_channels(tmp_path, lazy):
    colour = PIXELS[0, 0, 0:3].astype("uint8")
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(colour, 0, -1), photometric="rgb", metadata=None)
    tifffile.imwrite(tmp_path / "b.tif", colour, photometric="rgb", planarconfig="separate", metadata=None)
    one, two = read_image(tmp_path / "a.tif", lazy=lazy), read_image(tmp_path / "b.tif", lazy=lazy)
    assert (one.axes, two.axes) == ("YXC", "CYX")
    assert_array_equal(np.asarray(one.moved("CYX")), colour)
    assert_array_equal(np.asarray(two), colour)


def test_samples_named_by_tifffile_stay_samples(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0, 0], metadata={"axes": "SYX"}, photometric="minisblack")
    assert read_image(tmp_path / "a.tif").axes == "SYX"


@pytest.mark.parametrize("lazy", [True, False])
def test_masks_and_values_that_are_no_numbers_can_be_read(tmp_path, lazy):
    mask = PIXELS[0, 0, 0] > 500
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    assert_array_equal(np.asarray(read_image(tmp_path / "mask.tif", lazy=lazy)), mask)
    odd = np.array([[1, np.nan], [np.inf, -1]], "float32")
    tifffile.imwrite(tmp_path / "odd.tif", odd)
    assert_array_equal(np.asarray(read_image(tmp_path / "odd.tif", lazy=lazy)), odd)


def test_a_numpy_file_needs_axes_unless_it_is_flat(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS[0, 0])
    np.save(tmp_path / "b.npy", PIXELS[0, 0, 0])
    with pytest.raises(AxesError, match="does not state"):
        read_image(tmp_path / "a.npy")
    assert_array_equal(np.asarray(read_image(tmp_path / "a.npy", axes="ZYX")), PIXELS[0, 0])
    assert read_image(tmp_path / "b.npy").axes == "YX"
    assert not read_image(tmp_path / "b.npy").is_lazy


def test_the_content_counts_not_the_name(tmp_path):
    tifffile.imwrite(tmp_path / "a.czi", PIXELS[0, 0, 0])
    assert read_image(tmp_path / "a.czi").axes == "YX"
    np.save(tmp_path / "b.npy", PIXELS[0, 0, 0])
    shutil.move(tmp_path / "b.npy", tmp_path / "b.tif")
    assert_array_equal(np.asarray(read_image(tmp_path / "b.tif")), PIXELS[0, 0, 0])


# What the user says about axes


@pytest.fixture
def ome_stack(tmp_path):
    return save_image(tmp_path / "stack.ome.tif", Image(PIXELS[0], "CZYX", (0.3, 0.1, 0.1)))


def test_axes_may_relabel_but_not_contradict(ome_stack):
    assert read_image(ome_stack, axes="CZYX").voxel_size == (0.3, 0.1, 0.1)
    assert read_image(ome_stack, axes="TCYX").voxel_size == (0.1, 0.1)
    with pytest.raises(AxesError, match=r"states that its axes \(3 x 4 x 40 x 50\) are CZYX, which 'ZCYX' contrad"):
        read_image(ome_stack, axes="ZCYX")
    with pytest.raises(AxesError, match=r"name 3 dimensions, but .* has 4: 3 x 4 x 40 x 50, which the file states"):
        read_image(ome_stack, axes="ZYX")
    with pytest.raises(AxesError, match="unknown letter"):
        read_image(ome_stack, axes="CQYX")
    with pytest.raises(AxesError, match="more than once"):
        read_image(ome_stack, axes="ZZYX")


def test_axes_of_size_one_may_come_and_go(tmp_path):
    plane = save_image(tmp_path / "plane.ome.tif", Image(PIXELS[0, 0, :1], "ZYX", (0.3, 0.1, 0.1)))
    assert read_image(plane).axes == "ZYX"  # since it says how thick the plane is
    assert read_image(plane, axes="YX").shape == (40, 50)
    asked = read_image(plane, axes="CZYX")
    assert (asked.shape, asked.voxel_size) == ((1, 1, 40, 50), (0.3, 0.1, 0.1))
    stack = save_image(tmp_path / "a.zarr", Image(PIXELS[:1, :1], "TCZYX", (0.3, 0.1, 0.1)))
    assert read_image(stack).axes == "TCZYX"
    for lazy in (True, False):
        image = read_image(stack, axes="ZYX", lazy=lazy)
        assert (image.shape, image.voxel_size, image.is_lazy) == ((4, 40, 50), (0.3, 0.1, 0.1), lazy)
        assert_array_equal(np.asarray(image), PIXELS[0, 0])
    with pytest.raises(AxesError, match="name 3 dimensions"):
        read_image(stack, axes="TYX")


def test_a_flat_image_is_no_stack(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0, 0, 0], metadata=None)
    with pytest.raises(AxesError, match="has 2: 40 x 50"):
        read_image(tmp_path / "a.tif", axes="ZYX")


# Laziness


def test_large_images_stay_on_disk_unless_asked(tmp_path, monkeypatch):
    path = save_image(tmp_path / "a.tif", Image(PIXELS[0, 0], "ZYX"))
    assert not read_image(path).is_lazy
    monkeypatch.setattr("veriscope.images.reading.LAZY_OVER", PIXELS[0, 0].nbytes - 1)
    assert read_image(path).is_lazy
    assert not read_image(path, lazy=False).is_lazy


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("axes", ["YX", "TZYX"])
def test_of_a_plane_in_one_strip_only_the_region_is_read(tmp_path, byteorder, axes):
    shape = (1500, 1000) if axes == "YX" else (2, 3, 500, 500)
    pixels = np.random.default_rng(0).integers(0, 60_000, shape, np.uint16)
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, byteorder=byteorder, metadata={"axes": axes})
    image = read_image(tmp_path / "a.ome.tif", lazy=True)
    region = (*(slice(0, size, 2) for size in shape[:-2]), slice(400, 470, 3), slice(30, 90))
    image.read(*region)  # opens it
    tracemalloc.start()
    found = image.read(*region), image.read(*(0 for _ in shape[:-2]), 499)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_array_equal(found[0], pixels[region])
    assert_array_equal(found[1], pixels[(*(0 for _ in shape[:-2]), 499)])
    assert peak < pixels.nbytes / 10
    assert image.chunks[-2:] == (256, shape[-1])


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "a.zarr"])
def test_lazy_images_go_to_other_processes(tmp_path, name):
    image = read_image(save_image(tmp_path / name, Image(PIXELS[0, 0], "ZYX")), lazy=True).moved("YXZ")
    assert_array_equal(np.asarray(pickle.loads(pickle.dumps(image))), np.asarray(image))
    with get_context("spawn").Pool(1) as pool:
        assert_array_equal(pool.apply(image.read, (slice(3, 9), 7)), PIXELS[0, 0][:, 3:9, 7].T)


def test_more_lazy_files_than_may_be_open(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    plane = Image(PIXELS[0, 0, 0], "YX")
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        images = [read_image(save_image(tmp_path / f"{i}.tif", plane), lazy=True) for i in range(220)]
        assert all(image.read(3, 4) == PIXELS[0, 0, 0, 3, 4] for image in images)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_large_zarr_is_read_in_little_memory(tmp_path):
    """4 GB of pixels in a file of few bytes: chunks that were never written read as zeros."""
    import subprocess

    path = tmp_path / "large.zarr"
    group = zarr.open_group(str(path), mode="w")
    array = group.create_array("0", shape=(1024, 2048, 1024), chunks=(16, 512, 512), dtype="uint16")
    array[1000:1001, 2000:2010, 1000:1010] = 7
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    scale = [{"type": "scale", "scale": [1, 1, 1]}]
    levels = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [levels]}
    script = f"""
import re, resource, sys
from veriscope.images.reading import read_image
image = read_image({str(path)!r})
assert image.is_lazy and image.nbytes == 2**32, image
assert image.read(1000, slice(2000, 2010), slice(1000, 1010)).min() == 7
count, total = 0, 0
for block in image.moved("CZYX").region(Z=slice(896, None)).blocks("CZYX"):
    assert block.nbytes <= 2**26
    count += 1
    total += int(block.sum())
assert total == 700 and count == 8, (total, count)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.platform == "linux":  # where ru_maxrss of a child also counts what its parent held when it was started
    peak = int(re.search("VmHWM:\\\\s*(\\\\d+)", open("/proc/self/status").read())[1])
print(peak // 1024)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 1000  # MB of 4,300, with Python and its libraries


# OME-Zarr of others


def ome_zarr(path, version, axes, scale, array=PIXELS, **more):
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version < "0.5" else 3)
    group.create_array("full", data=array, chunks=(1, 1, 2, 16, 16)[-array.ndim :])
    entry = {"axes": axes, "datasets": [{"path": "full", "coordinateTransformations": scale}], **more}
    group.attrs.update(
        {"ome": {"version": version, "multiscales": [entry]}} if version == "0.5" else {"multiscales": [entry]}
    )
    return group


AXES = [{"name": "t", "type": "time", "unit": "millisecond"}, {"name": "c", "type": "channel"},
        *({"name": a, "type": "space", "unit": "nanometer"} for a in "zyx")]  # fmt: skip


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_units_and_both_places_of_scales_count(tmp_path, version):
    whole = [{"type": "scale", "scale": [500, 1, 1, 1, 1]}]
    level = [{"type": "scale", "scale": [1, 1, 300, 100, 200]}, {"type": "translation", "translation": [0] * 5}]
    ome_zarr(tmp_path / "a.zarr", version, AXES, level, coordinateTransformations=whole)
    image = read_image(tmp_path / "a.zarr", lazy=True)
    assert (image.axes, image.voxel_size, image.time_step) == ("TCZYX", (0.3, 0.1, 0.2), 0.5)
    assert image.chunks == (1, 1, 2, 16, 16)
    assert_array_equal(np.asarray(image), PIXELS)


def test_a_scale_without_unit_is_taken_as_um_and_said_but_a_scale_of_1_says_nothing(tmp_path):
    ome_zarr(tmp_path / "a.zarr", "0.4", ["t", "c", "z", "y", "x"], [{"type": "scale", "scale": [1, 1, 2, 2, 2]}])
    with pytest.warns(VeriscopeWarning, match="without a unit; 2 x 2 x 2 is read as um"):
        image = read_image(tmp_path / "a.zarr")
    assert (image.axes, image.voxel_size, image.time_step) == ("TCZYX", (2, 2, 2), None)
    ome_zarr(tmp_path / "b.zarr", "0.4", ["t", "c", "z", "y", "x"], [{"type": "scale", "scale": [1, 1, 1, 1, 1]}])
    assert read_image(tmp_path / "b.zarr").voxel_size is None
    ome_zarr(tmp_path / "c.zarr", "0.4", ["t", "c", "z", "y", "x"], [{"type": "scale", "scale": [5, 1, 1, 1, 1]}])
    with pytest.warns(VeriscopeWarning, match="time step of 5 without a unit"):
        assert read_image(tmp_path / "c.zarr").time_step is None


def test_foreign_axis_names_need_axes(tmp_path):
    axes = [{"name": name} for name in ("angle", "c", "z", "y", "x")]
    ome_zarr(tmp_path / "a.zarr", "0.4", axes, [{"type": "scale", "scale": [1] * 5}])
    with pytest.raises(AxesError, match="does not state"):
        read_image(tmp_path / "a.zarr")
    assert read_image(tmp_path / "a.zarr", axes="TCZYX").shape == PIXELS.shape


def test_several_images_in_one_zarr_need_a_choice(tmp_path):
    path = tmp_path / "several.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    for number in range(2):
        ome_zarr(path / str(number), "0.4", AXES, [{"type": "scale", "scale": [1] * 5}], PIXELS + number)
    with pytest.raises(ImageFormatError, match="holds 2 images: 0, 1"):
        read_image(path)
    assert_array_equal(np.asarray(read_image(f"{path}::1")), PIXELS + 1)
    assert_array_equal(np.asarray(read_image(path / "0")), PIXELS)


def test_a_plain_zarr_array_is_read_with_axes(tmp_path):
    zarr.save_array(str(tmp_path / "a.zarr"), PIXELS[0, 0])
    with pytest.raises(AxesError, match="does not state"):
        read_image(tmp_path / "a.zarr")
    assert_array_equal(np.asarray(read_image(tmp_path / "a.zarr", axes="ZYX")), PIXELS[0, 0])
    array = zarr.create_array(
        str(tmp_path / "b.zarr"), shape=(4, 40, 50), dtype="uint16", dimension_names=["z", "y", "x"]
    )
    array[:] = PIXELS[0, 0]
    assert read_image(tmp_path / "b.zarr").axes == "ZYX"


# What is no image, or was one


def cut_at(path, share, target):
    data = Path(path).read_bytes()
    Path(target).write_bytes(data[: int(len(data) * share)])
    return target


@pytest.mark.parametrize("kind", ["imagej", "ome", "ome-zlib", "ome-tiled", "pages", "bigtiff", "plane"])
@settings(deadline=None, max_examples=25)
@given(share=st.floats(0.01, 0.97), lazy=st.booleans())
def test_a_tiff_that_is_cut_short_is_never_read_as_if_it_were_whole(kind, share, lazy):
    options = {
        "imagej": {"imagej": True, "metadata": {"axes": "TZCYX"}},
        "ome": {"metadata": {"axes": "TZCYX"}, "ome": True},
        "ome-zlib": {"metadata": {"axes": "TZCYX"}, "ome": True, "compression": "zlib"},
        "ome-tiled": {"metadata": {"axes": "TZCYX"}, "ome": True, "tile": (16, 16)},
        "pages": {"metadata": None},
        "bigtiff": {"metadata": {"axes": "TZCYX"}, "bigtiff": True},
        "plane": {"metadata": None},
    }[kind]
    pixels = PIXELS[0, 0, 0] if kind == "plane" else PIXELS
    with tempfile.TemporaryDirectory() as folder:
        tifffile.imwrite(f"{folder}/whole.tif", pixels, photometric="minisblack", **options)
        cut = cut_at(f"{folder}/whole.tif", share, f"{folder}/cut.tif")
        with pytest.raises(ImageFormatError, match=r"cut short|damaged|empty|not an image"):
            np.asarray(read_image(cut, axes="YX" if kind == "plane" else "TZCYX", lazy=lazy))


def test_damaged_compressed_pixels_are_told_when_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, compression="zlib", metadata={"axes": "TZCYX"})
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        offset, count = tif.pages[3].dataoffsets[0], tif.pages[3].databytecounts[0]
    data = bytearray((tmp_path / "a.ome.tif").read_bytes())
    data[offset : offset + count] = b"\xff" * count
    (tmp_path / "a.ome.tif").write_bytes(data)
    with pytest.raises(ImageFormatError, match="damaged"):
        np.asarray(read_image(tmp_path / "a.ome.tif", lazy=True))
    with pytest.raises(ImageFormatError, match="damaged"):
        read_image(tmp_path / "a.ome.tif", lazy=False)


@pytest.mark.parametrize("lazy", [True, False])
def test_damaged_zarr_chunks_are_told_when_read(tmp_path, lazy):
    path = save_image(tmp_path / "a.zarr", Image(PIXELS[0, 0], "ZYX"))
    chunk = path / "0" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    with pytest.raises(ImageFormatError, match="damaged"):
        np.asarray(read_image(path, lazy=lazy))


def test_missing_planes_are_told(tmp_path):
    one = {"axes": "ZYX"}
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS[0, 0], metadata=one)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        xml = tif.ome_metadata
    xml = xml.replace('<TiffData IFD="0" PlaneCount="4"/>', '<TiffData IFD="0" FirstZ="0" PlaneCount="1"/>')
    with tifffile.TiffWriter(tmp_path / "b.ome.tif", ome=False) as tif:
        tif.write(PIXELS[0, 0, 0], description=xml, metadata=None)
    with pytest.warns(VeriscopeWarning, match="lacks 3 of its 4 planes"):
        image = read_image(tmp_path / "b.ome.tif")
    assert_array_equal(np.asarray(image)[0], PIXELS[0, 0, 0])


def test_several_images_in_one_tiff_need_a_choice(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(PIXELS[0, 0, 0], metadata=None)
        tif.write(PIXELS[0, 0, 0, :20], metadata=None)
    with pytest.raises(ImageFormatError, match=r"holds 2 images: ::0 \(40 x 50\), ::1 \(20 x 50\)"):
        read_image(tmp_path / "a.tif")
    image = read_image(f"{tmp_path}/a.tif::1")
    assert (image.shape, image.name) == ((20, 50), "a-1")
    with pytest.raises(ImageFormatError, match="not one of them"):
        read_image(f"{tmp_path}/a.tif::2")


def not_images(folder):
    (folder / "empty.tif").write_bytes(b"")
    (folder / "text.tif").write_text("once upon a time")
    (folder / "picture.tif").write_bytes(b"\x89PNG\r\n\x1a\n and more")
    (folder / "tiny.tif").write_bytes(b"II*\0")
    (folder / "nothing.tif").write_bytes(b"II*\0\0\0\0\0")
    (folder / "folder").mkdir()
    (folder / "hollow.zarr").mkdir()
    zarr.open_group(str(folder / "group.zarr"), mode="w")
    plate = zarr.open_group(str(folder / "plate.zarr"), mode="w")
    plate.attrs["ome"] = {"version": "0.5", "plate": {}}
    levels = zarr.open_group(str(folder / "levels.zarr"), mode="w")
    levels.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": [{"name": "y"}, {"name": "x"}], "datasets": []}]}
    gone = zarr.open_group(str(folder / "gone.zarr"), mode="w")
    gone.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": [], "datasets": [{"path": "0"}]}]}
    (folder / "broken.zarr").mkdir()
    (folder / "broken.zarr" / "zarr.json").write_text("{")
    np.save(folder / "objects.npy", np.array([{}, []], object), allow_pickle=True)
    (folder / "cut.npy").write_bytes(b"\x93NUMPY\x01")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("missing.tif", "does not exist"),
        ("missing.zarr", "does not exist"),
        ("empty.tif", r"empty \(0 bytes\)"),
        ("text.tif", "not an image of a known kind"),
        ("picture.tif", "a PNG picture"),
        ("tiny.tif", "damaged"),
        ("nothing.tif", r"without any image|damaged"),
        ("folder", "is a folder"),
        ("hollow.zarr", "without metadata"),
        ("group.zarr", "no 'multiscales'"),
        ("plate.zarr", "It is a plate"),
        ("levels.zarr", "no levels"),
        ("gone.zarr", "does not exist|damaged"),
        ("broken.zarr", "damaged"),
        ("objects.npy", "damaged"),
        ("cut.npy", "damaged"),
    ],
)
def test_what_is_no_image_is_told(tmp_path, name, text):
    not_images(tmp_path)
    with pytest.raises(ImageFormatError, match=text):
        read_image(tmp_path / name)


def test_an_array_without_pixels_is_told(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((0, 5), "uint8"))
    with pytest.raises((ImageFormatError, DataError), match=r"no pixels|damaged"):
        read_image(tmp_path / "a.tif")
    np.save(tmp_path / "a.npy", np.zeros((0, 5)))
    with pytest.raises(DataError, match="no pixels"):
        read_image(tmp_path / "a.npy")


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0, 0, 0])

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageFormatError, match="may not be read"):
        read_image(tmp_path / "a.tif")


# Lists and names


def test_a_folder_lists_its_images_by_name(tmp_path):
    for name in ("b.tif", "a.ome.tif", "c.NPY", "notes.txt", "._b.tif", ".hidden.tif"):
        (tmp_path / name).write_text("x")
    zarr.open_group(str(tmp_path / "d.ome.zarr"), mode="w")
    (tmp_path / "sub").mkdir()
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["a.ome.tif", "b.tif", "c.NPY", "d.ome.zarr"]
    assert list_images(tmp_path / "d.ome.zarr") == [tmp_path / "d.ome.zarr"]
    assert list_images(tmp_path / "b.tif") == [tmp_path / "b.tif"]
    assert [path.name for path in list_images(tmp_path / "*.tif")] == ["a.ome.tif", "b.tif"]
    assert list_images(f"{tmp_path}/b.tif::1") == [Path(f"{tmp_path}/b.tif::1")]


@pytest.mark.parametrize(
    ("path", "text"), [("sub", "has no images"), ("nowhere", "does not exist"), ("*.tif", "No image matches")]
)
def test_an_empty_list_is_told(tmp_path, path, text):
    (tmp_path / "sub").mkdir()
    with pytest.raises(ImageFormatError, match=text):
        list_images(tmp_path / path)


def test_names_lose_the_suffix_of_their_format():
    names = ["a.ome.tif", "a.OME.TIFF", "a.tif", "a.ome.zarr", "a.zarr", "a.czi", "a.npy"]
    assert {stem(name) for name in names} == {"a"}
    assert stem("2024.05.01 cell.tif") == "2024.05.01 cell"
    assert stem("folder/v1.2") == "v1"


def test_a_file_really_called_so_comes_before_a_choice(tmp_path):
    (tmp_path / "a::1").write_text("x")
    assert split_choice(tmp_path / "a::1") == (tmp_path / "a::1", None)
    assert split_choice("b.czi::12") == (Path("b.czi"), 12)
