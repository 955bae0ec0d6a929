"""The page of a comparison is one file that says what was done to every method, and shows failures too."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from veriscope.comparing.comparison import Comparison, Credit, Result
from veriscope.comparing.failures import Failure
from veriscope.comparing.picture import picture
from veriscope.errors import OutputError
from veriscope.reporting.comparison_report import _busiest, headline, render, write_comparison

CROP = "central 64 x 64 px"


def comparison(own: float = 0.05, seconds: float = 0.5) -> Comparison:
    def line(image: str, method: str, error: float, region: str = "whole images", **known: object) -> Result:
        return Result(image, method, error, 20.0, 0.9 - error, region=region, **known)  # type: ignore[arg-type]

    lines = []
    for image, more in (("a<b", 0.0), ("c", 0.02)):
        known = {"seconds": 1.0, "voxels": 10**6, "tuning": 30.0, "settings": "sigma 1.5"}
        lines += [
            line(image, "input", 0.2 + more),
            line(image, "smooth", 0.1 + more, **known),
            line(image, "restoration", own + more, seconds=seconds, voxels=10**6),
            line(image, "input", 0.3, CROP),
            line(image, "smooth", 0.15, CROP),
            line(image, "slow", 0.14, CROP, **{**known, "seconds": 50.0}),
            line(image, "restoration", own, CROP),
        ]
    rng = np.random.default_rng(0)
    truth = np.sin(np.arange(80) / 4) * np.ones((80, 80))
    images = {"input": truth + rng.normal(0, 1, truth.shape), "smooth": truth, "slow": truth, "restoration": truth}
    shown = picture("a<b", images, truth, None, {"Y": 0.1, "X": 0.1}, 0.9)
    small = np.zeros((30, 30), np.float32)
    failure = Failure("c", "restoration", 0.4, (50, 60), {"input": small, "truth": small}, small, small, (40, 50))
    return Comparison(
        tuple(lines),
        (
            Credit("smooth", "smooth", "blurs", "Gauss", "scipy 1", "BSD-3-Clause", "tried sigma 1, 2"),
            Credit("slow", "slow", "waits", "A. Nonymous", "slow 2", "non-commercial", "not tuned", CROP),
        ),
        (shown,),
        (failure,),
        ("slow would take about 3 h: limited.",),
        "tuned on each test image itself",
        2,
        {"Machine": {"processor": "abacus", "cores": 2}},
    )


def test_the_page_says_crops_tuning_settings_versions_and_licences() -> None:
    page = render(comparison(), command="veriscope compare low high")
    for words in (
        "slow would take about 3 h",
        "central 64 x 64 px, to which slow is limited",
        "tuned on each test image itself",
        "tried sigma 1, 2",
        "sigma 1.5",
        "scipy 1",
        "non-commercial",
        "A. Nonymous",
        "abacus",
        "veriscope compare low high",
        "window of 7 pixels",
        "Where it fails",
        "40 % of the ground truth",
        "Y 50, X 60",
    ):
        assert words in page, words
    assert "a&lt;b" in page
    assert "a<b" not in page.replace("a&lt;b", "")


def test_the_page_loads_nothing_and_every_chart_and_panel_is_in_it() -> None:
    page = render(comparison())
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("<svg") >= 2
    assert page.count("data:image/png;base64,") == 2 * 5 + 2 + 2  # region and inset of each; failure, error, scale
    assert "default-src 'none'" in page


def test_bars_show_every_image_as_a_dot() -> None:
    one, two = comparison(), comparison()
    fewer = Comparison(tuple(line for line in two.lines if line.image == "c"))
    dots = [len(re.findall(r"<use ", render(found))) for found in (one, fewer)]
    assert dots[0] > dots[1]


def test_the_headline_tells_who_is_ahead_by_how_much() -> None:
    ahead = headline(comparison())
    assert "NRMSE of 5.0 %" in ahead
    assert "slow, 14.0 %" in ahead  # the best where all were judged
    assert "closer to the ground truth on 2 of 2" in ahead
    assert "100 times as fast" in ahead
    assert "(central 64 x 64 px)" in ahead
    behind = headline(comparison(own=0.18, seconds=500.0))
    assert "closer to the ground truth on 0 of 2" in behind
    assert "10 times as slow" in behind
    alone = Comparison(tuple(line for line in comparison().lines if line.method == "smooth" and line.region != CROP))
    assert headline(alone) == "On 2 images, smooth comes closest to the ground truth: NRMSE 11.0 %, SSIM 0.79."


def test_a_report_is_not_replaced_unless_asked_for(tmp_path: Path) -> None:
    target, short = tmp_path / "compare.html", Comparison(comparison().lines[:3])
    write_comparison(target, short)
    with pytest.raises(OutputError, match="exists already"):
        write_comparison(target, short)
    write_comparison(target, short, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["compare.html"]


def test_sections_along_z_are_shown_where_planes_would_not_tell() -> None:
    truth = np.random.default_rng(0).random((20, 24, 28))
    for method, sections in (("input, interpolated", 3), ("input", 0)):
        shown = picture("a", {method: truth, "smooth": truth}, truth, None, {"Z": 0.2, "Y": 0.1, "X": 0.1}, 0.9)
        lines = tuple(Result("a", one, 0.1, 20.0, 0.9) for one in (method, "smooth"))
        page = render(Comparison(lines, pictures=(shown,)))
        assert page.count('alt="section of') == sections
        assert ("section along X and Z" in page) == bool(sections)


def test_conditions_have_tables_of_their_own() -> None:
    lines = [
        Result(f"{condition}/{field}", "input", error, 20.0, 0.5)
        for condition, error in (("C1", 0.3), ("C2", 0.1))
        for field in "ab"
    ]
    page = render(Comparison(tuple(lines)))
    assert "C1: Mean and spread over 2 images" in page
    assert page.index("0.2000") < page.index("C1: Mean") < page.index("0.3000") < page.index("C2: Mean")


def test_the_detail_enlarged_is_where_the_fine_structure_lies() -> None:
    plane = np.zeros((120, 120))
    plane[:, :50] = 1.0  # a large bright edge
    for row in range(62, 118, 6):
        plane[row : row + 3, 62:118] = 0.8
    rows, columns = _busiest(plane)
    assert rows.start >= 60
    assert columns.start >= 60
