"""fedkd: a simulator for federated knowledge distillation.

What scripts and plug-in files need is importable from here, and loaded when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_config": "fedkd.config.load",
    "run_experiment": "fedkd.app.run",
    "run_sweep": "fedkd.app.sweep",
    "audit_run": "fedkd.app.audit",
    "FedkdError": "fedkd.core.errors",
    "ConsoleObserver": "fedkd.app.cli.console",
    "LogitAggregator": "fedkd.aggregation.strategy",
    "ReportStack": "fedkd.aggregation.types",
    "ReportSum": "fedkd.aggregation.types",
    "Teacher": "fedkd.aggregation.types",
    "ClientRule": "fedkd.client.rule",
    "ClientBehaviour": "fedkd.client.behaviour",
    "ClientContext": "fedkd.client.context",
    "Upload": "fedkd.client.rule",
    "StudentRule": "fedkd.server.student_rule",
    "LambdaBalancer": "fedkd.distillation.balancer",
    "GradientGeometry": "fedkd.distillation.geometry",
    "build_balancer": "fedkd.distillation.balancer",
    "gaussian_epsilon": "fedkd.privacy.accounting",
    "check_aggregator": "fedkd.aggregation.testing",
}
"""The module that each public name is from; their types are in ``__init__.pyi``."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
