"""Where the logits of many clients lie: in one block, on disk if it is large, copied once."""

import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedkd.aggregation import report_buffer as module
from fedkd.aggregation.report_buffer import joined, new_block, release_pages, stack_views
from fedkd.aggregation.types import ReportStack
from fedkd.aggregation.voting import vote_shares, voted_mean
from fedkd.core.array_specs import ArraySpec
from fedkd.core.coding.types import Decoded
from fedkd.core.errors import RunError
from fedkd.core.messages import Measurement, Reply
from fedkd.server.reports import Expectation, collect_reports, stack_reports
from strategies.mean_probabilities import MeanProbabilities
from strategies.stacked import Stacked

CLASSES, TESTS = 3, 5


@pytest.fixture(params=["memory", "disk"])
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Blocks in ordinary memory, or all of them in files."""
    if request.param == "disk":
        monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)
    yield request.param
    gc.collect()
    assert not open_files()


def open_files() -> list[str]:
    """The temporary files without a name that this process has mapped."""
    folder = tempfile.gettempdir()
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if folder in line and line.endswith("(deleted)")]


def reply(client: int, *, tests: bool = False, round: int = 1) -> Reply:
    logits = np.random.default_rng(client).normal(size=(4, CLASSES)).astype(np.float32)
    arrays = {"logits": np.frombuffer(logits.tobytes(), np.uint8)}
    # As out of a message, which cannot be written to.
    measured = Measurement(test_logits=np.broadcast_to(np.float32(client), (TESTS, CLASSES))) if tests else None
    return Reply(client, arrays, round=round, examples=client, public_digest="x", measured=measured)


def decode(client: int, message: bytes) -> Decoded:
    found = np.frombuffer(message, np.float32).reshape(4, CLASSES)
    return Decoded(torch.from_numpy(found.copy()), None, found.view(np.uint32))


def expecting(*clients: int, tests: int = 0) -> Expectation:
    specs = {"logits": ArraySpec("uint8", (4 * CLASSES * 4,))}
    measured = {"test_logits": ArraySpec("float32", (tests, CLASSES), optional=True)}
    return Expectation(
        round=1,
        clients=clients,
        classes=CLASSES,
        public_digest="x",
        most_examples=lambda client: 9,
        arrays=lambda client, examples: specs,
        decode=decode,
        measured=lambda client: measured,
        tests=tests,
    )


@pytest.mark.parametrize("tests", [0, TESTS])
@pytest.mark.parametrize("missing", [(), (2,), (2, 3), (9,), (2, 5, 9)])
def test_reports_lie_side_by_side_whoever_is_missing_and_whatever_came_first(
    storage: str, missing: tuple[int, ...], tests: int
) -> None:
    clients = (2, 3, 5, 7, 9)
    came = [reply(client, tests=tests > 0, round=99 if client in missing else 1) for client in (9, 2, 7, 5, 3)]
    found = collect_reports(came, expecting(*clients, tests=tests))
    reports = found.reports
    there = [client for client in clients if client not in missing]
    assert [report.client for report in reports] == there
    assert [failure.client for failure in found.failures] == list(missing)
    assert list(found.measured) == there
    expected = torch.stack([decode(client, reply(client).arrays["logits"].tobytes()).logits for client in there])
    stack = stack_reports(reports, torch.full((4,), -1), round=1)
    assert torch.equal(stack.logits, expected)
    # Nothing was copied: the stack is the reports.
    assert stack.logits.data_ptr() == reports[0].logits.data_ptr()
    if tests:
        behind = [torch.from_numpy(own.test_logits) for own in found.measured.values() if own.test_logits is not None]
        assert torch.equal(stack_views(behind), torch.tensor(there).float()[:, None, None].expand(-1, TESTS, CLASSES))
        longer = stack_views([joined(report.logits, more) for report, more in zip(reports, behind, strict=True)])
        assert torch.equal(longer, torch.cat([expected, stack_views(behind)], dim=1))
        assert longer.data_ptr() == stack.logits.data_ptr()


def test_codes_that_nobody_needs_are_not_kept() -> None:
    (kept,) = collect_reports([reply(2)], expecting(2)).reports
    (dropped,) = collect_reports([reply(2)], replace(expecting(2), keeps_codes=False)).reports
    assert kept.codes is not None
    assert dropped.codes is None


def test_parts_from_elsewhere_are_copied(storage: str) -> None:
    parts = [torch.full((2, 2), float(value)) for value in range(3)]
    assert torch.equal(stack_views(parts), torch.stack(parts))
    backwards = list(reversed(torch.arange(12.0).view(3, 2, 2)))
    assert torch.equal(stack_views(backwards), torch.stack(backwards))
    uneven = [torch.arange(40.0)[start : start + 4] for start in (0, 4, 12)]
    assert torch.equal(stack_views(uneven), torch.stack(uneven))
    strided = list(torch.arange(24.0).view(2, 4, 3).transpose(1, 2))
    assert torch.equal(stack_views(strided), torch.stack(strided))
    assert torch.equal(joined(parts[0], parts[1]), torch.cat(parts[:2]))
    with pytest.raises(ValueError, match="one shape"):
        stack_views([torch.zeros(2), torch.zeros(3)])


def test_a_block_on_disk_keeps_what_is_in_it_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small, large = new_block(5, 50), new_block(6, 50)
    assert not list(tmp_path.iterdir())
    assert len([line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]) == 1
    for block in (small, large):
        block[:] = torch.arange(block.numel()).view_as(block)
        release_pages(block)
        assert torch.equal(block, torch.arange(block.numel()).view_as(block).float())
    del large, block
    gc.collect()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"No space left on device.*TMPDIR"):
        new_block(10)


def all_voting(stack: ReportStack) -> ReportStack:
    return replace(stack, mask=torch.ones(stack.logits.shape[:2], dtype=torch.bool))


def test_votes_are_summed_one_client_at_a_time() -> None:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 7, CLASSES, generator=draw)
    mask = torch.rand(200, 7, generator=draw) > 0.4
    mask[:, 2] = False
    stack = ReportStack(logits, torch.ones(200, dtype=torch.long), torch.full((7,), -1), tuple(range(200)), mask=mask)
    total = torch.zeros(7, CLASSES, dtype=torch.float64)
    for client in range(200):
        total += stack.votes[client].double().unsqueeze(1) * logits[client].double()
    count = mask.sum(dim=0)
    # Where everybody abstains all count.
    count[2] = 200
    assert torch.equal(voted_mean(stack, lambda one: one), total / count.unsqueeze(1))
    assert float(vote_shares(stack).sum()) == pytest.approx(1)
    everybody = replace(stack, mask=None)
    assert torch.equal(voted_mean(everybody, lambda one: one), voted_mean(all_voting(everybody), lambda one: one))
    assert torch.equal(vote_shares(everybody), vote_shares(all_voting(everybody)))


@pytest.mark.parametrize("teacher", [MeanProbabilities(), Stacked(ridge=0.1), Stacked(weights="full", ridge=1.0)])
@pytest.mark.parametrize("masked", [False, True])
def test_a_teacher_is_the_same_from_disk(
    teacher: MeanProbabilities | Stacked, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(1)
    stack = ReportStack(
        torch.randn(6, 40, CLASSES, generator=draw),
        torch.ones(6, dtype=torch.long),
        torch.where(torch.arange(40) % 2 == 0, torch.arange(40) % CLASSES, -1),
        tuple(range(6)),
        mask=torch.rand(6, 40, generator=draw) > 0.3 if masked else None,
    )
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 0)
    spilled = replace(stack, logits=stack_views([logits.clone() for logits in stack.logits]))
    assert torch.equal(teacher(spilled).log_probabilities, teacher(stack).log_probabilities)


@pytest.mark.parametrize("form", ["client", "class", "full", "mean"])
def test_a_stacked_teacher_is_the_same_in_stretches(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(2)
    stack = ReportStack(
        torch.randn(6, 50, CLASSES, generator=draw),
        torch.ones(6, dtype=torch.long),
        torch.where(torch.arange(50) < 20, torch.arange(50) % CLASSES, -1),
        tuple(range(6)),
    )
    teacher = Stacked(weights=form, ridge=0.1)  # type: ignore[arg-type]
    whole = teacher(stack).log_probabilities
    monkeypatch.setattr(sys.modules[Stacked.__module__], "PART_BYTES", 7 * 8 * 7 * CLASSES)
    assert torch.allclose(teacher(stack).log_probabilities, whole, atol=1e-6)


GROWTH = """
import resource, sys
import numpy as np, torch
from fedkd.aggregation import report_buffer
from fedkd.core.array_specs import ArraySpec
from fedkd.core.codecs.float32 import Float32
from fedkd.core.messages import Reply
from fedkd.core import plugins
from fedkd.server.reports import Expectation, collect_reports, stack_reports

