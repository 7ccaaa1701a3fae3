"""Published figures held against fedkd's own: runs the reproduction cards and says which are met."""

import sys

from studies.reproductions import main

if __name__ == "__main__":
    sys.exit(main())
