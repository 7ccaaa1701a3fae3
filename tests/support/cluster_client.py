"""A client that leaves a trace of the cluster's node on which it works."""

import time
from dataclasses import dataclass
from pathlib import Path

from fedkd.client.behaviour import ClientBehaviour
from fedkd.client.context import ClientContext
from fedkd.client.rule import ClientRule, Upload


@dataclass(frozen=True)
class Tracked(ClientBehaviour):
    """Honest; touches a file named after the node in ``folder``, and takes long enough for the others to have turns."""

    folder: str

    def respond(self, context: ClientContext, rule: ClientRule) -> Upload:
        # Only here, because Ray reads its switches from the environment as it is imported.
        import ray

        if ray.is_initialized():
            Path(self.folder, ray.get_runtime_context().get_node_id()).touch()
            time.sleep(0.1)
        return rule.respond(context)
