"""From the labels in a file to the numbers of classes, and from all samples to a train and a test split."""

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from fedkd.core.errors import DataError, TooFewClassesError
from fedkd.core.samples import RawSamples
from fedkd.core.wording import shown
from fedkd.data.source import Encoder, OtherLabels, SampleSet

TestShare = Annotated[float, Field(ge=0, lt=1)]
"""Share of the samples that become the test set where there is none; 0 where none are to be tested on."""

Values = npt.NDArray[Any]

Rows = tuple[Int[Tensor, " train"], Int[Tensor, " test"]]

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def check_columns(what: str, samples: str | None, label: str | None, client: str | None) -> None:
    """Raise ``ValueError`` where one column is named for two of them; ``what`` the samples are (None: not named)."""
    if label is not None and label == samples:
        raise ValueError(f"label: must not be the column of {what}, got {label!r}; name another column")
    if client is not None and client in {samples, label}:
        raise ValueError(f"client: must not be the column of {what} or labels, got {client!r}; name another column")


def labels_of(option: str, values: Sequence[str | None], where: Callable[[int], str]) -> Values:
    """Labels as they were written, whole numbers without a point; ``where`` tells the place of the n-th.

    Raises ``DataError`` for one that is missing and for numbers with fractions.
    """
    texts = _all_there(option, values, where, "label")
    distinct = set(texts)
    if all(_DECIMAL.fullmatch(text) for text in distinct) and not all(_WHOLE.fullmatch(text) for text in distinct):
        whole = {text: _without_point(text) for text in distinct}
        if fractions := sorted(text for text in distinct if whole[text] is None):
            first = min(texts.index(text) for text in fractions)
            raise DataError(
                f"data.dataset.{option}: must hold classes, got the number {shown(texts[first])} in {where(first)}; "
                "name a column of whole numbers or texts, or divide the numbers into classes"
            )
        # A number with a leading zero is a name.
        texts = [whole[text] or text for text in texts]
    return np.array(texts, dtype=object)


def clients_of(option: str, values: Sequence[str | None], where: Callable[[int], str]) -> Values:
    """The names of clients as they were written; raises ``DataError`` for one that is missing."""
    return np.array(_all_there(option, values, where, "client"), dtype=object)


def _all_there(option: str, values: Sequence[str | None], where: Callable[[int], str], what: str) -> list[str]:
    texts = ["" if value is None else value.strip() for value in values]
    if "" in texts:
        raise DataError(
            f"data.dataset.{option}: {where(texts.index(''))} has no {what}; give it one, or leave the sample out"
        )
    return texts


def _without_point(text: str) -> str | None:
    """The number as a whole one; the text itself where it has leading zeros, None where it has a fraction."""
    if "." not in text and "e" not in text.lower():
        return text
    value = float(text)
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else None


def numbered(values: Values) -> tuple[tuple[str, ...], Int[Tensor, " values"]]:
    """The distinct values as names, whole numbers by size and texts in their order, and each value's position there."""
    found, positions = np.unique(values, return_inverse=True)
    names = [str(each) for each in found.tolist()]
    order = list(range(len(names)))
    if found.dtype.kind not in "iub" and all(_WHOLE.fullmatch(name) for name in names):
        order.sort(key=lambda each: int(names[each]))
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return tuple(names[each] for each in order), torch.from_numpy(ranks[positions.reshape(-1)])


def class_numbers(
    option: str, train: Values, test: Values | None, where: str
) -> tuple[tuple[str, ...], Int[Tensor, " train"], Int[Tensor, " test"]]:
    """The names of the classes, and the numbers of the train and of the test samples' classes.

    Raises ``DataError`` for a single class, and for a test sample of a class without train samples.
    """
    if len(train) == 0:
        raise DataError(f"data.dataset.{option}: {where} has no samples; name what has some")
    names, numbers = numbered(train)
    check_classes(option, names, len(train), where)
    if test is None:
        return names, numbers, numbers[:0]
    there, positions = numbered(test)
    known = {name: number for number, name in enumerate(names)}
    if unknown := [name for name in there if name not in known]:
        raise DataError(
            f"data.dataset.{option}: the test samples are of classes of the train samples, got {shown(unknown[0])}, "
            f"of which {where} has none; leave such test samples out, or add train samples"
        )
    return names, numbers, torch.tensor([known[name] for name in there], dtype=torch.int64)[positions]


def check_classes(option: str, names: Sequence[str], samples: int, where: str) -> None:
    """Raise ``DataError`` for labels that tell nothing apart, and for labels that are all different."""
    if len(names) < 2:
        raise TooFewClassesError(
            f"data.dataset.{option}: must name two classes at least, and all samples of {where} are of the class "
            f"{shown(names[0])}; name other labels, or add samples of another class"
        )
    if len(names) == samples > 2:
        raise DataError(
            f"data.dataset.{option}: must name classes, and no two samples of {where} have the same label; name labels "
            "that samples share"
        )


def divide(labels: Int[Tensor, " samples"], share: float) -> Rows:
    """The positions of train and test samples: for testing a ``share`` of each class, evenly over their order.

    Every fifth one for a share of 0.2. Raises ``DataError`` when no class has samples enough for a share above 0.
    """
    part = Fraction(repr(share)).limit_denominator(10**6)
    test = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(int(labels.max()) + 1):
        positions = (labels == label).nonzero().flatten()
        steps = torch.arange(len(positions) + 1) * part.numerator // part.denominator
        test[positions[steps[1:] > steps[:-1]]] = True
    if share > 0 and not bool(test.any()):
        raise DataError(
            f"data.dataset.test_share: leaves no sample of any class for testing, got {share} of {len(labels)} "
            "samples; raise it, or name test data"
        )
    return (~test).nonzero().flatten(), test.nonzero().flatten()


def one_after_the_other(train: int, test: int) -> Rows:
    """The positions of ``train`` samples and of ``test`` others that follow them."""
    return torch.arange(train), torch.arange(train, train + test)


def sample_set(
    inputs: tuple[Tensor | RawSamples, Tensor | RawSamples],
    rows: Rows,
    labels: Int[Tensor, " samples"],
    class_names: tuple[str, ...],
    *,
    clients: Values | None = None,
    others: Mapping[str, tuple[tuple[str, ...], Int[Tensor, " samples"]]] | None = None,
    encoder: Encoder | None = None,
) -> SampleSet:
    """The data set of train and test ``inputs``, which are at ``rows`` among all samples.

    ``labels`` are those of all samples; ``clients`` says, by name or number, whose each (train) sample is; ``others``
    are names and numbers of further labels.
    """
    train, test = rows
    names, whose = ((), None) if clients is None else numbered(clients[train.numpy()])
    return SampleSet(
        inputs[0],
        labels[train],
        inputs[1],
        labels[test],
        class_names,
        train_clients=whose,
        client_names=names,
        other_labels={
            name: OtherLabels(numbers[train], numbers[test], classes)
            for name, (classes, numbers) in (others or {}).items()
        },
        encoder=encoder,
    )
