"""What the operator of a Flower node decides there, whatever the server asks: its partition, its data, its state, its
keys, and the experiment that it is there for.

In a simulation Flower itself configures the nodes, with their partitions alone.
"""

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedkd.client.performer import CLIENT_FN
from fedkd.client.secure_terms import is_secure
from fedkd.config.digest import configuration_digest
from fedkd.config.load import parse_config, to_json
from fedkd.config.schema import ExperimentConfig
from fedkd.core.errors import RunError
from fedkd.core.messages import Host, Job
from fedkd.engines.flower.home import home_of, lacks_common, require_fit
from fedkd.engines.flower.wire import Claim, Cohort, Partition, Ready, claim_label
from fedkd.privacy.secure_sum.identities import Directory
from fedkd.privacy.secure_sum.key_files import read_directory, read_key

PARTITION_ID, NUM_PARTITIONS = "partition-id", "num-partitions"
STATE_DIR, DATA_ROOT = "state-dir", "data-root"
KEYS, DIRECTORY, CONFIGURATION, TRIAL = "keys", "key-directory", "configuration", "trial"

_STATE_KEY = re.compile(r"[0-9a-f]{32}")


def simulated() -> bool:
    """Whether this process belongs to Flower's simulation: an actor of Ray, which no process of a SuperNode is."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def partition_of(node_config: Mapping[str, Any]) -> Partition:
    """The partition that the node holds; raises ``RunError`` for what is no whole number."""
    for name in (PARTITION_ID, NUM_PARTITIONS):
        value = node_config.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise RunError(f"--node-config: {name} must be a whole number, got {value!r}; write {name}=0, say")
    return Partition(node_config.get(PARTITION_ID), node_config.get(NUM_PARTITIONS))


def in_simulation(cohort: Cohort) -> Job:
    """The cohort's job, where the engine says that simulated clients keep what they need."""
    return cohort.job if cohort.memory is None else replace(cohort.job, host=Host(cohort.memory))


def at_home(cohort: Cohort, node_config: Mapping[str, Any]) -> Job:
    """The cohort's job with the node's own folders in it, whatever the server says: those of the data, of the clients'
    state and keys, and of the memory of what they gave away.

    Raises ``RunError`` for a job that the node is not there for.
    """
    job, config = cohort.job, parse_config(json.loads(cohort.job.config))
    if is_secure(job) or node_config.get(CONFIGURATION) is not None:
        _require_wanted(config, cohort.client_fn, node_config)
        _require_residents(cohort.clients, node_config)
        _require_summed(job, config)
    if node_config.get(DATA_ROOT) is not None:
        job = replace(job, config=to_json(_rooted(config, node_config)))
    folder = state_folder(node_config)
    home = home_of(config, cohort.common, partition_of(node_config), node_config, folder)
    if home is not None:
        _require_residents(cohort.clients, node_config)
    if home is not None or is_secure(job):
        job = replace(job, host=replace(_host_of(node_config), home=home))
    return replace(job, state_dir=_state_dir(job.state_dir, cohort.state_key, folder))


def _rooted(config: ExperimentConfig, node_config: Mapping[str, Any]) -> ExperimentConfig:
    """The experiment with its data where the node's operator has them."""
    root = node_config.get(DATA_ROOT)
    return config if root is None else replace(config, data=replace(config.data, root=str(root)))


def admit_home(ready: Ready, node_config: Mapping[str, Any]) -> bool:
    """Whether the node has yet to be sent what the server tells of its data, where private ones are at home.

    Raises ``HomeError`` for private data with which the node cannot take part, ``RunError`` for an experiment that has
    them elsewhere.
    """
    if not ready.config:
        return False
    config = _rooted(parse_config(json.loads(ready.config)), node_config)
    home = home_of(config, ready.common, partition_of(node_config), node_config, state_folder(node_config))
    if home is None:
        return False
    if lacks_common(home, config, node_config):
        return True
    require_fit(home, config)
    return False


