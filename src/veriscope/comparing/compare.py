"""Every method on every image: how close to the truth, how fast, on the same machine in the same run.

The paper's comparison (Supp. Fig. 4, Supp. Tab. 1): what people used before gets its parameters tuned on the test image
itself, which favours it; the network is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from veriscope.classical.method import Method
from veriscope.comparing.comparison import Comparison, Credit
from veriscope.comparing.facts import facts_of, facts_of_pairs, machine, versions
from veriscope.comparing.judge import check_keywords
from veriscope.comparing.kept import Kept
from veriscope.comparing.plan import Design, MethodPlan, check_pixels, prepare, region_name
from veriscope.comparing.run import Measurement, Progress
from veriscope.errors import DataError
from veriscope.images.pairing import Pair
from veriscope.networks.model import Ensemble
from veriscope.restoring.scaling import Choice
from veriscope.restoring.settings import Machine

FAILURES = 3  # places of the largest relative error that are shown


class Settings(Machine, total=False):
    """How methods are tuned and images cut, and how the model restores them; see `compare`."""

    tune: bool
    tune_on: Pair | None
    crop: int | None
    minutes: float | None
    psf: Any
    background: float
    normalize: Choice


def compare(
    pairs: Iterable[Pair],
    model: Ensemble | None = None,
    methods: str | Sequence[Method | str] | None = None,
    *,
    out: str | Path | None = None,
    pictures: int = 3,
    progress: Progress | None = None,
    tell: Callable[[str], object] | None = None,
    **settings: Unpack[Settings],
) -> Comparison:
    """Process every low image of `pairs` by every method and by `model`, and hold the results against the high images.

    `methods`: names such as "nlm,tv" or "premosa+nlm", or `Method`s, also a user's own; None takes all that are known
    for the task and installed. The task is that of the model; without one, pairs of stacks and planes are projected and
    all others restored.

    `tune` (True) searches the parameters of each method that come closest to the truth (NRMSE): on every image itself,
    as the paper did, or on `tune_on`, another pair, in units of each image's noise; False takes the usual ones.

    `crop` judges everything in the central square of so many pixels. A method that is expected to take more than
    `minutes` (10) for all images runs on a smaller central square (and the 8 pixels around it), where all others are
    judged once more, so that no method is compared with another on different pixels; None lets it take its time.

    `out` is a folder that keeps every method's images; what is there already from the same images and settings is not
    made again. `tell(words)` hears of what is slow, limited, missing or failed: one method that fails leaves the
    others. `progress(done, total, what)` hears seconds. `psf` is needed by methods that deconvolve isotropic stacks;
    `background` gives them the grey value of pixels without light, such as the offset of the camera.

    `tile`, `memory`, `device`, `precision` and `normalize` are those of `restore`, for the model.

    Raises DataError for unknown methods, for pairs that cannot be compared, and where every method failed, ModelError
    for a model of another task.

    >>> print(compare(pairs, model, "lowpass,nlm"))  # doctest: +SKIP
    """
    check_keywords("compare", settings, Settings)
    choices: dict[str, Any] = dict(settings)
    restoring = {name: choices.pop(name) for name in (*Machine.__annotations__, "normalize") if name in choices}
    design = prepare(list(pairs), model, methods, **choices)
    check_pixels(design)
    run = Measurement(design, restoring, progress, tell)
    if out is not None:
        run.kept = Kept(Path(out))
        run.kept.open()
    for note in design.notes:
        run.say(note)
    run.warm_up()
    run.tune_elsewhere()
    pictured = set(np.linspace(0, len(design.pairs) - 1, pictures).round().astype(int))  # conditions follow each other
    for number in range(len(design.pairs)):
        run.image(number, pictures - len(run.pictures) if number in pictured else 0)
    if not run.lines:
        raise DataError(f"There is nothing to compare: every method failed. {' '.join(run.notes)}")
    compared = facts_of_pairs(design.pairs, model, restoring.get("normalize", "image"))
    compared |= {"crop": region_name(design.crop, "none"), "background": design.background or None}
    network = {} if model is None else facts_of(model)
    comparison = Comparison(
        tuple(run.lines),
        tuple(_credit(one, design) for one in design.planned),
        tuple(run.pictures),
        tuple(sorted(run.failures, key=lambda one: -one.error)[:FAILURES]),
        tuple(run.notes),
        design.tuned_words,
        0 if model is None else len(model),
        {"Compared": compared, "Machine": machine(), **network, "Versions": versions()},
    )
    if run.kept is not None:
        run.kept.write_figures(comparison.to_json())
    return comparison


def _credit(one: MethodPlan, design: Design) -> Credit:
    method = one.method
    known = [(_purpose(one), one.source, f"{one.library} {one.version}".strip(), one.licence) for one in method.steps]
    does, source, library, licence = ("; ".join(dict.fromkeys(filter(None, each))) for each in zip(*known, strict=True))
    tried = ", ".join(
        f"{name}{' (in standard deviations of the noise)' if name in method.in_noise else ''} "
        f"{', '.join(f'{value:g}' for value in values)}{' and beyond' if name == method.climbs else ''}"
        for name, values in method.grid.items()
    )
    tuned = f"tried {tried}" if tried and design.tune else "nothing to tune" if not tried else "not tuned"
    region = region_name(one.side, design.region)
    return Credit(method.name, design.label(method), does, source, library, licence, tuned, region)


def _purpose(method: Method) -> str:
    """The first sentence of the docstring of its function, if there is one."""
    function = getattr(method.run, "func", method.run)  # of a partial one
    text = " ".join((function.__doc__ or "").split("\n\n")[0].split()).replace("`", "")
    return text.split(". ")[0].rstrip(".")
