"""What runs the networks: PyTorch, or OpenVINO where it is installed, faster and agrees with PyTorch.

Which is faster is measured on a piece of the first tile, and remembered for networks of this kind on this machine.
Whether it agrees is checked anew for every model. Little work is left to PyTorch: a trial would take longer than it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import timeit
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from threading import Lock
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from veriscope import saving
from veriscope.errors import DataError, OutputError, warn
from veriscope.networks.devices import is_out_of_memory
from veriscope.networks.network import by_onednn, channels_last
from veriscope.networks.slices import Slices
from veriscope.networks.unet import UNet
from veriscope.restoring.openvino import OpenVino
from veriscope.tiling import Span
from veriscope.wording import listed

Precision = Literal["auto", "float32", "bfloat16", "fast"]
Kind = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "float32", "fast", "bfloat16")
AGREES: dict[Kind, float] = {"float32": 1e-5, "bfloat16": 2e-3}  # see `_agree`
WORTH = 2**20  # pixels times networks: less takes PyTorch about two seconds, which leaves little to gain
TRIAL = 2**14  # pixels of the first tile that are tried, at most
RUNS = 3
MOST_NOTES = 200


def checked(word: str) -> Precision:
    """`word` once it is known to be a precision. Raises DataError."""
    if word not in PRECISIONS:
        raise DataError(f"The precision '{word}' is not known. Choose {listed(PRECISIONS, 'or')}.")
    return word


@dataclass(frozen=True)
class Run:
    """Networks ready to run. Gives for an image (1, channels_in, *space) what each network answers in a part of it,
    (channels, *part). An answer must be used before the next is asked for.

    `rest` hands back the memory that is held from one image to the next.
    """

    answers: Callable[[Tensor, Span], Iterator[Tensor]]
    rest: Callable[[], None] = lambda: None

    def __call__(self, image: Tensor, inner: Span) -> Iterator[Tensor]:
        return self.answers(image, inner)


@dataclass(frozen=True)
class Engine:
    """A way to run networks."""

    name: Literal["torch", "openvino"]
    precision: Kind

    def __str__(self) -> str:
        return f"{'PyTorch' if self.name == 'torch' else 'OpenVINO'}, {self.precision}"

    def load(self, networks: Sequence[nn.Module], device: torch.device) -> Run:
        """Copies of `networks`, ready to run on `device`."""
        if self.name == "openvino":
            return _by_openvino(networks, self.precision)
        return _by_torch(networks, self.precision, device)


EXACT = Engine("torch", "float32")


def _by_torch(networks: Sequence[nn.Module], precision: Kind, device: torch.device) -> Run:
    members = [deepcopy(network).eval().to(device, torch.float32) for network in networks]
    if device.type == "cpu":  # 1.5 to 2 times faster in 2D, 1.2 in 3D; benchmarks/restoring.py
        for member in members:
            channels_last(member)
            if precision == "float32":
                by_onednn(member)

    def run(image: Tensor, inner: Span) -> Iterator[Tensor]:
        for member in members:
            yield _part(member, image, inner, precision)

    return Run(run)


def _by_openvino(networks: Sequence[nn.Module], precision: Kind) -> Run:
    """Networks of pixels as one graph, which shares its memory; of others each has a graph for the U-Net in it."""
    one_at_a_time = Lock()  # answers lie in memory that the next image overwrites
    unets = [network for network in networks if isinstance(network, UNet)]
    if len(unets) == len(networks):
        together = OpenVino(unets, precision)

        def run(image: Tensor, inner: Span) -> Iterator[Tensor]:
            with one_at_a_time:
                for answer in together.answers(image):
                    yield answer[0][(slice(None), *inner)]

        def rest() -> None:
            if one_at_a_time.acquire(blocking=False):  # not while it runs, or was interrupted between two answers
                together.rest()
                one_at_a_time.release()

        return Run(run, rest)
    members: list[Any] = [deepcopy(network).eval() for network in networks]
    for member in members:
        member.unet = OpenVino([_unet(member)], precision)

    def one_by_one(image: Tensor, inner: Span) -> Iterator[Tensor]:
        with one_at_a_time:
            for member in members:
                yield _part(member, image, inner, precision)
                member.unet.rest()

    return Run(one_by_one)


def _unet(network: nn.Module) -> Any:
    """The U-Net in `network`, or that it is; None where there is none."""
    return getattr(network, "unet", None)


def _part(member: nn.Module, image: Tensor, inner: Span, precision: Kind) -> Tensor:
    with torch.autocast(image.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if isinstance(member, Slices):
            return member.part(image, inner)[0].float()
        whole: Tensor = member(image)
        return whole[0][(slice(None), *inner)].float()


# Which


def installed(device: torch.device) -> list[str]:
    """The engines that there are for `device`."""
    return ["torch", "openvino"] if device.type == "cpu" and _version("openvino") else ["torch"]


@dataclass
class Kept:
    """What was chosen for networks with the weights of `state`, once their `work` was worth a trial."""

    state: tuple[Any, ...]
    work: int = 0
    chosen: tuple[Engine, Run] | None = None


_KEPT: WeakKeyDictionary[nn.Module, Kept] = WeakKeyDictionary()


def ready(networks: Sequence[nn.Module], precision: Precision, image: Tensor, work: int) -> tuple[Engine, Run]:
    """The engine that runs `networks` over so much `work`, in pixels times networks, of which `image` is a part.

    `image` is an input (1, channels, *space). What was chosen serves as long as the networks stay as they are.
    """
    weights = [part for network in networks for part in network.parameters()]
    versions = [0 if part.is_inference() else part._version for part in weights]
    kind = precision, image.device, len(networks), type(networks[0]), os.getpid()
    state = *kind, versions, [part.data_ptr() for part in weights]
    owner = _unet(networks[0]) or networks[0]
    kept = _KEPT.get(owner)
    if kept is None or kept.state != state:
        kept = _KEPT[owner] = Kept(state)
    kept.work += work
    if kept.chosen is None:
        engines = candidates(networks, precision, image.device, kept.work)
        chosen = choose(networks, engines, image)
        if len(engines) == 1:
            return chosen
        kept.chosen = chosen
    return kept.chosen


def candidates(networks: Sequence[nn.Module], precision: Precision, device: torch.device, work: int) -> list[Engine]:
    """The engines that may run `networks` over so much `work`, in pixels times networks; the surest one first."""
    kinds: list[Kind] = ["bfloat16" if precision == "bfloat16" else "float32"]
    if precision == "fast" and work >= WORTH:
        kinds.append("bfloat16")
    found = [Engine("torch", kind) for kind in kinds]
    possible = work >= WORTH and all(_unet(network) is not None for network in networks)
    if possible and precision != "float32" and "openvino" in installed(device):
        found += [Engine("openvino", kind) for kind in kinds]
    return found


def choose(networks: Sequence[nn.Module], engines: list[Engine], image: Tensor) -> tuple[Engine, Run]:
    """The fastest of `engines` whose answers agree with torch in float32 on a piece of `image`, ready to run.

    `image` is an input (1, channels, *space). The first of `engines`, which is torch, needs not agree.
    """
    first, device = engines[0], image.device
    if len(engines) == 1:
        return first, first.load(networks, device)
    part, whole = piece(networks[0], image)
    key = _key(networks, engines, part)
    known = _remembered().get(key)
    times: dict[str, float] = known if isinstance(known, dict) else {}
    if set(times) != {str(engine) for engine in engines}:
        times = {}
        for engine in engines:
            with _passed_over(engine):
                times[str(engine)] = _seconds(engine.load(networks[:1], device), part, whole)
        if len(times) == len(engines):
            _remember(key, times)
    truth = answers(EXACT.load(networks, device), part, whole)
    for engine in sorted(engines, key=lambda one: times.get(str(one), math.inf)):
        with _passed_over(engine):
            run = engine.load(networks, device)
            if engine == first or _agree(answers(run, part, whole), truth, engine.precision):
                return engine, run
    raise AssertionError  # the first one is used or raises


@contextmanager
def _passed_over(engine: Engine) -> Iterator[None]:
    """Errors of OpenVINO become a warning."""
    try:
        yield
    except (RuntimeError, ImportError, OSError, TypeError, ValueError, AttributeError) as problem:
        if engine.name == "torch" or is_out_of_memory(problem):
            raise
        warn(f"OpenVINO cannot run this network ({problem!r:.120}); PyTorch is used.")


def answers(run: Run, piece: Tensor, whole: Span) -> Tensor:
    """Of all networks to `piece`, (networks, channels, *space)."""
    return torch.stack([answer.clone() for answer in run(piece, whole)])


def _agree(answers: Tensor, truth: Tensor, precision: Kind) -> bool:
    """Whether answers (networks, channels, *space) are near the truth, as a fraction of a network's range.

    In float32 the greatest difference counts, in bfloat16 the root mean square of the differences.
    """
    truth, off = truth.flatten(1), (answers - truth).abs().flatten(1)
    apart = off.amax(1) if precision == "float32" else off.square().mean(1).sqrt()
    return bool((apart <= AGREES[precision] * (truth.amax(1) - truth.amin(1))).all())


def _seconds(run: Run, piece: Tensor, whole: Span) -> float:
    """The fastest of `RUNS`, after one that warms up."""

    def once() -> None:
        answers(run, piece, whole)
        if piece.device.type == "cuda":
            torch.cuda.synchronize(piece.device)

    once()
    return min(timeit.repeat(once, number=1, repeat=RUNS))


def piece(network: nn.Module, image: Tensor) -> tuple[Tensor, Span]:
    """A corner of `image` of at most `TRIAL` pixels, whose lengths the network can take; all of its answer."""
    step: Sequence[int] = network.step if isinstance(network, Slices) else network.recipe.step  # type: ignore[assignment, union-attr]
    lengths = list(image.shape[2:])
    free = list(range(len(lengths)))[-len(step) :]  # stacks that are projected keep all planes
    while prod(lengths) > TRIAL:
        axis = max(free, key=lambda a: lengths[a])
        least = step[free.index(axis)]
        if lengths[axis] <= least:
            break
        lengths[axis] = max(least, lengths[axis] // 2 // least * least)
    corner: Any = (..., *(slice(0, length) for length in lengths))
    return image[corner].contiguous(), tuple(slice(0, lengths[axis]) for axis in free)


# What was fastest


def _key(networks: Sequence[nn.Module], engines: list[Engine], piece: Tensor) -> str:
    """Networks of this kind on this machine: versions of the engines, the processor, the number of threads."""
    kind: Any = networks[0]
    facts = [type(kind).__name__, kind.recipe.to_json(), len(networks), list(piece.shape), str(piece.device)]
    facts += [torch.get_num_threads(), platform.processor(), platform.node()]
    facts += [(str(one), _version(one.name)) for one in engines]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


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


def _remember(key: str, times: dict[str, float]) -> None:
    """Notes of at most `MOST_NOTES` networks; without a place for them the trial is made again."""
    with suppress(OSError, OutputError, RuntimeError):
        notes = dict(list(_remembered().items())[-MOST_NOTES:])
        _notes().parent.mkdir(parents=True, exist_ok=True)
        saving.write(_notes(), json.dumps({**notes, key: times}))
