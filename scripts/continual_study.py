"""Whether a student that is taught by its former self forgets less of the tasks it has learned before."""

import sys

from studies.continual import main

if __name__ == "__main__":
    sys.exit(main())
