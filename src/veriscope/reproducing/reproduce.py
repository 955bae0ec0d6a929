"""An experiment of the paper from beginning to end: images, training, restoring, judging, table."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import pi
from pathlib import Path
from typing import Any, Literal

import numpy as np

from veriscope import saving
from veriscope.classical.denoise import NON_LOCAL_MEANS
from veriscope.classical.tune import Tuned, best
from veriscope.comparing.facts import versions
from veriscope.comparing.judge import RESTORATION, Judgement, judge, maximum
from veriscope.errors import OutputError, VeriscopeWarning
from veriscope.images.image import Image
from veriscope.images.pairing import Pairs
from veriscope.images.resampling import resampled
from veriscope.judging.isotropy import isotropy
from veriscope.judging.two_lines import TwoLines, resolved, smallest_resolved
from veriscope.networks.folder import is_model, read_description
from veriscope.networks.model import Ensemble
from veriscope.reporting.report import write_report
from veriscope.reproducing.experiments import Experiment, experiment
from veriscope.reproducing.material import ExperimentData, read_data
from veriscope.reproducing.paper import INPUT, NETWORK
from veriscope.reproducing.table import Line, Outcome
from veriscope.restoring.restore import restore
from veriscope.simulate.camera import to_integers
from veriscope.simulate.experiments import Progress, made_by, settings, simulate, standin
from veriscope.simulate.standins import blurred_light
from veriscope.simulate.tubules import pair as two_tubules
from veriscope.training.loop import train
from veriscope.training.progress import Listener
from veriscope.wording import listed

ECE_WITHIN = 0.05  # of the truth's range
DATA, MODEL, TABLE, FIGURES = "data", "model", "table.txt", "table.json"
DISTANCES = tuple(round(0.06 + 0.02 * number, 2) for number in range(15))  # um, 0.06 to 0.34
TRIALS = 20  # pairs at each distance, in all directions
SIDE = 96  # pixels of a field


@dataclass(frozen=True)
class Reporter:
    """How a run reports: in sentences, in bars for steps of a known length, and of training to a listener."""

    say: Callable[[str], object] = lambda text: None
    bar: Callable[[str], AbstractContextManager[Progress]] = lambda title: nullcontext(lambda done, total: None)
    training: Callable[[], AbstractContextManager[Listener | Literal[False]]] = lambda: nullcontext(False)

    @contextmanager
    def step(self, title: str) -> Iterator[Progress]:
        """A step of the work; gives what is to hear of its progress."""
        self.say(title)
        with self.bar(title) as progress:
            yield progress


@dataclass(frozen=True)
class Run:
    """What is reproduced, how large, from which data, and for how long."""

    name: str
    scale: str = "small"
    seed: int = 0
    data: Path | None = None  # published data; None: simulated
    minutes: float | None = None  # of training; None: as the scale says
    members: int | None = None
    axes: str | tuple[str, str] | None = None  # of images that do not state them
    device: str | None = None

    @property
    def experiment(self) -> Experiment:
        return experiment(self.name)


def reproduce(run: Run, out: str | Path, reporter: Reporter | None = None) -> Outcome:
    """Simulate (or read `run.data`), train, restore, judge; all that is made stays in the folder `out`.

    What an earlier, interrupted run made with the same settings is used again. Raises DataError for unknown names and
    scales and data that do not fit, OutputError and TrainingError where an earlier run had other settings.
    """
    reporter = reporter or Reporter()
    chosen, folder = run.experiment, Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    found = read_data(run.name, chosen, data_of(run, folder, reporter), run.scale, run.seed, run.axes)
    model = _trained(run, found, folder / MODEL, reporter)
    lines: list[Line] = []
    for condition, pairs in found.tests.items():
        judged = _judged(run, model, pairs, condition, reporter)
        lines += _lines(run, condition, judged, model, pairs)
        report = folder / f"{condition}.html"
        write_report(report, judged, title=f"{run.name}, {condition.replace('_', ' ')}", overwrite=True)
    if found.unknown:  # published stacks whose isotropic truth nobody knows
        seen = ((resampled(image, model.recipe.finer), image) for image in found.unknown)
        lines += [Line(INPUT, name, isotropy=phi) for name, phi in _isotropies(seen, model, run.device).items()]
    if chosen.lines and run.data is None:
        with reporter.step("Telling two tubules apart"):
            distances = smallest_distances(run.name, model, run.seed, run.device, 2 if run.scale == "tiny" else TRIALS)
        lines = [replace(line, resolved_um=distances.get(line.method)) for line in lines]
    outcome = Outcome(run.name, tuple(lines), _facts(run, model, found))
    saving.write(folder / TABLE, f"{outcome}\n")
    saving.write(folder / FIGURES, json.dumps(outcome.to_json(), indent=1))
    return outcome


def data_of(run: Run, folder: Path, reporter: Reporter) -> Path:
    """The folder of images: the user's, or simulated ones, which are made where they are not there yet."""
    if run.data is not None:
        return run.data
    target = folder / DATA
    there, wanted = made_by(target), json.loads(json.dumps(settings(run.name, run.seed, run.scale)))
    if there is not None and there != wanted:
        differing = [key for key in wanted if there.get(key) != wanted[key]]
        raise OutputError(
            f"'{folder}' holds a run with another {listed(differing[:3])}, which is left as it is. Choose "
            f"another folder (--out), or replace it (--overwrite)."
        )
    if there is None:
        with reporter.step(f"Simulating {run.name} ({run.scale})") as progress:
            simulate(run.name, target, run.seed, run.scale, progress=progress)
    return target


