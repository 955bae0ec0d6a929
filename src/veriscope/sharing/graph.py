"""An ensemble as one graph from an image to its mean and scale, for runtimes that do not know ensembles."""

from __future__ import annotations

import json
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from veriscope.errors import ModelError
from veriscope.networks.model import Ensemble
from veriscope.networks.projection import Projection
from veriscope.networks.unet import UNet
from veriscope.normalize import Normalization
from veriscope.restoring.scaling import PERCENTILES, stored_normalization, target_normalization
from veriscope.version import __version__

Normalizing = Literal["image", "model"]
"""Who normalises: the caller by each image's percentiles, or the graph by those of the training images."""


class GraphOptions(TypedDict, total=False):
    """How a graph is written: `member` alone, counted from 0; all and also every one of `members`; who normalises."""

    member: int | None
    members: bool
    normalize: Normalizing


PLANES = 9  # of the stack that a projection is traced with


class Graph(nn.Module):
    """(batch, channels_in, *space), float32, to the mean, and the scale where networks are probabilistic.

    These are the mean and the scale of the mixture of all members, or of one alone, as in `Restoration`; each is
    (batch, channels_out, *axes of the result). `members` adds the members' own, (batch, members, channels_out, *axes of
    the result). With `normalize` "model" it takes and gives grey values, by the `normalizations` of the input and of
    the mean, where they are known. `description` is what one must know to use it, as plain JSON.

    Raises ModelError when there is no such member, when the networks are not made of PyTorch, or when `normalize` asks
    for percentiles of the training images that the model does not know.
    """

    def __init__(
        self, ensemble: Ensemble, member: int | None = None, members: bool = False, normalize: Normalizing = "image"
    ) -> None:
        super().__init__()
        if not all(isinstance(one, UNet | Projection) for one in ensemble.members):
            raise ModelError(
                "This model was imported as a graph, not as a network of veriscope, so it cannot be exported. "
                "Use the package that it came from."
            )
        chosen = list(ensemble.members) if member is None else [ensemble.members[ensemble.checked(member)]]
        recipe = ensemble.recipe
        self.recipe, self.each = recipe, members
        self.members = nn.ModuleList(chosen)
        low = back = None
        normalization: dict[str, Any] = {"by": "caller", "percentiles": list(PERCENTILES)}
        if normalize == "model":
            low = stored_normalization(ensemble.facts, "low")
            if low is None or low.channels != recipe.channels_in:
                raise ModelError(
                    "This model does not know the percentiles of the images it was trained on, so they cannot be part "
                    "of the export. Normalise by the image (normalize='image', --normalize image)."
                )
            back = target_normalization(ensemble, low)
            normalization = {"by": "graph", "input": low.to_json(), "output": None if back is None else back.to_json()}
        self.normalizations = low, back
        self.low, self.span = _constants(low, len(recipe.axes))
        self.floor, self.rise = _constants(back, len(recipe.axes_out))
        self.description: dict[str, Any] = {
            "program": f"veriscope {__version__}",
            "axes": f"NC{recipe.axes}",
            "axes_out": f"NC{recipe.axes_out}",
            "channels": [recipe.channels_in, recipe.channels_out],
            "members": len(chosen),
            "step": list(recipe.step),
            "halo": list(ensemble.halo),
            "task": recipe.task,
            "interpolate": recipe.finer,
            "normalization": normalization,
            "voxel_size_um": ensemble.facts.voxel_size,
        }
        self.eval().requires_grad_(False)

    @property
    def outputs(self) -> list[str]:
        """The names of what `forward` returns."""
        names = ["mean", "scale"] if self.recipe.probabilistic else ["mean"]
        return names + ([f"{name}s" for name in names] if self.each else [])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if self.low is not None:
            image = (image - self.low) / self.span
        answers = torch.stack([member(image) for member in self.members], dim=1)
        count = self.recipe.channels_out
        means, scales = answers[:, :, :count], answers[:, :, count:]
        if self.floor is not None:
            means, scales = means * self.rise + self.floor, scales * self.rise
        mean = means.mean(1)
        if not self.recipe.probabilistic:
            return (mean, means) if self.each else (mean,)
        distance = (means - mean[:, None]).abs()
        scale = (distance + scales * torch.exp(-distance / scales)).mean(1)  # as `laplace.mixture_scale`
        return (mean, scale, means, scales) if self.each else (mean, scale)

    def example(self, steps: int = 2, seed: int = 0) -> NDArray[np.float32]:
        """Random pixels as the graph takes them, `steps` steps along the first axis, one more along each further."""
        space = tuple(n * (steps + place) for place, n in enumerate(self.recipe.step))
        planes = (PLANES + steps - 2,) if self.recipe.projects else ()
        image = np.random.default_rng(seed).random((1, self.recipe.channels_in, *planes, *space), np.float32)
        if self.low is not None:
            image = image * self.span.numpy() + self.low.numpy()
        return np.ascontiguousarray(image, np.float32)

    @torch.inference_mode()
    def answer(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """What veriscope makes of `image`, by the names of the outputs."""
        results = self(torch.from_numpy(image))
        return {name: result.numpy() for name, result in zip(self.outputs, results, strict=True)}

    @property
    def texts(self) -> dict[str, str]:
        """The description as names and texts."""
        known = self.description.items()
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in known}


def _constants(normalization: Normalization | None, dimensions: int) -> tuple[Any, Any]:
    if normalization is None:
        return None, None
    shape = (1, -1, *(1,) * dimensions)
    low, span = (torch.tensor(values).reshape(shape) for values in (normalization.low, normalization.range))
    return low, span
