"""The ``fedkd`` command. Heavy imports happen inside the commands, so that ``fedkd --help`` answers at once."""

import enum
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import click
import typer
from rich.console import Console as RichConsole
from rich.table import Table
from typer.core import TyperCommand, TyperGroup

from fedkd import __version__
from fedkd.app.cli import cache, keys
from fedkd.app.cli.analyse import analyse
from fedkd.app.cli.distill import distill
from fedkd.app.cli.export import export
from fedkd.app.cli.interruption import exit_status, terminated_gently, this_command
from fedkd.app.cli.new import new
from fedkd.app.cli.pages import compare, report
from fedkd.core.errors import ConfigError, DataError, FedkdError, FolderError, PluginError
from fedkd.core.faults import told_by_line
from fedkd.core.files import checked_path
from fedkd.core.importing import uncollected
from fedkd.core.wording import nearest, shown

EXIT_RUN_FAILED = 1
EXIT_BAD_INPUT = 2
_BAD_INPUT = (ConfigError, DataError, FolderError, PluginError)


_ORDER = [
    "run",
    "new",
    "sweep",
    "compare",
    "report",
    "analyse",
    "audit",
    "distill",
    "export",
    "list",
    "doctor",
    "cache",
    "keys",
]
"""The commands as ``--help`` lists them: what is needed first stands first."""


class Commands(TyperGroup):
    """The commands, of which none ends without a word on what ended it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, SystemExit) as error:
            # A plug-in's own sys.exit(0) is no good end.
            with told_by_line(f"fedkd {ctx.invoked_subcommand}"):
                raise error


app = typer.Typer(
    name="fedkd",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    # fedkd's own words are enough, and typer repeats click's.
    suggest_commands=False,
    help="Simulate federated knowledge distillation. Start with: fedkd run quickstart",
)
app.add_typer(keys.app, name="keys")
app.add_typer(cache.app, name="cache")
app.command()(distill)
app.command()(export)
app.command()(analyse)
app.command()(new)
app.command()(compare)
app.command()(report)


class Kind(enum.StrEnum):
    """What ``fedkd list`` can list."""

    strategies = enum.auto()
    balancers = enum.auto()
    behaviours = enum.auto()
    mechanisms = enum.auto()
    attacks = enum.auto()
    analyses = enum.auto()
    datasets = enum.auto()
    transforms = enum.auto()
    models = enum.auto()
    temperatures = enum.auto()
    losses = enum.auto()
    codecs = enum.auto()
    client_rules = "client-rules"
    student_rules = "student-rules"


def kind_named(text: str) -> Kind:
    """The kind of that name; raises ``typer.BadParameter`` with the nearest right one."""
    try:
        return Kind(text)
    except ValueError:
        close = nearest(text, [kind.value for kind in Kind])
        hint = f"did you mean {close!r}?" if close else f"choose from {', '.join(kind.value for kind in Kind)}"
        raise typer.BadParameter(f"there is no kind {shown(text)}; {hint}") from None


class RunCommand(TyperCommand):
    """``fedkd run``, whose help ends with every configuration key, read off the schema only when it is asked for."""

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help(ctx, formatter)
        from fedkd.config.describe import describe_keys

        table = Table(title="Configuration keys", title_justify="left", box=None, padding=(0, 2, 0, 0))
        table.add_column("key", style="cyan", no_wrap=True)
        table.add_column("default", overflow="fold")
        table.add_column("meaning", overflow="fold")
        for key in describe_keys():
            table.add_row(key.path, key.default, key.text)
        console = RichConsole(markup=False, highlight=False)
        console.print(table)
        console.print(
            "A plug-in's options sit beside its name: strategy.name=NAME strategy.OPTION=VALUE; see fedkd list."
        )


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fedkd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of ``fedkd`` itself."""


