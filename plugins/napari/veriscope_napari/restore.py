"""The widget Restore: the selected layers by a model, what to expect of the result, and layers of all that is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt
from qtpy.QtWidgets import QCheckBox, QFormLayout, QGroupBox, QHBoxLayout, QLabel, QPushButton, QSlider

from veriscope.errors import VeriscopeError
from veriscope.images.image import Image
from veriscope.networks.model import Ensemble
from veriscope.restoring.outputs import BY_NAME
from veriscope.restoring.restore import restore
from veriscope.wording import lengths
from veriscope_napari import layers as to
from veriscope_napari.forms import AxesField, MachineFields, ModelField, described
from veriscope_napari.results import Result, limits
from veriscope_napari.working import Cancelled, Job, Worker, words

PREVIEW = 2**18  # pixels of a preview at most
PLANES = 16  # of a preview of a stack
COLOURS = {
    name: {"colormap": "inferno" if name == "predicted scale" else "viridis"}
    for name in ("predicted scale", "height", "height spread", "probability")
}


class Restore(Worker):
    """Restores the selected layers."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.shown: list[Any] = []  # layers of the result, by the image they show
        self.source: Any = None
        form = QFormLayout()
        self.image, self.model_words, self.verdict = words(), words(), words()
        self.axes, self.model, self.machine = AxesField(), ModelField(), MachineFields()
        self.planes = QCheckBox("plane by plane, with a model for planes")
        form.addRow("Image", self.image)
        form.addRow("Axes", self.axes)
        form.addRow("Model", self.model)
        form.addRow("", self.model_words)
        form.addRow("Device", self.machine.device)
        form.addRow("Memory", self.machine.memory)
        form.addRow("", self.planes)
        self.column.addLayout(form)
        self.preview_button, self.restore_button = QPushButton("Preview"), QPushButton("Restore")
        self.preview_button.setToolTip("Restores what is on the screen, normalised by itself")
        row = QHBoxLayout()
        for button, clicked in ((self.preview_button, self.preview), (self.restore_button, self.restore)):
            button.clicked.connect(clicked)
            row.addWidget(button)
        self.column.addLayout(row)
        self.column.addWidget(self.verdict)
        self.interval = Slider("Interval of", "interval", 500, 999, 900)
        self.probability = Slider("Probability within", "probability", 1, 200, 50)
        self.group = QGroupBox("How sure")
        self.group.setToolTip("Computed from what the networks predicted; they do not run again")
        inside = QFormLayout(self.group)
        for slider in (self.interval, self.probability):
            inside.addRow(slider.box, slider.line)
        self.group.setVisible(False)
        self.column.addWidget(self.group)
        self.end_column()
        self.viewer.layers.selection.events.changed.connect(self.look)
        self.axes.currentTextChanged.connect(self._describe)
        self.look()

    # What is asked for

    def look(self, event: Any = None) -> None:
        """Show which layers are selected."""
        if not isalive(self):
            return
        chosen = to.selected(self.viewer)
        if chosen:
            self.axes.offer(to.axes_of(chosen[0]), chosen[0].ndim)
        self._describe()

    def _describe(self, _: str = "") -> None:
        try:
            image = self._image()
            size = f"{image.axes} {lengths(image.shape)}"
            voxel = f", voxels of {lengths(image.voxel_size)} um" if image.voxel_size else ""
            self.image.setText(f"{', '.join(layer.name for layer in to.selected(self.viewer))}: {size}{voxel}")
        except VeriscopeError as problem:
            self.image.setText(str(problem))

    def _image(self) -> Image:
        return to.image_of(to.selected(self.viewer), self.axes.word())

    def _wanted(self) -> tuple[Image, Path, dict[str, Any], Any]:
        """What to restore, by which model, how, and the layer it is in."""
        settings = {**self.machine.settings(), "planes": self.planes.isChecked()}
        return self._image(), self.model.path(), settings, to.selected(self.viewer)[0]

    # Restoring

    def preview(self) -> None:
        """Restore what is on the screen."""
        with self.explained():
            image, path, settings, source = self._wanted()
            point = self.viewer.dims.point

            def work(job: Job) -> tuple[Any, ...]:
                model = self.model.ensemble(path)
                where = visible(source, image, point, model)
                part = image.region(**dict(zip(image.axes, where, strict=True)))
                restored = restore(part, model, progress=job.tell, lazy=False, **settings)
                return model, source, part, restored.mean, [span.start for span in where]

            self.run(work, self._previewed)

    def _previewed(self, made: tuple[Any, ...]) -> None:
        model, source, part, mean, corner = made
        self._replace_preview(model)
        starts = [at for letter, at in zip(part.axes, corner, strict=True) if letter in _letters(source, part)]
        look = {"contrast_limits": limits(mean), "metadata": {"veriscope preview": True}}
        self._show(self._create(mean, "preview", {**to.placed(source, part, mean, starts), **look}))
        self.add("The preview is normalised by itself; the whole image may differ a little in brightness.")

    def restore(self) -> None:
        """Restore the whole image."""
        with self.explained():
            image, path, settings, source = self._wanted()

            def work(job: Job) -> tuple[Any, ...]:
                model = self.model.ensemble(path)
                result = Result(image, model, job, **settings)
                restored = result.restored
                made = {"restored": result.mean(job)}
                if restored.scales is not None:
                    made["predicted scale"] = result.make(job, "scale")[0]
                if restored.mask is not None:
                    made["trust mask"] = restored.trust_mask
                if model.recipe.projects:
                    made["height"], made["height spread"] = restored.height, restored.height_spread
                seen = {name: limits(one) for name, one in made.items() if name != "trust mask"}
                return path, model, source, result, made, seen

            self.run(work, self._restored)

    def _replace_preview(self, model: Ensemble) -> None:
        self.model_words.setText(described(model))
        for layer in [one for one in self.viewer.layers if one.metadata.get("veriscope preview")]:
            self.viewer.layers.remove(layer)

    def _restored(self, made: tuple[Any, ...]) -> Iterator[None]:
        """Show what was made, a layer at a time: the window answers in between."""
        path, model, self.source, self.result, images, seen = made
        self.model.remember(path)
        self._replace_preview(model)
        for name in reversed(images):  # the restored image on top
            yield
            image, look = images[name], {"metadata": {"veriscope": self.result}, **COLOURS.get(name, {})}
            look |= self._where(image) | ({"contrast_limits": seen[name]} if name in seen else {})
            added = self._create(image, name, look, "image" if name in seen else "labels", visible=False)
            for layer in added:
                yield
                self._show([layer])
        for layer in added:  # of the restored image; made first, and drawn when the window has answered
            yield
            layer.visible = True
        yield
        self.shown = [layer for layer in self.viewer.layers if layer.metadata.get("veriscope") is self.result]
        self.verdict.setText(told(self.result))
        self.group.setVisible(self.result.restored.scales is not None)
        low, high = seen["restored"]
        self.interval.begin(self, lambda at: at / 1000, lambda p: f"{100 * p:.1f} %".replace(".0 %", " %"))
        self.probability.begin(self, lambda at: at / 400 * (high - low), lambda eps: f"± {eps:.3g}")

    def stopped(self) -> None:
        self.say("Cancelled. No layer was added.")

    def _where(self, image: Image) -> dict[str, Any]:
        return to.placed(self.source, self.result.image, image)

    def _create(
        self, image: Image, name: str, look: dict[str, Any], kind: str = "image", visible: bool = True
    ) -> list[Any]:
        made = to.layer_data(image, kind, **look)
        for number, (_, options, _) in enumerate(made):
            options["metadata"] = {**options["metadata"], "veriscope channel": number}
            options["name"] = f"{options['name'] or 'image'}, {name}"
            if kind == "labels":
                from napari.utils.colormaps import DirectLabelColormap

                options["colormap"] = DirectLabelColormap(
                    color_dict={0: "red", 255: "transparent", None: "transparent"}
                )
                options["opacity"] = 0.5
        return to.create(made, visible)

    def _show(self, layers: list[Any]) -> list[Any]:
        """Put them into the window; the source stays selected, with the axes that were named."""
        chosen = self.viewer.layers.selection
        with chosen.events.changed.blocker(self.look):
            before = set(chosen)
            for layer in layers:
                self.viewer.add_layer(layer)
            self.viewer.layers.selection = before
        return layers


