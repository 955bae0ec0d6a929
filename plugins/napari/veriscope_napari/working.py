"""Work beside the window: a thread that says how far it is, hears Cancel, and hands its result back to the window."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from veriscope.errors import VeriscopeError, VeriscopeWarning
from veriscope.wording import duration

EVERY = 0.1  # seconds between two reports to the window
_here = threading.local()  # the job of this thread


class Cancelled(Exception):
    """The user asked for an end."""


class Job(QObject):
    """One piece of work, `work(job)`, in a thread of its own. Signals arrive in the window's thread."""

    progressed = Signal(float, str)
    said = Signal(str)
    sent = Signal(object)  # what the work shows on the way
    ended = Signal(object, object)  # result, and what went wrong: None, Cancelled or another exception

    def __init__(self, work: Callable[[Job], Any], between_layers: bool = True) -> None:
        super().__init__()
        self.work, self.between_layers, self.cancelled = work, between_layers, False
        self.began = self.told = 0.0
        self.thread = threading.Thread(target=self._run, name="veriscope-napari", daemon=True)

    def start(self) -> Job:
        gc.freeze()  # looking for garbage among all that napari and torch hold stops the window for a third of a second
        self.began = time.monotonic()
        self.thread.start()
        return self

    def cancel(self) -> None:
        self.cancelled = True

    def check(self) -> None:
        """Raises Cancelled once the user asked for it."""
        if self.cancelled:
            raise Cancelled

    def tell(self, done: float, whole: float, note: str = "") -> None:
        """A fraction is done; the `progress` of the library."""
        self.check()
        now = time.monotonic()
        if not self.told:
            gc.freeze()  # also what was imported for the work
        if now - self.told > EVERY or done >= whole:
            self.told = now
            left = (now - self.began) * (whole - done) / done if done else 0.0
            self.progressed.emit(done / whole, note or (f"about {duration(left)} left" if left > 1 else ""))

    def _run(self) -> None:
        _here.job, result, problem = self, None, None
        _listen_between_layers()
        try:
            with self._heard():
                result = self.work(self)
        except Exception as error:  # handed on: the window shows it, or raises it
            problem = error
        self.ended.emit(result, problem)

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Warnings of the library in this thread are said in the widget; those of others go where they went."""
        with warnings.catch_warnings():
            warnings.simplefilter("always", VeriscopeWarning)
            before = warnings.showwarning

            def show(message: Any, category: Any, *where: Any, **more: Any) -> None:
                if getattr(_here, "job", None) is self:
                    if issubclass(category, VeriscopeWarning):
                        self.said.emit(str(message))
                else:
                    before(message, category, *where, **more)

            warnings.showwarning = show  # type: ignore[assignment]
            yield


def _listen_between_layers() -> None:
    """Cancel is heard between two layers of a network: a tile may take minutes, and stays as large as it would be."""
    if not _hooks:
        from torch.nn.modules.module import register_module_forward_pre_hook

        def check(*_: Any) -> None:
            job = getattr(_here, "job", None)
            if job is not None and job.between_layers:
                job.check()

        _hooks.append(register_module_forward_pre_hook(check))


_hooks: list[Any] = []


def _steps(then: Callable[[Any], Any], result: Any) -> Iterator[None]:
    yield from then(result) or ()


def _thaw(_: Any = None) -> None:
    """Layers that were removed, and all they hold, may be garbage."""
    gc.unfreeze()


class Worker(QWidget):
    """Base of the widgets: buttons that start work, a bar, Cancel, and what there is to say; one job at a time."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer, self.job, self._then = viewer, None, None
        self.column = QVBoxLayout(self)
        self.bar, self.cancel_button = QProgressBar(), QPushButton("Cancel")
        self.bar.setRange(0, 1000)
        self.message = words()
        self.cancel_button.clicked.connect(self.cancel)
        viewer.layers.events.removed.connect(_thaw)

    def end_column(self) -> None:
        """The bar, Cancel and the message, below what is there so far."""
        row = QHBoxLayout()
        row.addWidget(self.bar)
        row.addWidget(self.cancel_button)
        self.column.addLayout(row)
        self.column.addWidget(self.message)
        self.column.addStretch()
        self._working(False)

    def run(self, work: Callable[[Job], Any], then: Callable[[Any], None], between_layers: bool = True) -> None:
        """Do `work(job)` beside the window, `then(result)` in it; what is wrong with it is shown as the message.

        Where `then` yields, the window answers before it continues.
        """
        if self.job is not None:
            self.say("Wait until it is done, or cancel it.")
            return
        self.say("")
        self.job, self._then = Job(work, between_layers), then
        self.job.progressed.connect(self._progressed)
        self.job.said.connect(self.add)
        self.job.sent.connect(self.show_sent)
        self.job.ended.connect(self._ended)
        self._working(True)
        self.job.start()

    def cancel(self) -> None:
        if self.job is not None:
            self.job.cancel()
            self.bar.setFormat("cancelling")

    def say(self, text: str, wrong: bool = False) -> None:
        self.message.setText(text)
        self.message.setStyleSheet("color: #e06c60" if wrong else "")

    def add(self, text: str) -> None:
        if text not in self.message.text().split("\n"):
            self.say(f"{self.message.text()}\n{text}".strip())

    def show_sent(self, what: Any) -> None:
        """What a job sends on its way."""

    def stopped(self) -> None:
        """After Cancel."""
        self.say("Cancelled.")

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Errors of the library are the message of the widget."""
        try:
            yield
        except VeriscopeError as problem:
            self.say(str(problem), wrong=True)

    def _progressed(self, done: float, note: str) -> None:
        if self.job is not None and not self.job.cancelled:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * done))
            self.bar.setFormat(f"%p %{', ' * bool(note)}{note}")

    def _ended(self, result: Any, problem: Any) -> None:
        then, self._then = self._then, None
        if problem is None and then is not None:
            self._step(_steps(then, result))
            return
        self._end()
        if isinstance(problem, Cancelled):
            self.stopped()
        elif isinstance(problem, VeriscopeError | MemoryError | OSError):
            self.say(
                str(problem) or "There is not enough memory. Close other programs, or give less of it.", wrong=True
            )
        elif problem is not None:
            self.say(f"This should not have happened: {problem!r}", wrong=True)
            from napari.utils.notifications import ErrorNotification, notification_manager

            notification_manager.dispatch(ErrorNotification(problem))  # with its traceback, to be reported

    def _step(self, steps: Iterator[None]) -> None:
        """The next of what a result asks for in the window, and those after it when the window has answered."""
        if not isalive(self):
            return
        more = False
        try:
            gc.freeze()
            with self.explained():
                more = next(steps, self) is None
        finally:
            if more:
                QTimer.singleShot(0, lambda: self._step(steps))
            else:
                self._end()

    def _end(self) -> None:
        self.job = None
        self._working(False)

    def _working(self, on: bool) -> None:
        self.bar.setVisible(on)
        self.cancel_button.setVisible(on)
        self.bar.setRange(0, 0 if on else 1000)  # nothing is known yet: the bar only moves
        self.bar.setFormat("")

    def closeEvent(self, event: Any) -> None:
        self.cancel()
        super().closeEvent(event)


def canvas(width: float = 4.0, height: float = 2.6) -> Any:
    """A figure of matplotlib in a widget, dark as the window."""
    from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
    from matplotlib.figure import Figure

    made = FigureCanvasQTAgg(Figure((width, height), layout="constrained", facecolor="#262930"))
    made.setMinimumHeight(round(100 * height))
    return made


def panel(figure: Any, *place: int, title: str = "", x: str = "") -> Any:
    """An empty panel of a figure of `canvas`."""
    axes = figure.add_subplot(*place, facecolor="#1e2127")
    axes.set_title(title, color="#d0d4da", fontsize=9)
    axes.set_xlabel(x, color="#d0d4da", fontsize=8)
    axes.tick_params(colors="#9aa0a8", labelsize=7)
    for spine in axes.spines.values():
        spine.set_color("#5a606b")
    return axes


def legend(axes: Any, *more: Any) -> None:
    """Of one panel, or of several that lie on one another, on the last."""
    lines = [entry for one in (axes, *more) for entry in zip(*one.get_legend_handles_labels(), strict=True)]
    look = {"fontsize": 7, "facecolor": "#262930", "edgecolor": "none", "labelcolor": "#d0d4da"}
    (axes, *more)[-1].legend(*zip(*lines, strict=True), **look)


def words(text: str = "") -> QLabel:
    """Text that wraps and can be copied."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QSizePolicy

    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label
