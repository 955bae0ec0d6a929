"""Engines give what torch gives, and the fastest of those that do is used."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import veriscope as vs
from veriscope.errors import VeriscopeWarning
from veriscope.networks import build
from veriscope.networks.model import Ensemble
from veriscope.networks.recipe import Recipe
from veriscope.restoring import engines, running
from veriscope.restoring.engines import AGREES, EXACT, Engine

SMALL: dict[str, Any] = {"depth": 2, "base": 4}
KINDS = {
    "planes": (Recipe("YX", **SMALL), (1, 1, 24, 40)),
    "stacks": (Recipe("ZYX", **SMALL), (1, 1, 8, 16, 24)),
    "folded stacks": (Recipe("ZYX", stem=2, channels_in=2, channels_out=2, **SMALL), (1, 2, 8, 32, 24)),
    "channels": (Recipe("YX", channels_in=3, channels_out=2, **SMALL), (1, 3, 16, 16)),
    "mean only": (Recipe("YX", probabilistic=False, activation="relu", **SMALL), (1, 1, 16, 16)),
    "surface": (Recipe("ZYX", task="project", **SMALL), (1, 1, 7, 32, 32)),
    "isotropic": (Recipe("YX", task="isotropic", **SMALL), (1, 1, 16, 12, 16)),
    "isotropic as csbdeep": (Recipe("YX", task="isotropic", combine="csbdeep", **SMALL), (1, 1, 16, 12, 16)),
}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of its own for what is remembered, and nothing kept from other tests."""
    place = tmp_path / "cache" / "engines.json"
    monkeypatch.setattr(engines, "_notes", lambda: place)
    engines._KEPT.clear()
    yield place
    engines._KEPT.clear()


def networks_and_image(kind: str) -> tuple[tuple[Any, ...], torch.Tensor]:
    recipe, shape = KINDS[kind]
    torch.manual_seed(1)
    ensemble = Ensemble(recipe, (build(recipe).eval(), build(recipe).eval()))
    return ensemble.in_space().members, torch.rand(shape)


def answers(run: engines.Run, image: torch.Tensor, kind: str) -> torch.Tensor:
    with torch.inference_mode():
        lengths = image.shape[3:] if kind == "surface" else image.shape[2:]
        inner = tuple(slice(0, length - 3) for length in lengths)
        return torch.stack([answer.clone() for answer in run(image, inner)])


@pytest.mark.parametrize("kind", KINDS)
def test_openvino_answers_as_torch_does_on_images_of_any_size(kind: str) -> None:
    pytest.importorskip("openvino")
    networks, image = networks_and_image(kind)
    for precision in AGREES:
        loaded = Engine("openvino", precision).load(networks, CPU)
        for given in (image, torch.cat([image, image.flip(-1)], dim=-1), image):
            expected = answers(EXACT.load(networks, CPU), given, kind)
            found = answers(loaded, given, kind)
            assert found.shape == expected.shape
            assert engines._agree(found, expected, precision)


def test_threads_may_use_the_same_networks_at_once() -> None:
    pytest.importorskip("openvino")
    networks, _ = networks_and_image("planes")
    run = Engine("openvino", "float32").load(networks, CPU)
    images = [torch.rand(1, 1, 32, 8 * (2 + n)) for n in range(6)]
    expected = [answers(EXACT.load(networks, CPU), image, "planes") for image in images]
    found: dict[int, torch.Tensor] = {}

    def work(number: int) -> None:
        found[number] = answers(run, images[number], "planes")

    workers = [threading.Thread(target=work, args=(number,)) for number in range(len(images))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(engines._agree(found[n], expected[n], "float32") for n in range(len(images)))


def test_another_number_of_threads_is_taken_up() -> None:
    pytest.importorskip("openvino")
    networks, image = networks_and_image("planes")
    run = Engine("openvino", "float32").load(networks, CPU)
    before, number = answers(run, image, "planes"), torch.get_num_threads()
    try:
        torch.set_num_threads(number + 1)
        assert engines._agree(answers(run, image, "planes"), before, "float32")
    finally:
        torch.set_num_threads(number)


def with_speeds(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[str, str], float], wrong: tuple[str, ...] = ()
) -> list[Engine]:
    """Engines of known speed, some wrong in OpenVINO; what was timed is in the list."""
    timed: list[Engine] = []

    def load(engine: Engine, networks: Any, device: torch.device) -> Any:
        exact = engines._by_torch(networks, "float32", device)

        def run(image: torch.Tensor, inner: Any) -> Iterator[torch.Tensor]:
            for answer in exact(image, inner):
                yield answer + 0.01 * (engine.name == "openvino" and engine.precision in wrong)

        run.engine = engine  # type: ignore[attr-defined]
        return run

    def clock(run: Any, piece: torch.Tensor, whole: Any) -> float:
        timed.append(run.engine)
        return seconds[run.engine.name, run.engine.precision]

    monkeypatch.setattr(Engine, "load", load)
    monkeypatch.setattr(engines, "_seconds", clock)
    monkeypatch.setattr(engines, "installed", lambda device: ["torch", "openvino"])
    return timed


