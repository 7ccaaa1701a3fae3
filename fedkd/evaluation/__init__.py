"""Evaluation: what a model predicts, how often it is right, and whether a student learns from its teacher."""

from fedkd.evaluation.predictions import accuracy, hit_rate, predict
from fedkd.evaluation.protocol import Diagnosis, ValidationReport, Verdict, diagnose, validate_student

__all__ = [
    "Diagnosis",
    "ValidationReport",
    "Verdict",
    "accuracy",
    "diagnose",
    "hit_rate",
    "predict",
    "validate_student",
]
