"""How the command line talks: results on stdout, everything else on stderr, and one clear message when it stops."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from veriscope import tables
from veriscope.apps import options, ranges
from veriscope.errors import VeriscopeError, VeriscopeWarning

if TYPE_CHECKING:
    import typer

    from veriscope.familiarity import Verdict
    from veriscope.restoring.settling import Trust

STOPPED_BY_USER = 130
CANNOT = 2

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Stopped(Exception):
    """The user interrupted the work; the message says what was kept and how to go on."""


def say(message: str, style: str = "", label: str = "", label_style: str = "") -> None:
    """One message on stderr, unwrapped so that it can be searched and copied."""
    err.print(Text.assemble((label, label_style), (message, style)), soft_wrap=True)


def fail(message: str) -> None:
    say(message, label="error: ", label_style="bold red")


def note(message: str) -> None:
    say(message, label="note: ", label_style="yellow")


def show(text: str = "", style: str = "") -> None:
    """A line of the result on stdout."""
    out.print(Text(text, style=style), soft_wrap=True)


def trust(found: Trust) -> None:
    """What is known of a restoration without ground truth: the error to expect, the verdict, and odd time points."""
    if found.expected is not None:
        show(f"  {found.expected}")
    if found.verdict is not None:
        verdict(found.verdict)
    else:
        show("  Whether it is like the training images is not known: this model does not know what those looked like.")
    odd = [place for place, one in found.frames.items() if one.verdict is not None and one.verdict.level]
    if odd:
        named = ["".join(f"{letter}={number}" for letter, number in place) for place in odd]
        more = f" and {len(named) - 5} more" if len(named) > 5 else ""
        note(f"{len(odd)} of {len(found.frames)} frames are unlike the training images: {', '.join(named[:5])}{more}.")


def verdict(found: Verdict) -> None:
    """Whether an image is like those of training: a line of the result, and what gives cause for concern as notes."""
    show(f"  {found.summary}", ("", "yellow", "bold red")[found.level])
    for warning in found.warnings:
        note(warning)


def facts(title: str, rows: dict[str, str]) -> None:
    """Names and values, one a line, on stdout."""
    if title:
        show(title, "bold")
    width = max((len(name) for name in rows), default=0)
    for name, value in rows.items():
        out.print(Text.assemble((f"  {name:<{width}}  ", "dim"), value), soft_wrap=True)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout; numbers to the right, words to the left."""
    from rich.table import Table

    if title:
        show(title, "bold")  # not as the table's own, which is wrapped to its width
    made = Table(box=None, pad_edge=False)
    for index, name in enumerate(columns):
        right = index > 0 and all(row[index][:1].isdigit() or row[index][:1] in "-." for row in rows)
        made.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        made.add_row(*[Text(cell) for cell in row])
    # Where output goes to a file or pipe nobody wants it cut at 80 columns.
    out.print(made, width=None if out.is_terminal else 200)


def results(found: tables.Table) -> None:
    """A table of results on stdout, in the same way."""
    head, *rows = found.cells()
    table(found.title, head, rows)


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; call what it gives with (done, total)."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.completed}/{task.total}")
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@contextmanager
def clock(title: str) -> Iterator[Callable[[float, float, str], None]]:
    """A progress bar on stderr for steps of unlike length; call what it gives with seconds done, in all, and words."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn(), TextColumn("left:")
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total, words: shown.update(
            task, completed=done, total=total, description=f"{title}, {words}"
        )


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    note(str(message))


_interrupted: list[int] = []  # the signals that came
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _as_interrupt(number: int, _frame: FrameType | None) -> None:
    _interrupted.append(number)
    raise KeyboardInterrupt


@contextmanager
def listening() -> Iterator[None]:
    """Warnings of ours become notes, those of others are hidden; kill (SIGTERM) and a closed terminal (SIGHUP) act as
    Ctrl-C does.
    """
    before = {}
    _interrupted.clear()
    if threading.current_thread() is threading.main_thread():
        before = {one: signal.getsignal(one) for one in _SIGNALS}
        for one, handler in before.items():
            if handler is not signal.SIG_IGN:  # nohup asks to be left alone
                signal.signal(one, _as_interrupt)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", VeriscopeWarning)
            warnings.showwarning = _show_warning
            yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def answer(work: Callable[[], Any]) -> int:
    """Do `work` and return the exit code. The one place where errors become messages."""
    try:
        code = work()
    except VeriscopeError as problem:
        fail(str(problem))
        return CANNOT
    except Stopped as stopped:
        say(str(stopped), label="stopped: ", label_style="bold yellow")
        return STOPPED_BY_USER
    except KeyboardInterrupt:
        code = STOPPED_BY_USER
    except MemoryError:
        fail("The memory of this machine is used up. Allow less with --memory, or use smaller patches or tiles.")
        return CANNOT
    except BrokenPipeError:  # the reader of a pipe went away (veriscope info x | head)
        return 0
    except OSError as problem:
        fail(os_words(problem))
        return CANNOT
    except Exception as problem:
        if _interrupted:  # while C extensions load an interrupt comes out as another error
            say("nothing unfinished was left behind.", label="stopped: ", label_style="bold yellow")
            return STOPPED_BY_USER
        if not hasattr(problem, "format_message"):  # not one of typer's own about how the command was written
            raise
        context = getattr(problem, "ctx", None)
        hint = f" See: {context.command_path} --help" if context is not None else ""
        fail(f"{problem.format_message().rstrip('.?')}.{hint}")
        return CANNOT
    if code == STOPPED_BY_USER:
        say("nothing unfinished was left behind.", label="stopped: ", label_style="bold yellow")
    return code if isinstance(code, int) else 0


def os_words(problem: OSError) -> str:
    where = f" ({problem.filename})" if problem.filename else ""
    ways = {
        errno.ENOSPC: "The disk is full. Free some space, or write elsewhere with --out.",
        errno.EDQUOT: "Your quota on this disk is used up. Free some space, or write elsewhere with --out.",
        errno.EACCES: "Permission denied. Choose files and folders that you may read and write.",
        errno.EPERM: "Permission denied. Choose files and folders that you may read and write.",
        errno.EROFS: "The disk is read-only. Write elsewhere with --out.",
        errno.EMFILE: "Too many files are open. Raise the limit with: ulimit -n 4096.",
        errno.ENOENT: "There is no such file or folder. Check the path.",
    }
    known = ways.get(problem.errno or 0)
    reason = problem.strerror or str(problem) or type(problem).__name__
    return f"{known}{where}" if known else f"The system says: {reason}{where}. Check the path and try again."


def prepare() -> None:
    """Make output safe: characters that a console cannot show become escapes, and a process without standard streams
    (pythonw, a service) gets silent ones, so that files do not take their numbers.
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
    """The exit code once all is said: no complaint when the reader of a pipe went away, but one when a disk is full."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        fail(os_words(problem))
        return CANNOT
    return code


def command(app: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Make `function` a command of `app`, called as it is without `name`; its docstring is the help, with examples."""
    described, _, shown = (function.__doc__ or "").partition("Examples:")
    app.command(name, help=paragraphs(described), epilog=examples(shown))(ranges.checked(options.with_groups(function)))


def paragraphs(text: str) -> str:
    """A docstring whose paragraphs are one line each, for typer to wrap."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def examples(text: str) -> str:
    """The examples of a docstring as an epilog: one a line, where typer would join them."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return "\n\n".join(["[bold]Examples[/bold]", *lines]) if lines else ""
