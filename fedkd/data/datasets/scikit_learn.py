"""Tables that come with scikit-learn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from fedkd.data.reading.labels import divide
from fedkd.data.source import DataSource, SampleSet

TEST_SHARE = 0.2


@dataclass(frozen=True)
class ScikitLearn(DataSource):
    """A table in scikit-learn's package: breast_cancer (569 rows, 30 columns, 2 classes), iris or wine; no download.

    Tumours (Street et al. 1993), flowers (Fisher 1936), wines (Forina et al. 1991). They have no split of their own:
    every fifth row of each class is a test sample.
    """

    dataset: Literal["breast_cancer", "iris", "wine"] = "breast_cancer"

    def load(self, root: Path) -> SampleSet:
        import sklearn.datasets

        found = getattr(sklearn.datasets, f"load_{self.dataset}")()
        rows, labels = torch.from_numpy(found.data), torch.from_numpy(found.target).to(torch.int64)
        train, test = divide(labels, TEST_SHARE)
        return SampleSet(rows[train], labels[train], rows[test], labels[test], tuple(found.target_names))
