"""The images that can be made of a restoration: their names, their files, what makes them, and what they need.

One entry of OUTPUTS is an output: a keyword of `restore_to_file`, an option of `veriscope restore`, a file beside the
restored image, and the images of a `Restoration`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.calibrated import Distribution
from veriscope.errors import DataError, ModelError, OutputError
from veriscope.stores import PathLike
from veriscope.wording import listed

if TYPE_CHECKING:
    from veriscope.networks.model import Ensemble

Block = NDArray[np.float32]
Make = Callable[..., Any]
"""Of means and scales (M, *axes) and widening (*axes), or 1, an image or several, (*axes)."""


def several(made: Any) -> tuple[Any, ...]:
    """What a `Make` made, as a tuple also where it is a single image."""
    return made if isinstance(made, tuple) else (made,)


@dataclass(frozen=True)
class Need:
    """What a model must be able to do for an output."""

    met: Callable[[Ensemble], bool]
    lacking: str
    remedy: str

    def error(self, names: Sequence[str], called: str = "This model") -> ModelError:
        asked = listed(names)
        return ModelError(f"{called} {self.lacking}, so {asked} cannot be given. Remove {asked}, or {self.remedy}.")


@dataclass(frozen=True)
class Argument:
    """A number that an output takes before its files: its name, and what checks it."""

    name: str
    check: Callable[[float], float]


@dataclass(frozen=True)
class Output:
    """One or several images of a restoration, written to NAME.`file`, one for each of `files`.

    `make` gives what makes them of the predictions, given the distribution of a pixel and the argument. `dtype` is
    that of the files: None as the restored image, "float" float32 where that is an integer type. `by`: "networks" made
    of their predictions, "watcher" of what is noticed of a tile, "surface" of where networks that project find it.
    """

    name: str
    files: tuple[str, ...]
    says: str  # for people, without a full stop
    make: Callable[..., Make] = lambda of: lambda *predictions: None  # not called for what is not made of them
    needs: tuple[Need, ...] = ()
    takes: Argument | None = None
    dtype: Literal[None, "float", "uint8", "float32"] = None
    by: Literal["networks", "watcher", "surface"] = "networks"

    def written_as(self, asked: np.dtype[Any]) -> np.dtype[Any]:
        """The type of its files where the restored image is written as `asked`."""
        if self.dtype == "float":
            return np.dtype(np.float32) if asked.kind in "iu" else asked
        return asked if self.dtype is None else np.dtype(self.dtype)


def checked_probability(p: float) -> float:
    """`p` once it is known to be a probability strictly between 0 and 1."""
    if not 0 < p < 1:
        raise DataError(f"A probability lies between 0 and 1, both excluded, not {p}. Use for example 0.9.")
    return float(p)


def _half_width(eps: float) -> float:
    if not 0 < eps < np.inf:
        raise DataError(f"eps is the half-width of an interval and must be above 0, not {eps}. Use for example 50.")
    return float(eps)


def _interval(distribution: Distribution, p: float, guaranteed: bool = False) -> Make:
    """Ends of the interval around the mean of means that holds the truth with probability `p`."""
    checked_probability(p)

    def ends(means: Block, scales: Block, widening: Any) -> tuple[Block, Block]:
        mean, half = laplace.mixture_mean(means), distribution.half_width(means, scales, widening, p, guaranteed)
        return mean - half, mean + half

    return ends


def height_and_spread(heights: Block, spreads: Block, widening: Any = 1.0) -> tuple[Block, Block]:
    """Expected plane, counted from 0, and standard deviation of the mixture of what the members (M, ...) say."""
    height = heights.mean(0, dtype=np.float64)
    variance = np.square(spreads, dtype=np.float64).mean(0) + heights.var(0, dtype=np.float64)
    return height.astype(np.float32), np.sqrt(variance).astype(np.float32)


UNCERTAINTY = Need(
    lambda model: model.recipe.probabilistic,
    "predicts no uncertainty (it was trained with probabilistic=False)",
    "train a model with --loss laplace (probabilistic=True)",
)
SEVERAL = Need(lambda model: len(model) > 1, "is a single network", "train at least 2 members, which can disagree")
SURFACE = Need(
    lambda model: model.recipe.projects,
    "does not project stacks to planes",
    "train on stacks with one plane for each (veriscope train STACKS PLANES)",
)
FAMILIARITY = Need(
    lambda model: model.facts.familiar is not None,
    "does not know what its training images looked like, because its training did not end or had very few patches",
    "finish the training",
)

MEAN = Output("mean", ("mean",), "The restored image", lambda of: lambda means, *_: laplace.mixture_mean(means))
OUTPUTS = (
    Output("scale", ("scale",), "The predicted scale of the error", lambda of: of.scale, (UNCERTAINTY,)),
    Output(
        "interval", ("lower", "upper"), "The interval that holds the ground truth with probability P, such as 0.9",
        _interval, (UNCERTAINTY,), takes=Argument("P", checked_probability),
    ),
    Output(
        "probability", ("probability",),
        "The probability that the ground truth lies within EPS of the result, in its own units",
        lambda of, eps: partial(of.probability, eps=eps), (UNCERTAINTY,), Argument("EPS", _half_width), dtype="float",
    ),
    Output(
        "entropy", ("entropy",), "How little is known, all causes together",
        lambda of: of.entropy, (UNCERTAINTY,), dtype="float",
    ),
    Output(
        "disagreement", ("disagreement",), "How far the networks contradict each other, from 0 to 1",
        lambda of: lambda means, scales, widening: laplace.disagreement(means, scales), (UNCERTAINTY, SEVERAL),
        dtype="float",
    ),
    Output(
        "trust_mask", ("trust-mask",),
        "Where it can be trusted (255) and where not (0), as far as can be estimated without ground truth",
        needs=(FAMILIARITY,), dtype="uint8", by="watcher",
    ),
    Output(
        "height", ("height", "height-spread"),
        "Of models that project stacks: the plane of the surface, counted from 0, and how uncertain it is, in planes",
        lambda of: height_and_spread, (SURFACE,), dtype="float32", by="surface",
    ),
)  # fmt: skip
BY_NAME = {output.name: output for output in (MEAN, *OUTPUTS)}


class Files(TypedDict, total=False):
    """Where `restore_to_file` writes outputs beside the restored image: their files, behind the argument they take."""

    scale: PathLike | None
    interval: tuple[float, PathLike, PathLike] | None
    probability: tuple[float, PathLike] | None
    entropy: PathLike | None
    disagreement: PathLike | None
    trust_mask: PathLike | None
    height: tuple[PathLike, PathLike] | None


@dataclass(frozen=True)
class Wanted:
    """An output to be written: with its argument, if it takes one, and the path of each of its files."""

    output: Output
    arguments: tuple[float, ...]
    paths: tuple[Path, ...]

    def make(self, distribution: Distribution) -> Make:
        return self.output.make(distribution, *self.arguments)


def wanted(out: PathLike, files: Mapping[str, Any]) -> list[Wanted]:
    """The restored image and what is to be written beside it, as in `Files`.

    Raises DataError for a senseless argument, OutputError when two results share a file.
    """
    found = [Wanted(MEAN, (), (Path(out),))]
    for output in OUTPUTS:
        if (asked := files.get(output.name)) is not None:
            values = several(asked)
            paths = tuple(map(Path, values[-len(output.files) :]))
            argument = () if output.takes is None else (output.takes.check(values[0]),)
            found.append(Wanted(output, argument, paths))
    places = [path.resolve() for one in found for path in one.paths]
    twice = sorted({str(path) for path in places if places.count(path) > 1})
    if twice:
        raise OutputError(f"Several results would be written to {', '.join(twice)}. Give each a file of its own.")
    return found


def check(
    model: Ensemble, outputs: Iterable[Output], called: str = "This model", named: Callable[[str], str] = str
) -> None:
    """Raise ModelError where `model`, ready to restore, cannot give all `outputs`; `named` as the user knows them."""
    lacking: dict[Need, list[str]] = {}
    for output in outputs:
        need = next((need for need in output.needs if not need.met(model)), None)
        if need is not None:
            lacking.setdefault(need, []).append(named(output.name))
    for need, names in lacking.items():
        raise need.error(names, called)
