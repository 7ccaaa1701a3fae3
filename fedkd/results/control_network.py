"""The control ``public_only`` as a network, for those who want to look into it."""

from pathlib import Path

from torch import nn

from fedkd.core.errors import FolderError
from fedkd.core.sealed import load_sealed, save_sealed, seal_of

_FILE = "public_only.pt"


def save_control(folder: Path, run: str, rounds: int, network: nn.Module) -> None:
    """Write its weights into a run's folder; ``run`` is the run's digest."""
    save_sealed(folder / _FILE, network.state_dict(), _label(run, rounds))


def load_control(folder: Path, run: str, rounds: int, network: nn.Module) -> bool:
    """Give ``network`` what was kept of the control after so many rounds; whether there is any.

    Raises ``FolderError`` for a file that is not as the run wrote it.
    """
    path, seal = folder / _FILE, seal_of(folder / _FILE)
    # A run that went on without the control still has the one of fewer rounds.
    if not path.is_file() or (seal is not None and seal[0] != _label(run, rounds)):
        return False
    try:
        network.load_state_dict(load_sealed(path, _label(run, rounds)))
    except FolderError as error:
        raise FolderError(f"{error}; remove it, and only the student without a teacher is missing") from error
    return True


def _label(run: str, rounds: int) -> str:
    return f"control public_only after {rounds} rounds, run {run[:32]}"
