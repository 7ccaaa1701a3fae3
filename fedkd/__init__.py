"""fedkd: a simulator for federated knowledge distillation."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_FRONT = {
    "load_config": "fedkd.config.load:load_config",
    "run_experiment": "fedkd.app.run:run_experiment",
    "run_sweep": "fedkd.app.sweep:run_sweep",
    "audit_run": "fedkd.app.audit:audit_run",
    "FedkdError": "fedkd.core.errors:FedkdError",
    "ConsoleObserver": "fedkd.app.cli.console:Console",
    "LogitAggregator": "fedkd.aggregation.strategy:LogitAggregator",
    "ReportStack": "fedkd.aggregation.types:ReportStack",
    "ReportSum": "fedkd.aggregation.types:ReportSum",
    "Teacher": "fedkd.aggregation.types:Teacher",
    "ClientRule": "fedkd.client.rule:ClientRule",
    "ClientBehaviour": "fedkd.client.behaviour:ClientBehaviour",
    "ClientContext": "fedkd.client.context:ClientContext",
    "Upload": "fedkd.client.rule:Upload",
    "StudentRule": "fedkd.server.student_rule:StudentRule",
    "LambdaBalancer": "fedkd.distillation.balancer:LambdaBalancer",
    "GradientGeometry": "fedkd.distillation.geometry:GradientGeometry",
    "build_balancer": "fedkd.distillation.balancer:build_balancer",
    "gaussian_epsilon": "fedkd.privacy.accounting:gaussian_epsilon",
    "check_aggregator": "fedkd.aggregation.testing:check_aggregator",
}


def __getattr__(name: str) -> Any:
    if name not in _FRONT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _FRONT[name].partition(":")
    return getattr(import_module(module), attribute)
