"""Laplace mixtures, held against scipy's single Laplace and against counting and integrating by brute force."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from veriscope import laplace
from veriscope.errors import DataError

means = st.floats(-5, 5)
scales = st.floats(1e-3, 3)
shares = st.floats(1e-4, 1 - 1e-4)
mixtures = st.lists(st.tuples(means, scales), min_size=1, max_size=6).map(lambda pairs: np.array(pairs).T)


def ensemble(members: int = 5, shape: tuple[int, ...] = (7, 9), seed: int = 0, dtype: Any = np.float64) -> Any:
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 1, (members, *shape)) * rng.choice([0.01, 0.3, 3], shape)
    return mean.astype(dtype), (10 ** rng.uniform(-3, 0, (members, *shape))).astype(dtype)


def density(mixture: Any, z: float) -> float:
    mu, b = mixture
    return float(np.mean(np.exp(-np.abs(z - mu) / b) / (2 * b)))


# -- one Laplace is scipy's -------------------------------------------------------------------------


@given(mu=means, b=scales, value=means, u=shares, eps=st.floats(0, 4))
@settings(deadline=None)
def test_one_member_is_scipys_laplace(mu: float, b: float, value: float, u: float, eps: float) -> None:
    mean, scale, truth = np.array([mu]), np.array([b]), stats.laplace(mu, b)
    if truth.pdf(value) > 0:  # scipy takes the logarithm of the density, which is 0 far out
        assert_allclose(laplace.log_likelihood(mean, scale, value), truth.logpdf(value), rtol=1e-12, atol=1e-12)
    assert_allclose(laplace.cdf(mean, scale, value), truth.cdf(value), rtol=1e-12)
    assert_allclose(laplace.quantile(mean, scale, u), truth.ppf(u), rtol=1e-9, atol=1e-11)
    expected = truth.cdf(mu + eps) - truth.cdf(mu - eps)
    assert_allclose(laplace.interval_probability(mean, scale, eps), expected, rtol=1e-9, atol=1e-11)
    assert_allclose(laplace.symmetric_interval(mean, scale, u), truth.ppf(0.5 + u / 2) - mu, rtol=1e-9, atol=1e-11)
    assert_allclose(laplace.entropy(mean, scale), truth.entropy(), rtol=1e-12, atol=1e-12)
    assert laplace.disagreement(mean, scale) == 0


# -- mixtures ---------------------------------------------------------------------------------------


@given(mixture=mixtures, value=means)
@settings(deadline=None)
def test_likelihood_and_cdf_are_the_means_over_members(mixture: Any, value: float) -> None:
    mu, b = mixture
    with np.errstate(divide="ignore"):
        expected = np.log(density(mixture, value))
    if np.isfinite(expected):  # far out the plain formula is 0, whose logarithm says nothing
        assert_allclose(laplace.log_likelihood(mu, b, value), expected, rtol=1e-10, atol=1e-10)
    assert np.isfinite(laplace.log_likelihood(mu, b, value))
    assert_allclose(laplace.cdf(mu, b, value), stats.laplace(mu, b).cdf(value).mean(), rtol=1e-12)


@given(mixture=mixtures, u=shares)
@settings(deadline=None)
def test_quantile_undoes_cdf(mixture: Any, u: float) -> None:
    mu, b = mixture
    found = laplace.cdf(mu, b, laplace.quantile(mu, b, u))
    steepest = np.mean(
        0.5 / b
    )  # the quantile is exact to the floats beside it, the cdf moves at most this much for that
    assert_allclose(found, u, rtol=1e-9, atol=1e-14 * steepest)


@given(mixture=mixtures, p=shares)
@settings(deadline=None)
def test_symmetric_interval_holds_the_share_asked_for(mixture: Any, p: float) -> None:
    mu, b = mixture
    half = laplace.symmetric_interval(mu, b, p)
    assert_allclose(laplace.interval_probability(mu, b, half), p, rtol=1e-9, atol=1e-13 * np.mean(0.5 / b))


@given(mixture=mixtures, eps=st.floats(0, 6))
@settings(deadline=None)
def test_interval_probability_is_the_difference_of_two_cdf(mixture: Any, eps: float) -> None:
    mu, b = mixture
    centre = mu.mean()
    expected = laplace.cdf(mu, b, centre + eps) - laplace.cdf(mu, b, centre - eps)
    assert_allclose(laplace.interval_probability(mu, b, eps), expected, atol=1e-11)


def test_small_interval_probabilities_keep_their_digits_in_float32() -> None:
    mean, scale = np.array([[0.0], [2.0]], np.float32), np.full((2, 1), 0.05, np.float32)
    exact = 0.5 * np.exp(-(1 - 1e-3) / 0.05) * -np.expm1(-2e-3 / 0.05)  # both members lie 1 from the centre
    assert_allclose(laplace.interval_probability(mean, scale, 1e-3), exact, rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("u", [1e-6, 0.05, 0.5, 0.95, 1 - 1e-6])
def test_quantiles_are_exact_to_the_floats(dtype: Any, u: float) -> None:
    mean, scale = ensemble(dtype=dtype)
    found = laplace.quantile(mean, scale, u)
    assert found.dtype == dtype
    low = found.astype(float) - 40 * np.finfo(dtype).eps * (np.abs(found) + scale.max(0))
    high = found.astype(float) + 40 * np.finfo(dtype).eps * (np.abs(found) + scale.max(0))
    exact = mean.astype(float), scale.astype(float)
    tolerance = 8 * np.finfo(dtype).eps  # where the density is nearly 0 many values are the quantile
    assert (laplace.cdf(*exact, low) <= u + tolerance).all()
    assert (laplace.cdf(*exact, high) >= u - tolerance).all()


def test_large_offsets_do_not_spoil_float32() -> None:
    mean, scale = ensemble(dtype=np.float32)
    shifted = laplace.quantile(mean + np.float32(4096), scale, 0.9)
    assert_allclose(shifted - 4096, laplace.quantile(mean, scale, 0.9), atol=2e-3)  # floats near 4096 lie 5e-4 apart


def test_quantiles_come_in_order_and_mirror() -> None:
    mean, scale = ensemble()
    low, middle, high = (laplace.quantile(mean, scale, u) for u in (0.1, 0.5, 0.9))
    assert (low < middle).all()
    assert (middle < high).all()
    assert_allclose(laplace.quantile(-mean, scale, 0.1), -high, rtol=1e-12, atol=1e-12)


def test_one_share_per_pixel_is_the_same_as_one_by_one() -> None:
    mean, scale = ensemble(shape=(4,))
    u = np.array([0.01, 0.3, 0.6, 0.99])
    for function in (laplace.quantile, laplace.symmetric_interval, laplace.cdf, laplace.interval_probability):
        together = function(mean, scale, u)
        assert_allclose(together, [function(mean[:, i], scale[:, i], u[i]) for i in range(4)], rtol=1e-12, atol=1e-12)


def test_many_values_of_one_pixel() -> None:
    mean, scale = ensemble(shape=())
    u = np.linspace(0.05, 0.95, 19)
    assert_allclose(laplace.cdf(mean, scale, laplace.quantile(mean, scale, u)), u, rtol=1e-9)


def test_blocks_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    mean, scale = ensemble(3, (5, 11))
    whole = (
        laplace.quantile(mean, scale, 0.3),
        laplace.symmetric_interval(mean, scale, 0.3),
        laplace.entropy(mean, scale),
    )
    monkeypatch.setattr(laplace, "_BLOCK", 4)
    parts = (
        laplace.quantile(mean, scale, 0.3),
        laplace.symmetric_interval(mean, scale, 0.3),
        laplace.entropy(mean, scale),
    )
    for one, other in zip(whole, parts, strict=True):
        assert one.shape == (5, 11)
        assert_allclose(one, other, rtol=1e-12)


# -- entropy ----------------------------------------------------------------------------------------


def hard_cases(members: int, count: int) -> Any:
    """Scales from 1e-3 to 1, means up to 2 apart: at random, all equal, in two far groups, one sharp among broad."""
    rng = np.random.default_rng(members)
    mean = rng.uniform(0, 1, (members, count)) * 10 ** rng.uniform(-3, np.log10(2), count)
    scale = 10 ** rng.uniform(-3, 0, (members, count))
    kind = np.arange(count) % 8
    mean[:, kind == 1] = mean[:1, kind == 1]
    scale[:, kind == 2] = scale[:1, kind == 2]
    mean[members // 2 :, kind == 3] = mean[:1, kind == 3] + 2
    scale[:, kind == 3] = 1e-3
    scale[:, kind == 4] = 1.0
    scale[0, kind == 5] = 1e-3
    scale[1:, kind == 5] = 1.0
    mean[:, kind == 6] *= 2 / np.ptp(mean[:, kind == 6], 0)
    return mean, scale


def integrated_entropy(mean: Any, scale: Any, nodes: int) -> Any:
    """Composite Gauss-Legendre rule between points at 0 to 40 scales from every member's mean."""
    steps = np.array([0, 0.25, 0.5, 1, 2, 4, 8, 16, 40])
    edges = np.concatenate([mean + side * step * scale for step in steps for side in (-1, 1)])
    edges.sort(axis=0)
    at, weight = np.polynomial.legendre.leggauss(nodes)
    total = np.zeros(mean.shape[1])
    for low, high in pairwise(edges):
        z = low + (high - low) * 0.5 * (at[:, None] + 1)
        p = np.mean([np.exp(-np.abs(z - mu) / b) / (2 * b) for mu, b in zip(mean, scale, strict=True)], axis=0)
        total -= 0.5 * (high - low) * (weight @ (p * np.log(np.maximum(p, 1e-300))))
    return total


