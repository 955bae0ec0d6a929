"""The part of KNIME's Python API that the nodes use, as its documentation describes it (knime.extension, 5.x), and
strict where KNIME is: types of parameters and progress, and tables with the columns that configure() promised.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pandas as pd

KINDS = {"object": "string", "str": "string", "string": "string", "float64": "double", "int64": "int64", "bool": "bool"}


class InvalidParametersError(Exception):
    pass


class NodeType:
    SOURCE, MANIPULATOR = "Source", "Manipulator"


class Column:
    def __init__(self, ktype: str, name: str) -> None:
        assert isinstance(ktype, str)
        self.ktype, self.name = ktype, name


class Schema:
    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns

    @classmethod
    def from_columns(cls, columns: list[Column]) -> Schema:
        return cls(list(columns))

    def append(self, column: Column) -> Schema:
        return Schema([*self.columns, column])

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def described(self) -> list[tuple[str, str]]:
        return [(column.name, column.ktype) for column in self.columns]


class Table:
    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame.copy()

    @classmethod
    def from_pandas(cls, data: pd.DataFrame) -> Table:
        assert all(isinstance(name, str) for name in data.columns)
        return cls(data)

    def to_pandas(self) -> pd.DataFrame:
        return self._frame.copy()

    @property
    def schema(self) -> Schema:
        return Schema([Column(KINDS[str(kind)], name) for name, kind in self._frame.dtypes.items()])


class _Parameter:
    """A value of the dialog, with its own default in every node."""

    kind: type = object

    def __init__(
        self,
        label: str,
        description: str,
        default_value: Any = None,
        *,
        since_version: Any = None,
        is_advanced: bool = False,
    ) -> None:
        assert label
        assert description
        self.default = default_value

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, node: Any, owner: type | None = None) -> Any:
        return self if node is None else node.__dict__.get(self.name, self.default)

    def __set__(self, node: Any, value: Any) -> None:
        if not isinstance(value, self.kind):
            raise TypeError(f"{value} is of type {type(value)}, but should be of type {self.kind.__name__}.")
        self.check(value)
        node.__dict__[self.name] = value

    def check(self, value: Any) -> None:
        pass


class StringParameter(_Parameter):
    kind = str


class BoolParameter(_Parameter):
    kind = bool


class DoubleParameter(_Parameter):
    kind = float

    def __init__(
        self, *words: Any, min_value: float | None = None, max_value: float | None = None, **more: Any
    ) -> None:
        super().__init__(*words, **more)
        self.limits = min_value, max_value

    def check(self, value: float) -> None:
        low, high = self.limits
        if (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"{value} is not between {low} and {high}.")


class ColumnParameter(_Parameter):
    kind = str

    def __init__(
        self, label: str, description: str, port_index: int = 0, column_filter: Callable[[Column], bool] | None = None
    ) -> None:
        super().__init__(label, description)
        self.column_filter = column_filter


class PythonNode:
    pass


class _Context:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def set_warning(self, message: str) -> None:
        self.warnings.append(str(message))


class ConfigurationContext(_Context):
    pass


class ExecutionContext(_Context):
    """`cancel`: after which call of is_canceled() the user has cancelled; None: never."""

    def __init__(self, cancel: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self.cancel = cancel
        self.progress: list[tuple[float, str | None]] = []

    def set_progress(self, progress: float, message: str | None = None) -> None:
        if not isinstance(progress, float):
            raise ValueError(f"progress must be of type float. Got {type(progress)}.")
        if progress < 0 or progress > 1:
            raise ValueError("progress must be between 0 and 1.")
        if message is not None and not isinstance(message, str):
            raise ValueError("message must be a str or None.")
        self.progress.append((progress, message))

    def is_canceled(self) -> bool:
        return self.cancel()


NODES: dict[str, type] = {}


def node(name: str, node_type: str, icon_path: str, category: str) -> Callable[[type], type]:
    def register(kind: type) -> type:
        assert (kind.__doc__ or "").strip(), "a node's docstring is its description"
        kind.ports = {"in": kind.__dict__.get("_in", []), "out": kind.__dict__.get("_out", [])}
        NODES[name] = kind
        return kind

    return register


def _port(side: str) -> Callable[..., Callable[[type], type]]:
    def decorate(name: str, description: str) -> Callable[[type], type]:
        def add(kind: type) -> type:
            setattr(kind, side, [name, *kind.__dict__.get(side, [])])
            return kind

        return add

    return decorate


def category(path: str, level_id: str, name: str, description: str, icon: str) -> str:
    return f"{path}/{level_id}"


def run(name: str, *tables: Table, context: ExecutionContext | None = None, **parameters: Any) -> Table:
    """Configure and execute a node as a workflow does."""
    made = NODES[name]()
    for key, value in parameters.items():
        assert key in vars(type(made)), key
        setattr(made, key, value)
    promised = made.configure(ConfigurationContext(), *[table.schema for table in tables])
    given = made.execute(context or ExecutionContext(), *tables)
    assert given.schema.described() == promised.described()
    return given


def install(**scripting: Any) -> None:
    """Make `import knime.extension` and `import knime.scripting.io` find this."""
    here = sys.modules[__name__]
    for kind in ("string", "double", "int64"):
        setattr(here, kind, lambda kind=kind: kind)
    here.input_table, here.output_table = _port("_in"), _port("_out")
    io = ModuleType("knime.scripting.io")
    io.__dict__.update({"Table": Table, "input_tables": [], "output_tables": [None], "flow_variables": {}, **scripting})
    knime, script = ModuleType("knime"), ModuleType("knime.scripting")
    knime.extension, knime.scripting, script.io = here, script, io
    names = {"knime": knime, "knime.extension": here, "knime.scripting": script, "knime.scripting.io": io}
    sys.modules.update(names)
