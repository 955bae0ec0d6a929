"""The report is one file that holds all it shows."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from veriscope.comparing.judge import Judgement, Score
from veriscope.comparing.picture import picture
from veriscope.errors import OutputError
from veriscope.judging.trust import measure
from veriscope.reporting.report import render, write_report

VOID = {"meta", "img", "source", "link", "br", "path", "rect", "use"}


class Page(HTMLParser):
    """Tags in order, and whether each is closed; the texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "pre"):
            self.words += data

    def pictures(self) -> list[Any]:
        sources = [attrs["src"] or "" for tag, attrs in self.tags if tag == "img"]
        return [np.asarray(Pillow.open(io.BytesIO(base64.b64decode(source.split(",")[1])))) for source in sources]


def judgement(shape: tuple[int, ...] = (6, 24, 40), voxels: Any = None) -> Judgement:
    rng = np.random.default_rng(0)
    truth = (
        100 + 50 * np.sin(np.arange(shape[-1]) / 3) * np.linspace(0.1, 1, shape[0])[(...,) + (None,) * (len(shape) - 1)]
    )
    truth = truth * np.ones(shape)
    members = np.stack([truth + rng.normal(0, 5, shape) for _ in range(2)]), np.full((2, *shape), 6.0)
    images = {"input": truth + rng.normal(0, 40, shape), "smooth": truth + 1, "restoration": members[0].mean(0)}
    shown = picture("a<b", images, truth, members, voxels or {}, 0.9)
    rows = (
        Score("a<b", "input", 0.2, 13.98, 0.25),
        Score("a<b", "smooth", 0.05, 26.02, 0.6),
        Score("a<b", "restoration", 0.1, 20, 0.75, 0.912),
    )
    history = tuple(
        {
            "member": member,
            "step": 10 * n,
            "seconds": 6.0 * n,
            "loss": 1 / n,
            "check_loss": 1.2 / n + member / 10,
            "best": 0,
        }
        for member in range(2)
        for n in range(1, 6)
    )
    trust = measure(*members, truth)
    return Judgement(rows, (shown,), history, {"Network": {"depth": 2, "kernel": 3}}, trust=trust)


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = render(judgement())
    page = Page(text)
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "srcset", "href", "xlink:href"):
            assert (attrs.get(name) or "#").startswith(("data:", "#"))
    assert "@import" not in text
    assert not re.search(r"url\((?!#|&quot;#)", text)
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_the_page_is_sound_and_names_are_escaped() -> None:
    page = Page(render(judgement(), title="Nuclei & <more>"))
    assert page.open == []
    assert "Nuclei & <more>" in page.words
    assert "a<b" in page.words
    identities = [attrs["id"] for tag, attrs in page.tags if attrs.get("id") and tag == "clippath"]
    assert identities


def test_the_best_of_each_figure_is_bold() -> None:
    best = re.findall(r"<b>([^<]+)</b>", render(judgement()))
    assert best == ["0.0500", "26.02", "0.750"]


def test_the_words_say_what_was_found() -> None:
    words = Page(render(judgement(voxels={"Z": 0.3, "Y": 0.1, "X": 0.1}), facts={"Data": {"origin": "drawn"}})).words
    for part in ("from 20.0 % to 10.0 %", "smooth reaches 5.0 %", "91.2 %", "plane 6 of 6", "Scale bar: 1 µm"):
        assert part in words
    for part in (
        "window of 7 pixels",
        "50 steps per member",
        "Network",
        "kernel",
        "origin",
        "drawn",
        "predicted scale",
        "disagreement",
        "Trust",
        "log likelihood",
        "in 99 %",
        "2 networks",
        "came true",
        "calibration error, %",
    ):
        assert part in words


def test_without_voxel_size_there_is_no_scale_bar() -> None:
    text = render(judgement())
    assert "no scale bar" in text
    assert "µm" not in text


def test_pictures_have_the_pixels_of_the_plane_at_one_contrast() -> None:
    given = judgement()
    shown = Page(render(given)).pictures()
    assert [image.shape for image in shown] == [(24, 40), (6, 40)] * 4 + [
        (24, 40, 3)
    ] * 3  # scale, disagreement, samples
    truth = np.rint(255 * given.pictures[0].planes["truth"].clip(0, 1))
    assert (shown[6] == truth).all()


def test_pixels_that_are_not_square_are_shown_in_proportion() -> None:
    shown = Page(render(judgement((24, 40), {"Y": 0.2, "X": 0.1}))).pictures()
    assert [image.shape for image in shown] == [(48, 40)] * 4 + [(48, 40, 3)] * 3


def test_figures_alone_make_a_report_too() -> None:
    page = Page(render(Judgement((Score("a", "input", 0.2, 13.98, 0.25),))))
    assert page.pictures() == []
    assert "Training" not in page.words


def test_the_band_and_the_profiles_lie_on_the_line_that_is_marked() -> None:
    shown = judgement().pictures[0]
    row, first, last = shown.line
    for method, plane in shown.planes.items():
        assert (plane[row, first:last] == shown.profiles[method]).all()
    assert shown.band is not None
    assert (shown.band[0] < shown.profiles["restoration"]).all()
    assert (shown.profiles["restoration"] < shown.band[1]).all()


def test_a_large_image_is_shown_where_its_structure_is() -> None:
    truth = np.random.default_rng(0).normal(0, 0.01, (700, 900))
    truth[500:600, 700:800] += np.random.default_rng(1).random((100, 100))
    shown = picture("large", {"input": truth}, truth, None, {}, 0.9)
    assert shown.planes["truth"].shape == (320, 320)
    assert shown.planes["truth"].max() > 0.9
    assert shown.where.startswith("Y ")


def test_the_input_is_shown_with_its_signal_as_bright_as_the_truths() -> None:
    truth = np.repeat([0.0, 1.0], 800).reshape(40, 40)
    noisy = 7 * truth + np.random.default_rng(0).normal(0, 10, truth.shape)
    shown = picture("halves", {"input": noisy}, truth, None, {}, 0.9).planes["input"]
    difference = shown[20:].mean() - shown[:20].mean()
    assert difference == pytest.approx(1, rel=1e-5)


# -- files ------------------------------------------------------------------------------------------


def test_a_report_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    assert write_report(path, judgement()) == path
    first = path.read_text("utf-8")
    with pytest.raises(OutputError, match=r"exists already.*--overwrite"):
        write_report(path, judgement(), title="Second")
    assert path.read_text("utf-8") == first
    write_report(path, judgement(), title="Second", overwrite=True)
    assert "<h1>Second</h1>" in path.read_text("utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(made: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OutputError, match=r"No space left on device.*report\.html.*Free some space"):
        write_report(tmp_path / "report.html", judgement())
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere.*cannot be written"):
        write_report(tmp_path / "nowhere" / "report.html", judgement())


def test_a_judgement_stays_as_it_is() -> None:
    given = judgement()
    render(given, facts={"Data": {"a": 1}})
    assert dataclasses.asdict(given.rows[0])["nrmse"] == 0.2
    assert list(given.facts) == ["Network"]
