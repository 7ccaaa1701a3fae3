"""What importing large packages takes besides the time to read them."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Import inside the block without looking for garbage, and leave what is there at its end out of later searches.

    Torch defines so many objects, of which none is ever garbage, that Python's searches among them are a seventh of
    what its import takes. They are searched again when the process ends, as some libraries expect.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)
        if collecting:
            gc.enable()
