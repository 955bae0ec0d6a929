"""Everything that must be remembered to build a network again and to train it the same way: one frozen dataclass."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from veriscope import axes as letters
from veriscope.errors import AxesError, ModelError
from veriscope.networks.checking import OneOf, Real, Whole, made, to_json, wrong
from veriscope.wording import lengths, listed

Kernel = tuple[int, int, int]  # Z, Y, X
PATCH = {"YX": (64, 64), "ZYX": (16, 32, 32)}  # many small steps learn more than few large ones
DEPTH = {"YX": 3, "ZYX": 2}
BATCH = 4
FAST: dict[str, Any] = {"base": 8}  # of a smaller network (benchmarks/fast.py)

# Networks of the SI (Supp. Figs. 8, 12, 19) with the training settings of Supp. Table 3.
_PAPER_TRAINING: dict[str, Any] = {
    "learning_rate": 4e-4, "schedule": "plateau", "scale_weight": 0.0, "scale_rate": 1.0, "warmup": 0.0,
    "averaging": 0.0, "clip": 0.0, "weight_decay": 0.0, "epochs": 200, "optimizer": "adam",
}  # fmt: skip
_STACKS: dict[str, Any] = {"axes": "ZYX", "kernel": 3, "depth": 2, "batch": 16, "patch": (16, 64, 64)}
_PLANES: dict[str, Any] = {"axes": "YX", "kernel": 5, "depth": 2, "batch": 32, "patch": (128, 128)}
_SLICES = {**_PLANES, "task": "isotropic"}
_PAPER: dict[str, dict[str, Any]] = {
    "planaria": _STACKS,
    "tribolium": _STACKS,
    "ins1": _PLANES,
    "hela": _PLANES,
    "retina": {**_SLICES, "upsample": (10.2, 1, 1), "channels": 2},
    "drosophila": {**_SLICES, "upsample": (5, 1, 1)},  # a plane every 1.96 um, pixels of 0.39 um
    "liver": {**_SLICES, "upsample": (8, 1, 1), "channels": 2},
    "flywing": {**_STACKS, "task": "project", "projection": "paper", "depth": 3, "patch": (64, 64)},  # 50 planes each
}
_SIZE = Whole(1, 63)
_LAYERS_FORM: dict[str, Any] = {
    "first": [_SIZE], "kernel": [_SIZE], "pool": [Whole(1, 64)], "depth": Whole(1, 8), "filters": Whole(1, 4096),
    "convolutions": Whole(1, 16),
}  # fmt: skip
_GRAPH_FORM: dict[str, Any] = {
    "sha256": str, "step": [Whole(1, 4096)], "least": [Whole(0, 2**16)], "halo": [Whole(0, 2**16)], "axes_in": str,
    "axes_out": str, "bytes": Real(1e-9, 2**40), "scaling": ("percentiles", "moments", "fixed"),
    "percentiles": [Real(0, 100)], "low": [Real()], "high": [Real()],
}  # fmt: skip


@dataclass(frozen=True)
class SurfaceLayers:
    """The layers that find a surface in a stack (SI 1.1, Supp. Fig. 12).

    [convs, pool] `depth` times, [convs, upsample] `depth` times, convs, and a linear conv to one channel of logits.

    Pooling and upsampling are lateral only, so a stack may have any number of planes. No skips.
    """

    first: Kernel  # of the first convolution
    kernel: Kernel  # of all others
    pool: tuple[int, int]  # pixels along Y and along X that become one
    depth: int
    filters: int = 8
    convolutions: int = 1  # one after the other, before each pooling and each upsampling

    def __post_init__(self) -> None:
        said = wrong(asdict(self), _LAYERS_FORM, "layers")
        kernels = self.first, self.kernel
        if not said and (len(self.pool) != 2 or any(len(k) != 3 or not all(n % 2 for n in k) for k in kernels)):
            said = "kernels have three odd lengths, pools two"
        if said:
            raise ModelError(f"These layers cannot find a surface: {said}. Given: {self}.")

    @property
    def step(self) -> tuple[int, int]:
        """Y and X must be multiples of this."""
        along_y, along_x = self.pool
        return along_y**self.depth, along_x**self.depth


SURFACES = {
    "paper": SurfaceLayers(first=(5, 5, 5), kernel=(3, 5, 5), pool=(4, 4), depth=2),
    "compact": SurfaceLayers(first=(3, 3, 3), kernel=(3, 3, 3), pool=(2, 2), depth=4),  # the authors' later default
}


@dataclass(frozen=True)
class Foreign:
    """What must be known of a graph of others (ONNX) to use it as a network. Lengths are pixels along Z Y X or Y X."""

    sha256: str  # of the file
    step: tuple[int, ...]  # lengths are multiples of this
    least: tuple[int, ...]  # and no smaller than this
    halo: tuple[int, ...]  # how far a tile is read beyond its borders
    axes_in: str  # the graph's own: letters of b (batch), c, z, y, x
    axes_out: str
    bytes: float  # memory per voxel while it runs, about
    scaling: str = "percentiles"  # of images: by two `percentiles`, by mean and deviation ("moments"), or "fixed"
    percentiles: tuple[float, ...] = (2.0, 99.8)
    low: tuple[float, ...] = ()  # of fixed scaling: what becomes 0 and 1, per channel
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        space = len(self.step)
        sound = (
            not wrong(asdict(self), _GRAPH_FORM, "graph")
            and len(self.least) == len(self.halo) == space
            and space in (2, 3)
            and all(a % n == 0 for a, n in zip(self.least, self.step, strict=True))
            and all(set(axes) <= set("bczyx") and set("yx") <= set(axes) for axes in (self.axes_in, self.axes_out))
            and len(self.low) == len(self.high)
            and all(low < high for low, high in zip(self.low, self.high, strict=True))
            and (len(self.percentiles) == 2 and self.percentiles[0] < self.percentiles[1])
        )
        if not sound:
            raise ModelError(f"This graph cannot be used: its description makes no sense ({self}).")


_FORM: dict[str | None, Any] = {  # of every field; what fields have to do with each other is checked by `_check`
    "axes": ("YX", "ZYX"), "channels_in": Whole(1, 4096), "channels_out": Whole(1, 4096), "probabilistic": bool,
    "depth": Whole(1, 8), "kernel": Whole(1, 63), "base": Whole(1, 4096), "residual": bool,
    "task": ("restore", "project", "isotropic"), "projection": ("", *SURFACES), "upsample": [Real(1, 1000)],
    "activation": ("linear", "relu"), "combine": ("mixture", "csbdeep"), "foreign": OneOf(None, {}),
    "stem": Whole(1, 64), "patch": [Whole(1, 2**16)], "batch": Whole(1, 2**16), "learning_rate": Real(0, 10),
    "schedule": ("cosine", "plateau"), "scale_weight": Real(0, 1e6), "scale_rate": Real(0, 1e6), "warmup": Real(0, 1),
    "patience": Whole(1, 10**6), "averaging": Real(0, 1), "clip": Real(0, 1e9), "weight_decay": Real(0, 1e3),
    "precision": ("auto", "float32", "bfloat16"), "epochs": Whole(1, 10**7), "optimizer": ("muon", "adam"),
}  # fmt: skip
_LAYERS = ("depth", "kernel", "base", "residual", "projection", "activation", "stem")  # what weights must fit
LONGEST_STEP = 1024  # pixels that the smallest tile has along an axis
_LATER = ("task", "projection", "upsample", "activation", "combine", "foreign")  # earlier models lack them: the default


@dataclass(frozen=True)
class Recipe:
    """A network and its training. What is left at 0, None or () is filled in from `axes` when the recipe is made.

    ``Recipe(axes="YX")`` is what we found to work best in limited time, ``Recipe.paper("planaria")`` the paper's own.
    """

    axes: str  # spatial axes of the images the network is given: "YX" or "ZYX"
    channels_in: int = 1
    channels_out: int = 1
    probabilistic: bool = True  # predicts a Laplace scale beside every mean (SI Eq. 3.9)
    depth: int = 0  # times the image is halved; 0: 3 in 2D, 2 in 3D
    kernel: int = 3  # width of all convolutions, odd
    base: int = 32  # channels at the top level; doubled at each level below
    residual: bool | None = None  # adds the input to the mean; None: when channels agree
    task: str = "restore"  # "restore": to the same axes; "project": a stack to the surface that it shows (SI 1.1);
    # "isotropic": a stack by its xz and yz slices, with a network for planes whose Y meets Z (SI 2.4)
    projection: str | SurfaceLayers = ""  # what finds the surface: layers, or a name of SURFACES; "": "compact"
    upsample: tuple[float, ...] = ()  # interpolates an image first, along Z Y X or Y X of it; (): not at all
    activation: str = "linear"  # of the means, behind all else: "linear" or "relu"
    combine: str = "mixture"  # "csbdeep": borders, interpolation, both directions of slices and the way back to grey
    # values as csbdeep has them, for networks that were trained there
    stem: int = 1  # n > 1: works on n x n lateral pixels folded into channels, n^2 times fewer positions
    foreign: Foreign | None = None  # instead of all this a graph of others, which can be run but not trained

    patch: tuple[int, ...] = ()  # pixels along axes_out; (): 64 x 64 or 16 x 32 x 32. Stacks to project: whole along Z
    batch: int = BATCH  # patches per step
    optimizer: str = "muon"  # of kernels (see training/optimisers.py), or "adam" of all weights
    learning_rate: float = 1e-3  # peak rate
    schedule: str = "cosine"  # "cosine" to nearly zero, or "plateau": halved when checking stops improving
    scale_weight: float = 0.1  # of the scales' likelihood beside the means' squared error; 0: the paper's likelihood
    scale_rate: float = 30.0  # learning rate of the layer that predicts the scales, times that of all others
    warmup: float = 0.05  # fraction of the run in which the rate rises linearly
    patience: int = 10  # rounds without improvement before "plateau" halves the rate
    averaging: float = 0.05  # memory of the exponential weight average, as a fraction of the run; 0: none
    clip: float = 1.0  # largest gradient norm; 0: not clipped
    weight_decay: float = 0.0  # decoupled, as in AdamW
    precision: str = "auto"  # of the convolutions in training: "float32", "bfloat16", or what the device does fast
    epochs: int = 50  # used when train is given neither epochs nor minutes

    def __post_init__(self) -> None:
        word = letters.check(self.axes)
        if word not in PATCH:
            raise ModelError(
                f"A recipe's axes are YX or ZYX, not '{self.axes}'. Channels are set by channels_in and _out."
            )
        object.__setattr__(self, "axes", word)
        given = vars(self) | {"depth": self.depth or 1, "residual": self.residual or True}  # may be left open
        if isinstance(self.projection, SurfaceLayers):  # these two have checked themselves
            given["projection"] = ""
        if isinstance(self.foreign, Foreign):
            given["foreign"] = None
        if said := wrong(given, _FORM, "recipe"):
            raise ModelError(f"This recipe cannot be used: {said.removeprefix('recipe.')}.")
        fill = {
            "depth": self.depth or DEPTH[self.axes_out],
            "patch": tuple(int(n) for n in self.patch) or PATCH[self.axes_out],
            "upsample": tuple(float(n) for n in self.upsample),
            "projection": self.projection or ("compact" if self.projects else ""),
            "residual": self.channels_in == self.channels_out if self.residual is None else self.residual,
        }
        if self.foreign is not None:
            sizes = zip(PATCH[self.axes_out], self.foreign.least, self.foreign.step, strict=True)
            patch = tuple(-(-max(usual, least) // step) * step for usual, least, step in sizes)
            fill |= {"patch": patch, "residual": False}
        for name, value in fill.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        rules = [
            (self.kernel % 2 == 1, "kernel is odd"),
            (not self.isotropic or self.axes == "YX", "a network for isotropic stacks works on their planes, axes YX"),
            (len(self.upsample) in (0, len(self.space)), f"upsample holds a factor for each of {self.space}"),
            (not self.projects or self.axes == "ZYX", "a network that projects is given stacks, axes ZYX"),
            (
                self.projects == bool(self.projection),
                f"projection is {listed(SURFACES, 'or')} for the task project, and not set for others",
            ),
            (self.learning_rate > 0 and self.scale_rate > 0, "learning_rate and scale_rate are positive"),
            (self.warmup < 1 and self.averaging < 1, "warmup and averaging are fractions of the run, below 1"),
            (not self.residual or self.channels_in == self.channels_out, "residual needs channels_in = channels_out"),
            (self.stem * 2**self.depth <= LONGEST_STEP, f"stem times 2^depth is at most {LONGEST_STEP}"),
        ]
        if broken := [rule for holds, rule in rules if not holds]:
            given = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
            raise ModelError(f"This recipe cannot be used: {'; '.join(broken)}. Given: {given}.")
        fits = all(n % step == 0 for n, step in zip(self.patch, self.step, strict=False))
        if not fits or len(self.patch) != len(self.axes_out):
            raise ModelError(
                f"A patch of {lengths(self.patch)} does not fit: this network needs one length per axis "
                f"of {self.axes_out}, each a multiple of {lengths(self.step)}, or less at a lower depth."
                + (" Stacks that are projected are taken whole along Z." if self.projects else "")
            )

    @property
    def as_the_paper(self) -> bool:
        """Whether it is trained as in the paper."""
        return self.schedule == "plateau"

    @property
    def projects(self) -> bool:
        """Whether stacks become planes."""
        return self.task == "project"

    @property
    def isotropic(self) -> bool:
        """Whether stacks are restored slice by slice along Z."""
        return self.task == "isotropic"

    @property
    def space(self) -> str:
        """Spatial axes of the images that are restored: those of the network, and Z for isotropic stacks."""
        return "ZYX" if self.isotropic else self.axes

    @property
    def finer(self) -> dict[str, float]:
        """By how much an image is interpolated first, for the axes along which it is: {"Z": 5.0}."""
        return {letter: factor for letter, factor in zip(self.space, self.upsample, strict=False) if factor != 1}

    @property
    def axes_out(self) -> str:
        """Spatial axes of the result: those of the input, but without Z when stacks are projected."""
        return self.axes.replace("Z", "") if self.projects else self.axes

    @property
    def surface(self) -> SurfaceLayers:
        """The layers that find the surface, of a network that projects."""
        return self.projection if isinstance(self.projection, SurfaceLayers) else SURFACES[self.projection]

    @property
    def flat(self) -> Recipe:
        """The recipe of the 2D network behind the projection; this one itself where nothing is projected."""
        return replace(self, axes=self.axes_out, task="restore", projection="", upsample=()) if self.projects else self

    @property
    def folding(self) -> tuple[int, ...]:
        """How many pixels the stem folds into channels, per axis of the result: never along Z with its long voxels."""
        return tuple(1 if letter == "Z" else self.stem for letter in self.axes_out)

    @property
    def step(self) -> tuple[int, ...]:
        """Lengths the network can take are multiples of this, per axis of the result. A stack to project may have any
        number of planes."""
        if self.foreign is not None:
            return self.foreign.step
        pooled = self.surface.step if self.projects else (1,) * len(self.axes_out)
        return tuple(math.lcm(n * 2**self.depth, pool) for n, pool in zip(self.folding, pooled, strict=True))

    @classmethod
    def paper(cls, name: str, **changes: Any) -> Recipe:
        """The network and training of the paper for one of its experiments (Supp. Table 3)."""
        if name not in _PAPER:
            raise ModelError(
                f"The paper has no experiment called '{name}' here. Choose from {', '.join(sorted(_PAPER))}. "
                f"A small network of our own is Recipe.fast (--preset fast)."
            )
        chosen = dict(_PAPER[name])
        channels = chosen.pop("channels", 1)
        return cls(**{"channels_in": channels, "channels_out": channels, **_PAPER_TRAINING, **chosen, **changes})

    @classmethod
    def fast(cls, axes: str, **changes: Any) -> Recipe:
        """A small network for large images: five times as fast, a few percent more error after minutes of training."""
        return cls(**{"axes": axes, **FAST, **changes})

    def change(self, **changes: Any) -> Recipe:
        """A copy with some fields changed."""
        if unknown := sorted(set(changes) - {field.name for field in fields(self)}):
            raise ModelError(f"A recipe has no field called {', '.join(unknown)}.")
        return replace(self, **changes)

    def starting_from(self, start: Recipe) -> Recipe:
        """This training for a network with the layers of `start`, so that it can start from its weights.

        Patches stay this recipe's where they fit those layers. Raises ModelError where the two are for other images.
        """
        if start.foreign is not None:
            raise ModelError("This model is a graph made by others (ONNX): it can restore, but not be trained further.")
        described = [
            f"{one.task} on {one.axes}, {one.channels_in} to {one.channels_out} channels"
            + "".join(f", {letter} {factor:g} times finer" for letter, factor in one.finer.items())
            for one in (start, self)
        ]
        if described[0] != described[1]:
            raise ModelError(
                f"A training starts from a model for the same images, but this model is for {described[0]}; the images "
                f"need {described[1]}. Choose another model to start from, or start from none."
            )
        layers = {name: getattr(start, name) for name in _LAYERS}
        fits = all(n % step == 0 for n, step in zip(self.patch, start.step, strict=True))
        return self.change(**layers, patch=self.patch if fits else start.patch)

    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON can hold; later fields only where they matter, so that older programs can read it."""
        unused = [one.name for one in fields(self) if one.name in _LATER and getattr(self, one.name) == one.default]
        unused += ["optimizer"] * (self.optimizer == "adam")  # as of all earlier models
        return {name: value for name, value in to_json(self).items() if name not in unused}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Recipe:
        """The recipe that `to_json` wrote. Raises ModelError for fields this version does not know."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown or "axes" not in values:
            wrong = f"the unknown fields {', '.join(unknown)}" if unknown else "no axes"
            raise ModelError(f"This recipe has {wrong}: it was written by another version or is damaged.")
        given: dict[str, Any] = {"optimizer": "adam"}
        given |= {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        try:
            if isinstance(given.get("projection"), dict):
                given["projection"] = made(SurfaceLayers, given["projection"], _LAYERS_FORM)
            if given.get("foreign") is not None:
                given["foreign"] = made(Foreign, given["foreign"], _GRAPH_FORM)
            return cls(**given)
        except (ModelError, AxesError) as problem:
            raise ModelError(f"The model's recipe is damaged or of another version. {problem}") from problem