class Slider(QObject):
    """An output with an argument that is moved by a slider: computed again from the members, the last wish only."""

    def __init__(self, title: str, name: str, low: int, high: int, at: int) -> None:
        super().__init__()
        self.name, self.box, self.label = name, QCheckBox(title), QLabel()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(low, high)
        self.slider.setValue(at)
        self.line = QHBoxLayout()
        self.line.addWidget(self.slider)
        self.line.addWidget(self.label)
        self.widget: Any = None
        self.job: Job | None = None
        self.images: list[Image] = []
        self.layers: list[Any] = []
        self.box.toggled.connect(self._want)
        self.slider.valueChanged.connect(self._want)

    def begin(self, widget: Restore, value: Any, said: Any) -> None:
        """Belong to the result of `widget`; `value` of the slider's place, and how it is said."""
        self.widget, self.value, self.said = widget, value, said
        if self.job is not None:
            self.job.cancel()
        self.images, self.layers = [], []
        self.box.setChecked(False)
        self.label.setText(said(value(self.slider.value())))

    def _want(self, _: Any = None) -> None:
        if self.widget is None:
            return
        self.label.setText(self.said(self.value(self.slider.value())))
        for layer in self.layers:
            layer.visible = self.box.isChecked()
        if not self.box.isChecked():
            return
        if self.job is not None:  # its end begins anew
            self.job.cancel()
            return
        self.asked, self.of = self.slider.value(), self.widget.result
        argument, arrays = self.value(self.asked), [np.asarray(one) for one in self.images]
        first, result = self._pixel(), self.of
        self.job = Job(lambda job: result.make(job, self.name, argument, into=arrays, first=first))
        self.job.sent.connect(self._seen)
        self.job.ended.connect(self._ended)
        self.job.start()

    def _pixel(self) -> tuple[int, ...]:
        """What is on the screen, in the axes of the result."""
        layer = next((one for one in self.widget.shown if one.ndim == len(self.of.restored.axes)), None)
        if layer is None:
            return ()
        place = layer.world_to_data(self.widget.viewer.dims.point[-layer.ndim :])
        return tuple(int(np.clip(round(at), 0, size - 1)) for at, size in zip(place, layer.data.shape, strict=True))

    def _seen(self, _: Any) -> None:
        for layer in self.layers:
            layer.refresh(extent=False)

    def _ended(self, images: Any, problem: Any) -> None:
        self.job = None
        if self.of is not self.widget.result:
            self._want()
            return
        if images is not None and not self.images:
            self.images = images
            for file, image in zip(BY_NAME[self.name].files, images, strict=True):
                look = {**self.widget._where(image), "metadata": {"veriscope": self.of}, **COLOURS.get(self.name, {})}
                look["contrast_limits"] = (0, 1) if self.name == "probability" else limits(image)
                self.layers += self.widget._show(self.widget._create(image, file, look))
        self._seen(None)
        if problem is not None and not isinstance(problem, Cancelled):
            self.widget.say(str(problem), wrong=True)
        elif self.slider.value() != self.asked or (problem is not None and self.box.isChecked()):
            self._want()


