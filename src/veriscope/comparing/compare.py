"""Every method on every image: how close to the truth, how fast, on the same machine in the same run.

The paper's comparison (Supp. Fig. 4, Supp. Tab. 1): what people used before gets its parameters tuned on the test image
itself, which favours it; the network is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from veriscope.classical.method import Method
from veriscope.comparing.comparison import Comparison, Credit, Line
from veriscope.comparing.estimate import Planned, region_name
from veriscope.comparing.failures import Failure
from veriscope.comparing.judge import facts_of, versions
from veriscope.comparing.kept import Kept
from veriscope.comparing.machine import machine
from veriscope.comparing.picture import Picture
from veriscope.comparing.plan import MINUTES, Work, check_pixels, prepare
from veriscope.comparing.run import Progress, Run
from veriscope.images.pairing import Pair

if TYPE_CHECKING:
    from veriscope.networks.model import Ensemble
    from veriscope.restoring.plan import Memory, Pixels
    from veriscope.restoring.scaling import Choice

FAILURES = 3  # places of the largest relative error that are shown


def compare(
    pairs: Iterable[Pair],
    model: Ensemble | None = None,
    methods: str | Sequence[Method | str] | None = None,
    *,
    tune: bool = True,
    tune_on: Pair | None = None,
    crop: int | None = None,
    minutes: float | None = MINUTES,
    psf: Any = None,
    background: float = 0.0,
    out: str | Path | None = None,
    pictures: int = 3,
    tile: Pixels = None,
    memory: Memory = None,
    device: str | None = None,
    normalize: Choice = "image",
    progress: Progress | None = None,
    tell: Callable[[str], object] | None = None,
) -> Comparison:
    """Process every low image of `pairs` by every method and by `model`, and hold the results against the high images.

    `methods`: names such as "nlm,tv" or "premosa+nlm", or `Method`s, also a user's own; None takes all that are known
    for the task and installed. The task is that of the model; without one, pairs of stacks and planes are projected and
    all others restored.

    `tune` searches the parameters of each method that come closest to the truth (NRMSE): on every image itself, as the
    paper did, or on `tune_on`, another pair, in units of each image's noise. Without `tune` the usual ones are taken.

    `crop` judges everything in the central square of so many pixels. A method that is expected to take more than
    `minutes` for all images runs on a smaller central square (and the 8 pixels around it), where all others are judged
    once more, so that no method is compared with another on different pixels; None lets it take its time.

    `out` is a folder that keeps every method's images; what is there already from the same images and settings is not
    made again. `tell(words)` hears of what is slow, limited, missing or failed: one method that fails leaves the
    others. `progress(done, total, what)` hears seconds. `psf` is needed by methods that deconvolve isotropic stacks;
    `background` tells them the grey value of pixels without light, such as the offset of the camera.

    Raises DataError for unknown methods and for pairs that cannot be compared, ModelError for a model of another task.

    >>> print(compare(pairs, model, "lowpass,nlm"))  # doctest: +SKIP
    """
    work = prepare(list(pairs), model, methods, tune, tune_on, crop, minutes, psf, background)
    check_pixels(work)
    run = Run(work, {"tile": tile, "memory": memory, "device": device, "normalize": normalize}, progress, tell)
    if out is not None:
        run.kept = Kept(Path(out))
        run.kept.open()
    for note in work.notes:
        run.say(note)
    run.warm_up()
    run.tune_elsewhere()
    lines: list[Line] = []
    shown: list[Picture] = []
    failures: list[Failure] = []
    pictured = set(np.linspace(0, len(work.pairs) - 1, pictures).round().astype(int))  # conditions follow each other
    for number in range(len(work.pairs)):
        found, seen, failure = run.image(number, pictures - len(shown) if number in pictured else 0)
        lines += found
        shown += seen
        failures += [] if failure is None else [failure]
    comparison = Comparison(
        tuple(lines),
        tuple(_credit(one, work) for one in work.planned),
        tuple(shown),
        tuple(sorted(failures, key=lambda one: -one.error)[:FAILURES]),
        tuple(run.told),
        work.tuned_words,
        0 if model is None else len(model),
        _facts(work, normalize),
    )
    if run.kept is not None:
        run.kept.write_figures(comparison.to_json())
    return comparison


def _credit(one: Planned, work: Work) -> Credit:
    method = one.method
    steps = method.steps

    def each(words: Sequence[str]) -> str:
        return "; ".join(dict.fromkeys(word for word in words if word))

    tried = ", ".join(
        f"{name}{' (in standard deviations of the noise)' if name in method.in_noise else ''} "
        f"{', '.join(f'{value:g}' for value in values)}{' and beyond' if name == method.climbs else ''}"
        for name, values in method.grid.items()
    )
    return Credit(
        method.name,
        work.label(method),
        each([_purpose(step) for step in steps]),
        each([step.source for step in steps]),
        each([f"{step.library} {step.version}".strip() for step in steps]),
        each([step.licence for step in steps]),
        f"tried {tried}" if tried and work.tune else "nothing to tune" if not tried else "not tuned",
        region_name(one.side, work.region),
    )


def _purpose(method: Method) -> str:
    """The first sentence of what the function says of itself, where it says anything."""
    function = getattr(method.run, "func", method.run)  # of a partial one
    text = " ".join((function.__doc__ or "").split("\n\n")[0].split()).replace("`", "")
    return text.split(". ")[0].rstrip(".")


def _facts(work: Work, normalize: Any) -> dict[str, dict[str, Any]]:
    if work.model is not None:
        facts = facts_of(work.model, work.pairs, normalize, calibrated=False)
        compared = facts.pop("Judged")
        compared.pop("scales")
        facts.pop("Versions")
    else:
        shapes = dict.fromkeys(" x ".join(map(str, pair.high.shape)) for pair in work.pairs)
        facts, compared = {}, {"images": [pair.name for pair in work.pairs], "shape": ", ".join(shapes)}
    compared = {**compared, "crop": region_name(work.crop, "none"), "background": work.background or None}
    return {"Compared": compared, "Machine": machine(), **facts, "Versions": versions()}
