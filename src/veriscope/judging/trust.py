"""How far predictions can be trusted, measured where the truth is known (SI 3, Supp. Figs. 22 and 23)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.calibrated import AsPredicted, Calibration, Distribution
from veriscope.judging import quality
from veriscope.judging.calibration import EPS, Reliability, reliability_of
from veriscope.tables import plain

LEVELS = (0.5, 0.9, 0.99)  # of intervals
EXPLAINED = (
    "Likelihood: mean log likelihood, in nat. In 50%: fraction of pixels whose ground truth lies in the interval of "
    "that probability. ECE: expected calibration error of the probability that the ground truth lies within that "
    "distance, in parts of its range."
)
BINS = 50  # of the histogram of disagreement
MOST_PIXELS = 2**19  # of one image; larger ones are thinned out evenly


@dataclass(frozen=True, eq=False)
class Trust:
    """Figures by the number of members that were asked: the first one alone, the first two together, and so on.

    As the networks predict them; `calibrated` has those of all members once they are put right.
    """

    pixels: int
    reliability: dict[int, tuple[Reliability, ...]]  # one for each of EPS
    log_likelihood: dict[int, float]  # mean over pixels, in nat, of intensities in parts of the truth's range (3.14)
    coverage: dict[int, tuple[float, ...]]  # fraction of pixels whose truth lies in each interval of LEVELS
    disagreement: NDArray[np.float64]  # fraction of pixels in BINS bins from 0 to 1, of all members
    calibrated: Trust | None = None

    @property
    def best(self) -> Trust:
        """What a user is given: the calibrated figures where there are any."""
        return self.calibrated or self

    @property
    def members(self) -> int:
        return max(self.reliability)

    def to_json(self) -> dict[str, Any]:
        """Plain values for json.dumps."""
        return {
            "pixels": self.pixels,
            "eps": EPS,
            "levels": LEVELS,
            "calibrated": None if self.calibrated is None else self.calibrated.to_json(),
            "by_members": {
                count: {
                    "ece": [one.ece for one in self.reliability[count]],
                    "log_likelihood": self.log_likelihood[count],
                    "coverage": self.coverage[count],
                }
                for count in self.reliability
            },
            "reliability": [
                {"eps": one.eps}
                | {name: plain(getattr(one, name).tolist()) for name in ("confidence", "accuracy", "share")}
                for one in self.reliability[self.members]
            ],
            "disagreement": self.disagreement.tolist(),
        }

    def __str__(self) -> str:
        levels = "".join(f"  in {level:.0%}" for level in LEVELS)
        distances = "".join(f"{eps:g}".rjust(7) for eps in EPS)
        lines = [f"networks  likelihood{levels}  ECE{distances}"]
        for count, found in self.reliability.items():
            fractions = "".join(f"{one:8.1%}" for one in self.coverage[count])
            errors = "".join(f"{one.ece:7.1%}" for one in found)
            lines.append(f"{count:8}  {self.log_likelihood[count]:10.3f}{fractions}     {errors}")
        if self.calibrated is not None:
            last = str(self.calibrated).splitlines()[-1]
            lines.append(f"{'calibrated'}{last[10:]}")
        return "\n".join(lines)


def measure(
    means: NDArray[Any],
    scales: NDArray[Any],
    truth: NDArray[Any],
    views: int = 1,
    widening: NDArray[Any] | None = None,
    right: Calibration | None = None,
) -> Trust | None:
    """Trust in one volume: means and scales (M, *space), truth (*space), brought to the truth's range as for NRMSE.

    `right` puts what all members predict right, given the `widening` (*space) of every pixel.

    `views` of each network are among the M, as of one that looks at xz and at yz slices: first one view by all
    networks, then the next. They count as one network. None where the prediction is constant and cannot be compared.
    """
    y = quality.normalize_truth(truth)
    a, b = quality.affine_match(y, means.mean(0, dtype=np.float64))
    if a == 0:
        return None
    every = max(1, y.size // MOST_PIXELS)
    y = y.ravel()[::every].astype(np.float32)
    mu = (a * means.reshape(len(means), -1)[:, ::every] + b).astype(np.float32)
    width = (abs(a) * scales.reshape(len(scales), -1)[:, ::every]).astype(np.float32)
    networks = len(mu) // views
    calibrated = None
    if right is not None and widening is not None:
        calibrated = _figures({networks: (mu, width)}, y, np.zeros(BINS), right, widening.ravel()[::every])
    of_one = np.arange(len(mu)).reshape(views, networks).T.ravel()  # all views of a network, then those of the next
    mu, width = mu[of_one], width[of_one]
    histogram, _ = np.histogram(laplace.disagreement(mu, width), BINS, (0, 1))
    seen = {n: (mu[: n * views], width[: n * views]) for n in range(1, networks + 1)}
    return _figures(seen, y, histogram / y.size, AsPredicted(), 1.0, calibrated)


def _figures(
    seen: dict[int, tuple[Any, Any]],  # flat means and scales, by the number of their networks
    y: NDArray[Any],
    disagreement: NDArray[Any],
    says: Distribution,
    widening: Any,
    calibrated: Trust | None = None,
) -> Trust:
    """How far what `says` makes of means and scales agrees with the truth `y`."""
    found = Trust(y.size, {}, {}, {}, disagreement, calibrated)
    for count, (mu, width) in seen.items():
        error = np.abs(y - laplace.mixture_mean(mu))
        inside = laplace.interval_probability(mu, width, error / widening)
        inside = says.right(inside) if isinstance(says, Calibration) else inside
        found.reliability[count] = tuple(
            reliability_of(says.probability(mu, width, widening, eps), error <= eps, eps) for eps in EPS
        )
        found.log_likelihood[count] = float(says.log_likelihood(mu, width, widening, y).mean(dtype=np.float64))
        found.coverage[count] = tuple(float(np.mean(inside <= level)) for level in LEVELS)
    return found


def pool(parts: Sequence[Trust]) -> Trust:
    """All images together, each weighing as many pixels as it has."""
    weights = np.array([part.pixels for part in parts], float)
    weights /= weights.sum()
    counts = parts[0].reliability
    right = [part.calibrated for part in parts if part.calibrated is not None]
    return Trust(
        pixels=sum(part.pixels for part in parts),
        reliability={
            n: tuple(_pooled([part.reliability[n][k] for part in parts], weights) for k in range(len(EPS)))
            for n in counts
        },
        log_likelihood={n: float(weights @ [part.log_likelihood[n] for part in parts]) for n in counts},
        coverage={n: tuple((weights @ np.array([part.coverage[n] for part in parts])).tolist()) for n in counts},
        disagreement=weights @ np.array([part.disagreement for part in parts]),
        calibrated=pool(right) if len(right) == len(parts) else None,
    )


def _pooled(parts: Sequence[Reliability], weights: NDArray[np.float64]) -> Reliability:
    share = weights @ np.array([part.share for part in parts])
    with np.errstate(invalid="ignore"):  # 0 / 0: nobody has pixels in this bin
        confidence, accuracy = (
            weights @ np.array([np.nan_to_num(getattr(part, name)) * part.share for part in parts]) / share
            for name in ("confidence", "accuracy")
        )
    ece = float(np.nansum(share * np.abs(accuracy - confidence)))
    return Reliability(parts[0].eps, confidence, accuracy, share, ece)
