"""The journal of a restoration that is done in tasks: what was begun, which tasks are finished, who writes now.

It lies beside the result until that is complete. A finished task is noted after its pixels were written.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from veriscope import saving, stores
from veriscope.errors import OutputError
from veriscope.expected import Tally
from veriscope.restoring.watching import Rows, Seen

HEAD, OWNER, COMPLETE = "job.json", "owner.json", "complete.json"
SILENT = 120.0  # seconds after which a run on another machine that does not say it is alive counts as gone
BEAT = 15.0
FLUSH = 2.0  # seconds between notes, at least; longer in longer jobs, so that there are at most some thousand files


def journal_of(final: Path) -> Path:
    """Where the journal of a result lies."""
    return final.with_name(f"{final.name}.journal")


def owner(place: Path) -> dict[str, Any]:
    """Who writes the results of a journal: "run", "host", "process", "beat"; empty where nobody does."""
    found = stores.get(place, OWNER)
    return json.loads(found) if found else {}


@dataclass
class Done:
    """What a task says of a tile: values that did not fit, what the predictions say of the error, what was noticed."""

    clipped: dict[str, int] = field(default_factory=dict)
    tally: Tally | None = None
    seen: Seen | None = None


class Journal:
    """The journal at `place`, which this process writes. Raises OutputError where another one writes it now."""

    def __init__(self, place: Path, finals: list[Path]) -> None:
        self.place, self.finals = place, finals
        self.run = secrets.token_hex(8)
        self._waiting: list[dict[str, Any]] = []
        self._started = self._flushed = self._beat = time.monotonic()
        self._number = 0
        self.noted = False
        now = owner(place)
        if now and _alive(now):
            raise OutputError(
                f"'{finals[0]}' is being written by another job (process {now['process']} on {now['host']}). Wait for "
                f"it, stop it, or choose another name."
            )

    # Beginning

    def begun(self) -> dict[str, Any] | None:
        """What an earlier run put down when it began; None where none did."""
        found = stores.get(self.place, HEAD)
        return json.loads(found) if found else None

    def begin(self, head: Mapping[str, Any]) -> None:
        """Start over: what an earlier run left is gone."""
        stores.remove(self.place)
        self.own()
        stores.put(self.place, HEAD, json.dumps(head).encode())

    def own(self) -> None:
        """Say that this process writes now."""
        with saving.explained(self.place):
            me = {"run": self.run, "host": socket.gethostname(), "process": os.getpid(), "beat": time.time()}
            stores.put(self.place, OWNER, json.dumps(me).encode())
        self._beat = time.monotonic()

    # Noting and reading

    def note(self, key: str, done: Done | None = None) -> None:
        """A task is finished. What is noted is on the disk a few seconds later."""
        self.noted = True
        self._waiting.append({"key": key} | ({} if done is None else _plain(done)))
        now = time.monotonic()
        if now - self._flushed > max(FLUSH, (now - self._started) / 500):
            self.flush()

    def flush(self) -> None:
        """Write down what is still waiting."""
        if time.monotonic() - self._beat > BEAT:
            if owner(self.place).get("run") != self.run:
                raise OutputError(f"Another job has begun to write '{self.finals[0]}', so this one stops.")
            self.own()
        if self._waiting:
            name = f"done-{self.run}-{self._number:06d}"
            with saving.explained(self.place):
                stores.put(self.place, name, zlib.compress(json.dumps(self._waiting).encode()))
            self._number += 1
            self._waiting = []
        self._flushed = time.monotonic()

    def finished(self) -> dict[str, Done]:
        """Tasks that earlier runs finished, by their keys. Raises OutputError for a damaged journal."""
        found: dict[str, Done] = {}
        for name in stores.names(self.place):
            if not name.startswith("done-"):
                continue
            try:
                entries = json.loads(zlib.decompress(stores.get(self.place, name) or b""))
                found |= {entry["key"]: _read(entry) for entry in entries}
            except (zlib.error, ValueError, KeyError, TypeError) as problem:
                raise OutputError(
                    f"The journal '{self.place}' is damaged ({name}: {problem}). Start over with overwrite "
                    f"(--overwrite instead of --resume)."
                ) from problem
        return found

    def leave(self) -> None:
        """Stop writing; another run may continue."""
        self.flush()
        if owner(self.place).get("run") == self.run:
            stores.put(self.place, OWNER, b"{}")

    def end(self) -> None:
        """Everything is in its place: the journal goes."""
        stores.remove(self.place)


def _alive(who: Mapping[str, Any]) -> bool:
    if who.get("host") == socket.gethostname():
        return int(who["process"]) != os.getpid() and saving.alive(int(who["process"]))
    return time.time() - float(who["beat"]) < SILENT


def _plain(done: Done) -> dict[str, Any]:
    found: dict[str, Any] = {"clipped": done.clipped} if done.clipped else {}
    if done.tally is not None:
        own = done.tally
        found["tally"] = {"squares": own.squares, "pixels": own.pixels, "counts": _packed(own.counts)}
    if done.seen is not None:
        rows = [[one.names, _packed(one.values)] for one in done.seen.rows]
        answers = [_packed(one) for one in done.seen.answers]
        found["seen"] = {"rows": rows, "answers": answers, "pixels": done.seen.pixels, "strong": done.seen.strong}
    return found


def _read(entry: Mapping[str, Any]) -> Done:
    done = Done(entry.get("clipped", {}))
    if "tally" in entry:
        known = entry["tally"]
        done.tally = Tally(len(known["squares"]))
        done.tally.squares, done.tally.pixels = known["squares"], known["pixels"]
        done.tally.counts = _unpacked(known["counts"])
    if "seen" in entry:
        known = entry["seen"]
        rows = [Rows(names, _unpacked(values)) for names, values in known["rows"]]
        done.seen = Seen(rows, [_unpacked(one) for one in known["answers"]], known["pixels"], known["strong"])
    return done


def _packed(values: NDArray[Any]) -> list[Any]:
    return [values.dtype.str, values.shape, base64.b64encode(zlib.compress(values.tobytes(), 1)).decode()]


def _unpacked(packed: list[Any]) -> NDArray[Any]:
    kind, shape, data = packed
    return np.frombuffer(zlib.decompress(base64.b64decode(data)), kind).reshape(shape).copy()
