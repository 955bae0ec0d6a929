"""A wing over time: the same cells flow through the field while the light bleaches (Supp. Fig. 11, ours)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from math import exp, pi
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from veriscope.errors import DataError
from veriscope.images.image import Image
from veriscope.images.labels import label_type
from veriscope.simulate.camera import to_integers
from veriscope.simulate.epithelium import Epithelium
from veriscope.simulate.flow import Flow
from veriscope.simulate.optics import convolve
from veriscope.simulate.perlin import Background
from veriscope.simulate.scene import Drawn, Field, Pixels, check_number
from veriscope.simulate.standins import HEIGHT, INPUT, LABELS, STANDINS, TRUTH, Shape, Simulated, StandIn
from veriscope.wording import lengths

MOST = 4_000_000_000  # voxels: twice that many bytes


class Frame(NamedTuple):
    """One time point: what the camera looks at (Z Y X), the sheet in its own plane, its height, and whose pixel is."""

    seen: Pixels
    flat: Pixels
    height: Pixels
    cells: NDArray[np.intp]  # number among the drawn cells, from 0


@dataclass(frozen=True)
class WingMovie:
    """The wing of the stand-in `flywing`, imaged frame by frame; light and motion are per frame.

    Cells neither divide nor die. Debris, background and the texture of the tissue stay where they are; between two
    frames nothing moves.
    """

    frames: int = 20
    photons: float = 30.0  # where a membrane is bright, in the first frame
    bleach: float | None = 8.0  # frames until 37 % of the light are left; None: it does not bleach
    flow: Flow = field(default_factory=Flow)
    landscape: float = 60.0  # frames until the surface has become another one
    stand: StandIn = STANDINS["flywing"]

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise DataError(f"A movie has at least 1 frame, not {self.frames}.")
        check_number("The photons of the first frame", self.photons, 0, above=True)
        if self.bleach is not None:
            check_number("The frames until 37 % of the light are left", self.bleach, 0, above=True)
        if self.photons * self.light(self.frames - 1) < 1e-3:
            raise DataError(
                f"No light would be left after {self.frames} frames: {self.photons:g} photons, of which 37 % are left "
                f"after {self.bleach:g} frames. Choose fewer frames or a slower bleaching."
            )
        check_number("The frames until the surface is another", self.landscape, 0, above=True)
        if not isinstance(self.stand.structure, Epithelium):
            raise DataError("Only epithelia are simulated over time. Choose the stand-in 'flywing', or one like it.")

    def light(self, frame: int) -> float:
        """The fraction of the first frame's light that is left."""
        return 1.0 if self.bleach is None else exp(-frame / self.bleach)

    def draw(self, rng: np.random.Generator, shape: Shape) -> Drawn:
        """Sheet, flow, background and noise of a movie whose stacks have `shape` (ZYX).

        Raises DataError for a field that does not fit, or is too large to be kept in memory.
        """
        space = Field.of(shape, self.stand.voxel_size, ("ZYX",), "Epithelia")
        if self.frames * float(np.prod([float(size) for size in space.shape])) > MOST:
            raise DataError(
                f"{self.frames} frames of {lengths(space.shape)} voxels do not fit in memory. "
                f"Choose fewer frames or a smaller field."
            )
        flow = self.flow.draw(rng)
        around = self.flow.farthest(flow, float(np.hypot(*space.size[1:])) / 2, self.frames)
        structure = self.stand.structure.draw(rng, space.shape, space.voxel_size, around)
        structure["surface_next"] = int(rng.integers(2**63))
        background = self._background.draw(rng, space.shape, space.voxel_size)
        camera = [self.stand.camera.draw(rng) for _ in range(self.frames)]
        return {"flow": flow, "structure": structure, "background": background, "camera": camera}

    @property
    def _background(self) -> Background:
        return self.stand.optics.background or Background(0.0)

    def sheet(self, drawn: Drawn, number: int) -> Drawn:
        """Frame `number` as `Epithelium.apply` takes it: cells where they have flowed to, the surface as it has become.

        Landscapes turn into each other like the hands of a clock, to and fro.
        """
        start = drawn["structure"]
        middle = Field.drawn(start).size[1:] / 2
        cells = self.flow.apply(drawn["flow"], np.array(start["cell"]), middle, number)
        return {**start, "cell": np.round(cells, 4).tolist(), "turn": number / self.landscape * pi / 2}

    def frame(self, drawn: Drawn, number: int) -> Frame:
        """Frame `number` (from 0) through the microscope, before the camera. Same in, same out."""
        sheet = self.stand.structure.apply(self.sheet(drawn, number))
        psf = self.stand.optics.on(self.stand.voxel_size)
        everywhere = np.asarray(self._background.apply(drawn["background"]).light)
        return Frame(
            convolve(np.asarray(sheet.light) + everywhere, psf),
            convolve(np.asarray(sheet.target), psf),
            np.asarray(sheet.height),
            sheet.cells[np.asarray(sheet.labels).astype(np.intp) - 1],
        )

    def apply(self, drawn: Drawn, progress: Callable[[int, int], object] | None = None) -> Simulated:
        """All frames. Same in, same out.

        "input": stacks, T Z Y X, ever dimmer; "GT": the sheet laid flat, T Y X, with full light and no noise;
        "height": where it lies, in planes; "labels": which pixel is which cell's. A cell keeps its number.
        """
        camera = replace(self.stand.camera, photons=self.photons)
        movies: dict[str, list[Any]] = {INPUT: [], TRUTH: [], HEIGHT: []}
        cells = []
        for number, seed in enumerate(drawn["camera"]):
            if progress is not None:
                progress(number, self.frames)
            frame = self.frame(drawn, number)
            movies[INPUT].append(to_integers(camera.dimmed(self.light(number)).apply(frame.seen, seed)))
            movies[TRUTH].append(to_integers(self.stand.camera.expected(frame.flat)))
            movies[HEIGHT].append(frame.height)
            cells.append(frame.cells)
        seen, numbers = np.unique(np.stack(cells), return_inverse=True)
        labels = (numbers.reshape(len(cells), *cells[0].shape) + 1).astype(label_type(len(seen)))
        arrays = {**{name: np.stack(frames) for name, frames in movies.items()}, LABELS: labels}
        known = {4: ("TZYX", self.stand.voxel_size), 3: ("TYX", self.stand.voxel_size[1:])}
        return Simulated({name: Image(array, *known[array.ndim]) for name, array in arrays.items()}, drawn)

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        return {
            "frames": self.frames,
            "photons": self.photons,
            "bleach_frames": self.bleach,
            "landscape_frames": self.landscape,
            "flow": asdict(self.flow),
            **self.stand.settings(),
        }


def movie(
    wing: WingMovie,
    shape: Shape = (50, 192, 192),
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Simulated:
    """The movie that `seed` makes of `wing`, in stacks of `shape`: its images, and everything that chance decided."""
    if seed < 0:
        raise DataError(f"A seed is a whole number from 0, not {seed}.")
    return wing.apply(wing.draw(np.random.default_rng(seed), shape), progress)
