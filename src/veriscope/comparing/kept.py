"""What a comparison has finished, kept in a folder: every method's images, and what a later run needs to go on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veriscope import saving
from veriscope.errors import OutputError
from veriscope.images.image import Image
from veriscope.images.reading import read_image
from veriscope.images.writing import save_image

FIGURES = "comparison.json"  # marks the folder as one of ours


@dataclass(frozen=True)
class Kept:
    """A folder of results: METHOD/IMAGE.ome.tif, or METHOD/CONDITION/IMAGE.ome.tif, and beside each image a .json that
    says how it was made.
    """

    folder: Path

    def open(self) -> None:
        """Make the folder. Raises OutputError where it holds something else already."""
        if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / FIGURES).exists():
            raise OutputError(
                f"{self.folder} holds files that no comparison wrote. Choose a new folder, or one that a comparison "
                f"was kept in, to go on with it."
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file. Choose a folder for the results.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / FIGURES).exists():
            self.write_figures({"unfinished": True})

    def write_figures(self, figures: dict[str, Any]) -> None:
        saving.write(self.folder / FIGURES, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")

    def find(self, method: str, image: str, key: str) -> tuple[Image, dict[str, Any]] | None:
        """What was made of this input in the same way before, and the facts kept with it; None if nothing was."""
        file, note = self._files(method, image)
        if not note.is_file():
            return None
        try:
            facts = json.loads(note.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        if facts.pop("key", None) != key or not file.exists():
            return None
        return read_image(file, lazy=False).moved(facts.pop("axes")), facts

    def keep(self, method: str, image: str, key: str, made: Image, facts: dict[str, Any]) -> None:
        file, note = self._files(method, image)
        file.parent.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)  # while the image is replaced nothing vouches for it
        save_image(file, made, overwrite=True)
        text = json.dumps({"key": key, "axes": made.axes, **facts}, indent=1, ensure_ascii=False)
        saving.write(note, text + "\n")

    def _files(self, method: str, image: str) -> tuple[Path, Path]:
        *folders, name = (part for part in image.replace("\\", "/").split("/") if part not in ("", ".", ".."))
        folder = self.folder.joinpath(method, *folders)
        return folder / f"{name}.ome.tif", folder / f"{name}.json"


def fingerprint(*parts: Any) -> str:
    """The same for the same images and words, another for others."""
    digest = hashlib.sha256()
    for part in parts:
        if hasattr(part, "axes") or isinstance(part, np.ndarray):
            pixels = np.ascontiguousarray(np.asarray(part))
            digest.update(f"{getattr(part, 'axes', '')} {pixels.shape} {pixels.dtype}".encode())
            digest.update(pixels.data)
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()
