"""Point-spread functions: as wide as the theory says, symmetric, the same on any voxels, and found again in a bead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass, shift

from veriscope import Image, VeriscopeError, save_image
from veriscope.simulate.psf import PSF, Objective, debye, from_words, gaussian, measured

APERTURES = st.floats(0.2, 1.0)
WAVELENGTHS = st.floats(0.4, 0.8)
INDICES = st.sampled_from([1.33, 1.4, 1.515])
KINDS: dict[str, Any] = {
    "gaussian": gaussian,
    "widefield": debye,
    "confocal": lambda *how: debye(*how, confocal=True, excitation=0.9 * how[1]),
}


def fine(objective: Objective, parts: int = 8) -> tuple[float, float, float]:
    """Voxels that resolve the PSF well: `parts` in each width at half maximum."""
    z, y, x = (width / parts for width in objective.fwhm)
    return z, y, x


@settings(max_examples=15)
@given(na=APERTURES, wavelength=WAVELENGTHS, index=INDICES, kind=st.sampled_from(["gaussian", "widefield"]))
def test_widths_are_those_of_the_theory(na: float, wavelength: float, index: float, kind: str) -> None:
    objective = Objective(na, wavelength, index)
    psf = KINDS[kind](na, wavelength, index, fine(objective))
    assert psf.fwhm()[1:] == pytest.approx([0.51 * wavelength / na] * 2, rel=0.05)
    assert psf.fwhm()[0] == pytest.approx(0.88 * wavelength / (index - np.sqrt(index**2 - na**2)), rel=0.05)


def test_the_debye_psf_agrees_with_its_integral() -> None:
    from scipy.integrate import quad
    from scipy.special import j0

    na, wavelength, index, (dz, dy, dx) = 0.9, 0.55, 1.4, (0.02, 0.01, 0.01)
    k, alpha = 2 * np.pi * index / wavelength, np.arcsin(na / index)

    def h(r: float, z: float) -> float:
        def wave(t: float) -> complex:
            return np.sqrt(np.cos(t)) * np.sin(t) * j0(k * r * np.sin(t)) * np.exp(1j * k * z * np.cos(t))

        return abs(quad(wave, 0, alpha, complex_func=True, epsabs=1e-10)[0]) ** 2

    section = debye(na, wavelength, index, (dz, dy, dx), section=True).kernel[:, 0]
    z0, x0 = (length // 2 for length in section.shape)
    for z, x in [(0, 12), (10, 0), (-25, 20), (60, 40), (5, -60)]:
        assert section[z0 + z, x0 + x] / section[z0, x0] == pytest.approx(h(x * dx, z * dz) / h(0, 0), abs=2e-3)


def test_the_rings_of_the_debye_psf_are_those_of_airy() -> None:
    from scipy.special import j1

    na, wavelength = 0.3, 0.5
    psf = debye(na, wavelength, 1.33, (4.0, 0.05, 0.05))
    row = psf.lateral[psf.lateral.shape[0] // 2]
    v = 2 * np.pi * na / wavelength * 0.05 * np.arange(1, len(row) // 2 + 1)
    airy = (2 * j1(v) / v) ** 2
    ours = row[len(row) // 2 + 1 :] / row[len(row) // 2]
    np.testing.assert_allclose(ours, airy, atol=0.01)


def test_confocal_is_sharper_than_widefield_by_the_product_of_two() -> None:
    objective = Objective(0.8)
    wide = debye(0.8, 0.52, 1.33, fine(objective))
    same = debye(0.8, 0.52, 1.33, fine(objective), confocal=True, excitation=0.52)
    assert np.array(same.fwhm()) == pytest.approx(np.array(wide.fwhm()) / np.sqrt(2), rel=0.03)
    bluer = debye(0.8, 0.52, 1.33, fine(objective), confocal=True, excitation=0.4)
    assert bluer.fwhm()[1] < same.fwhm()[1]


@settings(max_examples=20)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    na=st.floats(0.35, 1.2),
    z=st.floats(0.3, 3),
    xy=st.floats(0.1, 0.5),
)
def test_kernels_are_light_of_one_point_in_the_middle(kind: str, na: float, z: float, xy: float) -> None:
    psf = KINDS[kind](na, 0.52, 1.33, (z, xy, xy))
    assert psf.kernel.dtype == np.float32
    assert all(length % 2 for length in psf.kernel.shape)
    assert psf.kernel.min() >= 0
    assert psf.kernel.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert np.unravel_index(psf.kernel.argmax(), psf.kernel.shape) == tuple(n // 2 for n in psf.kernel.shape)
    for axis in range(3):
        np.testing.assert_array_equal(psf.kernel, np.flip(psf.kernel, axis))
    np.testing.assert_allclose(psf.kernel, psf.kernel.swapaxes(1, 2), rtol=1e-5, atol=1e-9)
    assert psf.lateral.sum() == pytest.approx(1, abs=1e-5)
    assert json.loads(json.dumps(psf.described))["na"] == na


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_coarse_voxels_hold_the_light_of_the_fine_ones_in_them(kind: str) -> None:
    coarse = KINDS[kind](0.7, 0.52, 1.33, (0.9, 0.3, 0.3))
    dense = KINDS[kind](0.7, 0.52, 1.33, (0.1, 0.1, 0.1)).kernel.astype(np.float64)
    z, y, x = (length // 2 for length in dense.shape)
    plane = dense[z - 4 : z + 5].sum(axis=0)
    assert coarse.lateral.max() == pytest.approx(plane[y - 1 : y + 2, x - 1 : x + 2].sum() / plane.sum(), rel=0.03)


def test_even_the_steepest_lens_has_a_psf() -> None:
    psf = debye(1.329, 0.52, 1.33, (0.2, 0.1, 0.1))
    assert np.array(psf.fwhm()) == pytest.approx(np.array(Objective(1.329).fwhm), rel=0.3)


def test_a_psf_narrower_than_a_voxel_is_one_voxel() -> None:
    psf = gaussian(1.2, 0.5, 1.33, (20.0, 5.0, 5.0))
    assert psf.kernel.shape == (1, 1, 1)
    assert psf.fwhm() == pytest.approx((20, 5, 5))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_rotated_psf_is_the_axial_section_on_square_pixels(kind: str) -> None:
    coarse = KINDS[kind](0.8, 0.52, 1.33, (1.5, 0.1, 0.1))
    section = coarse.rotated(0.1)
    assert section.sum() == pytest.approx(1, abs=1e-5)
    assert all(length % 2 for length in section.shape)
    whole = KINDS[kind](0.8, 0.52, 1.33, (0.1, 0.1, 0.1))
    expected = whole.kernel[:, whole.kernel.shape[1] // 2]
    rows, columns = ((have - cut) // 2 for have, cut in zip(expected.shape, section.shape, strict=True))
    expected = expected[rows : rows + section.shape[0], columns : columns + section.shape[1]]
    np.testing.assert_allclose(section, expected / expected.sum(), atol=1e-6)
    middle = np.array(section.shape) // 2
    half = section > section.max() / 2
    assert half[:, middle[1]].sum() * 0.1 == pytest.approx(whole.fwhm()[0], abs=0.2)
    assert half[middle[0]].sum() * 0.1 == pytest.approx(whole.fwhm()[2], abs=0.2)


def test_the_rotated_psf_of_a_weak_lens_on_small_pixels_is_soon_made() -> None:
    section = from_words("widefield:na=0.25", (5.0, 0.1, 0.1)).rotated(0.1)  # 500 million voxels in 3D
    assert section.shape[0] > 500


def test_cutting_keeps_the_share_that_was_asked_for() -> None:
    wide = debye(0.6, 0.52, 1.33, (0.5, 0.1, 0.1))
    for kept in (0.5, 0.9, 0.99):
        small = wide.cropped(kept).kernel.shape
        spans = tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(wide.kernel.shape, small, strict=True))
        assert wide.kernel[spans].sum() >= kept - 1e-6
        assert np.prod(small) < wide.kernel.size


# Beads


def bead(off: tuple[float, ...], noise: bool, size: tuple[float, float, float] = (0.3, 0.1, 0.1)) -> tuple[Image, PSF]:
    """A bead beside the middle of its stack, in front of a background, and the PSF it was made of."""
    psf = gaussian(0.8, 0.52, 1.33, size)
    light = np.clip(shift(np.pad(psf.kernel.astype(np.float64), 6), off, order=5), 0, None)
    pixels = 3000 * light / light.max() + 100
    if noise:
        pixels = np.random.default_rng(0).poisson(pixels).astype(np.float64)
    return Image(pixels, "ZYX", size), psf


@settings(max_examples=10)
@given(off=st.tuples(*[st.floats(-1.5, 1.5)] * 3), noise=st.booleans())
def test_a_bead_gives_back_the_psf_wherever_it_lies(off: tuple[float, ...], noise: bool) -> None:
    image, psf = bead(off, noise)
    found = measured(image)
    assert found.voxel_size == image.voxel_size
    assert np.array(found.fwhm()) == pytest.approx(np.array(psf.fwhm()), rel=0.08)
    middle = np.array(found.kernel.shape) // 2
    assert np.array(center_of_mass(found.kernel)) == pytest.approx(middle, abs=0.15)


def test_a_measured_psf_keeps_its_width_on_other_voxels() -> None:
    found = measured(bead((0, 0, 0), noise=False)[0])
    for size in ((0.1, 0.1, 0.1), (0.2, 0.05, 0.05), (0.45, 0.15, 0.15)):
        assert np.array(found.at(size).fwhm()) == pytest.approx(np.array(found.fwhm()), rel=0.12)
    assert found.rotated(0.1).shape[0] > found.rotated(0.1).shape[1]


def test_another_bead_and_the_background_are_left_out() -> None:
    image, psf = bead((0, 0, 0), noise=True)
    pixels = np.asarray(image)
    pixels = np.concatenate([pixels, 100 + 0.6 * (pixels - 100)], axis=2)
    found = measured(Image(pixels, "ZYX", image.voxel_size))
    assert found.kernel.shape[2] <= psf.kernel.shape[2] + 4


def test_bead_images_that_say_too_little_are_refused() -> None:
    image, _ = bead((0, 0, 0), noise=False)
    pixels = np.asarray(image)
    cases = [
        (Image(pixels, "ZYX"), "does not state its voxel size"),
        (Image(np.full((5, 9, 9), 7.0), "ZYX", (1, 1, 1)), "no bead"),
        (Image(np.where(pixels > 3000, np.nan, pixels), "ZYX", (1, 1, 1)), "NaN"),
        (Image(pixels[0], "YX", (1, 1)), "at least 3 planes"),
        (Image(np.stack([pixels, pixels]), "CZYX", (1, 1, 1)), "one channel"),
        (Image(pixels[:, pixels.shape[1] // 2 :], "ZYX", (1, 1, 1)), "lies on its border"),
    ]
    for wrong, said in cases:
        with pytest.raises(VeriscopeError, match=said):
            measured(wrong)


# Words


def test_words_name_every_kind_of_psf(tmp_path: Path) -> None:
    size = (0.4, 0.1, 0.1)
    assert np.array_equal(
        from_words("gaussian:na=1.1,wavelength=0.6,index=1.4", size).kernel, gaussian(1.1, 0.6, 1.4, size).kernel
    )
    assert np.array_equal(from_words("Widefield: NA=0.8", size).kernel, debye(0.8, 0.52, 1.33, size).kernel)
    confocal = from_words("confocal:na=0.9,excitation=0.45", size)
    assert np.array_equal(confocal.kernel, debye(0.9, 0.52, 1.33, size, True, 0.45).kernel)
    assert confocal.described == {
        "kind": "confocal", "na": 0.9, "wavelength": 0.52, "index": 1.33, "excitation": 0.45
    }  # fmt: skip
    path = save_image(tmp_path / "bead.ome.tif", bead((0, 0, 0), noise=False)[0])
    found = from_words(str(path), (0.2, 0.1, 0.1))
    assert found.voxel_size == (0.2, 0.1, 0.1)
    assert found.described == {"kind": "measured", "file": "bead.ome.tif"}
    assert from_words(str(path), None).voxel_size == pytest.approx((0.3, 0.1, 0.1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gausian:na=1", "neither a kind of PSF .* nor a file"),
        ("nowhere.tif", "neither a kind of PSF .* nor a file"),
        ("gaussian", "needs the numerical aperture"),
        ("gaussian:wavelength=0.5", "needs the numerical aperture"),
        ("gaussian:na=1.33", "below the refractive index, here 1.33, not 1.33"),
        ("gaussian:na=0", "at least 0.01"),
        ("widefield:na=nan", "not nan"),
        ("widefield:na=large", "'large' is not a number"),
        ("widefield:na", "'' is not a number"),
        ("widefield:na=0.8,wavelength=520", "in um, from 0.1 to 2.5, not 520"),
        ("widefield:na=0.8,index=0.9", "between 1 .air. and 4, not at 0.9"),
        ("widefield:na=0.8,excitation=0.488", "no setting 'excitation'"),
        ("confocal:na=0.8,excitation=488", "not 488"),
    ],
)
def test_words_that_name_no_psf_are_refused_with_the_way_out(text: str, said: str) -> None:
    with pytest.raises(VeriscopeError, match=said):
        from_words(text, (0.3, 0.1, 0.1))


def test_a_psf_needs_voxels_of_a_possible_size() -> None:
    with pytest.raises(VeriscopeError, match="which it does not state"):
        from_words("gaussian:na=1", None)
    for size in [(0.1, 0.1), (0.1, 0.0, 0.1), (0.1, float("nan"), 0.1)]:
        with pytest.raises(VeriscopeError, match="three positive numbers in um"):
            gaussian(1.0, 0.52, 1.33, size)
    with pytest.raises(VeriscopeError, match="choose larger voxels"):
        debye(0.2, 0.52, 1.33, (0.001, 0.001, 0.001))
    with pytest.raises(VeriscopeError, match="it blurs nothing here"):
        debye(0.2, 0.52, 1.33, (0.3, 200.0, 200.0))


@pytest.mark.parametrize(
    "kernel",
    [np.ones((2, 3, 3)), np.ones((3, 3)), np.zeros((1, 1, 1)), -np.ones((1, 1, 1)), [[[1, 0, 1]]], [[[np.nan]]]],
)
def test_what_is_no_kernel_is_refused(kernel: Any) -> None:
    with pytest.raises(VeriscopeError, match="kernel of a PSF"):
        PSF(kernel, (1, 1, 1))
