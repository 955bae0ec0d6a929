"""Engines give what torch gives, and the fastest of those that do is used."""

from __future__ import annotations

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
from veriscope.restoring import engines
from veriscope.restoring.engines import AGREES, Engine
from veriscope.restoring.isotropic import in_space

SMALL: dict[str, Any] = {"depth": 2, "base": 4}
KINDS = {
    "planes": (Recipe("YX", **SMALL), (1, 1, 24, 40)),
    "stacks": (Recipe("ZYX", **SMALL), (1, 1, 8, 16, 24)),
    "channels": (Recipe("YX", channels_in=3, channels_out=2, **SMALL), (1, 3, 16, 16)),
    "mean only": (Recipe("YX", probabilistic=False, **SMALL), (1, 1, 16, 16)),
    "surface": (Recipe("ZYX", task="project", **SMALL), (1, 1, 7, 32, 32)),
    "isotropic": (Recipe("YX", task="isotropic", **SMALL), (1, 1, 16, 12, 16)),
    "isotropic as csbdeep": (Recipe("YX", task="isotropic", combine="csbdeep", **SMALL), (1, 1, 16, 12, 16)),
}
needs_openvino = pytest.mark.skipif(
    engines.installed(torch.device("cpu")) == ["torch"], reason="OpenVINO is not used in restoring yet"
)


@pytest.fixture(autouse=True)
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of its own for what is remembered."""
    place = tmp_path / "cache" / "engines.json"
    monkeypatch.setattr(engines, "_notes", lambda: place)
    return place


def network_and_image(kind: str) -> tuple[Any, torch.Tensor]:
    recipe, shape = KINDS[kind]
    torch.manual_seed(1)
    ensemble = in_space(Ensemble(recipe, (build(recipe).eval(),)))
    return ensemble.members[0], torch.rand(shape)


@needs_openvino
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_openvino_answers_as_torch_does_on_images_of_any_size(kind: str, precision: engines.Kind) -> None:
    network, image = network_and_image(kind)
    loaded = Engine("openvino", precision).load(deepcopy(network), image)
    twice = torch.cat([image, image.flip(-1)], dim=-1)
    with torch.inference_mode():
        for given in (image, twice):
            expected = network(given)
            apart = (loaded(given) - expected).abs().max() / (expected.max() - expected.min())
            # Untrained networks have answers of a small range, in which the steps of bfloat16 are larger.
            assert apart <= AGREES[precision] * (10 if precision == "bfloat16" else 1)


class Slow(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, precision: str, example: torch.Tensor) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.network(image)
        return answer


def with_speeds(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[str, str], float], wrong: tuple[str, ...] = ()
) -> list[str]:
    """Engines of known speed, of which some give wrong values; what was timed is in the list."""
    timed: list[str] = []

    class Torch(Slow):
        name = "torch"

    class Other(Slow):
        name = "openvino"

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            answer = super().forward(image)
            return answer + (0.01 if self.precision in wrong else 0) * (answer.max() - answer.min())

    def clock(network: Any, piece: torch.Tensor) -> float:
        timed.append(network.name)
        return seconds[network.name, network.precision]

    monkeypatch.setattr(engines, "Torch", Torch)
    monkeypatch.setattr(engines, "OpenVino", Other)
    monkeypatch.setattr(engines, "_seconds", clock)
    monkeypatch.setattr(engines, "installed", lambda device: ["torch", "openvino"])
    return timed


SPEEDS = {
    ("torch", "float32"): 4.0,
    ("openvino", "float32"): 3.0,
    ("torch", "bfloat16"): 2.0,
    ("openvino", "bfloat16"): 1.0,
}


@pytest.mark.parametrize(
    ("precision", "faster", "wrong", "expected"),
    [
        ("float32", {}, (), ("openvino", "float32")),
        ("float32", {("openvino", "float32"): 5.0}, (), ("torch", "float32")),
        ("float32", {}, ("float32",), ("torch", "float32")),
        ("fast", {}, (), ("openvino", "bfloat16")),
        ("fast", {}, ("bfloat16",), ("torch", "bfloat16")),
        ("bfloat16", {}, ("bfloat16",), ("torch", "bfloat16")),
    ],
)
def test_the_fastest_engine_that_agrees_is_used(
    monkeypatch: pytest.MonkeyPatch, precision: engines.Precision, faster: Any, wrong: Any, expected: tuple[str, str]
) -> None:
    with_speeds(monkeypatch, SPEEDS | faster, wrong)
    network, image = network_and_image("planes")
    engine, loaded = engines.choose([network], precision, image)
    assert (engine.name, engine.precision) == expected
    assert len(loaded) == 1


def test_what_was_fastest_is_remembered_for_these_weights(monkeypatch: pytest.MonkeyPatch, notes: Path) -> None:
    timed = with_speeds(monkeypatch, SPEEDS)
    network, image = network_and_image("planes")
    engines.choose([deepcopy(network)], "float32", image)
    count = len(timed)
    assert count > 0
    engine, _ = engines.choose([deepcopy(network)], "float32", image)
    assert len(timed) == count
    assert engine.name == "openvino"
    with torch.no_grad():
        next(network.parameters()).mul_(1.01)
    engines.choose([network], "float32", image)
    assert len(timed) > count
    notes.write_text("{ broken")
    engines.choose([network], "float32", image)


def test_an_engine_that_fails_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with_speeds(monkeypatch, SPEEDS)

    def broken(*_: Any) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(engines, "OpenVino", broken)
    network, image = network_and_image("planes")
    with pytest.warns(VeriscopeWarning, match="OpenVINO cannot run this network"):
        engine, _ = engines.choose([network], "float32", image)
    assert str(engine) == "PyTorch, float32"


def test_the_piece_that_is_tried_is_small_and_fits_the_network() -> None:
    network, _ = network_and_image("surface")
    piece = engines._piece(network, torch.zeros(1, 1, 33, 512, 256))
    step_y, step_x = network.recipe.step
    assert piece.shape[2] == 33
    assert piece.shape[3] % step_y == piece.shape[4] % step_x == 0
    assert piece[0, 0].numel() <= engines.TRIAL


def test_a_restoration_in_another_precision_stays_near(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    recipe = Recipe("YX", **SMALL)
    model = Ensemble(recipe, (build(recipe), build(recipe)))
    image = vs.Image(np.random.default_rng(0).integers(100, 900, (96, 80), np.uint16), "YX")
    exact = vs.restore(image, model, tile=32).mean.array
    for precision in ("fast", "bfloat16"):
        quick = vs.restore(image, model, tile=32, precision=precision).mean.array
        assert 0 < np.abs(quick - exact).max() < 0.02 * np.ptp(exact) or precision == "fast"
        assert np.abs(quick - exact).max() < 0.02 * np.ptp(exact)
    with pytest.raises(vs.VeriscopeError, match=r"The precision 'int4' is not known. Choose float32, bfloat16 or fast"):
        vs.restore(image, model, precision="int4")  # type: ignore[arg-type]
