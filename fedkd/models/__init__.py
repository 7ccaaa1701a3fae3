"""Models: the architectures of students and clients, one file each, and what is done with any model."""

from fedkd.models._base import Architecture, Widths
from fedkd.models._build import build_model
from fedkd.models._embedding import embed, embeddings
from fedkd.models._optimise import batch_sizes, batches, make_optimiser
from fedkd.models._predict import accuracy, hit_rate, predict
from fedkd.models._profile import ModelProfile, profile, training_bytes

__all__ = [
    "Architecture",
    "ModelProfile",
    "Widths",
    "accuracy",
    "batch_sizes",
    "batches",
    "build_model",
    "embed",
    "embeddings",
    "hit_rate",
    "make_optimiser",
    "predict",
    "profile",
    "training_bytes",
]
