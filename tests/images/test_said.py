"""What a file says of an image is kept, axis by axis; what it does not say is unknown; what is dropped is told."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from veriscope.errors import AxesError, DataError, ImageFormatError, PairingError, VeriscopeWarning
from veriscope.images.carried import Carried, Channel, encodable
from veriscope.images.image import Image
from veriscope.images.ome import parsed
from veriscope.images.pairing import read_pairs
from veriscope.images.reading import identity, list_images, read_image
from veriscope.images.writing import save_image

PIXELS = np.random.default_rng(0).integers(0, 1000, (3, 40, 50)).astype("uint16")
SIZES = 'PhysicalSizeX="0.1" PhysicalSizeY="0.1" PhysicalSizeZ="0.3"'
EVERYTHING = Carried(
    (Channel("DAPI", "0000FF"), Channel("GFP", "00FF00")),
    {"Y": (200.0, "um"), "X": (100.0, "um")},
    "2026-03-01T12:30:00",
    "a fixed embryo & its nuclei",
)


def ome(*images: tuple[str, str], uuid: str = "") -> str:
    """OME-XML of images, each the attributes of Pixels and what is inside."""
    parts = "".join(
        f'<Image ID="Image:{n}" Name="{n}"><Pixels ID="Pixels:{n}" DimensionOrder="XYZCT" Type="uint16" '
        f'SizeX="50" SizeY="40" {facts}><Channel ID="Channel:{n}:0" SamplesPerPixel="1"/>{inside}</Pixels></Image>'
        for n, (facts, inside) in enumerate(images)
    )
    mark = f' UUID="{uuid}"' if uuid else ""
    return f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"{mark}>{parts}</OME>'


def write(path: Path, array: np.ndarray, xml: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, description=xml.encode(), metadata=None, photometric="minisblack")
    return path


def said(path: Path, **how: object) -> tuple[Image, str]:
    """The image, and all that was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = read_image(path, **how)
    return image, " ".join(str(one.message) for one in caught)


def a_set(folder: Path, mark: int = 0, along: str = "T") -> list[Path]:
    """An OME-TIFF in three files, each of which names all."""
    marks = [f"urn:uuid:{mark}000000{t}-0000-4000-8000-00000000000{t}" for t in range(3)]
    planes = "".join(
        f'<TiffData First{along}="{t}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="p{t}.ome.tif">{marks[t]}</UUID></TiffData>'
        for t in range(3)
    )
    sizes = " ".join(f'Size{letter}="{3 if letter == along else 1}"' for letter in "ZCT")
    return [write(folder / f"p{t}.ome.tif", PIXELS[t], ome((sizes, planes), uuid=marks[t])) for t in range(3)]


# One image under several names


@pytest.mark.parametrize("along", ["T", "Z"])
def test_an_image_in_several_files_is_one_image_under_whatever_name(tmp_path, along):
    files = a_set(tmp_path, along=along)
    for file in files:
        assert_array_equal(np.asarray(read_image(file)), PIXELS)
    assert len({identity(file) for file in files}) == 1
    with pytest.warns(VeriscopeWarning, match="are one image"):
        assert list_images(tmp_path) == files[:1]


def test_a_set_in_which_each_file_is_a_position_is_as_many_images_and_each_file_its_own(tmp_path):
    marks = [f"urn:uuid:0000000{p}-0000-4000-8000-00000000000{p}" for p in range(3)]
    images = [
        ('SizeZ="1" SizeC="1" SizeT="1"', f'<TiffData IFD="0"><UUID FileName="p{p}.tif">{mark}</UUID></TiffData>')
        for p, mark in enumerate(marks)
    ]
    files = [write(tmp_path / f"p{p}.tif", PIXELS[p], ome(*images, uuid=marks[p])) for p in range(3)]
    assert list_images(tmp_path) == files
    for file, plane in zip(files, PIXELS, strict=True):
        assert_array_equal(np.asarray(read_image(file)), plane)


