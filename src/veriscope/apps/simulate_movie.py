"""veriscope simulate movie: an epithelium over time, bleaching, in which every cell is known by its number."""

from __future__ import annotations

from pathlib import Path

from veriscope.apps import console, files, words
from veriscope.apps.options import REQUIRED, option
from veriscope.errors import VeriscopeError


def movie(
    out: Path = option(REQUIRED, "New folder for the movie.", "DIR", "--out", "-o"),
    frames: int = option(20, "Time points.", "N"),
    size: str = option("50,192,192", "Voxels of a stack, Z,Y,X.", "SIZE"),
    photons: float = option(30.0, "Where a membrane is bright, in the first frame."),
    bleach: float | None = option(
        None, "Frames until 37 % of the light are left; without it the light stays.", "N", show_default=False
    ),
    drift: float | None = option(None, "Drift of all cells from frame to frame.", "UM"),
    seed: int = option(0, "Same seed, same files, bit by bit."),
    overwrite: bool = option(False, "Replace an earlier simulation."),
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