SPEEDS = {
    ("torch", "float32"): 4.0,
    ("openvino", "float32"): 3.0,
    ("torch", "bfloat16"): 2.0,
    ("openvino", "bfloat16"): 1.0,
}
MUCH = engines.WORTH


@pytest.mark.parametrize(
    ("precision", "faster", "wrong", "expected"),
    [
        ("auto", {}, (), ("openvino", "float32")),
        ("auto", {("openvino", "float32"): 5.0}, (), ("torch", "float32")),
        ("auto", {}, ("float32",), ("torch", "float32")),
        ("float32", {}, (), ("torch", "float32")),
        ("fast", {}, (), ("openvino", "bfloat16")),
        ("fast", {}, ("bfloat16",), ("torch", "bfloat16")),
        ("bfloat16", {}, (), ("openvino", "bfloat16")),
        ("bfloat16", {}, ("bfloat16",), ("torch", "bfloat16")),
    ],
)
def test_the_fastest_engine_that_agrees_is_used(
    monkeypatch: pytest.MonkeyPatch, precision: engines.Precision, faster: Any, wrong: Any, expected: tuple[str, str]
) -> None:
    with_speeds(monkeypatch, SPEEDS | faster, wrong)
    networks, image = networks_and_image("planes")
    engine, _ = engines.ready(networks, precision, image, MUCH)
    assert (engine.name, engine.precision) == expected


def test_what_was_fastest_is_remembered_for_networks_of_this_kind(monkeypatch: pytest.MonkeyPatch, notes: Path) -> None:
    timed = with_speeds(monkeypatch, SPEEDS)
    networks, image = networks_and_image("planes")
    engines.ready(networks, "auto", image, MUCH)
    assert len(timed) == 2
    engine, _ = engines.ready(deepcopy(networks), "auto", image, MUCH)
    assert len(timed) == 2
    assert engine.name == "openvino"
    others, stack = networks_and_image("stacks")
    engines.ready(others, "auto", stack, MUCH)
    assert len(timed) == 4
    for damaged in ("{ broken", "[]", json.dumps({key: ["torch", 1] for key in json.loads(notes.read_text())})):
        notes.write_text(damaged)
        assert engines.ready(deepcopy(networks), "auto", image, MUCH)[0] == engine


