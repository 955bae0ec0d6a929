"""veriscope train: from folders of pairs to an ensemble on disk."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veriscope.apps import console, files, words
from veriscope.apps.material import TASKS, Material, check_cutting, check_planes, needs_high, read_material
from veriscope.errors import AxesError, OutputError, TrainingError

if TYPE_CHECKING:
    from veriscope.networks.recipe import Recipe
    from veriscope.training.progress import Listener, Report

NORMALIZE = ("matched", "random", "fixed")
USUAL_MINUTES = 20.0
LOSSES = ("laplace", "mae", "mse")
NETWORK, TRAINING, PATCHES = "The network", "The training", "The patches"
STACKS = "Tasks isotropic and upsample"
ISOTROPIC_PRESETS = ("drosophila", "retina", "liver")


def train(
    low: Annotated[
        Path,
        typer.Argument(
            metavar="LOW",
            help="Folder of images with little light, or one file. Without HIGH: stacks for --task isotropic, a file "
            "of patches (.npz), or a folder with GT and a folder for each condition in it.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL", help="Folder to write the model to.")],
    high: Annotated[
        Path | None,
        typer.Argument(
            metavar="HIGH",
            help="Folder of the same fields in good quality, named alike, or one file.",
            callback=_high_where_needed,
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="AXES",
            help="Axes of the files, such as YX, ZYX, SCYX, or ZYX,YX where those of LOW and HIGH differ; taken from "
            "the files if left out.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="restore|project|isotropic|upsample",
            help="restore: from LOW to HIGH (usual). project: from stacks to the surface in them, where HIGH has one "
            "plane for each stack (noticed by itself). isotropic: from stacks alone, to look as sharp along Z as along "
            "X and Y. upsample: HIGH has more pixels than LOW.",
        ),
    ] = None,
    members: Annotated[int, typer.Option(help="Networks in the ensemble.")] = 5,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Time for the whole ensemble; everything is planned to fit it. 20 if neither this nor --epochs is "
            "given (presets: the epochs of the paper)."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the patches instead of a time.")] = None,
    check: Annotated[float, typer.Option(help="Share of the images kept aside to check the training.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Same seed, same result (on a CPU).")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model at --out.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the fastest if left out.")] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Network and training of the paper: planaria, tribolium, ins1, hela, flywing (projects); drosophila, "
            "retina, liver (for --task isotropic).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Times the image is halved.", rich_help_panel=NETWORK)] = None,
    base: Annotated[int | None, typer.Option(help="Channels at the top level.", rich_help_panel=NETWORK)] = None,
    kernel: Annotated[int | None, typer.Option(help="Width of the convolutions, odd.", rich_help_panel=NETWORK)] = None,
    stem: Annotated[
        int | None,
        typer.Option(
            help="Fold so many x so many pixels into channels: faster, a little less fine.", rich_help_panel=NETWORK
        ),
    ] = None,
    loss: Annotated[
        str,
        typer.Option(
            metavar="laplace|mae|mse",
            help="laplace predicts an uncertainty for each pixel too; mae and mse the image only.",
            rich_help_panel=TRAINING,
        ),
    ] = "laplace",
    batch: Annotated[int | None, typer.Option(help="Patches per step.", rich_help_panel=TRAINING)] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Highest learning rate.", rich_help_panel=TRAINING)
    ] = None,
    patch: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Such as 128,128 or 16,64,64.", rich_help_panel=PATCHES)
    ] = None,
    per_image: Annotated[int, typer.Option(help="Patches from each image in one epoch.", rich_help_panel=PATCHES)] = 32,
    foreground: Annotated[
        float,
        typer.Option(
            help="A patch counts when its truth exceeds this part of the brightest signal; 0: patches from everywhere.",
            rich_help_panel=PATCHES,
        ),
    ] = 0.4,
    normalize: Annotated[
        str | None,
        typer.Option(
            metavar="matched|random|fixed",
            help="What becomes 0 and 1. matched (usual): percentiles 2 and 99.8 of LOW, with HIGH brought to its grey "
            "values. random (usual for presets, projections, and where HIGH has other channels): percentiles of each, "
            "drawn for each patch. fixed: 2 and 99.8 of each.",
            rich_help_panel=PATCHES,
        ),
    ] = None,
    psf: Annotated[
        str | None,
        typer.Option(
            metavar="PSF",
            help="How the microscope blurs: gaussian:na=1.1, widefield:na=0.8, confocal:na=1.05, a bead image or none.",
            rich_help_panel=STACKS,
        ),
    ] = None,
    subsample: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Distance of planes in pixels, such as 5 or 10.2; from the voxel size if left out.",
            rich_help_panel=STACKS,
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="NOISE",
            help="Noise to add, in grey values: gain=2,read=5,offset=100. None if left out.",
            rich_help_panel=STACKS,
        ),
    ] = None,
    factor: Annotated[
        str | None,
        typer.Option(
            metavar="FACTORS",
            help="For --task upsample: how many times as many pixels HIGH has, Z=4 or Y=2,X=2; from the sizes if left "
            "out.",
            rich_help_panel=STACKS,
        ),
    ] = None,
) -> None:
    """Train an ensemble of networks on pairs of images, and write it to a folder.

    LOW and HIGH are folders whose files have the same names, or two files; the axis S in a file means samples. A
    published data set, a folder with train_data in it, is LOW alone. The best weights so far are always on disk. Ctrl-C
    stops and keeps them; the same command with --resume goes on.

    Examples:
    veriscope train low high --axes ZYX --out model --minutes 20
    veriscope train low high --axes YX --out model --members 1 --epochs 100
    veriscope train low high --axes ZYX --out model --preset planaria
    veriscope train stacks surfaces --out model
    veriscope train train_data/data_label.npz --out model
    veriscope train stack.tif --task isotropic --psf gaussian:na=1.1 --out model
    veriscope train coarse fine --task upsample --factor Z=4 --out model
    """
    if normalize not in (None, *NORMALIZE):
        raise TrainingError(f"--normalize {normalize} is not known. Choose one of {', '.join(NORMALIZE)}.")
    if loss not in LOSSES:
        raise TrainingError(f"--loss {loss} is not known. Choose one of {', '.join(LOSSES)}.")
    if minutes is not None and epochs is not None:
        raise TrainingError("--minutes and --epochs both say how long to train. Give one of them.")
    if minutes is None and epochs is None and preset is None:
        minutes = USUAL_MINUTES
    if resume and overwrite:
        raise OutputError("--resume goes on with the model at --out and --overwrite removes it. Give one of them.")
    if out.exists() and not (resume or overwrite):
        raise OutputError(
            f"{out} exists already. Choose another --out, go on with it by --resume, or replace it with --overwrite."
        )
    if resume and not out.exists():
        raise OutputError(f"There is nothing to resume at {out}. Check --out, or leave --resume out to begin.")

    does = _task(task, preset)
    _check_task(does, {"--psf": psf, "--subsample": subsample, "--noise": noise}, factor, normalize)
    patch_shape = words.sizes("--patch", patch)
    material = read_material(does, low, high, axes, (psf, subsample, noise), factor)
    check_cutting(material, {"--patch": patch, "--normalize": normalize})
    check_planes(task, material, low)
    recipe = _recipe(
        material,
        preset,
        {
            "depth": depth,
            "base": base,
            "kernel": kernel,
            "batch": batch,
            "learning_rate": learning_rate,
            "patch": patch_shape,
            "stem": stem,
            "probabilistic": loss == "laplace",
        },
    )
    typed = [name for name, value in (("patch", patch), ("depth", depth)) if value is not None]
    recipe = material.fitting(recipe, typed)

    from veriscope.training import losses
    from veriscope.training.loop import train as train_ensemble

    cut: dict[str, Any] = {
        "shape": recipe.patch,
        "per_image": per_image,
        "seed": seed,
        "foreground": foreground or None,
        "normalize": normalize or usual_normalize(recipe, preset is not None),
    }
    patches, check_patches, found = material.sources(recipe, check, cut)
    console.facts(material.title, found)
    console.facts("Plan", _plan(recipe, members, minutes, epochs, out))
    try:
        with files.no_empty_folder(out), training_progress() as bar:
            ensemble = train_ensemble(
                recipe,
                patches,
                check_patches,
                members=members,
                epochs=epochs,
                minutes=minutes,
                seed=seed,
                folder=out,
                loss=None if loss == "laplace" else getattr(losses, loss),
                resume=resume,
                overwrite=overwrite,
                device=device,
                progress=bar,
            )
    except KeyboardInterrupt:
        kept = any(out.glob("member-*.safetensors"))
        best = f"The best weights so far are in {out}" if kept else f"No weights had been checked yet in {out}"
        raise console.Stopped(f"{best}; continue with --resume added to the same command.") from None
    scores = {name.replace("_", " "): words.number(value) for name, value in ensemble.facts.get("scores", {}).items()}
    console.facts("Result", {"model": str(out), **scores})
    calibration = words.calibration(ensemble.facts)
    if calibration:
        console.facts("Calibration", calibration)
    console.show("\nNow restore images with it, or judge it on pairs that it has not seen:")
    console.show(f"  veriscope restore IMAGES --model {out} --out restored")
    console.show(f"  veriscope judge LOW HIGH --model {out} --report report.html")


def _high_where_needed(context: typer.Context, high: Path | None) -> Path | None:
    """HIGH, once it is known that it is not needed, or there."""
    known = context.params  # options that were typed come before arguments that were not
    isotropic = _task(known.get("task"), known.get("preset")) == "isotropic"
    low = known.get("low")
    if high is None and not isotropic and not context.resilient_parsing and (low is None or needs_high(Path(low))):
        raise TrainingError(
            "HIGH is missing: training learns from pairs, LOW and HIGH, or from a file of patches (.npz), or from a "
            "folder with GT and conditions in it. To make stacks isotropic without a second image add --task "
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
            f"--preset {preset} is for --task {usual}, not {task}. Leave one of them out, or choose another preset."
        )
    return task or usual


def _check_task(task: str, degrading: dict[str, Any], factor: str | None, normalize: str | None) -> None:
    given = [option for option, value in degrading.items() if value is not None]
    if task != "isotropic" and given:
        raise TrainingError(f"{' and '.join(given)} can only be given for --task isotropic. Leave out, or say so.")
    if task != "upsample" and factor is not None:
        raise TrainingError("--factor can only be given for --task upsample. Leave it out, or say so.")
    if task == "isotropic" and normalize is not None:
        raise TrainingError(
            "--normalize is not for --task isotropic, where both images of a pair have the same grey values. Leave it "
            "out."
        )


def training_progress() -> AbstractContextManager[Listener]:
    """A bar in a terminal; elsewhere, such as in the log of a cluster, a line each minute."""
    from veriscope.training.progress import Bar

    return Bar(console.err) if console.err.is_terminal else nullcontext(Lines())


@dataclass
class Lines:
    """Tells of a training in lines of text, at most one each `every` seconds."""

    every: float = 60.0
    told: float = field(default_factory=time.monotonic)

    def __call__(self, report: Report) -> None:
        now = time.monotonic()
        if now - self.told < self.every:
            return
        self.told = now
        check = f", check {report.check_loss:.3f}" if report.check_loss is not None else ""
        left = f", {report.seconds_left / 60:.0f} min left" if report.seconds_left is not None else ""
        console.say(
            f"member {report.member + 1} of {report.members}, step {report.step} of {report.steps}{check}, "
            f"{report.patches_per_second:.1f} patches/s{left}"
        )


def _recipe(material: Material, preset: str | None, changes: dict[str, Any]) -> Recipe:
    from veriscope.networks.recipe import Recipe

    settings = material.settings()
    given = {name: value for name, value in changes.items() if value is not None}
    if preset is None:
        if "patch" in given and "depth" not in given:
            given["depth"] = _depth_for(Recipe(**settings, **{**given, "patch": ()}), given["patch"])
        return Recipe(**settings, **given)
    recipe = Recipe.paper(preset, **given)
    if recipe.axes != settings["axes"]:
        raise AxesError(
            f"--preset {preset} is a network for {recipe.axes}, but these images have {settings['axes']}. "
            "Choose another preset, or leave it out."
        )
    if recipe.task != settings["task"]:
        what = {"project": "stacks with one plane for each", "isotropic": "stacks alone"}
        wanted, found = (what.get(task, "images of the same planes") for task in (recipe.task, settings["task"]))
        raise AxesError(
            f"--preset {preset} is a network for {wanted}, but these are {found}. Choose another preset, or leave it "
            "out."
        )
    return recipe.change(residual=settings["channels_in"] == settings["channels_out"], **settings)


def _depth_for(recipe: Recipe, patch: tuple[int, ...]) -> int:
    """How often patches of this size can be halved, up to the usual depth; the usual one where they cannot at all."""
    for depth in range(recipe.depth, 0, -1):
        if not any(length % step for length, step in zip(patch, recipe.change(depth=depth).step, strict=False)):
            return depth
    return recipe.depth


def usual_normalize(recipe: Recipe, as_the_paper: bool = False) -> str:
    """Shared where low and high have the same grey values already; matched where they have the same pixels and
    channels, unless all shall be as in the paper.
    """
    if recipe.isotropic:
        return "shared"
    alike = recipe.channels_in == recipe.channels_out and not recipe.projects
    return "matched" if alike and not as_the_paper else "random"


def _plan(recipe: Recipe, members: int, minutes: float | None, epochs: int | None, out: Path) -> dict[str, str]:
    length = f"{minutes:g} minutes in all" if minutes is not None else f"{epochs or recipe.epochs} epochs each"
    return {
        **words.task(recipe),
        "network": f"{words.network(recipe)}, depth {recipe.depth}, kernel {recipe.kernel}, base {recipe.base}",
        "patches": f"{words.times(recipe.patch)}, {recipe.batch} per step",
        "members": f"{members}, {length}",
        "model": str(out),
    }
