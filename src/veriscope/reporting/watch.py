"""A training looked at while it runs: a page that refreshes itself, and a log for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from veriscope import notebook, saving
from veriscope.errors import VeriscopeError
from veriscope.training.progress import Step, Triple
from veriscope.wording import duration

EVERY = 5.0  # seconds between pages
STYLE = "body{font:16px sans-serif;margin:2em;max-width:60em}th{text-align:left;padding-right:1em}progress{width:100%}"
NAMES = ("input", "network", "ground truth")


@dataclass
class Page:
    """A listener that writes a page of a training every few seconds: losses, check patches, time left.

    It stands alone, loads itself anew in a browser while the training runs, and stays as it was at the end.
    """

    path: Path
    title: str
    every: float = EVERY
    rows: list[tuple[float, float]] = field(default_factory=list)  # done, 0 to 1, and checked loss
    last: Step | None = None
    written: float = -np.inf

    def __enter__(self) -> Page:
        self._write("planning")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write("finished" if kind is None else "stopped", running=False)

    def __call__(self, step: Step) -> None:
        self.last = step
        if step.check_loss is not None and (not self.rows or self.rows[-1][1] != step.check_loss):
            self.rows.append((step.done, step.check_loss))
        if time.monotonic() - self.written >= self.every:
            self._write("running")
            self.written = time.monotonic()

    def _write(self, said: str, running: bool = True) -> None:
        parts = [f"<h1>{escape(self.title)}</h1>"]
        if (step := self.last) is not None:
            left = "" if step.seconds_left is None or not running else f", {duration(step.seconds_left)} left"
            parts.append(f'<p>{said}{left}</p><progress max="1" value="{step.done:.4f}"></progress>')
            known = {
                "member": f"{step.member + 1} of {step.members}",
                "step": f"{step.step}" + (f" of {step.steps}" if step.steps else ""),
                "loss": "-" if step.loss is None else f"{step.loss:.4f}",
                "checked": "-" if step.check_loss is None else f"{step.check_loss:.4f} (best {step.best:.4f})",
                "speed": f"{step.patches_per_second:.1f} patches/s",
            }
            parts += [notebook.facts(known), chart(self.rows), shown(step.pictures())]
        else:
            parts.append(f"<p>{said}</p>")
        again = f'<meta http-equiv="refresh" content="{self.every:.0f}">' if running else ""
        page = f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<title>{escape(self.title)}</title>'
        saving.write(self.path, f"{page}<style>{STYLE}</style>{''.join(parts)}</html>")


def chart(rows: list[tuple[float, float]]) -> str:
    """The checked losses over the training, as SVG."""
    if len(rows) < 2:
        return "<p>The first losses are drawn after the second check.</p>"
    done, loss = (np.array(column) for column in zip(*rows, strict=True))
    bottom, top = float(loss.min()), float(loss.max())
    y = 180 - 160 * (loss - bottom) / ((top - bottom) or 1.0)
    points = " ".join(f"{60 + 520 * a:.1f},{b:.1f}" for a, b in zip(done, y, strict=True))
    labels = "".join(
        f'<text x="54" y="{at}" text-anchor="end" font-size="12">{value:.3f}</text>'
        for at, value in ((24, top), (184, bottom))
    )
    return (
        '<h2>Checked loss</h2><svg viewBox="0 0 600 210" role="img" aria-label="checked loss" style="width:100%">'
        f'<path d="M60 10V190H590" fill="none" stroke="#999"/>{labels}<text x="325" y="206" text-anchor="middle" '
        f'font-size="12">training, start to end</text>'
        f'<polyline points="{points}" fill="none" stroke="#0072b2" stroke-width="2"/></svg>'
    )


def shown(pictures: list[Triple]) -> str:
    """Rows of check patches: input, network and ground truth in the same greys, where the truth is known."""
    lines = []
    for triple in pictures:
        known = [(name, one) for name, one in zip(NAMES, triple, strict=True) if np.isfinite(one).all()]
        bottom, top = np.percentile(known[-1][1], notebook.GREYS)
        lines.append(notebook.figures({name: notebook.png(one, (float(bottom), float(top))) for name, one in known}))
    return "<h2>Patches kept aside</h2>" + "".join(lines) if lines else ""


class TensorBoard:
    """A listener that writes losses, speed and check patches for TensorBoard, by its own writer.

    Raises VeriscopeError where it is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as problem:
            raise VeriscopeError(
                "--log tensorboard needs the package tensorboard, which is not installed. Install it with: pip install "
                "'veriscope[log]', or remove --log."
            ) from problem
        make: Callable[..., Any] = SummaryWriter
        self._writer = make(str(folder))
        self._checked: float | None = None
        self._loss: float | None = None

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()

    def __call__(self, step: Step) -> None:
        self._loss = step.loss or self._loss  # at a check a new round has begun
        if step.check_loss is None or step.check_loss == self._checked:
            return
        self._checked = step.check_loss
        figures = {"loss": self._loss, "checked loss": step.check_loss, "patches per second": step.patches_per_second}
        for name, value in figures.items():
            if value is not None:
                self._writer.add_scalar(f"member {step.member + 1}/{name}", value, step.step)
        for number, triple in enumerate(step.pictures()):
            row = np.concatenate([one for one in triple if np.isfinite(one).all()], axis=1)
            self._writer.add_image(f"patch {number + 1}", np.clip(row, 0, 1), step.step, dataformats="HW")
        self._writer.flush()
