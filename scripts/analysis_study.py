"""What does a student learn from its teacher besides its answers? What is said of distillation, claim by claim."""

import sys

from studies.analysis import main

if __name__ == "__main__":
    sys.exit(main())
