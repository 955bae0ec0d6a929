"""Members of an ensemble trained side by side, each by a worker of Dask. Seeds are theirs, so weights are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any

from veriscope.clusters import client_of
from veriscope.errors import warn
from veriscope.networks.network import Network
from veriscope.networks.threads import threads
from veriscope.training.member import Member
from veriscope.training.parallel import Team, choose_device
from veriscope.training.setup import Setup

Trained = tuple[Network, list[dict[str, Any]]]  # with the history


def side_by_side(setup: Setup, numbers: Sequence[int], seconds: float | None) -> list[Trained]:
    """Train the members called `numbers` on the workers that `setup.shared` names, each in so many `seconds`.

    A worker trains one member at a time. Raises what a training raises.
    """
    cluster, workers = setup.shared
    sent = replace(setup, folder=None, team=Team(), threads=None, shared=(None, None))  # type: ignore[arg-type]
    with client_of(cluster, workers) as client:
        client.wait_for_workers(1, timeout=60)
        rounds = -(-len(numbers) // len(client.nthreads()))
        one = partial(_train, sent, None if seconds is None else seconds / rounds)
        futures = [client.submit(one, number, pure=False) for number in numbers]
        found: list[Trained] = client.gather(futures)
    return found


_ONE = Lock()


def _train(setup: Setup, seconds: float | None, number: int) -> Trained:
    """One member, by this worker."""
    import torch
    from distributed import get_worker

    with _ONE, threads(True, warn) as chosen:
        torch.set_num_threads(get_worker().state.nthreads)
        here = replace(setup, threads=chosen, team=Team(device=choose_device(None)))
        return Member(here, number, seconds, [], lambda step: None).train(False)
