"""A process that starts a Ray and keeps it for as long as its standard input is open.

    python -m fedkd.engines.ray.host CPUS GPUS

The first line that it prints is JSON: the ``address`` to attach to, or the ``error`` that kept Ray from starting.
Whoever started it closes the standard input to stop both; when whoever started it dies, that happens by itself.
"""

import json
import sys

from fedkd.core.errors import RunError
from fedkd.engines.ray import cluster


def main() -> int:
    """Start Ray, say where it is, wait, and stop it."""
    try:
        cpus, gpus = map(int, sys.argv[1:])
        cluster.start_ray(cpus=cpus, gpus=gpus, verbose=False, shared=True)
    except RunError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    import ray

    print(json.dumps({"address": ray.get_runtime_context().gcs_address}), flush=True)
    sys.stdin.read()
    ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
