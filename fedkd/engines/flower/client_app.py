"""The Flower ClientApp: it does a cohort's work, client by client or all at once.

What crosses its wire is what clients release; its nodes measure nothing for anybody, whatever the server asks.
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

app = ClientApp()


@app.train("cohort")
def perform_cohort(message: Message, context: Context) -> Message:
    """Have each client of the cohort release what the job asks for; one that fails spoils no other.

    A message that has expired is not worked on any more: nobody waits for its reply.
    """
    cohort = decode_cohort(message.content)
    begun = time.monotonic()
    try:
        job = in_simulation(cohort) if simulated() else at_home(cohort, context.node_config)
        # What is released by a real node cannot be recomputed from the configuration.
        job = replace(job, system_noise=not simulated(), measure=False, probe=False)
        client_fn = load_client_fn(cohort.client_fn)
    except Exception as error:
        return Message(encode_replies(failures(cohort.clients, describe(error))), reply_to=message)
    expiry = message.metadata.created_at + cohort.seconds
    with fixed_threads(cohort.threads):
        replies = list(attempt_all(client_fn, job, cohort.clients, awaited=lambda: time.time() < expiry))
    content = encode_replies(replies, cohort.job.most_bytes)
    if time.monotonic() - begun > LONG_SECONDS:
        del replies
        release_memory()
    return Message(content, reply_to=message)


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
