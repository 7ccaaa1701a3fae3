"""What clients of two classes forget of the others while they train, with their former selves as teachers or not."""

import sys

from studies.former_self import main

if __name__ == "__main__":
    sys.exit(main())
