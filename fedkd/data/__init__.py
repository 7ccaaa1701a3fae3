"""Data: where images come from, and who gets which of them."""

from fedkd.data._images import channel_statistics, fit_to_shape, standardise
from fedkd.data._types import ClientData, ExperimentData, PublicSet
from fedkd.data.roles import prepare, unused_samples
from fedkd.data.source import DataSource, ImageSet, resolve_root

__all__ = [
    "ClientData",
    "DataSource",
    "ExperimentData",
    "ImageSet",
    "PublicSet",
    "channel_statistics",
    "fit_to_shape",
    "prepare",
    "resolve_root",
    "standardise",
    "unused_samples",
]
