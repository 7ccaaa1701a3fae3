"""Twelve runs on the digits, each with one thing wrong or none, and what is diagnosed."""

import sys

from studies.diagnoses import main

from fedkd.core.errors import FedkdError

if __name__ == "__main__":
    try:
        sys.exit(main())
    except FedkdError as error:
        sys.exit(f"Error: {error}")
