"""The mathematics of Laplace distributions and their equal-weight mixtures (SI 3).

An ensemble of M networks says for every pixel M times "Laplace with this mean and this scale"; the mixture of these,
each weighing 1/M (3.12), is what the ensemble knows. Everywhere `mean` and `scale` have the shape (M, ...), members on
axis 0 and any shape behind, in any unit of intensity; scales are above 0. One Laplace is the case M = 1.

NumPy arrays in, NumPy arrays out; torch tensors in, torch tensors out, on the same device. float32 stays float32.
`log_likelihood`, `cdf` and `interval_probability` can be differentiated by torch. Nothing here holds more than a few
values per pixel at a time beside the members themselves.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from veriscope.chance import uniform
from veriscope.cores import available
from veriscope.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    Value: TypeAlias = float | NDArray[Any] | Tensor

Array = TypeVar("Array", "NDArray[Any]", "Tensor")
Function = TypeVar("Function", bound=Callable[..., Any])

# Pixels worked on at once: small enough that every intermediate stays in the processor's cache, large on a GPU.
_BLOCK = 1 << 14
_BLOCK_TORCH = 1 << 22
_NODES = 8, 16  # of the integral for entropy and disagreement: per half gap between two means, per tail
_NODES_PRECISE = 16, 30
_FAR = 20  # of the largest scale from any mean: e^-20 is left beyond


def _in_cache(function: Function) -> Function:
    """Tensors on the CPU go through NumPy and back: block by block in the cache, that is many times faster there."""

    @functools.wraps(function)
    def called(mean: Any, scale: Any, *rest: Any, **named: Any) -> Any:
        if not (_is_tensor(mean) and _is_tensor(scale) and mean.device.type == scale.device.type == "cpu"):
            return function(mean, scale, *rest, **named)
        found = function(_plain(mean), _plain(scale), *rest, **named)
        return _answer(sys.modules["torch"].from_numpy(found), mean)

    return cast("Function", called)


def _is_tensor(values: Any) -> bool:
    torch = sys.modules.get("torch")  # whoever gives tensors has imported it
    return torch is not None and isinstance(values, torch.Tensor)


def _plain(tensor: Any) -> Any:
    wide = tensor if tensor.element_size() >= 4 or not tensor.is_floating_point() else tensor.float()
    return wide.detach().cpu().numpy()


# -- probabilities ----------------------------------------------------------------------------------


def log_likelihood(mean: Array, scale: Array, value: Value) -> Array:
    """Natural logarithm of the mixture's density at `value` (3.14): the higher, the better foreseen."""
    xp, mu, b = _members(mean, scale)
    y = _like(value, mu)
    each = [-xp.abs((y - mu[m]) / b[m]) - xp.log(2 * b[m]) for m in range(len(mu))]
    top = functools.reduce(xp.maximum, each)
    total = sum(xp.exp(term - top) for term in each)
    return _answer(top + xp.log(total) - math.log(len(each)), mean)


def cdf(mean: Array, scale: Array, value: Value) -> Array:
    """Probability that the truth lies below `value`, which is one number or one per pixel."""
    xp, mu, b = _members(mean, scale)
    return _answer(_below(xp, _like(value, mu), mu, 1 / b)[0], mean)


def interval_probability(mean: Array, scale: Array, eps: Value) -> Array:
    """Probability that the truth lies within `eps` of the mean of means (3.15). One eps >= 0, or one per pixel."""
    xp, mu, b = _members(mean, scale)
    e = _like(eps, mu)
    if not bool((e >= 0).all()):
        raise DataError(
            f"The half-width eps must be 0 or more, but {_lowest(e)} was given. Give the width as a positive number."
        )

    within = _blockwise(xp, _probability_within, mu, b, e) if xp is np else _probability_within(xp, mu, b, e)
    return _answer(within, mean)


def _probability_within(xp: Any, mu: Any, b: Any, e: Any) -> Any:
    centre = mu.mean(0)
    total: Any = 0
    for m in range(len(mu)):
        distance, inverse = xp.abs(mu[m] - centre), 1 / b[m]
        # This member's mean lies inside the interval, or outside. Neither is written as the difference of two numbers
        # near 1, so that small probabilities keep their digits.
        inside = -0.5 * (xp.expm1(-xp.abs(e - distance) * inverse) + xp.expm1(-(e + distance) * inverse))
        outside = -0.5 * xp.exp(-xp.abs(e - distance) * inverse) * xp.expm1(-2 * xp.minimum(e, distance) * inverse)
        total = total + xp.where(e >= distance, inside, outside)
    return total / len(mu)