def test_links_and_spellings_of_one_path_are_one_image(tmp_path):
    first = save_image(tmp_path / "a.tif", Image(PIXELS[0], "YX"))
    (tmp_path / "b.tif").symlink_to(first)
    os.link(first, tmp_path / "c.tif")
    save_image(tmp_path / "d.zarr", Image(PIXELS[0], "YX"))
    (tmp_path / "e.zarr").symlink_to(tmp_path / "d.zarr")
    with pytest.warns(VeriscopeWarning, match="are one image"):
        assert [path.name for path in list_images(tmp_path)] == ["a.tif", "d.zarr"]
    with pytest.warns(VeriscopeWarning, match="are one image"):
        assert list_images(first, f"{tmp_path}/../{tmp_path.name}/a.tif") == [first]


def test_what_is_checked_with_was_not_trained_on_whatever_the_names(tmp_path):
    for mark, kind in enumerate(("low", "high")):
        a_set(tmp_path / "set" / kind, mark)
    with pytest.warns(VeriscopeWarning, match="under other names"):
        pairs = read_pairs(tmp_path / "set" / "low", tmp_path / "set" / "high")
    assert [pair.low.shape for pair in pairs] == [(3, 40, 50)]
    for kind in ("low", "high"):
        (tmp_path / "links" / kind).mkdir(parents=True)
    for number in range(4):
        save_image(tmp_path / "links" / "low" / f"{number}.tif", Image(PIXELS[0] + number, "YX"))
    save_image(tmp_path / "truth.tif", Image(PIXELS[1], "YX"))
    for number in range(3):
        (tmp_path / "links" / "high" / f"{number}.tif").symlink_to(tmp_path / "truth.tif")
    save_image(tmp_path / "links" / "high" / "3.tif", Image(PIXELS[2], "YX"))
    pairs = read_pairs(tmp_path / "links" / "low", tmp_path / "links" / "high")
    for seed in range(5):
        training, checking, _ = pairs.split(check=0.5, test=0, seed=seed)
        assert {len(training), len(checking)} == {1, 3}  # one truth, one side
    (tmp_path / "links" / "low" / "3.tif").unlink()
    (tmp_path / "links" / "low" / "3.tif").symlink_to(tmp_path / "links" / "high" / "3.tif")
    with pytest.raises(PairingError, match="are one image"):
        read_pairs(tmp_path / "links" / "low", tmp_path / "links" / "high")


# Which description is meant


def test_the_voxel_size_is_that_of_the_image_whose_pixels_are_read(tmp_path):
    empty = ('SizeZ="1" SizeC="1" SizeT="1" PhysicalSizeX="9" PhysicalSizeY="9"', "<MetadataOnly/>")
    real = (f'SizeZ="3" SizeC="1" SizeT="1" {SIZES}', '<TiffData IFD="0" PlaneCount="3"/>')
    for order in ([empty, real], [real, empty], [empty, empty, real]):
        assert read_image(write(tmp_path / "a.ome.tif", PIXELS, ome(*order))).voxel_size == (0.3, 0.1, 0.1)


@pytest.mark.parametrize("present", [True, False])
def test_a_companion_file_is_read_or_named(tmp_path, present):
    own, main = "urn:uuid:aaaaaaaa-0000-4000-8000-000000000001", "urn:uuid:cccccccc-0000-4000-8000-000000000001"
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="{z}" PlaneCount="1"><UUID FileName="a.ome.tif">{own}</UUID></TiffData>'
        for z in range(3)
    )
    pointer = (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{own}">'
        f'<BinaryOnly MetadataFile="a.companion.ome" UUID="{main}"/></OME>'
    )
    path = write(tmp_path / "a.ome.tif", PIXELS, pointer)
    if present:
        (tmp_path / "a.companion.ome").write_text(ome((f'SizeZ="3" SizeC="1" SizeT="1" {SIZES}', planes), uuid=main))
        image, words = said(path)
        assert (image.axes, image.voxel_size) == ("ZYX", (0.3, 0.1, 0.1))
        assert "a.companion.ome" in words
        return
    with pytest.warns(VeriscopeWarning, match="companion"), pytest.raises(AxesError, match="companion"):
        read_image(path)


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_that_was_renamed_or_copied_is_read_by_itself(tmp_path, beside):
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="{z}" PlaneCount="1"><UUID FileName="before.ome.tif">urn:uuid:a</UUID></TiffData>'
        for z in range(3)
    )
    xml = ome((f'SizeZ="3" SizeC="1" SizeT="1" {SIZES}', planes))
    if beside:
        write(tmp_path / "before.ome.tif", PIXELS[::-1], xml)
    image = read_image(write(tmp_path / "after.ome.tif", PIXELS, xml))
    assert (image.axes, image.voxel_size) == ("ZYX", (0.3, 0.1, 0.1))
    assert_array_equal(np.asarray(image), PIXELS)


