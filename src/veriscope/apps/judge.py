"""veriscope judge: how good a model is on pairs that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from veriscope.apps import console, files, options, words
from veriscope.apps.options import option
from veriscope.errors import ModelError, OutputError
from veriscope.images.conditions import pooled
from veriscope.images.reading import holds_images, list_images
from veriscope.tables import Column, Table


def judge(
    low: Path = options.LOW,
    model: Path = options.MODEL,
    high: Path | None = options.HIGH,
    report: Path | None = option(
        None, "Write a page with pictures, such as report.html.", "FILE", suffixes=options.PAGES
    ),
    movie: Path | None = option(
        None,
        "Write a movie of samples of the prediction, samples.tif, .gif or .mp4: the first image, the whole "
        "plane that the report's picture is taken from.",
        "FILE",
    ),
    frames: int = option(20, "Samples in the movie.", "N"),
    axes: str | None = options.PAIR_AXES,
    normalize: options.Way = options.NORMALIZE,
    calibrated: bool = options.CALIBRATED,
    overwrite: bool = option(False, "Replace the report and the movie if they exist."),
    *,
    limits: options.Limits,
) -> None:
    """Compare what a model restores with the ground truth: NRMSE, PSNR and SSIM for each image and overall.

    The input is judged in the same way, so that the gain is visible. Also says how far the predicted uncertainty can be
    trusted. Use pairs that were not used in training. In a movie of samples each pixel is drawn from what the networks
    predict: it flickers where they are uncertain.

    Examples:
    veriscope judge test/low test/high --model model --axes ZYX
    veriscope judge test/low test/high --model model --report report.html
    veriscope judge test/low test/high --model model --movie samples.gif
    veriscope judge test_data --model model --axes ZYX
    """
    settings: dict[str, Any] = {**limits.settings(), "normalize": normalize, "calibrated": calibrated}
    if movie is not None:
        from veriscope.reporting.movie import check_target

        check_target(movie, overwrite, "--movie")
        judged_in = [low, high] if high else sorted(low.glob("**/"))
        given = [path for one in judged_in if one.is_file() or holds_images(one) for path in list_images(one)]
        if any(movie.resolve() == path.resolve() for path in given):
            raise OutputError(f"--movie {movie} would replace an image that is judged. Choose another name.")

    from veriscope.sharing.opening import load

    ensemble = load(model)
    conditions = files.read_pairs(low, high, words.axes_of_pairs(axes), ensemble.recipe.finer)
    pairs = pooled(conditions)
    if movie is not None and not ensemble.recipe.probabilistic:
        raise ModelError(
            f"{model} predicts no distribution to draw samples from, so --movie cannot be given. "
            f"Leave it out, or train with --loss laplace."
        )

    from veriscope.comparing.judge import judge as judge_pairs

    with console.bar("Judging") as progress:
        judged = judge_pairs(ensemble, pairs, **settings, keep_plane=movie is not None, progress=progress)
    console.figures(judged)
    if len(conditions) > 1:
        figures = Column("NRMSE", ".4f"), Column("PSNR", ".2f"), Column("SSIM", ".3f")
        rows = [
            (name, row.method, row.nrmse, row.psnr, row.ssim)
            for name, own in conditions.items()
            for row in judged.only(own.names).overall
        ]
        console.show()
        console.results(Table([Column("condition"), Column("method"), *figures], rows, "Mean of each condition"))
    if report is not None:
        from veriscope.reporting.report import write_report

        write_report(report, judged, overwrite=overwrite)
        console.written({"report": report})
    if movie is not None and judged.plane is not None:
        from veriscope.reporting.movie import write_movie

        write_movie(movie, judged.plane, frames, overwrite=overwrite)
        console.written({"movie": movie})
