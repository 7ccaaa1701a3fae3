"""Start the quickstart experiment up to the first client's first step, and print when that is; see benchmark.py.

python -m benchmarks.engine_start ray|inline
"""

import sys
from pathlib import Path

from fedkd.config.load import load_config
from fedkd.core.importing import uncollected
from fedkd.engines.ray.process import start_early

CLIENT_FN = "benchmarks.engine_load:tell_the_time"
QUICKSTART = Path(__file__).parents[2] / "configs/quickstart.yaml"


def main(kind: str) -> None:
    """As ``fedkd run`` begins."""
    with uncollected():
        config = load_config(QUICKSTART, [f"engine.kind={kind}"])
        start_early(config.engine, verbose=False)
        from fedkd.app.checks import check
        from fedkd.engines.building import build_engine
        from fedkd.server.server import Server

    experiment = check(config)
    server = Server.build(experiment)
    with build_engine(experiment, client_fn=CLIENT_FN) as engine:
        replies = list(engine.run(server.job(1), server.sampled(1)))
    print(min(float(reply.arrays["time"]) for reply in replies))


if __name__ == "__main__":
    main(sys.argv[1])
