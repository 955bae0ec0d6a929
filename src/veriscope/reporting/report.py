"""A judgement as one HTML page: the table, the pictures, how far to trust the networks, and how to repeat it."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from veriscope import laplace
from veriscope.comparing.judge import BAND, RESTORATION, Judgement
from veriscope.comparing.picture import INPUTS, Picture
from veriscope.expected import Expected
from veriscope.judging.calibration import EPS
from veriscope.judging.trust import LEVELS, Trust
from veriscope.reporting import charts
from veriscope.reporting import page as pages
from veriscope.reporting.charts import INK, MEMBERS, chart, svg
from veriscope.reporting.movie import grey, webp
from veriscope.reporting.page import MARK, html, label_of, percent, png
from veriscope.tables import Column, Table

SAMPLES = 12  # drawn from the prediction, in a loop
NAN = float("nan")


def write_report(
    path: str | os.PathLike[str], judgement: Judgement, *, overwrite: bool = False, **content: Any
) -> Path:
    """Write `judgement` as one HTML file that needs no network and nothing beside it, and return its path.

    `content` is a `title`, an `intro`, `pictures`, `history` and `facts`, see `render`. Raises OutputError when the
    file exists (unless `overwrite`) or cannot be written; nothing is left behind then.
    """
    return pages.write(path, overwrite, lambda: render(judgement, **content))


def render(
    judgement: Judgement,
    title: str = "Restored, and judged",
    intro: str = "",
    pictures: Sequence[Picture] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The page as text. `pictures` and `history` replace those of the judgement; `facts` ({heading: {name: value}})
    come before its own.
    """
    pictures = judgement.pictures if pictures is None else pictures
    history = judgement.history if history is None else history
    everything = {**(facts or {}), **judgement.facts}
    shown = [part for number, one in enumerate(pictures) for part in _picture(one, judgement, number == 0)]
    words = f"{pages.GREYS} So what differs between them is noise, blur and structure, not the display."
    sections = {
        "How close to the ground truth": _scores(judgement),
        "What it looks like": [html.words(words), *shown] if shown else [],
        "Trust": list(_trust(judgement)),
        "Training": [html.figure(charts=[_training(history)], below=_training_caption(history))] if history else [],
    }
    figures = {**judgement.to_json(), "facts": everything}
    return pages.render(title, _headline(judgement), sections, everything, figures, intro=intro)


# -- words and figures ------------------------------------------------------------------------------


def _headline(judgement: Judgement) -> str:
    many = f"the mean of {len(judgement.images)} images" if len(judgement.images) > 1 else judgement.images[0]
    before = judgement.input
    if before is None or RESTORATION not in judgement.methods:
        return f"Figures for {many}."
    after = judgement.of(RESTORATION)
    text = (
        f"For {many}, restoration takes the error from {before.nrmse:.1%} to {after.nrmse:.1%} of the ground truth’s "
        f"range (NRMSE) and the structural similarity from {before.ssim:.2f} to {after.ssim:.2f} (SSIM)"
    )
    others = [row for row in judgement.overall if row.method not in (*INPUTS, RESTORATION)]
    compared = "; ".join(f"{row.method} reaches {row.nrmse:.1%} and {row.ssim:.2f}" for row in others)
    return (text + (f"; {compared}." if compared else ".")).replace("%", " %")


def _scores(judgement: Judgement) -> list[Markup]:
    groups = judgement.by_image()
    if len(groups) > 1:
        groups = {judgement.overall[0].image: list(judgement.overall), **groups}
    band = percent(BAND, 0)
    columns = [Column("", left=True), Column("method", left=True)]
    columns += [Column("NRMSE ↓"), Column("PSNR, dB ↑"), Column("SSIM ↑")]
    columns.append(Column(f"ground truth in {band} band", percent, optional=True))
    rows = []
    for name, own in groups.items():
        cells = pages.figures([[(row.nrmse, NAN), (row.psnr, NAN), (row.ssim, NAN)] for row in own])
        for number, (row, figures) in enumerate(zip(own, cells, strict=True)):
            rows.append(("" if number else name, pages.named(row.method), *figures, row.coverage))
    words = f"Best value of each image in bold. {judgement.settings}"
    if any(row.coverage is not None for row in judgement.rows):
        words += (
            f" Ground truth in {band} band: fraction of pixels whose ground truth lies inside the interval that the "
            f"networks give for {band}; a network that knows what it knows reaches {band}."
        )
    return [html.grid(Table(columns, rows, missing="", blocks=True)), html.words(words, soft=True)]


