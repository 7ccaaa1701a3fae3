"""Replies of one dishonest client among honest ones, under every algorithm and every strategy."""

import copy
import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedkd.app.run import build_engine, run_experiment
from fedkd.config.load import load_config
from fedkd.core import plugins
from fedkd.core.errors import FedkdError
from fedkd.core.messages import Job, Reply
from fedkd.engines import Engine
from fuzzing import arrays, tiny
from fuzzing.command import without_figures
from fuzzing.oracle import CONTROL, check_meant, check_run, digest_of, strict_json
from fuzzing.outcome import Case, NonsenseError, shortened
from fuzzing.trial import once
from fuzzing.values import EVERYTHING

LIAR = 1
"""The dishonest client's id."""

LONGEST_REASON = 1000
OUT = "out"
_STEPS = 6
"""Jobs of a round with a secure sum, at most."""

Lie = Callable[[Reply], Sequence[Reply]]
"""What the dishonest client sends in the place of its reply."""

_VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "float16": {"communication.uplink": "float16"},
    "zlib": {"communication.uplink": {"name": "float32", "compress": "zlib"}},
    "lzma": {"communication.uplink": {"name": "quantise", "compress": "lzma"}},
    "quantise": {"communication.uplink": "quantise"},
    "top_k": {"communication.uplink": "top_k"},
    "one_hot": {"communication.uplink": "one_hot"},
    "selected": {"clients.rule": "selective", "strategy": "selective"},
    "gaussian_logits": {"privacy.mechanism": {"name": "gaussian_logits", "noise_multiplier": 1.0}},
    "top_k mechanism": {"privacy.mechanism": "top_k"},
    "attackers": {"clients.attackers.share": 0.34, "clients.attackers.behaviour": "little_is_enough"},
}


@cache
def settings() -> tuple[str, ...]:
    """The names of the small experiments that a client may lie in."""
    return (
        *tiny.names(),
        *(f"strategy {name}" for name in plugins.names(plugins.STRATEGY)),
        *(f"variant {name}" for name in _VARIANTS),
    )


def configuration(setting: str) -> dict[str, Any]:
    """The configuration of a setting, with four clients of which one may fail."""
    kind, _, name = setting.partition(" ")
    mapping = tiny.shrunk("quickstart" if name else kind)
    changes = {"strategy": {"name": name}} if kind == "strategy" else _VARIANTS.get(name, {})
    for path, value in {"clients.count": 4, "clients.fraction": 1.0, "clients.min_reports": 1, **changes}.items():
        tiny.put(mapping, path, value)
    return mapping


class _OneLiar:
    """An engine on which one client answers some kind of job with something else."""

    def __init__(self, engine: Engine, lie: Lie, step: int) -> None:
        self._engine, self._lie, self._step = engine, lie, step
        self._seen = 0

    def __enter__(self) -> "_OneLiar":
        self._engine.__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        self._engine.__exit__(*failure)

    def run(self, job: Job, clients: Sequence[int]) -> Iterator[Reply]:
        lies = self._seen == self._step
        self._seen += 1
        for reply in self._engine.run(job, clients):
            yield from self._lie(reply) if lies and reply.client == LIAR else [reply]


def run(setting: str, lie: Lie, out: Path, step: int = 0) -> None:
    """Run a setting whose dishonest client lies in the job of that number; raises what the run does."""
    config = load_config(configuration(setting))
    with without_figures():
        run_experiment(
            config,
            out,
            engine=lambda experiment: _OneLiar(build_engine(experiment, memory=out / "client_state"), lie, step),
        )


Record = dict[str, Any]
Told = tuple[Sequence[Reply], str, bool]
"""What is sent, what is wrong with it in a few words, and whether no algorithm must notice."""


@cache
def _without_liar(setting: str, step: int) -> tuple[Record, str | None]:
    """What comes of a run whose dishonest client fails honestly."""
    return _reference(
        f"{setting} without {step}", setting, lambda reply: [Reply(LIAR, error="OSError: no data on this device")], step
    )


@cache
def _with_everybody(setting: str) -> tuple[Record, str | None]:
    return _reference(f"{setting} with", setting, lambda reply: [reply], 0)


def _reference(name: str, setting: str, lie: Lie, step: int) -> tuple[Record, str | None]:
    return _came_of(once(name.replace("/", " "), lambda folder: run(setting, lie, folder, step)))


