"""Distillation: the student learns from the ensemble teacher and from the labelled public samples."""

from fedkd.distillation.balanced_step import StepRow
from fedkd.distillation.diagnosis import Diagnosis, ValidationReport, Verdict, diagnose, validate_student
from fedkd.distillation.distiller import DistillationResult, Distiller
from fedkd.distillation.divergence import classification_loss, distillation_loss, divergences
from fedkd.distillation.targets import consensus_target, smoothed_one_hot
from fedkd.distillation.validation import Validation

__all__ = [
    "Diagnosis",
    "DistillationResult",
    "Distiller",
    "StepRow",
    "Validation",
    "ValidationReport",
    "Verdict",
    "classification_loss",
    "consensus_target",
    "diagnose",
    "distillation_loss",
    "divergences",
    "smoothed_one_hot",
    "validate_student",
]
