"""Parts that several widgets share: the model with those used lately, a folder to choose, axes, device and memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from qtpy.compat import isalive
from qtpy.QtCore import QSettings
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLineEdit, QPushButton, QWidget

from veriscope.errors import DataError
from veriscope.networks import shipped
from veriscope.networks.model import Ensemble
from veriscope.sharing.opening import load
from veriscope.wording import lengths

KEPT = 8  # models remembered


class PathField(QWidget):
    """A path to type, or to choose by a dialog."""

    def __init__(self, choose: Callable[..., Any], hint: str = "") -> None:
        super().__init__()
        self.choose = choose
        self.edit, button = QLineEdit(), QPushButton("...")
        self.edit.setPlaceholderText(hint)
        button.setFixedWidth(28)
        button.clicked.connect(self._ask)
        _row(self, self.edit, button)

    def text(self) -> str:
        return self.edit.text().strip()

    def _ask(self) -> None:
        found = self.choose(self)
        if found:
            self.edit.setText(found[0] if isinstance(found, tuple) else found)


def folder_field(hint: str = "") -> PathField:
    return PathField(lambda parent: QFileDialog.getExistingDirectory(parent), hint)


class LayerField(QComboBox):
    """One of the image layers, the selected ones first when it opens."""

    def __init__(self, viewer: Any, at: int = 0, none: str = "") -> None:
        super().__init__()
        self.viewer, self.none = viewer, none
        self.setMinimumContentsLength(12)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        viewer.layers.events.inserted.connect(self.fill)
        viewer.layers.events.removed.connect(self.fill)
        self.fill()
        self.setCurrentIndex(min(at, self.count() - 1))

    def fill(self, event: Any = None) -> None:
        from napari.layers import Image as ImageLayer

        if not isalive(self):
            return
        before = self.layer()
        self.clear()
        self.layers = [None] * bool(self.none) + [one for one in self.viewer.layers if isinstance(one, ImageLayer)]
        self.addItems([self.none if one is None else one.name for one in self.layers])
        if before in self.layers:
            self.setCurrentIndex(self.layers.index(before))

    def layer(self) -> Any:
        at = self.currentIndex()
        return self.layers[at] if 0 <= at < self.count() else None


class ModelField(QWidget):
    """A model: its folder or package, typed, chosen, one of those used lately, or one that comes with veriscope."""

    every: ClassVar[weakref.WeakSet[ModelField]] = weakref.WeakSet()  # all know what was used in one of them

    def __init__(self) -> None:
        super().__init__()
        self.every.add(self)
        self.box, folder, package = QComboBox(), QPushButton("Folder..."), QPushButton("Zip...")
        self.box.setEditable(True)
        self.box.setMinimumContentsLength(12)
        self.box.lineEdit().setPlaceholderText("a folder, or a package of bioimage.io")
        self.settings = QSettings("veriscope", "napari")
        self.box.addItems([*_list(self.settings.value("models")), *shipped.names()])
        self.box.setCurrentIndex(0)
        folder.clicked.connect(self._folder)
        package.clicked.connect(self._package)
        _row(self, self.box, folder, package)
        self.opened: tuple[Any, Ensemble] | None = None

    def text(self) -> str:
        return self.box.currentText().strip()

    def set(self, path: str | Path) -> None:
        self.box.setEditText(str(path))

    def path(self) -> Path:
        """Raises DataError where none was named."""
        if not self.text():
            raise DataError(
                "No model is named. Choose the folder of a model, or train one (Plugins > Veriscope > Train)."
            )
        return shipped.place(Path(self.text()).expanduser())

    def ensemble(self, path: Path) -> Ensemble:
        """The model at `path`, read once until it changes. For threads. Raises ModelError."""
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        mark = path, tuple((one.name, one.stat().st_mtime_ns) for one in inside if one.exists())
        if self.opened is None or self.opened[0] != mark:
            self.opened = mark, load(path)
        return self.opened[1]

    def remember(self, path: Path) -> None:
        if path.parent == shipped.FOLDER:  # is offered in any case
            return
        known = [str(path), *[one for one in _list(self.settings.value("models")) if one != str(path)]][:KEPT]
        self.settings.setValue("models", known)
        for field in self.every:
            if isalive(field):
                text = field.text()
                field.box.clear()
                field.box.addItems([*known, *shipped.names()])
                field.set(text or known[0])

    def _folder(self) -> None:
        if found := QFileDialog.getExistingDirectory(self, "The folder of a model"):
            self.set(found)

    def _package(self) -> None:
        if found := QFileDialog.getOpenFileName(self, "A package of bioimage.io", "", "Packages (*.zip)")[0]:
            self.set(found)


def described(model: Ensemble) -> str:
    """A model in a line."""
    recipe = model.recipe
    does = {"project": "projects stacks", "isotropic": "makes stacks isotropic"}.get(recipe.task, "restores")
    does = "makes images finer" if recipe.upsample and not recipe.isotropic else does
    channels = (
        ""
        if recipe.channels_in == recipe.channels_out == 1
        else (f", {recipe.channels_in} channel{'s' * (recipe.channels_in > 1)} to {recipe.channels_out}")
    )
    voxel = model.facts.voxel_size
    trained = f", trained on voxels of {lengths(voxel)} um" if voxel else ""
    return f"{does}, {recipe.axes}{channels}, {len(model)} network{'s' * (len(model) > 1)}{trained}"


class AxesField(QComboBox):
    """The axes of a layer: as it states them, or as the user names them. Nothing is guessed."""

    def __init__(self) -> None:
        super().__init__()
        self.setEditable(True)

    def offer(self, stated: str, ndim: int) -> None:
        """What the layer states, and other words for so many dimensions."""
        usual = {3: ("ZYX", "TYX", "CYX"), 4: ("TZYX", "CZYX", "TCYX"), 5: ("TCZYX",)}.get(ndim, ())
        self.blockSignals(True)
        self.clear()
        self.addItems(list(dict.fromkeys([*filter(None, [stated]), *usual])))
        self.setCurrentText(stated)
        self.blockSignals(False)

    def word(self) -> str:
        return self.currentText().strip().upper()


class MachineFields:
    """Device and memory."""

    def __init__(self) -> None:
        import torch

        self.device, self.memory = QComboBox(), QLineEdit()
        gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
        self.device.addItems(["automatic", "cpu", *gpus, *["mps"] * torch.backends.mps.is_available()])
        self.memory.setPlaceholderText("automatic, or for example 4GB")

    def settings(self) -> dict[str, Any]:
        """As `restore` takes them."""
        device, memory = self.device.currentText(), self.memory.text().strip()
        return {"device": None if device == "automatic" else device, "memory": memory or None}


def _row(widget: QWidget, *parts: QWidget) -> None:
    row = QHBoxLayout(widget)
    row.setContentsMargins(0, 0, 0, 0)
    for number, part in enumerate(parts):
        row.addWidget(part, 0 if number else 1)


def _list(value: Any) -> list[str]:
    """QSettings gives a single text back as such."""
    return [] if not value else [value] if isinstance(value, str) else [str(one) for one in value]
