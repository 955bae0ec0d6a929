"""How many threads of a processor to use: what this process may have, and what is fastest beside other work.

On a processor that others use too, every layer waits for the slowest of its threads. There one thread can be ten times
as fast as one on every core (benchmarks/busy.py), so the number is measured, at the start and again when the machine
may have changed. Results for different numbers of threads differ by float rounding.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import inf
from statistics import median

import torch

from veriscope.cores import available

CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
TRIED = 3  # steps timed for each number of threads, after one that warms up
SLOWER = 1.4  # times as long as when it was chosen: the machine has changed
RECENT = 8  # steps whose median is compared with that
AGAIN = 120.0  # seconds after which the machine may have changed; twice as long each time that it has not
GAIN = 1.1  # times as fast at least, for another number to be chosen


class Threads:
    """The number of torch's threads while steps of equal work are repeated: call it with the seconds of each step.

    Numbers are tried from `most` downwards, halving, until fewer are no faster. `say` hears what was chosen.
    Nothing is tried, and `most` is used, where `fixed`.
    """

    def __init__(self, most: int, fixed: bool = False, say: Callable[[str], object] | None = None) -> None:
        self.most, self.fixed, self.say = most, fixed or most == 1, say
        self.chosen = most
        self.usual = inf  # seconds of a step with the number chosen
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.wait = AGAIN
        self.found: dict[int, float] = {}  # seconds of a step by number of threads, in the trial under way
        self.trial = None if self.fixed else self._trial()
        self.next_trial = inf
        self._set(next(self.trial) if self.trial else most)

    @property
    def deciding(self) -> bool:
        """Whether steps are being tried, so that their time says little of those to come."""
        return self.trial is not None

    def __call__(self, seconds: float) -> None:
        """Take note of a step, and set the number of threads of the next one."""
        if self.fixed:
            return
        if self.trial is not None:
            try:
                self._set(self.trial.send(seconds))
            except StopIteration:
                self.decide()
            return
        self.recent.append(seconds)
        changed = len(self.recent) == RECENT and median(self.recent) > SLOWER * self.usual
        if changed or time.monotonic() > self.next_trial:
            self._try_again()

    @contextmanager
    def held(self, work: Callable[[], object] | None = None) -> Iterator[None]:
        """The number chosen within, and what was set before afterwards.

        Where none was chosen lately `work`, which is short, is done until it is.
        """
        before = torch.get_num_threads()
        self._set(self.chosen)
        try:
            if work is not None and self.trial is None and time.monotonic() > self.next_trial:
                self._try_again()
            while work is not None and self.trial is not None:
                began = time.perf_counter()
                work()
                self(time.perf_counter() - began)
            yield
        finally:
            self._set(before)

    def _try_again(self) -> None:
        self.wait *= 2
        self.trial = self._trial()
        self._set(next(self.trial))

    def _trial(self) -> Generator[int, float]:
        """Gives the number of threads of the next step, and is sent the seconds that it took."""
        found = self.found
        found.clear()
        for number in sorted({self.most, *(2**n for n in range(self.most.bit_length()))}, reverse=True):
            yield number  # warms up: kernels are made for a number of threads
            times = []
            for _ in range(TRIED):
                times.append((yield number))
                if found and times[-1] > 3 * min(found.values()):
                    break
            found[number] = median(times)
            if found[number] > 1.5 * min(found.values()):
                break

    def decide(self) -> None:
        """Choose among the numbers tried so far, and try no more for now."""
        if self.trial is None:
            return
        self.trial, found = None, self.found or {self.chosen: self.usual}
        best = min(found, key=found.__getitem__)
        if self.chosen in found and found[self.chosen] < GAIN * found[best]:
            best = self.chosen
        if best != self.chosen:
            self.wait = AGAIN
            if self.say is not None:
                said = f"All {best} threads are fastest again."
                if best < self.most:
                    are = "is" if best == 1 else "are"
                    said = f"{best} of {self.most} threads {are} fastest now (a small network, or other programs)."
                self.say(said)
        self.chosen, self.usual = best, found[best]
        self.recent.clear()
        self.next_trial = time.monotonic() + self.wait
        self._set(best)

    def _set(self, number: int) -> None:
        if torch.get_num_threads() != number:
            torch.set_num_threads(number)


@contextmanager
def threads(reproducible: bool = False, say: Callable[[str], object] | None = None) -> Iterator[Threads]:
    """The best number of threads within, and what was set before afterwards.

    Where the user has set it (OMP_NUM_THREADS) it stays; `reproducible` keeps it fixed at all the cores there are.
    """
    before = torch.get_num_threads()
    try:
        yield _beginning(before, reproducible, say)
    finally:
        torch.set_num_threads(before)


@lru_cache
def in_restoring(before: int) -> Threads:
    """What chooses the number of threads in this process where `before` are set: once for all images."""
    return _beginning(before)


def _beginning(before: int, fixed: bool = False, say: Callable[[str], object] | None = None) -> Threads:
    by_user = any(os.environ.get(name) for name in CHOSEN_BY_USER)
    return Threads(before if by_user else min(available(), before), by_user or fixed, say)
