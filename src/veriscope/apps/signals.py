"""What asks a command to stop: Ctrl-C, kill and a closed terminal, all of them as KeyboardInterrupt."""

from __future__ import annotations

import _thread
import signal
import time
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
came: list[int] = []  # those that have asked to stop


def interrupt(number: int, frame: FrameType | None) -> None:
    """What a signal does: raise KeyboardInterrupt, once no module is being loaded any more.

    C++ that is being loaded may abort on an exception, or turn it into another error.
    """
    came.append(number)
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is None:
        raise KeyboardInterrupt
    _thread.start_new_thread(_again, (number,))


def _again(number: int) -> None:
    time.sleep(0.02)
    _thread.interrupt_main(signal.Signals(number))
