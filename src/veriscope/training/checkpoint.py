"""Where the training of a member stands: on disk enough to continue there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from veriscope.errors import ModelError, TrainingError
from veriscope.networks.folder import read_tensors, write_tensors
from veriscope.training.optimisers import remembered
from veriscope.training.schedule import Plateau, Schedule


@dataclass
class Progressed:
    """How far a member has come; small values only, JSON can hold them."""

    member: int
    plateau: Plateau
    plan: Schedule | None = None
    step: int = 0
    progress: float = 0.0  # 0 to 1, of the learning-rate schedule
    seconds: float = 0.0  # spent on this member so far
    loss_sum: float = 0.0  # of the steps of the current round
    loss_count: int = 0
    best: float | None = None  # lowest checked loss so far
    history: list[dict[str, Any]] = field(default_factory=list)


def save(path: Path, state: Progressed, run: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the state with its `tensors`; `run` identifies what is trained."""
    write_tensors(path, tensors, {"state": json.dumps(asdict(state)), "run": json.dumps(run, sort_keys=True)})


def restore(path: Path, run: dict[str, Any], tensors: Mapping[str, Tensor]) -> Progressed:
    """Put what was saved back into `tensors` and return the state. Raises TrainingError when `run` has changed."""
    saved, notes = read_tensors(path)
    try:
        before, now = json.loads(notes["run"]), json.loads(json.dumps(run))
        if changed := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
            was = ", ".join(f"{name}: {before.get(name)!r} before, {run.get(name)!r} now" for name in changed)
            raise TrainingError(
                f"This training cannot be resumed: {was}. Resume with the same settings and data, or overwrite the "
                f"model."
            )
        values = json.loads(notes["state"])
        values["plan"] = Schedule(**values["plan"]) if values["plan"] else None
        values["plateau"] = Plateau(**values["plateau"])
        with torch.no_grad():
            for name, target in tensors.items():
                target.copy_(saved[name])
        return Progressed(**values)
    except (KeyError, TypeError, AttributeError, RuntimeError, json.JSONDecodeError, RecursionError) as problem:
        raise ModelError(
            f"'{path}' is damaged: it holds no training that can be continued. Remove it, or overwrite the model."
        ) from problem


def tensors_of(network: nn.Module, average: nn.Module, ways: Sequence[Optimizer]) -> dict[str, Tensor]:
    """All that training changes: weights, their average, and what the optimisers remember."""
    named = {f"network.{name}": value for name, value in network.state_dict().items()}
    if average is not network:  # it is the network itself where weights are not averaged
        named |= {f"average.{name}": value for name, value in average.state_dict().items()}
    return named | remembered(ways)
