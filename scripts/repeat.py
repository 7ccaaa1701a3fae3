"""One experiment over several seeds: means with 95 % confidence intervals, and a plot of accuracy over rounds."""

import sys

from studies.repeat import main

from fedkd.core.errors import FedkdError

if __name__ == "__main__":
    try:
        sys.exit(main())
    except FedkdError as error:
        sys.exit(f"Error: {error}")
