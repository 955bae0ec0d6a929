"""Images of every kind with tiny models for them; a real napari on a virtual display, and a way to wait for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy.ndimage import gaussian_filter

import veriscope as vs
from veriscope.apps.cli import main
from veriscope.images.image import Image
from veriscope.images.pairing import Pair, Pairs
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.simulate.photograph import low_light

HERE = Path(__file__).parent
REAL = HERE.parents[2] / "shared" / "data"
OTHERS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning", "ResourceWarning")  # napari's and Qt's


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for name in OTHERS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{name}"))


@pytest.fixture(scope="session")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A screen that nobody sees, and settings that are nobody's."""
    pytest.importorskip("napari", reason="napari is not installed: pip install 'veriscope[napari]'")
    program = shutil.which("Xvfb")
    if program is None:
        pytest.skip("there is no Xvfb for a virtual display: install it with apt-get install xvfb")
    said, to = os.pipe()
    words = [program, "-displayfd", str(to), "-screen", "0", "1400x1000x24", "-nolisten", "tcp"]
    server = subprocess.Popen(words, pass_fds=[to], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(to)
    with os.fdopen(said) as answer:
        number = answer.readline().strip()
    home = tmp_path_factory.mktemp("home")
    chosen = {
        "DISPLAY": f":{number}",
        "QT_QPA_PLATFORM": "xcb",
        "NAPARI_CONFIG": str(home / "napari.yaml"),
        "XDG_CONFIG_HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
    }
    before = {name: os.environ.get(name) for name in chosen}
    os.environ.update(chosen)
    tried = [sys.executable, "-c", "from qtpy.QtWidgets import QApplication; QApplication([])"]
    found = subprocess.run(tried, capture_output=True, text=True)  # without its libraries Qt ends the whole process
    if found.returncode:
        server.kill()
        server.wait()
        pytest.skip(f"Qt cannot use the virtual display: {found.stderr.strip()[-300:]}")
    yield
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    server.terminate()
    server.wait()


@pytest.fixture(scope="session")
def window(display: None) -> Iterator[Any]:
    """napari with the plugin of this checkout."""
    import napari
    import npe2

    plugins = npe2.PluginManager.instance()
    plugins.discover()
    if "veriscope" not in plugins:
        import veriscope_napari

        plugins.register(npe2.PluginManifest.from_file(Path(veriscope_napari.__file__).with_name("napari.yaml")))
    viewer = napari.Viewer()
    yield viewer
    viewer.close()


@pytest.fixture
def viewer(window: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty viewer; what goes wrong in the window fails the test."""
    from napari.utils.notifications import notification_manager

    wrong: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: wrong.append(error))
    notification_manager.records.clear()
    yield window
    window.window.remove_dock_widget("all")
    window.layers.clear()
    window.dims.ndisplay = 2
    assert not wrong, wrong
    assert not notification_manager.records, [record.message for record in notification_manager.records]


class App:
    """What a person does: opens widgets, presses buttons, waits."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer

    def open(self, name: str) -> Any:
        """A widget, opened as the menu does."""
        return self.viewer.window.add_plugin_dock_widget("veriscope", name)[1]

    def until(self, true: Callable[[], object], seconds: float = 120.0) -> None:
        """Let the window work until something is true."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "it did not happen"
            QApplication.processEvents()
            time.sleep(0.002)
        QApplication.processEvents()

    def done(self, widget: Any) -> None:
        """Wait for the widget's work."""
        self.until(lambda: widget.job is None)

    def add(self, image: Image) -> list[Any]:
        """`image` as layers, selected."""
        from veriscope_napari.layers import add, layer_data

        layers = add(self.viewer, layer_data(image))
        self.viewer.layers.selection = set(layers)
        return layers

    def restore(self, widget: Any, model: Path) -> dict[str, Any]:
        """Press Restore and wait; the new layers by the end of their names."""
        before = list(self.viewer.layers)
        widget.model.set(model)
        widget.restore_button.click()
        self.done(widget)
        return {layer.name.split(", ")[-1]: layer for layer in self.viewer.layers if layer not in before}


@pytest.fixture
def app(viewer: Any) -> App:
    return App(viewer)


def truth(seed: int, shape: tuple[int, ...] = (72, 72)) -> Image:
    smooth = gaussian_filter(np.random.default_rng(seed).random(shape), 2)
    scaled = 2000 * (smooth - smooth.min()) / np.ptp(smooth) + 100
    return Image(scaled.astype(np.uint16), "ZYX"[-len(shape) :], (0.3,) * len(shape), name="cells")


def pair(seed: int, shape: tuple[int, ...] = (72, 72)) -> Pair:
    image = truth(seed, shape)
    return Pair(low_light(image, 20, seed), image, f"field {seed}")


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., Pair]:
    """``make_pair(seed, shape)``: a field in low light and its ground truth."""
    return pair


@pytest.fixture
def low() -> Image:
    """A field in low light that no training saw."""
    return pair(20).low


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members for planes that know their training images."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "planes"
    recipe = vs.Recipe("YX", depth=1, base=4, patch=(32, 32), precision="float32")
    pairs = Pairs([pair(seed) for seed in range(8)])
    vs.train(recipe, pairs, 0.4, members=2, epochs=2, folder=folder, per_image=12, progress=False)
    return folder


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``untrained("ZYX", channels_in=2)``: a model on disk."""

    def make(axes: str, members: int = 2, **choices: Any) -> Path:
        torch.manual_seed(7)
        recipe = vs.Recipe(**{"axes": axes, "depth": 1, "base": 2, **choices})
        count = {"low": recipe.channels_in, "high": recipe.channels_out}
        facts = {
            name: {"percentiles": {"2.0": [100.0] * count[name], "99.8": [3000.0] * count[name]}} for name in count
        }
        folder = tmp_path_factory.mktemp("models") / "model"
        return vs.save(Ensemble(recipe, tuple(build(recipe) for _ in range(members)), facts), folder)

    return make


MODELS: dict[str, dict[str, Any]] = {
    "planes": {"axes": "YX"},
    "stacks": {"axes": "ZYX"},
    "channels": {"axes": "YX", "channels_in": 2, "channels_out": 2},
    "surface": {"axes": "ZYX", "task": "project"},
    "isotropic": {"axes": "YX", "task": "isotropic", "upsample": (3.0, 1.0, 1.0)},
}


@dataclass(frozen=True)
class Case:
    """An image, the model for it, and what ImageJ has to show: channels, planes, time points; spacing of the planes."""

    model: str
    real: str  # in the folder of real images
    part: tuple[slice, ...]
    axes: str
    shown: tuple[int, int, int]
    depth: float = 1.0
    words: str = ""  # further ones of the command line


def span(length: int, start: int = 60) -> slice:
    return slice(start, start + length)


CASES = {
    "flat": Case(
        "planes", "w2s/ch0/low/fov001.tif", (span(48), span(56)), "YX", (1, 1, 1), 1.0, "--scale --interval 0.9"
    ),
    "deep": Case("stacks", "nuclei3d/nuclei.tif", (span(6, 20), span(40), span(44)), "ZYX", (1, 6, 1), 0.3),
    "series": Case(
        "planes", "yeast_mito_tzyx/yeast_mito_t0-11.tif", (slice(3), 8, span(40), span(36)), "TYX", (1, 1, 3)
    ),
    "colours": Case("channels", "w2s/ch{}/low/fov001.tif", (span(40), span(48)), "CYX", (2, 1, 1)),
    "wing": Case(
        "surface", "epithelium/stack.tif", (span(8, 8), span(48), span(44)), "ZYX", (1, 1, 1), 0.3, "--height"
    ),
    "worm": Case("isotropic", "nuclei3d/nuclei.tif", (slice(10, 28, 3), span(36), span(40)), "ZYX", (1, 18, 1), 0.3),
    "slices": Case(
        "planes", "nuclei3d/nuclei.tif", (span(4, 20), span(40), span(44)), "ZYX", (1, 4, 1), 0.3, "--planes"
    ),
}


def pixels(case: Case) -> np.ndarray:
    """Part of a real image; where there are none, a smooth random one of the same size."""
    places = [REAL / case.real.format(number) for number in range(2 if case.axes == "CYX" else 1)]
    if all(place.is_file() for place in places):
        parts = [np.asarray(tifffile.imread(place))[case.part] for place in places]
    else:
        size = [part.stop - (part.start or 0) for part in case.part if isinstance(part, slice)]
        parts = [400 * gaussian_filter(np.random.default_rng(n).random(size), 2) for n in range(len(places))]
    return (np.stack(parts) if case.axes == "CYX" else parts[0]).astype(np.uint16)


@dataclass(frozen=True)
class Material:
    """A folder with an image of every kind, NAME.tif, and the models for them."""

    folder: Path
    cases: dict[str, Case]

    def by_command(self, name: str) -> Path:
        """The folder of what `veriscope restore` writes for the image `name`: NAME-restored.tif, .scale.tif ..."""
        folder, case = self.folder / "cli", self.cases[name]
        if not (folder / f"{name}-restored.tif").exists():
            command(self.folder, f"restore {name}.tif --model {case.model} --out cli/{name}-restored.tif {case.words}")
        return folder


def command(folder: Path, words: str) -> None:
    """`veriscope WORDS` in `folder`."""
    with chdir(folder), pytest.raises(SystemExit) as end:
        main(words.split())
    assert end.value.code in (0, None)


@pytest.fixture(scope="session")
def run_command() -> Callable[[Path, str], None]:
    return command


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    for name, choices in MODELS.items():
        torch.manual_seed(0)
        recipe = vs.Recipe(**{"depth": 1, "base": 2, "batch": 1, **choices})
        vs.save(Ensemble(recipe, tuple(build(recipe) for _ in range(2)), {}), folder / name)
    red, green = (np.outer(np.eye(3)[which], np.arange(256)).astype(np.uint8) for which in (0, 1))
    for name, case in CASES.items():
        said: dict[str, Any] = {"axes": case.axes, "unit": "um"}
        said |= {"spacing": case.depth} if "Z" in case.axes else {}
        said |= {"finterval": 2.5} if "T" in case.axes else {}
        said |= {"LUTs": [red, green], "mode": "composite"} if "C" in case.axes else {}
        tifffile.imwrite(folder / f"{name}.tif", pixels(case), imagej=True, resolution=(10, 10), metadata=said)
    plane = np.tile(pixels(CASES["flat"]), (52, 45))  # takes a while
    tifffile.imwrite(folder / "large.tif", plane, imagej=True)
    return Material(folder, CASES)
