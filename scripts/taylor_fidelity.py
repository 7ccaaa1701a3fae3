"""Accuracy of the first-order prediction of a step's loss decrease: measured over predicted, by learning rate."""

import sys

from studies.taylor_fidelity import main

if __name__ == "__main__":
    sys.exit(main())
