"""What a run was, in a few lines: every setting that matters for reading its result."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from fedkd.config.identity import leaves
from fedkd.config.load import parse_config, to_mapping
from fedkd.results.report.run_log import RunLog

_SCHEMES = {"dirichlet": "alpha", "pathological": "classes_per_client", "shards": "shards_per_client"}
"""The option that a scheme of partition goes by."""
_SAID = (
    "data.dataset",
    "data.partition",
    "data.private_size",
    "data.public.size",
    "data.public.labelled",
    "clients.count",
    "clients.fraction",
    "clients.models",
    "clients.rule",
    "clients.epochs",
    "clients.batch_size",
    "clients.attackers",
    "student.model",
    "strategy",
    "distillation.steps",
    "distillation.temperature",
    "distillation.loss",
    "distillation.balancer",
    "communication.uplink",
    "communication.downlink",
    "privacy.mechanism",
    "privacy.secure_aggregation",
    "rounds",
    "seed",
)
"""The keys that have a line of their own."""
_ELSEWHERE = ("controls", "data.root", "engine", "privacy.audit")
"""Those on which no round depends, and those of which other parts of a page tell."""


def facts(log: RunLog) -> dict[str, str]:
    """What is set, by what it is called; whatever else is not as usual comes last, key by key."""
    found = {name: tell(log) for name, (path, tell) in _FACTS.items() if log.at(path) is not None}
    usual = _usual()
    others = {path: value for path, value in leaves(log.config) if not _is_below(path, (*_SAID, *_ELSEWHERE))}
    return {name: text for name, text in found.items() if text} | {
        path: _text(value) for path, value in others.items() if value != usual.get(path)
    }


@cache
def _usual() -> Mapping[str, Any]:
    return dict(leaves(to_mapping(parse_config({}))))


def _is_below(path: str, sections: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in sections)


def _partition(log: RunLog) -> str:
    scheme = log.at("data.partition.scheme")
    option = _SCHEMES.get(str(scheme))
    symbol = "α" if option == "alpha" else option
    return _text(scheme) if option is None else f"{scheme}, {symbol} = {_text(log.at(f'data.partition.{option}'))}"


def _clients(log: RunLog) -> str:
    count, fraction = log.at("clients.count"), log.at("clients.fraction")
    each_round = "" if fraction in {None, 1.0} else f", {100 * fraction:g} % of them a round"
    models = log.at("clients.models")
    return f"{_text(count)}{each_round}{f', with {_plugins(models)}' if models else ''}"


def _privacy(log: RunLog) -> str:
    secure = log.at("privacy.secure_aggregation")
    return f"{_plugin(log.at('privacy.mechanism'))}{', in a secure sum' if secure else ''}"


def _attackers(log: RunLog) -> str:
    """Empty where there are none."""
    chosen = (log.summary or {}).get("attackers")
    share = log.at("clients.attackers.share")
    if not chosen and not share:
        return ""
    who = ", ".join(map(str, chosen)) if chosen else f"{100 * share:g} % of the clients"
    return f"{who}: {_plugin(log.at('clients.attackers.behaviour'))}"


def _plugins(values: Any) -> str:
    return ", ".join(map(_plugin, values)) if isinstance(values, list) else _plugin(values)


def _plugin(value: Any) -> str:
    """``trimmed_mean (trim 1)``."""
    if not isinstance(value, Mapping):
        return _text(value)
    options = ", ".join(f"{key} {_text(each)}" for key, each in value.items() if key != "name")
    return f"{_text(value.get('name'))}{f' ({options})' if options else ''}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _told(path: str) -> Callable[[RunLog], str]:
    return lambda log: _plugins(log.at(path))


def _public(log: RunLog) -> str:
    return f"{_text(log.at('data.public.size'))}, of which {_text(log.at('data.public.labelled'))} have labels"


def _training(log: RunLog) -> str:
    return f"{_text(log.at('clients.epochs'))} epochs a round, batches of {_text(log.at('clients.batch_size'))}"


def _messages(log: RunLog) -> str:
    up, down = (_plugin(log.at(f"communication.{way}link")) for way in ("up", "down"))
    return f"{_plugin(log.at('clients.rule'))}; {up} up, {down} down"


def _distillation(log: RunLog) -> str:
    loss, temperature = _plugins(log.at("distillation.loss")), _plugin(log.at("distillation.temperature"))
    return f"{_text(log.at('distillation.steps'))} steps a round, loss {loss}, temperature {temperature}"


_FACTS: Mapping[str, tuple[str, Callable[[RunLog], str]]] = {
    "data set": ("data.dataset", _told("data.dataset")),
    "private samples": ("data.private_size", _told("data.private_size")),
    "partition": ("data.partition.scheme", _partition),
    "public samples": ("data.public.size", _public),
    "clients": ("clients.count", _clients),
    "local training": ("clients.epochs", _training),
    "messages": ("clients.rule", _messages),
    "student": ("student.model", _told("student.model")),
    "teacher": ("strategy", _told("strategy")),
    "distillation": ("distillation.steps", _distillation),
    "λ by": ("distillation.balancer", _told("distillation.balancer")),
    "privacy": ("privacy.mechanism", _privacy),
    "attackers": ("clients.attackers", _attackers),
    "rounds": ("rounds", _told("rounds")),
    "seed": ("seed", _told("seed")),
    "engine": ("engine.kind", _told("engine.kind")),
}
"""What a line is called, the key without which there is none, and what tells it."""
