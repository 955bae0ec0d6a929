"""veriscope cross: every model on every data set."""

from __future__ import annotations

import json
from pathlib import Path

from veriscope import saving, wording
from veriscope.apps import console, options, words
from veriscope.apps.options import REQUIRED, argument, option
from veriscope.errors import VeriscopeError
from veriscope.images.pairing import read_pairs

LOWS, HIGHS = ("low", "lows", "noisy", "input", "X"), ("high", "highs", "GT", "gt", "truth", "target", "Y")


def cross(
    models: list[Path] = argument("Folders that veriscope train wrote.", "MODEL..."),
    on: list[str] = option(
        REQUIRED,
        "Pairs to try them on: LOW,HIGH (two folders or files), or a folder with low and high in it. Once "
        "for every data set.",
        "DATA",
    ),
    axes: str | None = options.PAIR_AXES,
    out: Path | None = option(None, "Write the table, as .csv or .json, too.", "FILE", suffixes=(".csv", ".json")),
    normalize: options.Way = options.NORMALIZE,
    overwrite: bool = option(False, "Replace the table if it exists."),
    *,
    limits: options.Limits,
) -> None:
    """Try every model on every data set: scores, disagreement, and the verdict, estimated without ground truth.

    Shows which model is good for which images, and whether it notices what it was not trained for.

    Examples:
    veriscope cross nuclei actin --on data/nuclei --on data/actin
    veriscope cross nuclei --on test/low,test/high --on other/noisy,other/clean --axes ZYX --out table.csv
    """
    settings = limits.settings()
    places = {data: _low_and_high(data) for data in dict.fromkeys(on)}

    from veriscope.sharing.opening import load

    names = wording.short_names([str(model) for model in models])
    loaded = {name: load(model) for name, model in zip(names, models, strict=True)}
    labels = _labels(places)
    word = words.axes_of_pairs(axes)
    sets = {label: read_pairs(low, high, axes=word) for label, (low, high) in zip(labels, places.values(), strict=True)}

    from veriscope.comparing.cross import cross as cross_all

    with console.bar("Crossing") as progress:
        crossed = cross_all(loaded, sets, **settings, normalize=normalize, progress=progress)
    console.figures(crossed)
    for cell in crossed.cells:
        if cell.failure:
            console.note(f"{cell.model} on {cell.data}: {cell.failure}")
    if out is not None:
        text = json.dumps(crossed.to_json(), indent=1) if out.suffix.lower() == ".json" else crossed.table().csv()
        saving.write(out, text, overwrite)
        console.written({"table": out})


def _low_and_high(data: str) -> tuple[Path, Path]:
    folder = Path(data)
    if folder.is_dir():
        inside = [next((folder / name for name in names if (folder / name).exists()), None) for names in (LOWS, HIGHS)]
        if inside[0] and inside[1]:
            return inside[0], inside[1]
        raise VeriscopeError(
            f"--on {data}: this folder holds no pairs: there is no {LOWS[0]} and {HIGHS[0]} in it. "
            f"Name both, as in --on {data}/noisy,{data}/clean."
        )
    parts = data.split(",")
    if len(parts) != 2 or not all(parts):
        raise VeriscopeError(
            f"--on {data}: there is no such folder. Give the two folders or files of a data set as LOW,HIGH, "
            f"or a folder with low and high in it."
        )
    return Path(parts[0]), Path(parts[1])


def _labels(places: dict[str, tuple[Path, Path]]) -> list[str]:
    """A short name for each data set: that of its folder, or those of its low and high images."""
    folders = [data for data in places if Path(data).is_dir()]
    named = dict(zip(folders, wording.short_names(folders), strict=True))
    pairs = {data: place for data, place in places.items() if data not in named}
    ends = [wording.short_names([str(place[end]) for place in pairs.values()]) for end in (0, 1)]
    named |= {data: ",".join(names) for data, *names in zip(pairs, *ends, strict=True)}
    return [named[data] for data in places]
