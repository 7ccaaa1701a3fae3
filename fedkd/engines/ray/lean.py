"""A Ray without what a simulation of its own has no use for.

Dashboard, autoscaler and log monitor, and the raylet's two agents, for the dashboard and for runtime environments, each
take as long to start as all else together, and 60 MB. Ray has no switch for the most of that, and its raylet ends
without its agents; so they are replaced, as Ray starts, by processes that do nothing.
"""

import importlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

_DASHBOARD = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
_ENVIRONMENTS = ("runtime_env_agent_port",)
_UNUSED = -1
"""What an agent writes where its raylet looks for the port of a service that is not there."""

_WAIT = "import os, time\nparent = os.getppid()\nwhile os.getppid() == parent: time.sleep(0.5)"
"""What stands in for an agent: it is there for as long as its raylet."""


@contextmanager
def lean(*, environments: bool) -> Iterator[None]:
    """Inside the block ``ray.init`` starts a lean Ray; with ``environments`` its workers may be given their own."""
    node: Any = importlib.import_module("ray._private.node")
    raylet: Any = importlib.import_module("ray._raylet")
    services: Any = importlib.import_module("ray._private.services")
    whole, start_process = node.Node, services.start_ray_process
    agents = ("--dashboard_agent_command=", *(() if environments else ("--runtime_env_agent_command=",)))
    missing = _DASHBOARD if environments else _DASHBOARD + _ENVIRONMENTS

    class Lean(whole):  # type: ignore[misc, valid-type]
        def __init__(self, ray_params: Any, **options: Any) -> None:
            ray_params.update(no_monitor=True, include_log_monitor=False)
            super().__init__(ray_params, **options)

        def start_raylet(self, *arguments: Any, **options: Any) -> None:
            for name in missing:
                raylet.persist_port(self._session_dir, self._node_id, name, _UNUSED)
            super().start_raylet(*arguments, **options)

        def start_api_server(self, **options: Any) -> None:
            self._webui_url = ""

    def start_without_agents(command: Sequence[str], *arguments: Any, **options: Any) -> Any:
        waiting = subprocess.list2cmdline([sys.executable, "-S", "-E", "-c", _WAIT])
        lighter = [f"{each.partition('=')[0]}={waiting}" if each.startswith(agents) else each for each in command]
        return start_process(lighter, *arguments, **options)

    node.Node, services.start_ray_process = Lean, start_without_agents
    try:
        yield
    finally:
        node.Node, services.start_ray_process = whole, start_process
