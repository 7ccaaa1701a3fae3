"""Can one fixed pattern stand for attention? Accuracy, latency, and how near it is to the teacher's mean attention."""

import sys

from studies.sequences import main

if __name__ == "__main__":
    sys.exit(main())
