"""veriscope judge: how good a model is on pairs that it has not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from veriscope.apps import console, words
from veriscope.errors import OutputError


def judge(
    low: Annotated[Path, typer.Argument(metavar="LOW", help="Folder of images with little light, or one file.")],
    high: Annotated[
        Path,
        typer.Argument(metavar="HIGH", help="Folder of the same fields in good quality, named alike, or one file."),
    ],
    model: Annotated[Path, typer.Option("--model", "-m", metavar="MODEL", help="Folder that veriscope train wrote.")],
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with pictures, such as report.html.")
    ] = None,
    axes: Annotated[str | None, typer.Option(metavar="AXES", help="Axes of the files, such as YX, ZYX, SCYX.")] = None,
    normalize: Annotated[
        str, typer.Option(metavar="image|frame|model", help="Where percentiles come from, as in veriscope restore.")
    ] = "image",
    calibrated: Annotated[
        bool,
        typer.Option(
            "--calibrated",
            help="Correct the predicted scales by the factor measured after training.",
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report if it exists.")] = False,
    tile: Annotated[str | None, typer.Option(metavar="SIZE", help="Tile in pixels, such as 256.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Memory to use at most, such as 4GB.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the fastest if left out.")] = None,
) -> None:
    """Compare what a model restores with the truth: NRMSE, PSNR and SSIM for each image and overall.

    The input is judged in the same way, so that the gain is visible. Also says how far the predicted uncertainty can be
    trusted. Use pairs that were not used in training.

    Examples:
    veriscope judge test/low test/high --model model --axes ZYX
    veriscope judge test/low test/high --model model --report report.html
    """
    tile_shape = words.sizes("--tile", tile)
    way = words.way_to_normalize(normalize)
    if report is not None:
        _check_report(report, overwrite)

    from veriscope.images.pairing import read_pairs
    from veriscope.networks.folder import load

    pairs = read_pairs(low, high, axes=axes)
    ensemble = load(model)

    from veriscope.judging.judge import judge as judge_pairs

    with console.bar("Judging") as progress:
        judged = judge_pairs(
            ensemble,
            pairs,
            tile=tile_shape,
            memory=memory,
            device=device,
            normalize=way,
            calibrated=calibrated,
            progress=progress,
        )
    console.show(str(judged))
    if report is not None:
        from veriscope.judging.report import write_report

        write_report(report, judged, overwrite=overwrite)
        console.show(f"Report: {report.resolve()}")


def _check_report(report: Path, overwrite: bool) -> None:
    if report.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"--report {report} is written as a page. Give it a name such as report.html.")
    if report.exists() and not overwrite:
        raise OutputError(f"{report} exists already. Choose another --report, or replace it with --overwrite.")
    if not report.absolute().parent.is_dir():
        raise OutputError(f"There is no folder {report.absolute().parent} for the report. Make it, or choose another.")