def _require_wanted(config: ExperimentConfig, client_fn: str, node_config: Mapping[str, Any]) -> None:
    """Raises ``RunError`` for an experiment that the node is not there for.

    In secure sums it takes part by the operator's own keys and for the operator's own configuration alone, with secrets
    from the operating system; as a ``trial`` for any, by keys from the seed.
    """
    pinned, section = node_config.get(CONFIGURATION), config.privacy.secure_aggregation
    if pinned is not None:
        if (found := configuration_digest(config)) != pinned:
            raise RunError(
                f"this node is there for the configuration {pinned}, and was asked for {found}; where that is what its "
                f"operator wants, start it with --node-config '{CONFIGURATION}=\"{found}\"' (fedkd keys digest)"
            )
        if client_fn != CLIENT_FN:
            raise RunError(f"this node does the work of {CLIENT_FN}, and was asked for {client_fn!r}")
    if section is None or node_config.get(TRIAL) is True:
        return
    if missing := [name for name in (CONFIGURATION, KEYS, DIRECTORY) if node_config.get(name) is None]:
        raise RunError(
            "secure sums in a deployment take the node's own keys and the digest of the configuration that it is there "
            f"for, and --node-config lacks {', '.join(missing)} (docs/deployment.md); for a trial that protects nobody "
            f"from the server, {TRIAL}=true"
        )
    if section.entropy != "system":
        raise RunError(
            f"privacy.secure_aggregation.entropy: must be system in a deployment, got {section.entropy}, whose secrets "
            f"the server knows; for a trial that protects nobody from the server, --node-config {TRIAL}=true"
        )


def admit(ready: Ready, node: int, node_config: Mapping[str, Any]) -> Claim:
    """The partition that the node holds and, where it has keys, the signature by which the server knows it.

    Raises ``RunError`` for an experiment that the node is not there for, or a directory of keys that is not its own.
    """
    if ready.config:
        _require_wanted(parse_config(json.loads(ready.config)), ready.client_fn, node_config)
    partition, host = partition_of(node_config), _host_of(node_config)
    if ready.directory != (own := _directory_digest(host)):
        raise RunError(
            f"the server's directory of public keys is {ready.directory or 'none'} and this node's {own or 'none'}; "
            f"give both the same file, by --run-config {DIRECTORY} and --node-config {DIRECTORY}"
        )
    if host.keys is None or partition.index is None:
        return Claim(partition)
    return Claim(partition, read_key(Path(host.keys), partition.index).sign(claim_label(ready.nonce, node, partition)))


def _host_of(node_config: Mapping[str, Any]) -> Host:
    """What the node's operator has fixed for its clients."""
    keys, directory = (
        None if node_config.get(name) is None else _path(node_config[name]) for name in (KEYS, DIRECTORY)
    )
    if (keys is None) != (directory is None):
        raise RunError(f"--node-config: {KEYS} and {DIRECTORY} go together, got one of them; give both")
    return Host(
        str(state_folder(node_config)),
        None if keys is None else str(keys),
        None if directory is None else str(directory),
    )


def state_folder(node_config: Mapping[str, Any]) -> Path:
    """Where the node keeps its clients' state: ``state-dir``, or ``fedkd-state`` in Flower's own folder."""
    if (named := node_config.get(STATE_DIR)) is not None:
        return _path(named)
    return Path(os.environ.get("FLWR_HOME", Path.home() / ".flwr")).expanduser().resolve() / "fedkd-state"


def _path(named: Any) -> Path:
    return Path(str(named)).expanduser().resolve()


def _directory_digest(host: Host) -> str:
    return "" if host.directory is None else Directory.of(read_directory(Path(host.directory))).digest


def _state_dir(named: str | None, state_key: str | None, folder: Path) -> str | None:
    """Below the node's own folder: under the server's key, or where it names a folder under a digest of that."""
    if state_key is None:
        return None if named is None else str(folder / hashlib.sha256(named.encode()).hexdigest()[:32])
    if not _STATE_KEY.fullmatch(state_key):
        raise RunError(f"state_key must be 32 hexadecimal digits, got {state_key!r}")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / state_key)


def _require_residents(clients: Sequence[int], node_config: Mapping[str, Any]) -> None:
    partition = partition_of(node_config)
    if partition.index is None or not partition.count:
        raise RunError(f"this node has no {PARTITION_ID} or no {NUM_PARTITIONS}; start it with --node-config")
    if strangers := [client for client in clients if client % partition.count != partition.index]:
        raise RunError(
            f"clients {strangers[:5]} do not live on the node with {PARTITION_ID} = {partition.index} of "
            f"{partition.count}, which answers for its own"
        )


def _require_summed(job: Job, config: ExperimentConfig) -> None:
    if config.privacy.secure_aggregation is not None and not is_secure(job):
        raise RunError(f"a job of kind {job.kind} gives away what privacy.secure_aggregation hides")
