"""Published results compared with fedkd's own: which reference results are met."""

import sys

from studies.reproductions import main

if __name__ == "__main__":
    sys.exit(main())