@pytest.fixture(scope="module", params=[2, 3, 5, 8, 16])
def known(request: pytest.FixtureRequest) -> Any:
    """480 hard cases and their entropies; two rules agree on these to 1e-9."""
    mean, scale = hard_cases(request.param, 480)
    fine = integrated_entropy(mean, scale, 16)
    assert_allclose(fine, integrated_entropy(mean, scale, 12), atol=1e-9)
    return mean, scale, fine


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entropy_is_the_integral(known: Any, dtype: Any) -> None:
    mean, scale, exact = known
    error = np.abs(laplace.entropy(mean.astype(dtype), scale.astype(dtype)) - exact)
    assert error.max() < 2.5e-3
    assert error.mean() < 3e-4


def test_precise_entropy_is_the_integral_to_the_fifth_digit(known: Any) -> None:
    mean, scale, exact = known
    assert np.abs(laplace.entropy(mean, scale, precise=True) - exact).max() < 5e-5


def test_disagreement_is_what_entropy_has_beyond_its_members(known: Any) -> None:
    mean, scale, exact = known
    expected = (exact - (1 + np.log(2 * scale)).mean(0)) / np.log(len(mean))
    assert_allclose(laplace.disagreement(mean, scale), expected, atol=3e-3)
    assert_allclose(laplace.disagreement(mean, scale, precise=True), expected, atol=5e-5)