def _came_of(out: Path) -> tuple[Record, str | None]:
    """The record of a run's only round, and the digest of its student."""
    record: Record = strict_json((out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()[0])
    return record, digest_of(out)


def case(seed: int, number: int) -> Case:
    """A setting, and a reply with one part exchanged."""
    draw = random.Random(f"replies {seed} {number}")
    setting = draw.choice(settings())
    step = draw.randrange(_STEPS) if "secure" in setting else 0
    return Case(setting, partial(attempt, setting, lambda reply: lie(reply, draw), step=step))


def attempt(setting: str, lie: Callable[[Reply], Told], folder: Path, *, step: int = 0) -> bool:
    """Whether what the dishonest client sent was taken; raises ``NonsenseError`` where it has an effect it must not."""
    told: list[Told] = []

    def tell(reply: Reply) -> Sequence[Reply]:
        told.append(lie(reply))
        return told[-1][0]

    try:
        run(setting, tell, folder / OUT, step)
        check_run(folder / OUT)
        return _judge(setting, told, folder / OUT, step)
    except FedkdError as error:
        check_meant(f"{_lies(told)}: {error}")
        raise NonsenseError(f"{_lies(told)}: one client ended the run: {shortened(str(error), 300)}") from error
    except NonsenseError as error:
        raise NonsenseError(f"{_lies(told)}: {error}") from error
    except Exception as error:
        error.add_note(_lies(told))
        raise


def _lies(told: Sequence[Told]) -> str:
    return "; ".join(what for _, what, _ in told) or "nothing was sent"


def _judge(setting: str, told: Sequence[Told], out: Path, step: int) -> bool:
    record, digest = _came_of(out)
    lost = [*record["failures"], *((record.get("secure") or {}).get("dropouts") or ())]
    for failure in lost:
        _check_reason(failure["reason"])
    if {failure["client"] for failure in record["failures"]} - {LIAR}:
        # Only who answers in the name of others can be in their way, and no engine lets it.
        others = {reply.client for replies, _, _ in told for reply in replies if isinstance(reply, Reply)}
        if others == {LIAR}:
            raise NonsenseError(f"an honest client was dropped: {shortened(record['failures'], 300)}")
        return False
    if record["failures"]:
        expected, its_digest = _without_liar(setting, step)
        # In a secure sum it may be found out later than it would have failed, and be asked more until then.
        same = "secure" in setting or _without_reasons(record) == _without_reasons(expected)
        if digest != its_digest or not same:
            raise NonsenseError("dropped, and the round is not that without this client")
        return False
    if told and all(harmless for _, _, harmless in told) and digest != _with_everybody(setting)[1]:
        raise NonsenseError("taken, and the student is another")
    _check_finite(out)
    return True


def _without_reasons(record: Record) -> Record:
    return {name: value for name, value in record.items() if name not in {"failures", "secure"}}


def _check_reason(reason: Any) -> None:
    if not isinstance(reason, str) or not reason or len(reason) > LONGEST_REASON or CONTROL.search(reason):
        raise NonsenseError(f"dropped for a reason that nobody can read: {shortened(reason, 200)}")


def _check_finite(out: Path) -> None:
    """Raise ``NonsenseError`` unless the server's state is finite."""
    content = torch.load(max((out / "checkpoints").glob("round_*.pt")), weights_only=True)
    pending = [content["server"]]
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(value.isfinite().all()):
            raise NonsenseError("taken, and the server's state is not finite")


def lie(reply: Reply, draw: random.Random) -> Told:
    """The reply with one part exchanged."""
    match draw.randrange(20):
        case 0:
            return [], "no reply", False
        case 1:
            return [reply, reply], "the reply twice", False
        case 2:  # engines know who answers, but not that this is who was asked
            client = draw.choice([0, 2, 3, 4, -1, 10**6, 2**62, 2**63, 2**64])
            return [dataclasses.replace(reply, client=client)], f"client {client}", False
    path, value = _exchanged(reply, draw)
    return [_put(reply, path, value)], f"{'.'.join(map(_named, path))} = {_described(value)}", _harmless(path)


def _harmless(path: tuple[Any, ...]) -> bool:
    """Whether no algorithm must notice what is changed at the path: if it is taken, the student is the same."""
    return path[0] not in {"arrays", "examples", "error"}


def _named(key: Any) -> str:
    return key if isinstance(key, str) and key.isprintable() and len(key) < 40 else shortened(key)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, shape {shortened(value.shape)}, {shortened(value.reshape(-1)[:3].tolist())}"
    return shortened(value)


_MISSING = object()


_NAMES: tuple[Any, ...] = (
    *(
        "",
        "x",
        "round",
        "logits",
        "label_counts",
        "parameters/0/x",
        "evaluation/x",
        "../x",
        "a\0b",
        "\x1b[2J",
        "n" * 10**6,
    ),
    *(1, None, ("a",)),
)
"""What else an array of a reply may be called."""


def _exchanged(value: Any, draw: random.Random, path: tuple[Any, ...] = ()) -> tuple[tuple[Any, ...], Any]:
    """Where something is exchanged in a value, and what for."""
    parts = _parts(value)
    if parts and (not path or draw.random() < 0.85):
        key = draw.choice([part for part in parts if path or part != "client"])
        return _exchanged(parts[key], draw, (*path, key))
    if isinstance(value, Mapping) and draw.random() < 0.7:
        key = draw.choice(_NAMES)
        return (*path, key), _anything(np.ones(3, np.float32) if draw.random() < 0.6 else value, draw)
    if draw.random() < 0.1 and path and not dataclasses.is_dataclass(value):
        return path, _MISSING
    return path, _anything(value, draw)


def _parts(value: Any) -> Mapping[Any, Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value if isinstance(value, Mapping) else {}


def _anything(value: Any, draw: random.Random) -> Any:
    if isinstance(value, np.ndarray) and draw.random() < 0.9:
        return arrays.changed(value, draw)
    if draw.random() < 0.4:
        return draw.choice(_ODD)
    return draw.choice(EVERYTHING)


_ODD: tuple[Any, ...] = (
    *(np.float64(0.5), np.float32("nan"), np.int64(7), np.int64(2**62), np.bool_(True), np.str_("a"), np.array(1)),
    *(np.ones(3), torch.ones(2), b"bytes", bytearray(b"x"), 1j, object(), {1, 2}, frozenset({1}), range(3), (1, 2)),
    *("\x1b[2J" * 10, "x" * 10_000_000, "\0" * 100, ValueError("no"), ValueError, lambda: 1, 1e9, -1e9, 2**62, 10**30),
    *(Reply(0), {"a": float("nan")}, 0.25, 1.0000001, -1e-9, 20, 1000),
)


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    key, *rest = path
    if isinstance(value, Mapping):
        items = dict(value)
        if rest or new is not _MISSING:
            items[key] = _put(items.get(key), tuple(rest), new)
        else:
            items.pop(key, None)
        return items
    below = _put(getattr(value, key), tuple(rest), None if new is _MISSING and not rest else new)
    changed = copy.copy(value)
    object.__setattr__(changed, key, below)  # what its types do not allow, frozen though it is
    return changed
