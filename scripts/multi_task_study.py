"""Is there anything in the relations between tasks that a student does not learn from each task alone?"""

import sys

from studies.multi_task import main

if __name__ == "__main__":
    sys.exit(main())
