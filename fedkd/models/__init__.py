"""Models: the architectures of students and clients, one file each, and what is done with any model."""

from fedkd.models._base import Architecture, ImageArchitecture, Widths
from fedkd.models._build import build_model
from fedkd.models._embedding import embed, embeddings
from fedkd.models._given import load_given
from fedkd.models._latency import forward_pass, latencies
from fedkd.models._norm import batch_norm_entries, estimate_statistics
from fedkd.models._optimise import batch_sizes, batches, endless_batches, make_optimiser, set_rate
from fedkd.models._own import architecture_of
from fedkd.models._predict import accuracy, hit_rate, predict
from fedkd.models._profile import ModelProfile, profile, training_bytes
from fedkd.models._tap import layer_fault, tapped
from fedkd.models._trial import Trial, placed, try_model

__all__ = [
    "Architecture",
    "ImageArchitecture",
    "ModelProfile",
    "Trial",
    "Widths",
    "accuracy",
    "architecture_of",
    "batch_norm_entries",
    "batch_sizes",
    "batches",
    "build_model",
    "embed",
    "embeddings",
    "endless_batches",
    "estimate_statistics",
    "forward_pass",
    "hit_rate",
    "latencies",
    "layer_fault",
    "load_given",
    "make_optimiser",
    "placed",
    "predict",
    "profile",
    "set_rate",
    "tapped",
    "training_bytes",
    "try_model",
]
