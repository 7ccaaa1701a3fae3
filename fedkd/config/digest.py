"""The digest by which the operator of a node says which experiment it is there for."""

import hashlib
import json
from dataclasses import replace

from fedkd.config.identity import settled
from fedkd.config.load import to_mapping
from fedkd.config.schema import EngineConfig, ExperimentConfig


def configuration_digest(config: ExperimentConfig) -> str:
    """SHA-256 over everything that an experiment asks of clients, as 64 hexadecimal digits.

    Where data and files lie, what does the work, who follows it and where noise comes from (``data.root``,
    ``data.partition.path``, ``data.tasks.path``, ``student.init``, ``engine``, ``tracking``, ``privacy.entropy``) are a
    machine's own affair, and not in it; what is in the files is. The number of rounds is, too: what a client gives away
    grows with it.
    """
    partition = replace(config.data.partition, path=None)
    tasks = None if config.data.tasks is None else replace(config.data.tasks, path=None)
    data = replace(config.data, root=None, partition=partition, tasks=tasks)
    privacy = replace(config.privacy, entropy="seed")
    student = replace(config.student, init=None)
    same = replace(config, data=data, student=student, privacy=privacy, tracking=(), engine=EngineConfig())
    content = json.dumps(settled(to_mapping(same)), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