def test_little_work_is_left_to_torch_until_it_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = with_speeds(monkeypatch, SPEEDS)
    networks, image = networks_and_image("planes")
    for precision in ("auto", "fast"):
        assert engines.ready(networks, precision, image, MUCH // 2)[0] == EXACT
        assert not timed
        assert engines.ready(networks, precision, image, MUCH // 2)[0].name == "openvino"
        timed.clear()


def test_networks_stay_ready_while_their_weights_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with_speeds(monkeypatch, SPEEDS)
    networks, image = networks_and_image("planes")
    _, run = engines.ready(networks, "auto", image, MUCH)
    assert engines.ready(networks, "auto", image, 1)[1] is run
    with torch.no_grad():
        next(networks[1].parameters()).mul_(1.01)
    _, other = engines.ready(networks, "auto", image, MUCH)
    assert not torch.equal(answers(other, image, "planes")[1], answers(run, image, "planes")[1])
    del networks, run, other
    gc.collect()
    assert not engines._KEPT


def test_an_engine_that_fails_is_passed_over(monkeypatch: pytest.MonkeyPatch, notes: Path) -> None:
    with_speeds(monkeypatch, SPEEDS)
    usual = Engine.load

    def broken(engine: Engine, *given: Any) -> Any:
        if engine.name == "openvino":
            raise RuntimeError("no such operation")
        return usual(engine, *given)

    monkeypatch.setattr(Engine, "load", broken)
    networks, image = networks_and_image("planes")
    with pytest.warns(VeriscopeWarning, match="OpenVINO cannot run this network"):
        engine, _ = engines.ready(networks, "auto", image, MUCH)
    assert str(engine) == "PyTorch, float32"
    assert not notes.exists()


def test_the_piece_that_is_tried_is_small_and_fits_the_network() -> None:
    networks, _ = networks_and_image("surface")
    piece, whole = engines.piece(networks[0], torch.zeros(1, 1, 33, 512, 256))
    step_y, step_x = networks[0].recipe.step
    assert piece.shape[2] == 33
    assert piece.shape[3] % step_y == piece.shape[4] % step_x == 0
    assert piece[0, 0].numel() <= engines.TRIAL
    assert whole == (slice(0, piece.shape[3]), slice(0, piece.shape[4]))


def test_restorations_agree_whatever_runs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "WORTH", 1)
    torch.manual_seed(0)
    recipe = Recipe("YX", **SMALL)
    model = Ensemble(recipe, (build(recipe), build(recipe)))
    image = vs.Image(np.random.default_rng(0).integers(100, 900, (96, 80), np.uint16), "YX")
    exact = vs.restore(image, model, tile=32, precision="float32").mean.array
    for precision, most in (("auto", 1e-5), ("fast", 0.02), ("bfloat16", 0.02)):
        quick = vs.restore(image, model, tile=32, precision=precision).mean.array  # type: ignore[arg-type]
        assert np.abs(quick - exact).max() <= most * np.ptp(exact)
    assert not np.array_equal(quick, exact)
    with pytest.raises(vs.VeriscopeError, match=r"'int4' is not known. Choose auto, float32, fast or bfloat16"):
        vs.restore(image, model, precision="int4")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_threads_are_tried_for_torch_alone(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "openvino":
        pytest.importorskip("openvino")
    tried = []

    class Chosen:
        @contextmanager
        def held(self, work: Any = None) -> Iterator[None]:
            tried.append(work is not None)
            yield

    monkeypatch.setattr(engines, "WORTH", 1)
    monkeypatch.setattr(engines, "candidates", lambda *given: [Engine(name, "float32")])
    monkeypatch.setattr(running, "in_restoring", lambda before: Chosen())
    recipe, shape = KINDS["planes"]
    image = vs.Image(np.random.default_rng(0).random(shape[2:], np.float32), "YX")
    vs.restore(image, Ensemble(recipe, (build(recipe),)), device="cpu", lazy=False)
    assert tried == [name == "torch"]


@pytest.mark.parametrize("kind", ["stacks", "folded stacks", "surface"])
def test_small_volumes_are_convolved_by_onednn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own code for them takes up to ten times as long; the answers are the same."""
    recipe, shape = KINDS[kind]
    network, image, plain, used = build(recipe).eval(), torch.rand(shape), torch.mkldnn_convolution, []
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *given: used.append(given) or plain(*given))
    with torch.inference_mode():
        (found,) = EXACT.load([network], CPU)(image, (slice(None),) * len(recipe.axes_out))
        wanted = network(image)[0]
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert len(used) == sum(isinstance(layer, torch.nn.Conv3d) for layer in network.modules())


def test_memory_is_not_handed_back_between_two_answers_and_nobody_waits_for_it() -> None:
    pytest.importorskip("openvino")
    networks = [build(vs.Recipe("YX", depth=1, base=4)).eval() for _ in range(2)]
    run = engines.Engine("openvino", "float32").load(networks, torch.device("cpu"))
    image = torch.rand(1, 1, 32, 32)
    found = run(image, (slice(0, 32), slice(0, 32)))
    next(found)  # as when Ctrl-C comes here
    run.rest()
    assert next(found).shape == (2, 32, 32)
    found.close()  # type: ignore[attr-defined]
    run.rest()
    assert len(list(run(image, (slice(0, 32), slice(0, 32))))) == 2
