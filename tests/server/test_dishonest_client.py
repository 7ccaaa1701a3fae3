"""One dishonest client at a time, under every rule: it is dropped by name, and nobody else is the worse for it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedkd.core.messages import Job, Reply, parameter_digest
from fedkd.engines.inline import InlineEngine
from fedkd.results.logs import round_lines
from fedkd.server.server import RoundResult, Server
from tests.support.federations import experiment_of

RULES = {
    "distil": ("strategy=class_count_weighted",),
    "own_model": ("clients.rule=own_model", "communication.uplink={name: quantise, bits: 8, compress: zlib}"),
    "selective": ("clients.rule=selective", "strategy=selective"),
    "average": ("clients.rule=parameters", "student.rule=average"),
    "average_and_distil": ("clients.rule=parameters", "student.rule=average_and_distil"),
    "label_logits": ("clients.rule=label_logits", "student.rule=label_means"),
    "prototypes": ("clients.rule=prototypes", "student.rule=label_means"),
    "features": ("clients.rule=features", "student.rule=features"),
}
HONEST = (0, 1, 2)
EXAMPLES = 4

Array = np.ndarray[Any, Any]
Change = Callable[[Reply], object]


def changed(original: Any, **fields: object) -> Any:
    """A reply or a measurement with fields of any type, as nothing checks them on the other side."""
    other = replace(original)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other


def declaring(**facts: object) -> Change:
    return lambda reply: changed(reply, **facts)


def measuring(**facts: object) -> Change:
    return lambda reply: changed(reply, measured=changed(reply.measured, **facts))


def sending(name: Any, value: object) -> Change:
    return lambda reply: changed(reply, arrays=dict([*reply.arrays.items(), (name, value)]))


def without(name: str) -> Change:
    return lambda reply: changed(reply, arrays={each: reply.arrays[each] for each in reply.arrays if each != name})


COUNTS: tuple[object, ...] = (10**30, 10**5000, 2**62, EXAMPLES + 1, -1, True, 4.0, np.int64(EXAMPLES), "4", [4], None)
ROUNDS: tuple[object, ...] = (0, True, 1.0, "1", np.int64(1), None)
DIGESTS: tuple[object, ...] = ("0123", None, 7, [], np.array(["x", "y"]))
SHARES: tuple[object, ...] = (*map(float, ("nan", "inf", "-inf")), 1e9, -0.1, "0.5", [0.5], {}, True, np.float64(0.5))
NO_DICTS: tuple[object, ...] = (None, [], [("round", 1)], "round", 7, np.zeros(2))


def dishonest_facts() -> Iterator[tuple[Change, str]]:
    for count in COUNTS:
        yield declaring(examples=count), f"example count must be a whole number from 0 to {EXAMPLES}, got "
    for round in ROUNDS:
        yield declaring(round=round), "answered for round "
    for digest in DIGESTS:
        yield declaring(public_digest=digest), "answered on another public set"
    for share in SHARES:
        yield measuring(validation_accuracy=share), "validation_accuracy must be a number from 0 to 1, got "
        yield measuring(test_accuracy=share), "test_accuracy must be a number from 0 to 1, got "
    for other in NO_DICTS[1:]:
        yield declaring(measured=other), "measured must be a measurement"


def dishonest_texts() -> Iterator[tuple[Change, str]]:
    yield declaring(error="a" * 10_000_000), "… (9999500 more characters)"
    yield declaring(error="\x1b[31mred\n\u202etxt"), r"\x1b[31mred\n\u202etxt"
    for error in ("", 7, ["x"], b"x"):
        yield declaring(error=error), "failed without a reason in text"
    yield sending("x\x1b]0;\u2066" + "y" * 10_000_000, np.zeros(1)), r"sent 'x\x1b]0;\u2066yyy"


def dishonest_names() -> Iterator[tuple[Change, str]]:
    for other in NO_DICTS:
        yield declaring(arrays=other), "arrays must be a dict"
    for name in (7, None, (), b"logits", np.str_("x")):
        yield sending(name, np.zeros(1)), "names of arrays must be text"
    yield sending("more", np.zeros(2)), "sent 'more', 16 bytes that nobody asked for"
    yield sending("parameters/9/x", np.broadcast_to(np.float32(0), 2**38)), "bytes that nobody asked for"


def dishonest_arrays(name: str, honest: Array) -> Iterator[tuple[Change, str]]:
    """Everything that an array could be instead."""
    yield without(name), f"sent no {name}"
    for other in ([1.0], 7, None, "x", np.ma.array(honest), np.float32(0)):
        yield sending(name, other), f"array '{name}' must be a NumPy array"
    for dtype in (np.longdouble, np.complex64, object, "U3", "S3", "M8[s]", "m8[s]", "V8", "i4,f4", ">f4", ">i8"):
        yield sending(name, np.zeros(honest.shape, dtype)), f"array '{name}' must hold numbers of at most 64 bits"
    for dtype in (np.float16, np.float64, np.int8, np.uint64, np.bool_):
        yield sending(name, honest.astype(dtype)), f"{name} must be {honest.dtype} of shape"
    for array in (honest[..., np.newaxis], np.array(honest.flat[0]), np.concatenate([honest] * 9)):
        yield sending(name, array), f"{name} must be {honest.dtype} of shape"
    yield sending(name, np.broadcast_to(honest.flat[0], 2**40)), f"{name} must be {honest.dtype} of shape"


def dishonest_values(name: str, honest: Array) -> Iterator[tuple[Change, str]]:
    """Values that no honest client has."""
    if honest.dtype.kind == "f":
        for value in (np.nan, np.inf, -np.inf):
            broken = honest.copy()
            broken.flat[1] = value
            yield sending(name, broken), f"{name} must be finite"
        yield sending(name, np.full_like(honest, 3e38)), f"{name} must lie within"
    if honest.dtype.kind == "i":
        for number in (-1, np.iinfo(honest.dtype).max):
            yield sending(name, np.full_like(honest, number)), f"{name} must lie within"
    if name in ("label_counts", "label_means/sizes"):
        yield sending(name, np.zeros_like(honest)), f"{name} must add up to {EXAMPLES}, got 0"
    if name == "logits":
        for message in (honest[:0], honest[:-1], np.flip(honest), np.full_like(honest, 255)):
            yield sending(name, message), "logits"


def dishonest_measurements(reply: Reply) -> Iterator[tuple[Change, str]]:
    for name, honest in () if reply.measured is None else reply.measured.arrays.items():
        for array in (honest[:-1], honest.astype(np.float16), np.array(0, honest.dtype), honest[..., np.newaxis]):
            yield measuring(**{name: array}), f"{name} must be {honest.dtype} of shape"
        for other in (honest.astype(object), honest.astype(np.longdouble), np.zeros(honest.shape, ">f4")):
            yield measuring(**{name: other}), f"array '{name}' must hold numbers"
        yield measuring(**{name: [0.0]}), f"array '{name}' must be a NumPy array"
        if honest.dtype.kind == "f":
            yield measuring(**{name: np.full_like(honest, np.nan)}), f"{name} must be finite"


def dishonest(reply: Reply) -> list[tuple[Change, str]]:
    """What a client may do instead of replying as ``reply`` does, and a part of the reason for which it is dropped."""
    found = [*dishonest_facts(), *dishonest_texts(), *dishonest_names(), *dishonest_measurements(reply)]
    for name, array in list(reply.arrays.items())[:3]:
        found += [*dishonest_arrays(name, array), *dishonest_values(name, array)]
    return found


def finished(server: Server, job: Job, replies: list[Any]) -> tuple[RoundResult, str | None]:
    result = server.finish_round(job, iter(replies))
    student = server.rule.student
    return result, None if student is None else parameter_digest(student.state_dict())


@pytest.mark.parametrize("rules", RULES)
def test_whatever_a_client_sends_it_is_dropped_by_name_and_harms_nobody(rules: str, tmp_path: Path) -> None:
    _, replies = asked(Server.build(experiment_of(*RULES[rules], *sized(4)), state_dir=str(tmp_path / "before")))
    cases = dishonest(replies[0])
    assert len(cases) > 80
    experiment = experiment_of(*RULES[rules], *sized(len(HONEST) + len(cases)))
    server = Server.build(experiment, state_dir=str(tmp_path / "state"))
    job, honest = asked(server)
    bad = [change(replace(honest[0], client=3 + index)) for index, (change, _) in enumerate(cases)]
    result, digest = finished(server, job, [*bad, *honest])
    reasons = {failure.client: failure.reason for failure in result.record.failures}
    assert sorted(reasons) == list(range(3, 3 + len(cases)))
    for index, (_, part) in enumerate(cases):
        assert part in reasons[3 + index]
        assert reasons[3 + index].isprintable()
        assert len(reasons[3 + index]) < 3_000
    silent = [Reply(client, error="no") for client in reasons]
    expected, expected_digest = finished(Server.build(experiment), job, [*silent, *honest])
    assert replace(result.record, failures=()) == replace(expected.record, failures=())
    assert (result.clients, result.rows, digest) == (expected.clients, expected.rows, expected_digest)
    assert json.loads(round_lines(result.record, result.clients, result.rows, 0.0)["rounds.jsonl"], parse_constant=int)


def test_answers_without_a_sender_strangers_and_doubles_are_nobodys_but_their_own() -> None:
    server = Server.build(experiment_of(*sized(6)))
    job, honest = asked(server)
    first = honest[0]
    nobody: list[Any] = [None, "x", 7, {}, asdict(first), Reply]
    nobody += [changed(first, client=client) for client in (None, "0", 0.0, True, [0], np.int64(0), -1, 10**5000)]
    strangers = [replace(first, client=client) for client in (6, 2**62)]
    result, _ = finished(
        server, job, [*nobody, *strangers, *honest, replace(first, client=3), replace(first, client=3)]
    )
    silence = f"sent nothing, or one of the {len(nobody)} answers without a sender"
    assert {failure.client: failure.reason for failure in result.record.failures} == {
        3: "sent 2 reports for one round",
        4: silence,
        5: silence,
        6: "answered without having been asked",
        2**62: "answered without having been asked",
    }


@pytest.mark.parametrize("rules", RULES)
def test_the_layout_in_memory_of_what_is_sent_makes_no_difference(rules: str, tmp_path: Path) -> None:
    experiment = experiment_of(*RULES[rules], *sized(3))
    server = Server.build(experiment, state_dir=str(tmp_path))
    job, honest = asked(server)
    turned = [
        replace(reply, arrays={name: np.flip(np.flip(array).copy()) for name, array in reply.arrays.items()})
        for reply in honest
    ]
    result, digest = finished(server, job, turned)
    assert (result, digest) == finished(Server.build(experiment), job, honest)


def sized(clients: int) -> tuple[str, ...]:
    """So many clients with ``EXAMPLES`` training samples each, and one to validate on."""
    return (
        *(f"clients.count={clients}", f"data.private_size={(EXAMPLES + 1) * clients}"),
        *("data.partition.scheme=iid", "data.client_validation=0.2"),
    )


def asked(server: Server) -> tuple[Job, list[Reply]]:
    """A job, and the honest clients' replies to it, with everything in them that there can be."""
    job = server.job(1, probe=True)
    with InlineEngine() as engine:
        return job, list(engine.run(job, HONEST))
