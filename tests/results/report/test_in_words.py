"""What λ and the gradients did, in sentences."""

from pathlib import Path

import numpy as np

from fedkd.results.report.in_words import geometry_in_words
from fedkd.results.report.run_log import RunLog, StepLog


def log_of(**columns: list[float]) -> RunLog:
    log = RunLog(Path(), {}, "", (), {}, None)
    length = len(next(iter(columns.values()), []))
    arrays = {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    log.__dict__["steps"] = StepLog(arrays, length, {})
    return log


def test_every_sentence_by_hand() -> None:
    nan = float("nan")
    log = log_of(
        round=[1, 1, 2, 2],
        step=[0, 1, 0, 1],
        **{"lambda": [1.0, 0.5, 0.25, 0.25]},
        cos=[0.5, nan, -0.25, nan],
        norm_dist=[4.0, nan, 1.0, nan],
        norm_cls=[2.0, nan, 1.0, nan],
        predicted_decrease=[0.5, nan, 0.25, nan],
        measured_decrease=[0.25, nan, 0.25, nan],
    )
    assert list(geometry_in_words(log)) == [
        "λ, the weight of the teacher, was 0.50 on average, 0.75 in the first round and 0.25 in the last; at 25 % of "
        "the steps it was 0 or 1, one side alone.",
        "Teacher and labels pulled the same way (cosine above 0) at 50 % of the 2 steps at which both gradients were "
        "taken; the cosine was 0.12 on average, 0.50 in the first round and -0.25 in the last.",
        "The teacher's gradient was 1.5 times as long as the labels', by the median.",
        "A step lowered the loss by 0.75 times what the first-order expansion predicts, by the median of the 2 steps "
        "that were measured again.",
    ]


def test_of_one_round_there_is_no_first_and_last_and_of_nothing_there_is_no_word() -> None:
    (sentence,) = geometry_in_words(log_of(round=[1, 1], step=[0, 1], **{"lambda": [0.25, 0.75]}))
    assert sentence == "λ, the weight of the teacher, was 0.50 on average."
    assert list(geometry_in_words(log_of(round=[], step=[]))) == []