def _trained(run: Run, found: ExperimentData, folder: Path, reporter: Reporter) -> Ensemble:
    chosen = run.experiment
    minutes, epochs = chosen.length(run.scale, run.minutes)
    members = chosen.members_at(run.scale) if run.members is None else run.members
    length = f"{minutes:g} minutes" if minutes is not None else f"{epochs} epoch{'s' if epochs != 1 else ''}"
    if is_model(folder) and read_description(folder).members >= members:
        reporter.say("The networks are trained already")
    else:
        reporter.say(f"Training {members} network{'s' if members > 1 else ''} for {length}")
    with reporter.training() as listener:
        return train(
            found.recipe,
            found.patches,
            found.check,
            members=members,
            minutes=minutes,
            epochs=epochs,
            seed=run.seed,
            folder=folder,
            resume=folder.exists(),
            device=run.device,
            progress=listener,
        )


def _judged(run: Run, model: Ensemble, pairs: Pairs, condition: str, reporter: Reporter) -> Judgement:
    """The test images of one condition: the input, what the network has to beat, and the network."""
    others = {}
    if (rival := run.experiment.rival) is not None:
        with reporter.step(f"Tuning {rival} on each image of {condition}") as progress:
            others[rival] = [one.image for one in tuned(pairs, progress)]
    with reporter.step(f"Restoring and judging {condition}") as progress:
        return judge(model, pairs, others=others, device=run.device, progress=progress)


def tuned(pairs: Pairs, progress: Progress) -> list[Tuned[Image]]:
    """The best that non-local means can do for each pair."""
    found = []
    for number, pair in enumerate(pairs):
        progress(number, len(pairs))
        low = maximum(pair.low) if pair.projects else pair.low.in_memory()
        found.append(best(NON_LOCAL_MEANS, low, pair.high.in_memory()))
    return found


def _lines(run: Run, condition: str, judged: Judgement, model: Ensemble, pairs: Pairs) -> list[Line]:
    seen = [(pair.low, pair.low) for pair in pairs if run.experiment.isotropic]
    phi = _isotropies(seen, model.on_grid, run.device) if seen else {}
    found = []
    for row in judged.overall:
        method = {RESTORATION: NETWORK, judged.methods[0]: INPUT}.get(row.method, row.method)
        trust = judged.trust if method == NETWORK else None
        reliability = () if trust is None else trust.best.reliability[len(model)]
        ece = next((one.ece for one in reliability if one.eps == ECE_WITHIN), None)
        found.append(Line(condition, method, row.nrmse, row.ssim, phi.get(method), ece=ece))
    return found


def _isotropies(
    images: Iterable[tuple[Image, Image]], model: Ensemble, device: str | None
) -> dict[str, tuple[float, float]]:
    """Phi of xz and yz slices before and after, means over images; each on the grid of the truth, and as it is."""
    seen: dict[str, list[Any]] = {INPUT: [], NETWORK: []}
    for on_grid, image in images:
        for method, one in ((INPUT, on_grid), (NETWORK, _restored(image, model, device))):
            channels = [isotropy(one, channel) for channel in range(one.size("C"))]
            seen[method].append(np.mean([(phi.xz, phi.yz) for phi in channels], axis=0))
    means = {method: np.mean(values, axis=0) for method, values in seen.items()}
    return {method: (float(xz), float(yz)) for method, (xz, yz) in means.items()}


def _restored(image: Image, model: Ensemble, device: str | None, **settings: Any) -> Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VeriscopeWarning)  # the verdict is in the report
        return restore(image, model, device=device, **settings).mean


def _facts(run: Run, model: Ensemble, found: ExperimentData) -> dict[str, Any]:
    minutes, epochs = run.experiment.length(run.scale, run.minutes)
    return {
        "scale": run.scale,
        "seed": run.seed,
        "data": "simulated" if run.data is None else str(run.data),
        "members": len(model),
        "minutes": minutes,
        "epochs": epochs,
        "patches": len(found.patches),
        "parameters": model.parameters,
        "test images": sum(len(pairs) for pairs in found.tests.values()) + len(found.unknown),
        **versions(),
    }


def smallest_distances(
    name: str, model: Ensemble, seed: int = 0, device: str | None = None, trials: int = TRIALS
) -> dict[str, float]:
    """For input and network the smallest distance (um) at which at least 80 % of pairs are resolved; inf for none.

    Each field holds one pair of tubules and is seen by the microscope and camera of the stand-in `name`.
    """
    stand = standin(name)
    pixel = stand.voxel_size[-1]
    rng = np.random.default_rng((seed, 5))
    seen: dict[str, list[list[bool]]] = {INPUT: [], NETWORK: []}
    for distance in DISTANCES:
        fields, places = [], []
        for _ in range(trials):
            turn = float(rng.uniform(0, 1))
            centre = [(SIDE - 1) / 2 + float(rng.uniform(-0.5, 0.5)) for _ in range(2)]
            scene = two_tubules((SIDE, SIDE), stand.voxel_size, distance, turn, [pixel * at for at in centre])
            light = blurred_light(stand, rng, {}, np.asarray(scene.light))
            fields.append(to_integers(stand.camera.apply(light, stand.camera.draw(rng))))
            places.append(TwoLines((centre[0], centre[1]), 2 * pi * turn, distance / pixel, SIDE / 3))
        low = Image(np.stack(fields), "TYX", stand.voxel_size)
        high = _restored(low, model, device, normalize="frame")
        for method, planes in ((INPUT, np.asarray(low)), (NETWORK, np.asarray(high))):
            seen[method].append([resolved(plane, place) for plane, place in zip(planes, places, strict=True)])
    return {method: smallest_resolved(DISTANCES, found) or float("inf") for method, found in seen.items()}
