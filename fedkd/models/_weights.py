"""Weights of a network from a file, but for a head for other classes."""

from pathlib import Path

from torch import nn

from fedkd.core import plugin_files
from fedkd.core.errors import PluginError
from fedkd.core.files import is_file
from fedkd.models._given import read_state, state_faults


def load_weights(network: nn.Module, file: str, head: str, what: str) -> None:
    """Load the state dict in ``file``, a path from where the user works, into the network; nothing is executed.

    Where the file's layer called ``head`` has another number of outputs, the network keeps its own; all else must
    match. Raises ``PluginError``, which begins with ``what``.
    """
    path = (plugin_files.working_folder() or Path()) / file
    if not is_file(path):
        raise PluginError(f"{what}: weights: there is no file {path}; name one (weights are not downloaded)")
    try:
        given = read_state(path.read_bytes())
    except OSError as error:
        raise PluginError(f"{what}: weights: {path} cannot be read: {error}; name a file that can") from error
    if isinstance(given, str):
        raise PluginError(f"{what}: weights: {path} cannot be used: {given}")
    own = network.state_dict()
    heads = [key for key in own if key.startswith(f"{head}.") and key in given and given[key].shape != own[key].shape]
    state = {key: own[key] if key in heads else each for key, each in given.items()}
    if faults := list(state_faults(own, state)):
        raise PluginError(
            f"{what}: weights: {path} cannot be used: {'; '.join(faults)}; give the weights of that network, with the "
            "options that it was made with"
        )
    network.load_state_dict(state)
