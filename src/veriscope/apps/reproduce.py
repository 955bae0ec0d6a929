"""veriscope reproduce: an experiment of the paper from images to table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from veriscope import saving
from veriscope.apps import console, files, options, words
from veriscope.apps.options import ONE_OF, argument, option
from veriscope.apps.train import training_progress
from veriscope.errors import VeriscopeError

if TYPE_CHECKING:
    from veriscope.reproducing.reproduce import Reporter, Run

STUDY, PLOT = "data-size.json", "data-size.svg"
STUDY_MINUTES = 2.0  # for each number of patches


@dataclass(frozen=True)
class Asked:
    scale: Literal["tiny", "small", "paper"] = option(
        "small",
        "tiny: seconds, to see that all works. small: minutes on two cores. paper: its sizes, for a GPU.",
        advice=ONE_OF,
    )
    minutes: float | None = option(
        None, "Time for training, instead of what the scale says; with --patches for each network."
    )
    members: int | None = option(None, "Networks in the ensemble.")
    data: Path | None = option(
        None, "The published images instead of simulated ones: a folder with train_data and test_data.", "DIR"
    )
    axes: str | None = option(None, "Axes of the images in --data, where they do not state them.", "AXES")
    patches: str | None = option(
        None,
        "Study the size of the training data instead: a network for each of these numbers of patches, such as "
        "16,64,256,1024.",
        "N,N,...",
    )
    seed: int = option(0, "Of images, patches and networks.")

    def run(self, experiment: str, device: str | None) -> Run:
        """What is to be reproduced. Raises VeriscopeError for what is not known or not there."""
        if self.data is not None and not self.data.is_dir():
            raise VeriscopeError(f"--data {self.data} is no folder. Give the one that holds train_data and test_data.")
        from veriscope.reproducing.experiments import experiment as known
        from veriscope.reproducing.reproduce import Run

        known(experiment)
        axes = words.axes_of_pairs(self.axes)
        return Run(experiment, self.scale, self.seed, self.data, self.minutes, self.members, axes, device)


def reproduce(
    experiment: str = argument(
        "planaria, tribolium, flywing, drosophila, retina, liver, ins1-tubules, ins1-granules or hela.", "EXPERIMENT"
    ),
    out: Path | None = option(None, "Folder for everything; by default its name.", "DIR", "--out", "-o"),
    overwrite: bool = option(False, "Start over, without what is there already."),
    dry_run: bool = option(False, "Show what would be done, and do nothing."),
    device: str | None = options.DEVICE,
    *,
    asked: Asked,
) -> None:
    """Repeat an experiment of the paper: simulate (or read its data), train, restore, judge; our table beside its own.

    Images, model, reports with pictures and the table stay in the folder. An interrupted run continues when the same
    command is given again. With --patches, error against the number of training patches (Supp. Fig. 5), with a plot.

    Examples:
    veriscope reproduce planaria --scale tiny --out tiny-planaria
    veriscope reproduce planaria --minutes 10
    veriscope reproduce planaria --data Denoising_Planaria --axes ZYX --out real
    veriscope reproduce planaria --patches 16,64,256,1024 --out sizes
    """
    wrong = f"--patches {asked.patches} is not understood. Give whole numbers above 0, such as 16,64,256."
    counts = None if asked.patches is None else sorted({*words.values(asked.patches, 1, 2**63, wrong, int)})
    run, folder = asked.run(experiment, device), out or Path(experiment)
    if dry_run:
        _show_plan(run, folder, counts)
        return
    from veriscope.reproducing.reproduce import Reporter
    from veriscope.reproducing.reproduce import reproduce as run_it

    reporter = Reporter(console.say, console.bar, training_progress)
    with files.own_folder(folder, "veriscope reproduce", overwrite):
        if counts is not None:
            _study(run, folder, counts, asked.minutes or STUDY_MINUTES, reporter)
            return
        try:
            outcome = run_it(run, folder, reporter)
        except KeyboardInterrupt:
            raise console.Stopped(f"What is done so far is in {folder}; the same command continues.") from None
    console.show()
    console.show(str(outcome))
    console.show()
    for condition in outcome.conditions:
        report = folder / f"{condition}.html"
        if report.exists():
            console.written({"report": report})


def _show_plan(run: Run, folder: Path, counts: list[int] | None) -> None:
    from veriscope.simulate.experiments import standin

    chosen = run.experiment
    minutes, epochs = chosen.length(run.scale, run.minutes)
    members = run.members or chosen.members_at(run.scale)
    plan = {"task": chosen.task, "images": str(run.data) if run.data else f"simulated, {standin(run.name).about}"}
    if counts is not None:
        plan["networks"] = f"{len(counts)}, for {', '.join(map(str, counts))} patches"
        plan["training"] = f"{run.minutes or STUDY_MINUTES:g} minutes each"
    else:
        plan["networks"] = str(members)
        plan["training"] = f"{minutes:g} minutes in all" if minutes is not None else f"{epochs} epochs each"
    plan["compared with"] = chosen.rival or "the input"
    plan["folder"] = str(folder)
    console.facts("Plan (nothing is done)", plan)


def _study(run: Run, folder: Path, counts: list[int], minutes: float, reporter: Reporter) -> None:
    from veriscope.reproducing.datasize import plot, study
    from veriscope.reproducing.material import read_data
    from veriscope.reproducing.reproduce import data_of

    images = data_of(run, folder, reporter)
    found = read_data(run.name, run.experiment, images, run.scale, run.seed, run.axes)
    if not found.tests:
        raise VeriscopeError(f"The images in {images} have no truth to judge by, so errors cannot be measured.")
    console.say(f"Training {len(counts)} networks for {minutes:g} minutes each")
    sources = found.recipe, found.patches, found.check, found.tests
    try:
        with console.bar("Training and judging") as progress:
            done = study(*sources, counts, minutes, run.seed, run.device, progress)
    except KeyboardInterrupt:
        raise console.Stopped(f"The images are in {folder}; the study starts over with the same command.") from None
    saving.write(folder / STUDY, json.dumps(done.to_json(), indent=1))
    saving.write(folder / PLOT, plot(done, f"{run.name}, {run.scale}, {minutes:g} min each"))
    console.results(done.table())
    console.written({"plot": folder / PLOT})
