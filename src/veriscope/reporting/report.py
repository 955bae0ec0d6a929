"""A report that stands alone: one HTML file with the table, the pictures, and all that is needed to repeat it."""

from __future__ import annotations

import base64
import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from veriscope import laplace, saving
from veriscope.comparing.judge import BAND, FIGURES, RESTORATION, Judgement, Score, versions
from veriscope.comparing.picture import INPUTS, Picture
from veriscope.errors import OutputError
from veriscope.expected import Expected
from veriscope.judging.calibration import EPS
from veriscope.judging.trust import LEVELS, Trust
from veriscope.reporting.charts import (
    INK,
    MEMBERS,
    calibration_errors,
    chart,
    disagreements,
    foreseen_errors,
    reliabilities,
    svg,
)
from veriscope.reporting.movie import grey, webp
from veriscope.reporting.page import (
    COLOURS,
    SCALE_MAP,
    gradient,
    in_proportion,
    in_words,
    png,
    role_of,
    scale_bar,
    style_sheet,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEMPLATE = Path(__file__).with_name("report.html.jinja")
SAMPLES = 12  # drawn from the prediction, in a loop
MARK = "#56b4e9"  # of the line in the panels


def write_report(
    path: str | os.PathLike[str],
    judgement: Judgement,
    *,
    title: str = "Restored, and judged",
    intro: str = "",
    pictures: Sequence[Picture] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write `judgement` as one HTML file that needs no network and nothing beside it, and return its path.

    `pictures` and `history` replace those of the judgement; `facts` ({heading: {name: value}}) come before its own.
    Raises OutputError when the file exists (unless `overwrite`) or cannot be written; nothing is left behind then.
    """
    target = Path(path)
    if saving.exists(target) and not overwrite:
        raise OutputError(
            f"{target} exists already. Choose another name, or pass overwrite=True (--overwrite) to replace it."
        )
    page = render(judgement, title, intro, pictures, history, facts)
    saving.write(target, page, overwrite)
    return target


def render(
    judgement: Judgement,
    title: str = "Restored, and judged",
    intro: str = "",
    pictures: Sequence[Picture] | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The page as text, see `write_report`."""
    from jinja2 import Environment
    from markupsafe import Markup

    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text("utf-8"))
    pictures = judgement.pictures if pictures is None else pictures
    history = judgement.history if history is None else history
    everything = {**(facts or {}), **judgement.facts}
    return page.render(
        title=title,
        style=Markup(style_sheet()),
        intro=intro,
        headline=_headline(judgement),
        groups=_groups(judgement),
        banded=any(row.coverage is not None for row in judgement.rows),
        level=f"{BAND:.0%}".replace("%", " %"),
        settings=judgement.settings,
        pictures=[_shown(picture, judgement, Markup, number == 0) for number, picture in enumerate(pictures)],
        training=Markup(_training(history)) if history else "",
        training_caption=_training_caption(history) if history else "",
        trust=_trusted(judgement.trust, Markup) if judgement.trust else None,
        foreseen=Markup(foreseen_errors(_foreseen(judgement))) if any(row.expected for row in judgement.rows) else None,
        verdicts=[
            {
                "name": name,
                "words": found.words,
                "unlike": f"{found.unlike:.0%}".replace("%", " %"),
                "disagreeing": "–" if found.disagreeing is None else f"{found.disagreeing:.1%}".replace("%", " %"),
                "reasons": ", ".join(found.reasons[:1]),
            }
            for name, found in judgement.verdicts.items()
        ],
        facts={heading: in_words(group) for heading, group in everything.items()},
        json=json.dumps({**judgement.to_json(), "facts": everything}, indent=1, ensure_ascii=False, default=str),
        version=versions()["veriscope"],
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d"),
    )


# -- words and figures ------------------------------------------------------------------------------


def _headline(judgement: Judgement) -> str:
    many = f"the mean of {len(judgement.images)} images" if len(judgement.images) > 1 else judgement.images[0]
    before = judgement.input
    if before is None or RESTORATION not in judgement.methods:
        return f"Figures for {many}."
    after = judgement.of(RESTORATION)
    text = (
        f"For {many}, restoration takes the error from {before.nrmse:.1%} to {after.nrmse:.1%} of the truth’s range "
        f"(NRMSE) and the structural similarity from {before.ssim:.2f} to {after.ssim:.2f} (SSIM)"
    )
    others = [row for row in judgement.overall if row.method not in (*INPUTS, RESTORATION)]
    compared = "; ".join(f"{row.method} reaches {row.nrmse:.1%} and {row.ssim:.2f}" for row in others)
    return (text + (f"; {compared}." if compared else ".")).replace("%", " %")


def _groups(judgement: Judgement) -> list[dict[str, Any]]:
    groups: dict[tuple[str, int | None], list[Score]] = {}
    for row in judgement.rows:
        groups.setdefault((row.image, row.channel), []).append(row)
    named = [
        (image if channel is None else f"{image}, channel {channel}", rows) for (image, channel), rows in groups.items()
    ]
    if len(named) > 1:
        named = [(judgement.overall[0].image, list(judgement.overall)), *named]
    shown = []
    for name, rows in named:
        best = {
            "nrmse": min(row.nrmse for row in rows),
            "psnr": max(row.psnr for row in rows),
            "ssim": max(row.ssim for row in rows),
        }
        texts = [
            {
                "method": row.method,
                "colour": role_of(row.method),
                "coverage": "" if row.coverage is None else f"{row.coverage:.1%}".replace("%", " %"),
                "figures": [
                    {"text": form.format(getattr(row, key)), "best": getattr(row, key) == best[key] and len(rows) > 1}
                    for key, form in zip(FIGURES, ("{:.4f}", "{:.2f}", "{:.3f}"), strict=True)
                ],
            }
            for row in rows
        ]
        shown.append({"name": name, "rows": texts})
    return shown


# -- pictures ---------------------------------------------------------------------------------------


def _shown(picture: Picture, judgement: Judgement, markup: Any, moving: bool) -> dict[str, Any]:
    """Everything the page needs of one picture; with samples of the prediction if `moving` and they can be drawn."""
    rows = {row.method: row for row in judgement.rows if _title(row) == picture.name}
    pixel_z, pixel_y, pixel_x = picture.pixel
    stretch = pixel_y / pixel_x if pixel_y and pixel_x else 1.0
    panels: list[dict[str, Any]] = []
    for method, plane in picture.planes.items():
        panel = {
            "label": method,
            "note": f"SSIM {rows[method].ssim:.3f}" if method in rows else "",
            "png": png(plane, "gray", 0, 1, stretch),
            "overlay": markup(_overlay(plane.shape, picture, stretch, ruler=not panels)),
        }
        if picture.cuts:
            cut = picture.cuts[method]
            deep = cut.shape[0] * ((pixel_z / pixel_x) if pixel_z and pixel_x else 1.0)
            panel |= {"cut": png(cut, "gray", 0, 1), "cut_aspect": f"{cut.shape[1]} / {deep:.2f}"}
        panels.append(panel)
    for label, unit, shown in (
        ("predicted scale", "% of the truth’s range", picture.scale),
        ("disagreement", "% of full disagreement", picture.disagreement),
    ):
        if shown is not None:
            top = float(np.percentile(shown, 99.5))
            panels.append(
                {
                    "label": label,
                    "png": png(shown, SCALE_MAP, 0, top, stretch),
                    "overlay": markup(_overlay(shown.shape, picture, stretch)),
                    "gradient": gradient(),
                    "unit": unit,
                    "low": "0",
                    "high": f"{100 * top:.0f}" if top >= 0.1 else f"{100 * top:.2g}",
                }
            )
    return {
        "name": picture.name,
        "where": picture.where,
        "panels": panels,
        "caption": _caption(picture),
        "profile": markup(_profile(picture)),
        "profile_caption": _profile_caption(picture),
        "samples": _samples(picture.members, stretch) if moving and picture.members is not None else None,
    }


def _samples(members: tuple[NDArray[Any], NDArray[Any]], stretch: float) -> dict[str, Any]:
    """A loop of images drawn from the prediction, and the first of them for readers who want nothing to move."""
    drawn = [laplace.sample(*members, seed) for seed in range(SAMPLES)]
    loop = webp(np.stack([in_proportion(grey(one, 0, 1), stretch) for one in drawn]))
    return {
        "webp": base64.b64encode(loop).decode("ascii"),
        "png": png(drawn[0], "gray", 0, 1, stretch),
        "count": SAMPLES,
    }


def _title(row: Score) -> str:
    return row.image if row.channel is None else f"{row.image}, channel {row.channel}"


def _caption(picture: Picture) -> str:
    parts = [f"{picture.name}: {', '.join(picture.planes)}, the same region at the same contrast."]
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
    parts.append("The line between the two ticks is the one drawn below.")
    bar = scale_bar(next(iter(picture.planes.values())).shape[1], picture.pixel[2])
    parts.append(f"Scale bar: {bar[1]}." if bar else "The voxel size is not known, so there is no scale bar.")
    return " ".join(parts)


def _profile_caption(picture: Picture) -> str:
    if picture.band is None:
        return "Intensity along the line."
    low, high = picture.band
    truth = picture.profiles["truth"]
    inside = float(np.mean((low <= truth) & (truth <= high)))
    return (
        f"Intensity along the line. The shaded band is where the networks expect the truth with a probability of "
        f"{picture.level:.0%}; along this line it holds {inside:.0%} of it."
    ).replace("%", " %")


def _overlay(shape: tuple[int, ...], picture: Picture, stretch: float, ruler: bool = False) -> str:
    """Where the line runs, and a scale bar, drawn over a panel in its pixels."""
    height, width = shape[0] * stretch, shape[1]
    row, first, last = picture.line
    y, unit = (row + 0.5) * stretch, width / 100
    ends = "".join(f"M{x:.2f} {y - 3 * unit:.2f}v{6 * unit:.2f}" for x in (first + 0.3 * unit, last - 0.3 * unit))
    dashes = f"{2 * unit:.2f} {1.5 * unit:.2f}"
    mark = (
        f'<path d="M{first} {y:.2f}H{last}" stroke="{MARK}" stroke-opacity=".75" stroke-width="{0.6 * unit:.3f}" '
        f'fill="none" stroke-dasharray="{dashes}"/>'
        f'<path d="{ends}" stroke="{MARK}" stroke-width="{unit:.3f}" fill="none"/>'
    )
    bar = scale_bar(next(iter(picture.planes.values())).shape[1], picture.pixel[2]) if ruler else None
    if bar is not None:
        length, text = bar
        left, bottom = width - 4 * unit - length, height - 4 * unit
        mark += (
            f'<rect x="{left:.2f}" y="{bottom - 2 * unit:.2f}" width="{length:.2f}" height="{2 * unit:.2f}" '
            f'fill="#fff"/>'
            f'<text x="{left + length / 2:.2f}" y="{bottom - 4 * unit:.2f}" font-size="{7 * unit:.2f}" fill="#fff" '
            f'stroke="#000" stroke-width="{0.9 * unit:.2f}" paint-order="stroke" text-anchor="middle" '
            f'font-family="sans-serif">{text}</text>'
        )
    return f'<svg viewBox="0 0 {width} {height:.2f}" preserveAspectRatio="none" aria-hidden="true">{mark}</svg>'


def _foreseen(judgement: Judgement) -> list[tuple[Expected, float]]:
    """The error expected of each image, and the one found: the mean over its channels."""
    rows = [row for row in judgement.rows if row.expected is not None]
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row.image, []).append(row)
    return [(own[0].expected, float(np.mean([row.nrmse for row in own]))) for own in found.values()]


