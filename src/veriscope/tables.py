"""Rows as text for other programs, safe from being read as commands."""

from __future__ import annotations

import csv as _csv
import io
from collections.abc import Iterable, Sequence

_LATEX = {sign: f"\\{sign}" for sign in "&%#_$" + "{}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}


def csv(rows: Iterable[Sequence[object]], mark: str = ",") -> str:
    """A table for spreadsheets. Text that would be read as a formula, such as a name "=A1", begins with "'"."""
    text = io.StringIO()
    _csv.writer(text, delimiter=mark, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return value if value == "-" else f"'{value}"
    return value


def latex(text: str) -> str:
    """`text` with every character that means something else in LaTeX spelled out."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def markdown(text: str) -> str:
    """`text` for a cell of a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
