"""Which teacher survives which attack? Attacks × teachers × share of attackers, from the same honest answers."""

import sys

from studies.robustness.study import main

if __name__ == "__main__":
    sys.exit(main())
