"""veriscope models: the networks that come with it, to try at once."""

from __future__ import annotations

import shutil
from pathlib import Path

from veriscope import saving
from veriscope.apps import console
from veriscope.apps.options import argument, option
from veriscope.errors import ModelError
from veriscope.networks import shipped


def models(
    name: str | None = argument("One of them: show its card.", "[NAME]", None),
    out: Path | None = option(None, "Copy it to a new folder, to change or to send.", "DIR", "--out", "-o"),
) -> None:
    """List the networks that come with veriscope, or show the card of one.

    Their names stand wherever a model does. Each is small and knows one kind of image: read its card, and the verdict
    after restoring. For your own microscope, train from one of them with --start.

    Examples:
    veriscope models
    veriscope models nuclei-3d
    veriscope restore my.tif --model nuclei-3d --out restored.ome.tif
    """
    if name is None:
        if out is not None:
            raise ModelError("--out copies one network. Say which: veriscope models NAME --out DIR.")
        columns = ["axes", "images", "pixels"]
        rows = [[one, *(shipped.about(one)[column] for column in columns)] for one in shipped.names()]
        console.table("Networks that come with veriscope", ["name", *columns], rows)
        console.show("Scores and limits: veriscope models NAME. Use: veriscope restore my.tif --model NAME --out DIR")
        return
    if name not in shipped.names():
        raise ModelError(
            f"No network called '{name}' comes with veriscope. Choose one of {', '.join(shipped.names())}."
        )
    if out is None:
        from veriscope.networks.folder import load
        from veriscope.sharing.card import card

        console.show(card(load(shipped.FOLDER / name), name).rstrip())
        return
    from veriscope.networks.folder import refuse_existing

    refuse_existing(out, False)
    with saving.explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with saving.beside(out, saving.exists(out), folder=True) as made:
        shutil.copytree(shipped.FOLDER / name, made, dirs_exist_ok=True)
    console.written({"model": out})
