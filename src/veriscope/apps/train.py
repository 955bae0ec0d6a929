"""veriscope train: from folders of pairs to an ensemble on disk."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from veriscope.apps import console, files, words
from veriscope.errors import AxesError, OutputError, TrainingError

if TYPE_CHECKING:
    from veriscope.images.pairing import Pairs
    from veriscope.networks.recipe import Recipe
    from veriscope.training.progress import Listener, Report

NORMALIZE = ("matched", "random", "fixed")
TASKS = ("restore", "project")
USUAL_MINUTES = 20.0
LOSSES = ("laplace", "mae", "mse")
NETWORK, TRAINING, PATCHES = "The network", "The training", "The patches"


def train(
    low: Annotated[Path, typer.Argument(metavar="LOW", help="Folder of images with little light, or one file.")],
    high: Annotated[
        Path,
        typer.Argument(metavar="HIGH", help="Folder of the same fields in good quality, named alike, or one file."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL", help="Folder to write the model to.")],
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="AXES",
            help="Axes of the files, such as YX, ZYX, SCYX, or ZYX,YX where those of LOW and HIGH differ; taken from "
            "the files if left out.",
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
            help="Network and training of the paper: planaria, tribolium, ins1, hela, retina or flywing.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="restore|project",
            help="project: from stacks to the surface in them, where HIGH has one plane for each stack of LOW. Noticed "
            "by itself.",
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
            "values. random (the paper, presets, and projections): percentiles of each, drawn for each patch. fixed: 2 "
            "and 99.8 of each.",
        ),
    ] = None,
) -> None:
    """Train an ensemble of networks on pairs of images, and write it to a folder.

    LOW and HIGH are folders whose files have the same names, or two files; the axis S in a file means samples. The best
    weights so far are always on disk. Ctrl-C stops and keeps them; the same command with --resume goes on.

    Examples:
    veriscope train low high --axes ZYX --out model --minutes 20
    veriscope train low high --axes YX --out model --members 1 --epochs 100
    veriscope train low high --axes ZYX --out model --preset planaria
    veriscope train stacks surfaces --out model
    """
    words.positive("--members", members)
    words.positive("--minutes", minutes)
    words.positive("--epochs", epochs)
    words.positive("--per-image", per_image)
    words.share("--check", check, 0.1)
    if normalize not in (None, *NORMALIZE):
        raise TrainingError(f"--normalize {normalize} is not known. Choose one of {', '.join(NORMALIZE)}.")
    if task not in (None, *TASKS):
        raise TrainingError(f"--task {task} is not known. Choose one of {', '.join(TASKS)}.")
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

    from veriscope.images.pairing import read_pairs

    pairs = read_pairs(low, high, axes=words.axes_of_pairs(axes))
    patch_shape = words.sizes("--patch", patch)
    if task is None and pairs[0].projects:
        console.note("HIGH has one plane for each stack of LOW, so the networks learn to project (--task project).")
    _check_task(task, pairs, low, high)
    recipe = _recipe(
        pairs,
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

    if patch is None:
        recipe = fitting(recipe, pairs)

    from veriscope.patches.patches import cut_patches
    from veriscope.training import losses
    from veriscope.training.loop import train as train_ensemble

    training, checking = _split(pairs, check, recipe.patch, seed)
    console.facts("Pairs", _found(pairs, len(training), len(checking)))
    console.facts("Plan", _plan(recipe, members, minutes, epochs, out))
    cut: dict[str, Any] = {
        "shape": recipe.patch,
        "per_image": per_image,
        "seed": seed,
        "foreground": foreground or None,
        "normalize": normalize or usual_normalize(recipe, preset is not None),
    }
    patches, check_patches = cut_patches(training, **cut), cut_patches(checking, **cut)
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


def fitting(recipe: Recipe, pairs: Pairs) -> Recipe:
    """The recipe with patches that fit into the smallest image, where those it came with do not."""
    smallest = [min(pair.low.size(letter) for pair in pairs) for letter in recipe.axes_out]
    patch = tuple(
        min(length, size // step * step) for length, size, step in zip(recipe.patch, smallest, recipe.step, strict=True)
    )
    if patch == recipe.patch or not all(patch):
        return recipe
    console.note(f"patches are {words.times(patch)}, so that they fit into the smallest image.")
    return recipe.change(patch=patch)


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


def _split(pairs: Pairs, share: float, patch: tuple[int, ...], seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to train on and to check with. A single image is cut in two, with room for a patch in the smaller part."""
    if len(pairs) == 1:
        image = pairs[0].low
        length, width = max((image.size("Y"), patch[-2]), (image.size("X"), patch[-1]))
        if width > round(share * length) and 2 * width <= length:
            share = width / length
            console.note(f"there is one pair only, so {100 * share:.0f} % of its field are kept aside for checking.")
    training, checking, _ = pairs.split(check=share, test=0, seed=seed)
    return training, checking


