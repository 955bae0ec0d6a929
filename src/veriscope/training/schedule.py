"""How long a run is, and how fast it learns at each moment of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

ROUNDS = 20  # checks per member when the budget is a time
FLOOR = 0.01  # the last learning rate of the cosine schedule, as a fraction of the peak


@dataclass(frozen=True)
class Schedule:
    """`steps` optimisation steps of one member, checked against unseen patches after every `per_round` of them."""

    steps: int
    per_round: int

    @classmethod
    def of_epochs(cls, epochs: int, patches: int, batch: int) -> Schedule:
        per_epoch = max(1, patches // batch)
        return cls(steps=epochs * per_epoch, per_round=per_epoch)

    @classmethod
    def of_time(cls, done: int, seconds_left: float, seconds_per_step: float, per_round: int | None = None) -> Schedule:
        """As many steps as fit into the time left; with `per_round` fixed once a run has begun."""
        left = max(0 if done else 1, round(seconds_left / seconds_per_step))
        return cls(steps=done + left, per_round=per_round or max(1, (done + left) // ROUNDS))


def warm_cosine(progress: float, warmup: float) -> float:
    """Fraction of the peak learning rate at `progress` (0 to 1) of the run: up linearly, then down along a cosine."""
    if progress < warmup:
        return max(progress / warmup, FLOOR)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


@dataclass
class Plateau:
    """Halves the learning rate when the checked loss has not improved for `patience` rounds (Supp. Table 3)."""

    patience: int
    factor: float = 1.0
    best: float = math.inf
    waited: int = 0

    def see(self, loss: float) -> None:
        if loss < self.best:
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.factor, self.waited = self.factor / 2, 0


def average_decay(step: int, steps: int, averaging: float) -> float:
    """Fraction of the old average kept at `step`: a memory of `averaging` times the run, shorter while it is young."""
    if averaging <= 0:
        return 0.0
    return min(math.exp(-1.0 / max(averaging * steps, 1.0)), (1 + step) / (10 + step))
