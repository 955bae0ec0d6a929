"""What changes the weights: Muon for the kernels of the convolutions, AdamW for all else, or for all.

Muon (Jordan et al. 2024) turns the momentum of a kernel, taken as a matrix of outputs x (inputs times pixels), into the
nearest orthogonal matrix, so that no direction in it learns faster than another. A step is as long in every direction,
whatever the size of the kernel, and the learning rate is the one that suits Adam. On W2S it reaches the error of AdamW
in about a third of the time (experiments/optimizers.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from veriscope.networks.devices import fast_bfloat16
from veriscope.networks.network import Network
from veriscope.networks.recipe import Recipe

MOMENTUM = 0.95
SIZE = 8.0  # singular values of a step, about, in parts of the learning rate
ROUNDS = 5  # of the Newton-Schulz iteration
QUINTIC = 3.4445, -4.7750, 2.0315  # its coefficients: singular values near 1 after few rounds (Jordan et al.)


class Muon(Optimizer):
    """For kernels (outputs, inputs, *pixels), whatever their number of pixels."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, weight_decay: float, kind: torch.dtype) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self.kind = kind  # of the numbers it computes with

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch has overloads for a closure
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                momentum = self.begun(kernel)["momentum"].lerp_(kernel.grad, 1 - MOMENTUM)
                ahead = kernel.grad.lerp(momentum, MOMENTUM)  # Nesterov's
                matrix = orthogonal(ahead.flatten(1).to(self.kind))
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(matrix.view(kernel.shape).to(kernel.dtype), alpha=-SIZE * group["lr"])

    def begun(self, kernel: Tensor) -> dict[str, Tensor]:
        """What is remembered of a kernel, as at its first step where that is to come."""
        state: dict[str, Tensor] = self.state[kernel]
        if not state:
            state["momentum"] = torch.zeros_like(kernel)
        return state


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with the singular vectors of `matrix` and singular values of about 1 (.7 to 1.2), of its shape."""
    first, third, fifth = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    wide: Tensor = matrix.T if tall else matrix
    wide = wide / (torch.linalg.matrix_norm(wide) + 1e-7)
    for _ in range(ROUNDS):
        square = wide @ wide.T
        wide = first * wide + (third * square + fifth * square @ square) @ wide
    return wide.T if tall else wide


def optimisers(network: Network, recipe: Recipe, device: torch.device) -> list[Optimizer]:
    """Those that together change all weights. In each group `times` multiplies the learning rate.

    Muon is for kernels that see more than one pixel of more than the image itself.
    """
    scales = [] if network.unet.scale is None else list(network.unet.scale.parameters())
    others = [weights for weights in network.parameters() if all(weights is not own for own in scales)]
    image = recipe.channels_in * prod(recipe.folding)
    kernels = [one for one in others if one.ndim > 3 and one[0, 0].numel() > 1 and one.shape[1] > image]
    if recipe.optimizer != "muon":
        kernels = []
    rest = [weights for weights in others if all(weights is not kernel for kernel in kernels)]
    groups = [{"params": rest, "times": 1.0}, {"params": scales, "times": recipe.scale_rate}]
    fused = device.type in ("cpu", "cuda")
    by_adam = [group for group in groups if group["params"]]
    found: list[Optimizer] = [
        AdamW(by_adam, recipe.learning_rate, eps=1e-7, weight_decay=recipe.weight_decay, fused=fused)
    ]
    if kernels:
        kind = torch.bfloat16 if fast_bfloat16(device) else torch.float32
        by_muon: list[dict[str, Any]] = [{"params": kernels, "times": 1.0}]
        found.append(Muon(by_muon, recipe.learning_rate, recipe.weight_decay, kind))
    return found


def remembered(ways: Sequence[Optimizer]) -> dict[str, Tensor]:
    """The moments that optimisers remember of all weights, by name; as at their first step where that is to come."""
    found: dict[str, Tensor] = {}
    for which, way in enumerate(ways):
        for number, weights in enumerate(weights for group in way.param_groups for weights in group["params"]):
            state = way.begun(weights) if isinstance(way, Muon) else _begun(way, weights)
            found |= {f"optimizer.{which}.{number}.{name}": value for name, value in state.items()}
    return found


def _begun(adam: Optimizer, weights: Tensor) -> dict[str, Tensor]:
    state: dict[str, Tensor] = adam.state[weights]
    if not state:  # as Adam makes it
        state["step"] = torch.zeros((), device=weights.device if adam.defaults["fused"] else "cpu")
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weights), torch.zeros_like(weights)
    return state
