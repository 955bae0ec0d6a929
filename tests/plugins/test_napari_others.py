"""The widgets Train, Compare and judge, and Inspect, in a real napari."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import veriscope as vs

Make = Callable[..., Any]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that train in seconds."""
    monkeypatch.setattr(
        "veriscope_napari.train.Recipe",
        lambda **found: vs.Recipe(**{**found, "depth": 1, "base": 2, "patch": (32, 32), "precision": "float32"}),
    )
    monkeypatch.setattr("veriscope_napari.train.EVERY", 0.0)


def two_layers(app: Any, seen: Any) -> Any:
    """A low-light image and its ground truth, and the widget Train with a short training."""
    app.add(seen.low)
    app.add(seen.high)
    app.viewer.layers.selection = {app.viewer.layers[0]}
    widget = app.open("Train")
    widget.minutes.setRange(0, 9)
    widget.members.setValue(1)
    return widget


def test_two_layers_become_a_model_that_restores(
    app: Any, make_pair: Make, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = two_layers(app, make_pair(30, (96, 96)))
    monkeypatch.setattr(widget.minutes, "value", lambda: 0.06)
    widget.folder.edit.setText(str(tmp_path / "model"))
    widget.train_button.click()
    app.done(widget)
    assert f"saved in {tmp_path / 'model'}" in widget.message.text()
    assert len(vs.load(tmp_path / "model")) == 1
    assert widget.rows[-1][3] is not None
    assert [len(axes.lines) for axes in widget.curve.figure.axes] == [1, 1]  # of the training, and checked
    low, so_far, truth = (panel.images[0].get_array() for panel in widget.patches.figure.axes[:3])
    assert low.shape == so_far.shape == truth.shape == (32, 32)
    widget.save(tmp_path / "copy")
    restore = app.open("Restore")
    assert restore.model.box.itemText(0) == str(tmp_path / "copy")
    app.viewer.layers.selection = {app.viewer.layers[0]}
    assert "restored" in app.restore(restore, tmp_path / "copy")
    widget.save(tmp_path / "copy")
    assert "exists already" in widget.message.text()


def test_two_folders_stopped_continued_and_stopped_for_good(
    app: Any, make_pair: Make, small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        seen = make_pair(number, (64, 64))
        for kind, image in (("low", seen.low), ("high", seen.high)):
            (tmp_path / kind).mkdir(exist_ok=True)
            vs.save_image(tmp_path / kind / f"{number}.tif", image)
    widget = app.open("Train")
    widget.kind.setCurrentIndex(1)
    widget.train_button.click()
    assert "Two folders are learned from" in widget.message.text()
    widget.low_folder.edit.setText(str(tmp_path / "low"))
    widget.high_folder.edit.setText(str(tmp_path / "high"))
    widget.folder.edit.setText(str(tmp_path / "model"))
    widget.members.setValue(1)
    monkeypatch.setattr(widget.minutes, "value", lambda: 0.25)
    widget.train_button.click()
    app.until(lambda: (tmp_path / "model" / "member-0.safetensors").exists() and widget.rows)
    widget.stop_button.click()
    app.done(widget)
    assert widget.message.text().startswith("Stopped. Continue goes on")
    widget.save(tmp_path / "early")
    assert len(vs.load(tmp_path / "early")) == 1
    reached, count = widget.rows[-1][0], len(widget.rows)
    assert reached < 95
    widget.go_on_button.click()
    app.done(widget)
    assert "Trained, and saved" in widget.message.text()
    assert widget.rows[-1][0] > reached
    assert widget.rows[count][0] > 0  # not from the beginning
    widget.train_button.click()
    app.done(widget)
    assert "model' exists already" in widget.message.text()


def test_a_region_is_compared_and_judged(app: Any, make_pair: Make, trained: Path) -> None:
    seen = make_pair(31, (72, 72))
    app.add(seen.low)
    app.add(seen.high)
    widget = app.open("Compare and judge")
    widget.methods.setText("median")
    widget.model.set(trained)
    widget.region.setCurrentText("the rectangle drawn last")
    widget.button.click()
    assert "No rectangle is drawn" in widget.message.text()
    app.viewer.add_shapes([[[10, 20], [49, 69]]], shape_type="rectangle", scale=(0.3, 0.3), units=("um", "um"))
    widget.button.click()
    app.done(widget)
    where = {"Y": slice(10, 50), "X": slice(20, 70)}
    part = type(seen)(seen.low.region(**where), seen.high.region(**where), "cells")
    wanted = vs.judge(vs.load(trained), [part])
    assert f"{wanted.of('restoration').nrmse:.4f}"[:5] in widget.table.toPlainText()
    assert "median" in widget.table.toPlainText()
    widget.methods.setText("nonsense")
    widget.button.click()
    app.done(widget)
    assert "There is no method 'nonsense'" in widget.message.text()


def test_a_click_and_a_line_show_what_the_networks_predict(app: Any, make_pair: Make, trained: Path) -> None:
    seen = make_pair(32, (72, 72))
    app.add(seen.high)
    app.add(seen.low)
    restore, widget = app.open("Restore"), app.open("Inspect")
    widget.show_pixel((3.0, 6.0))
    assert "There is no restored image yet" in widget.message.text()
    layer = app.restore(restore, trained)["restored"]
    app.viewer.layers.selection = {layer}
    widget.truth.setCurrentIndex(1)
    known = restore.result.restored

    event = type("Event", (), {"type": "mouse_press", "position": (3.0, 6.0)})()
    clicking = widget._clicked(app.viewer, event)
    next(clicking)
    event.type = "mouse_release"
    assert next(clicking, None) is None
    chart = widget.pixel_chart.figure.axes[0]
    each, other, together = chart.lines[:3]
    means, scales = (np.asarray(values)[:, 10, 20] for values in known.members)
    for number, line in enumerate((each, other)):
        values = np.asarray(line.get_xdata())
        laplacian = np.exp(-np.abs(values - means[number]) / scales[number]) / (2 * scales[number])
        np.testing.assert_allclose(line.get_ydata(), laplacian, rtol=1e-4)
    values, density = np.asarray(together.get_xdata()), np.asarray(together.get_ydata())
    assert 0.9 < np.trapezoid(density, values) < 1.01
    lower, upper = (float(np.asarray(end)[10, 20]) for end in known.interval(0.9))
    assert f"from {lower:.4g} to {upper:.4g}" in widget.message.text()
    slope, offset = np.polyfit(np.asarray(seen.high).ravel(), np.asarray(seen.low).ravel(), 1)
    truth = slope * np.asarray(seen.high) + offset  # in the grey values of the input
    assert f"ground truth, {truth[10, 20]:.4g}" in [line.get_label() for line in chart.lines]

    widget.line_button.click()
    drawn = app.viewer.layers["line to inspect"]
    assert drawn.mode == "add_line"
    drawn.add_lines(np.array([[5, 8], [5, 60]]))
    chart = widget.line_chart.figure.axes[0]
    np.testing.assert_array_equal(chart.lines[0].get_ydata(), np.asarray(known.mean)[5, 8:61])
    band = chart.collections[0].get_paths()[0].vertices[:, 1]
    ends = [np.asarray(end)[5, 8:61] for end in known.interval(0.9)]
    assert band.min() == ends[0].min()
    assert band.max() == ends[1].max()
    inside = np.mean((ends[0] <= truth[5, 8:61]) & (truth[5, 8:61] <= ends[1]))
    assert widget.message.text().startswith(f"{100 * inside:.0f} % of the ground truth")