@pytest.mark.parametrize("members", [2, 5, 16])
def test_disagreement_runs_from_0_to_1(members: int) -> None:
    scale = 10 ** np.random.default_rng(0).uniform(-3, 0, 50)
    same, apart = np.zeros((members, 50)), np.arange(float(members))[:, None] * np.full(50, 1e3)
    scales = np.broadcast_to(scale, (members, 50))
    assert_allclose(laplace.disagreement(same, scales), 0, atol=1e-12)
    assert_allclose(laplace.disagreement(apart, scales), 1, atol=1e-6)
    assert_allclose(laplace.disagreement(same.astype(np.float32), scales.astype(np.float32)), 0, atol=1e-6)
    between = laplace.disagreement(*ensemble())
    assert ((between >= 0) & (between <= 1)).all()


def test_disagreement_does_not_depend_on_the_unit_or_on_the_order_of_the_members(known: Any) -> None:
    mean, scale, _ = known
    found = laplace.disagreement(mean, scale)
    assert_allclose(laplace.disagreement(37 * mean + 1200, 37 * scale), found, atol=1e-9)
    assert_allclose(laplace.disagreement(mean[::-1], scale[::-1]), found, atol=1e-12)


# -- sampling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_samples_follow_the_mixture(library: str) -> None:
    mu, b = np.array([-1.0, 0.5, 3.0]), np.array([0.3, 1.0, 0.1])
    mean, scale = (np.repeat(values[:, None], 20000, axis=1).astype(np.float32) for values in (mu, b))
    if library == "torch":
        drawn = laplace.sample(torch.from_numpy(mean), torch.from_numpy(scale), seed=5).numpy()
    else:
        drawn = laplace.sample(mean, scale, seed=5)
    assert drawn.dtype == np.float32
    assert stats.kstest(drawn, lambda z: laplace.cdf(mu, b, z)).pvalue > 0.01


