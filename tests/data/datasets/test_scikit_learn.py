"""Tables in scikit-learn's package."""

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine

from fedkd.data.datasets.scikit_learn import ScikitLearn


def test_all_rows_are_there_with_their_own_labels() -> None:
    found, (rows, labels) = ScikitLearn().load(Path()), load_breast_cancer(return_X_y=True)
    there = torch.cat([found.train_inputs[:], found.test_inputs[:]])
    numbers = torch.cat([found.train_labels, found.test_labels])
    given = torch.cat([there, numbers.unsqueeze(1)], dim=1).tolist()
    assert sorted(given) == sorted([*row, label] for row, label in zip(rows.tolist(), labels.tolist(), strict=True))
    assert found.class_names == ("malignant", "benign")


@pytest.mark.parametrize("dataset", ["breast_cancer", "iris", "wine"])
def test_every_fifth_row_of_a_class_is_for_testing(dataset: str) -> None:
    found = ScikitLearn(dataset).load(Path())  # type: ignore[arg-type]
    tested, trained = torch.bincount(found.test_labels), torch.bincount(found.train_labels)
    assert torch.equal(tested, (tested + trained) // 5)
    if dataset == "wine":
        rows = load_wine().data
        assert found.test_inputs[:1].tolist() == [rows[4].tolist()]
