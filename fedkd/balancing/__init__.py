"""Balancing: the weight λ of distillation against the task, set at every step from the two gradients."""

from typing import Any

from fedkd import plugins
from fedkd.balancing._base import LambdaBalancer
from fedkd.types import GradientGeometry

__all__ = ["GradientGeometry", "LambdaBalancer", "build"]


def build(name: str, **options: Any) -> LambdaBalancer:
    """The balancer ``name`` (a file of this package, or ``module:Class``); raises ``PluginError`` for bad options."""
    balancer: LambdaBalancer = plugins.build(plugins.BALANCER, name, options)
    return balancer
