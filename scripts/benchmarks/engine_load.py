"""What clients do in the benchmarks of the engines; Ray's workers import it by name."""

import time

import numpy as np
import torch

from fedkd.client.setup import asked_positions
from fedkd.core.messages import Job, Measurement, Reply
from fedkd.experiment import Experiment
from fedkd.models import make_optimiser

PAYLOAD = 80_000
"""Bytes that a client sends: logits on 2,000 samples and ten classes in float32, or more samples encoded."""


def reply_at_once(job: Job, client: int) -> Reply:
    """No work, and a reply of about ``PAYLOAD`` bytes whose length differs between clients."""
    logits = np.full(PAYLOAD - client % 97, client % 256, dtype=np.uint8)
    return Reply(client, {"logits": logits}, round=job.round, examples=1)


def tell_the_time(job: Job, client: int) -> Reply:
    """The seconds since the epoch at which the client has data, model and optimiser, and would take its first step."""
    experiment = Experiment.of(job.config)
    make_optimiser(experiment.initial_model().parameters(), experiment.config.clients)
    return Reply(client, {"time": np.array(time.time())})


def reply_with_logits(job: Job, client: int) -> Reply:
    """No training, and logits on all that was asked, as a client sends them."""
    experiment = Experiment.of(job.config)
    data = experiment.data
    draw = torch.Generator().manual_seed(client)
    logits = torch.randn(asked_positions(experiment, job).numel(), data.classes, generator=draw)
    sent = experiment.uplink.encode(logits).data
    measured = None
    if job.probe:
        tests = torch.randn(len(data.test_labels), data.classes, generator=draw)
        measured = Measurement(test_logits=tests.numpy())
    return Reply(
        client,
        {"logits": np.frombuffer(sent, dtype=np.uint8)},
        round=job.round,
        examples=data.clients[client].train.numel(),
        public_digest=data.public.digest,
        measured=measured,
    )