def _check_task(task: str | None, pairs: Pairs, low: Path, high: Path) -> None:
    """Whether the images are such that networks can learn what was asked for."""
    stack, plane = pairs[0].low, pairs[0].high
    if task == "project" and not pairs[0].projects:
        raise TrainingError(
            f"--task project needs stacks and for each one plane, but {low} has {stack.size('Z')} and {high} "
            f"{plane.size('Z')} planes in Z. Give flat images in {high}, or leave out --task."
        )
    if task == "restore" and pairs[0].projects:
        raise TrainingError(
            f"--task restore needs the same planes in both, but {low} has {stack.size('Z')} and {high} has one. "
            f"Give stacks in {high}, or leave out --task to project."
        )


def _recipe(pairs: Pairs, preset: str | None, changes: dict[str, Any]) -> Recipe:
    from veriscope.networks.recipe import Recipe

    first = pairs[0]
    axes = "ZYX" if first.low.size("Z") > 1 else "YX"
    task = "project" if first.projects else "restore"
    given = {name: value for name, value in changes.items() if value is not None}
    if preset is None:
        return Recipe(axes=axes, task=task, channels_in=first.low.size("C"), channels_out=first.high.size("C"), **given)
    recipe = Recipe.paper(preset, **given)
    if recipe.axes != axes:
        raise AxesError(
            f"--preset {preset} is a network for {recipe.axes}, but these images have {axes}. "
            "Choose another preset, or leave it out."
        )
    if recipe.task != task:
        what = {"project": "stacks with one plane for each", "restore": "images of the same planes"}
        raise AxesError(
            f"--preset {preset} is a network for {what[recipe.task]}, but these are {what[task]}. "
            "Choose another preset, or leave it out."
        )
    channels = {"channels_in": first.low.size("C"), "channels_out": first.high.size("C")}
    return recipe.change(residual=channels["channels_in"] == channels["channels_out"], **channels)


def _found(pairs: Pairs, training: int, checking: int) -> dict[str, str]:
    low, high = pairs[0].low, pairs[0].high
    shapes = {pair.low.shape for pair in pairs}
    size = words.times(low.shape) if len(shapes) == 1 else f"{len(shapes)} different sizes"
    found = {
        "found": f"{len(pairs)} ({training} to train, {checking} to check)",
        "axes": low.axes,
        "size": size,
        "type": f"{low.dtype} -> {high.dtype}",
    }
    if low.size("C") > 1 or high.size("C") > 1:
        found["channels"] = f"{low.size('C')} -> {high.size('C')}"
    sizes = [low.voxel(letter) for letter in low.spatial_axes]
    found["voxel"] = "unknown" if None in sizes else f"{words.times([f'{size:g}' for size in sizes])} um"
    return found


def usual_normalize(recipe: Recipe, as_the_paper: bool = False) -> str:
    """Matched where low and high have the same pixels and channels, unless all shall be as in the paper."""
    alike = recipe.channels_in == recipe.channels_out and not recipe.projects
    return "matched" if alike and not as_the_paper else "random"


def _plan(recipe: Recipe, members: int, minutes: float | None, epochs: int | None, out: Path) -> dict[str, str]:
    length = f"{minutes:g} minutes in all" if minutes is not None else f"{epochs or recipe.epochs} epochs each"
    return {
        "network": f"{words.network(recipe)}, depth {recipe.depth}, kernel {recipe.kernel}, base {recipe.base}",
        "patches": f"{words.times(recipe.patch)}, {recipe.batch} per step",
        "members": f"{members}, {length}",
        "model": str(out),
    }
