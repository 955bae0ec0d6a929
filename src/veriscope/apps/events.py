"""What commands say to other programs, with ``veriscope --events``: one JSON object a line, as in docs/events.md."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

from veriscope.images.image import Image
from veriscope.tables import plain

VERSION = 1  # one more when an event changes its meaning or goes; new events and fields do not count
EVERY = 0.2  # seconds between reports of progress

_stream: TextIO | None = None
_lock = threading.Lock()
_cancelled = threading.Event()


def on() -> bool:
    """Whether another program listens."""
    return _stream is not None


def emit(event: str, **fields: Any) -> None:
    """One line, in ASCII. When nobody reads any more the command ends as if it had been interrupted."""
    global _stream
    line = json.dumps(plain({"event": event, **fields}), default=_plainer, allow_nan=False)
    with _lock:
        if _stream is None:
            return
        try:
            _stream.write(f"{line}\n")
            _stream.flush()
        except OSError:
            _stream = open(os.devnull, "w")  # noqa: SIM115
            raise KeyboardInterrupt from None


def _plainer(value: Any) -> Any:
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def parts(message: str) -> dict[str, str]:
    """The rule and the value of an error, and the way out: its last sentence, where there are several."""
    *first, last = re.split(r"(?<=[.!?]) (?=[A-Z])", message)
    return {"what": " ".join(first), "way_out": last} if first else {"what": last, "way_out": ""}


def of_image(image: Image) -> dict[str, Any]:
    """What an image is, without its pixels: lengths in um, times in s."""
    return {
        "axes": image.axes,
        "shape": image.shape,
        "type": str(image.dtype),
        "voxel_size": {letter: image.voxel(letter) for letter in image.spatial_axes},
        "time_step": image.time_step,
        "channels": [{"name": one.name, "colour": one.colour} for one in image.carried.channels],
    }


class Meter:
    """Reports the progress of one piece of work, and the time left as judged by what is done."""

    def __init__(self, title: str) -> None:
        self.title, self.began, self.last = title, time.monotonic(), 0.0
        self(0, None)

    def __call__(self, done: float, total: float | None, left: float | None = None, **more: Any) -> None:
        if _cancelled.is_set():  # and yet the work goes on: an interrupt is lost in some imports and callbacks
            raise KeyboardInterrupt
        now = time.monotonic()
        if now - self.last < EVERY and done != total:
            return
        self.last = now
        fraction = None if not total else min(max(done / total, 0.0), 1.0)
        if left is None and fraction:
            left = (now - self.began) * (1 - fraction) / fraction
        emit("progress", title=self.title, fraction=fraction, seconds_left=left, **more)


@contextmanager
def speaking(wanted: bool, words: list[str]) -> Iterator[None]:
    """Where `wanted`: events on stdout and nothing else; a pipe on stdin that ends, or a line "cancel", cancels."""
    global _stream
    if not wanted:
        yield
        return
    _stream = sys.stdout
    _cancelled.clear()
    ended = threading.Event()
    try:
        with redirect_stdout(sys.stderr):
            from veriscope.version import __version__

            with suppress(OSError):
                if stat.S_ISFIFO(os.fstat(0).st_mode):
                    threading.Thread(target=_until_closed, args=(ended,), daemon=True).start()
            emit("start", version=VERSION, veriscope=__version__, command=words)
            yield
    finally:
        ended.set()
        _stream = None


def _until_closed(ended: threading.Event) -> None:
    """Interrupt the work when stdin is closed, as it is when the program that began this one goes away."""
    read = b""
    while True:
        more = os.read(0, 4096)  # not sys.stdin, whose lock would be held when the interpreter ends
        read = (read + more)[-4096:]
        if not more or b"cancel" in read.split(b"\n")[:-1]:
            break
    if not ended.is_set():
        _cancelled.set()
        if hasattr(signal, "pthread_kill"):  # wakes the main thread even where it waits
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            import _thread

            _thread.interrupt_main()
