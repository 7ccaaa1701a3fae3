"""Annotated tensor shapes are checked at run time in every test; the helpers in ``support`` are importable by name."""

import sys
from pathlib import Path

from hypothesis import settings
from jaxtyping import install_import_hook

# Before the test modules are imported, because they import from here.
sys.path.insert(0, str(Path(__file__).parent / "support"))

# How long an example takes depends on what else the machine does.
settings.register_profile("fedkd", deadline=None)
settings.load_profile("fedkd")

_WITH_TENSORS = [
    "fedkd.aggregation",
    "fedkd.attacks",
    "fedkd.codecs",
    "fedkd.data",
    "fedkd.distillation",
    "fedkd.evaluation",
    "fedkd.exchange",
    "fedkd.local",
    "fedkd.models",
    "fedkd.privacy",
    "fedkd.students",
    "fedkd.temperature",
    "fedkd.types",
    "strategies",
    "clients",
]

# Must run before anything imports the packages. Modules that pass around protocols (Engine, Observer) are left out:
# beartype can only check protocols that are declared checkable at run time.
install_import_hook(_WITH_TENSORS, "beartype.beartype")
