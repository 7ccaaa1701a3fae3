"""fedkd: a simulator for federated knowledge distillation.

What scripts and plug-in files need is importable from here, and loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedkd.aggregation.strategy import LogitAggregator as LogitAggregator
    from fedkd.aggregation.testing import check_aggregator as check_aggregator
    from fedkd.aggregation.types import ReportStack as ReportStack
    from fedkd.aggregation.types import ReportSum as ReportSum
    from fedkd.aggregation.types import Teacher as Teacher
    from fedkd.analysis.analysis import Analysis as Analysis
    from fedkd.analysis.analysis import Finding as Finding
    from fedkd.analysis.subject import Subject as Subject
    from fedkd.app.analyse import analyse_run as analyse_run
    from fedkd.app.audit import audit_run as audit_run
    from fedkd.app.cli.console import ConsoleObserver as ConsoleObserver
    from fedkd.app.distil import distil_network as distil_network
    from fedkd.app.plain_clients.client import logits_of as logits_of
    from fedkd.app.plain_clients.client import public_of as public_of
    from fedkd.app.plain_clients.strategy import LogitDistillation as LogitDistillation
    from fedkd.app.run import run_experiment as run_experiment
    from fedkd.app.runs import Run as Run
    from fedkd.app.runs import Runs as Runs
    from fedkd.app.runs import load_run as load_run
    from fedkd.app.runs import load_runs as load_runs
    from fedkd.app.sweep import run_sweep as run_sweep
    from fedkd.audit.attack import Evidence as Evidence
    from fedkd.audit.attack import MembershipAttack as MembershipAttack
    from fedkd.client.behaviour import AdversaryView as AdversaryView
    from fedkd.client.behaviour import ClientBehaviour as ClientBehaviour
    from fedkd.client.context import ClientContext as ClientContext
    from fedkd.client.rule import ClientRule as ClientRule
    from fedkd.client.rule import Upload as Upload
    from fedkd.config.load import load_config as load_config
    from fedkd.core.array_specs import ArraySpec as ArraySpec
    from fedkd.core.coding import LogitCodec as LogitCodec
    from fedkd.core.errors import FedkdError as FedkdError
    from fedkd.distillation.balancer import LambdaBalancer as LambdaBalancer
    from fedkd.distillation.balancer import build_balancer as build_balancer
    from fedkd.distillation.geometry import GradientGeometry as GradientGeometry
    from fedkd.distillation.loss import Answers as Answers
    from fedkd.distillation.loss import Batch as Batch
    from fedkd.distillation.loss import DistillationLoss as DistillationLoss
    from fedkd.distillation.loss import LayerLoss as LayerLoss
    from fedkd.distillation.temperature import TemperatureSchedule as TemperatureSchedule
    from fedkd.experiment import Experiment as Experiment
    from fedkd.privacy.accounting import gaussian_epsilon as gaussian_epsilon
    from fedkd.privacy.mechanism import LogitMechanism as LogitMechanism
    from fedkd.results.tracker import Point as Point
    from fedkd.results.tracker import TrackedRun as TrackedRun
    from fedkd.results.tracker import Tracker as Tracker
    from fedkd.server.student_rule import RoundReports as RoundReports
    from fedkd.server.student_rule import ServerUpdate as ServerUpdate
    from fedkd.server.student_rule import StudentRule as StudentRule

__version__ = "0.2.0"

_HOMES = {
    "load_config": "fedkd.config.load",
    "run_experiment": "fedkd.app.run",
    "run_sweep": "fedkd.app.sweep",
    "distil_network": "fedkd.app.distil",
    "load_run": "fedkd.app.runs",
    "load_runs": "fedkd.app.runs",
    "Run": "fedkd.app.runs",
    "Runs": "fedkd.app.runs",
    "audit_run": "fedkd.app.audit",
    "analyse_run": "fedkd.app.analyse",
    "LogitDistillation": "fedkd.app.plain_clients.strategy",
    "logits_of": "fedkd.app.plain_clients.client",
    "public_of": "fedkd.app.plain_clients.client",
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
    "ArraySpec": "fedkd.core.array_specs",
    "AdversaryView": "fedkd.client.behaviour",
    "StudentRule": "fedkd.server.student_rule",
    "RoundReports": "fedkd.server.student_rule",
    "ServerUpdate": "fedkd.server.student_rule",
    "Experiment": "fedkd.experiment",
    "LogitMechanism": "fedkd.privacy.mechanism",
    "MembershipAttack": "fedkd.audit.attack",
    "Evidence": "fedkd.audit.attack",
    "Analysis": "fedkd.analysis.analysis",
    "Finding": "fedkd.analysis.analysis",
    "Subject": "fedkd.analysis.subject",
    "LogitCodec": "fedkd.core.coding",
    "TemperatureSchedule": "fedkd.distillation.temperature",
    "DistillationLoss": "fedkd.distillation.loss",
    "LayerLoss": "fedkd.distillation.loss",
    "Answers": "fedkd.distillation.loss",
    "Batch": "fedkd.distillation.loss",
    "Tracker": "fedkd.results.tracker",
    "TrackedRun": "fedkd.results.tracker",
    "Point": "fedkd.results.tracker",
    "LambdaBalancer": "fedkd.distillation.balancer",
    "GradientGeometry": "fedkd.distillation.geometry",
    "build_balancer": "fedkd.distillation.balancer",
    "gaussian_epsilon": "fedkd.privacy.accounting",
    "check_aggregator": "fedkd.aggregation.testing",
}
"""The module that each public name is from."""

__all__ = ["__version__", *_HOMES]


if not TYPE_CHECKING:  # which is to notice a name that is not there

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(_HOMES[name])
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "flwr":
                raise
            raise ImportError(f"fedkd.{name} is for Flower apps; pip install 'fedkd[flower]'") from error
        found = globals()[name] = getattr(module, name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
