"""Distillation: the student learns from the ensemble teacher and from the labelled public samples."""

from fedkd.distillation.distiller import DistillationResult, Distiller
from fedkd.distillation.losses import classification_loss, distillation_loss
from fedkd.distillation.step import StepRow

__all__ = ["DistillationResult", "Distiller", "StepRow", "classification_loss", "distillation_loss"]
