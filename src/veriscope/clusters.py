"""A client of Dask for work that several processes share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any

from veriscope.cores import available
from veriscope.errors import DeviceError, VeriscopeError

if TYPE_CHECKING:
    from distributed import Client

CONNECTING = 10.0  # seconds to wait for a scheduler
HERE = {  # for workers started here
    # Tasks run in threads, whose large blocks glibc maps anew in each layer unless there is one arena
    "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,
    "distributed.worker.profile.enabled": False,  # looks at the stack of each thread 100 times a second
    "distributed.scheduler.allowed-failures": 10,
    "distributed.admin.tick.limit": "1h",
}


@contextmanager
def client_of(cluster: Any, workers: int | None) -> Iterator[Client]:
    """The user's own client, or one for the scheduler at the address `cluster`, or for so many processes started here.

    Raises VeriscopeError where Dask is not installed or both are given, DeviceError when the scheduler is not there.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as problem:
        raise VeriscopeError(
            "Sharing work among several processes needs dask and distributed. Install them: pip install "
            "'veriscope[distributed]'."
        ) from problem
    if cluster is not None and workers is not None:
        raise VeriscopeError("--cluster and --workers exclude each other: workers of a cluster are started there.")
    if isinstance(cluster, str):
        try:
            client = Client(cluster, timeout=CONNECTING, name="veriscope")
        except (OSError, ValueError, TimeoutError, TypeError) as problem:
            reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
            raise DeviceError(
                f"The scheduler {cluster} cannot be reached ({reason}). Start it with 'dask scheduler', and give the "
                f"address that it prints, such as --cluster tcp://host:8786."
            ) from problem
        with client:
            yield client
        return
    if cluster is not None:
        yield cluster
        return
    count = workers or 1
    if not 1 <= count <= 1024:
        raise VeriscopeError(f"--workers {count} is not possible. Give a number of processes such as 4.")
    threads = max(1, available() // count)
    quiet = {"memory_limit": 0, "dashboard_address": "127.0.0.1:0", "silence_logs": 50}
    if getattr(current_process(), "_inheriting", False):  # a script without the guard that is named below, read again
        raise SystemExit(1)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(HERE))
        try:
            here = stack.enter_context(LocalCluster(n_workers=count, threads_per_worker=threads, **quiet))
        except RuntimeError as problem:
            raise DeviceError(
                f"The processes for {count} workers did not start ({str(problem).rstrip('.')}). In a script, put what "
                f"needs them under \"if __name__ == '__main__':\", since each process reads the script again."
            ) from None
        yield stack.enter_context(Client(here))
