"""The widget Restore in a real napari: what the command line gives, shown where the images are."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import veriscope as vs
from veriscope.apps.cli import main

Make = Callable[..., Path]


def on_the_command_line(folder: Path, image: vs.Image, model: Path, *words: str) -> Path:
    """What `veriscope restore` writes."""
    vs.save_image(folder / "new.ome.tif", image)
    with pytest.raises(SystemExit) as end:
        main(["restore", str(folder / "new.ome.tif"), "--model", str(model), "--out", str(folder / "out"), *words])
    assert end.value.code in (0, None)
    return folder / "out"


def pixels(path: Path) -> Any:
    return np.asarray(vs.read_image(path))


def test_values_verdict_and_scale_are_those_of_the_command_line(
    app: Any, trained: Path, low: vs.Image, tmp_path: Path
) -> None:
    out = on_the_command_line(tmp_path, low, trained, "--scale", "--trust-mask", "--interval", "0.8")
    [source] = app.add(low)
    source.translate = (3, 4)
    widget = app.open("Restore")
    assert "YX 72 x 72, voxels of 0.3 x 0.3 um" in widget.image.text()
    layers = app.restore(widget, trained)
    assert set(layers) == {"restored", "predicted scale", "trust mask"}
    np.testing.assert_array_equal(layers["restored"].data, pixels(out / "new.ome.tif"))
    np.testing.assert_array_equal(layers["predicted scale"].data, pixels(out / "new.scale.ome.tif"))
    np.testing.assert_array_equal(layers["trust mask"].data, pixels(out / "new.trust-mask.ome.tif"))
    for layer in layers.values():
        assert tuple(layer.scale) == (0.3, 0.3)
        assert tuple(layer.translate) == (3, 4)
        assert {str(unit) for unit in layer.units} == {"micrometer"}
    said = (out / "new.trust.json").read_text()
    assert str(widget.result.restored.verdict) in said
    assert str(widget.result.restored.verdict) in widget.verdict.text()
    widget.interval.slider.setValue(800)
    widget.interval.box.setChecked(True)
    app.until(lambda: len(widget.interval.layers) == 2 and widget.interval.job is None)
    for layer, file in zip(widget.interval.layers, ("lower", "upper"), strict=True):
        np.testing.assert_array_equal(layer.data, pixels(out / f"new.{file}.ome.tif"))
    assert widget.model.box.itemText(0) == str(trained)  # used lately


def test_sliders_compute_from_the_members_and_run_no_network(
    app: Any, trained: Path, low: vs.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.add(low)
    widget = app.open("Restore")
    app.restore(widget, trained)
    monkeypatch.setattr("veriscope.restoring.running.Networks.__call__", None)
    restored = widget.result.restored
    for slider, name in ((widget.interval, "interval"), (widget.probability, "probability")):
        slider.box.setChecked(True)
        app.until(lambda s=slider: s.layers and s.job is None)
        for place in (600, 700, 990) if name == "interval" else (20, 80, 150):  # faster than it can be computed
            slider.slider.setValue(place)
        app.until(lambda s=slider: s.job is None)
        wanted = restored.output(name, slider.value(slider.slider.value()))
        for layer, image in zip(slider.layers, wanted, strict=True):
            np.testing.assert_array_equal(layer.data, np.asarray(image))
    assert widget.interval.label.text() == "99 %"


@pytest.mark.parametrize("name", ["deep", "series", "colours", "wing", "worm", "slices"])
def test_every_kind_of_image_has_the_values_of_the_command_line(app: Any, material: Any, name: str) -> None:
    folder, case = material.folder, material.cases[name]
    wanted = vs.read_image(material.by_command(name) / f"{name}-restored.tif")
    app.viewer.open(str(folder / f"{name}.tif"), plugin="veriscope")
    app.viewer.layers.selection = set(app.viewer.layers)
    widget = app.open("Restore")
    widget.planes.setChecked("--planes" in case.words)
    layers = app.restore(widget, folder / case.model)
    said = widget.message.text().split("\n")
    assert [line[:35] for line in said if line] == ["The restored image stays normalised"] * (name == "wing")
    shown = [layer for layer in app.viewer.layers if layer.name.endswith(", restored")]
    values = np.asarray(wanted) if "C" in wanted.axes else np.asarray(wanted)[None]
    assert len(shown) == len(values)
    for layer, channel in zip(shown, values, strict=True):
        np.testing.assert_array_equal(layer.data, channel)
        assert "".join(layer.axis_labels).upper() == wanted.axes.replace("C", "")
        np.testing.assert_allclose(layer.scale[-len(wanted.voxel_size) :], wanted.voxel_size, rtol=1e-4)
    if name == "wing":
        np.testing.assert_array_equal(layers["height"].data, pixels(folder / "cli" / "wing-restored.height.tif"))


def test_dask_and_pyramids_give_what_arrays_give(app: Any, untrained: Make, low: vs.Image) -> None:
    import dask.array as da

    path, array = untrained("YX"), np.asarray(low)
    wanted = np.asarray(vs.restore(low, vs.load(path)).mean)
    widget = app.open("Restore")
    app.viewer.add_image(da.from_array(array, (32, 32)), name="dask")
    np.testing.assert_array_equal(app.restore(widget, path)["restored"].data, wanted)
    pyramid = app.viewer.add_image([array, array[::2, ::2]], name="pyramid", multiscale=True)
    app.viewer.layers.selection = {pyramid}
    np.testing.assert_array_equal(app.restore(widget, path)["restored"].data, wanted)


def test_the_preview_shows_what_is_on_the_screen(app: Any, untrained: Make) -> None:
    stack = vs.Image(np.random.default_rng(0).integers(0, 900, (30, 300, 300)).astype(np.uint16), "ZYX", (1, 0.5, 0.5))
    source = app.viewer.add_image(stack.array, name="plain", scale=(1, 0.5, 0.5))
    app.viewer.dims.set_point(0, 20.0)
    app.viewer.camera.center, app.viewer.camera.zoom = (0, 40, 60), 24.0
    app.until(lambda: app.viewer.layers[0].corner_pixels[1, 1] < 299)
    widget = app.open("Restore")
    widget.axes.setCurrentText("ZYX")
    widget.model.set(untrained("ZYX"))
    widget.preview_button.click()
    app.done(widget)
    [preview] = [layer for layer in app.viewer.layers if layer.name.endswith("preview")]
    assert preview.data.shape[0] == 16
    assert set(app.viewer.layers.selection) == {source}  # so that Restore is not of the preview
    assert widget.axes.word() == "ZYX"
    start = np.round(np.divide(preview.translate, preview.scale)).astype(int)
    assert start[0] <= 20 < start[0] + 16
    assert preview.data.size < stack.array.size / 8
    part = stack.region(**{a: slice(s, s + n) for a, s, n in zip("ZYX", start, preview.data.shape, strict=True)})
    np.testing.assert_array_equal(preview.data, np.asarray(vs.restore(part, vs.load(widget.model.path())).mean))


@pytest.mark.parametrize(
    ("model", "axes", "memory", "message"),
    [
        ("ZYX", "TYX", "", "Z"),
        ("YX", "TZX", "", "Y"),
        ("YX", "TY", "", "name 2 dimensions"),
        ("YX", "", "", "does not state its 3 axes"),
        ("YX", "TYX", "1kB", "Memory of 1 kB is too small"),
        ("YX", "TYX", "much", "much"),
        (None, "TYX", "", "nowhere"),
        ("", "TYX", "", "No model is named"),
    ],
)
def test_what_is_wrong_is_said_in_the_widget(
    app: Any, untrained: Make, material: Any, tmp_path: Path, model: str | None, axes: str, memory: str, message: str
) -> None:
    app.viewer.add_image(tifffile.imread(material.folder / "series.tif"), name="plain")
    widget = app.open("Restore")
    widget.axes.setCurrentText(axes)
    widget.machine.memory.setText(memory)
    path = tmp_path / "nowhere" if model is None else untrained(model) if model else ""
    assert app.restore(widget, path) == {}
    assert message in widget.message.text()
    assert not widget.bar.isVisible()


def test_cancelled_half_way_nothing_is_left_and_the_window_answers(
    app: Any, untrained: Make, material: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from veriscope_napari import results

    monkeypatch.setattr(results, "IN_MEMORY", 0)  # the predictions lie in files
    image = vs.Image(np.tile(tifffile.imread(material.folder / "series.tif"), (130, 2, 2)), "TYX")
    app.add(image)
    widget = app.open("Restore")
    widget.model.set(untrained("YX"))
    widget.restore_button.click()
    app.until(lambda: widget.bar.value() > 20)
    app.viewer.dims.set_point(0, 7)
    widget.cancel_button.click()
    app.done(widget)
    assert widget.message.text() == "Cancelled. No layer was added."
    assert len(app.viewer.layers) == 1
    layers = app.restore(widget, widget.model.path())  # and again, to the end
    folder = Path(widget.result.folder.name)
    assert any(folder.iterdir())
    wanted = vs.restore(image, vs.load(widget.model.path()))
    np.testing.assert_array_equal(layers["restored"].data, np.asarray(wanted.mean))


def test_garbage_is_not_looked_for_in_what_is_older_than_the_work_until_a_layer_goes(
    app: Any, trained: Path, low: vs.Image
) -> None:
    """Looking through all that napari and torch hold would stop the window longer than anything else."""

    class Ring:
        def __init__(self) -> None:
            self.ring = self

    [source], ring = app.add(low), Ring()
    held = weakref.ref(ring)
    app.restore(app.open("Restore"), trained)
    del ring
    gc.collect()
    assert held() is not None
    app.viewer.layers.remove(source)
    gc.collect()
    assert held() is None


def test_real_images(app: Any, untrained: Make, shared_data: Path) -> None:
    """A series of stacks from a microscope, and a model that csbdeep trained."""
    series = vs.read_image(shared_data / "yeast_mito_tzyx" / "yeast_mito_t0-11.tif", "TZYX", lazy=True)
    part = series.region(T=slice(0, 2), Y=slice(0, 48), X=slice(0, 48))
    app.add(part)
    widget = app.open("Restore")
    model = next((shared_data / "csbdeep" / "care3d_prob").rglob("config.json")).parent
    layers = app.restore(widget, model)
    assert widget.message.text() == ""
    np.testing.assert_array_equal(layers["restored"].data, np.asarray(vs.restore(part, vs.load(model)).mean))
    assert re.search(r"restores, ZYX", widget.model_words.text())
