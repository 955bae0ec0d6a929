"""The processes that train together: under torchrun each computes its part of a batch (gloo on CPU, nccl on GPU)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from veriscope.networks import devices

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Team:
    """The processes that train together. A single process is a team of one, and everything below does nothing."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def exact(self) -> torch.dtype:
        """The longest floating point numbers the device knows."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and shows the progress."""
        return self.rank == 0

    def part(self, indices: Iterable[int]) -> list[int]:
        """The part of a batch that this process computes."""
        return list(indices)[self.rank :: self.size]

    def average(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def average_gradients(self, network: nn.Module) -> None:
        """Every process gets the mean of all gradients, sent as one message."""
        if self.size == 1:
            return
        gradients = [weights.grad for weights in network.parameters() if weights.grad is not None]
        flat = self.average(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def agree(self, *numbers: float) -> list[float]:
        """The numbers of the leading process, for all: clocks differ, decisions must not."""
        values = torch.tensor(numbers, dtype=self.exact, device=self.device)
        if self.size > 1:
            dist.broadcast(values, src=0)
        return [float(value) for value in values]


@contextmanager
def team(device: str | None = None) -> Iterator[Team]:
    """The team of this process: from torchrun's environment if there is one, else a team of one on `device`."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(device=devices.choose(device))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpu = (device or "cuda").startswith("cuda") and torch.cuda.device_count() > local
    chosen = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    started_here = not dist.is_initialized()
    if started_here:
        dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Team(dist.get_rank(), size, chosen)
    finally:
        if started_here:
            dist.destroy_process_group()