# -- quantiles and intervals ------------------------------------------------------------------------


@_in_cache
def quantile(mean: Array, scale: Array, u: Value) -> Array:
    """The value below which the truth lies with probability `u`, strictly between 0 and 1, one number or one per pixel.

    The mixture's quantile lies between the smallest and the largest of its members' quantiles; from there Newton steps
    on the logarithm of the tail, or halving the bracket where they would leave it, until floats see no difference.
    """
    xp, mu, b = _members(mean, scale)
    below = _fraction(u, "u", mu)  # the nearer tail, and on which side it lies
    above = _like(1 - u, mu) if isinstance(u, float | int) else 1 - below
    side = xp.where(below <= above, xp.ones_like(below), -xp.ones_like(below))
    tail = xp.minimum(below, above)
    if len(mu) == 1:
        return _answer(mu[0] + side * b[0] * xp.log(2 * tail), mean)
    return _answer(_blockwise(xp, _quantile, mu, b, side, tail), mean)


def _quantile(xp: Any, mu: Any, b: Any, side: Any, tail: Any) -> Any:
    centre = mu.mean(0)
    offset = (mu - centre) * side  # a right tail is the left tail of the mirror image
    each = offset + b * xp.log(2 * tail)
    low, high = xp.amin(each, 0), xp.amax(each, 0)
    return centre + side * _root(xp, (low, 0.5 * (low + high), high), centre, (offset, 1 / b), xp.log(tail))


@_in_cache
def symmetric_interval(mean: Array, scale: Array, p: Value) -> Array:
    """Half-width of the interval around the mean of means that holds the truth with probability `p` (3.15 for eps).

    `p` lies strictly between 0 and 1, one number or one per pixel. Found between 0 and the largest
    |mean_m - centre| + scale_m ln(1 / (1 - p)) of all members.
    """
    xp, mu, b = _members(mean, scale)
    inside = _fraction(p, "p", mu)
    goal = _like(math.log1p(-p), mu) if isinstance(p, float | int) else xp.log1p(-inside)
    if len(mu) == 1:
        return _answer(-goal * b[0], mean)
    return _answer(_blockwise(xp, _half_width, mu, b, goal), mean)


def _half_width(xp: Any, mu: Any, b: Any, goal: Any) -> Any:
    distance = xp.abs(mu - mu.mean(0))
    high = xp.amax(distance - b * goal, 0)
    like_one = -goal * (distance + b * xp.exp(-distance / b)).mean(0)  # a Laplace that lies as far off on average
    # What lies outside on both sides is twice the left tail of the members and their mirror images together.
    both = xp.concatenate([distance, -distance]), xp.concatenate([1 / b, 1 / b])
    return -_root(xp, (-high, -xp.minimum(like_one, high), high * 0), high, both, goal - math.log(2))


def _below(xp: Any, y: Any, mu: Any, inverse: Any) -> tuple[Any, Any]:
    """Probability that the mixture lies below `y`, and its density there; `inverse` is 1 / scale."""
    total: Any = 0
    density: Any = 0
    for m in range(len(mu)):
        u = (y - mu[m]) * inverse[m]
        twice = xp.exp(-xp.abs(u))  # the tail beyond `y`
        total = total + xp.where(u < 0, twice, 2 - twice)
        density = density + twice * inverse[m]
    return total * (0.5 / len(mu)), density * (0.5 / len(mu))


