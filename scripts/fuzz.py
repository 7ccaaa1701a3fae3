"""Try bad inputs on fedkd, repeatably: configurations, YAML, dishonest clients' replies, damaged run directories.

python scripts/fuzz.py [--seconds N] [--seed S] [--json]
python scripts/fuzz.py --family replies --case 17 --seed 0
"""

import sys

from fuzzing.front import main

if __name__ == "__main__":
    sys.exit(main())
