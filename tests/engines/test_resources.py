"""What a machine cannot give is refused before anything starts, with the remedy."""

import os
import socket
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkd.config.load import load_config
from fedkd.config.schema import EngineConfig, ResourceConfig
from fedkd.core.errors import ConfigError, RunError
from fedkd.engines.ray import cluster as ray_cluster
from fedkd.engines.ray.engine import RayEngine
from fedkd.engines.resources import (
    ONE_CORE,
    Workload,
    admitted,
    cores,
    gpu_share,
    require_slots,
    slots,
    worker_count,
)


def test_one_worker_per_core_but_no_more_than_clients_have_threads() -> None:
    assert worker_count(EngineConfig(), threads=10_000) == cores()
    assert worker_count(EngineConfig(workers=3), threads=10) == 3
    assert worker_count(EngineConfig(workers=3), threads=2) == 2


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


@pytest.mark.parametrize(("interface", "expected"), [("127.0.0.1", True), ("0.0.0.0", False)])
def test_a_cluster_on_the_loopback_interface_is_told_from_one_that_other_machines_see(
    interface: str, expected: bool
) -> None:
    with socket.create_server((interface, 0)) as server:
        port = server.getsockname()[1]
        assert ray_cluster.on_loopback_only(f"127.0.0.1:{port}") == expected
        assert not ray_cluster.on_loopback_only(f"192.0.2.7:{port}")


def test_other_processes_are_told_where_our_code_is_and_not_where_python_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    installed = [str(library), str(library / "lib-dynload"), sysconfig.get_path("purelib")]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "plugins", *installed, "/shared/code"])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert ray_cluster.module_path().split(os.pathsep) == [str(tmp_path), f"{tmp_path}/plugins", "/shared/code"]


def test_engine_that_was_not_entered_is_refused() -> None:
    engine = RayEngine(EngineConfig(), Workload(2))
    with pytest.raises(RunError, match="with statement"):
        next(engine.run(None, [0]))  # type: ignore[arg-type]


def test_slots_by_hand() -> None:
    """Seven cores hold three clients of two threads; two GPUs hold six shares of a third."""
    assert slots(ResourceConfig(threads=2), 7, 0) == 3
    assert slots(ResourceConfig(gpu=1 / 3), 16, 2) == 6
    assert slots(ResourceConfig(threads=4, gpu=1 / 3), 16, 2) == 4
    assert slots(ResourceConfig(threads=8), 7, 0) == 0
    assert slots(ResourceConfig(gpu=0.1), 7, 0) == 0


@pytest.mark.parametrize(
    ("need", "name"),
    [(ResourceConfig(threads=5), "threads = 5, gpu = 0 "), (ResourceConfig(gpu=0.5), "threads = 1, gpu = 0.5 ")],
)
def test_class_that_does_not_fit_is_named(need: ResourceConfig, name: str) -> None:
    with pytest.raises(RunError, match=rf"engine.resources: clients with {name}\(client 3 is one\) need more"):
        require_slots({1: ONE_CORE, 3: need}, 4, 0)


def test_class_that_does_not_fit_is_refused_before_ray_starts() -> None:
    engine = RayEngine(EngineConfig(workers=1), Workload(2, resources={1: ResourceConfig(threads=2)}))
    with pytest.raises(RunError, match="threads = 2"):
        engine.__enter__()


@pytest.mark.parametrize("needs", ["threads: 0", "gpu: -0.1", "gpu: 1.5"])
def test_impossible_needs_are_refused(needs: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.resources\.cnn\.(threads|gpu)"):
        load_config({}, [f"engine.resources={{cnn: {{{needs}}}}}"])


def test_equal_clients_queue_up_at_the_workers() -> None:
    assert admitted([ONE_CORE] * 50, [ONE_CORE] * 50, 2, 0) == list(range(50))


def test_smaller_clients_fill_what_larger_ones_leave() -> None:
    large, small = ResourceConfig(threads=3), ONE_CORE
    assert admitted([large, large, small, small], [], 4, 0) == [0, 2]
    assert admitted([large, small], [small], 4, 0) == [0]
    assert admitted([small], [large], 4, 0) == [0]


needs = st.builds(ResourceConfig, st.integers(1, 4), st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 1.0]))


@given(queue=st.lists(needs, min_size=1, max_size=30), workers=st.integers(4, 9), gpus=st.integers(1, 3))
def test_everybody_gets_a_turn_and_nothing_is_lent_twice(queue: list[ResourceConfig], workers: int, gpus: int) -> None:
    working: list[ResourceConfig] = []
    turns = 0
    while queue or working:
        started = admitted(queue, working, workers, gpus)
        working += [queue[position] for position in started]
        queue = [need for position, need in enumerate(queue) if position not in started]
        if any(need != ONE_CORE for need in (*queue, *working)):
            assert sum(need.threads for need in working) <= workers
            assert sum(need.gpu for need in working) <= gpus + 1e-6
        assert working
        working.pop(turns % len(working))
        turns += 1
