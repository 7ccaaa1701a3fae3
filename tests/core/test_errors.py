"""Errors as they are told, and as they come from another process."""

import pickle

from fedkd.core.errors import MOST_SHOWN, ConfigError


def test_a_configurations_error_survives_the_way_from_another_process() -> None:
    error = ConfigError([f"key{number}: must be 1; set it" for number in range(MOST_SHOWN + 2)])
    again = pickle.loads(pickle.dumps(error))
    assert (again.problems, str(again)) == (error.problems, str(error))
    assert str(error).endswith("and 2 more; correct these first")
