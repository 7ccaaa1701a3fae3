"""Flower's Ray backend, with workers that can be stopped and that recover."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import PARTITION_ID_KEY, ErrorCode
from flwr.server.superlink.fleet.vce.backend import raybackend
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayTaskError

from fedkd.performing import describe

REPLACEMENT_SECONDS = 120.0
"""How long Ray may take to replace a worker that died."""


class RecoveringBackend(raybackend.RayBackend):
    """Flower's Ray backend, which also tells who its workers are and waits for those that are being replaced."""

    def process_message(self, message: Message, context: Context) -> tuple[Message, Context]:
        """As in the base class, but a worker that died takes no further message before it has been replaced.

        Otherwise its next message fails at once, and so do all of the next round's that it would get.
        """
        if self.pool is None:
            raise RuntimeError("the backend has not been built")
        worker: Any = self.pool.pool.pop()
        try:
            node = str(context.node_config[PARTITION_ID_KEY])
            _, reply, context = ray.get(worker.run.remote(self.app_fn, message, node, context))
        except RayTaskError as error:
            reason = f"the cohort failed: {describe(error.cause)}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message), context
        except RayActorError as error:
            _await_replacement(worker)
            reason = f"the worker process died ({type(error).__name__})"
            return Message(Error(ErrorCode.UNKNOWN, reason), reply_to=message), context
        finally:
            self.pool.pool.append(worker)
        return reply, context

    def terminate(self) -> None:
        """Nothing: the thread that started Ray shuts it down, and the workers with it."""


def _await_replacement(worker: Any) -> None:
    deadline = time.monotonic() + REPLACEMENT_SECONDS
    while time.monotonic() < deadline:
        try:
            ray.get(worker.__ray_ready__.remote(), timeout=REPLACEMENT_SECONDS)
            return
        except ActorUnavailableError:
            time.sleep(0.1)
        except (RayActorError, GetTimeoutError):
            return


@contextmanager
def recovering_backend(built: Callable[[RecoveringBackend], None]) -> Iterator[None]:
    """Let Flower use ``RecoveringBackend`` inside the block, and tell ``built`` of the one it makes.

    Flower offers no other way to the workers' handles, without which a worker that hangs cannot be stopped; and Ray
    ends the whole process when it is shut down while a thread of Flower still waits for a worker.
    """

    class Observed(RecoveringBackend):
        def build(self, app_fn: Callable[[], ClientApp]) -> None:
            super().build(app_fn)
            built(self)

    original = raybackend.RayBackend
    setattr(raybackend, "RayBackend", Observed)  # noqa: B010
    try:
        yield
    finally:
        setattr(raybackend, "RayBackend", original)  # noqa: B010