def test_a_set_never_leads_out_of_its_folder_nor_into_a_pipe(tmp_path):
    def of(name: str) -> str:
        here = '<TiffData FirstZ="0" IFD="0" PlaneCount="1"/>'
        there = f'<TiffData FirstZ="1" IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:b</UUID></TiffData>'
        return ome(('SizeZ="2" SizeC="1" SizeT="1"', here + there))

    secret = save_image(tmp_path / "secret.tif", Image(PIXELS[2], "YX"))
    image, words = said(write(tmp_path / "in" / "a.ome.tif", PIXELS[0], of(f"../{secret.name}")))
    assert not np.asarray(image)[1].any()
    assert "lacks 1 of its 2 planes" in words
    os.mkfifo(tmp_path / "in" / "pipe.tif")
    path = write(tmp_path / "in" / "b.ome.tif", PIXELS[0], of("pipe.tif"))
    with pytest.raises(ImageFormatError, match="is not a file"):
        read_image(path)
    with pytest.raises(ImageFormatError, match="is a pipe"):
        read_image(tmp_path / "in" / "pipe.tif")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_pipe_in_place_of_any_file_of_an_ome_zarr_does_not_block(tmp_path, version):
    whole = save_image(tmp_path / "whole.ome.zarr", Image(PIXELS[0], "ZYX"[-PIXELS[0].ndim :]), version=version)
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for number, file in enumerate(files):
        spoiled = tmp_path / f"{number}.ome.zarr"
        shutil.copytree(whole, spoiled)
        (spoiled / file).unlink()
        os.mkfifo(spoiled / file)
        signal.alarm(60)  # ends a read that blocks
        try:
            if "0" in file.parts[:1] or len(file.parts) == 1:
                with pytest.raises(ImageFormatError, match=r"is a pipe, socket or device|without metadata"):
                    np.asarray(read_image(spoiled))
            else:  # of a smaller level of the pyramid, which is not read
                np.asarray(read_image(spoiled))
        finally:
            signal.alarm(0)


# Broken and odd descriptions

GOOD = ome((f'SizeZ="3" SizeC="1" SizeT="1" {SIZES}', '<TiffData IFD="0" PlaneCount="3"/>'))


@pytest.mark.parametrize(
    "xml",
    [
        GOOD.replace('Name="0"', 'Name="drug & control"'),
        GOOD.replace('Name="0"', 'Name="a < b"'),
        GOOD.replace('Name="0"', 'Name="a\x0bb"'),
        GOOD.replace('Name="0"', 'Name="a&#11;b"'),
        GOOD.replace('"0.1"', '"0,1"').replace('"0.3"', '"0,3"'),
        GOOD.replace('<TiffData IFD="0" PlaneCount="3"/>', ""),
        GOOD.replace(SIZES, 'PhysicalSizeX="100" PhysicalSizeXUnit="nm" PhysicalSizeY="1e-4" PhysicalSizeYUnit="mm" '
                            'PhysicalSizeZ="3000" PhysicalSizeZUnit="Å"'),
        f"\ufeff{GOOD}\n\n",
    ],
    ids=["ampersand", "less", "control character", "escaped", "comma", "no TiffData", "units", "mark of order"],
)  # fmt: skip
def test_what_is_wrong_with_a_description_is_mended_where_its_meaning_is_plain(tmp_path, xml):
    image, words = said(write(tmp_path / "a.ome.tif", PIXELS, xml))
    assert (image.axes, image.voxel_size, words) == ("ZYX", (0.3, 0.1, 0.1), "")


