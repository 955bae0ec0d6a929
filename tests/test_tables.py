"""One table, written in every form: the same cells, and no name that breaks out of its cell."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass

import pytest

from veriscope.errors import DataError
from veriscope.tables import Column, Table, plain

TABLE = Table(
    (
        Column("image", left=True),
        Column("NRMSE", ".4f"),
        Column("band", ".1%", optional=True),
        Column("range", lambda ends: f"{ends[0]}-{ends[1]}"),
    ),
    [("a|b\\c", 0.12345, None, (1, 2)), ("=1+2", math.nan, None, None), ("", math.inf, None, (3, 4))],
    "Scores",
)


def test_text_is_aligned_names_to_the_left_and_numbers_to_the_right() -> None:
    assert str(TABLE).splitlines() == [
        "Scores",
        "image   NRMSE  range",
        "a|b\\c  0.1235    1-2",
        "=1+2        -      -",
        "          inf    3-4",
    ]


def test_a_blank_line_stands_before_every_new_name_of_a_block() -> None:
    rows = [("a", 1), ("", 2), ("b", 3), ("b", 4)]
    text = Table((Column("image", left=True), Column("n")), rows, blocks=True).text()
    assert text.splitlines() == ["image  n", "", "a      1", "       2", "", "b      3", "b      4"]


def test_bars_and_backslashes_stay_within_their_cells() -> None:
    title, _, head, rule, first, *_ = TABLE.markdown().splitlines()
    assert (title, head, rule) == ("Scores:", "| image | NRMSE | range |", "| --- | ---: | ---: |")
    assert first == "| a\\|b\\\\c | 0.1235 | 1-2 |"
    latex = TABLE.latex().splitlines()
    assert latex[:2] == ["% Scores", r"\begin{tabular}{lrr}"]
    assert latex[5] == r"a|b\textbackslash{}c & 0.1235 & 1-2 \\"
    assert sum(line.count("&") - line.count(r"\&") for line in latex) == 4 * 2


def test_spreadsheets_take_no_name_for_a_formula() -> None:
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows[0] == ["image", "NRMSE", "range"]
    assert rows[2][0] == "'=1+2"
    assert list(csv.reader(io.StringIO(TABLE.write("tsv")), delimiter="\t")) == rows


def test_a_column_that_is_optional_shows_once_it_has_a_value() -> None:
    filled = Table(TABLE.columns, [("a", 0.1, 0.5, (1, 2)), *TABLE.rows])
    assert [len(row) for row in filled.cells()] == [4] * 5
    assert filled.cells()[1][2] == "50.0%"


def test_unknown_forms_are_refused() -> None:
    with pytest.raises(DataError, match="not 'xls'"):
        TABLE.write("xls")


def test_records_become_plain_values() -> None:
    @dataclass
    class Record:
        name: str
        values: tuple[float, ...]

    made = plain([Record("a", (1.0, math.inf, math.nan))])
    assert made == [{"name": "a", "values": [1.0, None, None]}]
    assert plain(math.inf, "none") == "none"
    names = Table((Column("name"), Column("n")), [("a", math.nan)]).to_json()
    assert json.dumps(names, allow_nan=False) == '[{"name": "a", "n": null}]'
