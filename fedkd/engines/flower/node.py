"""What the operator of a Flower node decides there, whatever the server asks: its partition, its data, its state.

In a simulation Flower itself configures the nodes, with their partitions alone.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedkd.config.load import parse_config, to_json
from fedkd.core.messages import Job
from fedkd.engines.flower.wire import Partition

PARTITION_ID, NUM_PARTITIONS = "partition-id", "num-partitions"
STATE_DIR, DATA_ROOT = "state-dir", "data-root"

_STATE_KEY = re.compile(r"[0-9a-f]{32}")


def partition_of(node_config: Mapping[str, Any]) -> Partition:
    """The partition that the node holds; raises ``ValueError`` for what is no whole number."""
    for name in (PARTITION_ID, NUM_PARTITIONS):
        value = node_config.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"--node-config: {name} must be a whole number, got {value!r}; write {name}=0, say")
    return Partition(node_config.get(PARTITION_ID), node_config.get(NUM_PARTITIONS))


def at_home(job: Job, state_key: str | None, node_config: Mapping[str, Any]) -> Job:
    """The job with the node's own folders in it: that of the data where ``data-root`` names one, that of the clients'
    state where there is a ``state_key``.

    Raises ``ValueError`` for a key that could lead out of the folder.
    """
    if (root := node_config.get(DATA_ROOT)) is not None:
        config = parse_config(json.loads(job.config))
        job = replace(job, config=to_json(replace(config, data=replace(config.data, root=str(root)))))
    if state_key is None:
        return job
    if not _STATE_KEY.fullmatch(state_key):
        raise ValueError(f"state_key must be 32 hexadecimal digits, got {state_key!r}")
    folder = state_folder(node_config)
    folder.mkdir(parents=True, exist_ok=True)
    return replace(job, state_dir=str(folder / state_key))


def state_folder(node_config: Mapping[str, Any]) -> Path:
    """Where the node keeps its clients' state: ``state-dir``, or ``fedkd-state`` in Flower's own folder."""
    if (named := node_config.get(STATE_DIR)) is not None:
        return Path(str(named)).expanduser().resolve()
    return Path(os.environ.get("FLWR_HOME", Path.home() / ".flwr")).expanduser().resolve() / "fedkd-state"
