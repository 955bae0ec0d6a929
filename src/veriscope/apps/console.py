"""What the command line prints: results on stdout, everything else on stderr, and one clear message when it stops.

With ``--events`` the same is said to another program (events.py).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from veriscope import tables
from veriscope.apps import events, options, signals
from veriscope.errors import VeriscopeError, VeriscopeWarning, addresses
from veriscope.wording import shortened

if TYPE_CHECKING:
    import typer

    from veriscope.restoring.settling import Trust

STOPPED_BY_USER = 130
CANNOT = 2
UNKNOWN = "Whether it resembles the training images is unknown: this model does not know them."
UNFINISHED = "nothing unfinished was left behind."

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Stopped(Exception):
    """The user interrupted the work; the message says what was kept and how to continue."""


def say(message: str, label: str = "", style: str = "", event: str = "message", **more: Any) -> None:
    """One message on stderr, unwrapped so that it can be searched and copied; or an event."""
    if events.on():
        events.emit(event, text=message, **more)
    else:
        err.print(Text.assemble((label, style), addresses(message)), soft_wrap=True)


def fail(message: str, kind: str = "", source: object = None) -> None:
    say(message, "error: ", "bold red", "error", **events.parts(message), kind=kind, source=source)


def note(message: str) -> None:
    say(message, "note: ", "yellow", "warning")


def show(text: str = "", style: str = "") -> None:
    """A line of the result on stdout."""
    if not events.on():
        out.print(Text(text, style=style), soft_wrap=True)
    elif text.strip():
        events.emit("message", text=text)


def written(results: Mapping[str, Path], source: object = None, more: str = "") -> None:
    """Files that were written: what each is and where, or what `source` became, with `more` of it."""
    if events.on():
        for kind, path in results.items():
            events.emit("result", kind=kind, path=path.absolute(), source=source)
    elif source is not None:
        show(f"{source} -> {', '.join(map(str, results.values()))}{more}")
    else:
        for kind, path in results.items():
            show(f"{kind.capitalize()}: {path.resolve()}")


def figures(found: Any) -> None:
    """All that was measured: text that people read, or with to_json what programs do."""
    if events.on():
        events.emit("figures", text=str(found), figures=found.to_json())
    else:
        show(str(found))


def trust(estimate: Trust, source: object = None) -> None:
    """What is known of a restoration without ground truth: the expected error, the verdict, and unusual time points."""
    if events.on():
        known = [str(estimate), "" if estimate.verdict else UNKNOWN]
        events.emit("verdict", source=source, text=" ".join(filter(None, known)), **estimate.to_json())
        return
    if estimate.expected is not None:
        show(f"  {estimate.expected}")
    if (verdict := estimate.verdict) is not None:
        show(f"  {verdict.summary}", ("", "yellow", "bold red")[verdict.level])
        for warning in verdict.warnings:
            note(warning)
    else:
        show(f"  {UNKNOWN}")
    if odd := [place for place, frame in estimate.frames.items() if frame.verdict is not None and frame.verdict.level]:
        names = ["".join(f"{letter}={number}" for letter, number in place) for place in odd]
        note(f"{len(odd)} of {len(estimate.frames)} frames are unlike the training images: {shortened(names, 5)}.")


def facts(title: str, rows: dict[str, str]) -> None:
    """Names and values, one a line, on stdout."""
    if events.on():
        events.emit("facts", title=title, facts=rows)
        return
    if title:
        show(title, "bold")
    width = max((len(name) for name in rows), default=0)
    for name, value in rows.items():
        out.print(Text.assemble((f"  {name:<{width}}  ", "dim"), value), soft_wrap=True)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table of words on stdout."""
    results(tables.Table([tables.Column(name) for name in columns], rows, title))


def results(found: tables.Table) -> None:
    """A table on stdout; numbers to the right, words to the left."""
    from rich.table import Table

    if events.on():
        events.emit("table", title=found.title, rows=found.to_json())
        return
    if found.title:
        show(found.title, "bold")  # not as the table's own, which is wrapped to its width
    head, *rows = found.cells()
    grid = Table(box=None, pad_edge=False)
    for index, name in enumerate(head):
        right = index > 0 and all(row[index][:1].isdigit() or row[index][:1] in "-." for row in rows)
        grid.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*[Text(cell) for cell in row])
    # In a file or pipe it must not be cut at 80 columns.
    out.print(grid, width=None if out.is_terminal else 200)