@app.command(cls=RunCommand)
def run(
    config: Annotated[str | None, typer.Argument(metavar="CONFIG")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where results go; runs/CONFIG-N, a new one, when not given.")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the run in --out DIR, if there is one; CONFIG may be left out."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show Ray's and the workers' own output.")
    ] = False,
) -> None:
    """Run one experiment and compare its student with the controls.

    CONFIG is a YAML file, or the name of a shipped one: quickstart, fashion_mnist.

    KEY.PATH=VALUE changes one of its keys: clients.count=20 strategy.name=mean_probabilities
    """
    if out is not None:
        checked_path("--out", out)
    source, changes = _run_source(config, overrides or [], out, resume)
    with uncollected():
        from fedkd.config.load import load_config
        from fedkd.engines.ray.process import start_early

        experiment = load_config(source, changes)
        start_early(experiment.engine, verbose=verbose)
        # What is wrong with a configuration is told before all the rest is imported.
        from fedkd.app.checks import check
        from fedkd.app.cli.console import ConsoleObserver
        from fedkd.app.run import run_experiment
        from fedkd.results.directory import RunDirectory

    if not (resume and out is not None and RunDirectory.holds_run(out)):
        check(experiment)
    folder = RunDirectory.fresh(source.stem) if out is None else _usable_folder(out, resume)
    shown = source if out is not None and source.parent == out else config
    with terminated_gently(), ConsoleObserver(command=("fedkd", "run", str(shown), *changes)) as console:
        try:
            run_experiment(experiment, folder, console, verbose=verbose, resume=resume)
        except KeyboardInterrupt as interrupt:
            console.close()
            typer.echo(f"\nInterrupted; {_what_is_kept(folder)}", err=True)
            raise typer.Exit(exit_status(interrupt)) from None


@app.command()
def sweep(
    config: Annotated[str, typer.Argument(metavar="CONFIG")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the sweep; each cell has a folder in it.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...")] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B,C", help="A key and the values it takes in turn; may be given several times."),
    ] = None,
    seeds: Annotated[
        str, typer.Option(metavar="0,1,2", help="The seeds of every cell; CONFIG's own when not given.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all cells and list them; run nothing.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Let every cell compute everything itself, as fedkd run does.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show Ray's and the workers' own output.")
    ] = False,
) -> None:
    """Run every combination of some keys' values for several seeds, and print means with 95 % confidence intervals.

    Values are YAML; a comma inside brackets belongs to its value: --grid "clients.models=[cnn,mlp],[mlp]".

    As many cells as there are cores run at once; what they have in common is computed once (fedkd cache).

    Started again, it resumes: finished cells are left alone.
    """
    with uncollected():
        from fedkd.app.cli.sweep_console import SweepConsole
        from fedkd.app.sweep import plan_sweep, run_sweep
        from fedkd.config.sweep import parse_grid, parse_seeds

    axes = parse_grid(grid or [])
    wanted = parse_seeds(seeds) if seeds else ()
    with SweepConsole() as console:
        if dry_run:
            console.planned(plan_sweep(config, axes, wanted, out, overrides or []))
            return
        try:
            with terminated_gently():
                result = run_sweep(
                    config, axes, wanted, out, overrides or [], console, verbose=verbose, cache=not no_cache
                )
        except KeyboardInterrupt as interrupt:
            console.close()
            typer.echo(
                f"\nInterrupted; finished cells and rounds are kept in {out}\nResume with: {this_command()}", err=True
            )
            raise typer.Exit(exit_status(interrupt)) from None
        console.finished(result)
    typer.echo(f"\nResults in {out}: a folder per cell, sweep.json, sweep.csv")
    if result.failed:
        typer.echo(f"{len(result.failed)} of {len(result.cells)} cells failed; again: {this_command()}", err=True)
        raise typer.Exit(EXIT_RUN_FAILED)
    typer.echo(f"  next   fedkd compare {shlex.quote(str(out))} --out {shlex.quote(str(out / 'report.html'))}")


