"""``fedkd compare`` and ``fedkd report``: results as pages, and as tables and figures for a paper."""

from pathlib import Path
from typing import Annotated

import typer

from fedkd.core.errors import ConfigError


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of runs, of sweeps, or of folders of these.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The page to write.")] = None,
    tables: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write every table here, as CSV, Markdown and LaTeX.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write every figure here, as SVG and PDF, for a column of a paper."),
    ] = None,
    formats: Annotated[
        str,
        typer.Option("--format", metavar="A,B,C", help="Only these formats: csv, md, tex; svg, pdf, png."),
    ] = "csv,md,tex,svg,pdf",
) -> None:
    """Set runs side by side: tables and figures, means over seeds with 95 % intervals, as a page and as files.

    Runs that differ only in their seed form a group.
    """
    if out is None and tables is None and figures is None:
        raise ConfigError(["fedkd compare: nothing to write; add --out FILE for a page, --tables DIR or --figures DIR"])
    from fedkd.results.report import comparison
    from fedkd.results.report.paper import parse_formats

    wanted = parse_formats(formats, to_tables=tables is not None, to_figures=figures is not None)
    groups = comparison.group_runs(comparison.find_runs(folders))
    paths = [] if out is None else [comparison.write_page(groups, out)]
    if tables is not None:
        paths += comparison.write_tables(groups, tables, wanted)
    if figures is not None:
        paths += comparison.write_figures(groups, figures, wanted, lambda notice: typer.echo(notice, err=True))
    for path in paths:
        typer.echo(path)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run, finished or not.")],
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write every figure here, as SVG and PDF, for a column of a paper."),
    ] = None,
    formats: Annotated[str, typer.Option("--format", metavar="A,B", help="Only these: svg, pdf, png.")] = "svg,pdf",
) -> None:
    """Write DIR/report.html: one run's result, plots, rounds and configuration in one file."""
    from fedkd.results.report.paper import parse_formats
    from fedkd.results.report.run_page import write_report, write_run_figures

    wanted = parse_formats(formats, to_tables=False, to_figures=figures is not None)
    paths = [write_report(folder)]
    if figures is not None:
        paths += write_run_figures(folder, figures, wanted, lambda notice: typer.echo(notice, err=True))
    for path in paths:
        typer.echo(path)
