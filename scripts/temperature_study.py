"""Which temperature suits a teacher, and can validation samples tell? Students that differ in nothing but their T."""

import sys

from studies.temperature import main

if __name__ == "__main__":
    sys.exit(main())
