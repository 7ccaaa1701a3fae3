"""Shamir's shares: enough of them give the secret back, fewer say nothing."""

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from fedkd.privacy.secure_sum.entropy import Entropy, SeededEntropy, SystemEntropy
from fedkd.privacy.secure_sum.shares import PRIME, combine, split

SECRET = bytes(range(32))


class Fixed(Entropy):
    """The same word over and over."""

    def __init__(self, word: int) -> None:
        self._word = word

    def draw(self, purpose: str, count: int) -> bytes:
        return self._word.to_bytes(8, "little") * (count // 8)


def seeded(session: int) -> Entropy:
    return SeededEntropy(0, round=1, client=0, session=session)


def test_by_hand() -> None:
    # p(x) = 5 + 3x modulo 65537 at x = 1, 2 and 40,000: 8, 11 and 120,005 − 65,537.
    shares = split((5).to_bytes(2, "little") * 16, [0, 1, 39_999], 2, Fixed(3), "")
    assert shares[:, 0].tolist() == [8, 11, 54_468]
    assert (shares == shares[:, :1]).all()


@pytest.mark.parametrize("secret", [SECRET, bytes(32), b"\xff" * 32])
@pytest.mark.parametrize("threshold", [1, 2, 4, 6])
def test_any_so_many_shares_give_the_secret_back(secret: bytes, threshold: int) -> None:
    owners = [0, 3, 4, 17, 65_534, 999]
    shares = split(secret, owners, threshold, SystemEntropy(), "")
    for chosen in combinations(range(6), threshold):
        assert combine([owners[k] for k in chosen], shares[np.newaxis, list(chosen)]) == [secret]


def test_one_share_too_few_gives_something_else() -> None:
    shares = split(SECRET, range(5), 3, seeded(0), "")
    assert combine([0, 1], shares[np.newaxis, :2]) != [SECRET]
    altered = shares.copy()
    altered[1, 4] = (altered[1, 4] + 1) % PRIME
    assert combine([0, 1, 2], altered[np.newaxis, :3]) != [SECRET]


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_shares_below_the_threshold_are_uniform_whatever_the_secret(secret: bytes) -> None:
    # Two of three needed; the sums of both shares would show a bias of either.
    drawn = np.concatenate([split(secret, [0, 1], 3, seeded(session), "") for session in range(300)], axis=1)
    for values in (drawn[0], drawn[1], drawn.sum(axis=0) % PRIME):
        counts = np.bincount(values * 16 // PRIME, minlength=16)
        assert stats.chisquare(counts).pvalue > 1e-4
