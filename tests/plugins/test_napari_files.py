"""Readers, writers and sample data in a real napari."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import veriscope as vs
from veriscope.images.carried import Carried, named

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("suffix", [".ome.tif", ".ome.zarr"])
def test_files_open_lazily_with_scale_units_and_channels_and_are_written_again(
    app: Any, tmp_path: Path, suffix: str
) -> None:
    import dask.array as da

    pixels = np.random.default_rng(0).integers(0, 999, (3, 2, 5, 16, 18)).astype(np.uint16)
    image = vs.Image(
        pixels, "TCZYX", (0.8, 0.2, 0.2), 30.0, "cells", Carried(named(["DAPI", "GFP"], ["0000FF", "00FF00"]))
    )
    vs.save_image(tmp_path / f"cells{suffix}", image)
    layers = app.viewer.open(str(tmp_path / f"cells{suffix}"), plugin="veriscope")
    assert [layer.name for layer in layers] == ["cells DAPI", "cells GFP"]
    for number, layer in enumerate(layers):
        assert isinstance(layer.data, da.Array)
        assert tuple(layer.scale) == (30.0, 0.8, 0.2, 0.2)
        assert list(map(str, layer.units)) == ["second", *["micrometer"] * 3]
        assert layer.axis_labels == ("t", "z", "y", "x")
        np.testing.assert_array_equal(layer.data, pixels[:, number])
    assert tuple(layers[1].colormap.colors[-1][:3]) == (0, 1, 0)
    again = tmp_path / f"again{suffix}"
    assert app.viewer.layers.save(str(again), plugin="veriscope") == [str(again)]
    back = vs.read_image(again).moved("TCZYX")
    np.testing.assert_array_equal(np.asarray(back), pixels)
    assert (back.voxel_size, back.time_step) == ((0.8, 0.2, 0.2), 30.0)
    assert back.carried.channel_names == ["DAPI", "GFP"]


def test_one_layer_or_labels_are_written_as_they_are_shown(app: Any, tmp_path: Path) -> None:
    layer = app.viewer.add_labels(np.eye(20, dtype=np.uint16), scale=(250, 250), units=("nm", "nm"))
    assert layer.save(str(tmp_path / "labels.ome.tif"), plugin="veriscope")
    back = vs.read_image(tmp_path / "labels.ome.tif")
    assert (back.axes, back.voxel_size, back.dtype) == ("YX", (0.25, 0.25), np.uint16)


def test_a_file_without_axes_becomes_a_layer_that_states_none(app: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.zeros((3, 8, 9), np.float32))
    app.viewer.open(str(tmp_path / "plain.npy"), plugin="veriscope")
    widget = app.open("Restore")
    assert widget.axes.word() == ""
    assert "does not state its 3 axes (3 x 8 x 9)" in widget.image.text()


@pytest.mark.parametrize("key", ["nuclei", "stack"])
def test_sample_data_is_a_pair_to_train_on(app: Any, key: str) -> None:
    low, high = app.viewer.open_sample("veriscope", key)
    assert low.data.shape == high.data.shape
    assert low.name.endswith("low light")
    assert {str(unit) for unit in low.units} == {"micrometer"}


def test_networks_that_come_along_are_offered(app: Any) -> None:
    widget = app.open("Restore")
    offered = [widget.model.box.itemText(number) for number in range(widget.model.box.count())]
    assert "nuclei-3d" in offered
    widget.model.set("nuclei-3d")
    assert widget.model.ensemble(widget.model.path()).recipe.axes == "ZYX"


def test_installing_the_package_installs_the_plugin() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    assert project["project"]["entry-points"]["napari.manifest"] == {"veriscope": "veriscope_napari:napari.yaml"}
    assert "plugins/napari/veriscope_napari" in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
