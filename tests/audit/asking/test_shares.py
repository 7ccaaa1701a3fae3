"""Models of known class shares."""

import numpy as np

from fedkd.audit.asking.shares import _drawn


def test_samples_are_drawn_once_each_and_as_many_as_there_are() -> None:
    labels = np.repeat(np.arange(3), [50, 50, 2])
    drawn = [_drawn(labels, 60, 3, np.random.default_rng(seed)) for seed in range(20)]
    for positions in drawn:
        assert len(set(positions.tolist())) == len(positions) <= 60
    counts = np.array([np.bincount(labels[positions], minlength=3) for positions in drawn])
    assert counts[:, 2].max() <= 2
    # Shares differ from one model to the next, else nothing could be learned from them.
    assert np.ptp(counts[:, 0]) > 20
