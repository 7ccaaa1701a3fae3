"""Rows of a table, made into numbers by what the public ones are like."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from fedkd.data.source import Encoder, Encoding

if TYPE_CHECKING:
    import pandas as pd

_MOST_VALUES = 100
"""Values of a column that get a feature each; the rarest of more share one."""


@dataclass(frozen=True)
class TableRows:
    """Rows of a table, as they are in the file."""

    frame: "pd.DataFrame"

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, positions: Tensor | slice) -> "pd.DataFrame":
        return self.frame.iloc[positions if isinstance(positions, slice) else positions.numpy()]


@dataclass(frozen=True)
class TableEncoder(Encoder):
    """Numbers with the public median where they are missing; a feature for each public value of the other columns.

    Values that are not among the public ones count as rare ones, if there are any, else as none.
    """

    numbers: tuple[str, ...]
    words: tuple[str, ...]

    def fit(self, public: "pd.DataFrame") -> Encoding:
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import SimpleImputer
        from sklearn.preprocessing import OneHotEncoder

        values = OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=_MOST_VALUES, sparse_output=False, dtype=np.float32
        )
        columns = ColumnTransformer(
            [
                ("numbers", SimpleImputer(strategy="median", keep_empty_features=True), list(self.numbers)),
                ("words", values, list(self.words)),
            ],
            sparse_threshold=0,
        )
        return _TableEncoding(columns.fit(public))


@dataclass(frozen=True)
class _TableEncoding(Encoding):
    columns: Any

    def __call__(self, raw: "pd.DataFrame") -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.columns.transform(raw), dtype=np.float32))
