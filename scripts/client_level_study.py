"""How many clients does it take until protecting all data of a client pays? See ``--help``."""

import sys

from studies.client_level.study import main

if __name__ == "__main__":
    sys.exit(main())
