"""veriscope train: from folders of pairs to an ensemble on disk."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from veriscope.apps import console, events, files, options, words
from veriscope.apps.options import option
from veriscope.errors import AxesError, DataError, OutputError, TrainingError
from veriscope.wording import listed

if TYPE_CHECKING:
    from veriscope.networks.model import Ensemble
    from veriscope.networks.recipe import Recipe
    from veriscope.patches.scaling import Word
    from veriscope.training.material import Material
    from veriscope.training.progress import Listener, Step

TASKS = ("restore", "project", "isotropic", "upsample")
NORMALIZE = ("matched", "random", "fixed")
USUAL_MINUTES = 20.0
LOSSES = ("laplace", "mae", "mse")
ISOTROPIC_PRESETS = ("drosophila", "retina", "liver")


@dataclass(frozen=True)
class Length:
    """How many networks, and how long."""

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
        usual = USUAL_MINUTES if self.epochs is None and preset is None else None
        minutes = usual if self.minutes is None else self.minutes
        return {"members": self.members, "minutes": minutes, "epochs": self.epochs}


@dataclass(frozen=True)
class Network:
    """What the networks are, where it differs from the usual."""

    PANEL: ClassVar[str] = "The network"
    preset: str | None = option(
        None,
        "Network and training of the paper: planaria, tribolium, ins1, hela, flywing (projects); drosophila, retina, "
        "liver (for --task isotropic).",
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
        decided = [f"--{name}" for name, value in vars(self).items() if name != "start" and value is not None]
        if decided:
            raise TrainingError(f"--start decides the layers of the network. Remove {listed(decided)}, or --start.")
        from veriscope.sharing.opening import load

        return load(self.start)


@dataclass(frozen=True)
class Training:
    """How they learn, where it differs from the usual."""

    PANEL: ClassVar[str] = "The training"
    loss: str = option(
        "laplace",
        "laplace predicts an uncertainty for each pixel too; mae and mse the image only.",
        "laplace|mae|mse",
    )
    batch: int | None = option(None, "Patches per step.")
    learning_rate: float | None = option(None, "Highest learning rate.")


@dataclass(frozen=True)
class Patches:
    """How patches are cut from the images."""

    PANEL: ClassVar[str] = "The patches"
    patch: str | None = option(None, "Such as 128,128 or 16,64,64.", "SIZE")
    per_image: int = option(32, "Patches from each image in one epoch.")
    foreground: float = option(
        0.4, "A patch counts when its truth exceeds this part of the brightest signal; 0: patches from everywhere."
    )
    normalize: str | None = option(
        None,
        "What becomes 0 and 1. matched (usual): percentiles 2 and 99.8 of LOW, with HIGH brought to its grey values. "
        "random (usual for presets, projections, and where HIGH has other channels): percentiles of each, drawn for "
        "each patch. fixed: 2 and 99.8 of each.",
        "matched|random|fixed",
    )

    def word(self) -> Word | None:
        """The way to normalise. Raises TrainingError for an unknown one."""
        if self.normalize in (None, *NORMALIZE):
            return self.normalize  # type: ignore[return-value]
        raise TrainingError(f"--normalize {self.normalize} is not known. Choose one of {', '.join(NORMALIZE)}.")


@dataclass(frozen=True)
class Axial:
    """What the microscope does along Z, and how much finer HIGH is."""

    PANEL: ClassVar[str] = "Tasks isotropic and upsample"
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

    def check(self, task: str, normalize: str | None) -> None:
        """Raise TrainingError for options of another task."""
        given = listed(f"--{name}" for name in ("psf", "subsample", "noise") if getattr(self, name) is not None)
        finer = "--factor" if self.factor is not None else ""
        for options_given, needed in ((given, "isotropic"), (finer, "upsample")):
            if options_given and task != needed:
                raise TrainingError(
                    f"{options_given} can only be given for --task {needed}. Remove {options_given}, or add --task "
                    f"{needed}."
                )
        if task == "isotropic" and normalize is not None:
            raise TrainingError(
                "--normalize is not for --task isotropic, where both images of a pair have the same grey values. "
                "Remove it."
            )


def train(
    low: Annotated[
        Path,
        typer.Argument(
            metavar="LOW",
            help="Folder of low-light images, or one file. Without HIGH: stacks for --task isotropic, a file of "
            "patches (.npz), or a folder with GT and a folder for each condition in it.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL", help="Folder to write the model to.")],
    high: Annotated[
        Path | None,
        typer.Argument(
            metavar="HIGH",
            help="Folder of the same fields in good quality, with the same names, or one file.",
            callback=_high_where_needed,
        ),
    ] = None,
    axes: options.PairAxes = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="restore|project|isotropic|upsample",
            help="restore: from LOW to HIGH (usual). project: from stacks to the surface in them, where HIGH has one "
            "plane for each stack (noticed by itself). isotropic: from stacks alone, to look as sharp along Z as along "
            "X and Y. upsample: HIGH has more pixels than LOW.",
        ),
    ] = None,
    check: Annotated[float, typer.Option(help="Fraction of the images kept aside to check the training.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Same seed, same result (on a CPU).")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at --out.")] = False,
    device: options.Device = None,
    *,
    length: Length,
    network: Network,
    training: Training,
    cut: Patches,
    axial: Axial,
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
    """
    normalize, changes, settings = cut.word(), _changes(network, training), length.settings(network.preset)
    does = _task(task, network.preset)
    axial.check(does, normalize)
    if (patch := words.sizes("--patch", cut.patch)) is not None:
        changes["patch"] = patch
    _check_place(out, resume, overwrite)

    from veriscope.training import losses, material
    from veriscope.training.loop import MEMBERS
    from veriscope.training.loop import train as train_ensemble
    from veriscope.training.stacks import Degrading

    start = network.model()
    if settings["members"] is None:
        settings["members"] = MEMBERS if start is None else len(start)
    degrading = Degrading(axial.psf, axial.subsample, words.noise(axial.noise))
    found = material.read_material(does, low, high, words.axes_of_pairs(axes), degrading, words.factors(axial.factor))
    _check(found, task, low, {"--patch": cut.patch, "--normalize": normalize})
    recipe = _recipe(found, network.preset, changes, start)
    cutting = material.Cutting(cut.per_image, cut.foreground, normalize, seed)
    ready = material.prepare(found, recipe, check, cutting, [*changes, *([material.STARTED] if start else [])])
    for note in ready.notes:
        console.note(note)
    console.facts(found.title, ready.found)
    console.facts("Plan", _plan(ready.recipe, out, network.start, **settings))
    try:
        with files.no_empty_folder(out), training_progress() as bar:
            ensemble = train_ensemble(
                ready.recipe,
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
                progress=bar,
            )
    except KeyboardInterrupt:
        if not out.exists():
            raise console.Stopped("nothing had been learned yet, so nothing was left behind.") from None
        kept = any(out.glob("member-*.safetensors"))
        best = f"The best weights so far are in {out}" if kept else f"No weights had been checked yet in {out}"
        raise console.Stopped(f"{best}; continue with --resume added to the same command.") from None
    scores = {name.replace("_", " "): words.number(value) for name, value in ensemble.facts.scores.items()}
    console.facts("Result", {"model": str(out), **scores})
    if events.on():
        console.written({"model": out})
    calibration = words.calibration(ensemble.facts)
    if calibration:
        console.facts("Calibration", calibration)
    console.show("\nNow restore images with it, or judge it on pairs that it has not seen:")
    console.show(f"  veriscope restore IMAGES --model {out} --out restored")
    console.show(f"  veriscope judge LOW HIGH --model {out} --report report.html")


