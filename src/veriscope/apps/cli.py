"""The command line: ``veriscope demo | train | restore | ...``, each a module beside this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from veriscope.apps import (
    calibrate,
    compare,
    console,
    cross,
    demo,
    events,
    export,
    import_,
    info,
    judge,
    models,
    project,
    reproduce,
    resolution,
    restore,
    segment,
    simulate,
    train,
)
from veriscope.version import __version__


class Commands(TyperGroup):
    """The commands in the order of the work; every error becomes a message in one place."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        if os.environ.get("RANK", "0") != "0":  # under torchrun only the first process prints
            console.out.quiet = console.err.quiet = True
        console.prepare()
        words = list(sys.argv[1:] if args is None else args)
        with console.listening(), events.speaking(words[:1] == ["--events"], words[1:]):
            code = console.answer(
                lambda: super(Commands, self).main(
                    args, prog_name or "veriscope", complete_var, False, windows_expand_args, **extra
                )
            )
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


COMMANDS = (
    demo.demo,
    train.train,
    restore.restore,
    judge.judge,
    calibrate.calibrate,
    compare.compare,
    cross.cross,
    project.project,
    segment.segment,
    resolution.resolution,
    info.info,
    models.models,
    reproduce.reproduce,
)
for command in COMMANDS:
    console.command(app, command)
console.command(app, import_.import_model, "import")
console.command(app, export.export)
app.add_typer(simulate.app, name="simulate")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line with `args` (of this process if None) and exit with its code."""
    app(args)


if __name__ == "__main__":
    main()
