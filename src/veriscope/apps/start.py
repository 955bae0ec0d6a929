"""Where the program begins: a signal while it is still loading ends it as quietly as one later."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command line. Libraries that load turn an interrupt into errors of their own, which are not shown."""
    signals: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, interrupt)
        from veriscope.apps.cli import main as commands

        commands()
    except BaseException as problem:
        if signals or isinstance(problem, KeyboardInterrupt):
            sys.exit(130)
        raise