def test_samples_repeat_with_their_seed() -> None:
    for mean, scale in (ensemble(), tuple(map(torch.from_numpy, ensemble()))):
        once, again, other = (np.asarray(laplace.sample(mean, scale, seed)) for seed in (1, 1, 2))
        assert (once == again).all()
        assert (once != other).all()


whole_shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


@given(whole=whole_shapes, data=st.data())
@settings(deadline=None)
def test_a_part_of_a_sample_is_that_part_of_the_whole_sample(whole: tuple[int, ...], data: st.DataObject) -> None:
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in whole]
    part = tuple(slice(start, stop) for start, stop in ends)
    mean, scale = ensemble(3, whole)
    expected = laplace.sample(mean, scale, 11)[part]
    corner = [start for start, _ in ends]
    found = laplace.sample(mean[(slice(None), *part)], scale[(slice(None), *part)], 11, corner=corner, whole=whole)
    assert (found == expected).all()


def test_samples_far_out_are_as_frequent_as_they_should_be() -> None:
    n = 10**6
    drawn = laplace.sample(np.zeros((3, n), np.float32), np.ones((3, n), np.float32), 2)
    for far in (3.0, 6.0, 9.0):
        for side in (-1, 1):
            expected = n * np.exp(-far) / 2
            assert abs(np.count_nonzero(side * drawn > far) - expected) < 4 * expected**0.5 + 1


@pytest.mark.parametrize("members", [1, 2, 3, 5, 7, 64, 1000])
def test_the_first_and_the_last_number_that_can_be_drawn_give_finite_values(members: int) -> None:
    ends = np.array([0.0, 1 - 2.0**-53])
    for dtype in (np.float32, np.float64):
        mean = np.repeat(np.arange(members, dtype=dtype)[:, None], 2, axis=1)
        first, last = laplace._picked(np, mean, np.ones_like(mean), ends)
        assert first == 0  # at the mean of the first member
        assert members - 1 + 25 < last < members - 1 + 40


def test_numpy_and_torch_draw_the_same() -> None:
    mean, scale = ensemble()
    drawn = laplace.sample(torch.from_numpy(mean), torch.from_numpy(scale), 3)
    assert (drawn.numpy() == laplace.sample(mean, scale, 3)).all()


def test_parts_of_samples_lie_within_the_whole() -> None:
    mean, scale = ensemble()
    with pytest.raises(DataError, match="does not lie within"):
        laplace.sample(mean, scale, corner=(1, 0), whole=(7, 9))


# -- NumPy or torch, what goes in comes out ---------------------------------------------------------