def _trusted(trust: Trust, markup: Any) -> dict[str, Any]:
    """Everything the page needs of the section on trust."""
    return {
        "eps": [f"{eps:g}" for eps in EPS],
        "levels": [f"{level:.0%}".replace("%", " %") for level in LEVELS],
        "rows": [
            {
                "members": count if one is trust else "calibrated",
                "likelihood": f"{one.log_likelihood[count]:.3f}",
                "coverage": [f"{fraction:.1%}".replace("%", " %") for fraction in one.coverage[count]],
                "ece": [f"{of_eps.ece:.1%}".replace("%", " %") for of_eps in found],
            }
            for one in (trust, trust.calibrated)
            if one is not None
            for count, found in one.reliability.items()
        ],
        "reliabilities": markup(reliabilities(trust)),
        "errors": markup(calibration_errors(trust)),
        "disagreements": markup(disagreements(trust)) if trust.members > 1 else "",
        "pixels": f"{trust.pixels:,}",
    }


# -- charts -----------------------------------------------------------------------------------------


def _profile(picture: Picture) -> str:
    figure, axes = chart(10.5, 3.0)
    pixel = picture.pixel[2]
    x = np.arange(len(picture.profiles["truth"])) * (pixel or 1.0)
    if picture.band is not None:
        low, high = picture.band
        label = f"{picture.level:.0%} band".replace("%", " %")
        axes.fill_between(x, low, high, color=COLOURS["restoration"], alpha=0.25, linewidth=0, label=label)
    widths = {"input": 0.8, "classical": 1.2, "restoration": 1.8, "truth": 1.6}
    for method, values in picture.profiles.items():
        role = role_of(method)
        style: Any = (0, (3, 1.6)) if role == "truth" else "solid"
        alpha = 0.55 if role == "input" else 1.0
        axes.plot(x, values, color=COLOURS[role], linewidth=widths[role], linestyle=style, alpha=alpha, label=method)
    shown = [values for method, values in picture.profiles.items() if method not in INPUTS] + list(picture.band or ())
    bottom, top = min(float(one.min()) for one in shown), max(float(one.max()) for one in shown)
    room = 0.15 * (top - bottom) or 1.0
    axes.set_ylim(bottom - room, top + room)  # the input's noise may go beyond
    axes.set_xlim(x[0], x[-1] if len(x) > 1 else 1)
    axes.set_xlabel("along the line, µm" if pixel else "along the line, px")
    axes.set_ylabel("share of the truth’s range")
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.03), frameon=False, labelcolor=INK, handlelength=1.6)
    return svg(figure)


def _training(history: Sequence[Mapping[str, Any]]) -> str:
    """Losses of every member against the minutes since its start: what it was checked by, and what it learnt from."""
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
        axes.set_xlabel("minutes since the member’s start")
        axes.set_ylabel(f"loss, patches {name}")
    both[1].legend(loc="upper left", bbox_to_anchor=(1.005, 1.03), frameon=False, labelcolor=INK, handlelength=1.6)
    return svg(figure)


def _training_caption(history: Sequence[Mapping[str, Any]]) -> str:
    steps = [
        max(row["step"] for row in history if row["member"] == m) for m in dict.fromkeys(r["member"] for r in history)
    ]
    counted = f"{steps[0]} steps" if len(set(steps)) == 1 else f"{min(steps)} to {max(steps)} steps"
    return (
        f"Left: loss on the patches kept aside for checking, the negative log likelihood where a distribution is "
        f"predicted; dots mark the weights that were kept. Right: what is made small on the patches learnt from, which "
        f"may be another loss. Lower is better; {counted} per member. A line that rises on the left while it falls on "
        f"the right would mean learning by heart."
    )
