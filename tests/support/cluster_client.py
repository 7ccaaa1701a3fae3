"""A client that leaves a trace of the cluster's node on which it works."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload


@dataclass(frozen=True)
class Tracked(ClientBehaviour):
    """Honest; touches a file named after the node's fork server in ``folder``, and takes its time."""

    folder: str

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        if Path(sys.argv[0]).stem == "forkserver":  # a worker's parent, of which each node has one
            Path(self.folder, str(os.getppid())).touch()
            time.sleep(0.1)
        return rule.respond(context)
