"""Imports that no search for garbage interrupts."""

import gc
import importlib
import subprocess
import sys

import pytest

from fedkd.core.importing import uncollected

SEARCHES = """
import gc, sys
searched = []
gc.callbacks.append(lambda phase, details: searched.append(details["generation"]))
from fedkd.core.importing import uncollected
searched.clear()
with uncollected():
    import torch
during, frozen = len(searched), gc.get_freeze_count()
gc.collect()
print(during, len(searched), frozen > 100_000)
"""


def test_there_is_no_search_inside_and_there_are_searches_after_it() -> None:
    told = subprocess.run([sys.executable, "-c", SEARCHES], capture_output=True, text=True, check=True).stdout
    during, in_all, frozen = told.split()
    assert (during, frozen) == ("0", "True")
    assert int(in_all) > 0


@pytest.mark.parametrize("collecting", [True, False])
def test_the_callers_choice_comes_back_also_after_an_error(collecting: bool) -> None:
    (gc.enable if collecting else gc.disable)()
    try:
        with pytest.raises(ModuleNotFoundError), uncollected():
            importlib.import_module("no_such_module")
        assert gc.isenabled() is collecting
    finally:
        gc.unfreeze()
        gc.enable()
