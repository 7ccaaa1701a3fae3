"""Start the quickstart experiment up to the first client's first step, and print when that is; see benchmark.py.

python scripts/_engine_start.py ray|inline
"""

import sys
from pathlib import Path

from fedkd.app import build_engine, check
from fedkd.config import load_config
from fedkd.server import Server

PERFORMER = "_engine_load:tell_the_time"
QUICKSTART = Path(__file__).parents[1] / "configs/quickstart.yaml"


def main(kind: str) -> None:
    place = check(load_config(QUICKSTART, [f"engine.kind={kind}"]))
    server = Server.build(place)
    with build_engine(place, performer=PERFORMER) as engine:
        outcomes = list(engine.run(server.job(1), server.sampled(1)))
    print(min(float(outcome.metrics["time"]) for outcome in outcomes))


if __name__ == "__main__":
    main(sys.argv[1])
