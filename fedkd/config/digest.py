"""The digest by which the operator of a node says which experiment it is there for."""

import hashlib
from dataclasses import replace

from fedkd.config.load import to_json
from fedkd.config.schema import EngineConfig, ExperimentConfig


def configuration_digest(config: ExperimentConfig) -> str:
    """SHA-256 over everything that an experiment asks of clients, as 64 hexadecimal digits.

    Where the data lie and what does the work (``data.root``, ``engine``) are a machine's own affair, and not in it. The
    number of rounds is: what a client gives away grows with it.
    """
    same = replace(config, data=replace(config.data, root=None), engine=EngineConfig())
    return hashlib.sha256(to_json(same).encode()).hexdigest()
