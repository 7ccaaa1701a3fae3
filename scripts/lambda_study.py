"""Which λ policy adapts everywhere? Every policy and every fixed λ, distilled from the same clients' logits."""

import sys

from studies.balancers import main

if __name__ == "__main__":
    sys.exit(main())
