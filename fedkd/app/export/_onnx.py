"""ONNX: the network as a file for ONNX Runtime and other engines, in float32 and with 8-bit weights."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedkd.app.export._facts import INPUT, OUTPUT

_LEVELS = 127
"""The largest 8-bit number used: −128 has no counterpart."""


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the libraries' remarks on what they do inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def to_onnx(model: nn.Module, samples: Tensor, facts: Mapping[str, str]) -> bytes:
    """The model in evaluation mode as an ONNX file, for batches of any size; two ``samples`` or more show its input."""
    with quietly():
        program = torch.onnx.export(
            model.eval(),
            (samples,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
        assert program is not None
        proto: Any = program.model_proto
    for part in (proto.graph, *proto.graph.node, *proto.graph.value_info):
        # Lines of this machine's source files, which take more room than a small network.
        part.ClearField("metadata_props")
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value)
    content: bytes = proto.SerializeToString()
    return content


def int8_onnx(network: bytes) -> bytes:
    """An ONNX network with its weights in 8 bits, symmetric, with a scale per output channel.

    Linear layers (Gemm, MatMul with a weight; so an attention's and a recurrent layer's, too) are computed in 8 bits,
    their inputs quantised as they come: ONNX Runtime's dynamic quantisation. Convolutions, which that makes several
    times slower on a CPU, are stored so alone and computed in float32. Biases, norms and embeddings stay float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quietly(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        given = onnx.load_from_string(network)
        quantize_dynamic(given, path, ["Gemm", "MatMul"], per_channel=True, weight_type=QuantType.QInt8)
        model = onnx.load(path)
    _store_convolutions_in_8_bits(model.graph)
    content: bytes = model.SerializeToString()
    return content


def _store_convolutions_in_8_bits(graph: Any) -> None:
    from onnx import helper, numpy_helper

    tensors = {each.name: each for each in graph.initializer}
    names = {node.input[1] for node in graph.node if node.op_type == "Conv"} & tensors.keys()
    for name in sorted(names):
        weights = numpy_helper.to_array(tensors[name])
        scale = np.abs(weights).reshape(len(weights), -1).max(axis=1).astype(np.float32) / _LEVELS
        # A channel of zeros has no scale of its own.
        scale[scale == 0] = 1.0
        levels = np.rint(weights / scale.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
        graph.initializer.remove(tensors[name])
        graph.initializer.extend(
            [numpy_helper.from_array(levels, f"{name}_int8"), numpy_helper.from_array(scale, f"{name}_scale")]
        )
        inputs = [f"{name}_int8", f"{name}_scale"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], axis=0))


class Session:
    """An ONNX network in ONNX Runtime, on one thread of the CPU: from samples to logits, both of them tensors."""

    def __init__(self, network: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # Stored 8-bit weights are unpacked once, when the file is read, and not at every pass.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])

    def __call__(self, samples: Tensor) -> Tensor:
        (logits,) = self._session.run([OUTPUT], {INPUT: samples.contiguous().numpy()})
        return torch.from_numpy(np.asarray(logits))
