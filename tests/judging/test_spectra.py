"""Power spectra: white noise is flat, blur takes away what it should, sections show it along k_z."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from veriscope.errors import AxesError, DataError, OutputError
from veriscope.images.image import Image
from veriscope.judging.fourier import ring_correlation
from veriscope.judging.spectra import radial_spectrum, section
from veriscope.reporting.charts import write_chart
from veriscope.reporting.resolution_charts import correlation_chart, section_chart, spectrum_chart

VOXEL = (0.4, 0.1, 0.1)
NOISE = np.random.default_rng(0).normal(0, 3, (24, 64, 60))


def test_white_noise_has_its_variance_at_every_frequency() -> None:
    stack = Image(NOISE + 50, "ZYX", VOXEL)
    assert_allclose(radial_spectrum(stack).power[2:], 9, rtol=0.2)
    for name in ("xz", "yz", "xy"):
        found = section(stack, name)
        assert np.median(found.power) == pytest.approx(9, rel=0.05)
        assert found.power.shape == (found.rows.size, found.columns.size)
        assert found.unit == "um"
    assert section(stack, "xz").rows.min() == pytest.approx(-1.25)  # planes 0.4 um apart
    assert section(stack, "xz").columns.min() == pytest.approx(-5)


def test_blur_multiplies_the_spectrum_by_its_transfer_squared() -> None:
    sigma = 1.2
    blurred = radial_spectrum(Image(gaussian_filter(NOISE, (0, sigma, sigma), mode="wrap"), "ZYX"))
    plain = radial_spectrum(Image(NOISE, "ZYX"))
    expected = np.exp(-((2 * np.pi * sigma * plain.frequency) ** 2))
    low = (plain.frequency > 0.05) & (plain.frequency < 0.3)
    assert_allclose((blurred.power / plain.power)[low], expected[low], rtol=0.25)
    assert plain.unit == "pixels"


@pytest.mark.parametrize(("axis", "rows"), [(0, True), (2, False)])
def test_a_section_shows_along_which_axis_the_blur_was(axis: int, rows: bool) -> None:
    found = section(Image(gaussian_filter1d(NOISE, 2, axis=axis), "ZYX"), "xz")
    far_rows, far_columns = np.abs(found.rows) > 0.3, np.abs(found.columns) > 0.3
    along_z, along_x = found.power[far_rows][:, ~far_columns].mean(), found.power[~far_rows][:, far_columns].mean()
    assert (along_z < 0.05 * along_x) if rows else (along_x < 0.05 * along_z)
    assert found.decibels.max() == 0
    assert found.decibels.min() >= -100


def test_a_wave_is_one_bright_pair_at_its_frequency() -> None:
    wave = np.broadcast_to(np.sin(2 * np.pi * np.arange(60) * 0.2), (24, 64, 60))
    found = section(Image(wave, "ZYX", VOXEL), "xz")
    row, column = np.unravel_index(np.argmax(found.power), found.power.shape)
    assert found.rows[row] == 0
    assert abs(found.columns[column]) == pytest.approx(2)  # 0.2 per pixel of 0.1 um


def test_planes_have_spectra_too_and_channels_are_told_apart() -> None:
    both = Image(np.stack([NOISE[0], 10 * NOISE[1]]), "CYX", (0.1, 0.1))
    assert radial_spectrum(both, 1).power.mean() == pytest.approx(100 * radial_spectrum(both).power.mean(), rel=0.2)
    with pytest.raises(AxesError, match="needs the axes Z and X, but the image has CYX"):
        section(both, "xz")
    with pytest.raises(DataError, match="no channel 2"):
        section(both, "xy", channel=2)
    with pytest.raises(DataError, match="no section 'zx'"):
        section(both, "zx")
    with pytest.raises(DataError, match="at least 8 pixels along Z and X; there are 3 along Z"):
        section(Image(NOISE[:3], "ZYX"), "xz")


def test_charts_are_written_whole_as_svg_and_png(tmp_path: Path) -> None:
    stack = Image(NOISE, "ZYX", VOXEL)
    curves = {"lateral": ring_correlation(stack, stack, "lateral"), "noise": ring_correlation(NOISE[0], NOISE[1])}
    text = write_chart(tmp_path / "curve.svg", correlation_chart(curves)).read_text()
    assert "lateral: at least as fine as" in text
    assert "cycles per um" in text
    rows = {name: [section(stack, "xz"), section(stack, "yz")] for name in ("input", "truth")}
    made = write_chart(tmp_path / "sections.png", section_chart(rows))
    assert made.read_bytes().startswith(b"\x89PNG")
    write_chart(tmp_path / "power.svg", spectrum_chart({"input": radial_spectrum(stack)}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.svg", "power.svg", "sections.png"]
    with pytest.raises(OutputError, match="exists already"):
        write_chart(made, section_chart(rows))
    with pytest.raises(OutputError, match=r"written as \.svg or \.png"):
        write_chart(tmp_path / "curve.pdf", section_chart(rows))
    with pytest.raises(OutputError, match="there is no folder"):
        write_chart(tmp_path / "nowhere" / "curve.svg", section_chart(rows))
    with pytest.raises(DataError, match="nothing to draw"):
        correlation_chart({})
