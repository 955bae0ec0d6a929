"""The widget Compare and judge: a model beside what people used before, on a region whose ground truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QComboBox, QFormLayout, QLineEdit, QPlainTextEdit, QPushButton

from veriscope.comparing.compare import compare
from veriscope.comparing.judge import judge
from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.pairing import Pair
from veriscope_napari import layers as to
from veriscope_napari.forms import AxesField, LayerField, ModelField
from veriscope_napari.working import Job, Worker

WHOLE, SCREEN, DRAWN = "the whole image", "what is on the screen", "the rectangle drawn last"


class Compare(Worker):
    """Figures for two layers: the low-light image and its ground truth."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.low, self.high = LayerField(self.viewer), LayerField(self.viewer, at=1)
        self.axes, self.model, self.region = AxesField(), ModelField(), QComboBox()
        self.methods, self.table = QLineEdit("median,nlm,tv"), QPlainTextEdit()
        self.region.addItems([WHOLE, SCREEN, DRAWN])
        self.button = QPushButton("Compare and judge")
        form = QFormLayout()
        form.addRow("Low light", self.low)
        form.addRow("Ground truth", self.high)
        form.addRow("Axes", self.axes)
        form.addRow("Region", self.region)
        form.addRow("Model", self.model)
        form.addRow("Methods", self.methods)
        self.methods.setToolTip("As veriscope compare --methods, separated by commas; tuned on the ground truth itself")
        self.column.addLayout(form)
        self.column.addWidget(self.button)
        self.table.setReadOnly(True)
        self.table.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.table.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.table.setMinimumHeight(260)
        self.column.addWidget(self.table)
        self.end_column()
        self.button.clicked.connect(self.compare)
        self.low.currentIndexChanged.connect(self._offer)
        self._offer()

    def _offer(self, _: int = 0) -> None:
        if (layer := self.low.layer()) is not None:
            self.axes.offer(to.axes_of(layer), layer.ndim)

    def compare(self) -> None:
        """Measure both."""
        with self.explained():
            low, high = self.low.layer(), self.high.layer()
            if low is None or high is None or low is high:
                raise DataError("Two layers are compared. Choose the low-light image and its ground truth.")
            word = self.axes.word()
            images = [to.image_of([layer], word if layer.ndim == low.ndim else "") for layer in (low, high)]
            where = self._where(low, images[0])
            parts = [image.region(**{a: where[a] for a in image.axes if a in where}) for image in images]
            path = self.model.path() if self.model.text() else None
            methods = self.methods.text().strip()
            if path is None and not methods:
                raise DataError("Nothing is compared. Choose a model, or name methods such as median,nlm.")

            def work(job: Job) -> str:
                model = None if path is None else self.model.ensemble(path)
                pair = Pair(*(part.in_memory() for part in parts), low.name)
                said = []
                if methods:
                    progress = lambda done, total, what: job.tell(done, max(total, done, 1e-9), what)  # noqa: E731
                    said.append(str(compare([pair], model, methods, pictures=0, progress=progress, tell=job.said.emit)))
                if model is not None:
                    said.append(str(judge(model, [pair], pictures=0)))
                return "\n\n".join(said)

            self.run(work, self.table.setPlainText)

    def _where(self, layer: Any, image: Image) -> dict[str, slice]:
        """The region, in Y and X."""
        kind = self.region.currentText()
        if kind == WHOLE:
            return {}
        if kind == SCREEN:
            corners = np.asarray(layer.corner_pixels, float)
            if layer.multiscale:
                corners = corners * np.asarray(layer.downsample_factors[layer.data_level])
        else:
            from napari.layers import Shapes

            drawn = [one for one in self.viewer.layers if isinstance(one, Shapes) and len(one.data)]
            if not drawn:
                raise DataError("No rectangle is drawn. Add a layer of shapes and draw one, or choose another region.")
            world = [drawn[-1].data_to_world(corner) for corner in drawn[-1].data[-1]]
            inside = np.array([layer.world_to_data(corner[-layer.ndim :]) for corner in world])
            corners = np.array([inside.min(0), inside.max(0)])
        found = {}
        for letter in "YX":
            at, size = image.axes.index(letter), image.size(letter)
            start, stop = np.clip(np.round([corners[0, at], corners[1, at] + 1]).astype(int), 0, size)
            if stop - start < 8:
                raise DataError(
                    f"The region has {stop - start} pixels of the image along {letter}, but 8 are needed. Enlarge it."
                )
            found[letter] = slice(int(start), int(stop))
        return found
