"""What a machine cannot give is refused before anything starts, with the remedy."""

import pytest

from fedkd.config.schema import EngineConfig
from fedkd.engines import ray_cluster
from fedkd.engines.resources import cores, gpu_share, most_workers, worker_count
from fedkd.engines.simulation import RayEngine
from fedkd.errors import RunError


def test_one_worker_per_core_but_no_more_than_clients() -> None:
    assert worker_count(EngineConfig(), clients=10_000) == min(cores(), most_workers())
    assert worker_count(EngineConfig(workers=3), clients=10) == 3
    assert worker_count(EngineConfig(workers=3), clients=2) == 2


def test_workers_that_would_idle_are_refused() -> None:
    with pytest.raises(RunError, match=r"engine.workers must be at most \d+ .* got 1000; lower it"):
        worker_count(EngineConfig(workers=1000), clients=2000)


@pytest.mark.parametrize(
    ("workers", "gpus", "share"), [(1, 1, 1.0), (3, 1, 1 / 3), (3, 2, 0.5), (4, 2, 0.5), (2, 8, 1.0)]
)
def test_workers_share_gpus_so_that_all_fit(workers: int, gpus: int, share: float) -> None:
    assert gpu_share(EngineConfig(device="cuda"), workers, gpus) == pytest.approx(share)
    assert gpus * int(1 / share + 1e-9) >= workers


def test_cuda_without_gpu_is_refused() -> None:
    with pytest.raises(RunError, match=r"set engine.device=cpu"):
        gpu_share(EngineConfig(device="cuda"), 2, 0)
    assert gpu_share(EngineConfig(device="cpu"), 2, 0) == 0.0


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:none"])
def test_address_where_nothing_answers_is_refused_at_once(address: str) -> None:
    with pytest.raises(RunError, match=r"engine.address: nothing answers"):
        ray_cluster.attach_ray(address, verbose=False)


def test_engine_that_was_not_entered_is_refused() -> None:
    engine = RayEngine(EngineConfig(), 2)
    with pytest.raises(RunError, match="with statement"):
        next(engine.run(None, [0]))  # type: ignore[arg-type]
