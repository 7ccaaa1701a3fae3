"""The partitions of published settings, as files of class counts."""

import sys

from studies.published_partitions import main

if __name__ == "__main__":
    sys.exit(main())
