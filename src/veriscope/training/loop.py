"""Training: from patches to an ensemble (SI 1.1, 3.2; settings in `Recipe`)."""

from __future__ import annotations

import math
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

from veriscope import saving
from veriscope.errors import ModelError, TrainingError
from veriscope.networks import folder as files
from veriscope.networks.model import Ensemble
from veriscope.networks.network import Network
from veriscope.networks.recipe import Recipe
from veriscope.training import checkpoint
from veriscope.training.allocator import kept_memory
from veriscope.training.aside import measured
from veriscope.training.job import Job, Source
from veriscope.training.losses import Loss, laplace_nll, mae, squared_error_beside_nll
from veriscope.training.member import Member
from veriscope.training.parallel import Team, team
from veriscope.training.progress import Bar, Listener, Silence

VOXELS = 2**22  # of whole images looked at after training, at most
MEASURING = 0.06  # fraction of a budget of time that is kept for looking at them


def train(
    recipe: Recipe,
    patches: Source,
    check: Source,
    members: int = 5,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    *,
    loss: Loss | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    progress: Listener | Literal[False] | None = None,
) -> Ensemble:
    """Train `members` networks that differ by their seed only and return them as an ensemble.

    `patches` are learned from, `check` decides which weights are kept. The length is `epochs` (passes over
    `patches`), or a wall-clock budget of `minutes` for the whole ensemble, for which the number of steps and the
    learning rate are planned; without either, `recipe.epochs`. With a `folder` the best weights so far are always on
    disk, and `resume=True` goes on where an interrupted run stopped, with the same losses on a CPU when `epochs` was
    given. Under torchrun all processes share each batch. `loss` defaults to what the recipe says (`scale_weight`), and
    the Laplace negative log likelihood in checking, or to the mean absolute error when the recipe is not probabilistic;
    `progress` to a bar in a terminal, False to none.

    Raises TrainingError (settings, NaN losses), ModelError (patches that do not fit the recipe), OutputError.
    """
    if epochs is not None and minutes is not None:
        raise TrainingError("Training takes epochs or minutes, not both. Leave one out.")
    if members < 1 or (epochs is not None and epochs < 1) or (minutes is not None and not 0 < minutes < math.inf):
        raise TrainingError(f"members, epochs and minutes are positive, not {members}, {epochs} and {minutes}.")
    _check_fit(recipe, patches, check)
    target = None if folder is None else Path(folder)
    with team(device) as group, kept_memory(group.device.type == "cpu"), _shown(progress, group) as listener:
        if recipe.batch % group.size:
            raise TrainingError(
                f"A batch of {recipe.batch} patches cannot be shared by {group.size} processes. "
                f"Set the batch to a multiple of {group.size}."
            )
        losses = _losses(recipe, loss)
        fits = loss is None and recipe.probabilistic and recipe.scale_weight > 0
        job = Job(recipe, patches, check, members, epochs, minutes, seed, *losses, target, group, fits)
        return _run(job, resume, overwrite, listener)


def _losses(recipe: Recipe, given: Loss | None) -> tuple[Loss, Loss]:
    """What is learned by, and what the check patches are judged by."""
    if given is not None:
        return given, given
    if not recipe.probabilistic:
        return mae, mae
    return (squared_error_beside_nll(recipe.scale_weight) if recipe.scale_weight else laplace_nll), laplace_nll


def _shown(progress: Listener | Literal[False] | None, group: Team) -> AbstractContextManager[Listener]:
    if callable(progress):
        return nullcontext(progress if group.leads else Silence())
    wanted = progress is None and group.leads and sys.stderr.isatty()
    return Bar() if wanted else Silence()


