"""The tour of the code names what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import veriscope
from veriscope.images.image import Image
from veriscope.networks.facts import Facts
from veriscope.networks.recipe import Recipe
from veriscope.restoring.outputs import OUTPUTS

SOURCE = Path(veriscope.__file__).parent
TOUR = Path(__file__).parents[1] / "docs" / "tour.md"
NAMED = re.findall(r"`([^`\n]+)`", TOUR.read_text(encoding="utf-8"))
PLACES = sorted({name for name in NAMED if re.fullmatch(r"[a-z_/]+(\.py|/)", name)})
OBJECTS = {"Image": Image, "Facts": Facts, "Recipe": Recipe, "OUTPUTS": OUTPUTS}


@pytest.mark.parametrize("place", PLACES)
def test_every_file_and_room_of_the_tour_exists(place: str) -> None:
    assert (SOURCE / place).exists() or (TOUR.parents[1] / place).exists()


def test_every_room_is_on_the_tour() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= {place.split("/")[0] for place in PLACES}


def test_the_tour_says_what_it_names() -> None:
    words = {name for name in NAMED if re.fullmatch(r"[A-Za-z]+", name)}
    assert words - set(OBJECTS) <= {"compare"}
    assert set(OBJECTS) <= words


def test_the_tour_is_one_screen_for_a_reader() -> None:
    assert len(TOUR.read_text(encoding="utf-8").splitlines()) <= 80
