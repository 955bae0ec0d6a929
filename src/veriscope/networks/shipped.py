"""The networks that come with veriscope, by name: made by experiments/shipped.py, scored by benchmarks/shipped.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "models"
ABOUT = "about.json"  # what its card says beside what every model remembers


def names() -> list[str]:
    """The networks there are."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{ABOUT}"))


def place(model: str | os.PathLike[str]) -> Path:
    """The folder of `model`: a path, or the name of a network that comes with veriscope where no such path is."""
    path = Path(model)
    return FOLDER / path if is_name(path) else path


def is_name(model: str | os.PathLike[str]) -> bool:
    """Whether `model` means a network that comes with veriscope."""
    return str(model) in names() and not Path(model).exists()


def about(name: str) -> dict[str, Any]:
    """What is known of the network `name`: images, trained_on, light, limits, licence, and scores, rows of values."""
    found: dict[str, Any] = json.loads((FOLDER / name / ABOUT).read_text(encoding="utf-8"))
    return found
