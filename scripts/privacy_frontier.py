"""What each way to protect clients costs in accuracy, and what attackers still learn."""

import sys

from studies.privacy_frontier.study import main

if __name__ == "__main__":
    sys.exit(main())
