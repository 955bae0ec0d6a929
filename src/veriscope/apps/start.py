"""Where the program begins: a signal while it is still loading ends it as quietly as one later."""

from __future__ import annotations

import _thread
import signal
import sys
import time
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
came: list[int] = []  # the signals that have asked to stop


def main() -> None:
    """Run the command line. A signal stops it at any moment, without a traceback."""
    try:
        for number in SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, interrupt)
        from veriscope.apps.cli import main as commands

        commands()
    except BaseException as problem:
        if came or isinstance(problem, KeyboardInterrupt):
            sys.exit(130)
        raise
    finally:
        for number in SIGNALS:  # Python that is shutting down would print what a signal raises in it
            if signal.getsignal(number) is interrupt:
                signal.signal(number, signal.SIG_DFL)


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
