"""What runs the networks where float32 in torch is not asked for: the fastest that agrees with it on the first tile.

The model folder stays the only source. A network is converted in memory when it is used; what was fastest for which
network on this machine is remembered, so that a model gives the same values each time.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from veriscope import saving
from veriscope.errors import DataError, OutputError, warn
from veriscope.networks.network import channels_last
from veriscope.networks.slices import BothWays, Slices
from veriscope.wording import listed

Precision = Literal["float32", "bfloat16", "fast"]
Kind = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "fast")
AGREES: dict[Kind, float] = {"float32": 1e-5, "bfloat16": 2e-3}  # of the range of what torch gives in float32, at most
TRIAL = 2**16  # pixels of the first tile that are tried, at most
MOST_NOTES = 200
RUNS = 2  # timed for each engine, after one that warms up


def checked(word: str) -> Precision:
    """`word` once it is known to be a precision. Raises DataError."""
    if word not in PRECISIONS:
        raise DataError(f"The precision '{word}' is not known. Choose {listed(PRECISIONS, 'or')}.")
    return word


@dataclass(frozen=True)
class Engine:
    """A way to run a network."""

    name: Literal["torch", "openvino"]
    precision: Kind

    def __str__(self) -> str:
        return f"{'PyTorch' if self.name == 'torch' else 'OpenVINO'}, {self.precision}"

    def load(self, network: nn.Module, example: Tensor) -> nn.Module:
        """`network`, which is not used otherwise any more, ready to run; `example` is an input."""
        kind = OpenVino if self.name == "openvino" else Torch
        if isinstance(network, Slices):
            network.network = self.load(network.network, _slices(example))  # type: ignore[assignment]
            return network
        if isinstance(network, BothWays):
            network.along_x.network = self.load(network.along_x.network, _slices(example))  # type: ignore[assignment]
            network.along_y.network = network.along_x.network
            return network
        return kind(network, self.precision, example)


def _slices(stack: Tensor) -> Tensor:
    """A slice that holds Z and X of a stack (batch, channels, Z, Y, X)."""
    return stack[:, :, :, 0].contiguous()


class Torch(nn.Module):
    """Torch itself, in the memory layout that is fastest on a processor, or in bfloat16."""

    def __init__(self, network: nn.Module, precision: str, example: Tensor) -> None:
        super().__init__()
        self.network = network
        self.low = precision == "bfloat16"
        if example.device.type == "cpu":  # 1.5 to 2 times faster in 2D, 1.2 in 3D; benchmarks/restoring.py
            channels_last(network)

    def forward(self, image: Tensor) -> Tensor:
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.low):
            answer: Tensor = self.network(image)
        return answer.float()


class OpenVino(nn.Module):
    """OpenVINO on the processor, for any size of image."""

    def __init__(self, network: nn.Module, precision: str, example: Tensor) -> None:
        super().__init__()
        import openvino

        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")  # tracing warns of every check of a size
            model = openvino.convert_model(network.eval(), example_input=torch.zeros(example.shape))
        model.reshape([1 if a == 0 else n if a == 1 else -1 for a, n in enumerate(example.shape)])
        self.model: Any = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32" if precision == "float32" else "bf16",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
            },
        )

    def forward(self, images: Tensor) -> Tensor:
        answers = [torch.from_numpy(self.model(image[None].numpy())[0]) for image in images]
        return torch.cat(answers) if len(answers) > 1 else answers[0]


def installed(device: torch.device) -> list[Literal["torch", "openvino"]]:
    """The engines that can be used on `device`."""
    return ["torch"]  # not OpenVINO yet: within a whole restoration on one core it came to a standstill


def choose(networks: Sequence[nn.Module], precision: Precision, block: Tensor) -> tuple[Engine, list[nn.Module]]:
    """The fastest engine whose answers agree with torch in float32 on a piece of `block`, and the networks in it.

    `block` is an input (1, channels, *space). Answers agree when they differ by at most `AGREES` of the range of what
    torch gives. "fast" allows bfloat16 where it agrees, "bfloat16" asks for it in any case.
    """
    exact = Engine("torch", "float32")
    wanted: tuple[Kind, ...] = ("float32", "bfloat16") if precision == "fast" else (precision,)
    engines = [Engine(name, kind) for name in installed(block.device) for kind in wanted]
    piece = _piece(networks[0], block)
    key = _key(networks[0], precision, piece, engines)
    known = _remembered().get(key)
    best = next((one for one in engines if [one.name, one.precision] == known), None)
    if best is None:
        best = _fastest(networks[0], engines, exact, piece, precision)
        _remember(key, best)
    return best, [best.load(network, piece) for network in networks]


def _fastest(network: nn.Module, engines: list[Engine], exact: Engine, piece: Tensor, precision: Precision) -> Engine:
    timed: list[tuple[float, Engine]] = []
    truth: Tensor | None = None
    with torch.inference_mode():
        for engine in [exact, *(one for one in engines if one != exact)]:
            try:
                ready = engine.load(deepcopy(network), piece)
                answer = ready(piece)
                if truth is None:
                    truth = answer
                if engine not in engines:
                    continue
                span = float(truth.max() - truth.min()) or 1.0
                apart = float((answer - truth).abs().max()) / span
                agrees = apart <= AGREES[engine.precision] or (engine.precision == precision and engine.name == "torch")
                if agrees:
                    timed.append((min(_seconds(ready, piece) for _ in range(RUNS)), engine))
            except (RuntimeError, ImportError, OSError, TypeError, ValueError) as problem:
                if engine.name == "torch":
                    raise
                warn(f"OpenVINO cannot run this network ({problem!r:.120}); PyTorch is used.")
    return min(timed, key=lambda pair: pair[0])[1] if timed else exact


def _seconds(network: Callable[[Tensor], Tensor], piece: Tensor) -> float:
    began = time.perf_counter()
    network(piece)
    if piece.device.type == "cuda":
        torch.cuda.synchronize(piece.device)
    return time.perf_counter() - began


def _piece(network: nn.Module, block: Tensor) -> Tensor:
    """A corner of `block` of at most `TRIAL` pixels, whose lengths the network can take."""
    step: Sequence[int] = network.step if isinstance(network, Slices | BothWays) else network.recipe.step  # type: ignore[assignment, union-attr]
    lengths = list(block.shape[2:])
    free = list(range(len(lengths)))[-len(step) :]  # stacks that are projected keep all planes
    while prod(lengths) > TRIAL:
        axis = max(free, key=lambda a: lengths[a])
        least = step[free.index(axis)]
        if lengths[axis] <= least:
            break
        lengths[axis] = max(least, lengths[axis] // 2 // least * least)
    corner: Any = (..., *(slice(0, length) for length in lengths))
    return block[corner].contiguous()


# What was fastest


def _key(network: nn.Module, precision: Precision, piece: Tensor, engines: list[Engine]) -> str:
    """This network on this machine: its weights, the versions of the engines, the processor, the number of threads."""
    digest = hashlib.sha256()
    for name, weights in sorted(network.state_dict().items()):
        digest.update(name.encode() + weights.detach().cpu().contiguous().numpy().tobytes())
    facts = [precision, str(piece.device), torch.get_num_threads(), platform.processor(), platform.node()]
    facts += [(str(one), _version(one.name)) for one in engines]
    digest.update(json.dumps(facts).encode())
    return digest.hexdigest()[:32]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _notes() -> Path:
    """The file of what was fastest, in the folder where this system keeps what can be made again."""
    if sys.platform == "win32":
        place = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        place = str(Path.home() / "Library" / "Caches")
    else:
        place = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(place) / "veriscope" / "engines.json"


def _remembered() -> dict[str, Any]:
    try:
        known = json.loads(_notes().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        return {}
    return known if isinstance(known, dict) else {}


def _remember(key: str, engine: Engine) -> None:
    """Notes of at most `MOST_NOTES` networks; without a place for them the trial is made again."""
    with suppress(OSError, OutputError, RuntimeError):
        notes = dict(list(_remembered().items())[-MOST_NOTES:])
        _notes().parent.mkdir(parents=True, exist_ok=True)
        saving.write(_notes(), json.dumps({**notes, key: [engine.name, engine.precision]}))
