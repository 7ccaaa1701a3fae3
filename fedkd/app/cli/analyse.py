"""``fedkd analyse``: what the networks of a finished run have learned."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console as RichConsole
from rich.padding import Padding

from fedkd.core.errors import ConfigError
from fedkd.core.wording import shown


def analyse(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished run.")],
    chosen: Annotated[list[str] | None, typer.Argument(metavar="[NAME[.OPTION=VALUE]]...")] = None,
) -> None:
    """Look into the networks of a finished run: calibration, uncertainty, layers, saliency, curvature, risk.

    Writes DIR/analysis.json, plots/analysis_NAME.png, and DIR/analysis.html, whose text fedkd report takes up. All
    analyses are made where none is named; fedkd list analyses says which there are, and their options:
    uncertainty.other=kmnist. Test samples are measured on and never fitted on; what is found is for the simulator's
    user, and no part of what ε is about.
    """
    from fedkd.app.analyse import analyse_run
    from fedkd.app.cli.console import ConsoleObserver
    from fedkd.results.report.analysis_section import CAUTION, PAGE

    wanted = options_by_name(chosen or [])
    with ConsoleObserver() as console:
        found = analyse_run(folder, wanted or None, console)
    screen = RichConsole(highlight=False, markup=False)
    for name, finding in found.findings.items():
        screen.print(name, style="bold")
        for sentence in finding.sentences:
            screen.print(Padding(sentence, (0, 0, 0, 2)))
    for name, reason in found.skipped.items():
        screen.print(f"{name}: not analysed, {reason}")
    screen.print(CAUTION)
    screen.print(f"All in {folder / PAGE}", soft_wrap=True)


def options_by_name(texts: list[str]) -> dict[str, dict[str, Any]]:
    """The analyses named, each with its options: ``NAME``, or ``NAME.OPTION=VALUE``; raises ``ConfigError``."""
    from fedkd.config.overrides import parse_overrides

    wanted: dict[str, dict[str, Any]] = {}
    changes = parse_overrides([text for text in texts if "=" in text])
    for path in [text for text in texts if "=" not in text] + list(changes):
        module, colon, rest = path.rpartition(":")
        name, _, option = rest.partition(".")
        options = wanted.setdefault(module + colon + name, {})
        if (path in changes) != ("." in rest) or "." in option:
            raise ConfigError([f"{shown(path)}: write NAME, or NAME.OPTION=VALUE such as uncertainty.other=kmnist"])
        if option:
            options[option] = changes[path]
    return wanted
