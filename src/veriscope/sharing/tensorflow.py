"""Graphs of TensorFlow 1, written without it: nodes with their inputs and attributes, as bytes of its protocol buffers.

Only what is needed here is written: numbers of fields are those of graph.proto, node_def.proto, attr_value.proto,
tensor.proto, meta_graph.proto and saved_model.proto, which have not changed since TensorFlow 1.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np

PRODUCER = 27  # version of graphs that TensorFlow 1.12 writes


class Kind(IntEnum):
    """Kinds of numbers, of types.proto."""

    FLOAT = 1
    INT32 = 3


FLOAT, INT32 = Kind


def number(value: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first; negative ones as 64-bit complements."""
    rest, bits = value & (2**64 - 1), bytearray()
    while rest > 127:
        bits.append(rest & 127 | 128)
        rest >>= 7
    return bytes([*bits, rest])


def field(at: int, value: int | str | bytes) -> bytes:
    """One field of a message: a whole number, or text, or a message within."""
    if isinstance(value, int):
        return number(at << 3) + number(value)
    contents = value.encode() if isinstance(value, str) else value
    return number(at << 3 | 2) + number(len(contents)) + contents


def entry(key: str, value: bytes) -> bytes:
    return field(1, key) + field(2, value)


def shape_of(lengths: Sequence[int]) -> bytes:
    return b"".join(field(2, field(1, length)) for length in lengths)


def attribute(value: Any) -> bytes:
    """The value of an attribute: text, a kind, true or false, a whole number, a list of them; or bytes, as they are."""
    match value:
        case bytes():
            return value
        case str():
            return field(2, value)
        case Kind():
            return field(6, value)
        case bool():
            return field(5, value)
        case int():
            return field(3, value)
    return field(1, field(3, b"".join(map(number, value))))


class Nodes:
    """A graph under construction. Every method adds a node and returns its name."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.counts: Counter[str] = Counter()

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node with what its operation must be told, see `attribute`."""
        self.counts[op] += 1
        own = name or f"{op}_{self.counts[op]}"
        parts = [field(1, own), field(2, op), *(field(3, name) for name in inputs)]
        parts += [field(5, entry(key, attribute(value))) for key, value in attributes.items()]
        self.written += field(1, b"".join(parts))
        return own

    def placeholder(self, name: str, lengths: Sequence[int]) -> str:
        return self.add("Placeholder", name=name, dtype=FLOAT, shape=field(7, shape_of(lengths)))

    def constant(self, values: Any, of: Kind = FLOAT) -> str:
        array = np.asarray(values, "<f4" if of == FLOAT else "<i4")
        tensor = field(1, of) + field(2, shape_of(array.shape)) + field(4, array.tobytes())
        return self.add("Const", dtype=of, value=field(8, tensor))

    def plain(self, op: str, *inputs: str, of: Kind = FLOAT) -> str:
        """An operation whose only attribute is its type."""
        return self.add(op, *inputs, T=of)

    def reduced(self, op: str, image: str, axis: int, keep: bool) -> str:
        return self.add(op, image, self.constant([axis], INT32), T=FLOAT, Tidx=INT32, keep_dims=keep)

    def joined(self, *images: str, axis: int) -> str:
        return self.add("ConcatV2", *images, self.constant(axis, INT32), N=len(images), T=FLOAT, Tidx=INT32)


def saved_model(nodes: Nodes, inputs: Mapping[str, Sequence[int]], outputs: Mapping[str, Sequence[int]]) -> bytes:
    """saved_model.pb, tag serve, signature serving_default; nodes by name, with lengths or -1."""

    def tensors(at: int, named: Mapping[str, Sequence[int]]) -> bytes:
        return b"".join(
            field(at, entry(name, field(1, f"{name}:0") + field(2, FLOAT) + field(3, shape_of(lengths))))
            for name, lengths in named.items()
        )

    signature = tensors(1, inputs) + tensors(2, outputs) + field(3, "tensorflow/serving/predict")
    graph = bytes(nodes.written) + field(4, field(1, PRODUCER))
    about = field(4, "serve") + field(5, "1.12.0")
    meta = field(1, about) + field(2, graph) + field(5, entry("serving_default", signature))
    return field(1, 1) + field(2, meta)
