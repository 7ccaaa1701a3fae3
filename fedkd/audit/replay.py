"""The jobs of the rounds that an audit goes through again, and the server before the last of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fedkd.client.setup import behaviour_of, client_rule
from fedkd.core.messages import Job, Reply
from fedkd.experiment import Experiment
from fedkd.results.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fedkd.results.totals import Totals
from fedkd.server.server import Server

Run = Callable[[Job, Sequence[int]], Iterator[Reply]]
"""Does a job on clients, or an audit's piece of work on shadow runs; see ``fedkd.engines.Engine``."""
Progress = Callable[[str, int, int], None]


def remembers(experiment: Experiment) -> bool:
    """Whether clients keep something between rounds, so that a round depends on all before it."""
    return client_rule(experiment).remembers or any(
        behaviour_of(experiment, client).remembers for client in range(experiment.config.clients.count)
    )


def jobs_to_observe(
    experiment: Experiment, run_folder: Path, folder: Path, observed: int, run: Run, progress: Progress
) -> tuple[tuple[Job, ...], Path]:
    """The jobs, and the checkpoint of the server before the last of them.

    The run's own checkpoint has what the last round takes. For more rounds, or where clients remember, the run is
    repeated but for its last round; every round of that is kept in ``folder``, and not done again.
    """
    last = experiment.config.rounds
    kept = run_folder / "checkpoints" / f"round_{last - 1:05d}.pt"
    all_rounds = remembers(experiment)
    if observed == 1 and not all_rounds and kept.is_file():
        server = Server.build(experiment)
        server.load_state_dict(load_checkpoint(kept).server)
        save_checkpoint(target := folder / kept.name, load_checkpoint(kept))
        return (server.job(last),), target
    jobs = []
    server = Server.build(experiment, state_dir=str((folder / "client_state").resolve()))
    for round in range(1, last + 1):
        job = server.job(round)
        if all_rounds or round > last - observed:
            jobs.append(job)
        if round == last:
            break
        done = folder / f"round_{round:05d}.pt"
        if done.is_file():
            server.load_state_dict(load_checkpoint(done).server)
        else:
            server.finish_round(job, run(job, server.sampled(round)))
            save_checkpoint(done, Checkpoint(server.state_dict(), Totals(), {}, {}, {}))
        progress("repeating the run", round, last - 1)
    before = folder / f"round_{last - 1:05d}.pt"
    if last == 1:
        save_checkpoint(before, Checkpoint(server.state_dict(), Totals(), {}, {}, {}))
    return tuple(jobs), before
