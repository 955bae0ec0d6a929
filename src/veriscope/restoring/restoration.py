"""What a restoration knows of every pixel: the members' Laplace distributions, and the images made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import notebook
from veriscope.calibrated import AsPredicted, Calibration, Distribution
from veriscope.errors import ModelError
from veriscope.expected import Expected
from veriscope.familiarity import Verdict
from veriscope.images.carried import NOTHING, Carried
from veriscope.images.image import Image
from veriscope.restoring.ondemand import Computed, OnDemand
from veriscope.restoring.outputs import BY_NAME, FAMILIARITY, UNCERTAINTY, Make, checked_probability, several
from veriscope.restoring.settling import Trust

Block = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Restoration:
    """The predictions of all members (SI 3): `means` and `scales` (M, *axes), float32, scales > 0.

    In grey values of the input (or of the truth, see `restore`) unless it was left normalised. `scales` is None when
    the networks are not probabilistic; then only `mean` is known. Where both are lazy, so is every image made of them:
    reading a part of it runs the networks on the tiles that this part touches.

    `means` and `scales` are what the networks said. `distribution` puts that right by what was measured on images kept
    aside in training, `widening` (*axes) says by how much each pixel's is widened around `mean`; every other image made
    here uses both.
    """

    means: Block | Computed = field(repr=False)
    scales: Block | Computed | None = field(repr=False)
    axes: str
    voxel_size: tuple[float | None, ...] | None = None
    time_step: float | None = None
    name: str = ""
    widening: Block | Computed | None = field(default=None, repr=False)
    distribution: Distribution = field(default_factory=AsPredicted, repr=False)
    judged: Callable[[], Trust] | None = field(default=None, repr=False)  # asked once, when it is wanted
    surface: Callable[[], OnDemand] | None = field(default=None, repr=False)  # heights, of networks that project
    mask: NDArray[np.uint8] | None = field(default=None, repr=False)  # of trust, where it was kept
    carried: Carried = NOTHING

    def _repr_html_(self) -> str:
        """What a notebook shows: what was restored, the predicted scale, the error to expect, and the verdict."""
        if self.is_lazy:
            return notebook.words([f"{self.name or 'A restoration'}: computed when its pixels are read."])
        shown = {"restored": self.mean} | ({} if self.scales is None else {"predicted scale": self.scale})
        named = {
            f"{what}, {one}" if one.startswith("channel") else what: uri
            for what, image in shown.items()
            for one, uri in notebook.planes(image).items()
        }
        said = "" if self.expected is None else notebook.words([self.expected])
        return notebook.figures(named) + said + ("" if self.verdict is None else self.verdict._repr_html_())

    @property
    def members(self) -> tuple[Block | Computed, Block | Computed | None]:
        """Means and scales of every member, (M, *axes)."""
        return self.means, self.scales

    @property
    def is_lazy(self) -> bool:
        """True when images are computed as their pixels are asked for."""
        return isinstance(self.means, Computed)

    @property
    def is_calibrated(self) -> bool:
        """Whether the predicted distributions were put right by what was measured after training."""
        return isinstance(self.distribution, Calibration)

    @cached_property
    def trust(self) -> Trust:
        """What can be said without ground truth: the error to expect, and the verdict; of each time point too.

        Lazily it is worked out from some tiles, spread over the image, when it is first asked for.
        """
        return Trust() if self.judged is None else self.judged()

    @property
    def verdict(self) -> Verdict | None:
        """Whether the image is like those of the training; None for models that do not know their training images."""
        return self.trust.verdict

    @property
    def expected(self) -> Expected | None:
        """The NRMSE and PSNR this restoration is expected to have, with an interval; None where it is not known."""
        return self.trust.expected

    @cached_property
    def mean(self) -> Image:
        """The restored image: the mean of the members' means (3.13)."""
        return self.output("mean")[0]

    @cached_property
    def scale(self) -> Image:
        """How far the truth lies from `mean` on average, |truth - mean|.

        As the networks predict it, that is also the scale of the one Laplace distribution around `mean` that is closest
        to the mixture: for a single member its scale b; for several mean_m[d_m + b_m exp(-d_m / b_m)] with
        d_m = |mean_m - mean|, so that it grows when members contradict each other.
        """
        return self.output("scale")[0]

    def interval(self, p: float = 0.9, guaranteed: bool = False) -> tuple[Image, Image]:
        """Lower and upper end of the interval around `mean` that holds the truth with probability `p` (3.15).

        `guaranteed`: at least that often on average, whatever the errors are distributed like, as long as the image
        could as well have been one of those kept aside in training (conformal risk control, Angelopoulos et al. 2022).
        """
        lower, upper = self.output("interval", p, guaranteed)
        return lower, upper

    def quantile(self, u: float) -> Image:
        """The value below which the truth lies with probability `u`."""
        return self._images(partial(self.distribution.quantile, u=checked_probability(u)), "quantiles")[0]

    def probability(self, eps: float) -> Image:
        """Probability that the truth lies within `eps` (in units of `mean`) of `mean` (3.15)."""
        return self.output("probability", eps)[0]

    def sample(self, seed: int = 0) -> Image:
        """One image drawn from the prediction, each pixel independent of its neighbours (Supp. Vid. 9).

        Same seed, same image, whether it is read as a whole or in parts.
        """
        return self._images(partial(self.distribution.sample, seed=seed), "samples", placed=True)[0]

    def entropy(self) -> Image:
        """Differential entropy of every pixel's prediction in nat, of grey values in units of `mean` (3.20)."""
        return self.output("entropy")[0]

    def disagreement(self) -> Image:
        """How far the members contradict each other, from 0 to 1 (3.20-3.29); 0 for a single member."""
        return self.output("disagreement")[0]

    @property
    def height(self) -> Image:
        """The plane of the surface, counted from 0: what the members that projected the stack expect, float32.

        Without C. The networks' part that finds the surface runs again for it, when it is first asked for.
        """
        return self._heights[0]

    @property
    def height_spread(self) -> Image:
        """How unsure the height is, in planes: standard deviation of the mixture of the members' probabilities."""
        return self._heights[1]

    @cached_property
    def _heights(self) -> list[Image]:
        if self.surface is None:
            raise ModelError(
                "This restoration has no height: its model does not project stacks to planes, or only a part of it is "
                "at hand. Ask the whole restoration of a model trained with Recipe(axes='ZYX', task='project')."
            )
        source = self.surface()
        arrays = source.images(BY_NAME["height"].make(self.distribution))
        images = [self._shown(array, source.axes).moved(source.axes.replace("C", "")) for array in arrays]
        return images if self.is_lazy else [image.in_memory() for image in images]

    @property
    def trust_mask(self) -> Image:
        """uint8: 255 where the image is like those of training and the networks agree as they did there, 0 elsewhere.

        Raises ModelError unless `restore_to_explore` kept it, with a model that knows its training images.
        """
        if self.mask is None:
            raise FAMILIARITY.error(["trust_mask"])
        return self._shown(self.mask, self.axes)

    def part(self, where: tuple[slice, ...]) -> Restoration:
        """Of a part of the image, a slice for each axis; what is known of the whole goes with it."""
        every: Any = (slice(None), *where)
        return replace(
            self,
            means=self.means[every],
            scales=None if self.scales is None else self.scales[every],
            widening=None if self.widening is None else self.widening[where],
            mask=None if self.mask is None else self.mask[where],
            surface=None,
        )

    def output(self, name: str, *arguments: Any) -> list[Image]:
        """The images of an output, by its name in `outputs`, with its argument; not those of what is only written."""
        made = BY_NAME[name]
        if made.by != "networks":
            return self._heights if made.by == "surface" else [self.trust_mask]
        return self._images(made.make(self.distribution, *arguments), name if made.needs else None)

    def _images(self, make: Make, uncertain: str | None, placed: bool = False) -> list[Image]:
        """What `make` makes of means, scales and widening, at once or when read; `placed` as in `OnDemand.images`.

        `uncertain` is its name where it needs the scales.
        """
        if uncertain is not None and self.scales is None:
            raise UNCERTAINTY.error([uncertain])
        arrays: Sequence[Any]
        if isinstance(self.means, Computed):
            arrays = self.means.source.images(make, placed)
        else:
            widening = 1.0 if self.widening is None else np.asarray(self.widening)
            arrays = [np.asarray(array, np.float32) for array in several(make(self.means, self.scales, widening))]
        return [self._shown(array, self.axes) for array in arrays]

    def _shown(self, array: Any, axes: str) -> Image:
        return Image(array, axes, self.voxel_size, self.time_step, self.name, self.carried)
