"""The command line: ``veriscope demo | train | restore | ...``, each a module beside this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from veriscope.apps import console, events, export, import_, simulate
from veriscope.version import __version__

COMMANDS = (
    "demo", "train", "restore", "judge", "calibrate", "compare", "cross", "project", "segment", "resolution", "info",
    "models", "reproduce",
)  # fmt: skip


class Commands(TyperGroup):
    """The commands in the order of the work; every error becomes a message in one place."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **more: Any
    ) -> Any:
        if os.environ.get("RANK", "0") != "0":  # under torchrun only the first process prints
            console.out.quiet = console.err.quiet = True
        console.prepare()
        words = list(sys.argv[1:] if args is None else args)
        with console.listening(), events.speaking(words[:1] == ["--events"], words[1:]):
            settings = {**more, "prog_name": more.get("prog_name") or "veriscope", "standalone_mode": False}
            code = console.answer(lambda: super(Commands, self).main(args, **settings))
            events.emit("end", code=code)
        code = console.flush(code)
        if standalone_mode:
            sys.exit(code)
        return code


app = typer.Typer(
    cls=Commands,
    help="Restore fluorescence microscopy images with content-aware networks, and see how far to trust the result.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command explains itself: [bold]veriscope train --help[/bold]",
)


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    _events: Annotated[
        bool,
        typer.Option("--events", help="For other programs, as the first word: report by one JSON object a line."),
    ] = False,
) -> None:
    if version:
        console.show(f"veriscope {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        console.show(context.get_help())


for name in COMMANDS:  # each in the module of its name
    console.command(app, getattr(import_module(f"veriscope.apps.{name}"), name))
console.command(app, import_.import_model, "import")
console.command(app, export.export)
app.add_typer(simulate.app, name="simulate")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line with `args` (of this process if None) and exit with its code."""
    app(args)


if __name__ == "__main__":
    main()
