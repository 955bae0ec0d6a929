"""veriscope train: from folders of pairs to an ensemble on disk."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import typer

from veriscope import saving, wording
from veriscope.apps import console, events, files, options, words
from veriscope.apps.options import ONE_OF, REQUIRED, argument, option
from veriscope.errors import AxesError, DataError, OutputError, TrainingError

if TYPE_CHECKING:
    from veriscope.networks.model import Ensemble
    from veriscope.networks.recipe import Recipe
    from veriscope.training.material import Material
    from veriscope.training.progress import Listener, Step

ALONE = ("isotropic", "noisy")  # tasks that need no HIGH
UNCHANGING = ("preset", "start", "loss", "watch", "log")  # options that are no fields of the recipe
ISOTROPIC_PRESETS = ("drosophila", "retina", "liver")
USUAL_MINUTES = 20.0
OWN = (None, "fast")  # presets with the training of this package, not that of the paper


@dataclass(frozen=True)
class Length:
    members: int | None = option(None, "Networks in the ensemble. By default 5, with --start as many as it has.")
    minutes: float | None = option(
        None,
        "Time for the whole ensemble; everything is planned to fit it. 20 if neither this nor --epochs is given "
        "(presets: the epochs of the paper).",
    )
    epochs: int | None = option(None, "Passes over the patches instead of a time.")

    def settings(self, preset: str | None) -> dict[str, Any]:
        """As keywords of `train`. Raises TrainingError for two lengths."""
        if self.minutes is not None and self.epochs is not None:
            raise TrainingError("--minutes and --epochs both say how long to train. Give one of them.")
        usual = USUAL_MINUTES if self.epochs is None and preset in OWN else None
        minutes = usual if self.minutes is None else self.minutes
        return {"members": self.members, "minutes": minutes, "epochs": self.epochs}


@dataclass(frozen=True)
class Network:
    PANEL: ClassVar[str] = "The network"
    preset: str | None = option(
        None,
        "fast: a smaller network, for large images. Network and training of the paper: planaria, tribolium, ins1, "
        "hela, flywing (projects); drosophila, retina, liver (for --task isotropic).",
    )
    depth: int | None = option(None, "Times the image is halved.")
    base: int | None = option(None, "Channels at the top level.")
    kernel: int | None = option(None, "Width of the convolutions, odd.")
    stem: int | None = option(None, "Fold so many x so many pixels into channels: faster, a little less fine.")
    start: Path | None = option(
        None,
        "Model to start from, with its layers, at a third of the learning rate: a folder of veriscope or csbdeep.",
        "MODEL",
    )

    def model(self) -> Ensemble | None:
        """The one to start from. Raises TrainingError for options that it decides, ModelError."""
        if self.start is None:
            return None
        typed = [f"--{name}" for name, value in vars(self).items() if value is not None and name != "start"]
        if decided := wording.listed(typed):
            raise TrainingError(f"--start decides the layers of the network. Remove {decided}, or --start.")
        from veriscope.sharing.opening import load

        return load(self.start)


@dataclass(frozen=True)
class Training:
    PANEL: ClassVar[str] = "The training"
    loss: Literal["laplace", "mae", "mse"] = option(
        "laplace",
        "laplace predicts an uncertainty for each pixel too; mae and mse the image only.",
        advice=ONE_OF,
        error=TrainingError,
    )
    batch: int | None = option(None, "Patches per step.")
    watch: bool = option(False, "Write a page of losses and check patches beside the model, which refreshes itself.")
    log: Literal["tensorboard"] | None = option(
        None,
        "Write losses and check patches for TensorBoard beside the model.",
        advice="Write --log tensorboard, or remove it.",
        error=TrainingError,
    )
    learning_rate: float | None = option(None, "Highest learning rate.")


@dataclass(frozen=True)
class Patches:
    PANEL: ClassVar[str] = "The patches"
    patch: str | None = option(None, "Such as 128,128 or 16,64,64.", "SIZE")
    per_image: int = option(32, "Patches from each image in one epoch.")
    foreground: float = option(
        0.4, "A patch counts when its truth exceeds this part of the brightest signal; 0: patches from everywhere."
    )
    normalize: Literal["matched", "random", "fixed"] | None = option(
        None,
        "What becomes 0 and 1. matched (usual): percentiles 2 and 99.8 of LOW, with HIGH brought to its grey values. "
        "random (usual for presets, projections, and where HIGH has other channels): percentiles of each, drawn for "
        "each patch. fixed: 2 and 99.8 of each.",
        advice=ONE_OF,
        error=TrainingError,
    )


@dataclass(frozen=True)
class Axial:
    """What the microscope does along Z, and how much finer HIGH is."""

    PANEL: ClassVar[str] = "Tasks isotropic, upsample and noisy"
    psf: str | None = option(
        None,
        "How the microscope blurs: gaussian:na=1.1, widefield:na=0.8, confocal:na=1.05, a bead image or none.",
        "PSF",
    )
    subsample: float | None = option(
        None, "Distance of planes in pixels, such as 5 or 10.2; by default from the voxel size.", "N"
    )
    noise: str | None = option(
        None, "Noise to add, in grey values: gain=2,read=5,offset=100. By default none.", "NOISE"
    )
    factor: str | None = option(
        None,
        "For --task upsample: how many times as many pixels HIGH has, Z=4 or Y=2,X=2; by default from the sizes.",
        "FACTORS",
    )

    neighbours: str | None = option(
        None,
        "For --task noisy: learn from the next time point or plane, where hardly anything changes between them.",
        "T|Z",
    )
    stripes: str | None = option(
        None, "For --task noisy: the axis along which noise runs, as in lines of a scanner or camera.", "X|Y"
    )

    def check(self, task: str, normalize: str | None) -> None:
        """Raise TrainingError for options of another task."""
        of_tasks = {
            "isotropic": ("psf", "subsample", "noise"),
            "upsample": ("factor",),
            "noisy": ("neighbours", "stripes"),
        }
        for needed, names in of_tasks.items():
            given = wording.listed(f"--{name}" for name in names if getattr(self, name) is not None)
            if given and task != needed:
                raise TrainingError(
                    f"{given} can only be given for --task {needed}. Remove {given}, or add --task {needed}."
                )
        if task in ("isotropic", "noisy") and normalize is not None:
            raise TrainingError(
                f"--normalize is not for --task {task}, where both images of a pair have the same grey values. "
                f"Remove it."
            )


def _high_where_needed(context: typer.Context, high: Path | None) -> Path | None:
    """HIGH, once it is known that it is not needed, or there."""
    known = context.params  # options that were typed come before arguments that were not
    if high is None and _task(known.get("task"), known.get("preset")) not in ALONE:
        from veriscope.training.material import needs_high

        if known.get("low") is None or needs_high(Path(known["low"])):
            raise TrainingError(
                "HIGH is missing: training learns from pairs, LOW and HIGH, or from a file of patches (.npz), or from "
                "a folder with GT and conditions in it. To make stacks isotropic without a second image add --task "
                "isotropic, to learn from noisy images alone --task noisy. See: veriscope train --help"
            )
    return high


def train(
    low: Path = argument(
        "Folder of low-light images, or one file. Without HIGH: images for --task isotropic or noisy, a file "
        "of patches (.npz), or a folder with GT and a folder for each condition in it.",
        "LOW",
    ),
    out: Path = option(REQUIRED, "Folder to write the model to.", "MODEL", "--out", "-o"),
    high: Path | None = argument(
        "Folder of the same fields in good quality, with the same names, or one file.",
        "HIGH",
        None,
        callback=_high_where_needed,
    ),
    axes: str | None = options.PAIR_AXES,
    task: Literal["restore", "project", "isotropic", "upsample", "noisy"] | None = option(
        None,
        "restore: from LOW to HIGH (usual). project: from stacks to the surface in them, where HIGH has one "
        "plane for each stack (noticed by itself). isotropic: from stacks alone, to look as sharp along Z as along "
        "X and Y. upsample: HIGH has more pixels than LOW. noisy: from noisy images alone; HIGH is a second noisy "
        "image of each field, or missing.",
        advice=ONE_OF,
        error=TrainingError,
    ),
    check: float = option(0.1, "Fraction of the images kept aside to check the training."),
    seed: int = option(0, "Same seed, same result (on a CPU)."),
    resume: bool = option(False, "Continue an interrupted training."),
    overwrite: bool = option(False, "Replace the model at --out."),
    device: str | None = options.DEVICE,
    *,
    length: Length,
    network: Network,
    training: Training,
    cut: Patches,
    axial: Axial,
    who: options.Workers,
) -> None:
    """Train an ensemble of networks on pairs of images, and write it to a folder.

    LOW and HIGH are folders whose files have the same names, or two files; the axis S in a file means samples. A
    published data set, a folder with train_data in it, is LOW alone. The best weights so far are always on disk. Ctrl-C
    stops and keeps them; the same command with --resume continues.

    Examples:
    veriscope train low high --axes ZYX --out model --minutes 20
    veriscope train low high --axes YX --out model --members 1 --epochs 100
    veriscope train low high --axes ZYX --out model --preset planaria
    veriscope train low high --axes ZYX --out model --start nuclei.veriscope --minutes 2
    veriscope train stacks surfaces --out model
    veriscope train train_data/data_label.npz --out model
    veriscope train stack.tif --task isotropic --psf gaussian:na=1.1 --out model
    veriscope train coarse fine --task upsample --factor Z=4 --out model
    veriscope train noisy --task noisy --out model
    """
    changes, settings = _changes(network, training, cut), length.settings(network.preset)
    does = _task(task, network.preset)
    axial.check(does, cut.normalize)
    _check_place(out, resume, overwrite)

    from veriscope.training import losses, material
    from veriscope.training.loop import MEMBERS
    from veriscope.training.loop import train as train_ensemble
    from veriscope.training.noisy import read_noisy
    from veriscope.training.progress import several
    from veriscope.training.stacks import Degrading

    start = network.model()
    if settings["members"] is None:
        settings["members"] = MEMBERS if start is None else len(start)
    degrading = Degrading(axial.psf, axial.subsample, words.noise(axial.noise))
    found: material.Material
    if does == "noisy":
        found = read_noisy(low, high, axes, axial.neighbours, axial.stripes)
    else:
        of_both, finer = words.axes_of_pairs(axes), words.factors(axial.factor)
        found = material.read_material(does, low, high, of_both, degrading, finer)
    _check(found, task, low, {"--patch": cut.patch, "--normalize": cut.normalize})
    cutting = material.Cutting(cut.per_image, cut.foreground, cut.normalize, seed)
    typed = [*changes, *([material.STARTED] if start else [])]
    ready = material.prepare(found, _recipe(found, network.preset, changes, start), check, cutting, typed)
    for note in ready.notes:
        console.note(note)
    console.facts(found.title, ready.found)
    recipe, minutes, epochs = ready.recipe, settings["minutes"], settings["epochs"]
    lasting = f"{minutes:g} minutes in all" if minutes is not None else f"{epochs or recipe.epochs} epochs each"
    plan = {
        **words.task(recipe),
        "network": f"{words.network(recipe)}, depth {recipe.depth}, kernel {recipe.kernel}, base {recipe.base}",
        **({} if start is None else {"starts from": str(network.start)}),
        "patches": f"{wording.lengths(recipe.patch)}, {recipe.batch} per step",
        "members": f"{settings['members']}, {lasting}",
        "model": str(out),
    }
    console.facts("Plan", plan)
    watching = _watching(out, training, resume or overwrite)
    try:
        with files.no_empty_folder(out), training_progress() as bar, ExitStack() as stack:
            pages = [stack.enter_context(one) for one in watching]
            ensemble = train_ensemble(
                recipe,
                ready.patches,
                ready.check,
                **settings,
                seed=seed,
                folder=out,
                loss=None if training.loss == "laplace" else getattr(losses, training.loss),
                start=start,
                resume=resume,
                overwrite=overwrite,
                device=device,
                **vars(who),
                progress=several(bar, *pages),
            )
    except KeyboardInterrupt:
        if not out.exists():
            raise console.Stopped("nothing had been learned yet, so nothing was left behind.") from None
        kept = any(out.glob("member-*.safetensors"))
        best = f"The best weights so far are in {out}" if kept else f"No weights had been checked yet in {out}"
        raise console.Stopped(f"{best}; continue with --resume added to the same command.") from None
    scores = {name.replace("_", " "): wording.number(value) for name, value in ensemble.facts.scores.items()}
    console.facts("Result", {"model": str(out), **scores})
    if events.on():
        console.written({"model": out})
    if calibration := words.calibration(ensemble.facts):
        console.facts("Calibration", calibration)
    if said := words.noisy(ensemble.facts):
        console.note(said)
    console.show("\nNow restore images with it, or judge it on pairs that it has not seen:")
    console.show(f"  veriscope restore IMAGES --model {out} --out restored")
    console.show(f"  veriscope judge LOW HIGH --model {out} --report report.html")


def _changes(network: Network, training: Training, cut: Patches) -> dict[str, Any]:
    """Fields of the recipe that were chosen."""
    from veriscope.networks.recipe import FAST

    typed = {**vars(network), **vars(training), "patch": words.sizes("--patch", cut.patch)}
    chosen = {name: value for name, value in typed.items() if value is not None and name not in UNCHANGING}
    fast = FAST if network.preset == "fast" else {}
    return {**fast, **chosen, "probabilistic": training.loss == "laplace"}


def _task(task: str | None, preset: str | None) -> str:
    """The task that was typed, or else that of the preset."""
    usual = "isotropic" if preset in ISOTROPIC_PRESETS else "restore"
    if preset not in OWN and task is not None and (task == "isotropic") != (usual == "isotropic"):
        raise TrainingError(
            f"--preset {preset} is for --task {usual}, not {task}. Remove one of them, or choose another preset."
        )
    return task or usual


def _check_place(out: Path, resume: bool, overwrite: bool) -> None:
    from veriscope.networks.folder import occupied

    if resume and overwrite:
        raise OutputError("--resume continues the model at --out and --overwrite removes it. Give one of them.")
    if occupied(out) and not (resume or overwrite):
        raise OutputError(
            f"{out} exists already. Choose another --out, continue it with --resume, or replace it with --overwrite."
        )
    if resume and not out.exists():
        raise OutputError(f"There is nothing to resume at {out}. Check --out, or remove --resume to start.")


def _check(material: Material, task: str | None, low: Path, typed: dict[str, Any]) -> None:
    """Whether networks can learn what was asked for from these images; says so where the images decide."""
    from veriscope.training.material import FromPatches

    given = [option for option, value in typed.items() if value is not None]
    if isinstance(material, FromPatches) and given:
        raise DataError(f"The patches in {material.path} are cut and normalised. Remove {wording.listed(given)}.")
    projects = material.settings()["task"] == "project"
    if task == "project" and not projects:
        raise TrainingError(
            f"--task project needs stacks and for each of them one plane, but the truths of {low} have as many planes "
            f"as the stacks. Give flat truths, or remove --task."
        )
    if task == "restore" and projects:
        raise TrainingError(
            f"--task restore needs the same planes in both, but the truths of {low} have one plane for each stack. "
            f"Give stacks, or remove --task to project."
        )
    if task is None and projects:
        console.note("there is one plane for each stack, so the networks learn to project (--task project).")


def _watching(out: Path, training: Training, replace: bool) -> list[Any]:
    """What else listens to the training: a page, or a log for TensorBoard, beside the model."""
    from veriscope.reporting.watch import Page, TensorBoard

    listeners: list[Any] = []
    if training.watch:
        page = Path(f"{out}.watch.html")
        if not replace:
            saving.check_free(page)
        listeners.append(Page(page, f"Training of {out.name}"))
        console.show(f"Open it in a browser: {page.resolve().as_uri()}")
    if training.log:
        listeners.append(TensorBoard(Path(f"{out}.log")))
        console.show(f"Look at it with: tensorboard --logdir {out}.log")
    return listeners


def training_progress() -> AbstractContextManager[Listener]:
    """A bar in a terminal; elsewhere, such as in the log of a cluster, a line each minute; or events."""
    from veriscope.training.progress import Bar

    if events.on():
        meter = events.Meter("Training")
        return nullcontext(lambda step: meter(step.done, 1.0, step.seconds_left, training=step))
    return Bar(console.err) if console.err.is_terminal else nullcontext(LogLines())


@dataclass
class LogLines:
    """Reports a training in lines of text, at most one each `every` seconds."""

    every: float = 60.0
    last: float = field(default_factory=time.monotonic)

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        check = f", check {step.check_loss:.3f}" if step.check_loss is not None else ""
        left = f", {step.seconds_left / 60:.0f} min left" if step.seconds_left is not None else ""
        console.say(
            f"member {step.member + 1} of {step.members}, step {step.step} of {step.steps}{check}, "
            f"{step.patches_per_second:.1f} patches/s{left}"
        )


def _recipe(material: Material, preset: str | None, changes: dict[str, Any], start: Ensemble | None) -> Recipe:
    from veriscope.networks.recipe import Recipe
    from veriscope.training.material import halved_less

    settings = material.settings()
    if preset in OWN:
        usual = Recipe(**settings, **{**changes, "patch": ()})
        patch = {name: value for name, value in changes.items() if name == "patch"}
        if start is not None:
            return usual.starting_from(start.recipe).change(**patch)
        if patch and "depth" not in changes:
            changes = {**changes, "depth": halved_less(usual, patch["patch"], [], whole=True).depth}
        return Recipe(**settings, **changes)
    recipe = Recipe.paper(preset, **changes)
    if recipe.axes != settings["axes"]:
        raise AxesError(
            f"--preset {preset} is a network for {recipe.axes}, but these images have {settings['axes']}. "
            "Choose another preset, or remove it."
        )
    if recipe.task != settings["task"]:
        what = {"project": "stacks with one plane for each", "isotropic": "stacks alone"}
        wanted, found = (what.get(task, "images of the same planes") for task in (recipe.task, settings["task"]))
        raise AxesError(
            f"--preset {preset} is a network for {wanted}, but these are {found}. Choose another preset, or remove it."
        )
    return recipe.change(residual=settings["channels_in"] == settings["channels_out"], **settings)
