"""veriscope compare: a model beside what people used before, on the same images."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veriscope import saving, tables, wording
from veriscope.apps import console, files, options, words
from veriscope.apps.options import option
from veriscope.errors import VeriscopeError
from veriscope.images.conditions import pooled
from veriscope.images.pairing import Pair
from veriscope.simulate.psf import from_words

if TYPE_CHECKING:
    from veriscope.comparing.plan import Design


@dataclass(frozen=True)
class MethodOptions:
    methods: str | None = option(
        None,
        "Such as nlm,tv, premosa+nlm (one after the other) or noise2void (learns from each image for a minute); "
        "all filters that fit and are installed if left out.",
        "NAMES",
    )
    tune: bool = option(True, "Search each method's parameters, or take the usual ones.", None, "--tune/--no-tune")
    tune_on: str | None = option(None, "Tune on this other pair, not on every test image as the paper did.", "LOW,HIGH")
    crop: int | None = option(None, "Compare in the central square of so many pixels only.", "SIZE")
    minutes: float = option(10.0, "A method that would take longer for all images is limited to a central square.")
    psf: str | None = option(None, "For methods that deconvolve, such as gaussian:na=1.1, or a file of a bead.", "PSF")
    background: float = option(0.0, "Of --psf: grey value without light, such as the camera's offset.", "GREY")

    def check(self) -> None:
        if self.background and self.psf is None:
            raise VeriscopeError("--background is for methods that deconvolve. Give --psf too, or leave it out.")
        if self.background < 0:
            raise VeriscopeError(
                f"--background is a grey value of at least 0, not {self.background:g}. Give the camera's offset."
            )
        if self.tune_on is not None and not self.tune:
            raise VeriscopeError("--tune-on and --no-tune contradict each other. Leave one of them out.")


def compare(
    low: Path = options.LOW,
    *,
    high: Path | None = options.HIGH,
    model: Path | None = option(
        None, "Folder that veriscope train wrote; none: methods alone.", "MODEL", "--model", "-m"
    ),
    chosen: MethodOptions,
    report: Path | None = option(
        None, "Write a page with all of it, such as compare.html.", "FILE", suffixes=options.PAGES
    ),
    table: Path | None = option(
        None, "Means as .md or .tex, or every image as .csv or .tsv.", "FILE", suffixes=tuple(tables.FORMS)
    ),
    out: Path | None = option(None, "Keep every method's images; the same command goes on there.", "FOLDER"),
    dry_run: bool = option(False, "Say what would be done and about how long it takes."),
    axes: str | None = options.PAIR_AXES,
    normalize: options.Way = options.NORMALIZE,
    overwrite: bool = option(False, "Replace the report and the table if they exist."),
    limits: options.Limits,
) -> None:
    """Compare a model with the methods people used before: how close to the ground truth, and how fast.

    Every method processes every image on this machine, in this run. As in the paper, the parameters of each method are
    tuned on the test image itself, which favours it; --tune-on takes another image for that. A method that fails leaves
    the others.

    Examples:
    veriscope compare test/low test/high --model model --report compare.html
    veriscope compare test_data --model model --methods nlm,tv --crop 256 --table table.tex
    veriscope compare test/low test/high --methods nlm --tune-on other/low.tif,other/high.tif
    """
    machine = limits.settings()
    chosen.check()

    from veriscope.comparing.compare import compare as compare_all
    from veriscope.comparing.plan import prepare
    from veriscope.sharing.opening import load

    ensemble = None if model is None else load(model)
    finer = {} if ensemble is None else ensemble.recipe.finer
    pairs = pooled(files.read_pairs(low, high, words.axes_of_pairs(axes), finer))
    voxel = pairs[0].high.full_voxel_size
    if chosen.psf is not None and voxel is None:
        raise VeriscopeError(
            f"--psf {chosen.psf} needs the voxel size of the images, which is unknown. Write it into them."
        )
    choices = {
        **vars(chosen),
        "tune_on": None if chosen.tune_on is None else _other(chosen.tune_on, words.axes_of_pairs(axes), finer),
        "psf": None if chosen.psf is None or voxel is None else from_words(chosen.psf, voxel),
    }
    if dry_run:
        _show_plan(prepare(pairs, ensemble, **choices))
        return
    settings = {**choices, **machine, "normalize": normalize}
    try:
        with console.bar("Comparing", clock=True) as progress:
            compared = compare_all(pairs, ensemble, **settings, out=out, progress=progress, tell=console.note)
    except KeyboardInterrupt:
        if out is None:
            raise
        raise console.Stopped(f"what was finished is kept in {out}; the same command goes on there.") from None
    console.figures(compared)
    if table is not None:
        saving.write(table, compared.table(tables.FORMS[table.suffix.lower()]), overwrite)
        console.written({"table": table})
    if report is not None:
        from veriscope.reporting.comparison_report import write_comparison

        typed = {"model": model, **vars(chosen), "axes": axes, "normalize": normalize, **vars(limits), "report": report}
        command = _command([low, *([high] if high else [])], typed)
        write_comparison(report, compared, command=command, overwrite=overwrite)
        console.written({"report": report})


def _other(tune_on: str, axes: str | tuple[str, str] | None, finer: Mapping[str, float]) -> Pair:
    parts = tune_on.split(",")
    if len(parts) != 2 or not all(parts):
        raise VeriscopeError(f"--tune-on {tune_on} is not understood. Give two files or folders as LOW,HIGH.")
    pairs = files.read_pairs(Path(parts[0]), Path(parts[1]), axes, finer)[""]
    if len(pairs) > 1:
        console.note(f"--tune-on holds {len(pairs)} pairs: parameters are tuned on the first, {pairs[0].name}.")
    return pairs[0]


def _show_plan(design: Design) -> None:
    from veriscope.comparing.plan import region_name

    shapes = dict.fromkeys(f"{wording.lengths(pair.low.shape)} {pair.low.axes}" for pair in design.pairs)
    console.facts(
        "Would compare", {"images": f"{len(design.pairs)}, {', '.join(shapes)}", "parameters": design.tuned_words}
    )
    rows = [
        [one.method.name, one.method.title, region_name(one.side, design.region), wording.duration(one.total)]
        for one in design.planned
    ]
    if design.model is not None:
        count = len(design.model)
        rows.append(
            ["", f"restoration, {count} network{'s' if count > 1 else ''}", design.region, "known after the first"]
        )
    console.table("", ["method", "is", "run on", "about"], rows)
    for note in design.notes:
        console.note(note)


def _command(places: list[Path], typed: dict[str, Any]) -> str:
    """What to type to get the same again."""
    usual = {"minutes": 10.0, "normalize": "image", "background": 0.0, "precision": "auto"}
    parts = ["veriscope", "compare", *map(str, places)]
    for name, value in typed.items():
        if value is False:
            parts.append("--no-tune")  # the only switch among them
        elif value is not None and value is not True and value != usual.get(name):
            parts += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(parts)
