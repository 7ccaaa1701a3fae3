"""Data: where samples come from, what is made of them, and who gets which."""

from fedkd.data._images import channel_statistics, fit_to_shape, standardise
from fedkd.data._mapped import MappedSamples
from fedkd.data._public import public_set
from fedkd.data._types import ClientData, ExperimentData, Places, PublicSet, TaskLabels
from fedkd.data.roles import partition_file, pixel_scaling, prepare, unused_samples
from fedkd.data.source import DataSource, Encoder, Encoding, OtherLabels, SampleSet, resolve_root
from fedkd.data.transform import Transform, Transformation

__all__ = [
    "ClientData",
    "DataSource",
    "Encoder",
    "Encoding",
    "ExperimentData",
    "MappedSamples",
    "OtherLabels",
    "Places",
    "PublicSet",
    "SampleSet",
    "TaskLabels",
    "Transform",
    "Transformation",
    "channel_statistics",
    "fit_to_shape",
    "partition_file",
    "pixel_scaling",
    "prepare",
    "public_set",
    "resolve_root",
    "standardise",
    "unused_samples",
]
