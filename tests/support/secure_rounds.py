"""Rounds over secure sums, in the open where the server cannot look."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from fedkd.client.secure_terms import fixed_point_of
from fedkd.core import plugins
from fedkd.core.messages import Job, Reply
from fedkd.engines import Engine
from fedkd.privacy.secure_sum.fixed_point import to_words
from fedkd.server.server import RoundResult
from tests.support.federations import Federation, federation

SECURE = "privacy.secure_aggregation={}"
SIX = "clients.count=6"


class Wire:
    """An engine that keeps a copy of everything the server gets."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.replies: list[tuple[Job, Reply]] = []

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        for reply in self._engine.run(job, clients):
            self.replies.append((job, reply))
            yield reply


def run_round(
    parts: Federation, round: int, engine: "Engine | Wire | None" = None, *, probe: bool = False
) -> RoundResult:
    return parts.server.run_round(parts.server.job(round, probe=probe), (engine or parts.engine()).run)


def rounds(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


def plain_summands(parts: Federation, round: int) -> dict[int, torch.Tensor]:
    """What each client would add to the sum, from the reports it sends in the open."""
    _, replies = parts.ask(round)
    codec = plugins.build(plugins.CODEC, "float32")
    return {
        reply.client: codec.decode(reply.arrays["logits"].tobytes(), samples=40, classes=10)
        .logits.softmax(dim=-1)
        .double()
        for reply in replies
    }


def check_that_nothing_is_unmasked(state_dir: Path, engine: Engine) -> None:
    """Play three rounds of six clients on an engine, and look at everything that the server got."""
    parts, wire = federation(state_dir, SIX, SECURE), Wire(engine)
    plain = plain_summands(federation(None, SIX), 1)
    fixed_point = fixed_point_of(parts.experiment, queries=40, classes=10)
    results = [run_round(parts, round, wire) for round in (1, 2, 3)]
    assert all(result.record.secure is not None and not result.record.failures for result in results)
    received = [array for _, reply in wire.replies for array in reply.arrays.values()]
    masked = [
        (job.round, reply.client, reply.arrays["secure/masked"])
        for job, reply in wire.replies
        if job.kind == "secure/mask"
    ]
    assert len(masked) == 18
    assert all(array.dtype != np.float32 for array in received)
    for client, summand in plain.items():
        steps = fixed_point.encode(summand.numpy()).ravel()
        words = to_words(steps)
        for array in received:
            raw = array.tobytes()
            assert words.tobytes() not in raw, "a report as it is"
            assert words[:4].tobytes() not in raw, "or a piece of one"
        for _, _, found in masked:
            # 400 pairs: a correlation of independent numbers stays below 0.25 but for once in 2 million times.
            assert abs(float(np.corrcoef(steps, found.astype(np.float64))[0, 1])) < 0.25, client
    assert abs(float(np.corrcoef(steps, words)[0, 1])) > 0.99, "the check can fail"
    everything = np.concatenate([found for _, _, found in masked]).view(np.uint8)
    assert stats.chisquare(np.bincount(everything, minlength=256)).pvalue > 1e-5
    for job, reply in wire.replies:
        if job.kind == "secure/unmask":
            assert reply.arrays["secure/secrets"].shape[0] == 6
            assert reply.arrays["secure/keys"].shape[0] == 0, "nobody dropped out, so nobody's masking key is needed"
