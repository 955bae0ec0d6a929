"""What a worker of Dask does: it says what it is, gets jobs, and does their tasks. Loaded only where Dask is used."""

from __future__ import annotations

import socket
import warnings
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from distributed import WorkerPlugin, get_worker

from veriscope.images.image import Image
from veriscope.networks import devices
from veriscope.restoring.job import Job, Opened, Task
from veriscope.restoring.plan import held
from veriscope.version import __version__


@dataclass(frozen=True)
class Worker:
    """What a worker says of itself."""

    address: str
    host: str
    version: str
    threads: int
    device: str  # the type of it, such as "cuda"
    free: int  # bytes on the device that may be planned with
    held: int  # bytes that the process holds before any work


def introduce(image: Image, device: str | None, dask_worker: Any = None) -> Worker:
    """What this worker is. Raises ImageFormatError where it cannot read `image`, DeviceError."""
    worker = dask_worker  # as Dask calls it
    image.read(*(0 for _ in image.shape))
    chosen = devices.choose(device)
    free, limit = devices.free_memory(chosen), worker.memory_manager.memory_limit if worker.nanny else None
    free = min(free, int(limit)) if limit and chosen.type == "cpu" else free
    return Worker(worker.address, socket.gethostname(), __version__, worker.state.nthreads, chosen.type, free, held())


class Brings(WorkerPlugin):  # type: ignore[misc]
    """Brings `job` to every worker, also to those that start later.

    Its first task there opens it, with as many threads as the worker owns.
    """

    def __init__(self, job: Job) -> None:
        self.job, self.name = job, f"veriscope-{job.name}"
        self.opened: Opened | None = None

    def setup(self, worker: Any) -> None:
        self.threads, self.lock = worker.state.nthreads, Lock()
        _jobs[worker.address, self.job.name] = self

    def teardown(self, worker: Any) -> None:
        _jobs.pop((worker.address, self.job.name), None)

    def do(self, task: Task) -> Any:
        torch.set_num_threads(self.threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said where the job was given
            with self.lock:
                self.opened = self.opened or Opened(self.job)
            return self.opened.do(task)


_jobs: dict[tuple[str, str], Brings] = {}  # by worker, of which there may be several in a process, and by their names


def do(name: str, task: Task) -> Any:
    """Do a task of the job called `name`."""
    return _jobs[get_worker().address, name].do(task)
