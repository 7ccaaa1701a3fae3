"""Evaluation: what a model predicts, and how often it is right."""

from fedkd.evaluation.predictions import accuracy, hit_rate, predict

__all__ = ["accuracy", "hit_rate", "predict"]
