"""Run one experiment by ``flwr run``, show what it prints, and end with its status, which ``flwr run`` itself does not.

python scripts/flower_run.py quickstart --out runs/simulated                # on Flower's simulation runtime
python scripts/flower_run.py quickstart --out runs/deployed --supernodes 2  # a real deployment, all on this machine
python scripts/flower_run.py quickstart --superlink NAME                    # on one of your Flower configuration

The first two start a SuperLink of their own, and end it and all that belongs to it afterwards.
"""

import sys

from deployments.flower_run import main

from fedkd.core.errors import FedkdError

if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except FedkdError as error:
        sys.exit(f"Error: {error}")
