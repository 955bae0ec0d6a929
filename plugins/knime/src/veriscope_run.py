"""Runs a command of veriscope and hears what it reports: docs/events.md. Needs nothing but Python."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

VERSION = 1  # of the events
LONGEST = 20_000  # characters of a command; Windows takes 32,767

Event = dict


def program(chosen: str) -> str:
    """The program `chosen`, or that in the environment of this name; the one on the PATH where nothing is chosen."""
    place = Path(chosen.strip())
    inside = [
        place,
        *(place / folder / name for folder in ("bin", "Scripts") for name in ("veriscope", "veriscope.exe")),
    ]
    found = (
        next((str(path) for path in inside if path.is_file()), None) if chosen.strip() else shutil.which("veriscope")
    )
    if found is None:
        where = f"There is no veriscope in {chosen}." if chosen.strip() else "veriscope was not found on the PATH."
        raise FileNotFoundError(
            f"{where} Install it in a Python environment (python3 -m venv veriscope-env; veriscope-env/bin/pip install "
            f"PATH_OF_VERISCOPE), and choose this environment as Program in the node."
        )
    return found


def run(
    chosen: str, words: Iterable[str], context: object, share: Callable[[float], float] = lambda done: min(done, 1.0)
) -> list[Event]:
    """Everything that `veriscope words...` reports. Progress and Cancel are those of KNIME's execution context.

    `share`: the node's progress, from 0 to 1, when so many images of this command are done. Raises RuntimeError for an
    error of the whole command; errors of single images are among the events, with their source.
    """
    heard: list[Event] = []
    command = [program(chosen), "--events", *words]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, encoding="utf-8", errors="replace", **streams) as process:
        complaints: list[str] = []
        reader = threading.Thread(target=lambda: complaints.extend(process.stderr), daemon=True)
        reader.start()
        for event in _events(process, context.is_canceled):
            heard.append(event)
            if event["event"] == "start" and event["version"] != VERSION:
                raise RuntimeError(
                    f"These nodes need events of version {VERSION}, but veriscope has {event['version']}."
                )
            if event["event"] == "progress" and event["fraction"] is not None:
                done = sum(one["event"] in ("verdict", "error") and bool(one.get("source")) for one in heard)
                left = event["seconds_left"]
                context.set_progress(
                    share(done + event["fraction"]), event["title"] + (f", {left:.0f} s left" if left else "")
                )
        reader.join(5)
    if any(event["event"] == "stopped" for event in heard):
        raise RuntimeError("Cancelled: " + next(event["text"] for event in heard if event["event"] == "stopped"))
    if not heard or heard[-1]["event"] != "end":
        raise RuntimeError(f"{command[0]} ended unexpectedly: {''.join(complaints[-5:]).strip()}")
    named = [event for event in heard if event["event"] == "error" and event.get("source")]
    whole = [event["text"] for event in heard if event["event"] == "error" and not event.get("source")]
    if whole and not named:
        raise RuntimeError("\n".join(whole))
    return heard


def _events(process: subprocess.Popen[str], cancelled: Callable[[], bool]) -> Iterator[Event]:
    """Line by line; closes standard input, which cancels the command, when the user does."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        if cancelled() and not process.stdin.closed:
            process.stdin.close()
        try:
            line = lines.get(timeout=0.1)
        except queue.Empty:
            continue
        if line is None:
            return
        if line.startswith("{"):
            yield json.loads(line)


def batches(paths: Iterable[str]) -> list[list[str]]:
    """Paths in as few commands as their lengths permit, each path once."""
    found: list[list[str]] = []
    length = LONGEST
    for path in dict.fromkeys(paths):
        length += len(path) + 3
        if length > LONGEST:
            found.append([])
            length = len(path) + 3
        found[-1].append(path)
    return found
