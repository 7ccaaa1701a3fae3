"""Which shadows judge which queries."""

from fedkd.audit.asking.queries import HALVES, half_of


def test_complementary_shadows_are_in_one_half_and_halves_are_equally_large() -> None:
    halves = [half_of(shadow) for shadow in range(32)]
    assert halves[::2] == halves[1::2]
    assert [halves.count(half) for half in HALVES] == [16, 16]