# -- pictures ---------------------------------------------------------------------------------------


def _picture(picture: Picture, judgement: Judgement, moving: bool) -> Iterator[Markup]:
    """One picture with the intensities along a line; samples of the prediction if `moving` and they can be drawn."""
    rows = {row.method: row for row in judgement.by_image().get(picture.name, ())}
    pixel_z, _, pixel_x = picture.pixel
    stretch = pages.stretch_of(picture)
    shape = picture.planes["truth"].shape
    line = _line_mark(shape, picture, stretch)
    mark, with_bar = (pages.overlay(shape, stretch, line, pixel) for pixel in (None, pixel_x))
    panels: list[Markup] = []
    for method, plane in picture.planes.items():
        label = label_of(method)
        frames = [html.frame(f"{label} of {picture.name}", png(plane, stretch=stretch), mark if panels else with_bar)]
        if picture.cuts:
            cut = picture.cuts[method]
            deep = cut.shape[0] * (pixel_z / pixel_x if pixel_z and pixel_x else 1.0)
            aspect = f"{cut.shape[1]} / {deep:.2f}"
            frames.append(html.frame(f"side view of {label}", png(cut), aspect=aspect, tag="xz"))
        panels.append(html.panel(label, frames, [f"SSIM {rows[method].ssim:.3f}"] if method in rows else []))
    for label, unit, shown in (
        ("predicted scale", "% of the range", picture.scale),
        ("disagreement", "% of full disagreement", picture.disagreement),
    ):
        if shown is not None:
            panels.append(pages.heat(label, shown, unit, mark, stretch=stretch))
    yield html.figure(
        panels, _caption(picture), [_profile(picture)], _profile_caption(picture), picture.name, picture.where
    )
    if moving and picture.members is not None:
        yield _samples(picture.name, picture.members, stretch)


def _samples(name: str, members: tuple[NDArray[Any], NDArray[Any]], stretch: float) -> Any:
    """A loop of images drawn from the prediction, and the first of them for readers who want nothing to move."""
    drawn = [laplace.sample(*members, seed) for seed in range(SAMPLES)]
    loop = webp(np.stack([pages.in_proportion(grey(one, 0, 1), stretch) for one in drawn]))
    frame = html.frame(
        f"{SAMPLES} samples of the prediction for {name}, one after the other",
        png(drawn[0], stretch=stretch),
        moving=base64.b64encode(loop).decode("ascii"),
    )
    caption = (
        f"The same region of {name} at the same contrast: {SAMPLES} images drawn from the prediction, one after the "
        f"other. Each pixel takes an intensity at random, as likely as the networks predict it. What stands still is "
        f"certain; where it flickers the ground truth may be any of what you see, and a structure that comes and goes "
        f"deserves doubt. Pixels are drawn one by one, hence the grain: how neighbours vary together is not predicted."
    )
    return html.figure(
        [html.panel("drawn from the prediction", [frame], [f"{SAMPLES} samples"])], caption, css="samples"
    )


def _caption(picture: Picture) -> str:
    parts = [f"{picture.name}: {', '.join(map(label_of, picture.planes))}, the same region at the same contrast."]
    if picture.cuts:
        parts.append("Below each, the side view (xz) along the line.")
    if picture.scale is not None:
        parts.append(
            "The predicted scale says how far off the networks expect to be at each pixel: yellow is least certain. "
            "Structures that show only where it is yellow deserve doubt."
        )
    if picture.disagreement is not None:
        parts.append(
            "Disagreement is how far the networks contradict each other, from 0 (all say the same) to 100 % (their "
            "predictions do not overlap)."
        )
    return " ".join([*parts, "The line between the two ticks is the one drawn below.", pages.bar_in_words(picture)])


def _profile_caption(picture: Picture) -> str:
    if picture.band is None:
        return "Intensity along the line."
    low, high = picture.band
    truth = picture.profiles["truth"]
    inside = float(np.mean((low <= truth) & (truth <= high)))
    return (
        f"Intensity along the line. The shaded band is where the networks expect the ground truth with a probability "
        f"of {picture.level:.0%}; along this line it holds {inside:.0%} of it."
    ).replace("%", " %")


