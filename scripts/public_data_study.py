"""How much does the public set matter? Its size, known labels, origin and wrong labels, one after the other."""

import sys

from studies.public_data.study import main

if __name__ == "__main__":
    sys.exit(main())
