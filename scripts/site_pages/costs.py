"""What engines and Flower apps cost in time and memory, for docs/scaling.md and docs/flower.md."""

from collections.abc import Callable, Iterator, Mapping

from site_pages.results import results, word


def _engine() -> Iterator[str]:
    """How long rounds take in which clients do nothing, and one of the reference experiment."""
    found = results("engine")
    few, many, most = (f"{found[f'overhead_{clients}']:.2g}" for clients in (20, 1_000, 10_000))
    yield (
        "`python scripts/benchmark.py engine --json` on an idle two-core machine "
        f"([results/engine.json](results/engine.json)): a round in which clients do nothing takes {few} s with 20 of "
        f"them, {many} s with 1,000 ({word(round(found['node_per_client_1000']))} times less than with a message for "
        f"each) and {most} s with 10,000; a round of `configs/algorithms/stacked.yaml` takes "
        f"{found['vs_bare_loop']:.2f} times what the same arithmetic takes in a plain loop with two processes."
    )


def _start() -> Iterator[str]:
    """How long the quickstart takes to begin."""
    found = results("start")
    yield (
        "`python scripts/benchmark.py start --json` ([results/start.json](results/start.json)): the quickstart's first "
        f'client takes its first step after {found["start_inline"]:.2f} times as long as `python -c "import torch"` '
        f"takes (which collects garbage on its way), on Ray, which is started for it, after {found['start_ray']:.1f} "
        "times."
    )


def _peer() -> Iterator[str]:
    """How federated averaging and DS-FL compare with bare loops."""
    found = results("peer")
    ray, inline, bare = (found[f"pss_{name}_mb"] / 1_000 for name in ("ray", "inline", "bare"))
    yield (
        "`python scripts/benchmark.py peer --json` ([results/peer.json](results/peer.json)): federated averaging of "
        "30,000 images over ten clients, over the same in a bare loop of PyTorch with two forked processes. On Ray "
        f"with two workers the rounds take {found['rounds_ray']:.2f} times as long, the whole command "
        f"{found['wall_ray']:.2f} times, and all its processes {ray:.2f} GB at most, against {bare:.2f} GB; in one "
        f"process {found['rounds_inline']:.2f} and {found['wall_inline']:.2f} times, and {inline:.2f} GB. The rounds "
        f"of DS-FL take {found['dsfl_ray']:.2f} times as long."
    )


def _flower() -> Iterator[str]:
    """How long a round with plain clients takes."""
    found = results("flower")
    yield (
        f"A round takes {found['plain_clients']:.2f} times as long as the same work by `fedkd run` on Ray, the first, "
        f"in which processes start, {found['first_round']:.1f} times as long (`python scripts/benchmark.py flower "
        "--json`, two idle cores; [results/flower.json](results/flower.json))."
    )


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "engine": _engine,
    "start": _start,
    "peer": _peer,
    "flower": _flower,
}