def _line_mark(shape: tuple[int, ...], picture: Picture, stretch: float) -> str:
    """Where the line runs."""
    row, first, last = picture.line
    y, unit = (row + 0.5) * stretch, shape[1] / 100
    ends = "".join(f"M{x:.2f} {y - 3 * unit:.2f}v{6 * unit:.2f}" for x in (first + 0.3 * unit, last - 0.3 * unit))
    return (
        f'<path d="M{first} {y:.2f}H{last}" stroke="{MARK}" stroke-opacity=".75" stroke-width="{0.6 * unit:.3f}" '
        f'fill="none" stroke-dasharray="{2 * unit:.2f} {1.5 * unit:.2f}"/>'
        f'<path d="{ends}" stroke="{MARK}" stroke-width="{unit:.3f}" fill="none"/>'
    )


# -- trust ------------------------------------------------------------------------------------------


def _trust(judgement: Judgement) -> Iterator[Markup]:
    trust = judgement.trust
    if trust is None:
        return
    yield html.words(
        f"The networks predict for every pixel not only an intensity but also how likely the ground truth lies near "
        f"it. Here that is compared with the ground truth, over {trust.pixels:,} pixels."
    )
    yield html.grid(_trust_table(trust))
    yield html.words(
        "Calibrated, where it is given: corrected by what was measured on images kept aside in training; this is what "
        "a user gets. Networks: the first one alone, the first two together, and so on. In 50 %: fraction of pixels "
        "whose ground truth lies in the interval that should hold 50 % of it. ECE 0.05: the networks give each pixel a "
        "probability that the ground truth lies within ± 0.05 of its range; the expected calibration error is how far "
        "that is from what came true, on average over ten bins.",
        soft=True,
    )
    yield html.figure(
        charts=[charts.reliabilities(trust)],
        below="Above: how often the ground truth lay within the distance, against the probability that was predicted "
        "for it. On the dashed line the networks are well calibrated; below it they are overconfident, above it "
        "underconfident. Below: fraction of pixels by predicted probability. Bins with fewer than one pixel in 10,000 "
        "are left out above.",
    )
    panels, words = [charts.calibration_errors(trust)], "Left: calibration error by distance and number of networks."
    if trust.members > 1:
        panels.append(charts.disagreements(trust))
        words += (
            " Right: how far the networks contradict each other, from 0 (all say the same) to 1 (their predictions do "
            "not overlap)."
        )
    yield html.figure(charts=panels, below=words)
    if expected := _foreseen(judgement):
        yield html.figure(
            charts=[charts.foreseen_errors(expected)],
            below="The error of each image as it was expected without its ground truth, with the interval that holds "
            "it 9 times out of 10, against its error. On the dashed line both are equal.",
        )
    if judgement.verdicts:
        yield html.words("Estimated without ground truth, as for any new image:")
        columns = [Column("image", left=True), Column("it is …", left=True)]
        columns += [Column("windows unlike", lambda value: percent(value, 0)), Column("pixels in dispute", percent)]
        columns.append(Column("because of", left=True))
        rows = [
            (name, one.words, one.unlike, one.disagreeing, ", ".join(one.reasons[:1]))
            for name, one in judgement.verdicts.items()
        ]
        yield html.grid(Table(columns, rows, missing="–"))
        yield html.words(
            "Windows unlike: fraction of the image that lies farther from the training images than 99 % of those, by "
            "brightness, contrast, noise, sharpness and the predicted error. Pixels in dispute: fraction in which the "
            "networks disagree more than in 99 % of the pixels of images like those of training.",
            soft=True,
        )


def _trust_table(trust: Trust) -> Table:
    columns = [Column("networks", left=True), Column("log likelihood ↑", ".3f")]
    columns += [Column(f"in {percent(level, 0)}", percent) for level in LEVELS]
    columns += [Column(f"ECE {eps:g} ↓", percent) for eps in EPS]
    rows = [
        ("calibrated" if one is trust.calibrated else count, one.log_likelihood[count], *one.coverage[count], *errors)
        for one in (trust, trust.calibrated)
        if one is not None
        for count, curves in one.reliability.items()
        for errors in [[curve.ece for curve in curves]]
    ]
    return Table(columns, rows)


