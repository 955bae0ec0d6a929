"""Should the networks predict the shape of a pixel's distribution too? Laplace against Gaussian, Student and others.

    python experiments/shapes.py --models DIR --only w2s0 w2s1      # networks of benchmarks/calibration.py
    python experiments/shapes.py --minutes 3                         # one network learned beside each likelihood

The last layer of the scales is fitted outright after every round of training. So each shape is given the same features
of the same networks, and its own last layer, fitted to the same patches: the scale alone (Laplace, Gaussian), or scale
and shape of every pixel (generalised normal: the exponent; Student: the degrees of freedom). With --minutes the
features are learned beside these likelihoods too (of the shape that the fit starts from).

Predictions are then put right on the images kept aside as after every training (a factor by predicted scale and
texture, then the map of probabilities), and held against the truth of the test images. CRPS in parts of 1000 of the
normalised range; likelihood higher, all else lower is better.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special, stats

import veriscope as vs
from veriscope.apps.demo import _nuclei
from veriscope.calibrated import CENTRAL, CUMULATIVE, Sample, _fit_level, _knots
from veriscope.images.conditions import TRAINING, part, pooled, read_conditions
from veriscope.images.pairing import Pairs
from veriscope.judging.calibration import EPS, reliability_of
from veriscope.networks.unet import SMALLEST_SCALE
from veriscope.reproducing.material import CHECKED
from veriscope.training import aside
from veriscope.training.material import Cutting
from veriscope.training.scale_layer import features_and_errors

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
import calibration
import machine
import w2s

PATCHES = 256  # that the last layers are fitted to, as after the last round of a training
PIXELS = 2**14  # of an image
ASIDE, LEARNED = 8, 8  # images kept aside, and learned from, that put predictions right
LEAST = 1e-6  # of an error
GRID = np.sinh(np.linspace(-6, 6, 161)) / np.sinh(6) * 40  # mean errors from the mean, for the CRPS


@dataclass(frozen=True)
class Shape:
    """A symmetric distribution around 0 by its mean |error| and, where it has one, a number for its shape."""

    name: str
    start: float | None  # of the raw output for the shape, None where there is none
    shape: Callable[[Any], Any]  # of the raw output, torch
    surprise: Callable[[Any, Any, Any], Any]  # negative log likelihood of |error|, torch: error, mean error, shape
    cdf: Callable[[Any, Any, Any], Any]  # NumPy: value, mean error, shape
    log_density: Callable[[Any, Any, Any], Any]


LAPLACE = Shape(
    "Laplace",
    None,
    lambda raw: raw,
    lambda error, mean, _: error / mean + torch.log(2 * mean),
    lambda value, mean, _: stats.laplace.cdf(value, scale=mean),
    lambda value, mean, _: stats.laplace.logpdf(value, scale=mean),
)
SIGMA = math.sqrt(math.pi / 2)  # of a Gaussian, for a mean |error| of 1
GAUSSIAN = Shape(
    "Gaussian",
    None,
    lambda raw: raw,
    lambda error, mean, _: (error / (SIGMA * mean)).square() / 2 + torch.log(SIGMA * mean * math.sqrt(2 * math.pi)),
    lambda value, mean, _: special.ndtr(value / (SIGMA * mean)),
    lambda value, mean, _: stats.norm.logpdf(value, scale=SIGMA * mean),
)


def _alpha(mean: Any, beta: Any, gammaln: Any, exp: Any) -> Any:
    """The scale of a generalised normal distribution with this mean |error|, alpha Gamma(2/beta) / Gamma(1/beta)."""
    return mean * exp(gammaln(1 / beta) - gammaln(2 / beta))


def _generalised_surprise(error: Any, mean: Any, beta: Any) -> Any:
    alpha = _alpha(mean, beta, torch.lgamma, torch.exp)
    return (error.clamp_min(LEAST) / alpha) ** beta + torch.log(2 * alpha / beta) + torch.lgamma(1 / beta)


def _generalised_cdf(value: Any, mean: Any, beta: Any) -> Any:
    alpha = _alpha(mean, beta, special.gammaln, np.exp)
    return 0.5 + 0.5 * np.sign(value) * special.gammainc(1 / beta, (np.abs(value) / alpha) ** beta)


def _generalised_log_density(value: Any, mean: Any, beta: Any) -> Any:
    alpha = _alpha(mean, beta, special.gammaln, np.exp)
    return -((np.abs(value) / alpha) ** beta) - np.log(2 * alpha / beta) - special.gammaln(1 / beta)


GENERALISED = Shape(
    "generalised normal",
    0.0,
    lambda raw: 0.5 + 2.5 * torch.sigmoid(raw),  # 1 is Laplace, 2 Gaussian
    _generalised_surprise,
    _generalised_cdf,
    _generalised_log_density,
)


def _sigma(mean: Any, nu: Any, gammaln: Any, exp: Any) -> Any:
    """The scale of a Student distribution with this mean |error|."""
    return mean * (nu - 1) * exp(gammaln(nu / 2) - gammaln((nu + 1) / 2)) * math.sqrt(math.pi) / (2 * nu**0.5)


def _student_surprise(error: Any, mean: Any, nu: Any) -> Any:
    sigma = _sigma(mean, nu, torch.lgamma, torch.exp)
    normal = torch.lgamma(nu / 2) - torch.lgamma((nu + 1) / 2) + torch.log(sigma * (nu * math.pi).sqrt())
    return (nu + 1) / 2 * torch.log1p((error / sigma).square() / nu) + normal


STUDENT = Shape(
    "Student",
    2.0,
    lambda raw: 1.5 + 30 * torch.sigmoid(raw - 4),  # degrees of freedom
    _student_surprise,
    lambda value, mean, nu: special.stdtr(nu, value / _sigma(mean, nu, special.gammaln, np.exp)),
    lambda value, mean, nu: stats.t.logpdf(value, nu, scale=_sigma(mean, nu, special.gammaln, np.exp)),
)
SHAPES = LAPLACE, GAUSSIAN, GENERALISED, STUDENT


# -- the last layer ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """The last layer of one network for one shape: features (n, F) to mean |error| and shape, (n,) each."""

    weight: torch.Tensor  # (F, 1 or 2)
    bias: torch.Tensor
    of: Shape

    def __call__(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raw = features @ self.weight + self.bias
        return F.softplus(raw[:, 0]) + SMALLEST_SCALE, self.of.shape(raw[:, -1])


def fitted(shape: Shape, features: torch.Tensor, errors: torch.Tensor) -> Layer:
    """The layer with the smallest negative log likelihood, as `losses.fit_scale_layer` finds it."""
    deviation, centre = features.std(0), features.mean(0)
    deviation = deviation.clamp_min(0.1 * float(deviation.max()) + 1e-6)
    standard = (features - centre) / deviation
    outputs = 1 if shape.start is None else 2
    weight = torch.zeros(features.shape[1], outputs, requires_grad=True)
    first = math.log(math.expm1(max(float(errors.mean()), SMALLEST_SCALE)))
    bias = torch.tensor([first, shape.start][:outputs], requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=100, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = shape.surprise(errors, *Layer(weight, bias, shape)(standard)).mean() + 1e-3 * weight.square().sum()
        value.backward()
        return value.detach()

    search.step(loss)
    with torch.no_grad():
        return Layer(weight / deviation[:, None], bias - centre @ (weight / deviation[:, None]), shape)


# -- pixels -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pixels(Sample):
    """Pixels of an image: with what the networks' last layers are given, and later with one shape's predictions."""

    features: Any = None  # (M, n, F), torch
    shapes: Any = None  # (M, n)
    of: Shape = LAPLACE

    @cached_property
    def scale(self) -> Any:
        """Mean |error| that the mixture predicts around the mean of means: of others than Laplace as if Gaussian."""
        if self.of is LAPLACE:
            return super().scale
        sigma, off = SIGMA * self.scales, np.abs(self.means - self.means.mean(0))
        return (self.scales * np.exp(-np.square(off / sigma) / 2) + off * special.erf(off / sigma / math.sqrt(2))).mean(
            0
        )

    def predicted(self, layers: list[Layer]) -> Pixels:
        with torch.no_grad():
            pairs = [layer(features) for layer, features in zip(layers, self.features, strict=True)]
        scales, shapes = (np.stack([one.numpy() for one in part]) for part in zip(*pairs, strict=True))
        return replace(self, scales=scales, shapes=np.broadcast_to(shapes, scales.shape), of=layers[0].of)

    def mixture(self, value: Any) -> Any:
        """Probability of a truth below `value`, (..., n)."""
        each = zip(self.means, self.scales, self.shapes, strict=True)
        return np.mean([self.of.cdf(value - mean, scale, shape) for mean, scale, shape in each], axis=0)

    def log_density(self, value: Any) -> Any:
        each = zip(self.means, self.scales, self.shapes, strict=True)
        logs = [self.of.log_density(value - mean, scale, shape) for mean, scale, shape in each]
        return special.logsumexp(logs, axis=0) - math.log(len(logs))

    def central(self, half: Any) -> Any:
        centre = self.means.mean(0)
        return self.mixture(centre + half) - self.mixture(centre - half)


def pixels(ensemble: Any, field: Any, number: int, trained_on: bool) -> Pixels | None:
    """Of an image as a whole, restored as a user would."""
    lengths = [size // step * step for size, step in zip(field.shape, ensemble.recipe.step, strict=True)]
    while math.prod(lengths) > aside.LARGEST:
        aside._halve(lengths, ensemble.recipe.step)
    pair = aside._normalized(ensemble, field, tuple(slice(0, length) for length in lengths))
    if pair is None:
        return None
    low, high = pair
    rng = np.random.default_rng(number)
    means, features = [], []
    some = rng.permutation(math.prod(lengths))[:PIXELS]
    with torch.inference_mode():
        image = torch.from_numpy(np.ascontiguousarray(low))[None]
        for member in ensemble.members:
            seen = member.eval().unet.features(image)
            means.append(member.unet.answer(seen, image)[0, 0].numpy())
            features.append(seen[0].flatten(1).T[some].clone())
    whole = np.stack(means)
    mean, truth = whole.mean(0).ravel().astype(np.float64), high[0].ravel().astype(np.float64)
    slope, offset = aside._line(mean, truth)
    matched = ((truth - offset) / (slope if slope > 0 else 1.0)).astype(np.float32)
    texture = aside._predicted_of(ensemble, field, low, high, torch.device("cpu")).texture[0]
    chosen = whole.reshape(len(whole), -1)[:, some]
    return Pixels(
        chosen,
        np.ones_like(chosen),
        matched[some],
        np.zeros(len(some), np.intp),
        texture,
        number,
        trained_on,
        torch.stack(features),
    )


# -- figures ----------------------------------------------------------------------------------------------------------


def figures(learned: list[Pixels], tests: list[Pixels], right: bool) -> str:
    """Of predictions on `tests`, put `right` by `learned` or as they are."""
    level, of_trained = _fit_level(learned)
    if not right:
        level = of_trained = replace(level, log_factor=0 * level.log_factor, slope=0 * level.slope)
    inner, below = [], []
    for one in learned:
        wide = (of_trained if one.trained_on else level).factor(one.scale, one.texture)
        inner.append(one.central(one.error / wide))
        below.append(one.mixture(one.means.mean(0) + (one.truth - one.means.mean(0)) / wide))
    central, cumulative = _knots(np.concatenate(inner), CENTRAL), _knots(np.concatenate(below), CUMULATIVE)
    if not right:
        central, cumulative = CENTRAL, CUMULATIVE
    slopes = np.log(np.diff(CUMULATIVE) / np.diff(cumulative))
    held, likelihood, crps = [], [], []
    said: list[list[Any]] = [[] for _ in EPS]
    errors = []
    for one in tests:
        wide, centre = level.factor(one.scale, one.texture), one.means.mean(0)
        span = float(np.percentile(one.truth, 99.9) - np.percentile(one.truth, 0.1))
        errors.append(one.error / span)
        for number, eps in enumerate(EPS):
            said[number].append(np.interp(one.central(eps * span / wide), central, CENTRAL))
        held.append(np.interp(one.central(one.error / wide), central, CENTRAL))
        inside = centre + (one.truth - centre) / wide
        place = np.searchsorted(cumulative[1:-1], one.mixture(inside), side="right")
        likelihood.append(one.log_density(inside) + slopes[place] - np.log(wide) + np.log(span))
        at = GRID[:, None] * one.scale
        right = np.interp(one.mixture(centre + at), cumulative, CUMULATIVE)
        off = np.square(right - (inside <= centre + at))
        crps.append(np.trapezoid(off, at, axis=0) * wide / span)
    ece = [
        reliability_of(np.concatenate(p), np.concatenate(errors) <= e, e).ece for p, e in zip(said, EPS, strict=True)
    ]
    inside = [float(np.mean(np.concatenate(held) <= p)) for p in (0.5, 0.9, 0.99)]
    text = (
        " ".join(f"{100 * value:5.1f}" for value in ece) + "   " + " ".join(f"{100 * value:5.1f}" for value in inside)
    )
    return f"{text}   {np.concatenate(likelihood).mean():7.3f} {1000 * np.concatenate(crps).mean():6.2f}"


# -- data -------------------------------------------------------------------------------------------------------------


def sources(name: str, folder: Path, model: Any) -> list[Any]:
    """What was learned from, what was kept aside, and the test images; simulated truths have the noise of training."""
    tests, checking = calibration.pairs_of(name, folder, model)
    assert checking is not None
    if name in calibration.STANDS:
        rng = np.random.default_rng(1)
        tests = Pairs([calibration.with_noise(name, pair, rng) for pair in tests])
        known = pooled(read_conditions(part(folder / f"{name}-data", TRAINING)))
        learned = known.split(check=CHECKED, test=0, seed=0)[0]
    elif name == "demo":
        learned = _nuclei(0).training
    else:
        places = w2s.DATA / f"ch{name[3]}"
        known = vs.read_pairs(places / "low", places / "high", axes="YX")
        learned = Pairs([pair for pair in known if int(pair.name[-3:]) not in w2s.TESTED]).split(0.1, 0, 0)[0]
    return [Cutting(foreground=None).patches(model.recipe, pairs)[0] for pairs in (learned, checking, tests)]


def row(title: str, ensemble: Any, cuts: list[Any], shapes: Sequence[Shape] = SHAPES) -> Iterator[str]:
    """Lines for one ensemble, one for each of `shapes`."""
    learned, checking, tests = cuts
    fitting = []
    for member in ensemble.members:
        chosen = np.linspace(0, len(learned) - 1, PATCHES).round().astype(int).tolist()
        batches = (chosen[first : first + 8] for first in range(0, PATCHES, 8))
        pairs = (map(torch.from_numpy, learned.check_batch(batch)) for batch in batches)
        found = [features_and_errors(member, low, high) for low, high in pairs]
        seen, errors = (torch.cat(parts) for parts in zip(*found, strict=True))
        some = torch.randperm(len(seen), generator=torch.Generator().manual_seed(0))[: 2**18]
        fitting.append((seen[some].clone(), errors[some, 0].clone()))
    fields = [(number, field, False) for number, field in enumerate(checking.fields()[:ASIDE])]
    fields += [(100 + number, field, True) for number, field in enumerate(learned.fields()[:LEARNED])]
    known = [one for number, field, old in fields if (one := pixels(ensemble, field, number, old))]
    asked = [one for number, field in enumerate(tests.fields()) if (one := pixels(ensemble, field, number, False))]
    for shape in shapes:
        layers = [fitted(shape, *pair) for pair in fitting]
        seen, tested = ([one.predicted(layers) for one in images] for images in (known, asked))
        yield f"{title:24} {shape.name:19} as predicted {figures(seen, tested, False)}"
        yield f"{title:24} {shape.name:19} put right    {figures(seen, tested, True)}"


def beside(shape: Shape, weight: float) -> Any:
    """As `squared_error_beside_nll`, with the likelihood of another shape, the one it starts from."""

    def loss(output: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        mean, scale = output.chunk(2, dim=1)
        errors = (truth - mean).square().flatten(1).mean(1)
        form = shape.shape(torch.full_like(scale, shape.start or 0.0))
        surprise = shape.surprise((truth - mean.detach()).abs(), scale, form).flatten(1).mean(1)
        return (errors + weight * errors.detach() * surprise).mean()

    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", type=Path, required=True, help="folder of the networks of benchmarks/calibration.py"
    )
    parser.add_argument("--only", nargs="+", default=["w2s0"])
    parser.add_argument("--minutes", type=float, help="learn one network beside each likelihood, for so long each")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    print(machine.header("Shapes of the predicted distribution, each with a last layer of its own, put right"))
    titles = " ".join(f"{eps:>5g}" for eps in EPS), "   50%   90%   99%"
    print(f"{'networks':24} {'last layer':19} {'':8} ECE% {titles[0]}   {titles[1]}    likel.   CRPS", flush=True)
    for name in given.only:
        model = vs.load(given.models / name)
        cuts = sources(name, given.models, model)
        if given.minutes is None:
            for line in row(f"{name}, {len(model)} networks", model, cuts):
                print(line, flush=True)
            continue
        for shape in SHAPES:
            loss = beside(shape, model.recipe.scale_weight)
            one = vs.train(model.recipe, cuts[0], cuts[1], members=1, minutes=given.minutes, loss=loss, progress=False)
            for line in row(f"{name}, by {shape.name}", one, cuts):
                print(line, flush=True)


if __name__ == "__main__":
    main()
