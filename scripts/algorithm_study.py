"""Every algorithm of configs/algorithms on the same data, rounds and local epochs: accuracy, bytes and time."""

import sys

from studies.algorithms.study import main

if __name__ == "__main__":
    sys.exit(main())