def told(result: Result) -> str:
    """The error to expect, and the verdict with its reasons, in sentences."""
    restored = result.restored
    parts = [str(restored.expected) if restored.expected else "", str(restored.verdict) if restored.verdict else ""]
    said = "\n".join(part for part in parts if part)
    return (
        said or "This model does not know its training images, so nothing can be said of how far to trust the result."
    )


def _letters(source: Any, image: Image) -> str:
    """The axes of the layer: those of the image, without C where layers were stacked."""
    return image.axes if source.ndim == image.ndim else image.axes.replace("C", "")


def visible(layer: Any, image: Image, point: Sequence[float], model: Ensemble) -> tuple[slice, ...]:
    """The part of `image` that is on the screen, at most PREVIEW pixels around its middle; for networks in 3D some
    planes around the one that is looked at, for those that project stacks all."""
    letters = _letters(layer, image)
    corners = np.asarray(layer.corner_pixels, float)
    if getattr(layer, "multiscale", False):
        corners = corners * np.asarray(layer.downsample_factors[layer.data_level])
    here = layer.world_to_data(point[-layer.ndim :])
    recipe = model.recipe
    planes = image.size("Z") if recipe.projects else PLANES if "Z" in recipe.axes else 1
    side = int((PREVIEW / planes) ** 0.5)
    spans = {"C": slice(0, image.size("C"))}
    for number, letter in enumerate(letters):
        if letter == "C":
            continue
        size = image.size(letter)
        if letter in "YX":
            start, stop = corners[0, number], corners[1, number] + 1
            middle, most = (start + stop) / 2, min(side, max(stop - start, 16))
        else:
            middle, most = here[number] + 0.5, planes if letter == "Z" else 1
        most = min(int(most), size)
        first = int(np.clip(round(middle - most / 2), 0, size - most))
        spans[letter] = slice(first, first + most)
    return tuple(spans[letter] for letter in image.axes)
