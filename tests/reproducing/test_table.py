from __future__ import annotations

import json
from math import inf

import pytest

from veriscope.reproducing.paper import FIGURES, INPUT, NETWORK, NLM, figure
from veriscope.reproducing.table import Line, Outcome


def outcome(*lines: Line) -> Outcome:
    return Outcome("planaria", lines, {"seed": 0})


WINS = (
    Line("condition_1", INPUT, 0.09, 0.2),
    Line("condition_1", NLM, 0.05, 0.5),
    Line("condition_1", NETWORK, 0.04, 0.7, ece=0.021),
)


def test_a_network_that_is_ahead_everywhere_has_no_shortfall() -> None:
    assert outcome(*WINS).shortfalls("condition_1") == []
    assert "ahead of every other method in every figure" in str(outcome(*WINS))


@pytest.mark.parametrize(
    ("ours", "short"),
    [
        (Line("condition_1", NETWORK, 0.05, 0.7), ["NRMSE of non-local means"]),
        (Line("condition_1", NETWORK, 0.04, 0.5), ["SSIM of non-local means"]),
        (Line("condition_1", NETWORK, 0.1, 0.1), ["NRMSE of input", "SSIM of input"]),
    ],
)
def test_what_the_network_does_not_win_is_said(ours: Line, short: list[str]) -> None:
    made = outcome(*WINS[:2], ours)
    assert set(short) <= set(made.shortfalls("condition_1"))
    assert f"NOT ahead in {', '.join(made.shortfalls('condition_1'))}" in str(made)


def test_isotropy_is_better_the_nearer_it_is_to_one() -> None:
    before, after = Line("input", INPUT, isotropy=(0.6, 0.7)), Line("input", NETWORK, isotropy=(1.1, 0.95))
    assert outcome(before, after).shortfalls("input") == []
    over = Line("input", NETWORK, isotropy=(1.6, 1.5))
    assert outcome(before, over).shortfalls("input") == ["Phi of input"]
    assert "1.10/0.95" in str(outcome(before, after))


def test_lines_that_nobody_can_tell_apart_have_no_smallest_distance() -> None:
    before, after = Line("input", INPUT, resolved_um=inf), Line("input", NETWORK, resolved_um=0.18)
    assert outcome(before, after).shortfalls("input") == []
    assert outcome(Line("input", INPUT, resolved_um=0.2), Line("input", NETWORK, resolved_um=0.2)).shortfalls(
        "input"
    ) == ["resolution of input"]
    table = str(outcome(before, after)).splitlines()
    assert [line.split()[-1] for line in table[1:3]] == ["none", "nm"]


def test_the_paper_stands_beside_what_it_reports_and_nowhere_else() -> None:
    rows = [line.split() for line in str(outcome(*WINS)).splitlines()[1:4]]
    assert [row[-2:] for row in rows] == [["0.0838", "0.212"], ["0.0513", "0.543"], ["0.0377", "0.708"]]
    assert "paper" not in str(Outcome("hela", (Line("input", NETWORK, 0.1, 0.2),)))
    assert figure("hela", "input", INPUT) == figure("nonsense", "", "")


def test_the_papers_networks_beat_its_other_methods() -> None:
    """A slip in copying the tables would most likely break this."""
    for name in ("planaria", "tribolium", "flywing"):
        for found in FIGURES[name].values():
            errors = [found[method].nrmse for method in (INPUT, NLM, NETWORK)]
            likeness = [found[method].ssim for method in (INPUT, NLM, NETWORK)]
            assert errors == sorted(errors, reverse=True)
            assert likeness == sorted(likeness)


def test_an_outcome_is_plain_json() -> None:
    made = outcome(*WINS, Line("condition_2", NETWORK, resolved_um=inf))
    read = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert read["lines"][2]["ece"] == 0.021
    assert read["lines"][3]["resolved_um"] == "none"
    assert read["shortfalls"] == {"condition_1": [], "condition_2": []}