CALLS: dict[str, tuple[Any, tuple[float, ...]]] = {
    "log_likelihood": (laplace.log_likelihood, (0.3,)),
    "cdf": (laplace.cdf, (0.3,)),
    "interval_probability": (laplace.interval_probability, (0.2,)),
    "quantile": (laplace.quantile, (0.8,)),
    "symmetric_interval": (laplace.symmetric_interval, (0.8,)),
    "entropy": (laplace.entropy, ()),
    "disagreement": (laplace.disagreement, ()),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch_and_numpy_agree(name: str, members: int, dtype: Any) -> None:
    function, rest = CALLS[name]
    mean, scale = ensemble(members, (3, 4, 2), dtype=dtype)
    by_numpy: Any = function(mean, scale, *rest)
    by_torch: Any = function(torch.from_numpy(mean), torch.from_numpy(scale), *rest)
    assert by_numpy.dtype == dtype
    assert by_torch.numpy().dtype == dtype
    assert by_numpy.shape == tuple(by_torch.shape) == (3, 4, 2)
    tolerance = 2e-5 if dtype == np.float32 else 1e-9
    assert_allclose(by_torch.numpy(), by_numpy, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["quantile", "symmetric_interval", "entropy", "disagreement"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_way_of_the_gpu_agrees_too(name: str, dtype: Any) -> None:
    function, rest = CALLS[name]
    mean, scale = ensemble(5, (3, 4), dtype=dtype)
    by_torch = function.__wrapped__(torch.from_numpy(mean), torch.from_numpy(scale), *rest)
    assert by_torch.numpy().dtype == dtype
    tolerance = 2e-5 if dtype == np.float32 else 1e-9
    assert_allclose(by_torch.numpy(), function(mean, scale, *rest), rtol=tolerance, atol=tolerance)


def test_half_precision_comes_back_as_half_precision() -> None:
    mean, scale = (torch.from_numpy(values).to(torch.bfloat16) for values in ensemble())
    assert laplace.quantile(mean, scale, 0.9).dtype == torch.bfloat16


def test_likelihood_can_be_differentiated() -> None:
    mean, scale = (torch.from_numpy(values).requires_grad_() for values in ensemble(2, (3,)))
    laplace.log_likelihood(mean, scale, torch.zeros(3)).sum().backward()
    assert mean.grad is not None
    assert torch.isfinite(mean.grad).all()
    assert not laplace.quantile(mean, scale, 0.9).requires_grad


# -- bad input --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "scale", "says"),
    [
        (np.zeros((2, 3)), np.ones((2, 4)), r"same shape.*\(2, 3\) and \(2, 4\)"),
        (np.zeros((0, 3)), np.ones((0, 3)), "M at least 1"),
        (np.zeros((2, 3)), np.zeros((2, 3)), "above 0, but the lowest is 0.0"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), "above 0"),
        (np.full((2, 3), np.inf), np.ones((2, 3)), "NaN or infinite"),
        (np.zeros((2, 3)), torch.ones(2, 3), "both be"),
    ],
)
def test_unsound_members_are_refused(mean: Any, scale: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        laplace.quantile(mean, scale, 0.5)


@pytest.mark.parametrize("u", [0, 1, -0.1, 90, np.array([0.2, 1.5]), float("nan")])
def test_probabilities_lie_between_0_and_1(u: Any) -> None:
    mean, scale = np.zeros((1, 2)), np.ones((1, 2))
    with pytest.raises(DataError, match="between 0 and 1"):
        laplace.quantile(mean, scale, u)
    with pytest.raises(DataError, match="between 0 and 1"):
        laplace.symmetric_interval(mean, scale, u)


def test_half_widths_are_not_negative() -> None:
    with pytest.raises(DataError, match=r"0 or more, but -0\.1"):
        laplace.interval_probability(np.zeros((1, 2)), np.ones((1, 2)), -0.1)
