"""The geometry of the two gradients, as a run recorded it."""

from fedkd.distillation.geometry import GradientGeometry
from fedkd.results.report.run_log import RunLog, StepLog

_PLACES = {"last_layer": ", last layer only", "logits": ", at the logits"}


def geometry_at(steps: StepLog, row: int) -> GradientGeometry:
    """The Gram matrix that the row's norms and cosine stand for."""
    dist, task, cosine = (float(steps[name][row]) for name in ("norm_dist", "norm_cls", "cos"))
    return GradientGeometry(
        a=dist**2,
        b=dist * task * cosine,
        c=task**2,
        loss_dist=float(steps["loss_dist"][row]),
        loss_cls=float(steps["loss_cls"][row]),
        step=int(steps["step"][row]),
    )


def where_measured(log: RunLog) -> str:
    """What a title must add where the gradients are not those of all parameters (``distillation.geometry.mode``)."""
    value = log.at("distillation.geometry.mode")
    return _PLACES.get(value, "") if isinstance(value, str) else ""
