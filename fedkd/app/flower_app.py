"""fedkd as a Flower app: what ``flwr run`` starts, simulated or deployed. See docs/deployment.md.

A SuperNode imports this file anew for every message, so that what the server alone needs is imported where it is used.
"""

import math
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedkd import __version__
from fedkd.config import shipped
from fedkd.config.load import load_config
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.faults import told_by_line
from fedkd.core.files import is_file
from fedkd.core.wording import nearest, shown
from fedkd.engines.flower import client_app as client_side
from fedkd.engines.flower.requirements import unmet_requirements
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.privacy.secure_sum.key_files import read_directory

COLUMNS = 120
"""Width of what is printed into Flower's log, which is no terminal."""

_Value = TypeVar("_Value", str, bool, float)

_BUNDLE = Path(__file__).resolve().parents[2]

# Flower finds these two by reading the file, so they are assigned here, under these names.
server_app = ServerApp()
client_app = client_side.app


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the experiment that ``[tool.flwr.app.config]`` and ``flwr run --run-config`` describe, on the grid's nodes.

    Whatever keeps it from ending well is raised, for Flower to record the run as failed with it.
    """
    # Flower would take a plug-in's sys.exit for a good end.
    with told_by_line("the run"):
        _run(grid, context.run_config)


def _run(grid: Grid, keys: Mapping[str, Any]) -> None:
    if problems := unmet_requirements():
        raise RunError(
            f"{sys.executable}, in which this SuperLink was started, cannot run the app: {'; '.join(problems)}. "
            "Stop the SuperLink, and start it from the environment of fedkd"
        )
    from flwr.superlink.grid import InMemoryGrid
    from rich.console import Console as RichConsole

    from fedkd.app.cli.console import ConsoleObserver
    from fedkd.app.run import run_experiment
    from fedkd.engines.building import over_grid
    from fedkd.results.directory import RunDirectory

    config, name = experiment_of(keys)
    if not isinstance(grid, InMemoryGrid):
        config = deployed(config)
    out, directory = run_folder(keys, name), directory_of(keys)
    console = RichConsole(width=COLUMNS, highlight=False)
    console.print(f"fedkd {__version__} in {_BUNDLE}, Python in {sys.prefix}", markup=False, soft_wrap=True)
    console.print(f"results in {out}", markup=False, soft_wrap=True)
    with ConsoleObserver(rich=console) as observer:
        run_experiment(
            config,
            out,
            observer,
            resume=_typed(keys, "resume", bool),
            engine=over_grid(
                grid,
                join=_typed(keys, "join-timeout", float),
                memory=RunDirectory(out).client_state,
                directory=directory,
            ),
            directory=directory,
        )


def deployed(config: ExperimentConfig) -> ExperimentConfig:
    """The experiment with noise from the operating system, where noise protects anybody: what real nodes release stays.

    Where two parts would, it is left to the checks of the run to say so.
    """
    from fedkd.experiment import Experiment
    from fedkd.server.setup import private_part_of

    try:
        private = private_part_of(Experiment.of(config)) is not None
    except ValueError:
        private = False
    return replace(config, privacy=replace(config.privacy, entropy="system")) if private else config


def experiment_of(keys: Mapping[str, Any]) -> tuple[ExperimentConfig, str]:
    """The experiment of the run-config keys ``config`` and ``overrides``, and the name of its file.

    A relative path means a file of the bundle, then one of the folder in which the SuperLink was started. Raises
    ``ConfigError`` with every fault.
    """
    given = _typed(keys, "config", str)
    path = _BUNDLE / given if is_file(_BUNDLE / given) else shipped.config_path(given)
    if not is_file(path):
        close = nearest(given, shipped.config_names())
        raise ConfigError(
            [
                f"config: no such file on this machine, got {shown(given)}; give a shipped name"
                f"{'' if close is None else f' (did you mean {close!r}?)'}, a file below configs/, "
                "which travel along, or the absolute path of a file on the SuperLink's machine"
            ]
        )
    try:
        overrides = shlex.split(_typed(keys, "overrides", str))
    except ValueError as error:
        raise ConfigError([f"overrides: {error}, got {keys['overrides']!r}; close the quotation"]) from error
    return load_config(path, overrides), path.stem


def _typed(keys: Mapping[str, Any], name: str, wanted: type[_Value]) -> _Value:
    """The run-config key of that name; raises ``ConfigError`` for one of another type, such as ``resume="false"``."""
    value = keys[name]
    if wanted is float and type(value) is int:
        value = float(value)
    if not isinstance(value, wanted) or (isinstance(value, float) and not 0 <= value < math.inf):
        kinds = {str: 'a text: "..."', bool: "true or false", float: "a number of seconds: 30.0"}
        raise ConfigError([f"{name}: must be {kinds[wanted]}, got {shown(value)}; write {name}=... so in --run-config"])
    return value


def directory_of(keys: Mapping[str, Any]) -> Directory | None:
    """The public keys in the file of ``key-directory``, on the SuperLink's machine; None where none is given."""
    given = _typed(keys, "key-directory", str)
    return Directory.of(read_directory(Path(given).expanduser())) if given else None


def run_folder(keys: Mapping[str, Any], name: str) -> Path:
    """The absolute path of the run directory: ``out``, or a new one below ``runs`` where the SuperLink was started."""
    from fedkd.results.directory import RunDirectory

    given = _typed(keys, "out", str)
    if _typed(keys, "resume", bool) and not given:
        raise ConfigError(["resume: needs the folder of the run to go on with, got none; name it with out"])
    return Path(given).expanduser().resolve() if given else RunDirectory.fresh(name).resolve()
