"""veriscope simulate planaria, tribolium, ...: a whole experiment of the paper with known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from veriscope.apps import console, files, words
from veriscope.apps.options import REQUIRED, option
from veriscope.images.conditions import TRAINING
from veriscope.simulate.standins import INPUT, SCALES, STANDINS, StandIn


def commands() -> Iterator[tuple[str, Callable[..., None]]]:
    """Name and function of a command for each stand-in."""
    for name, stand in STANDINS.items():
        yield name, _command(name, stand)


def _command(name: str, stand: StandIn) -> Callable[..., None]:
    def run(
        out: Path = option(REQUIRED, "New folder for the images.", "DIR", "--out", "-o"),
        seed: int = option(0, "Same seed, same files, bit by bit."),
        scale: str = option(
            "small", "tiny: to try. small: for two cores. paper: as large as the images of the paper.", "|".join(SCALES)
        ),
        overwrite: bool = option(False, "Replace an earlier simulation."),
        dry_run: bool = option(False, "Show what would be written, and write nothing."),
    ) -> None:
        _simulate(name, out, seed, scale, overwrite, dry_run)

    voxel = words.times(f"{size:g}" for size in stand.voxel_size)
    light = f", at {len(stand.levels)} levels of light" if stand.levels else ""
    run.__doc__ = f"""{stand.about[0].upper()}{stand.about[1:]}.

    Voxels of {voxel} um{light}. Writes train_data and test_data, with a folder for each kind of image (GT is the truth)
    and one of parameters: all that chance decided.

    Examples:
    veriscope simulate {name} --out {name}
    veriscope simulate {name} --out tiny --scale tiny --seed 1
    veriscope train {_material(stand, Path(name))} --out model
    veriscope judge {name} --model model
    """
    return run


def _simulate(name: str, out: Path, seed: int, scale: str, overwrite: bool, dry_run: bool) -> None:
    from veriscope.simulate import experiments

    stand = experiments.standin(name)
    counts = stand.fields[experiments.checked_scale(scale)]
    experiments.refuse_existing(out, overwrite)
    if dry_run:
        plan = {
            "for training": f"{counts[0]} fields of {words.times(counts[1])} voxels",
            "for judging": f"{counts[2]} fields of {words.times(counts[3])} voxels",
            "kinds": ", ".join(stand.conditions),
            "folder": str(out),
        }
        console.facts("Plan (nothing is written)", plan)
        return
    with files.no_empty_folder(out), console.bar(f"Simulating {name}") as progress:
        experiments.simulate(name, out, seed, scale, overwrite, progress)
    console.show(f"{name}: {counts[0]} fields for training and {counts[2]} for judging in {out}")
    console.show(f"  veriscope train {_material(stand, out)} --out MODEL")
    console.show(f"  veriscope judge {out} --model MODEL")


def _material(stand: StandIn, out: Path) -> str:
    """What veriscope train learns from these images."""
    if stand.subsample == 1:
        return str(out)
    return f"{out / TRAINING / INPUT} --task isotropic --psf {stand.optics.psf}"