CLIENTS, SAMPLES, CLASSES = 400, 4000, 10
codec = Float32()

def replies():
    for client in range(CLIENTS):
        logits = torch.randn(SAMPLES, CLASSES, generator=torch.Generator().manual_seed(client))
        message = np.frombuffer(codec.encode(logits).data, np.uint8)
        yield Reply(client, {"logits": message}, round=1, examples=1, public_digest="x")

def decode(client, message):
    return codec.decode(message, samples=SAMPLES, classes=CLASSES)

report_buffer.IN_MEMORY_BYTES = 0 if sys.argv[1] == "disk" else 2**40
torch.set_num_threads(1)
warm = plugins.build(plugins.STRATEGY, "mean_probabilities")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
specs = {"logits": ArraySpec("uint8", (codec.most_bytes(SAMPLES, CLASSES),), shorter=True)}
expected = Expectation(
    1, range(CLIENTS), CLASSES, "x", lambda client: 1, lambda client, examples: specs, decode, keeps_codes=False
)
reports = collect_reports(replies(), expected).reports
teacher = warm(stack_reports(reports, torch.full((SAMPLES,), -1), round=1))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((peak - before) * 1024 / (CLIENTS * SAMPLES * CLASSES * 4), float(teacher.log_probabilities.double().sum()))
"""


def test_the_memory_that_reports_and_a_mean_take_is_bounded() -> None:
    """In multiples of what the float32 logits take, 64 MB: one copy in memory, and a small part of one from disk."""
    growth, results = {}, set()
    for kind in ("memory", "disk"):
        done = subprocess.run([sys.executable, "-c", GROWTH, kind], stdout=subprocess.PIPE, text=True, check=True)
        share, result = done.stdout.split()
        growth[kind] = float(share)
        results.add(result)
    assert len(results) == 1
    assert growth["memory"] < 1.7
    assert growth["disk"] < 0.6
