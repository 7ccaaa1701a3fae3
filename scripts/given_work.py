"""The files of work that is all given: whose which samples are, by a Dirichlet draw, and the weights to start from."""

import sys

from studies.given_work import main

from fedkd.core.errors import FedkdError

if __name__ == "__main__":
    try:
        sys.exit(main())
    except FedkdError as error:
        sys.exit(f"Error: {error}")
