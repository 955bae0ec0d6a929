"""Tables of results, for people and for other programs, safe from being read as commands."""

from __future__ import annotations

import csv as _csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from veriscope.errors import DataError

FORMS = {".csv": "csv", ".tsv": "tsv", ".md": "markdown", ".tex": "latex"}  # of a table, by the suffix of its file
_LATEX = {sign: f"\\{sign}" for sign in "&%#_$" + "{}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}


@dataclass(frozen=True)
class Column:
    """A heading, and how the values below it are written."""

    name: str
    form: str | Callable[[Any], str] = ""  # of numbers, such as ".3f" or ".1%"
    left: bool = False  # words stand to the left, numbers to the right
    optional: bool = False  # left out where no row has a value


@dataclass(frozen=True)
class Table:
    """Rows of values below `columns`. Printing it gives aligned text; None and NaN are `missing`."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    missing: str = "-"
    blocks: bool = False  # in text, a blank line where the first column has another name

    def cells(self) -> list[list[str]]:
        """Everything as text, the headings first."""
        shown = self._shown()
        body = [[self._cell(self.columns[at], row[at]) for at in shown] for row in self.rows]
        return [[self.columns[at].name for at in shown], *body]

    @property
    def lefts(self) -> list[bool]:
        """Whether the cells of each column that is there stand to the left."""
        return [self.columns[at].left for at in self._shown()]

    def text(self) -> str:
        """Aligned columns, below the title if there is one."""
        cells = self.cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        places = [str.ljust if left else str.rjust for left in self.lefts]
        lines, name = [self.title] if self.title else [], cells[0][0]
        for row in cells:
            if self.blocks and row[0] not in ("", name):
                lines.append("")
            name = row[0] or name
            placed = [put(cell, width) for put, cell, width in zip(places, row, widths, strict=True)]
            lines.append("  ".join(placed).rstrip())
        return "\n".join(lines)

    __str__ = text

    def markdown(self) -> str:
        """A table of Markdown, below the title if there is one."""
        lines = [f"| {' | '.join(map(markdown, row))} |" for row in self.cells()]
        lines.insert(1, "|" + "".join(" --- |" if left else " ---: |" for left in self.lefts))
        return "\n".join([f"{self.title}:", "", *lines] if self.title else lines)

    def latex(self) -> str:
        """A tabular of LaTeX, below the title as a comment if there is one."""
        head, *lines = [" & ".join(map(latex, row)) + r" \\" for row in self.cells()]
        begin = f"\\begin{{tabular}}{{{''.join('l' if left else 'r' for left in self.lefts)}}}"
        title = [f"% {' '.join(self.title.split())}"] if self.title else []
        return "\n".join([*title, begin, r"\hline", head, r"\hline", *lines, r"\hline", r"\end{tabular}"])

    def csv(self, mark: str = ",") -> str:
        """For spreadsheets."""
        return csv(self.cells(), mark)

    def to_json(self) -> list[dict[str, Any]]:
        """A record of plain values for each row, by heading."""
        names = [column.name for column in self.columns]
        return [plain(dict(zip(names, row, strict=True))) for row in self.rows]

    def write(self, form: str) -> str:
        """As "text", "markdown", "latex", "csv" or "tsv"."""
        makers = {"text": self.text, "markdown": self.markdown, "latex": self.latex, "csv": self.csv}
        makers["tsv"] = lambda: self.csv("\t")
        if form not in makers:
            raise DataError(f"A table is text, markdown, latex, csv or tsv, not '{form}'. Choose one of them.")
        return makers[form]()

    def _shown(self) -> list[int]:
        """Which columns there are."""
        known = {at for row in self.rows for at, value in enumerate(row) if value is not None}
        return [at for at, column in enumerate(self.columns) if at in known or not column.optional]

    def _cell(self, column: Column, value: Any) -> str:
        if value is None or (column.form and isinstance(value, float) and math.isnan(value)):
            return self.missing
        if isinstance(value, str):  # of any kind, such as that which a page takes as HTML
            return value
        if not column.form:
            return str(value)
        return column.form(value) if callable(column.form) else format(value, column.form)


def plain(value: Any, infinite: Any = None) -> Any:
    """Values for json.dumps: records become dicts, tuples lists, and numbers that are not finite `infinite`."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {name: plain(one, infinite) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one, infinite) for one in value]
    return infinite if isinstance(value, float) and not math.isfinite(value) else value


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