def _foreseen(judgement: Judgement) -> list[tuple[Expected, float]]:
    """The error expected of each image, and its error: the mean over its channels."""
    groups: dict[str, tuple[Expected, list[float]]] = {}
    for row in judgement.rows:
        if row.expected is not None:
            groups.setdefault(row.image, (row.expected, []))[1].append(row.nrmse)
    return [(expected, float(np.mean(errors))) for expected, errors in groups.values()]


# -- charts -----------------------------------------------------------------------------------------


def _profile(picture: Picture) -> Markup:
    figure, axes = chart(10.5, 3.0)
    pixel = picture.pixel[2]
    x = np.arange(len(picture.profiles["truth"])) * (pixel or 1.0)
    if picture.band is not None:
        low, high = picture.band
        label = f"{picture.level:.0%} band".replace("%", " %")
        axes.fill_between(x, low, high, color=pages.COLOURS["restoration"], alpha=0.25, linewidth=0, label=label)
    widths = {"input": 0.8, "classical": 1.2, "restoration": 1.8, "truth": 1.6}
    for method, values in picture.profiles.items():
        role = pages.role_of(method)
        dashes: Any = (0, (3, 1.6)) if role == "truth" else "solid"
        style: Any = {
            "color": pages.COLOURS[role],
            "linewidth": widths[role],
            "alpha": 0.55 if role == "input" else 1.0,
        }
        axes.plot(x, values, label=label_of(method), linestyle=dashes, **style)
    shown = [values for method, values in picture.profiles.items() if method not in INPUTS] + list(picture.band or ())
    bottom, top = min(float(one.min()) for one in shown), max(float(one.max()) for one in shown)
    room = 0.15 * (top - bottom) or 1.0
    axes.set(
        ylim=(bottom - room, top + room),
        xlim=(x[0], x[-1] if len(x) > 1 else 1),
        xlabel="along the line, µm" if pixel else "along the line, px",
        ylabel="fraction of the range",
    )  # the input's noise may go beyond
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.03), frameon=False, labelcolor=INK, handlelength=1.6)
    return svg(figure)


def _training(history: Sequence[Mapping[str, Any]]) -> Markup:
    """Losses of every member against the minutes since its start, of patches kept aside and of those learnt from."""
    figure, both = chart(10.5, 3.2, 2)
    members = list(dict.fromkeys(row["member"] for row in history))
    for axes, key, name in zip(both, ("check_loss", "loss"), ("kept aside", "learnt from"), strict=True):
        for member in members:
            rows = [row for row in history if row["member"] == member]
            minutes, losses = ([row[part] for row in rows] for part in ("seconds", key))
            minutes = [seconds / 60 for seconds in minutes]
            colour = MEMBERS[member % len(MEMBERS)]
            axes.plot(minutes, losses, color=colour, linewidth=1.6, label=f"member {member + 1}")
            if key == "check_loss":
                best = int(np.argmin(losses))
                axes.plot(minutes[best], losses[best], "o", color=colour, markersize=5)
        everything = [row[key] for row in history]
        bottom = min(everything)
        room = float(np.percentile(everything, 80)) - bottom  # the first rounds, and spikes, would squeeze all others
        if room > 0:
            axes.set_ylim(bottom - 0.1 * room, bottom + 1.6 * room)
        axes.set(xlabel="minutes since the member’s start", ylabel=f"loss, patches {name}")
    both[1].legend(loc="upper left", bbox_to_anchor=(1.005, 1.03), frameon=False, labelcolor=INK, handlelength=1.6)
    return svg(figure)


def _training_caption(history: Sequence[Mapping[str, Any]]) -> str:
    steps = list({row["member"]: row["step"] for row in history}.values())  # the last of each
    counted = f"{steps[0]} steps" if len(set(steps)) == 1 else f"{min(steps)} to {max(steps)} steps"
    return (
        f"Left: loss on the patches kept aside for checking, the negative log likelihood where a distribution is "
        f"predicted; dots mark the weights that were kept. Right: what is made small on the patches learnt from, which "
        f"may be another loss. Lower is better; {counted} per member. A line that rises on the left while it falls on "
        f"the right would mean learning by heart."
    )
