"""veriscope simulate movie: an epithelium over time, bleaching, in which every cell is known by its number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veriscope.apps import console, files, words
from veriscope.errors import VeriscopeError


def movie(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="New folder for the movie.")],
    frames: Annotated[int, typer.Option(metavar="N", help="Time points.")] = 20,
    size: Annotated[str, typer.Option(metavar="SIZE", help="Voxels of a stack, Z,Y,X.")] = "50,192,192",
    photons: Annotated[float, typer.Option(help="Where a membrane is bright, in the first frame.")] = 30.0,
    bleach: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Frames until 37 % of the light are left; without it the light stays.", show_default=False
        ),
    ] = None,
    drift: Annotated[float | None, typer.Option(metavar="UM", help="Drift of all cells from frame to frame.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same files, bit by bit.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier simulation.")] = False,
) -> None:
    """A wing epithelium over time: cells flow through the field while the light bleaches.

    Voxels of 1 x 0.25 x 0.25 um. Writes low (stacks), high (the membranes laid flat, with full light), labels (a cell
    keeps its number) and height, each as one movie, and all that chance decided. Made to see how long a restoration
    still tells the cells apart, and whether they can be followed.

    Examples:
    veriscope simulate movie --out wing --frames 20 --bleach 8
    veriscope restore wing/low.ome.tif --model flywing-model --out wing-flat.ome.tif
    veriscope segment wing-flat.ome.tif --smooth 2 --cells 0.02 --track --truth wing/labels.ome.tif
    """
    from veriscope.simulate import experiments
    from veriscope.simulate.flow import Flow
    from veriscope.simulate.movie import WingMovie

    shape = words.sizes("--size", size)
    if shape is None or len(shape) != 3:
        raise VeriscopeError(f"--size {size} is not the size of a stack. Give three lengths, such as 50,192,192.")
    flow = Flow() if drift is None else Flow(drift_um=(drift, drift))
    wing = WingMovie(frames=frames, photons=photons, bleach=bleach, flow=flow)
    with files.no_empty_folder(out), console.bar("Simulating") as progress:
        experiments.simulate_movie(wing, out, shape, seed, overwrite, progress)
    console.show(f"{frames} frames of {words.times(shape)} voxels in {out}")
    console.show(f"  veriscope restore {out / 'low.ome.tif'} --model MODEL --out {out}-flat.ome.tif")
    console.show(f"  veriscope project {out / 'low.ome.tif'} --out {out}-maximum.ome.tif")
    console.show(
        f"  veriscope segment {out}-flat.ome.tif {out}-maximum.ome.tif --smooth 2 --cells 0.02 --track "
        f"--truth {out / 'labels.ome.tif'}"
    )