def _root(xp: Any, bracket: tuple[Any, Any, Any], size: Any, members: tuple[Any, Any], goal: Any) -> Any:
    """Per pixel the y with the probability e^goal below it, exact to the floats beside `size`.

    `bracket`: the least that it can be, a first guess, the most. Newton's steps, each at most half as long as the one
    before; else the bracket is halved. Pixels that are done leave.
    """
    eps, tiny = float(xp.finfo(goal.dtype).eps), float(xp.finfo(goal.dtype).tiny) ** 0.5
    first, second = members
    low, y, high = bracket
    result, step = xp.empty_like(y), high - low
    where = xp.arange(len(y)) if xp is np else xp.arange(len(y), device=y.device)
    tolerance = eps * (xp.abs(size) + xp.maximum(xp.abs(low), xp.abs(high)))
    for _ in range(4 * 64):
        below, density = _below(xp, y, first, second)
        value, slope = xp.log(below), density / below
        short = value < goal
        low, high = xp.where(short, y, low), xp.where(short, high, y)
        flat = slope < tiny  # between members far apart, where only halving helps
        newton = y - (value - goal) / xp.where(flat, xp.ones_like(slope), slope)
        good = ~flat & (newton >= low) & (newton <= high) & (xp.abs(newton - y) <= 0.5 * step)
        following = xp.where(good, newton, 0.5 * (low + high))
        step = xp.abs(following - y)
        y = following
        done = (step <= tolerance) | (high - low <= tolerance)
        count = int(done.sum())
        if count == len(y):
            break
        if 2 * count > len(y):  # fewer than half are still on their way: continue with those alone
            result[where] = y
            left = ~done
            where, y, step, goal = where[left], y[left], step[left], goal[left]
            low, high, tolerance = low[left], high[left], tolerance[left]
            first, second = first[:, left], second[:, left]
    result[where] = y
    return result


def sample(
    mean: Array,
    scale: Array,
    seed: int | Sequence[int] = 0,
    *,
    corner: Sequence[int] | None = None,
    whole: Sequence[int] | None = None,
) -> Array:
    """One image drawn from the mixture, each pixel independent of its neighbours (Supp. Vid. 9). Same seed, same image.

    What is drawn for a pixel depends on the seed and on its place alone: when `mean` and `scale` are the part that
    begins at `corner` of an image of the shape `whole`, the answer is that part of the whole image's sample.
    """
    xp, mu, b = _members(mean, scale)
    if xp is not np:
        drawn = sample(_plain(mean), _plain(scale), seed, corner=corner, whole=whole)
        return _answer(xp.from_numpy(drawn).to(mu.device), mean)
    return _answer(_blockwise(xp, _picked, mu, b, uniform(tuple(mu.shape[1:]), seed, corner, whole)), mean)


def _picked(xp: Any, mu: Any, b: Any, drawn: Any) -> Any:
    """The value of the mixture that belongs to each number `drawn` from [0, 1): its digits name member, side, distance.

    Doubles leave the distance, exponential in units of the scale, more than 45 bits: up to 30 scales are reached.
    """
    places = drawn * (2 * len(mu))  # stays below 2 M after rounding
    choice = places.astype(np.intp)
    rest = 1 - (places - choice)  # above 0, at most 1
    size = np.log(rest.astype(mu.dtype))
    np.negative(size, out=size, where=(choice & 1) == 1)
    choice >>= 1
    size *= np.take_along_axis(b, choice[None], 0)[0]
    size += np.take_along_axis(mu, choice[None], 0)[0]
    return size


