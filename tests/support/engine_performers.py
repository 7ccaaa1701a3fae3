"""What clients do in the tests of the engines; imported by path, here and in Ray's workers."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkd.core.messages import Job, Measurement, Reply


def work(job: Job, client: int) -> Reply:
    """A little of everything: several dtypes, shapes that differ between clients, randomness keyed by client."""
    generator = np.random.default_rng((job.round, client))
    weight = job.parameters["weight"]
    return Reply(
        client,
        {
            "logits": generator.normal(size=(5, 3)).astype(np.float32) @ weight,
            "mask": generator.random(5) > 0.5,
            "ragged": np.arange(client % 3, dtype=np.int64),
            "encoded": np.frombuffer(bytes(range(client)) * 2, dtype=np.uint8),
            "scalar": np.array(client / 7, dtype=np.float16),
            **{f"own {owner}": array["secret"] for owner, array in job.personal.items()},
            "threads": np.array(torch.get_num_threads()),
            "dir": np.frombuffer(str(job.state_dir).encode(), dtype=np.uint8),
        },
        round=job.round,
        examples=int(job.probe),
        public_digest=job.config,
        measured=Measurement(client / 3, test_mask=np.arange(4) == client) if job.measure else None,
    )


def measured_alone(job: Job, client: int) -> Reply:
    """A performer that measures unasked."""
    return Reply(client, measured=Measurement(test_accuracy=0.5))


def fail_on_even(job: Job, client: int) -> Reply:
    if client % 2 == 0:
        raise ValueError(f"no data on client {client}")
    return Reply(client)


def die_on_client_3(job: Job, client: int) -> Reply:
    """Take the whole process down, as a segmentation fault would, in round 1 only."""
    if client == 3 and job.round == 1:
        os._exit(7)
    return Reply(client, {"pid": np.array(os.getpid())})


def hang_on_client_3(job: Job, client: int) -> Reply:
    """Never come back, in round 1 only."""
    if client == 3 and job.round == 1:
        time.sleep(3600)
    return Reply(client)


def quit_python(job: Job, client: int) -> Reply:
    sys.exit("enough")


def someone_else(job: Job, client: int) -> Reply:
    return Reply(client + 1)


def choose(job: Job, client: int) -> Reply:
    """The performer that ``job.kind`` names."""
    client_fn = globals()[job.kind]
    reply: Reply = client_fn(job, client)
    return reply


def chatter(job: Job, client: int) -> Reply:
    """Write to both streams, as a library might."""
    print("client says hello")
    print("client warns", file=sys.stderr)
    return Reply(client)


def mark_and_sleep(job: Job, client: int) -> Reply:
    """Leave a file that shows that work has begun, then be busy for long."""
    Path(job.config, f"{client}.started").touch()
    time.sleep(3600)
    return Reply(client)


def no_reply(job: Job, client: int) -> Any:
    """Something else instead of a reply, or a reply of something that is no client."""
    if client == 0:
        return None
    other = Reply(client)
    object.__setattr__(other, "client", (client,) if client == 1 else float(client))
    return other


def modules(job: Job, client: int) -> Reply:
    """What this process has imported."""
    watched = ("torch", "torch._dynamo", "ray", "flwr", "matplotlib")
    return Reply(client, public_digest=" ".join(name for name in watched if name in sys.modules))
