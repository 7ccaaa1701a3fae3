"""One piece of an audit's work, as a function of the job and a number, for any engine."""

from pathlib import Path

from fedkd.audit.asking.means import compute_inverted
from fedkd.audit.asking.queries import ASKED, INVERTED, QUERIES, SHARE_QUERIES, TOLD, compute_asked, compute_queries
from fedkd.audit.asking.shares import SHARED, compute_share_queries, compute_shared, compute_told
from fedkd.audit.server_side import CONSENSUS, STUDENT, compute_consensus, compute_student
from fedkd.audit.shadows import MODEL, compute_model, compute_shadow_run
from fedkd.audit.surrogates import SURROGATE, compute_surrogate
from fedkd.client.round import perform
from fedkd.core.messages import Job, Reply

CLIENT_FN = "fedkd.audit.performer:perform_audit"
"""Import path of ``perform_audit``."""

SHADOW_RUN = "world"
_COMPUTE = {
    SHADOW_RUN: compute_shadow_run,
    MODEL: compute_model,
    QUERIES: compute_queries,
    ASKED: compute_asked,
    SHARED: compute_shared,
    SHARE_QUERIES: compute_share_queries,
    TOLD: compute_told,
    INVERTED: compute_inverted,
    SURROGATE: compute_surrogate,
    CONSENSUS: compute_consensus,
    STUDENT: compute_student,
}


def perform_audit(job: Job, number: int) -> Reply:
    """Do what ``job.kind`` says for the shadow model of that number, by the plan in ``job.state_dir``; writes a file.

    Any other kind is a client's usual part of a run.
    """
    if (compute := _COMPUTE.get(job.kind)) is None:
        return perform(job, number)
    compute(Path(str(job.state_dir)), number)
    return Reply(number)
