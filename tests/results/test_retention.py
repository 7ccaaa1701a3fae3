"""Forgetting and transfer of a sequence of tasks, from a matrix written by hand."""

import json

import numpy as np
import pytest

from fedkd.results.retention import Retention

BY_HAND = Retention(
    accuracy=np.array([[0.9, 0.0, 0.0], [0.95, 0.8, 0.0], [0.5, 0.7, 0.6]]),
    within=np.array([[0.9, 0.55, 0.4], [0.95, 0.9, 0.7], [0.8, 0.85, 0.9]]),
    untrained=np.array([0.5, 0.45, 0.5]),
)


def test_each_measure_of_a_matrix_is_what_its_equation_says() -> None:
    # Task 0 was best after task 1; it ended 0.45 below that, and 0.4 below what it was just after it was learned.
    assert BY_HAND.forgetting == pytest.approx([0.45, 0.1])
    assert BY_HAND.backward_transfer == pytest.approx([-0.4, -0.1])
    assert BY_HAND.forward_transfer == pytest.approx([0.55 - 0.45, 0.7 - 0.5])
    assert BY_HAND.average == pytest.approx((0.5 + 0.7 + 0.6) / 3)
    assert BY_HAND.learned == pytest.approx((0.8 + 0.6) / 2)


def test_nothing_is_forgotten_where_the_last_row_is_the_best() -> None:
    kept = Retention(np.array([[0.7, 0.0], [0.8, 0.9]]), np.ones((2, 2)), np.zeros(2))
    assert kept.forgetting == pytest.approx([-0.1])
    assert kept.backward_transfer == pytest.approx([0.1])


def test_the_content_has_every_task_in_its_place_and_is_read_back() -> None:
    content = json.loads(json.dumps(BY_HAND.content()))
    assert content["forgetting"] == [pytest.approx(0.45), pytest.approx(0.1), None]
    assert content["forward_transfer"] == [None, pytest.approx(0.1), pytest.approx(0.2)]
    assert content["average_forgetting"] == pytest.approx(0.275)
    again = Retention.of(content)
    assert (again.accuracy == BY_HAND.accuracy).all()
    assert again.content() == BY_HAND.content()
