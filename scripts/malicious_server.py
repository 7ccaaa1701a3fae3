"""What a malicious server learns by queries that it optimised, beside what drawn ones tell it."""

import sys

from studies.malicious_server import main

if __name__ == "__main__":
    sys.exit(main())
