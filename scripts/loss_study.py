"""Which loss does a student learn best by? Each alone and beside KL, from one network and from an ensemble."""

import sys

from studies.losses import main

if __name__ == "__main__":
    sys.exit(main())
