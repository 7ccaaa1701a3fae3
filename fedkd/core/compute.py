"""What computing on a GPU takes besides tensors that are there."""

import ctypes
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn
from torch.func import functional_call


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """``tensor`` on ``device``, itself if it is there already; to a GPU through pinned memory, without waiting."""
    target = torch.device(device)
    if tensor.device.type != "cpu" or target.type != "cuda":
        return tensor.to(target)
    return tensor.pin_memory().to(target, non_blocking=True)


def laid_out_for(model: nn.Module, inputs: Tensor) -> Tensor:
    """``inputs`` in memory as the model's convolutions hold their weights, so that no layer need rearrange them."""
    for parameter in model.parameters():
        if parameter.ndim == 4 and inputs.ndim == 4 and not parameter.is_contiguous():
            return inputs.contiguous(memory_format=torch.channels_last)
    return inputs


def call_with(model: nn.Module, values: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """The model's output with ``values`` in place of the parameters of these names, wherever they are used.

    Layers may share parameters, or be there under several names, which torch's own tying of names does not put back.
    """
    parameters = dict(model.named_parameters())
    found = {id(parameters[name]): value for name, value in values.items()}
    state = {
        f"{layer}.{key}" if layer else key: found[id(parameter)]
        for layer, module in model.named_modules()
        for key, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(parameter) in found
    }
    output: Tensor = functional_call(model, state, (inputs,), tie_weights=False)
    return output


def failing_layer(model: nn.Module, error: BaseException) -> str:
    """The innermost layer of the model in which it was raised, as ``Linear (head)``."""
    names = {id(module): name for name, module in model.named_modules()}
    inside = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    layers = [each for each in inside if id(each) in names]
    return f"{type(layers[-1]).__name__} ({names[id(layers[-1])] or 'the model'})" if layers else "the model"


@contextmanager
def fixed_arithmetic(device: torch.device) -> Iterator[None]:
    """Let a GPU compute the same from run to run, as far as its libraries can; the caller's settings are put back.

    Deterministic algorithms where there are some (torch warns of an operation without), no trial of convolution
    algorithms, and float32 instead of TF32, which rounds to 10 bits. Nothing changes for the CPU.
    """
    if device.type != "cuda":
        yield
        return
    # cuBLAS reads it once, when it is first used.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.use_deterministic_algorithms(before, warn_only=warned)


def release_memory() -> None:
    """Give memory that has been freed back to the system, where the C library can (glibc); a matter of milliseconds.

    Training leaves the heap with free space between blocks that are still in use, which the library would keep.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Run the block with ``count`` threads in torch and in NumPy's BLAS, then put the caller's numbers back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _loaded(len(sys.modules)).limit(limits=count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _loaded(modules: int) -> ThreadpoolController:
    """The numerical libraries of the process, looked for again when modules were imported, which may have brought some.

    Looking takes a millisecond.
    """
    return ThreadpoolController()
