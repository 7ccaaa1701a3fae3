"""Flower's Ray backend, with workers that can be stopped and that recover."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp
from flwr.common.constant import PARTITION_ID_KEY, ErrorCode
from flwr.server.superlink.fleet.vce.backend import raybackend
from flwr.server.superlink.fleet.vce.backend.backend import BackendConfig
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayTaskError

from fedkd.client.performer import describe


class RecoveringBackend(raybackend.RayBackend):
    """Flower's Ray backend, which also tells who its workers are, and which of them are being replaced.

    A worker that died takes no further message before it has been replaced. Otherwise its next message fails at once,
    and so do all of the next round's that it would get.
    """

    def __init__(self, backend_config: BackendConfig) -> None:
        super().__init__(backend_config)
        self.recovering: list[Any] = []

    def process_message(self, message: Message, context: Context) -> tuple[Message, Context]:
        """As in the base class, on a worker that is alive; what went wrong is said in the reply, and at once."""
        if self.pool is None:
            raise RuntimeError("the backend has not been built")
        worker, rest = self._idle_worker(), self.pool.pool
        try:
            node = str(context.node_config[PARTITION_ID_KEY])
            _, reply, context = ray.get(worker.run.remote(self.app_fn, message, node, context))
        except RayTaskError as error:
            reason = f"the cohort failed: {describe(error.cause)}"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message), context
        except RayActorError as error:
            rest = self.recovering
            reason = f"the worker process died ({type(error).__name__})"
            return Message(Error(ErrorCode.UNKNOWN, reason), reply_to=message), context
        finally:
            rest.append(worker)
        return reply, context

    def recover(self) -> None:
        """Look after one of the workers that are being replaced, for a second at most: it is idle when it is there."""
        if self.pool is not None and self.recovering:
            with suppress(IndexError):  # another thread may look after it already
                worker = self.recovering.pop(0)
                (self.pool.pool if _settled(worker) else self.recovering).append(worker)

    def _idle_worker(self) -> Any:
        while self.pool is not None:
            try:
                return self.pool.pool.pop()
            except IndexError:
                self.recover()
                time.sleep(0.01)
        raise RuntimeError("the backend has not been built")

    def terminate(self) -> None:
        """Nothing: the thread that started Ray shuts it down, and the workers with it."""


def _settled(worker: Any) -> bool:
    """Whether a worker that died has been replaced, or never will be."""
    try:
        ray.get(worker.__ray_ready__.remote(), timeout=1.0)
    except (ActorUnavailableError, GetTimeoutError):
        return False
    except RayActorError:
        return True
    return True


@contextmanager
def recovering_backend(
    built: Callable[[RecoveringBackend], None], warm_up: Callable[[], None] | None = None
) -> Iterator[None]:
    """Let Flower use ``RecoveringBackend`` inside the block, and tell ``built`` of the one it makes.

    ``warm_up`` is called in every worker process before it takes a message, in those that replace others too.

    Flower offers no other way to the workers' handles, without which a worker that hangs cannot be stopped; and Ray
    ends the whole process when it is shut down while a thread of Flower still waits for a worker.
    """

    class Observed(RecoveringBackend):
        def __init__(self, backend_config: BackendConfig) -> None:
            super().__init__(backend_config)
            if warm_up is not None:
                self.actor_kwargs = {"on_actor_init_fn": warm_up}

        def build(self, app_fn: Callable[[], ClientApp]) -> None:
            super().build(app_fn)
            built(self)

    original = raybackend.RayBackend
    setattr(raybackend, "RayBackend", Observed)  # noqa: B010
    try:
        yield
    finally:
        setattr(raybackend, "RayBackend", original)  # noqa: B010
