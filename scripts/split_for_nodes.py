"""Divide a data set as a configuration does, into a folder for the server and one for each node of a deployment.

python scripts/split_for_nodes.py quickstart clients.count=3 --out parts

The server's has the public and the test samples, a node's the private ones of one client, in .npy files.
``partition.json`` is the same split for a simulation, whose student is that of the deployment bit by bit: see
docs/deployment.md.
"""

import sys

from deployments.parts import main

from fedkd.core.errors import FedkdError

if __name__ == "__main__":
    try:
        main()
    except FedkdError as error:
        sys.exit(f"Error: {error}")
