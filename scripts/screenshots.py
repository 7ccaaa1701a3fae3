"""What the pages of ``fedkd report`` and ``fedkd compare`` look like: docs/screenshots/ is made by this.

python scripts/screenshots.py [--out docs/screenshots] [--runs DIR]
"""

import sys

from pages.screenshots import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