@pytest.mark.parametrize(
    "xml",
    [GOOD.replace("</Pixels>", ""), GOOD[:-40], GOOD.replace('SizeX="50"', ""), "<OME>", '<!DOCTYPE OME><OME/>',
     '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><OME>&b;</OME>'],
    ids=["unclosed", "cut", "no size", "empty", "doctype", "bomb"],
)  # fmt: skip
def test_a_description_that_cannot_be_understood_is_told(tmp_path, xml):
    path = write(tmp_path / "a.ome.tif", PIXELS, xml)
    with pytest.warns(VeriscopeWarning, match="description|planes"):
        assert read_image(path, axes="ZYX").voxel_size is None


def test_entities_in_the_xml_of_other_formats_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", PIXELS, '<!DOCTYPE scn [<!ENTITY a "aaaa">]><scn>&a;</scn>')
    with pytest.raises(ImageFormatError, match="declares XML entities"):
        read_image(path, axes="ZYX")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))
def test_any_text_is_parsed_or_refused(text):
    with contextlib.suppress(ValueError):
        assert parsed(f"<OME>{text}</OME>").tag == "OME"


@given(st.text(max_size=50))
def test_what_is_written_can_always_be_encoded(text):
    encodable(text).encode("utf-8")
    tame = "".join(c for c in encodable(text) if c not in "<>&")
    assert parsed(f"<OME>{tame}</OME>") is not None


# Voxels


@pytest.mark.parametrize(
    ("unit", "per", "expected"),
    [(3, 1e5, 0.1), (2, 254000, 0.1), (2, 300, None), (2, 600, None), (2, 1200, None), (3, 118, None), (1, 1e5, None)],
)
def test_pixels_per_inch_and_cm_are_a_microscopes_or_a_printers(tmp_path, unit, per, expected):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS[0], resolution=(per, per), resolutionunit=unit)
    found = read_image(tmp_path / "a.tif").voxel_size
    assert found == (None if expected is None else pytest.approx((expected, expected)))


@pytest.mark.parametrize("name", ["out.ome.tif", "out.tif", "out.zarr", "out4.zarr"])
@pytest.mark.parametrize("known", [(None, 0.1, 0.1), (0.3, 0.1, 0.1), (0.3, None, None)])
def test_a_voxel_is_known_axis_by_axis_from_reading_to_saving(tmp_path, name, known):
    sizes = " ".join(f'PhysicalSize{a}="{size or 0}"' for a, size in zip("ZYX", known, strict=True))
    xml = ome((f'SizeZ="3" SizeC="1" SizeT="1" {sizes}', '<TiffData IFD="0" PlaneCount="3"/>'))
    image, words = said(write(tmp_path / "a.ome.tif", PIXELS, xml))
    assert image.voxel_size == known
    assert ("does not state the voxel size along" in words) is (None in known)
    version = "0.4" if "4" in name else "0.5"
    again, _ = said(save_image(tmp_path / name, image, version=version))
    assert again.voxel_size == pytest.approx(known)
    assert image.full_voxel_size == (None if None in known else known)


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "a.zarr"])
def test_a_stack_of_one_plane_stays_a_stack(tmp_path, name):
    image = read_image(save_image(tmp_path / name, Image(PIXELS[:1], "ZYX", (0.5, 0.1, 0.1))))
    assert (image.axes, image.shape) == ("ZYX", (1, 40, 50))
    assert image.voxel_size == pytest.approx((0.5, 0.1, 0.1))
    assert (image.flat.axes, image.flat.shape) == ("YX", (40, 50))


@pytest.mark.parametrize(
    ("names", "types", "expected"),
    [
        (["depth", "y", "x"], ["space", "space", "space"], "ZYX"),
        (["frame", "row", "column"], ["time", "space", "space"], "TYX"),
        (["stain", "Y", "X"], ["channel", "space", "space"], "CYX"),
    ],
)
def test_axes_of_zarr_are_known_by_their_type_whatever_their_names(tmp_path, names, types, expected):
    axes = [{"name": name, "type": kind} for name, kind in zip(names, types, strict=True)]
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", shape=PIXELS.shape, dtype=PIXELS.dtype, chunks=PIXELS.shape)[...] = PIXELS
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    assert read_image(tmp_path / "a.zarr").axes == expected