def _changes(network: Network, training: Training) -> dict[str, Any]:
    """Fields of the recipe that were chosen. Raises TrainingError for an unknown loss."""
    if training.loss not in LOSSES:
        raise TrainingError(f"--loss {training.loss} is not known. Choose one of {', '.join(LOSSES)}.")
    chosen = {name: value for name, value in {**vars(network), **vars(training)}.items() if value is not None}
    del chosen["loss"]
    chosen = {name: value for name, value in chosen.items() if name not in ("preset", "start")}
    return chosen | {"probabilistic": training.loss == "laplace"}


def _high_where_needed(context: typer.Context, high: Path | None) -> Path | None:
    """HIGH, once it is known that it is not needed, or there."""
    known = context.params  # options that were typed come before arguments that were not
    if high is None and not context.resilient_parsing and _task(known.get("task"), known.get("preset")) != "isotropic":
        from veriscope.training.material import needs_high

        if known.get("low") is None or needs_high(Path(known["low"])):
            raise TrainingError(
                "HIGH is missing: training learns from pairs, LOW and HIGH, or from a file of patches (.npz), or from "
                "a folder with GT and conditions in it. To make stacks isotropic without a second image add --task "
                "isotropic. See: veriscope train --help"
            )
    return high


def _task(task: str | None, preset: str | None) -> str:
    """The task that was typed, or else that of the preset."""
    if task is not None and task not in TASKS:
        raise TrainingError(f"--task {task} is not known. Choose one of {', '.join(TASKS)}.")
    usual = "isotropic" if preset in ISOTROPIC_PRESETS else "restore"
    if preset is not None and task is not None and (task == "isotropic") != (usual == "isotropic"):
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
        raise DataError(f"The patches in {material.path} are cut and normalised. Remove {listed(given)}.")
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

    settings = material.settings()
    if start is not None:
        patch = {name: changes[name] for name in changes if name == "patch"}
        usual = Recipe(**settings, **{**changes, "patch": ()})
        return usual.starting_from(start.recipe).change(**patch)
    if preset is None:
        if "patch" in changes and "depth" not in changes:
            usual = Recipe(**settings, **{**changes, "patch": ()})
            changes = {**changes, "depth": _depth_for(usual, changes["patch"])}
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


def _depth_for(recipe: Recipe, patch: tuple[int, ...]) -> int:
    """How often patches of this size can be halved, up to the usual depth; the usual one where they cannot at all."""
    for depth in range(recipe.depth, 0, -1):
        if not any(length % step for length, step in zip(patch, recipe.change(depth=depth).step, strict=False)):
            return depth
    return recipe.depth


def _plan(
    recipe: Recipe, out: Path, start: Path | None, members: int, minutes: float | None, epochs: int | None
) -> dict[str, str]:
    length = f"{minutes:g} minutes in all" if minutes is not None else f"{epochs or recipe.epochs} epochs each"
    return {
        **words.task(recipe),
        "network": f"{words.network(recipe)}, depth {recipe.depth}, kernel {recipe.kernel}, base {recipe.base}",
        **({} if start is None else {"starts from": str(start)}),
        "patches": f"{words.times(recipe.patch)}, {recipe.batch} per step",
        "members": f"{members}, {length}",
        "model": str(out),
    }
