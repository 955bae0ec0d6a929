"""How a sheet of cells moves: as a whole it drifts, turns and is sheared, and every cell is jostled a little (ours).

Nothing is created or torn: area is kept, neighbours stay neighbours unless shear or jostling parts them slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from veriscope.simulate.scene import Checked, Drawn, Floats, Range, setting

KEPT = 0.9  # of a cell's displacement by jostling, from one frame to the next: it never strays far


@dataclass(frozen=True)
class Flow(Checked):
    """Motion from one frame to the next; lengths in um, angles in radian."""

    drift_um: Range = setting((0.2, 0.6), "The drift in um per frame", 0)  # of the whole sheet, in some direction
    shear: Range = setting((0.002, 0.008), "The shear per frame", 0, 0.5)  # longer along some direction, shorter across
    rotation: Range = setting((0.0, 0.006), "The rotation per frame", 0, 1)  # either way
    # standard deviation of each cell's own step; in the long run it stays within 2.3 times that
    jostle_um: float = setting(0.15, "The jostling of cells in um per frame", 0)

    def draw(self, rng: np.random.Generator) -> Drawn:
        """Drift (Y X), the two parts of the shear, the rotation, all per frame, and the seed of the jostling."""
        drift, shear, rotation = (rng.uniform(*ends) for ends in (self.drift_um, self.shear, self.rotation))
        direction, along = rng.uniform(0, 2 * np.pi, 2)
        return {
            "drift": [round(float(drift * part), 6) for part in (np.sin(direction), np.cos(direction))],
            "shear": [round(float(shear * part), 6) for part in (np.sin(along), np.cos(along))],
            "rotation": round(float(rotation * rng.choice((-1, 1))), 6),
            "jostle": int(rng.integers(2**63)),
        }

    def apply(self, drawn: Drawn, places: Floats, middle: Floats, frame: int) -> Floats:
        """Where cells that were at `places` (count, YX) in frame 0 are in `frame`; the sheet turns about `middle`."""
        moved: Floats = (places - middle) @ _stretched(drawn, frame).T + middle + frame * np.array(drawn["drift"])
        rng = np.random.default_rng(drawn["jostle"])
        own = np.zeros_like(places)
        for _ in range(frame):
            own = KEPT * own + rng.normal(0, self.jostle_um, places.shape)
        return moved + own

    def farthest(self, drawn: Drawn, reach: float, frames: int) -> float:
        """How far (um) something within `reach` of the middle can have come from within so many frames."""
        last = max(frames - 1, 0)
        stretch = float(np.linalg.norm(np.linalg.inv(_stretched(drawn, last)) - np.eye(2), 2))
        drift = last * float(np.hypot(*drawn["drift"]))
        return drift + stretch * (reach + drift) + 10 * self.jostle_um


def _stretched(drawn: Drawn, frames: int) -> Floats:
    """The matrix of shear and rotation after so many frames; its determinant is 1."""
    from scipy.linalg import expm

    (cross, along), turn = drawn["shear"], drawn["rotation"]
    return np.asarray(expm(frames * np.array([[along, cross - turn], [cross + turn, -along]])))
