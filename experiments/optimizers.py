"""Which optimiser reaches a given error sooner? AdamW as it is, AdamW otherwise set, and Muon.

    python experiments/optimizers.py --steps 500 1000 2000 --only w2s0 demo

One network a row, from the default recipe: the patches that `veriscope train` cuts by default, its loss, warm-up,
cosine, clipping and average of the weights. The last layers of the scales are not fitted, since only the image is
judged: NRMSE of restored test images (fields 37-40 of W2S; what the demo is judged on). Seconds are those of a step;
error against time is what counts.

Muon (Jordan et al. 2024): the momentum of each kernel, as a matrix (outputs x inputs times pixels), is made nearly
orthogonal by a Newton-Schulz iteration. Its size is brought to that of Adam's steps (Liu et al. 2025), times `rate`; or
its largest singular value is `size` times the learning rate, whatever the size of the kernel, as the package has it.
First and last layers and biases are left to AdamW.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import veriscope as vs
from veriscope.apps.demo import _nuclei
from veriscope.images.pairing import Pairs
from veriscope.judging.quality import quality
from veriscope.networks.devices import fast_bfloat16
from veriscope.networks.model import Ensemble
from veriscope.networks.network import build, channels_last
from veriscope.training.losses import squared_error_beside_nll
from veriscope.training.material import Cutting, FromPairs, prepare
from veriscope.training.schedule import average_decay, warm_cosine

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
import machine
import w2s

SHARP = (3.4445, -4.7750, 2.0315)  # of the Newton-Schulz iteration, quintic (Jordan et al.)
SIZE = 0.2  # root mean square of an update, as Adam's (Liu et al.)


class Muon(torch.optim.Optimizer):
    """See above; `groups` as of AdamW, with "matrices" true for kernels."""

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, momentum: float = 0.95, rounds: int = 5, size: float = 0.0
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "rounds": rounds, "size": size})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                state = self.state[weights]
                if not state:
                    state["momentum"] = torch.zeros_like(weights)
                moment = state["momentum"].lerp_(weights.grad, 1 - group["momentum"])
                ahead = weights.grad.lerp(moment, group["momentum"])
                matrix = ahead.reshape(len(ahead), -1)
                update = orthogonal(matrix, group["rounds"])
                size = group["size"] or SIZE * max(update.shape) ** 0.5
                weights.add_(update.view_as(weights), alpha=-group["lr"] * size)


def orthogonal(matrix: torch.Tensor, rounds: int) -> torch.Tensor:
    """The nearest (semi-)orthogonal matrix, nearly."""
    a, b, c = SHARP
    x = matrix.to(torch.bfloat16)
    turned = x.shape[0] > x.shape[1]
    if turned:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if turned else x).to(matrix.dtype)


def optimisers(network: Any, recipe: Any, way: str) -> list[torch.optim.Optimizer]:
    rate, options = recipe.learning_rate, {"eps": 1e-7, "fused": True, "weight_decay": recipe.weight_decay}
    scales = list(network.unet.scale.parameters())
    others = [w for w in network.parameters() if all(w is not own for own in scales)]
    groups: list[dict[str, Any]] = [{"params": others, "times": 1.0}, {"params": scales, "times": recipe.scale_rate}]
    kind, *more = way.split()
    numbers = dict(one.split("=") for one in more)
    times = float(numbers.get("rate", 1))
    if kind == "adamw":
        betas = 0.9, float(numbers.get("beta2", 0.999))
        return [torch.optim.AdamW([{**one, "times": times * one["times"]} for one in groups], rate, betas, **options)]
    first = next(network.unet.down[0].children()).weight
    kernels = [w for w in groups[0]["params"] if w.ndim > 3 and w is not first and w[0, 0].numel() > 1]
    rest = [w for w in groups[0]["params"] if all(w is not one for one in kernels)]
    muon = Muon(
        [{"params": kernels, "times": times}],
        rate,
        rounds=int(numbers.get("rounds", 5)),
        size=float(numbers.get("size", 0)),
    )
    return [muon, torch.optim.AdamW([{"params": rest, "times": 1.0}, *groups[1:]], rate, **options)]


def trained(recipe: Any, patches: Any, way: str, steps: int, seed: int) -> tuple[Any, float]:
    """A network after so many steps, and seconds per step."""
    torch.manual_seed(seed)
    network = build(recipe)
    channels_last(network)
    average = deepcopy(network).requires_grad_(False)
    ways = optimisers(network, recipe, way)
    loss_of = squared_error_beside_nll(recipe.scale_weight)
    layout = torch.channels_last if len(recipe.axes) == 2 else torch.channels_last_3d
    fast = fast_bfloat16(torch.device("cpu"))
    took = []
    for step in range(steps):
        low, high = map(torch.from_numpy, patches.batch(range(step * recipe.batch, (step + 1) * recipe.batch), seed))
        began = time.perf_counter()
        for one in ways:
            one.zero_grad(set_to_none=True)
            for group in one.param_groups:
                group["lr"] = recipe.learning_rate * warm_cosine((step + 1) / steps, recipe.warmup) * group["times"]
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            output = network.train()(low.contiguous(memory_format=layout))
        loss_of(output, high).backward()
        nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
        for one in ways:
            one.step()
        decay = average_decay(step, steps, recipe.averaging)
        torch._foreach_lerp_(list(average.parameters()), [w.detach() for w in network.parameters()], 1 - decay)
        took.append(time.perf_counter() - began)
    return average.eval(), float(np.median(took))


def data(name: str) -> tuple[Any, Any, Pairs]:
    """Recipe, patches and test pairs."""
    if name == "demo":
        task = _nuclei(0)
        ready = prepare(FromPairs(task.training), vs.Recipe("ZYX"), task.checking, Cutting())
        return ready.recipe, ready.patches, task.tests
    places = w2s.DATA / f"ch{name[3]}"
    field = {int(pair.name[-3:]): pair for pair in vs.read_pairs(places / "low", places / "high", axes="YX")}
    learned = Pairs([pair for number, pair in field.items() if number not in w2s.TESTED])
    ready = prepare(FromPairs(learned), vs.Recipe("YX"), cutting=Cutting())
    return ready.recipe, ready.patches, Pairs([field[number] for number in w2s.TESTED])


WAYS = (
    "adamw",
    "adamw beta2=0.99",
    "adamw rate=2",
    "muon",
    "muon rate=2",
    "muon rate=4",
    "muon rate=2 rounds=3",
    "muon size=8",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["w2s0", "demo"])
    parser.add_argument("--steps", type=int, nargs="+", default=[1000])
    parser.add_argument("--ways", nargs="+", default=WAYS)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    print(machine.header("Optimisers: NRMSE of test images after so many steps, and seconds per step"), flush=True)
    for name in given.only:
        recipe, patches, tests = data(name)
        for steps in given.steps:
            for way in given.ways:
                errors, seconds = [], []
                for seed in range(given.seeds):
                    network, each = trained(recipe, patches, way, steps, seed)
                    model = Ensemble(recipe, (network,))
                    errors.append(
                        np.mean([quality(p.high, vs.restore(p.low, model, lazy=False).mean).nrmse for p in tests])
                    )
                    seconds.append(each)
                listed = ", ".join(f"{error:.4f}" for error in errors)
                print(
                    f"{name:8} {steps:6} {way:24} {np.mean(errors):.4f} ({listed})  {np.mean(seconds):.3f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
