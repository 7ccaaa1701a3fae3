"""Annotated tensor shapes are checked at run time in every test."""

from hypothesis import settings
from jaxtyping import install_import_hook

# How long an example takes depends on what else the machine does.
settings.register_profile("fedkd", deadline=None)
settings.load_profile("fedkd")

_WITH_TENSORS = [
    "fedkd.aggregation",
    "fedkd.audit",
    "fedkd.client",
    "fedkd.core",
    "fedkd.data",
    "fedkd.distillation",
    "fedkd.models",
    "fedkd.privacy",
    "fedkd.server",
    "strategies",
    "clients",
]

# Must run before anything imports the packages. Modules that pass around protocols (Engine, Observer) are left out:
# beartype can only check protocols that are declared checkable at run time.
install_import_hook(_WITH_TENSORS, "beartype.beartype")
