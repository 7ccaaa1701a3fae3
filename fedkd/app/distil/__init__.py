"""Distilling one network into another, without a federation: ``fedkd distill``."""

from fedkd.app.distil.run import Distilled, distil_network

__all__ = ["Distilled", "distil_network"]
