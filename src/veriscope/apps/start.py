"""Where the program begins: a signal while it is still loading ends it as quietly as one later."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    try:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, signal.default_int_handler)
        from veriscope.apps.cli import main as commands

        commands()
    except KeyboardInterrupt:
        sys.exit(130)
