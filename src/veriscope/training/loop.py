"""Training: from images or patches to an ensemble (SI 1.1, 3.2; settings in `Recipe`)."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

from veriscope import saving
from veriscope.errors import ModelError, TrainingError, warn
from veriscope.images.pairing import Pair, Pairs
from veriscope.networks import folder as files
from veriscope.networks.model import Ensemble
from veriscope.networks.network import Network
from veriscope.networks.recipe import Recipe
from veriscope.networks.threads import threads
from veriscope.patches.scaling import Normalize
from veriscope.training.allocator import kept_memory
from veriscope.training.aside import measured
from veriscope.training.losses import Loss, laplace_nll, mae, of_hidden, squared_error_beside_nll
from veriscope.training.material import ASIDE, STARTED, Cutting, FromPairs, Material, prepare
from veriscope.training.member import Member, Trained, side_by_side
from veriscope.training.noisy import FromNoisy
from veriscope.training.progress import Bar, Listener
from veriscope.training.setup import Setup, Source
from veriscope.training.team import Team, team
from veriscope.wording import lengths

Given: TypeAlias = Source | Sequence[Pair] | FromNoisy
VOXELS = 2**22  # of whole images looked at after training, at most
CUTTING = ("per_image", "foreground", "normalize")  # options for pairs
MEMBERS = 5  # of an ensemble
MEASURING = 0.08  # fraction of a budget of time that is kept for looking at them


class Options(TypedDict, total=False):
    """The keywords of `train` that are seldom needed."""

    loss: Loss | None
    resume: bool
    overwrite: bool
    device: str | None
    progress: Listener | Literal[False] | None
    start: Ensemble | None
    cluster: Any
    workers: int | None
    per_image: int
    foreground: float | None
    normalize: Normalize | None


def train(
    recipe: Recipe,
    patches: Given,
    check: Given | float = ASIDE,
    members: int | None = None,
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Ensemble:
    """Train `members` networks (5) that differ by their seed only and return them as an ensemble.

    `patches` are learned from, `check` decides which weights are kept and calibrates. Both can be pairs of images, as
    `read_pairs` gives them, or patches that were cut already; `patches` can be noisy images, as `read_noisy` gives
    them, too. Of images `check` can be the fraction that is kept aside; they are cut as `veriscope train` cuts them,
    `per_image` (32), `foreground` (0.4) and `normalize` (as is best for the recipe) being those of `cut_patches`. Where
    images are smaller than the recipe's patches these become smaller too, with a VeriscopeWarning.

    The length is `epochs` (passes over the patches), or a wall-clock budget of `minutes` for the whole ensemble, for
    which the number of steps and the learning rate are planned; without either, `recipe.epochs`. With a `folder` the
    best weights so far are always on disk, and `resume=True` continues where an interrupted run stopped, with the same
    losses on a CPU when `epochs` was given; `overwrite=True` replaces the model in it. Under torchrun all processes
    share each batch. `loss` defaults to what the recipe says (`scale_weight`), and the Laplace negative log likelihood
    in checking, or to the mean absolute error when the recipe is not probabilistic; `progress` to a bar in a terminal,
    False to none; `device` to the fastest. In a budget of `minutes` the number of threads is chosen by measuring, and
    again when the machine becomes busy; `epochs` use all cores, so that the same seed gives the same.

    `workers` processes of this machine, or those of a Dask `cluster` (the address of its scheduler, or a client), train
    the members side by side, each with the threads it owns: the weights are those that one after the other would have
    with as many threads. A member that is interrupted there starts over.

    `start` is a model whose weights are learned further, with its layers, as many members as it has unless you say
    otherwise, and a third of the recipe's learning rate. Its axes, channels and task must be those of the recipe. Where
    it predicts no scales, these are learned afresh.

    Raises TrainingError (settings, NaN losses), ModelError (patches that do not fit the recipe), OutputError, DataError
    (images).
    """
    if unknown := sorted(set(options) - set(Options.__annotations__)):
        raise TypeError(f"train() got an unexpected keyword argument '{unknown[0]}'")
    if epochs is not None and minutes is not None:
        raise TrainingError("Training takes epochs or minutes, not both. Remove one.")
    start = options.get("start")
    if start is not None:
        recipe = recipe.starting_from(start.recipe)
    if members is None:
        members = MEMBERS if start is None else len(start)
    if members < 1 or (epochs is not None and epochs < 1) or (minutes is not None and not 0 < minutes < math.inf):
        raise TrainingError(f"members, epochs and minutes are positive, not {members}, {epochs} and {minutes}.")
    target = None if folder is None else Path(folder)
    if target is not None and not options.get("resume"):
        files.refuse_existing(target, options.get("overwrite", False))  # before images are read
    recipe, patches, check = _sources(recipe, patches, check, seed, options)
    _check_fit(recipe, patches, check)
    loss, progress = options.get("loss"), options.get("progress")
    with (
        team(options.get("device")) as group,
        kept_memory(group.device.type == "cpu"),
        threads(group.size > 1 or minutes is None, warn) as number,
        _shown(progress, group) as listener,
    ):
        if recipe.batch % group.size:
            raise TrainingError(
                f"A batch of {recipe.batch} patches cannot be shared by {group.size} processes. "
                f"Set the batch to a multiple of {group.size}."
            )
        losses = _losses(recipe, loss)
        if getattr(patches, "hides", False):
            losses = of_hidden(losses[0]), of_hidden(losses[1])
        shared = options.get("cluster"), options.get("workers")
        if shared != (None, None) and group.size > 1:
            raise TrainingError("Under torchrun all processes train each member together. Remove --cluster, --workers.")
        fits = loss is None and recipe.probabilistic and recipe.scale_weight > 0
        setup = Setup(
            recipe, patches, check, members, epochs, minutes, seed, *losses, target, group, number, fits, start, shared
        )
        with _nothing_empty(setup):
            return _run(setup, options.get("resume", False), options.get("overwrite", False), listener)


def _sources(
    recipe: Recipe, patches: Given, check: Given | float, seed: int, options: Options
) -> tuple[Recipe, Source, Source]:
    """Patches to learn from and to check with, and the recipe that fits them."""
    if not isinstance(patches, Sequence | FromNoisy):
        if isinstance(check, Sequence | FromNoisy | float | int) or set(CUTTING) & set(options):
            raise TrainingError(
                f"Patches that are cut already are checked with patches too, and take no {', '.join(CUTTING)}. "
                f"Give patches for check, or pairs of images to be cut."
            )
        return recipe, patches, check
    if not isinstance(check, Sequence | float | int):
        raise TrainingError("Pairs to train on need pairs to check with, or a fraction of them such as 0.1.")
    chosen: dict[str, Any] = {name: value for name, value in options.items() if name in CUTTING}
    aside = Pairs(check) if isinstance(check, Sequence) else check
    typed = () if options.get("start") is None else (STARTED,)
    material: Material = patches if isinstance(patches, FromNoisy) else FromPairs(Pairs(patches))
    ready = prepare(material, recipe, aside, Cutting(**chosen, seed=seed), typed)
    for note in ready.notes:
        warn(note)
    return ready.recipe, ready.patches, ready.check


@contextmanager
def _nothing_empty(setup: Setup) -> Iterator[None]:
    """A training that ends before its first figures leaves no model behind, which would only be in the way."""
    folder = setup.folder
    existed = folder is not None and folder.exists()
    try:
        yield
    except BaseException:
        if folder is not None and setup.team.leads and folder.is_dir() and not files.occupied(folder):
            files.clear(folder)
            if not existed:
                folder.rmdir()
        raise


def _losses(recipe: Recipe, given: Loss | None) -> tuple[Loss, Loss]:
    """What is learned by, and what the check patches are judged by."""
    if given is not None:
        return given, given
    if not recipe.probabilistic:
        return mae, mae
    return (squared_error_beside_nll(recipe.scale_weight) if recipe.scale_weight else laplace_nll), laplace_nll


def _shown(progress: Listener | Literal[False] | None, group: Team) -> AbstractContextManager[Listener]:
    if group.leads and progress is None and sys.stderr.isatty():
        return Bar()
    return nullcontext(progress if group.leads and callable(progress) else lambda step: None)


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
                f"The {name} patches are {lengths(source.shape)} pixels, but this network needs multiples "
                f"of {lengths(recipe.step)}. Cut patches of another shape, or choose a smaller depth."
            )


def _run(setup: Setup, resume: bool, overwrite: bool, listener: Listener) -> Ensemble:
    finished, history = _open(setup, resume, overwrite)
    left = range(len(finished), setup.members)
    seconds = None if setup.minutes is None else 60 * setup.minutes
    learning = None if seconds is None else (1 - MEASURING) * seconds
    apart = setup.shared != (None, None) and len(left) > 0
    trained = (
        side_by_side(setup, left, learning) if apart else _in_turn(setup, left, learning, history, listener, resume)
    )
    for network, rows in trained:
        if apart and setup.folder:
            files.write_member(setup.folder, len(finished), network.state_dict())
        finished.append(network)
        history += rows
        setup.write(len(finished), setup.facts(len(finished), history))
        if setup.folder and setup.team.leads:
            (setup.folder / files.UNFINISHED).unlink(missing_ok=True)
    looking = None if seconds is None else MEASURING * seconds
    ensemble = Ensemble(setup.recipe, tuple(finished))
    known = measured(ensemble, setup.check, setup.patches, VOXELS, looking)
    facts = setup.facts(len(finished), history, known)
    setup.write(len(finished), facts)
    return replace(ensemble, facts=facts)


def _in_turn(
    setup: Setup, numbers: range, seconds: float | None, history: list[dict[str, Any]], listener: Listener, resume: bool
) -> Iterator[Trained]:
    """One member after the other; `history` grows meanwhile. Each has its part of the `seconds` that are left."""
    for number in numbers:
        spent = sum(max(row["seconds"] for row in history if row["member"] == n) for n in range(number))
        budget = None if seconds is None else (seconds - spent) / (setup.members - number)
        yield Member(setup, number, budget, history, listener).train(resume and number == numbers[0])


def _open(setup: Setup, resume: bool, overwrite: bool) -> tuple[list[Network], list[dict[str, Any]]]:
    """Members that an earlier run finished, with their history; an empty folder otherwise."""
    folder = setup.folder
    if folder is None:
        return [], []
    if resume and files.is_model(folder):
        before = files.read_description(folder).facts
        count, now = before.finished, setup.facts(before.finished, [])
        if count > setup.members:
            raise TrainingError(f"'{folder}' has {count} trained members already, more than {setup.members}.")
        changed = {name for name in setup.identity if before.training.get(name) != now.training[name]}
        images = ("low", "high", "voxel_size", "time_step")
        changed |= {name for name in images if getattr(before, name) != getattr(now, name)}
        if changed:
            raise TrainingError(
                f"'{folder}' was trained with other {', '.join(sorted(changed))}. "
                f"Resume with the same settings and data, or overwrite the model."
            )
        rows = [row for row in before.history if row["member"] < count]
        return files.read_members(folder, setup.recipe, count), rows
    files.refuse_existing(folder, overwrite)
    setup.team.agree(0.0)  # all have looked before one writes
    if setup.team.leads:
        with saving.explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            files.clear(folder)
        setup.write(0, setup.facts(0, []))
    return [], []
