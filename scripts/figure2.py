"""Reproduce Figure 2 of the importance analysis: how fast the loss falls, as a function of λ."""

import sys

from studies.figure2 import main

if __name__ == "__main__":
    sys.exit(main())
