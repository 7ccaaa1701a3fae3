"""Which strategy withstands which attack? Attacks × strategies × share of attackers, on the same clients' logits."""

import sys

from studies.robustness.study import main

if __name__ == "__main__":
    sys.exit(main())
