"""Partitioning: complete, deterministic, quiet, and shaped as its scheme says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedkd.config.data_schema import PartitionConfig
from fedkd.core.errors import DataError
from fedkd.data.partition import partition

SCHEMES = ("iid", "dirichlet", "pathological", "shards", "quantity")


def labels_of(samples: int, classes: int = 10, seed: int = 0) -> torch.Tensor:
    return torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(seed))


def classes_in(labels: torch.Tensor, share: torch.Tensor) -> int:
    return len(set(labels[share].tolist()))


def assert_complete(shares: tuple[torch.Tensor, ...], samples: int, least: int) -> None:
    assert torch.equal(torch.cat(shares).sort().values, torch.arange(samples))
    assert min(map(len, shares)) >= least
    assert all(torch.equal(share, share.sort().values) for share in shares)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_sample_belongs_to_one_client_and_the_seed_decides_which(scheme: str) -> None:
    labels = labels_of(1000)
    config = PartitionConfig(scheme=scheme, alpha=0.3)  # type: ignore[arg-type]
    shares = partition(labels, 12, config, seed=1)
    assert_complete(shares, 1000, config.min_samples)
    again, other = partition(labels, 12, config, seed=1), partition(labels, 12, config, seed=2)
    assert all(torch.equal(first, second) for first, second in zip(shares, again, strict=True))
    assert not all(torch.equal(first, second) for first, second in zip(shares, other, strict=True))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    scheme=st.sampled_from(["iid", "dirichlet", "shards", "quantity", "pathological"]),
    clients=st.integers(1, 15),
    spare=st.integers(0, 60),
    least=st.integers(1, 4),
    alpha=st.sampled_from([1e-300, 1e-3, 0.1, 1.0, 1e300]),
    classes=st.integers(1, 6),
    per_client=st.integers(1, 6),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_size_is_divided_completely_or_refused(
    scheme: str, clients: int, spare: int, least: int, alpha: float, classes: int, per_client: int, seed: int
) -> None:
    samples = clients * least + spare
    labels = labels_of(samples, classes, seed % 1000)
    config = PartitionConfig(
        scheme=scheme,  # type: ignore[arg-type]
        alpha=alpha,
        min_samples=least,
        classes_per_client=per_client,
        shards_per_client=per_client,
    )
    try:
        shares = partition(labels, clients, config, seed)
    except DataError:
        # Refused only where the clients want more pieces than there are samples, or more classes than exist.
        too_many = (
            clients * per_client > samples // classes if scheme == "pathological" else clients * per_client > samples
        )
        assert scheme in ("pathological", "shards")
        assert too_many or per_client > len(set(labels.tolist()))
    else:
        assert_complete(shares, samples, least)


@pytest.mark.parametrize("scheme", ["dirichlet", "quantity"])
def test_a_thousand_clients_at_small_alpha_get_their_minimum(scheme: str) -> None:
    labels = labels_of(20_000)
    shares = partition(labels, 1000, PartitionConfig(scheme=scheme, alpha=0.1, min_samples=3), seed=0)  # type: ignore[arg-type]
    assert_complete(shares, 20_000, 3)
    sizes = np.array([len(share) for share in shares])
    assert (sizes == 3).sum() > 100, "at alpha 0.1 many clients are topped up to just the minimum"
    assert sizes.max() > 80, "topping up must not level the skew"


def test_partitioning_says_nothing(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    for scheme in SCHEMES:
        partition(labels_of(300), 40, PartitionConfig(scheme=scheme, alpha=0.05), seed=0)  # type: ignore[arg-type]
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert not recwarn.list


def test_iid_shares_are_equal_in_size_and_alike_in_classes_even_from_sorted_labels() -> None:
    labels = torch.arange(10).repeat_interleave(200)
    shares = partition(labels, 5, PartitionConfig(scheme="iid"), seed=0)
    assert [len(share) for share in shares] == [400] * 5
    counts = torch.stack([torch.bincount(labels[share], minlength=10) for share in shares])
    assert counts.min() >= 20
    assert counts.max() <= 60


def test_smaller_alpha_skews_classes_more() -> None:
    labels = labels_of(5000)

    def classes_held(alpha: float) -> float:
        shares = partition(labels, 20, PartitionConfig(alpha=alpha), seed=0)
        return float(np.mean([classes_in(labels, share) for share in shares]))

    assert classes_held(0.05) < 5 < classes_held(100.0) == 10


def test_quantity_skews_sizes_but_not_classes() -> None:
    labels = labels_of(10_000, classes=2)
    shares = partition(labels, 10, PartitionConfig(scheme="quantity", alpha=0.5), seed=0)
    sizes = [len(share) for share in shares]
    assert max(sizes) > 4 * min(sizes)
    assert all(abs(float(labels[share].float().mean()) - 0.5) < 0.1 for share in shares if len(share) > 400)


@pytest.mark.parametrize("clients", [8, 10, 50])
def test_pathological_clients_hold_exactly_their_number_of_classes(clients: int) -> None:
    labels = labels_of(2000)
    shares = partition(labels, clients, PartitionConfig(scheme="pathological", classes_per_client=2), seed=0)
    assert [classes_in(labels, share) for share in shares] == [2] * clients


def test_a_class_that_nobody_can_hold_goes_whole_to_one_client() -> None:
    labels = labels_of(500)
    shares = partition(labels, 2, PartitionConfig(scheme="pathological", classes_per_client=3), seed=0)
    assert_complete(shares, 500, 2)
    held = [set(labels[share].tolist()) for share in shares]
    assert held[0] | held[1] == set(range(10))


def test_shards_hold_few_classes_and_leave_no_sample_over() -> None:
    labels = labels_of(1003)
    shares = partition(labels, 10, PartitionConfig(scheme="shards", shards_per_client=2), seed=0)
    assert_complete(shares, 1003, 2)
    assert {len(share) for share in shares} <= {100, 101, 102, 103}
    assert max(classes_in(labels, share) for share in shares) <= 4


@pytest.mark.parametrize(
    ("config", "clients", "text"),
    [
        (
            PartitionConfig(min_samples=11),
            10,
            r"clients\.count: 10 clients of .*data\.partition\.min_samples = 11 need 110",
        ),
        (
            PartitionConfig(scheme="pathological", classes_per_client=4),
            10,
            r"classes_per_client: must not exceed the 3",
        ),
        (PartitionConfig(scheme="pathological", classes_per_client=3, min_samples=1), 90, r"classes_per_client: 90 cl"),
        (
            PartitionConfig(scheme="shards", shards_per_client=11),
            10,
            r"shards_per_client: 10 clients of 11 shards need",
        ),
    ],
)
def test_the_impossible_is_refused_by_the_name_of_its_key(config: PartitionConfig, clients: int, text: str) -> None:
    with pytest.raises(DataError, match=text):
        partition(labels_of(100, classes=3), clients, config, seed=0)
