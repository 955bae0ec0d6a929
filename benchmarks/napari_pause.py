"""Does the window stay free while napari restores? The longest pause of the window's thread during a 1 GB image.

    python benchmarks/napari_pause.py --record

The real napari on a virtual display (Xvfb): a series of 1 GB (uint16) is restored with the widget Restore, with every
output it makes. A timer in the window's thread is due every 5 ms; the longest time between two of its beats is the
pause that a person could feel. Meanwhile the time slider is moved once a second, as a person would. The network is
small, so that it takes minutes, not hours; a larger one is longer in torch, which leaves the window free.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
import torch

import veriscope as vs
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.wording import size

RESULTS = Path(__file__).parent / "results" / "napari_pause.txt"
LIMIT = 0.2  # seconds
BEAT = 5  # ms


class Beats:
    """Beats of a timer in the window's thread, and the times between them."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.times: list[float] = []
        self.timer = QTimer()
        self.timer.timeout.connect(lambda: self.times.append(time.perf_counter()))
        self.timer.start(BEAT)

    @property
    def pauses(self) -> np.ndarray:
        return np.diff(self.times) - BEAT / 1000


def model(folder: Path) -> Path:
    """One small network for planes, untrained."""
    torch.manual_seed(0)
    recipe = vs.Recipe("YX", depth=1, base=2)
    return vs.save(Ensemble(recipe, (build(recipe),)), folder / "model")


def measure(frames: int, side: int) -> list[str]:
    """Restore in the window; what there is to report."""
    import napari
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    from veriscope_napari.restore import Restore

    viewer = napari.Viewer()
    image = np.random.default_rng(0).integers(0, 4000, (frames, side, side), np.uint16)
    viewer.add_image(image, name="series", axis_labels=("t", "y", "x"), contrast_limits=(0, 4000))
    widget = Restore(viewer)
    viewer.window.add_dock_widget(widget)
    with tempfile.TemporaryDirectory() as folder:
        widget.model.set(model(Path(folder)))
        for _ in range(100):
            QApplication.processEvents()
            time.sleep(0.01)
        idle = Beats()
        end = time.perf_counter() + 5
        while time.perf_counter() < end:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        idle.timer.stop()
        beats, began, moved, alone_until = Beats(), time.perf_counter(), 0, 0.0
        widget.restore_button.click()
        while widget.job is not None:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
            if len(viewer.layers) == 1:
                alone_until = time.perf_counter()
            if time.perf_counter() - began > moved + 1:
                moved += 1
                viewer.dims.set_point(0, moved % frames)
        spent = time.perf_counter() - began
        end = time.perf_counter() + 2  # the layers appear
        while time.perf_counter() < end:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        beats.timer.stop()
        alone = []
        for number in range(3):  # what napari itself takes to add a layer of that size
            at = time.perf_counter()
            viewer.add_image(np.zeros(image.shape, np.float32), contrast_limits=(0, 1), name=str(number))
            alone.append(1000 * (time.perf_counter() - at))
        assert "restored" in " ".join(layer.name for layer in viewer.layers), widget.message.text()
    on_disk = "in files" if widget.result.folder is not None else "in memory"
    viewer.close()
    pauses = 1000 * beats.pauses
    longest = float(pauses.max())
    before = float(pauses[np.array(beats.times[1:]) <= alone_until].max())
    when = beats.times[int(pauses.argmax())] - began
    return [
        f"napari {napari.__version__}; image: uint16, {' x '.join(map(str, image.shape))} (TYX), {size(image.nbytes)}",
        f"restored in {spent:.0f} s, with the predicted scale; predictions {on_disk}; time slider moved {moved} times",
        f"pauses of the window's thread: longest {longest:.0f} ms ({when:.0f} s from the start), 99.9 % "
        f"of {len(pauses):,} below {np.percentile(pauses, 99.9):.0f} ms; "
        f"longest without work {1000 * idle.pauses.max():.0f} ms",
        f"longest before the layers appear {before:.0f} ms: under {1000 * LIMIT:.0f} ms: "
        f"{'yes' if before < 1000 * LIMIT else 'NO'}",
        f"napari alone takes {min(alone):.0f} to {max(alone):.0f} ms to add a layer of that size",
        f"all of it under {1000 * LIMIT:.0f} ms: {'yes' if longest < 1000 * LIMIT else 'NO'}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.name}")
    chosen = parser.parse_args()
    said, to = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-nolisten", "tcp", "-displayfd", str(to), "-screen", "0", "1400x1000x24"], pass_fds=[to]
    )
    os.close(to)
    with os.fdopen(said) as answer:
        os.environ |= {"DISPLAY": f":{answer.readline().strip()}", "QT_QPA_PLATFORM": "xcb"}
    try:
        lines = measure(chosen.frames, chosen.side)
    finally:
        server.terminate()
    text = "\n".join([machine.header("Pauses of napari's window while it restores 1 GB"), *lines])
    print(text)
    if chosen.record:
        RESULTS.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
