"""Tasks done by the workers of a Dask cluster, with no more of them in the scheduler than keep the workers busy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from veriscope.errors import DeviceError, OutputError, VeriscopeError
from veriscope.restoring.job import CountTask, Job, Task
from veriscope.version import __version__
from veriscope.wording import listed

if TYPE_CHECKING:
    from distributed import Client

    from veriscope.images.image import Image
    from veriscope.restoring.worker import Worker

AHEAD = 3  # tasks of each thread that the scheduler holds
SHARES, MOST = 200, 16  # of what a thread does in all; tiles given out together, at most
PATIENCE = 60  # seconds to wait for a first worker
TRIES = 5  # times that a task is given out anew after the workers that did it died

AnyTask = TypeVar("AnyTask", Task, CountTask)


class Dask:
    """Runs tasks on a cluster whose workers can restore `image`, which they try first."""

    def __init__(self, client: Client, image: Image, device: str | None) -> None:
        self.client = client
        workers = self._greet(image, device)
        hosts = [one.host for one in workers]
        self.device = workers[0].device
        self.held = max(one.held for one in workers)
        # bytes that each may use
        self.free = min(one.free // (1 if self.device == "cuda" else hosts.count(one.host)) for one in workers)

    def _greet(self, image: Image, device: str | None) -> list[Worker]:
        try:
            self.client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as problem:
            raise DeviceError(
                f"The scheduler {self._address} has no workers. Start some: dask worker {self._address}"
            ) from problem
        from veriscope.restoring.worker import introduce

        try:
            said = self.client.run(introduce, image, device, on_error="return")
        except (ImportError, AttributeError) as problem:
            said = {"?": problem}
        for address, answer in said.items():
            if isinstance(answer, VeriscopeError):
                raise type(answer)(f"Worker {address}: {answer} Every worker needs it under the same name.")
            if isinstance(answer, BaseException):
                raise DeviceError(
                    f"Worker {address} cannot work with veriscope {__version__} ({type(answer).__name__}: {answer}). "
                    f"Install the same version there, in the environment that 'dask worker' is started in."
                )
        found: list[Worker] = list(said.values())
        if others := [one for one in found if one.version != __version__]:
            raise DeviceError(
                f"Worker {others[0].address} has veriscope {others[0].version}, but this is {__version__}. Install the "
                f"same version everywhere."
            )
        if len(kinds := sorted({one.device for one in found})) > 1:
            raise DeviceError(
                f"Some workers compute on {kinds[0]}, others on {listed(kinds[1:])}, which would not give the same "
                f"result. Choose --device {kinds[0]}, or use workers of one kind."
            )
        return found

    @property
    def _address(self) -> str:
        return str(self.client.scheduler.address)

    @contextmanager
    def working(self, job: Job) -> Iterator[Callable[[Task], Any]]:
        """What does tasks of `job` on any worker, also on those that join later."""
        from veriscope.restoring.worker import Brings, do

        plugin = Brings(job)
        self.client.register_plugin(plugin, name=plugin.name)
        try:
            yield partial(do, job.name)
        finally:
            with suppress(Exception):  # the scheduler may be gone
                self.client.unregister_worker_plugin(plugin.name)

    def run(
        self, function: Callable[[Any], Any], tasks: Iterable[AnyTask], total: int = 1
    ) -> Iterator[tuple[AnyTask, Any]]:
        """Tasks with their results as they finish; those of workers that die are done again elsewhere.

        Of very many, about `total`, several are given out together. Raises what a task raises, OutputError when the
        scheduler is gone.
        """
        from distributed import CancelledError, KilledWorker, as_completed

        waiting: dict[Any, list[AnyTask]] = {}
        tried: dict[str, int] = {}
        left, number = iter(tasks), 0
        many = min(MOST, max(1, total // (SHARES * max(1, self._threads()))))
        finished = as_completed(with_results=True, raise_errors=False)

        def give(batch: list[AnyTask]) -> None:
            nonlocal number
            number += 1
            key = f"veriscope-{batch[0].key}-{number}-{id(waiting)}"
            future = self.client.submit(_each, function, batch, key=key, pure=False)
            waiting[future] = batch
            finished.add(future)

        def more() -> None:
            most = AHEAD * max(1, self._threads())
            while len(waiting) < most and (batch := list(islice(left, many))):
                give(batch)

        try:
            more()
            for future, result in finished:
                batch = waiting.pop(future)
                if future.status == "error":
                    problem = result[1] if isinstance(result, tuple) else result
                    if not isinstance(problem, KilledWorker):
                        raise problem
                    tried[batch[0].key] = tried.get(batch[0].key, 0) + 1
                    if tried[batch[0].key] >= TRIES:
                        raise DeviceError(
                            f"{TRIES} groups of workers died at the same task ({batch[0].key}). They may have been "
                            f"short of memory: allow less with memory (--memory), and continue with resume (--resume)."
                        ) from problem
                    give(batch)
                elif future.status != "finished":
                    raise CancelledError(future.status)
                else:
                    yield from zip(batch, result, strict=True)
                future.release()
                more()
        except (CancelledError, OSError) as problem:
            if isinstance(problem, OSError) and self.client.status == "running":
                raise
            raise OutputError(
                f"The scheduler {self._address} is gone. What was finished is kept: continue with resume (--resume)."
            ) from problem
        finally:
            with suppress(Exception):
                self.client.cancel(list(waiting), force=True)

    def _threads(self) -> int:
        """Of all workers that are there now, as far as the client has heard."""
        now = time.monotonic()
        if now - getattr(self, "_asked", -9.0) > 5:
            self._asked, self._known = now, int(sum(self.client.nthreads().values()))
        return self._known


def _each(function: Callable[[Any], Any], tasks: list[Any]) -> list[Any]:
    return [function(task) for task in tasks]
