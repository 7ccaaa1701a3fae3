"""What the strategy must do, whatever the clients answer."""

from fedkd import check_aggregator


def test_it_is_a_sound_strategy() -> None:
    check_aggregator("my_strategy")
