"""The formats of an exported network, each with what reads it back."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from fedkd.app.export._facts import FACTS
from fedkd.app.export._onnx import Session, quietly, to_onnx
from fedkd.core.errors import ConfigError

Network = Callable[[Tensor], Tensor]
"""From samples to logits."""


@dataclass(frozen=True)
class Format:
    """How a model becomes a file's content, with two or more samples and the facts; how that is a network again.

    ``read`` is given a model of the same architecture, which only the format without one of its own takes.
    ``packages`` are of the extra ``export``.
    """

    suffix: str
    write: Callable[[nn.Module, Tensor, Mapping[str, Any]], bytes]
    read: Callable[[bytes, nn.Module], Network]
    packages: tuple[str, ...] = ()


def require_extra(*names: str) -> None:
    """Raises ``ConfigError`` where a package of these formats is not installed."""
    missing = sorted({each for name in names for each in FORMATS[name].packages if find_spec(each) is None})
    if missing:
        raise ConfigError(
            [f"--format: {', '.join(names)} needs {', '.join(missing)}, not installed; pip install 'fedkd[export]'"]
        )


def _write_safetensors(model: nn.Module, samples: Tensor, facts: Mapping[str, Any]) -> bytes:
    from safetensors.torch import save

    # Copies, for layers may share what the format keeps apart.
    state = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in _state(model)}
    return save(state, metadata={FACTS: json.dumps(facts)})


def _state(model: nn.Module) -> list[tuple[str, Tensor]]:
    return list(model.state_dict().items())


def _read_safetensors(content: bytes, model: nn.Module) -> Network:
    from safetensors.torch import load

    model.load_state_dict(load(content))
    return model.eval()


def _write_torch_export(model: nn.Module, samples: Tensor, facts: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with quietly():
        program = torch.export.export(model, (samples,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, buffer, extra_files={f"{FACTS}.json": json.dumps(facts)})
    return buffer.getvalue()


def _read_torch_export(content: bytes, model: nn.Module) -> Network:
    with quietly():
        return torch.export.load(io.BytesIO(content)).module()


FORMATS: Mapping[str, Format] = {
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors, ("safetensors",)),
    "torch_export": Format(".pt2", _write_torch_export, _read_torch_export),
    "onnx": Format(
        ".onnx",
        lambda model, samples, facts: to_onnx(model, samples, {FACTS: json.dumps(facts)}),
        lambda content, model: Session(content),
        ("onnx", "onnxruntime", "onnxscript"),
    ),
}
"""By name."""
