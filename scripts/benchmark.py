"""Every benchmark: ratios of cost side by side in one run, memory, scaling, secure sums and sweeps.

python scripts/benchmark.py balancer|engine|flower|privacy|start|vectorised [--json]
python scripts/benchmark.py peer|quickstart|gpu|memory|driver_memory|scaling|projection|secure_sum [--help]
python scripts/benchmark.py sweep|compare [--help]
"""

import sys

from benchmarks.front import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
