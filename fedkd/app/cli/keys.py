"""``fedkd keys``: what operators fix before clients of a deployment take part in secure sums."""

from pathlib import Path
from typing import Annotated

import typer

from fedkd.core.errors import ConfigError

PUBLIC = "public.json"
"""The file with the public halves of a node's keys, beside the private ones."""

app = typer.Typer(
    no_args_is_help=True,
    help="Make and join the signing keys of a deployment's clients, and tell the digest of a configuration.",
)


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where this node keeps its clients' private keys.")],
    clients: Annotated[int, typer.Option(metavar="N", help="clients.count of the experiment.")],
    partition: Annotated[int, typer.Option("--partition-id", metavar="P", help="This node's number, from 0.")],
    partitions: Annotated[int, typer.Option("--num-partitions", metavar="N", help="The number of nodes.")],
) -> None:
    """Make a signing key for each client that lives on this node, on the node itself.

    Private halves stay in DIR, readable by their owner alone; send no one anything but DIR/public.json. Keys that are
    there already are kept.
    """
    from fedkd.privacy.secure_sum.key_files import make_keys, write_directory

    if not 0 <= partition < partitions <= clients:
        raise ConfigError(
            [
                f"--partition-id, --num-partitions, --clients: must be 0 <= P < nodes <= clients, got {partition}, "
                f"{partitions}, {clients}; a node has its number from 0, and a client at least"
            ]
        )
    own = range(partition, clients, partitions)
    write_directory(folder / PUBLIC, make_keys(folder, own))
    typer.echo(f"keys of clients {', '.join(map(str, own))} in {folder}; give the other operators {folder / PUBLIC}")


@app.command()
def join(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="The directory to write.")],
    parts: Annotated[list[Path], typer.Argument(metavar="PUBLIC...", help="The public.json of every node.")],
) -> None:
    """Join the public keys of all nodes into the directory that every node and the server are given."""
    from fedkd.privacy.secure_sum.identities import Directory
    from fedkd.privacy.secure_sum.key_files import joined, read_directory, write_directory

    keys = joined((str(part), read_directory(part)) for part in parts)
    write_directory(out, keys)
    typer.echo(f"{len(keys)} keys in {out}, digest {Directory.of(keys).digest}")


@app.command()
def digest(
    config: Annotated[str, typer.Argument(metavar="CONFIG")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...")] = None,
) -> None:
    """Print the digest of a configuration, by which a node's operator says which experiment the node is there for.

    CONFIG and its changes are those of the run. The data that it names have to be here.
    """
    from fedkd.app.checks import check
    from fedkd.config.digest import configuration_digest
    from fedkd.config.load import load_config

    typer.echo(configuration_digest(check(load_config(config, overrides or []), own_engine=False).config))
