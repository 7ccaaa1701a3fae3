"""Install fedkd with the lowest versions that pyproject.toml allows, in an environment of its own, and test its core.

python scripts/lowest_versions.py [--environment DIR]
"""

import sys

from installing.lowest import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
