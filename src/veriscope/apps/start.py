"""The entry point: a signal while the program is loading ends it as quietly as a later one."""

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
