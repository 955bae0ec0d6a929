"""The widget Inspect: what the networks predict for the pixel that was clicked, and for those along a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.compat import isalive
from qtpy.QtWidgets import QFormLayout, QPushButton, QVBoxLayout, QWidget

from veriscope import laplace
from veriscope.images.carried import NOTHING
from veriscope.judging.quality import affine_match
from veriscope.restoring.restore import Restoration
from veriscope_napari.forms import LayerField
from veriscope_napari.working import canvas, legend, panel, words

P = 0.9
LINE = "line to inspect"
MEAN, MEMBER, TRUTH, INPUT = "#f2f3f5", "#5aa9e6", "#7bd389", "#e0a458"


class Inspect(QWidget):
    """Charts of a restoration that the widget Restore made."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.truth = LayerField(self.viewer, none="nothing")
        self.line_button, self.message = QPushButton("Draw a line"), words()
        self.pixel_chart, self.line_chart = canvas(), canvas()
        form, column = QFormLayout(), QVBoxLayout(self)
        form.addRow("Ground truth", self.truth)
        column.addLayout(form)
        for part in (self.line_button, self.message, self.pixel_chart, self.line_chart):
            column.addWidget(part)
        column.addStretch()
        self.line_button.clicked.connect(self.draw)
        self.viewer.mouse_drag_callbacks.append(self._clicked)
        self.message.setText("Click a pixel of a restored image, or draw a line across it.")

    def closeEvent(self, event: Any) -> None:
        if self._clicked in self.viewer.mouse_drag_callbacks:
            self.viewer.mouse_drag_callbacks.remove(self._clicked)
        super().closeEvent(event)

    # Pixels

    def _clicked(self, viewer: Any, event: Any) -> Iterator[None]:
        """A click, not a drag, which moves the image, and not while something is drawn."""
        yield
        dragged = False
        while event.type == "mouse_move":
            dragged = True
            yield
        active = viewer.layers.selection.active
        if not dragged and isalive(self) and self.isVisible() and (active is None or active.mode == "pan_zoom"):
            self.show_pixel(event.position)

    def show_pixel(self, position: Sequence[float]) -> None:
        """Densities of each member and of the mixture at a place in the world."""
        found = self._result()
        if found is None:
            return
        layer, result = found
        place = np.round(layer.world_to_data(position[-layer.ndim :])).astype(int)
        if not all(0 <= at < size for at, size in zip(place, layer.data.shape, strict=True)):
            self.message.setText("That is outside of the restored image. Click a pixel in it.")
            return
        at = gathered(result.restored, self._index(layer, result.restored, place[None]))
        if at.scales is None:
            self.message.setText("The networks of this model predict no distributions.")
            return
        mean, (lower, upper) = float(at.mean.array[0]), (float(end.array[0]) for end in at.interval(P))
        far = max(float(np.abs(at.means - mean).max() + 3 * at.scales.max()), upper - mean, 1e-6)
        values = np.unique(np.concatenate([np.linspace(mean - 1.5 * far, mean + 1.5 * far, 601), at.means[:, 0]]))
        chart = self._empty(self.pixel_chart, f"Pixel {', '.join(map(str, place))}", "grey value")
        for number in range(len(at.means)):
            one = (values_of[number : number + 1, :1].repeat(len(values), 1) for values_of in (at.means, at.scales))
            name = "each network" if number == 0 else None
            chart.plot(values, np.exp(laplace.log_likelihood(*one, values)), color=MEMBER, lw=1, label=name)
        several = (values_of[:, :1].repeat(len(values), 1) for values_of in (at.means, at.scales))
        widening = 1.0 if at.widening is None else np.repeat(at.widening[:1], len(values))
        density = np.exp(at.distribution.log_likelihood(*several, widening, values))
        chart.plot(values, density, color=MEAN, lw=2, label="together")
        chart.axvspan(lower, upper, color=MEAN, alpha=0.12, label=f"{100 * P:.0f} %")
        for name, value, colour in self._known(position, layer, result, place):
            chart.axvline(value, color=colour, ls=":", label=f"{name}, {value:.4g}")
        chart.set_yticks([])
        legend(chart)
        self.pixel_chart.draw_idle()
        self.message.setText(
            f"Restored {mean:.4g}; with a probability of {100 * P:.0f} % from {lower:.4g} to {upper:.4g}."
        )

    def _known(self, position: Any, layer: Any, result: Any, place: Any) -> Iterator[tuple[str, float, str]]:
        truth = self._at(self.truth.layer(), result, np.asarray(position)[None])
        if truth is not None:
            yield "ground truth", float(truth[0]), TRUTH
        if result.image.axes == result.restored.axes and result.image.shape == result.restored.means.shape[1:]:
            index = tuple(int(part[0]) for part in self._index(layer, result.restored, np.asarray(place)[None]))
            yield "input", float(np.asarray(result.image.read(*index))), INPUT

    # Lines

    def draw(self) -> None:
        """A layer to draw a line on."""
        if LINE not in self.viewer.layers:
            shown = self._result()
            more = {} if shown is None else {"scale": shown[0].scale, "units": shown[0].units}
            edge = {"edge_color": "#e0a458", "edge_width": 1}
            made = self.viewer.add_shapes(ndim=self.viewer.dims.ndim, name=LINE, **edge, **more)
            made.events.data.connect(self._drawn)
        layer = self.viewer.layers[LINE]
        self.viewer.layers.selection = {layer}
        layer.mode = "add_line"

    def _drawn(self, event: Any) -> None:
        layer = event.source
        if isalive(self) and len(layer.data) and str(event.action).endswith(("ADDED", "CHANGED", "added", "changed")):
            ends = np.array([layer.data_to_world(end) for end in layer.data[-1]])
            if len(ends) > 1:
                self.show_line(ends[0], ends[-1])

    def show_line(self, start: Sequence[float], stop: Sequence[float]) -> None:
        """The restored image and its band along a line between two places in the world, pixel by pixel."""
        found = self._result()
        if found is None:
            return
        layer, result = found
        world = np.array([start, stop], float)
        ends = np.array([layer.world_to_data(end[-layer.ndim :]) for end in world])
        count = max(2, int(np.ceil(np.abs(ends[1] - ends[0]).max())) + 1)
        part = np.linspace(0, 1, count)[:, None]
        sizes = np.array(layer.data.shape)
        places = np.clip(np.round(ends[0] + part * (ends[1] - ends[0])).astype(int), 0, sizes - 1)
        at = gathered(result.restored, self._index(layer, result.restored, places))
        length = float(np.linalg.norm(world[1] - world[0]))
        along = part[:, 0] * length
        micrometres = {str(unit) for unit in layer.units[-2:]} == {"micrometer"}
        chart = self._empty(self.line_chart, "Along the line", "um" if micrometres else "pixels")
        if at.scales is not None:
            lower, upper = (np.asarray(end) for end in at.interval(P))
            chart.fill_between(along, lower, upper, color=MEMBER, alpha=0.35, lw=0, label=f"{100 * P:.0f} % band")
        chart.plot(along, np.asarray(at.mean), color=MEAN, lw=1.2, label="restored")
        truth = self._at(self.truth.layer(), result, world[0] + part * (world[1] - world[0]))
        if truth is not None:
            chart.plot(along, truth, color=TRUTH, lw=1, label="ground truth")
            if at.scales is not None:
                inside = np.mean((truth >= lower) & (truth <= upper))
                self.message.setText(f"{100 * inside:.0f} % of the ground truth lies in the {100 * P:.0f} % band.")
        legend(chart)
        self.line_chart.draw_idle()

    # Both

    def _result(self) -> tuple[Any, Any] | None:
        """The selected layer of a restoration, or else the topmost, and what it shows."""
        known = [one for one in self.viewer.layers if "veriscope" in one.metadata]
        chosen = [one for one in known if one in self.viewer.layers.selection] or known
        if not chosen:
            self.message.setText("There is no restored image yet. Restore one first (Plugins > Veriscope > Restore).")
            return None
        return chosen[-1], chosen[-1].metadata["veriscope"]

    def _index(self, layer: Any, restored: Restoration, places: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Pixels of a layer, (n, axes of the layer), in all axes of the restoration."""
        own = dict(zip(restored.axes.replace("C", ""), places.T, strict=True))
        channel = np.full(len(places), layer.metadata.get("veriscope channel", 0))
        return tuple(own.get(letter, channel) for letter in restored.axes)

    def _at(self, layer: Any, result: Any, world: NDArray[Any]) -> NDArray[Any] | None:
        """The ground truth at places in the world, None where there is no layer or it does not reach there.

        Brought to the grey values of the input, by least squares, where that is as large; its noise does no harm.
        """
        if layer is None:
            return None
        data = layer.data[0] if layer.multiscale else layer.data
        places = np.array([np.round(layer.world_to_data(one[-layer.ndim :])) for one in world]).astype(int)
        if (places < 0).any() or (places >= np.array(data.shape)).any():
            return None
        found = np.array([float(np.asarray(data[tuple(place)])) for place in places])
        if data.shape != result.image.shape:
            return found
        planes = 128 if np.prod(data.shape) < 2**24 else 4  # this is the thread of the window
        most = (planes,) * (data.ndim - 2) + (128, 128)
        some = tuple(slice(None, None, max(1, size // count)) for size, count in zip(data.shape, most, strict=True))
        true, low = (np.asarray(values, np.float64) for values in (data[some], result.image.read(*some)))
        factor, offset = affine_match(low, true)
        return factor * found + offset

    def _empty(self, chart: Any, title: str, x: str) -> Any:
        chart.figure.clear()
        return panel(chart.figure, 1, 1, 1, title=title, x=x)


def gathered(restored: Restoration, index: tuple[NDArray[Any], ...]) -> Restoration:
    """The pixels at `index`, one array for each axis, as a row."""
    every: Any = (slice(None), *index)
    return replace(
        restored,
        means=np.asarray(restored.means[every]),
        scales=None if restored.scales is None else np.asarray(restored.scales[every]),
        widening=None if restored.widening is None else np.asarray(restored.widening[index]),
        axes="X", voxel_size=None, time_step=None, mask=None, surface=None, carried=NOTHING,
    )  # fmt: skip
