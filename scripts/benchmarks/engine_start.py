"""Start the quickstart experiment up to the first client's first step, and print when that is; see benchmark.py.

python -m benchmarks.engine_start ray|inline
"""

import sys
from pathlib import Path

from fedkd.app.checks import check
from fedkd.config.load import load_config
from fedkd.engines.building import build_engine
from fedkd.server.server import Server

PERFORMER = "benchmarks.engine_load:tell_the_time"
QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.yaml"


def main(kind: str) -> None:
    place = check(load_config(QUICKSTART, [f"engine.kind={kind}"]))
    server = Server.build(place)
    with build_engine(place, performer=PERFORMER) as engine:
        outcomes = list(engine.run(server.job(1), server.sampled(1)))
    print(min(float(outcome.metrics["time"]) for outcome in outcomes))


if __name__ == "__main__":
    main(sys.argv[1])
