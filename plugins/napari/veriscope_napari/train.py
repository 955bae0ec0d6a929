"""The widget Train: two layers, or two folders, become a model; its losses and check patches are seen meanwhile."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QStackedWidget,
    QWidget,
)  # fmt: skip

from veriscope.errors import DataError, VeriscopeError
from veriscope.images.pairing import Pair, Pairs, read_pairs
from veriscope.networks.folder import is_model, load, save
from veriscope.networks.recipe import Recipe
from veriscope.training.loop import train
from veriscope.training.material import FromPairs, prepare
from veriscope.training.progress import Step
from veriscope_napari import layers as to
from veriscope_napari.forms import AxesField, LayerField, ModelField, folder_field
from veriscope_napari.working import Job, Worker, canvas, legend, panel

SHOWN = 2  # check patches
EVERY = 3.0  # seconds between two looks at them, at least


class Train(Worker):
    """Trains a model."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.kind, self.sources = QComboBox(), QStackedWidget()
        self.low, self.high, self.axes = LayerField(self.viewer), LayerField(self.viewer, at=1), AxesField()
        self.low_folder, self.high_folder, self.file_axes = folder_field(), folder_field(), QLineEdit()
        self.kind.addItems(["two layers", "two folders"])
        self.file_axes.setPlaceholderText("where the files do not state them")
        for rows in (
            (("Low light", self.low), ("Ground truth", self.high), ("Axes", self.axes)),
            (("Low light", self.low_folder), ("Ground truth", self.high_folder), ("Axes", self.file_axes)),
        ):
            page = QWidget()
            form = QFormLayout(page)
            form.setContentsMargins(0, 0, 0, 0)
            for name, field in rows:
                form.addRow(name, field)
            self.sources.addWidget(page)
        self.minutes, self.members = QSpinBox(), QSpinBox()
        self.minutes.setRange(1, 10_000)
        self.minutes.setValue(20)
        self.members.setRange(1, 20)
        self.members.setValue(5)
        self.folder, self.known = folder_field("a folder for the model"), ModelField()
        self.folder.edit.setText(str(Path.home() / "veriscope" / f"{datetime.now():%Y-%m-%d-%H%M}.veriscope"))
        form = QFormLayout()
        for name, field in (
            ("Learn from", self.kind), ("", self.sources), ("Minutes", self.minutes), ("Networks", self.members),
            ("Model", self.folder),
        ):  # fmt: skip
            form.addRow(name, field)
        self.column.addLayout(form)
        self.train_button, self.stop_button = QPushButton("Train"), QPushButton("Stop")
        self.go_on_button, self.save_button = QPushButton("Continue"), QPushButton("Save a copy...")
        row = QHBoxLayout()
        for button, clicked in (
            (self.train_button, self.train), (self.stop_button, self.cancel), (self.go_on_button, self.go_on),
            (self.save_button, self.ask_and_save),
        ):  # fmt: skip
            button.clicked.connect(clicked)
            row.addWidget(button)
        self.column.addLayout(row)
        self.curve, self.patches = canvas(), canvas(height=2.8)
        self.column.addWidget(self.curve)
        self.column.addWidget(self.patches)
        self.end_column()
        self.cancel_button.setVisible(False)
        self.kind.currentIndexChanged.connect(self.sources.setCurrentIndex)
        self.low.currentIndexChanged.connect(self._offer)
        self.rows: list[tuple[float, int, float | None, float | None]] = []
        self.last: tuple[Any, ...] | None = None  # what the training was given, to continue it
        self._offer()

    def _offer(self, _: int = 0) -> None:
        if (layer := self.low.layer()) is not None:
            self.axes.offer(to.axes_of(layer), layer.ndim)

    def _working(self, on: bool) -> None:
        super()._working(on)
        self.cancel_button.setVisible(False)
        for button, use in (
            (self.train_button, not on), (self.stop_button, on),
            (self.go_on_button, not on and self.__dict__.get("last") is not None),
            (self.save_button, not on and self.__dict__.get("last") is not None),
        ):  # fmt: skip
            button.setEnabled(use)

    # The material

    def _pairs(self) -> Any:
        """What gives the pairs, in the thread of the work: images are read there."""
        if self.kind.currentIndex() == 1:
            low, high, axes = self.low_folder.text(), self.high_folder.text(), self.file_axes.text().strip() or None
            if not (low and high):
                raise DataError(
                    "Two folders are learned from. Choose those of the low-light images and the ground truth."
                )
            return lambda: read_pairs(low, high, axes=axes)
        low, high = self.low.layer(), self.high.layer()
        if low is None or high is None or low is high:
            raise DataError("Two layers are learned from. Choose the low-light image and its ground truth.")
        images = [to.image_of([one], self.axes.word() if one.ndim == low.ndim else "") for one in (low, high)]
        return lambda: Pairs([Pair(images[0], images[1], low.name)])

    # Training

    def train(self) -> None:
        with self.explained():
            pairs, folder = self._pairs(), Path(self.folder.text()).expanduser()
            if not self.folder.text():
                raise DataError("The model needs a folder. Name one that does not exist yet.")
            minutes, members = self.minutes.value(), self.members.value()

            def material(job: Job) -> tuple[Any, ...]:
                found = FromPairs(pairs())
                ready = prepare(found, Recipe(**found.settings()))
                for note in ready.notes:
                    job.said.emit(note[0].upper() + note[1:])
                return ready, minutes, members, folder

            self.rows, self.last = [], None
            self._start(material, resume=False)

    def go_on(self) -> None:
        """Continue where it stopped."""
        last = self.last
        if last is not None:
            self._start(lambda job: last, resume=True)

    def _start(self, material: Any, resume: bool) -> None:
        def work(job: Job) -> tuple[Any, ...]:
            ready, minutes, members, folder = given = material(job)
            folder.parent.mkdir(parents=True, exist_ok=True)
            job.sent.emit(given)
            looks = _Looks(job, ready, folder)
            settings = {"minutes": minutes, "members": members, "folder": folder, "resume": resume}
            model = train(ready.recipe, ready.patches, ready.check, progress=looks, **settings)
            looks.look()
            return model, folder

        self.run(work, self._trained, between_layers=False)

    def show_sent(self, what: Any) -> None:
        if isinstance(what, Step):
            self.rows.append((100 * what.done, what.member, what.loss, what.check_loss))
            self._draw_losses()
        elif isinstance(what[0], np.ndarray):
            self._draw_patches(what)
        else:
            self.last = what

    def _trained(self, made: tuple[Any, ...]) -> None:
        model, folder = made
        self.known.remember(folder)
        expectation = model.facts.scores.get("check_loss")
        self.add(
            f"Trained, and saved in {folder}. It is offered in Restore now. Checked losses: "
            f"{', '.join(f'{loss:.3f}' for loss in expectation or [])}."
        )

    def stopped(self) -> None:
        kept = self.last is not None and is_model(self.last[3])
        self.say(
            "Stopped. Continue goes on from the last state on disk, at most a minute ago; the best networks so far can "
            "be saved already."
            if kept
            else "Stopped before there was anything to keep."
        )
        self.last = self.last if kept else None
        self._working(False)

    # Saving

    def ask_and_save(self) -> None:
        found, _ = QFileDialog.getSaveFileName(self, "A folder for the copy")
        if found:
            self.save(Path(found))

    def save(self, target: Path) -> None:
        """The best networks so far, also of a training that was stopped, in another folder."""
        if self.last is None:
            return
        with self.explained():
            save(load(self.last[3]), target)
            self.known.remember(target)
            self.say(f"Saved in {target}. It is offered in Restore now.")

    # Charts

    def _draw_losses(self) -> None:
        """Training and checked losses may be different functions: each has a scale of its own."""
        self.curve.figure.clear()
        left = panel(self.curve.figure, 1, 1, 1, title="Loss (lower is better)", x="% of the training")
        right = left.twinx()
        right.tick_params(colors="#e0a458", labelsize=7)
        for chart, at, colour, name in (
            (left, 2, "#5aa9e6", "training (left)"),
            (right, 3, "#e0a458", "checked (right)"),
        ):
            for member in sorted({row[1] for row in self.rows}):
                rows = [row for row in self.rows if row[1] == member and row[at] is not None]
                label = None if member else name
                chart.plot([row[0] for row in rows], [row[at] for row in rows], color=colour, lw=1.4, label=label)
        legend(left, right)
        self.curve.draw_idle()

    def _draw_patches(self, columns: Any) -> None:
        self.patches.figure.clear()
        for at, (title, patches) in enumerate(
            zip(("Low light", "Restored so far", "Ground truth"), columns, strict=True)
        ):
            for row, patch in enumerate(patches):
                chart = panel(self.patches.figure, len(patches), 3, 3 * row + at + 1, title="" if row else title)
                low, high = np.percentile(columns[2][row], (0.5, 99.8)) if at else np.percentile(patch, (0.5, 99.8))
                chart.imshow(patch, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
                chart.axis("off")
        self.patches.draw_idle()


class _Looks:
    """Hears of every step of a training: sends losses, and check patches as the best network so far restores them."""

    def __init__(self, job: Job, ready: Any, folder: Path) -> None:
        self.job, self.folder, self.recipe, self.at, self.losses = job, folder, ready.recipe, 0.0, 0.0
        self.best: Any = None
        self.checked: float | None = None
        count = len(ready.check)
        self.low, self.high = ready.check.check_batch(sorted({0, count // 2})[:SHOWN])

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        left = "" if step.seconds_left is None else f"network {step.member + 1} of {step.members}"
        self.job.tell(step.done, 1.0, left)
        if (step.loss is not None and now - self.losses > 0.5) or step.check_loss != self.checked:
            self.losses, self.checked = now, step.check_loss
            self.job.sent.emit(step)
        if step.best is not None and (step.member, step.best) != self.best and now - self.at > EVERY:
            self.best, self.at = (step.member, step.best), now
            self.look()

    def look(self) -> None:
        import torch

        try:
            model = load(self.folder)
        except VeriscopeError:
            return  # nothing to see yet
        with torch.inference_mode():
            means, _ = model.predict(torch.from_numpy(self.low))
        self.job.sent.emit(tuple(map(_flat, (self.low, means.mean(0).numpy(), self.high))))


def _flat(patches: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Patches (N, C, *space) as planes: the first channel, of stacks the maximum."""
    first = patches[:, 0]
    return first.max(1) if first.ndim == 4 else first
