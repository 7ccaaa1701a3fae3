"""Annotated tensor shapes are checked at run time in every test."""

from jaxtyping import install_import_hook

_WITH_TENSORS = [
    "fedkd.aggregation",
    "fedkd.data",
    "fedkd.distillation",
    "fedkd.evaluation",
    "fedkd.local",
    "fedkd.models",
    "fedkd.privacy",
    "fedkd.temperature",
    "fedkd.types",
    "strategies",
    "clients",
]

# Must run before anything imports the packages. Modules that pass around protocols (Engine, Observer) are left out:
# beartype can only check protocols that are declared checkable at run time.
install_import_hook(_WITH_TENSORS, "beartype.beartype")
