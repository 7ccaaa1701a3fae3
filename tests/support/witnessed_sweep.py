"""Sweeps over Ray, and prints on which Ray each cell's clients worked; a process of its own, as the command's is.

python witnessed_sweep.py BASE.yaml OUT
"""

import json
import sys
from pathlib import Path

from fedkd.app.sweep import SilentSweep, run_sweep
from fedkd.results.observer import Observer, Silent


class RayWitness(SilentSweep):
    """Remembers the node of the Ray that each cell's clients work on, and its address."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}
        self.addresses: set[str] = set()

    def cell_began(self, name: str) -> Observer:
        watch = self

        class Watch(Silent):
            def progress(self, stage: str, done: int, total: int) -> None:
                import ray

                if stage == "clients":
                    context = ray.get_runtime_context()
                    watch.nodes[name] = context.get_node_id()
                    watch.addresses.add(context.gcs_address)

        return Watch()


def main() -> None:
    witness = RayWitness()
    base, out = Path(sys.argv[1]), Path(sys.argv[2])
    # As many workers as the largest cell needs, so that it is one for all.
    result = run_sweep(base, {"clients.count": (1, 2)}, (0,), out, ["engine.workers=1"], witness)
    found = {"failed": len(result.failed), "nodes": witness.nodes, "addresses": sorted(witness.addresses)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
