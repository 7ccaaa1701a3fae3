from fedkd.aggregation.strategy import LogitAggregator as LogitAggregator
from fedkd.aggregation.testing import check_aggregator as check_aggregator
from fedkd.aggregation.types import ReportStack as ReportStack
from fedkd.aggregation.types import ReportSum as ReportSum
from fedkd.aggregation.types import Teacher as Teacher
from fedkd.app.audit import audit_run as audit_run
from fedkd.app.cli.console import ConsoleObserver as ConsoleObserver
from fedkd.app.run import run_experiment as run_experiment
from fedkd.app.sweep import run_sweep as run_sweep
from fedkd.client.behaviour import ClientBehaviour as ClientBehaviour
from fedkd.client.context import ClientContext as ClientContext
from fedkd.client.rule import ClientRule as ClientRule
from fedkd.client.rule import Upload as Upload
from fedkd.config.load import load_config as load_config
from fedkd.core.errors import FedkdError as FedkdError
from fedkd.distillation.balancer import LambdaBalancer as LambdaBalancer
from fedkd.distillation.balancer import build_balancer as build_balancer
from fedkd.distillation.geometry import GradientGeometry as GradientGeometry
from fedkd.privacy.accounting import gaussian_epsilon as gaussian_epsilon
from fedkd.server.student_rule import StudentRule as StudentRule

__all__: list[str]
__version__: str
