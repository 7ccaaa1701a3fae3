"""Distilling one network into another, without a federation: ``fedkd distill``."""

from fedkd.app.distil.continual import Learned, learn_in_sequence
from fedkd.app.distil.run import distil_network

__all__ = ["Learned", "distil_network", "learn_in_sequence"]
