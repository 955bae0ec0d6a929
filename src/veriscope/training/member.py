"""The training of one member: the loop itself; and of several side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from veriscope.clusters import client_of
from veriscope.errors import TrainingError, warn
from veriscope.networks import devices
from veriscope.networks import folder as files
from veriscope.networks.network import Network, build, channels_last
from veriscope.networks.threads import threads
from veriscope.training import checkpoint
from veriscope.training.allocator import kept_memory
from veriscope.training.checkpoint import Progressed
from veriscope.training.optimisers import optimisers
from veriscope.training.progress import Listener, Step, Triple
from veriscope.training.scale_layer import features_and_errors, fit_scale_layer
from veriscope.training.schedule import Plateau, Schedule, average_decay, warm_cosine
from veriscope.training.setup import Batch, Setup, Source
from veriscope.training.team import Team

PICTURES = 4  # check patches that can be looked at while training
SAVE_EVERY = 60.0  # seconds between checkpoints within a round
TRYING = 0.1  # fraction of the time of a member in which numbers of threads are tried, at most
TIMED_STEPS = 4  # steps measured before the first plan, after one that warms up
CHECK_FRACTION = 0.15  # patches checked after a round, as a fraction of those trained on in it
FIT_FROM = 0.25  # fraction of the run after which the scales are fitted: errors before are those of nothing learned
STARTED_RATE = 1 / 3  # of the learning rate, for a network that has learned before (benchmarks/starting.py)
FIT_FRACTION = 0.05  # patches the scales are fitted to after a round, as a fraction of those trained on in it
LEAST_FIT, LAST_FIT = 16, 256  # patches, in any round and in the last one
LOOK_EVERY = 10  # steps between looks at the loss: each look waits for the device

Trained: TypeAlias = tuple[Network, list[dict[str, Any]]]  # with its best weights, and one row of history per round
_ONE = Lock()  # a worker of Dask trains one member at a time


class Member:
    """The training of one member."""

    def __init__(
        self, setup: Setup, number: int, budget: float | None, past: list[dict[str, Any]], listener: Listener
    ) -> None:
        self.setup, self.number, self.budget, self.past, self.listener = setup, number, budget, past, listener
        self.recipe, self.team = setup.recipe, setup.team
        self.seed = int(np.random.SeedSequence([setup.seed, number]).generate_state(1)[0])
        self.layout = torch.channels_last if len(self.recipe.axes) == 2 else torch.channels_last_3d
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = build(self.recipe).to(self.team.device)
        if setup.start is not None:  # all but the scales where one of the two has none
            begun = setup.start.members[number % len(setup.start)].state_dict()
            self.network.load_state_dict(begun, strict=False)
        channels_last(self.network)
        self.average = deepcopy(self.network).requires_grad_(False) if self.recipe.averaging else self.network
        self.optimisers = optimisers(self.network, self.recipe, self.team.device)
        self.best_weights = _copied(self.average)
        self.state = Progressed(number, Plateau(self.recipe.patience))
        self.saved_at = time.monotonic()
        self.check_loss: float | None = None

    def train(self, resume: bool) -> Trained:
        """The loop."""
        state = self.state = self._resumed() if resume else self.state
        if state.plan is None and self.budget is None:
            epochs = self.setup.epochs or self.recipe.epochs
            state.plan = Schedule.of_epochs(epochs, len(self.setup.patches), self.recipe.batch)
        started = time.monotonic() - state.seconds
        timed: list[float] = []
        round_loss = torch.tensor(state.loss_sum, dtype=self.team.exact, device=self.team.device)
        for low, high in self._batches(state.step):
            at = time.monotonic()
            rate = self._rate()
            for group in (group for one in self.optimisers for group in one.param_groups):
                group["lr"] = rate * group["times"]
            round_loss += self._step(low, high)
            state.step += 1
            state.loss_count += 1
            timed.append(time.monotonic() - at)
            self._choose_threads(timed)
            plan, saves = state.plan, self._save_is_due()
            ends = plan is not None and (state.step % plan.per_round == 0 or state.step >= plan.steps)
            if ends or saves or state.step % LOOK_EVERY == 0 or state.plan is None:
                state.loss_sum = float(self.team.average(round_loss.clone()))
                self._stop_if_nan(state.loss_sum)
            state.seconds = time.monotonic() - started
            if state.plan is None and len(timed) > TIMED_STEPS:
                state.plan = self._planned(float(np.median(timed[1:])) * (1 + CHECK_FRACTION / 2))
                ends = state.step >= state.plan.steps  # no time is left: what there is is checked and written
            if state.plan:
                state.progress += (1 - state.progress) / max(state.plan.steps - state.step + 1, 1)
            if ends:
                self._end_round(rate, started)
                round_loss.zero_()
            elif saves:
                self._save()
            self._tell()
            if state.plan and state.step >= state.plan.steps:
                break
        self.network.load_state_dict(self.best_weights)
        return self.network.to("cpu").requires_grad_(False).eval(), state.history

    def _choose_threads(self, timed: list[float]) -> None:
        """Try numbers of threads for as long as a budget of time allows; steps that were tried are not timed."""
        choosing = self.setup.threads
        choosing(timed[-1])
        if self.state.plan is None and self.budget is not None:
            if self.state.seconds > TRYING * self.budget:
                choosing.decide()
            if choosing.deciding:
                timed.clear()

    def _batches(self, step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches from `step` on, for ever, each cut in the background while the one before is learned from."""

        def cut(step: int) -> tuple[Tensor, Tensor]:
            wanted = self.team.part(range(step * self.recipe.batch, (step + 1) * self.recipe.batch))
            return self._on_device(self.setup.patches.batch(wanted, self.seed))

        with ThreadPoolExecutor(1, thread_name_prefix="patches") as cutter:
            coming = cutter.submit(cut, step)
            while True:
                step += 1
                current, coming = coming, cutter.submit(cut, step)
                yield current.result()

    def _on_device(self, batch: Batch) -> tuple[Tensor, Tensor]:
        low, high = (torch.from_numpy(part) for part in batch)
        if self.team.device.type == "cuda":
            low, high = low.pin_memory(), high.pin_memory()
        low, high = (part.to(self.team.device, non_blocking=True) for part in (low, high))
        return low.contiguous(memory_format=self.layout), high

    def _step(self, low: Tensor, high: Tensor) -> Tensor:
        """One step of the optimiser; the loss before it."""
        for one in self.optimisers:
            one.zero_grad(set_to_none=True)
        with torch.autocast(self.team.device.type, torch.bfloat16, enabled=self.setup.fast):
            output = self.network.train()(low)
        loss = self.setup.loss(output, high)
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average_gradients(self.network)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        for one in self.optimisers:
            one.step()
        if self.average is not self.network:
            steps = self.state.plan.steps if self.state.plan else 1
            decay = average_decay(self.state.step, steps, self.recipe.averaging)
            weights = [part.detach() for part in self.network.parameters()]
            torch._foreach_lerp_(list(self.average.parameters()), weights, 1 - decay)
        return loss.detach()

    def _rate(self) -> float:
        peak = self.recipe.learning_rate * (1.0 if self.setup.start is None else STARTED_RATE)
        if self.recipe.schedule == "plateau":
            return peak * self.state.plateau.factor
        return peak * warm_cosine(self.state.progress, self.recipe.warmup)

    def _planned(self, seconds_per_step: float) -> Schedule:
        """The plan that fits the rest of the time, the same in all processes."""
        assert self.budget is not None
        left, per_step = self.team.agree(self.budget - self.state.seconds, seconds_per_step)
        return Schedule.of_time(self.state.step, left, per_step, self.state.plan.per_round if self.state.plan else None)

    def _save_is_due(self) -> bool:
        """The same answer in all processes: saving takes a sum over them."""
        if self.setup.folder is None:
            return False
        return bool(self.team.agree(time.monotonic() - self.saved_at > SAVE_EVERY)[0])

    def _end_round(self, rate: float, started: float) -> None:
        """Check the (averaged) weights, keep them if they are the best so far, write everything down."""
        state, plan = self.state, self.state.plan
        assert plan is not None
        if self.setup.fits_scales and state.step >= FIT_FROM * plan.steps:
            self._fit_scales(plan)
        self.check_loss = self._checked(plan)
        self._stop_if_nan(self.check_loss)
        state.plateau.see(self.check_loss)
        improved = state.best is None or self.check_loss < state.best
        if improved:
            state.best = self.check_loss
            self.best_weights = _copied(self.average)
        state.seconds = time.monotonic() - started
        state.history.append(
            {
                "member": self.number,
                "step": state.step,
                "seconds": round(state.seconds, 3),
                "learning_rate": rate,
                "loss": state.loss_sum / state.loss_count,
                "check_loss": self.check_loss,
                "best": state.best,
            }
        )
        state.loss_sum, state.loss_count = 0.0, 0
        if self.budget is not None and plan.steps - state.step > plan.per_round:
            state.plan = self._planned(state.seconds / state.step)
        if self.setup.folder and self.team.leads:
            if improved:
                files.write_member(self.setup.folder, self.number, self.best_weights)
            self.setup.write(self.number + 1, self.setup.facts(self.number, self.past + state.history))
        self._save()

    def _fit_scales(self, plan: Schedule) -> None:
        """The last layer of the scales as the averaged weights need it, for the weights in training too."""
        most = LAST_FIT if self.state.step >= plan.steps else FIT_FRACTION * plan.per_round * self.recipe.batch
        count = min(len(self.setup.patches), LAST_FIT, max(LEAST_FIT, round(most)))
        network = self.average.eval()
        found = []
        for wanted in self._spread(count, self.setup.patches):
            low, high = self._on_device(self.setup.patches.check_batch(wanted))
            with torch.autocast(self.team.device.type, torch.bfloat16, enabled=self.setup.fast):
                found.append(features_and_errors(network, low, high, getattr(self.setup.patches, "hides", False)))
        fit_scale_layer(network, *(torch.cat(parts) for parts in zip(*found, strict=True)))
        layer, averaged = cast(nn.Module, self.network.unet.scale), cast(nn.Module, network.unet.scale)
        for own, fitted in zip(layer.parameters(), averaged.parameters(), strict=True):
            own.detach().copy_(self.team.average(fitted.detach()))

    def _spread(self, count: int, source: Source) -> Iterator[list[int]]:
        """The numbers of `count` patches, evenly spread over all there are, batch by batch."""
        chosen = np.linspace(0, len(source) - 1, count).round().astype(int).tolist()
        for first in range(0, count, self.recipe.batch):
            yield chosen[first : first + self.recipe.batch]

    @torch.inference_mode()
    def _checked(self, plan: Schedule) -> float:
        """The loss over the check patches, as the averaged weights have it."""
        count = len(self.setup.check)
        if self.budget is not None:
            count = min(count, max(4, round(CHECK_FRACTION * plan.per_round * self.recipe.batch)))
        sums = torch.zeros(2, dtype=self.team.exact, device=self.team.device)
        network = self.average.eval()
        for wanted in filter(None, map(self.team.part, self._spread(count, self.setup.check))):
            low, high = self._on_device(self.setup.check.check_batch(wanted))
            with torch.autocast(self.team.device.type, torch.bfloat16, enabled=self.setup.fast):
                output = network(low)
            loss = self.setup.check_loss(output, high).to(self.team.exact)
            sums += torch.stack([loss, torch.ones_like(loss)]) * len(wanted)
        total, seen = self.team.average(sums)
        return float(total / seen)

    def _stop_if_nan(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} at step {self.state.step} of member {self.number + 1}. Check that the pairs "
                f"show the same field and hold no broken images; then try a lower learning rate than "
                f"{self.recipe.learning_rate:g}, or precision float32. The best weights so far were kept."
            )

    def _kept(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What is trained, and all that training changes."""
        run = {**self.setup.identity, "member": self.number}
        return run, checkpoint.tensors_of(self.network, self.average, self.optimisers)

    def _save(self) -> None:
        if self.setup.folder and self.team.leads:
            checkpoint.save(self.setup.folder / files.UNFINISHED, self.state, *self._kept())
        self.saved_at = time.monotonic()

    def _resumed(self) -> Progressed:
        """The state on disk of this member, if a run was interrupted in it."""
        if self.setup.folder is None or not (self.setup.folder / files.UNFINISHED).exists():
            return self.state
        state = checkpoint.restore(self.setup.folder / files.UNFINISHED, *self._kept())
        if state.best is not None:
            self.best_weights, _ = files.read_tensors(self.setup.folder / files.member_file(self.number))
        return state

    def _tell(self) -> None:
        state, plan = self.state, self.state.plan
        done, left = 0.0, None
        per_step = state.seconds / max(state.step, 1)
        if plan:
            done = state.step / plan.steps
            after = self.setup.members - self.number - 1
            whole = per_step * plan.steps if self.budget is None else self.budget
            left = per_step * (plan.steps - state.step) + after * whole
        self.listener(
            Step(
                member=self.number,
                members=self.setup.members,
                step=state.step,
                steps=plan.steps if plan else 0,
                done=(self.number + done) / self.setup.members,
                loss=state.loss_sum / state.loss_count if state.loss_count and state.loss_sum else None,
                check_loss=self.check_loss,
                best=state.best,
                patches_per_second=self.recipe.batch / per_step,
                seconds_left=left,
                look=self._pictures,
            )
        )

    @torch.inference_mode()
    def _pictures(self) -> list[Triple]:
        """The first check patches, as the (averaged) weights restore them; of stacks the brightest along Z."""
        low, high = self._on_device(self.setup.check.check_batch(range(min(PICTURES, len(self.setup.check)))))
        mean = self.average.eval()(low)[:, : high.shape[1]].float()
        planes = [one[:, 0].cpu().numpy() for one in (low, mean, high)]
        flat = [one.max(axis=1) if one.ndim == 4 else one for one in planes]
        return list(zip(*flat, strict=True))


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: weights.detach().clone() for name, weights in network.state_dict().items()}


def side_by_side(setup: Setup, numbers: Sequence[int], seconds: float | None) -> list[Trained]:
    """Train the members called `numbers` on the workers that `setup.shared` names, each in so many `seconds`.

    A worker of Dask trains one member at a time. Seeds are the members' own, so weights are the same as one after the
    other. Raises what a training raises.
    """
    cluster, workers = setup.shared
    sent = replace(setup, folder=None, team=Team(), threads=None, shared=(None, None))  # type: ignore[arg-type]
    with client_of(cluster, workers) as client:
        client.wait_for_workers(1, timeout=60)
        rounds = -(-len(numbers) // len(client.nthreads()))
        one = partial(_train, sent, None if seconds is None else seconds / rounds)
        trained: list[Trained] = client.gather([client.submit(one, number, pure=False) for number in numbers])
    return trained


def _train(setup: Setup, seconds: float | None, number: int) -> Trained:
    """One member, by this worker."""
    from distributed import get_worker

    device = devices.choose(None)
    with _ONE, kept_memory(device.type == "cpu"), threads(True, warn) as chosen:
        torch.set_num_threads(get_worker().state.nthreads)
        here = replace(setup, threads=chosen, team=Team(device=device))
        return Member(here, number, seconds, [], lambda step: None).train(False)