@contextmanager
def bar(title: str, clock: bool = False) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr; call it with (done, total). A `clock` is for steps of different length: call it with
    seconds done, in all, and words.
    """
    if events.on():
        meter = events.Meter(title)
        yield lambda done, total, *words: meter(done, total, **({"text": words[0]} if clock else {}))
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    middle = [TimeElapsedColumn(), TextColumn("left:")] if clock else [TextColumn("{task.completed}/{task.total}")]
    columns = TextColumn("{task.description}", markup=False), BarColumn(), *middle, TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total, *words: shown.update(
            task, completed=done, total=total, description=", ".join([title, *words])
        )


@contextmanager
def listening() -> Iterator[None]:
    """Our warnings become notes, others are hidden; kill (SIGTERM) and a closed terminal (SIGHUP) act like Ctrl-C."""
    before = {}
    signals.came.clear()
    if threading.current_thread() is threading.main_thread():
        before = {one: signal.getsignal(one) for one in signals.SIGNALS}
        for one, handler in before.items():
            if handler is not signal.SIG_IGN:  # nohup must stay in force
                signal.signal(one, signals.interrupt)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", VeriscopeWarning)
            warnings.showwarning = lambda message, *_, **__: note(str(message))
            yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def answer(work: Callable[[], Any]) -> int:
    """Do `work` and return the exit code. The one place where errors become messages."""
    try:
        code = work()
    except (KeyboardInterrupt, Stopped) as stop:
        return _stopped(str(stop) or UNFINISHED)
    except Exception as problem:
        if signals.came:  # C++ makes another error of an interrupt
            return _stopped(UNFINISHED)
        if isinstance(problem, BrokenPipeError):  # the reader of a pipe went away (veriscope info x | head)
            return 0
        message = _words(problem)
        if message is None:
            if events.on():
                fail(f"{type(problem).__name__}: {problem}", "fault")
            raise
        fail(message, type(problem).__name__)
        return CANNOT
    if code == STOPPED_BY_USER:
        return _stopped(UNFINISHED)
    return code if isinstance(code, int) else 0


def _stopped(message: str) -> int:
    say(message, "stopped: ", "bold yellow", "stopped")
    return STOPPED_BY_USER


def _words(problem: Exception) -> str | None:
    """What is said of an error; None for a fault of the program."""
    if isinstance(problem, VeriscopeError):
        return str(problem)
    if isinstance(problem, MemoryError):
        return "The memory of this machine is used up. Allow less with --memory, or use smaller patches or tiles."
    if isinstance(problem, OSError):
        return os_words(problem)
    if not hasattr(problem, "format_message"):  # not one of typer's own about how the command was written
        return None
    context = getattr(problem, "ctx", None)
    hint = f" See: {context.command_path} --help" if context is not None else ""
    return f"{problem.format_message().rstrip('.?')}.{hint}"


def os_words(problem: OSError) -> str:
    where = f" ({problem.filename})" if problem.filename else ""
    denied = "Permission denied. Choose files and folders that you may read and write."
    advice = {
        errno.ENOSPC: "The disk is full. Free some space, or write elsewhere with --out.",
        errno.EDQUOT: "Your quota on this disk is used up. Free some space, or write elsewhere with --out.",
        errno.EACCES: denied,
        errno.EPERM: denied,
        errno.EROFS: "The disk is read-only. Write elsewhere with --out.",
        errno.EMFILE: "Too many files are open. Raise the limit with: ulimit -n 4096.",
        errno.ENOENT: "There is no such file or folder. Check the path.",
    }
    reason = problem.strerror or str(problem) or type(problem).__name__
    other = f"The system reports: {reason}{where}. Check the path and try again."
    return f"{advice[problem.errno]}{where}" if problem.errno in advice else other


def prepare() -> None:
    """Make output safe: characters that a console cannot show become escapes, and a process without standard streams
    (pythonw, a service) gets silent ones, so that no file gets their numbers.
    """
    for number, name, mode in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_WRONLY), (2, "stderr", os.O_WRONLY)):
        stream = getattr(sys, name)
        if stream is None:
            with suppress(OSError):
                opened = os.open(os.devnull, mode)
                if opened > number:
                    os.close(opened)
        elif number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def flush(code: int) -> int:
    """The exit code when all is printed: silent when the reader of a pipe went away, an error when a disk is full."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(problem, BrokenPipeError):
            fail(os_words(problem))
            return CANNOT
    return code


def command(app: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Make `function` a command of `app`, called as it is without `name`; its docstring is the help, with examples."""
    described, _, shown = (function.__doc__ or "").partition("Examples:")
    paragraphs = [" ".join(part.split()) for part in described.strip().split("\n\n")]  # for typer to wrap
    examples = [line.strip() for line in shown.splitlines() if line.strip()]  # a paragraph each, or typer joins them
    epilog = ["[bold]Examples[/bold]", *examples] if examples else []
    app.command(name, help="\n\n".join(paragraphs), epilog="\n\n".join(epilog))(options.with_groups(function))
