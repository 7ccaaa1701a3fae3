"""Weights from a file."""

import importlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fedkd.core import plugin_files
from fedkd.core.errors import PluginError
from fedkd.core.files import is_file
from fedkd.models._build import some


def load_weights(network: nn.Module, file: str, head: str, what: str) -> None:
    """Load the state dict in ``file``, a path from where the user works, into the network.

    Where the file's layer called ``head`` has another number of outputs, the network keeps its own; all else must
    match. Raises ``PluginError``, which begins with ``what``.
    """
    path = (plugin_files.working_folder() or Path()) / file
    state = _read(path, what)
    own = network.state_dict()
    other_head = [
        key for key in own if key.startswith(f"{head}.") and key in state and state[key].shape != own[key].shape
    ]
    try:
        result = network.load_state_dict({key: each for key, each in state.items() if key not in other_head}, False)
    except RuntimeError as error:
        raise PluginError(
            f"{what}: weights: {path} are of another network ({' '.join(str(error).split())[:300]}); give the options "
            "with which that was made, or name its file"
        ) from error
    missing = [key for key in result.missing_keys if key not in other_head]
    if missing or result.unexpected_keys:
        told = [f"lacks {some(missing)}"] if missing else []
        told += [f"has {some(result.unexpected_keys)} besides"] if result.unexpected_keys else []
        raise PluginError(
            f"{what}: weights: {path} must hold the state dict of this network, and {' and '.join(told)}; save it by "
            "torch.save(network.state_dict(), FILE)"
        )


def _read(path: Path, what: str) -> Mapping[str, Tensor]:
    if not is_file(path):
        raise PluginError(f"{what}: weights: there is no file {path}; name one (weights are not downloaded)")
    try:
        state: object = _safetensors(path, what) if path.suffix == ".safetensors" else _torch_file(path)
    except pickle.UnpicklingError as error:
        raise PluginError(
            f"{what}: weights: {path} holds more than tensors, and code from a file is not executed "
            f"({str(error).splitlines()[0][:200]}); save only the state dict: torch.save(network.state_dict(), FILE)"
        ) from error
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(
            f"{what}: weights: {path} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}); "
            "write it by torch.save(network.state_dict(), FILE)"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(each, Tensor) for each in state.values()):
        raise PluginError(
            f"{what}: weights: {path} must hold a state dict, names and tensors, got a {type(state).__name__} of other "
            "things; write it by torch.save(network.state_dict(), FILE)"
        )
    return state


def _torch_file(path: Path) -> object:
    with warnings.catch_warnings():
        # What it finds odd about a file that it then refuses.
        warnings.simplefilter("ignore")
        found: object = torch.load(path, map_location="cpu", weights_only=True)
    return found


def _safetensors(path: Path, what: str) -> object:
    try:
        module = importlib.import_module("safetensors.torch")
    except ImportError as error:
        raise PluginError(
            f"{what}: weights: {path} takes the package safetensors, which is not installed; install it, or save the "
            "weights by torch.save"
        ) from error
    found: object = module.load_file(path)
    return found
