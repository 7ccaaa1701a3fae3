"""How small can a network be that answers as a large one does, and what is the teacher good for?"""

import sys

from studies.compression import main

if __name__ == "__main__":
    sys.exit(main())
