from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from veriscope.errors import AxesError, ImageFormatError
from veriscope.images.reading import list_images, read_image
from veriscope.images.vendor import kind

HEADS = {
    "nd2": b"\xda\xce\xbe\x0a" + bytes(20),
    "czi": b"ZISRAWFILE" + bytes(20),
    "lif": b"\x70\0\0\0\x10\0\0\0\x2a" + bytes(20),
}


@pytest.mark.parametrize("suffix", HEADS)
def test_a_missing_reader_says_what_to_install(tmp_path, monkeypatch, suffix):
    for module in ("nd2", "czifile", "liffile"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a.{suffix}").write_bytes(HEADS[suffix])
    with pytest.raises(ImageFormatError, match=r'pip install "veriscope\[vendor\]"'):
        read_image(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("suffix", HEADS)
def test_damaged_vendor_files_are_told(tmp_path, suffix):
    pytest.importorskip({"nd2": "nd2", "czi": "czifile", "lif": "liffile"}[suffix])
    (tmp_path / f"a.{suffix}").write_bytes(HEADS[suffix])
    with pytest.raises(ImageFormatError, match="damaged"):
        read_image(tmp_path / f"a.{suffix}")


def test_vendor_files_are_known_by_their_content(tmp_path):
    assert {kind(head, tmp_path / "a.tif") for head in HEADS.values()} == {"ND2", "CZI", "LIF"}
    assert kind(b"II*\0" + bytes(20), tmp_path / "a.nd2") is None


# Nikon


@pytest.mark.parametrize("lazy", [True, False])
def test_nd2_is_read_like_its_own_library_reads_it(shared_data, lazy):
    nd2 = pytest.importorskip("nd2")
    path = shared_data / "vendor" / "cluster.nd2"
    if not path.exists():
        pytest.skip("no ND2 file on this machine")
    image, expected = read_image(path, lazy=lazy), nd2.imread(path)
    assert (image.axes, image.shape, image.is_lazy) == ("TZCYX", (3, 10, 2, 31, 38), lazy)
    assert image.voxel_size == pytest.approx((0.5, 0.16780898, 0.16780898))
    assert_array_equal(np.asarray(image), expected)
    assert_array_equal(image.read(slice(1, 3), 4, slice(None), slice(5, 9), 7), expected[1:3, 4, :, 5:9, 7])
    assert_array_equal(
        np.asarray(image.moved("CTZYX").region(Z=slice(2, 4))), expected.transpose(2, 0, 1, 3, 4)[:, :, 2:4]
    )


def test_positions_of_an_nd2_file_are_chosen_and_frames_found(monkeypatch, tmp_path):
    """A stand-in with the loops T, P, Z: the frame number runs over all of them, in this order."""
    sizes = {"T": 2, "P": 3, "Z": 4, "C": 2, "Y": 5, "X": 6}
    pixels = np.arange(2 * 3 * 4 * 2 * 5 * 6, dtype="uint16").reshape(tuple(sizes.values()))

    class File:
        def __init__(self, path):
            self.sizes, self.dtype, self.experiment = sizes, np.dtype("uint16"), []
            self.experiment = [SimpleNamespace(type="TimeLoop", parameters=SimpleNamespace(periodMs=1500.0))]
            volume = SimpleNamespace(axesCalibrated=(True, True, True))
            self.metadata = SimpleNamespace(
                channels=[SimpleNamespace(volume=volume, channel=SimpleNamespace(name="GFP"))]
            )

        def read_frame(self, number):
            return pixels.reshape(-1, 2, 5, 6)[number]

        def voxel_size(self):
            return SimpleNamespace(x=0.1, y=0.2, z=0.3)

        def close(self):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setitem(sys.modules, "nd2", SimpleNamespace(ND2File=File))
    (tmp_path / "a.nd2").write_bytes(HEADS["nd2"])
    with pytest.raises(ImageFormatError, match=r"holds 3 images: ::0 .*::2"):
        read_image(tmp_path / "a.nd2")
    image = read_image(f"{tmp_path}/a.nd2::1", lazy=True)
    assert (image.axes, image.voxel_size, image.time_step) == ("TZCYX", (0.3, 0.2, 0.1), 1.5)
    assert_array_equal(np.asarray(image), pixels[:, 1])
    assert_array_equal(image.read(1, slice(0, 4, 2), 1), pixels[1, 1, 0:4:2, 1])
    assert image.read(slice(1, 1), 0).shape == (0, 2, 5, 6)


# Zeiss


def test_scenes_of_a_czi_file_are_chosen_by_number(shared_data):
    czifile = pytest.importorskip("czifile")
    path = shared_data / "vendor" / "neubias_xyz__multiple_images.czi"
    if not path.exists():
        pytest.skip("no CZI file on this machine")
    with pytest.raises(ImageFormatError, match=r"holds 2 images: ::0 \(scene 0\), ::1 \(scene 1\)"):
        read_image(path)
    with pytest.raises(ImageFormatError, match="'::2' is not one of them"):
        read_image(f"{path}::2")
    for scene in range(2):
        image = read_image(f"{path}::{scene}")
        assert (image.axes, image.name) == ("ZYX", f"neubias_xyz__multiple_images-{scene}")
        assert image.voxel_size == pytest.approx((0.3, 0.19564437607, 0.19564437607))
        with czifile.CziFile(path) as file:  # before 2026 all scenes together: B V S C T Z Y X 0
            scenes = getattr(file, "scenes", None)
            theirs = scenes[scene].asarray() if scenes is not None else file.asarray()[:, :, scene]
        assert_array_equal(np.asarray(image), np.squeeze(theirs))
    assert read_image(f"{path}::0", axes="TCZYX").shape == (1, 1, 2, 251, 251)
    assert list_images(f"{path}::1")[0].name == "neubias_xyz__multiple_images.czi::1"
    with pytest.raises(AxesError, match="name 2 dimensions"):
        read_image(f"{path}::0", axes="YX")


# Leica


def test_images_of_a_lif_file_are_chosen_by_number(monkeypatch, tmp_path):
    """With a stand-in for the reader: there is no LIF file small enough to keep."""
    pixels = np.arange(2 * 3 * 5 * 6, dtype="uint8").reshape(2, 3, 5, 6)

    class File:
        def __init__(self, path):
            coords = {"Z": np.linspace(0, 6e-7, 3), "Y": np.linspace(0, 8e-7, 5), "X": np.linspace(0, 5e-7, 6)}
            coords["T"] = np.array([0.0, 2.5])
            image = SimpleNamespace(name="one", dims=("T", "Z", "Y", "X"), coords=coords, asarray=lambda: pixels)
            other = SimpleNamespace(name="two", dims=("Y", "X", "S"), coords={}, asarray=lambda: pixels[0])
            odd = SimpleNamespace(name="odd", dims=("M", "Z", "Y", "X"), coords={}, asarray=lambda: pixels)
            self.images = [image, other, odd]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setitem(sys.modules, "liffile", SimpleNamespace(LifFile=File))
    (tmp_path / "a.lif").write_bytes(HEADS["lif"])
    with pytest.raises(ImageFormatError, match=r"::0 \(one\), ::1 \(two\)"):
        read_image(tmp_path / "a.lif")
    image = read_image(f"{tmp_path}/a.lif::0")
    assert (image.axes, image.time_step) == ("TZYX", 2.5)
    assert image.voxel_size == pytest.approx((0.3, 0.2, 0.1))
    assert_array_equal(np.asarray(image), pixels)
    assert read_image(f"{tmp_path}/a.lif::1").axes == "YXC"
    with pytest.raises(ImageFormatError, match="dimensions 'MZYX', of which M cannot be used"):
        read_image(f"{tmp_path}/a.lif::2")