def pair_of(folder: Path, low: float | None, high: float | None, name: str = "a") -> None:
    for kind, size in (("low", low), ("high", high)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        save_image(folder / kind / f"{name}.tif", Image(PIXELS[0], "YX", size and (size, size)))


def test_low_and_high_of_other_voxel_sizes_are_told_or_refused(tmp_path):
    pair_of(tmp_path / "far", 0.1, 0.2)
    with pytest.raises(DataError, match=r"0\.1 x 0\.1 um, high of 0\.2 x 0\.2 um"):
        read_pairs(tmp_path / "far" / "low", tmp_path / "far" / "high")
    pair_of(tmp_path / "near", 0.1, 0.11)
    with pytest.warns(VeriscopeWarning, match=r"0\.1 x 0\.1 um, high of 0\.11 x 0\.11 um"):
        read_pairs(tmp_path / "near" / "low", tmp_path / "near" / "high")
    pair_of(tmp_path / "unknown", 0.1, None)
    read_pairs(tmp_path / "unknown" / "low", tmp_path / "unknown" / "high")
    for name, size in (("a", 0.1), ("b", 0.1), ("c", 0.3)):
        pair_of(tmp_path / "mixed", size, size, name)
    with pytest.warns(VeriscopeWarning, match=r"0\.1 x 0\.1 um \(2\), 0\.3 x 0\.3 um \(1\)"):
        read_pairs(tmp_path / "mixed" / "low", tmp_path / "mixed" / "high")


# What is carried through


@pytest.mark.parametrize("name", ["a.ome.tif", "a.zarr", "a4.zarr"])
def test_what_else_is_known_of_an_image_comes_back(tmp_path, name):
    array = np.stack([PIXELS, PIXELS])
    image = Image(array, "CZYX", (0.3, 0.1, 0.1), carried=EVERYTHING)
    again = read_image(save_image(tmp_path / name, image, version="0.4" if "4" in name else "0.5"))
    assert again.carried == EVERYTHING
    assert again.describe()["channels"] == "DAPI, GFP"


def test_imagej_keeps_names_colours_and_text_and_what_it_has_no_place_for_is_told(tmp_path):
    image = Image(np.stack([PIXELS, PIXELS]), "CZYX", (0.3, 0.1, 0.1), carried=EVERYTHING)
    with pytest.warns(VeriscopeWarning, match="no place for the stage position and the time of acquisition"):
        again = read_image(save_image(tmp_path / "a.tif", image))
    assert (again.carried.channels, again.carried.description) == (EVERYTHING.channels, EVERYTHING.description)
    labels = tuple(f"plane {z}" for z in range(3))
    stack = Image(PIXELS, "ZYX", (0.3, 0.1, 0.1), carried=Carried(labels=labels))
    assert read_image(save_image(tmp_path / "b.tif", stack)).carried.labels == labels
    with pytest.warns(VeriscopeWarning, match="no place for the labels of planes"):
        save_image(tmp_path / "b.ome.tif", stack)


def test_a_part_of_an_image_keeps_what_is_true_of_it():
    image = Image(np.zeros((2, 8, 9)), "CYX", carried=EVERYTHING)
    assert image.region(C=1).carried.channels == (Channel("GFP", "00FF00"),)
    assert image.region(C=slice(0, 1)).carried.channel_names == ["DAPI"]
    assert image.region(Y=slice(0, 4)).carried.position == EVERYTHING.position
    assert set(image.region(Y=slice(2, 4)).carried.position) == {"X"}
    assert image.with_array(np.zeros((3, 8, 9))).carried.channels == ()
    assert image.moved("YXC").carried == EVERYTHING


def test_reading_from_many_threads_leaves_the_words_of_tifffile_as_they_were(tmp_path, caplog):
    import logging

    for number in range(4):
        tifffile.imwrite(tmp_path / f"{number}.tif", PIXELS[0])
    logger = logging.getLogger("tifffile")
    before = logger.disabled, list(logger.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: read_image(tmp_path / f"{n % 4}.tif"), range(300)))
    assert (logger.disabled, logger.filters) == before
    logger.warning("heard")
    assert "heard" in caplog.text
