"""veriscope simulate: images whose truth is known. Each command is a module beside this one."""

from __future__ import annotations

import typer

from veriscope.apps import console, simulate_camera, simulate_experiments, simulate_movie, simulate_structures

app = typer.Typer(
    help="Make images whose ground truth is known, to train with and to judge by.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    invoke_without_command=True,
    epilog="Each command explains itself: [bold]veriscope simulate camera --help[/bold]",
)


@app.callback()
def start(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        console.show(context.get_help())


for command in (
    simulate_camera.camera, simulate_structures.tubules, simulate_structures.granules, simulate_movie.movie
):  # fmt: skip
    console.command(app, command)
for name, command in simulate_experiments.commands():
    console.command(app, command, name)
