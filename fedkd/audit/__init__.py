"""Attacks: what a run, or a mechanism, leaks in practice."""

from fedkd.audit.attack import (
    OBSERVATIONS,
    Attack,
    Disclosure,
    Evidence,
    InferenceAttack,
    MembershipAttack,
    Observation,
    confidence,
    flattened,
)
from fedkd.audit.report import AttackResult, AuditReport, Inference, Violation

__all__ = [
    "OBSERVATIONS",
    "Attack",
    "AttackResult",
    "AuditReport",
    "Disclosure",
    "Evidence",
    "Inference",
    "InferenceAttack",
    "MembershipAttack",
    "Observation",
    "Violation",
    "confidence",
    "flattened",
]
