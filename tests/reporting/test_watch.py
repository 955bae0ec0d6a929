"""A training looked at while it runs, and what notebooks show."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import veriscope as vs
from veriscope import notebook
from veriscope.apps.cli import main
from veriscope.familiarity import Verdict
from veriscope.images.pairing import Pair
from veriscope.reporting.watch import Page
from veriscope.tables import plain
from veriscope.training.progress import Step, several

TINY = vs.Recipe(axes="YX", base=2, depth=1, patch=(16, 16), precision="float32")


def pairs(count: int = 3) -> list[Pair]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        high = rng.random((40, 48)).astype(np.float32)
        low = high + rng.normal(0, 0.1, high.shape).astype(np.float32)
        made.append(Pair(vs.Image(low, "YX"), vs.Image(high, "YX"), f"<{number}>"))
    return made


def test_the_page_of_a_training_shows_losses_and_patches_and_ends_without_refreshing(tmp_path: Path) -> None:
    page, seen = Page(tmp_path / "page.html", "a <b>", every=0.0), []
    with page:
        assert "planning" in page.path.read_text()
        step = several(page, lambda one: seen.append(page.path.read_text()))
        vs.train(TINY, pairs(), members=1, epochs=3, device="cpu", progress=step)
    assert all('http-equiv="refresh"' in one and "running" in one for one in seen)
    last = page.path.read_text()
    assert "refresh" not in last
    assert "finished" in last
    assert "a &lt;b&gt;" in last
    assert last.count("<polyline") == 1
    assert len(re.findall("<figcaption>(input|network|ground truth)<", last)) == 3 * 4
    assert "http://" not in last.replace('xmlns="http://www.w3.org', "")  # it needs nothing from elsewhere


def test_a_stopped_training_leaves_a_page_that_says_so(tmp_path: Path) -> None:
    def stop(step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Page(tmp_path / "page.html", "t") as page:
        vs.train(TINY, pairs(), members=1, epochs=1, device="cpu", progress=several(page, stop))
    assert "stopped" in (tmp_path / "page.html").read_text()


def test_pictures_are_made_when_asked_for_and_are_no_values_of_a_step() -> None:
    asked: list[int] = []
    step = Step(0, 1, 1, 2, 0.5, None, None, None, 1.0, None, lambda: asked.append(1) or [])  # type: ignore[func-returns-value]
    assert "look" not in plain(step)
    assert not asked
    assert step.pictures() == []
    assert asked == [1]


def test_of_blind_spots_there_is_no_truth_to_show(tmp_path: Path) -> None:
    from veriscope.training.noisy import noisy_images

    with Page(tmp_path / "page.html", "t", every=0.0) as page:
        material = noisy_images([pair.low for pair in pairs()])
        vs.train(TINY, material, members=1, epochs=1, device="cpu", progress=page)
    assert "ground truth" not in page.path.read_text()
    assert "network" in page.path.read_text()


@pytest.mark.filterwarnings("ignore::veriscope.errors.VeriscopeWarning")
def test_watch_and_log_write_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("low", "high"):
        Path(kind).mkdir()
        for pair in pairs():
            vs.save_image(Path(kind) / f"{pair.name[1]}.ome.tif", getattr(pair, kind))
    layers = ["--base", "2", "--depth", "1", "--patch", "16,16", "--members", "1", "--epochs", "2", "--device", "cpu"]

    def typed(*words: str) -> Any:
        with pytest.raises(SystemExit) as end:
            main(["train", "low", "high", "--out", "model", *layers, *words])
        return end.value.code, capsys.readouterr()

    assert typed("--log", "wandb")[0] == 2
    code, said = typed("--watch")
    assert not code
    assert "model.watch.html" in said.out
    assert "finished" in Path("model.watch.html").read_text()
    Path("model").rename("other")
    code, said = typed("--watch")
    assert code == 2  # an earlier page is not replaced
    assert "exists already" in said.err
    if find_spec("tensorboard") is None:
        code, said = typed("--log", "tensorboard")
        assert code == 2
        assert "pip install 'veriscope[log]'" in " ".join(said.err.split())
    else:
        assert not typed("--log", "tensorboard")[0]
        assert any(Path("model.log").glob("events*"))


def test_notebooks_show_pictures_and_words() -> None:
    image = vs.Image(np.arange(2 * 3 * 8 * 9, dtype=np.uint16).reshape(2, 3, 8, 9), "CZYX", (0.3, 0.1, 0.1), name="<a>")
    assert image._repr_html_().count("<img") == 2
    assert "0.1" in image._repr_html_()
    model = vs.train(TINY, pairs(), members=1, epochs=1, device="cpu", progress=False)
    restored = vs.restore(pairs()[0].low, model)
    said = restored._repr_html_()
    assert said.count("<img") == 2
    assert "predicted scale" in said
    lazy = vs.restore(pairs()[0].low, model, lazy=True)
    assert "<img" not in lazy._repr_html_()
    judged = vs.judge(model, pairs())
    assert judged._repr_html_().count("<tr>") == 1 + len(judged.table().rows)
    assert "&lt;0&gt;" in judged._repr_html_()
    compared = vs.compare(pairs(1), methods="median")
    assert "median" in compared._repr_html_().lower()
    verdict = Verdict(2, 0.5, None, reasons=("a < b",))
    assert notebook.DOTS[2] in verdict._repr_html_()
    assert "a &lt; b" in verdict._repr_html_()


def test_a_picture_is_stretched_between_its_percentiles_and_no_wider_than_needed() -> None:
    import base64
    import io

    plane = np.linspace(0, 1, 1000)[None].repeat(40, 0)
    uri = notebook.png(plane)
    shown = np.asarray(Pillow.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert shown.shape[1] <= notebook.WIDE
    assert (shown[0, 0], shown[0, -1]) == (0, 255)
    assert (np.diff(shown[0].astype(int)) >= 0).all()
