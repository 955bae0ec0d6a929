"""What a model remembers: read and checked once, whoever wrote it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from veriscope.errors import ModelError
from veriscope.networks.facts import VERSION, Facts
from veriscope.normalize import Normalization

RANGE = {"percentiles": {"2.0": [1.0, 2.0], "99.8": [11.0, 12.0]}, "minimum": [0.0, 0.0], "maximum": [20.0, 20.0]}


def test_facts_survive_json() -> None:
    facts = Facts.from_json({"low": RANGE, "voxel_size": [0.2, 0.1], "history": [{"member": 0, "best": -1.5}]})
    again = Facts.from_json(json.loads(json.dumps(facts.to_json())))
    assert again == facts
    assert again.to_json()["version"] == VERSION
    assert again.low is not None
    assert again.low.normalization == Normalization((1, 2), (11, 12))


def test_facts_of_earlier_versions_are_read_as_far_as_they_are_known() -> None:
    old = {"training": {"seed": 0}, "calibration": {"scale_factor": [0.8], "ece": {"0.05": [0.1, 0.02]}}, "odd": 1}
    facts = Facts.from_json(old)
    assert (facts.calibration, facts.expectation, facts.familiar) == (None, None, None)
    assert facts.calibration_errors == {"0.05": (0.1, 0.02)}
    assert facts.finished == 0
    assert facts.to_json()["calibration"] == old["calibration"]  # kept, for the version that knows it


def test_changes_are_in_json_and_leave_the_rest() -> None:
    facts = Facts.from_json({"voxel_size": [0.2, 0.1], "calibration": None})
    changed = facts.change(familiar=None, voxel_size=[0.3, 0.3])
    assert changed.voxel_size == [0.3, 0.3]
    assert set(changed.measured) == {"calibration", "familiar"}
    assert set(facts.measured) == {"calibration"}


@pytest.mark.parametrize(
    ("stored", "known"),
    [
        (None, False),
        ({}, False),
        ({"percentiles": {"2.0": [3.0]}}, False),
        ({"percentiles": {"2.0": [3.0], "99.8": [3.0]}, "minimum": [0.0], "maximum": [9.0]}, True),  # nearly empty
        ({"percentiles": {"2.0": [3.0], "99.8": [3.0]}, "minimum": [3.0], "maximum": [3.0]}, False),
        ({"percentiles": {"2.0": [3.0, 4.0], "99.8": [9.0]}}, False),
    ],
)
def test_intensities_are_known_or_not(stored: Any, known: bool) -> None:
    low = Facts.from_json({"low": stored}).low
    assert (low is not None and low.normalization is not None) == known


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"version": VERSION + 1}, "newer veriscope"),
        ({"voxel_size": "large"}, "facts.voxel_size is a list"),
        ({"low": {"percentiles": {"2.0": ["a"]}}}, r"facts.low.percentiles.2.0\[0\] is a number"),
        ({"training": {"finished_members": -1}}, "finished_members lies between"),
        ({"history": [3]}, r"facts.history\[0\] is a group"),
        ({"familiar": 3}, "facts.familiar is a group"),
        ([], "facts is a group"),
    ],
)
def test_what_cannot_be_is_named(stored: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Facts.from_json(stored)


def test_facts_are_read_by_name_and_as_in_json() -> None:
    facts = Facts.from_json({"training": {"finished_members": 2}, "low": {"percentiles": {"2.0": [1.0]}}})
    assert facts["training"]["finished_members"] == facts.finished == 2
    assert facts["low"]["percentiles"] == {"2.0": [1.0]}
    assert facts.get("scores") == {}
    assert facts.get("nothing", 3) == 3
    with pytest.raises(KeyError):
        facts["nothing"]