@app.command()
def audit(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished run.")],
    options: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show Ray's and the workers' own output.")
    ] = False,
) -> None:
    """Attack a finished run: who was a member, which classes clients have. Writes DIR/audit.json and a plot.

    KEY=VALUE changes a key of privacy.audit, the others are as the run's configuration has them: shadows=64 rounds=5
    attacks=[lira_online,rmia]. All attacks are run where none are named; the same command resumes an interrupted audit.
    """
    from fedkd.app.audit import audit_run
    from fedkd.app.cli.console import ConsoleObserver
    from fedkd.audit.table import print_audit
    from fedkd.config.load import load_config

    if not (folder / "config.yaml").is_file():
        raise FolderError(f"{folder} holds no run, and there is nothing to audit; name the folder of a finished one")
    _require_whole_config(folder)
    chosen = load_config(folder / "config.yaml", [f"privacy.audit.{option}" for option in options or []])
    with ConsoleObserver() as console:
        found = audit_run(folder, chosen.privacy.audit, console, verbose=verbose)
    print_audit(found)


@app.command("list")
def list_(kind: Annotated[Kind, typer.Argument(metavar="KIND", parser=kind_named)]) -> None:
    """List what can be named in a configuration, with its options.

    KIND is one of strategies, balancers, temperatures, losses, behaviours, client-rules, student-rules, mechanisms,
    attacks, analyses, codecs, datasets, transforms, models.
    """
    from fedkd.app.cli.listing import print_catalogue

    print_catalogue(kind.value)


@app.command()
def doctor() -> None:
    """Say what this machine has, and what will be slow on it."""
    from fedkd.app.cli.doctor import print_diagnosis

    print_diagnosis()


def main() -> None:
    """The console command: prints fedkd's own errors without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show λ shows a question mark instead of stopping the run.
            stream.reconfigure(errors="replace")
    try:
        app()
    except FedkdError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(EXIT_BAD_INPUT if isinstance(error, _BAD_INPUT) else EXIT_RUN_FAILED)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; keep the interpreter from complaining as it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_RUN_FAILED)


def _run_source(config: str | None, overrides: list[str], out: Path | None, resume: bool) -> tuple[Path, list[str]]:
    """The configuration file to run, and the changes to it; that of the run in ``out`` when none is named."""
    if resume and out is None:
        raise ConfigError(["--resume: needs the folder of the run to resume, got none; name it with --out DIR"])
    if config is not None and not (resume and "=" in config and not Path(config).exists()):
        return Path(config), overrides
    if not resume or out is None:
        raise ConfigError(["CONFIG: needed unless a run is resumed; give a YAML file or a shipped name: quickstart"])
    if not (out / "config.yaml").is_file():
        raise ConfigError([f"--out: {out} holds no run to resume, and CONFIG is not given; name the one or the other"])
    _require_whole_config(out)
    # The first of the changes stands where CONFIG would.
    return out / "config.yaml", [*([] if config is None else [config]), *overrides]


def _require_whole_config(folder: Path) -> None:
    """Raise ``FolderError`` where the configuration in a run's folder is not as the run wrote it."""
    from fedkd.results.directory import RunDirectory

    _ = RunDirectory(folder).config


def _usable_folder(folder: Path, resume: bool) -> Path:
    from fedkd.results.directory import RunDirectory

    if RunDirectory.is_free(folder) or (resume and RunDirectory.holds_run(folder)):
        return folder
    if RunDirectory.holds_run(folder):
        raise ConfigError([f"--out: {folder} holds a run; add --resume to resume it, or name another folder"])
    raise ConfigError([f"--out: must be a new or an empty folder, got {folder}; name another one or remove it"])


def _what_is_kept(folder: Path) -> str:
    """How many rounds of an interrupted run are finished, and what goes on with it."""
    from fedkd.results.directory import RunDirectory

    if not RunDirectory.holds_run(folder):
        return f"nothing was written yet\nAgain with: {this_command()}"
    rounds = folder / "rounds.jsonl"
    count = len(rounds.read_text(encoding="utf-8").splitlines()) if rounds.is_file() else 0
    kept = "1 finished round is kept" if count == 1 else f"{count} finished rounds are kept"
    return f"{kept} in {folder}\nResume with: {shlex.join(['fedkd', 'run', '--resume', '--out', str(folder)])}"
