"""Fashion-MNIST: articles of clothing, 28×28 grey."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedkd.core.errors import DataError
from fedkd.data.datasets._torchvision import have, mnist_files, open_splits
from fedkd.data.source import DataSource, OtherLabels, SampleSet

_FILES = mnist_files("FashionMNIST")
_PACKED = tuple(f"{Path(file).name}.gz" for file in _FILES)
_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_KINDS = ("top", "trousers", "dress", "shoe", "bag")
_KIND_OF = torch.tensor([0, 1, 0, 2, 0, 3, 0, 3, 4, 3])
"""The kind of each class."""


@dataclass(frozen=True)
class FashionMnist(DataSource):
    """60,000 train and 10,000 test images in 10 classes (Xiao et al. 2017, arXiv:1708.07747).

    ``folder`` with the authors' four ``.gz`` files is looked at first; the default is where Debian's package
    ``dataset-fashion-mnist`` puts them. ``kind`` is another label: top, trousers, dress, shoe or bag.
    """

    folder: str = "/usr/share/datasets/fashion-mnist"

    def load(self, root: Path) -> SampleSet:
        if have(Path(self.folder), _PACKED):
            train_inputs, train_labels, test_inputs, test_labels = (_read(Path(self.folder) / name) for name in _PACKED)
        else:
            first, second = open_splits(
                "fashion_mnist",
                "FashionMNIST",
                root,
                _FILES,
                train={"train": True},
                test={"train": False},
                hint="run `apt-get install dataset-fashion-mnist` (Debian, Ubuntu), ",
            )
            train_inputs, train_labels, test_inputs, test_labels = (
                first.data,
                first.targets,
                second.data,
                second.targets,
            )
        train, test = train_labels.long(), test_labels.long()
        return SampleSet(
            train_inputs.unsqueeze(1),
            train,
            test_inputs.unsqueeze(1),
            test,
            _CLASSES,
            other_labels={"kind": OtherLabels(_KIND_OF[train], _KIND_OF[test], _KINDS)},
        )

    def available(self, root: Path) -> bool:
        return have(Path(self.folder), _PACKED) or have(root, _FILES)


def _read(path: Path) -> Tensor:
    """The tensor in a gzipped IDX file of bytes: two zeros, the type 8, the number of dimensions, their sizes, data."""
    try:
        raw = bytearray(gzip.decompress(path.read_bytes()))
        dimensions = raw[3]
        sizes = np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4).tolist()
        return torch.frombuffer(raw, dtype=torch.uint8, offset=4 + 4 * dimensions).view(sizes)
    except (OSError, EOFError, ValueError, RuntimeError, IndexError) as error:
        raise DataError(
            f"data.dataset: {path} cannot be read ({error}); install it again, or set data.dataset.folder to a folder "
            "that has the four files, or to an empty one to have them downloaded"
        ) from error
