"""The Flower ClientApp: it does a cohort's work, client by client or all at once.

What crosses its wire is what clients release; its nodes measure nothing for anybody, whatever the server asks.
"""

import time
from dataclasses import replace

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedkd.client.performer import attempt_all, describe, load_client_fn
from fedkd.core.compute import fixed_threads, release_memory
from fedkd.core.errors import HomeError
from fedkd.engines.flower.home import keep_part, note, withheld
from fedkd.engines.flower.node import admit, admit_home, at_home, in_simulation, partition_of, simulated, state_folder
from fedkd.engines.flower.wire import (
    NO_CLAIM,
    Claim,
    decode_cohort,
    decode_part,
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
    if job.host is not None and job.host.home is not None:
        folder = state_folder(context.node_config)
        replies = [withheld(reply, cohort.job.most_bytes, folder) for reply in replies]
    content = encode_replies(replies, cohort.job.most_bytes)
    if time.monotonic() - begun > LONG_SECONDS:
        del replies
        release_memory()
    return Message(content, reply_to=message)


@app.query("ready")
def report_ready(message: Message, context: Context) -> Message:
    """Load what does the work, which takes seconds once per process; say whether that went well, and who this is.

    A node of a deployment also says whether it is there for the experiment, and its private data are fit for it.
    """
    claim, lacks = NO_CLAIM, False
    try:
        ready = decode_ready(message.content)
        if simulated():
            claim = Claim(partition_of(context.node_config))
        else:
            claim = admit(ready, context.node_id, context.node_config)
            lacks = admit_home(ready, context.node_config)
        load_client_fn(ready.client_fn)
    except HomeError as error:
        note(state_folder(context.node_config), error)
        return Message(encode_ready_reply(str(error), claim), reply_to=message)
    except Exception as error:
        return Message(encode_ready_reply(describe(error), claim), reply_to=message)
    return Message(encode_ready_reply(None, claim, lacks=lacks), reply_to=message)


@app.query("public")
def keep_public(message: Message, context: Context) -> Message:
    """Keep a part of what the server tells of its data, for which a node with private data of its own has asked."""
    try:
        keep_part(decode_part(message.content), state_folder(context.node_config))
    except Exception as error:
        return Message(encode_ready_reply(describe(error)), reply_to=message)
    return Message(encode_ready_reply(None), reply_to=message)
