"""Cohorts hold every client once, cost about the same, and do not depend on the order of the clients."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedkd.engines.cohorts import divide


def test_costs_are_balanced_by_hand() -> None:
    """8 | 7 | 6, then 5 to the cheapest (6), 4 to 7, 3 to 8: three cohorts of 11."""
    costs = {client: float(cost) for client, cost in enumerate([8, 7, 6, 5, 4, 3])}
    assert divide(range(6), 3, costs=costs) == [(0, 5), (1, 4), (2, 3)]


def test_dearest_cohort_goes_first() -> None:
    assert divide([1, 2, 3], 2, costs={1: 1.0, 2: 1.0, 3: 9.0}) == [(3,), (1, 2)]


@given(
    clients=st.lists(st.integers(0, 500), unique=True, max_size=40),
    count=st.integers(1, 20),
    costs=st.none() | st.dictionaries(st.integers(0, 500), st.floats(0, 1e6), max_size=40),
    data=st.data(),
)
def test_every_client_is_in_one_cohort(
    clients: list[int], count: int, costs: dict[int, float] | None, data: st.DataObject
) -> None:
    cohorts = divide(clients, count, costs=costs)
    assert sorted(client for members in cohorts for client in members) == sorted(clients)
    assert len(cohorts) <= count
    assert all(cohorts)
    assert divide(data.draw(st.permutations(clients)), count, costs=costs) == cohorts


@pytest.mark.parametrize(("clients", "size"), [(1000, 1), (10, 3), (12, 3), (1, 5), (0, 2)])
def test_fixed_size_is_kept(clients: int, size: int) -> None:
    cohorts = divide(range(clients), max(1, -(-clients // size)), size=size)
    assert all(len(members) <= size for members in cohorts)
    assert sum(map(len, cohorts)) == clients


def test_equal_costs_give_equal_sizes() -> None:
    assert {len(members) for members in divide(range(1000), 8)} == {125}


def test_too_few_cohorts_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold 7 clients"):
        divide(range(7), 2, size=3)
