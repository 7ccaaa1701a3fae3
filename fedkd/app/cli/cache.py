"""``fedkd cache``: what sweeps keep of their cells' work for one another."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from fedkd.results.cache import Usage

app = typer.Typer(
    invoke_without_command=True,
    help="""Show where sweeps keep what their cells have in common, how much there is, and of what.

    FEDKD_CACHE names another folder, FEDKD_CACHE_GB another bound (usually 2; 0: nothing is kept).

    What was not used for longest goes first. No result depends on it.
    """,
)


@app.callback()
def show(context: typer.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    from fedkd.results.cache import Cache

    cache = Cache.of_user()
    typer.echo(f"{cache.folder}\n{_text(cache.usage())}, of {cache.most_bytes / 1e9:g} GB at most")


@app.command()
def clear() -> None:
    """Remove all of it; sweeps that are going on do without."""
    from fedkd.results.cache import Cache

    cache = Cache.of_user()
    typer.echo(f"{cache.folder}: removed {_text(cache.clear())}")


_KINDS = {"client": "clients' replies", "control": "controls"}


def _text(usage: "Usage") -> str:
    counts = (f"{count} {_KINDS.get(kind, kind)}" for kind, count in usage.entries.items())
    return f"{usage.bytes / 1e6:.1f} MB ({', '.join(counts) or 'nothing'})"
