"""The jobs of the rounds that an audit goes through again, and the server before the last of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fedkd.client.setup import behaviour_of, remembers
from fedkd.core.errors import FolderError
from fedkd.core.messages import Job, Reply
from fedkd.experiment import Experiment
from fedkd.results.checkpoint import Checkpoint, Record, load_checkpoint, save_checkpoint
from fedkd.results.directory import RunDirectory
from fedkd.results.totals import Totals
from fedkd.server.server import Server

Run = Callable[[Job, Sequence[int]], Iterator[Reply]]
"""Does a job on clients, or an audit's piece of work on shadow runs; see ``fedkd.engines.Engine``."""
Progress = Callable[[str, int, int], None]


def depends_on_earlier_rounds(experiment: Experiment) -> bool:
    """Whether clients keep something between rounds, so that a round depends on all before it."""
    return remembers(experiment) or any(
        behaviour_of(experiment, client).remembers for client in range(experiment.config.clients.count)
    )


def jobs_to_observe(
    experiment: Experiment, directory: RunDirectory, folder: Path, observed: int, run: Run, progress: Progress
) -> tuple[tuple[Job, ...], Path]:
    """The jobs, and the checkpoint of the server before the last of them.

    The run's own checkpoint has what the last round takes. For more rounds, or where clients remember, the run is
    repeated but for its last round; every round of that is kept in ``folder``, and not done again.
    """
    last = experiment.config.rounds
    all_rounds = depends_on_earlier_rounds(experiment)
    if observed == 1 and not all_rounds and (kept := _before_last(directory)) is not None:
        server = Server.build(experiment)
        server.load_state_dict(kept.server)
        save_checkpoint(target := folder / f"round_{last - 1:05d}.pt", kept)
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
            server.load_state_dict(load_checkpoint(done, round).server)
        else:
            server.finish_round(job, run(job, server.sampled(round)))
            save_checkpoint(done, Checkpoint(server.state_dict(), Record(Totals(rounds=round))))
        progress("repeating the run", round, last - 1)
    before = folder / f"round_{last - 1:05d}.pt"
    if last == 1:
        save_checkpoint(before, Checkpoint(server.state_dict()))
    return tuple(jobs), before


def _before_last(directory: RunDirectory) -> Checkpoint | None:
    """The run's checkpoint before its last round; None where it cannot be used, and the rounds are to be repeated."""
    try:
        return directory.checkpoint(directory.config.rounds - 1)
    except FolderError:
        return None