def mixture_mean(mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the members' means (3.13), (M, ...) -> (...)."""
    return np.asarray(mean[0] if len(mean) == 1 else np.mean(mean, axis=0, dtype=np.float32))


def mixture_scale(mean: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean distance of the mixture from its mean, (M, ...) -> (...); see `Restoration.scale`."""
    if len(mean) == 1:
        return np.asarray(scale[0])
    centre = mixture_mean(mean)
    total = np.zeros_like(centre)
    for one, width in zip(mean, scale, strict=True):
        distance = np.abs(one - centre)
        total += distance
        total += width * np.exp(-distance / width)
    total /= len(mean)
    return total


# -- entropy and disagreement -----------------------------------------------------------------------


@_in_cache
def entropy(mean: Array, scale: Array, precise: bool = False) -> Array:
    """Differential entropy of the mixture in nat (3.20): how little the ensemble knows, all causes together.

    One Laplace: 1 + ln(2 scale). A mixture has no closed form; Gauss-Legendre nodes graded towards the members' means
    leave an error below 2.5e-3 nat for 2 to 16 members, on average far less; `precise` takes twice as many nodes, in
    float64, for an error below 5e-5 nat.
    """
    xp, mu, b = _members(mean, scale)
    if len(mu) == 1:
        return _answer(1 + xp.log(2 * b[0]), mean)

    def known(xp: Any, mu: Any, b: Any) -> Any:
        return 1 + xp.log(2 * b).mean(0) + math.log(len(mu)) - _overlap(xp, mu, b, precise)

    return _answer(_blockwise(xp, known, mu, b), mean)


@_in_cache
def disagreement(mean: Array, scale: Array, precise: bool = False) -> Array:
    """How far the members contradict each other (3.20-3.29), from 0 (all say the same) to 1 (they do not overlap).

    The mixture's entropy less the members' mean entropy, in parts of ln M. A single member never contradicts itself: 0.
    `precise` as in `entropy`.
    """
    xp, mu, b = _members(mean, scale)
    if len(mu) == 1:
        return _answer(xp.zeros_like(mu[0]), mean)
    shared = _blockwise(xp, functools.partial(_overlap, precise=precise), mu, b)
    return _answer(xp.clip(1 - shared / math.log(len(mu)), 0, 1), mean)


def _overlap(xp: Any, mu: Any, b: Any, precise: bool) -> Any:
    """Entropy in nat of the question which member a value came from: 0 when members lie apart, ln M when all are equal.

    With p_m the members' densities and S their sum it is the integral of S ln S - sum_m p_m ln p_m over that of S, and
    what the members' mean entropy lacks of the mixture's is ln M less this. So errors of the integration vanish at both
    ends. The rule is graded: from each mean outwards z = mean ± s (e^v - 1), s the smallest scale, Gauss nodes in v.
    """
    given = mu.dtype
    if precise:
        mu, b = (values.astype(np.float64) if xp is np else values.double() for values in (mu, b))
    nodes, tail_nodes = _NODES_PRECISE if precise else _NODES
    take, order = xp.take_along_axis if xp is np else xp.take_along_dim, xp.argsort(mu, 0)
    mu, b = take(mu, order, 0), take(b, order, 0)
    count, tiny = len(mu), float(xp.finfo(mu.dtype).tiny)
    fine, inverse = xp.amin(b, 0), 1 / b
    far = _FAR * xp.amax(b, 0)  # from the nearest mean; beyond there is nothing left
    peak = xp.log(0.5 * inverse)
    mixed, whole = xp.zeros_like(fine), xp.zeros_like(fine)

    def add(first: int, side: int, length: Any, nodes: int) -> None:
        """The part of both integrals from the mean of member `first` over `length` to the given side."""
        at, weight = (_like(values, mu) for values in _gauss(nodes))
        top = xp.log1p(length / fine)
        offset = xp.expm1((0.5 * (at + 1))[:, None] * top)
        offset *= fine  # of every node from the first mean
        total, own = xp.zeros_like(offset), xp.zeros_like(offset)
        density, surprise = xp.empty_like(offset), xp.empty_like(offset)
        for m in range(count):  # no mean lies within: every member rises or falls all the way
            falls = m <= first if side > 0 else m >= first
            xp.multiply(offset, -inverse[m] if falls else inverse[m], out=surprise)
            surprise += peak[m] - xp.abs(mu[first] - mu[m]) * inverse[m]
            xp.exp(surprise, out=density)
            total += density
            density *= surprise
            own += density
        xp.clip(total, tiny, None, out=total)
        xp.log(total, out=surprise)
        surprise *= total
        surprise -= own
        offset += fine  # dz / dv
        offset *= 0.5 * top
        surprise *= offset
        total *= offset
        mixed[...] += weight @ surprise
        whole[...] += weight @ total

    add(0, -1, far, tail_nodes)
    add(count - 1, 1, far, tail_nodes)
    for left in range(count - 1):
        half = xp.minimum(0.5 * (mu[left + 1] - mu[left]), far)
        add(left, 1, half, nodes)
        add(left + 1, -1, half, nodes)
    mixed /= whole
    return mixed.astype(given) if xp is np else mixed.to(given)


_gauss = functools.cache(np.polynomial.legendre.leggauss)  # nodes and weights on -1 to 1


# -- NumPy or torch ---------------------------------------------------------------------------------


def _members(mean: Any, scale: Any) -> tuple[Any, Any, Any]:
    """The library of the arrays (numpy or torch) and both as floats of at least 32 bit, once known to be sound."""
    tensors = _is_tensor(mean)
    if tensors != _is_tensor(scale):
        raise DataError("mean and scale must both be NumPy arrays or both be torch tensors, not one of each.")
    xp: Any = sys.modules["torch"] if tensors else np
    mu: Any = mean if tensors else np.asarray(mean)
    b: Any = scale if tensors else np.asarray(scale)
    dtype = xp.promote_types(xp.promote_types(mu.dtype, b.dtype), xp.float32)
    mu, b = (values.to(dtype) if tensors else values.astype(dtype, copy=False) for values in (mu, b))
    if tuple(mu.shape) != tuple(b.shape) or mu.ndim == 0 or len(mu) == 0:
        raise DataError(
            f"mean and scale need the same shape, members first (M, ...) with M at least 1, but they have "
            f"{tuple(mu.shape)} and {tuple(b.shape)}. For a single distribution add an axis: mean[None], scale[None]."
        )
    if not bool((b > 0).all()):
        raise DataError(f"Every scale of a Laplace distribution must be above 0, but the lowest is {_lowest(b)}.")
    if not bool(xp.isfinite(mu).all() & xp.isfinite(b).all()):
        raise DataError("mean and scale hold NaN or infinite values. Mask or replace those first.")
    return xp, mu, b


def _like(value: Any, mu: Any) -> Any:
    """`value` in the library, dtype and place of `mu`."""
    if isinstance(mu, np.ndarray):
        return np.asarray(value, dtype=mu.dtype)
    return sys.modules["torch"].as_tensor(value, dtype=mu.dtype, device=mu.device)


def _fraction(value: Any, name: str, mu: Any) -> Any:
    """`value` like `mu`, once it is known to lie strictly between 0 and 1."""
    fraction = _like(value, mu)
    if not bool(((fraction > 0) & (fraction < 1)).all()):
        found = value if isinstance(value, float | int) else f"{_lowest(fraction)} to {-_lowest(-fraction)}"
        raise DataError(
            f"The probability {name} must lie between 0 and 1, both excluded, but {found} was given. Try 0.9."
        )
    return fraction


def _lowest(values: Any) -> float:
    return float(values.min())


def _answer(values: Any, given: Array) -> Array:
    """`values` in the floating dtype that was given (integers are answered in floats)."""
    like: Any = given
    if isinstance(values, np.ndarray | np.generic):
        dtype = np.asarray(like).dtype
        values = np.asarray(values, dtype=dtype if dtype.kind == "f" else values.dtype)
    elif like.dtype.is_floating_point:
        values = values.to(like.dtype)
    return cast("Array", values)


def _blockwise(xp: Any, function: Callable[..., Any], mu: Any, b: Any, *per_pixel: Any) -> Any:
    """`function(xp, mu, b, *per_pixel)` over flat pixels, (M, n) and (n,) at a time; answers in the shape of all."""
    shape = np.broadcast_shapes(tuple(mu.shape[1:]), *(tuple(values.shape) for values in per_pixel))
    count = len(mu)
    block = _BLOCK if xp is np else _BLOCK_TORCH
    if xp is not np:
        mu, b, *per_pixel = (values.detach() for values in (mu, b, *per_pixel))  # type: ignore[assignment]
    lift = (1,) * (len(shape) - (mu.ndim - 1))
    mu, b = (
        xp.broadcast_to(values.reshape(count, *lift, *values.shape[1:]), (count, *shape)).reshape(count, -1)
        for values in (mu, b)
    )
    flat = [xp.broadcast_to(values, shape).reshape(-1) for values in per_pixel]
    result = xp.empty_like(mu[0])

    def work(part: slice) -> None:
        result[part] = function(xp, mu[:, part], b[:, part], *(values[part] for values in flat))

    parts = [slice(start, start + block) for start in range(0, math.prod(shape), block)]
    if xp is np and len(parts) > 1:  # NumPy lets go of the interpreter in its inner loops
        with ThreadPoolExecutor(available(), thread_name_prefix="veriscope-laplace") as pool:
            list(pool.map(work, parts))
    else:
        for part in parts:
            work(part)
    return result.reshape(shape)
