"""Do audits find what there is to be found: noise that is not what it should be, and clients that memorise?"""

import sys

from studies.auditing import main

if __name__ == "__main__":
    sys.exit(main())
