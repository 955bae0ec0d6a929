"""The screenshots of docs/napari.md: a real napari on a virtual display, with the sample data.

    python docs/images/in_napari.py

Takes about 3 minutes. Needs Xvfb.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
MINUTES = 1


def until(true: Callable[[], object], at_least: float = 1.0) -> None:
    """Let the window work until something is true, and a little longer."""
    from qtpy.QtWidgets import QApplication

    began = time.monotonic()
    while not true() or time.monotonic() < began + at_least:
        QApplication.processEvents()
        time.sleep(0.01)


def keep(viewer: Any, name: str) -> None:
    """The whole window as a small PNG."""
    from PIL import Image

    viewer.reset_view()
    until(lambda: True)
    picture = Image.fromarray(viewer.screenshot(canvas_only=False, flash=False)[..., :3])
    picture.resize([round(0.7 * side) for side in picture.size], Image.Resampling.LANCZOS).quantize(
        200, Image.Quantize.FASTOCTREE
    ).save(HERE / f"napari-{name}.png", optimize=True)


def docked(viewer: Any, name: str, width: int = 430) -> Any:
    """The widget called `name`, alone on the right."""
    viewer.window.remove_dock_widget("all")
    dock, widget = viewer.window.add_plugin_dock_widget("veriscope", name)
    dock.setMinimumWidth(width)
    return widget


def draw(folder: Path) -> None:
    import napari
    import npe2

    import veriscope_napari

    plugins = npe2.PluginManager.instance()
    plugins.discover()
    if "veriscope" not in plugins:
        plugins.register(npe2.PluginManifest.from_file(Path(veriscope_napari.__file__).with_name("napari.yaml")))
    viewer = napari.Viewer()
    viewer.window.resize(1380, 960)
    viewer.open_sample("veriscope", "nuclei")
    viewer.layers[1].visible = False
    widget = docked(viewer, "Train")
    widget.minutes.setValue(MINUTES)
    widget.members.setValue(2)
    widget.folder.edit.setText(str(folder / "nuclei.veriscope"))
    widget.train_button.click()
    until(lambda: widget.job is None or (widget.bar.value() > 600 and widget.patches.figure.axes))
    keep(viewer, "train")
    widget.stop_button.click()
    until(lambda: widget.job is None)
    viewer.layers.clear()
    low, high = viewer.open_sample("veriscope", "stack")
    high.visible = False
    viewer.layers.selection = {low}
    restore = docked(viewer, "Restore")
    restore.model.set("nuclei-3d")
    restore.restore_button.click()
    until(lambda: restore.job is None)
    assert len(restore.shown) > 2, restore.message.text()
    restore.interval.box.setChecked(True)
    until(lambda: restore.interval.layers)
    for layer in viewer.layers:
        layer.visible = layer.name.endswith(("restored", "trust mask"))
    viewer.layers.selection = {next(layer for layer in viewer.layers if layer.name.endswith("restored"))}
    keep(viewer, "restore")
    inspect = docked(viewer, "Inspect")
    inspect.truth.setCurrentIndex(inspect.truth.layers.index(high))
    restored = next(layer for layer in viewer.layers if layer.name.endswith(", restored"))
    viewer.layers.selection = {restored}
    plane = int(viewer.dims.current_step[0])
    brightest = np.unravel_index(np.argmax(restored.data[plane]), restored.data.shape[1:])
    inspect.show_pixel(restored.data_to_world((plane, *brightest)))
    inspect.line_button.click()
    viewer.layers["line to inspect"].add_lines(np.array([[plane, 40, 6], [plane, 52, 90]]))
    keep(viewer, "inspect")
    viewer.layers.remove("line to inspect")
    compare = docked(viewer, "Compare and judge", 640)
    compare.low.setCurrentIndex(compare.low.layers.index(low))
    compare.high.setCurrentIndex(compare.high.layers.index(high))
    compare.model.set("nuclei-3d")
    compare.methods.setText("median,lowpass")
    compare.button.click()
    until(lambda: compare.job is None)
    keep(viewer, "compare")
    viewer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    said, to = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-nolisten", "tcp", "-displayfd", str(to), "-screen", "0", "1400x1000x24"], pass_fds=[to]
    )
    os.close(to)
    with os.fdopen(said) as answer, tempfile.TemporaryDirectory() as folder:
        os.environ |= {"DISPLAY": f":{answer.readline().strip()}", "QT_QPA_PLATFORM": "xcb"}
        os.environ |= {"NAPARI_CONFIG": f"{folder}/napari.yaml", "XDG_CONFIG_HOME": folder}
        try:
            draw(Path(folder))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
