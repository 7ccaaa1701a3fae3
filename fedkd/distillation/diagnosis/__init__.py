"""What is right or wrong with a distillation, on samples whose labels neither student nor teacher has seen."""

from fedkd.distillation.diagnosis.diagnosis import (
    Circumstances,
    Diagnosis,
    ValidationReport,
    Verdict,
    diagnose,
    validate_student,
)

__all__ = ["Circumstances", "Diagnosis", "ValidationReport", "Verdict", "diagnose", "validate_student"]
