"""One piece of an audit's work, as a function of the job and a number, for any engine."""

from pathlib import Path

from fedkd.audit.server_side import CONSENSUS, STUDENT, compute_consensus, compute_student
from fedkd.audit.shadows import compute_world
from fedkd.audit.surrogates import COPY, compute_copy
from fedkd.client.round import perform
from fedkd.core.messages import Job, Outcome

PERFORMER = "fedkd.audit.performer:perform_audit"
"""Import path of ``perform_audit``."""

WORLD = "world"
_COMPUTE = {WORLD: compute_world, COPY: compute_copy, CONSENSUS: compute_consensus, STUDENT: compute_student}


def perform_audit(job: Job, number: int) -> Outcome:
    """Do what ``job.kind`` says for the world with that number, by the plan in ``job.state_dir``; leaves a file there.

    Any other kind is a client's usual part of a run.
    """
    if (compute := _COMPUTE.get(job.kind)) is None:
        return perform(job, number)
    compute(Path(str(job.state_dir)), number)
    return Outcome(number)
