"""The Flower ClientApps: each does a cohort's work, client by client or all at once.

``app`` is that of a Flower app. What crosses its wire is what clients release; its nodes measure nothing for anybody,
whatever the server asks. ``measuring_app`` is that of the Ray engine, whose workers are parts of the simulator.
"""

import time
from dataclasses import replace

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedkd.client.performer import attempt_all, describe, load_client_fn
from fedkd.core.compute import fixed_threads, release_memory
from fedkd.engines.flower.node import admit, at_home, in_simulation, partition_of, simulated
from fedkd.engines.flower.wire import (
    Claim,
    decode_cohort,
    decode_ready,
    encode_ready_reply,
    encode_replies,
)
from fedkd.engines.sendable import failures

LONG_SECONDS = 1.0
"""Work after which tidying up memory takes no time worth mentioning."""

app, measuring_app = ClientApp(), ClientApp()


@app.train("cohort")
def perform_cohort(message: Message, context: Context) -> Message:
    """Have each client of the cohort release what the job asks for."""
    return _perform(message, context, measured=False)


@measuring_app.train("cohort")
def perform_simulated_cohort(message: Message, context: Context) -> Message:
    """The same, and what clients measure beside that."""
    return _perform(message, context, measured=True)


def _perform(message: Message, context: Context, *, measured: bool) -> Message:
    """Run the job for each client of the cohort; one that fails spoils no other.

    A message that has expired is not worked on any more: nobody waits for its reply.
    """
    cohort = decode_cohort(message.content)
    begun = time.monotonic()
    try:
        job = in_simulation(cohort) if simulated() else at_home(cohort, context.node_config)
        # What is released by a real node cannot be recomputed from the configuration.
        job = replace(job, system_noise=not simulated())
        if not measured:
            job = replace(job, measure=False, probe=False)
        client_fn = load_client_fn(cohort.client_fn)
    except Exception as error:
        return Message(encode_replies(failures(cohort.clients, describe(error)), measured=measured), reply_to=message)
    expiry = message.metadata.created_at + cohort.seconds
    with fixed_threads(cohort.threads):
        replies = list(attempt_all(client_fn, job, cohort.clients, awaited=lambda: time.time() < expiry))
    content = encode_replies(replies, cohort.job.most_bytes, measured=measured)
    if time.monotonic() - begun > LONG_SECONDS:
        del replies
        release_memory()
    return Message(content, reply_to=message)


@measuring_app.query("ready")
@app.query("ready")
def report_ready(message: Message, context: Context) -> Message:
    """Load what does the work, which takes seconds once per process; say whether that went well, and who this is.

    A node of a deployment also says whether it is there for the experiment.
    """
    try:
        ready = decode_ready(message.content)
        if simulated():
            claim = Claim(partition_of(context.node_config))
        else:
            claim = admit(ready, context.node_id, context.node_config)
        load_client_fn(ready.client_fn)
    except Exception as error:
        return Message(encode_ready_reply(describe(error)), reply_to=message)
    return Message(encode_ready_reply(None, claim), reply_to=message)
