"""Where the program begins: a signal while it is still loading ends it as quietly as one later."""

from __future__ import annotations

import signal
import sys

from veriscope.apps import signals


def main() -> None:
    """Run the command line. A signal stops it at any moment, without a traceback."""
    try:
        for number in signals.SIGNALS:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, signals.interrupt)
        from veriscope.apps.cli import main as commands

        commands()
    except BaseException as problem:
        if signals.came or isinstance(problem, KeyboardInterrupt):
            sys.exit(130)
        raise
    finally:
        for number in signals.SIGNALS:  # Python that is shutting down would print what a signal raises in it
            if signal.getsignal(number) is signals.interrupt:
                signal.signal(number, signal.SIG_DFL)
