"""fedkd: a simulator for federated knowledge distillation."""

__version__ = "0.1.0"
