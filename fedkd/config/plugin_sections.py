"""Where in a configuration plug-ins are named."""

from typing import Any

from fedkd.config.schema import ExperimentConfig
from fedkd.config.values import Plugin
from fedkd.core import plugins

PLUGIN_SECTIONS: tuple[tuple[str, plugins.PluginKind], ...] = (
    ("data.dataset", plugins.DATASET),
    ("data.transform", plugins.TRANSFORM),
    ("data.public.dataset", plugins.DATASET),
    ("clients.behaviour", plugins.BEHAVIOUR),
    ("clients.attackers.behaviour", plugins.BEHAVIOUR),
    ("clients.rule", plugins.CLIENT_RULE),
    ("clients.models", plugins.MODEL),
    ("student.model", plugins.MODEL),
    ("teacher.model", plugins.MODEL),
    ("student.rule", plugins.STUDENT_RULE),
    ("strategy", plugins.STRATEGY),
    ("distillation.balancer", plugins.BALANCER),
    ("distillation.temperature", plugins.TEMPERATURE),
    ("distillation.loss", plugins.LOSS),
    ("communication.uplink", plugins.CODEC),
    ("communication.downlink", plugins.CODEC),
    ("privacy.mechanism", plugins.MECHANISM),
    ("privacy.audit.attacks", plugins.ATTACK),
    ("tracking", plugins.TRACKER),
)
"""Where the plug-ins of each kind are named."""

PLUGIN_PATHS = frozenset(path for path, _ in PLUGIN_SECTIONS)
SEVERAL = frozenset({"clients.models", "distillation.loss", "privacy.audit.attacks", "tracking"})
"""Where a list of them is."""
ALONE = frozenset({"distillation.loss", "tracking"})
"""Where one alone will do for a list."""


def plugin_at(config: ExperimentConfig, path: str) -> list[Plugin]:
    """The plug-ins named at a path of ``PLUGIN_SECTIONS`` (none, one, or several)."""
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
        if value is None:
            return []
    return [value] if isinstance(value, Plugin) else list(value)