def _check_fit(recipe: Recipe, patches: Source, check: Source) -> None:
    for name, source in (("training", patches), ("checking", check)):
        if not len(source):
            raise TrainingError(f"There are no {name} patches. Cut at least one per image, or give more images.")
        projects = getattr(source, "axes_out", source.axes) != source.axes
        if projects and not recipe.projects:
            raise ModelError(
                f"The {name} patches are stacks with flat truths (axes {source.axes} and YX), but the "
                f"recipe is for {recipe.axes}. Train a network that projects: Recipe(axes='ZYX', task='project')."
            )
        if source.axes != recipe.axes:
            raise ModelError(f"The {name} patches have the axes {source.axes}, but the recipe is for {recipe.axes}.")
        if recipe.projects and not projects:
            raise ModelError(
                f"The recipe projects stacks to planes, but the truths of the {name} patches have Z too. "
                f"Give flat truths (YX, or one plane), or a recipe without task='project'."
            )
        if (source.channels_in, source.channels_out) != (recipe.channels_in, recipe.channels_out):
            raise ModelError(
                f"The {name} patches have {source.channels_in} channels in and {source.channels_out} out, but the "
                f"recipe has {recipe.channels_in} and {recipe.channels_out}. Set channels_in and channels_out of it."
            )
        if any(length % step for length, step in zip(source.shape, recipe.step, strict=True)):
            raise ModelError(
                f"The {name} patches are {' x '.join(map(str, source.shape))} pixels, but this network needs multiples "
                f"of {' x '.join(map(str, recipe.step))}. Cut patches of another shape, or choose a smaller depth."
            )


def _run(job: Job, resume: bool, overwrite: bool, listener: Listener) -> Ensemble:
    finished, history = _open(job, resume, overwrite)
    first = len(finished)
    for number in range(first, job.members):
        spent = sum(max(row["seconds"] for row in history if row["member"] == n) for n in range(number))
        budget = None if job.minutes is None else (60 * (1 - MEASURING) * job.minutes - spent) / (job.members - number)
        network, rows = Member(job, number, budget, history, listener).train(resume and number == first)
        finished, history = [*finished, network], history + rows
        job.write(len(finished), len(finished), history)
        if job.folder and job.team.leads:
            (job.folder / checkpoint.FILE).unlink(missing_ok=True)
    job.write(len(finished), len(finished), history, known := _measured(job, finished))
    return Ensemble(job.recipe, tuple(finished), job.facts(len(finished), history, known))


def _measured(job: Job, finished: list[Network]) -> dict[str, Any]:
    """What images say of a trained ensemble: how often its predictions come true, and what such images look like."""
    seconds = None if job.minutes is None else 60 * MEASURING * job.minutes
    return measured(Ensemble(job.recipe, tuple(finished)), job.check, job.patches, VOXELS, seconds)


@files.trusted()
def _open(job: Job, resume: bool, overwrite: bool) -> tuple[list[Network], list[dict[str, Any]]]:
    """Members that an earlier run finished, with their history; an empty folder otherwise."""
    if job.folder is None:
        return [], []
    if resume and files.is_model(job.folder):
        facts = files.read_description(job.folder)["facts"]
        count = facts["training"]["finished_members"]
        if count > job.members:
            raise TrainingError(f"'{job.folder}' has {count} trained members already, more than {job.members}.")
        changed = {name for name, value in job.settings().items() if facts["training"].get(name) != value}
        changed |= {name for name, value in job.images().items() if facts.get(name) != value}
        if changed:
            raise TrainingError(
                f"'{job.folder}' was trained with other {', '.join(sorted(changed))}. "
                f"Resume with the same settings and data, or overwrite the model."
            )
        rows = [row for row in facts["history"] if row["member"] < count]
        return files.read_members(job.folder, job.recipe, count), rows
    files.refuse_existing(job.folder, overwrite)
    job.team.agree(0.0)  # all have looked before one writes
    if job.team.leads:
        if job.folder.exists():
            for path in (*job.folder.glob("member-*.safetensors"), job.folder / checkpoint.FILE):
                path.unlink(missing_ok=True)
        with saving.explained(job.folder):
            job.folder.mkdir(parents=True, exist_ok=True)
        job.write(0, 0, [])
    return [], []
