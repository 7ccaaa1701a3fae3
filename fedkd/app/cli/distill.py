"""``fedkd distill``: one network taught by another."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fedkd.app.cli.interruption import exit_status, terminated_gently
from fedkd.core.errors import ConfigError
from fedkd.core.files import checked_path


def distill(
    config: Annotated[str, typer.Argument(metavar="CONFIG")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where results go; runs/CONFIG-N, a new one, when not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take networks that are finished in --out DIR from there.")
    ] = False,
) -> None:
    """Distil one network into another, without a federation, and compare with the same student without a teacher.

    The section teacher of CONFIG names the network that teaches; the sections data, student and distillation hold as in
    fedkd run, and those of clients, strategy, communication and privacy are not used. With data.tasks the student
    learns several tasks one after the other, taught by its former self, and needs no teacher.

    KEY.PATH=VALUE changes one key: student.model=lenet5 distillation.loss=[kl,relational]
    """
    from fedkd.app.cli.console import ConsoleObserver
    from fedkd.app.cli.networks import print_networks
    from fedkd.app.cli.tasks import print_tasks
    from fedkd.app.distil import distil_network, learn_in_sequence
    from fedkd.config.load import load_config
    from fedkd.results.directory import RunDirectory

    if resume and out is None:
        raise ConfigError(["--resume: needs the folder of the run to resume, got none; name it with --out DIR"])
    if out is not None:
        checked_path("--out", out)
    experiment = load_config(config, overrides or [])
    folder = RunDirectory.fresh(Path(config).stem) if out is None else out
    with terminated_gently(), ConsoleObserver() as console:
        try:
            if experiment.data.tasks is not None:
                tasks = learn_in_sequence(experiment, folder, console, resume=resume)
                console.close()
                print_tasks(tasks.result, folder)
                return
            run = distil_network(experiment, folder, console, resume=resume)
        except KeyboardInterrupt as interrupt:
            console.close()
            again = shlex.join(["fedkd", "distill", config, *(overrides or []), "--resume", "--out", str(folder)])
            typer.echo(
                f"\nInterrupted; networks that are finished are kept in {folder}\nResume with: {again}", err=True
            )
            raise typer.Exit(exit_status(interrupt)) from None
    print_networks(run)
