"""Threads: what a process may use, and the number that is fastest beside other work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from veriscope import cores
from veriscope.networks import threads
from veriscope.networks.threads import Threads


class Machine:
    """Steps that take `cost` seconds by number of threads; counts the steps done with each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost: dict[int, float]) -> None:
        self.cost, self.now, self.number = cost, 0.0, 0
        self.steps: list[int] = []
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.number)
        monkeypatch.setattr(torch, "set_num_threads", lambda number: setattr(self, "number", number))
        monkeypatch.setattr(threads.time, "monotonic", lambda: self.now)

    def step(self) -> None:
        self.steps.append(self.number)
        self.now += self.cost[self.number]

    def work(self, chooser: Threads, count: int) -> None:
        for _ in range(count):
            self.step()
            chooser(self.cost[self.number])


@pytest.mark.parametrize(
    ("cost", "best"),
    [
        ({1: 1.0, 2: 0.6}, 2),
        ({1: 0.2, 2: 2.2}, 1),
        ({1: 1.0, 2: 0.97}, 2),  # no gain worth a change
        ({1: 8.0, 2: 4.2, 4: 2.4, 6: 3.0}, 4),
        ({1: 1.0, 2: 0.9, 4: 1.5, 8: 9.0, 12: 30.0}, 2),
    ],
)
def test_the_fastest_number_of_threads_is_used_after_a_few_steps(
    monkeypatch: pytest.MonkeyPatch, cost: dict[int, float], best: int
) -> None:
    machine = Machine(monkeypatch, cost)
    chooser = Threads(max(cost))
    machine.work(chooser, 4 * len(cost) + 1)
    assert not chooser.deciding
    assert chooser.chosen == machine.number == best
    machine.work(chooser, 20)
    assert set(machine.steps[-20:]) == {best}


def test_another_number_is_chosen_when_the_machine_becomes_busy_and_when_it_is_free_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    machine = Machine(monkeypatch, {1: 1.0, 2: 0.6})
    chooser = Threads(2, say=said.append)
    machine.work(chooser, 20)
    assert (chooser.chosen, said) == (2, [])
    machine.cost = {1: 1.2, 2: 9.0}
    machine.work(chooser, 40)
    assert chooser.chosen == 1
    assert said == ["1 of 2 threads is fastest now (a small network, or other programs)."]
    machine.cost = {1: 1.0, 2: 0.6}
    machine.work(chooser, 400)
    assert chooser.chosen == 2
    assert said[1:] == ["All 2 threads are fastest again."]


def test_trying_again_on_a_machine_that_does_not_change_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.1, 2: 0.9})
    machine.work(Threads(2), 36_000)
    assert machine.now < 1.02 * 0.1 * 36_000


def test_a_number_chosen_by_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: 0.1, 2: 0.9})
    machine.number = 2
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with threads.threads() as chooser:
        machine.work(chooser, 50)
    assert set(machine.steps) == {2}


def test_the_quota_of_a_container_counts(tmp_path: Path) -> None:
    def quota(own: str) -> float | None:
        (tmp_path / "own").write_text(own)
        return cores._quota(tmp_path / "cgroup", tmp_path / "own")

    for folder, limit in (("pod", "max 100000"), ("pod/box", "150000 100000"), ("cpu/old", None)):
        place = tmp_path / "cgroup" / folder
        place.mkdir(parents=True)
        if limit is None:
            (place / "cpu.cfs_quota_us").write_text("50000\n")
            (place / "cpu.cfs_period_us").write_text("100000\n")
        else:
            (place / "cpu.max").write_text(f"{limit}\n")
    assert quota("0::/pod\n") is None
    assert quota("0::/pod/box\n") == 1.5
    assert quota("0::/pod/box/inner\n") == 1.5
    assert quota("4:cpu,cpuacct:/old\n3:memory:/x\n") == 0.5
    assert quota("0::/\n") is None


def test_threads_that_wait_sleep_unless_torch_is_loaded_or_the_user_says_otherwise() -> None:
    code = "import veriscope.networks\n"
    code += "import os\nprint(os.environ['OMP_WAIT_POLICY'])"
    for given, kept in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
        env |= {} if given is None else {"OMP_WAIT_POLICY": given}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == kept


def test_in_restoring_threads_are_tried_on_something_short_and_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {2: 1.0, 1: 0.2})
    monkeypatch.setattr(threads.time, "perf_counter", lambda: machine.now)
    chooser = Threads(2)
    machine.number = 2
    with chooser.held(machine.step):
        assert machine.number == 1
    assert machine.number == 2
    tried = len(machine.steps)
    with chooser.held(machine.step):
        assert machine.number == 1
    assert len(machine.steps) == tried
    machine.now += 2 * threads.AGAIN
    machine.cost[1] = 5.0
    with chooser.held(machine.step):
        assert machine.number == 2
    with chooser.held(None):
        assert machine.number == 2
