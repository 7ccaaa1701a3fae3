"""What operators fix before a deployment sums securely, by command."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedkd.app.cli.main import app
from fedkd.core.errors import ConfigError
from fedkd.privacy.secure_sum.key_files import key_path, read_directory

SMALL = ("data.private_size=80", "data.public.size=40", "data.public.labelled=20", "engine.kind=inline")


def command(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["keys", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def make(folder: Path, node: int, nodes: int = 2, clients: int = 5) -> str:
    return command(
        "make", str(folder), "--partition-id", str(node), "--num-partitions", str(nodes), "--clients", str(clients)
    )


def test_every_node_makes_the_keys_of_its_own_clients_and_all_are_joined(tmp_path: Path) -> None:
    assert "keys of clients 0, 2, 4" in make(tmp_path / "one", 0)
    assert "keys of clients 1, 3" in make(tmp_path / "other", 1)
    assert not key_path(tmp_path / "one", 1).exists()
    parts = [str(tmp_path / node / "public.json") for node in ("one", "other")]
    assert "5 keys in" in command("join", str(tmp_path / "directory.json"), *parts)
    assert sorted(read_directory(tmp_path / "directory.json")) == list(range(5))
    for path in tmp_path.rglob("*.json"):
        secrets = [key.read_text().strip() for key in tmp_path.rglob("*.key")]
        assert len(secrets) == 5
        assert not any(secret in path.read_text() for secret in secrets)


@pytest.mark.parametrize(("node", "nodes", "clients"), [(2, 2, 5), (-1, 2, 5), (0, 6, 5), (0, 0, 5)])
def test_nodes_that_cannot_be_are_refused(tmp_path: Path, node: int, nodes: int, clients: int) -> None:
    with pytest.raises(ConfigError, match="must be 0 <= P < nodes <= clients"):
        make(tmp_path, node, nodes, clients)
    assert not list(tmp_path.iterdir())


def test_the_digest_is_that_of_what_is_run(tmp_path: Path) -> None:
    plain = command("digest", "quickstart", *SMALL).strip()
    assert len(plain) == 64
    assert command("digest", "quickstart", *SMALL, "engine.timeout=77").strip() == plain
    assert command("digest", "quickstart", *SMALL, "rounds=7").strip() != plain
