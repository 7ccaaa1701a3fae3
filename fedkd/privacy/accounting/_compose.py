"""ε of any composition of Gaussian events."""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from fedkd.privacy.accounting._concentrated import concentrated_epsilon
from fedkd.privacy.accounting._events import DpEvent, GaussianEvent, compress
from fedkd.privacy.accounting._gaussian import check_delta, epsilon_of_mu

COARSE, FINE, FINEST = 1e-2, 1e-3, 1e-4
"""Widths of the grid of privacy losses; every width gives an upper bound, a wide one a loose bound in little time."""


def composed_epsilon(events: Iterable[GaussianEvent], delta: float) -> float:
    """ε of all events together at ``delta``, under add-or-remove; 0 for none.

    Exact where nothing is sampled; for concentrated events what follows from Rényi divergences. With Poisson sampling
    from privacy loss distributions (Koskela, Jälkö and Honkela
    2020, arXiv 1906.03049; Doroshenko et al. 2022, arXiv 2207.04380) by the library dp-accounting, rounded up, so that
    the true ε is never above it; the excess is below 0.1 % or 0.0005, whichever is more.
    """
    return upper_epsilon(compress(events), delta, FINE)


@lru_cache(maxsize=4096)
def upper_epsilon(event: DpEvent, delta: float, width: float) -> float:
    """An upper bound on ε of a compressed composition, from a grid of ``width``; narrowed where ε is below 1."""
    check_delta(delta)
    if any(part.concentrated for part in event):
        if any(part.sampling_rate < 1.0 for part in event):
            raise ValueError("concentrated and sampled events have no common accountant; use one kind in a run")
        return concentrated_epsilon(sum(part.count / (2 * part.noise_multiplier**2) for part in event), delta)
    plain = math.sqrt(sum(part.count / part.noise_multiplier**2 for part in event if part.sampling_rate == 1.0))
    sampled = tuple(part for part in event if part.sampling_rate < 1.0)
    if not sampled:
        return 0.0 if plain == 0 else epsilon_of_mu(plain, delta)
    bound = _pld(sampled, plain, delta, width)
    return _pld(sampled, plain, delta, FINEST) if width == FINE and bound < 1 else bound


def rdp_epsilon(events: Iterable[GaussianEvent], delta: float) -> float:
    """ε by Rényi differential privacy (Mironov 2017, arXiv 1702.07476): looser, to compare with others' numbers."""
    import dp_accounting
    from dp_accounting import rdp

    check_delta(delta)
    parts = compress(events)
    if not parts:
        return 0.0
    accountant = rdp.RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    return _compose(accountant, parts, delta)


def pld_epsilon(events: Iterable[GaussianEvent], delta: float) -> float:
    """ε by privacy loss distributions throughout, even where there is an exact formula; to check that formula with.

    Raises ``ValueError`` for concentrated events, whose distributions are not known.
    """
    check_delta(delta)
    parts = compress(events)
    if any(part.concentrated for part in parts):
        raise ValueError("events must be Gaussian, and some are concentrated; take composed_epsilon")
    return _pld(parts, 0.0, delta, FINEST) if parts else 0.0


def _pld(parts: DpEvent, plain: float, delta: float, width: float) -> float:
    # A second and more to import, so only for who has sampling to account for.
    import dp_accounting
    from dp_accounting import pld

    accountant = pld.PLDAccountant(
        neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=width
    )
    return _compose(accountant, parts if plain == 0 else (*parts, GaussianEvent(1 / plain)), delta)


def _compose(accountant: Any, parts: DpEvent, delta: float) -> float:
    import dp_accounting

    for part in parts:
        event: Any = dp_accounting.GaussianDpEvent(part.noise_multiplier)
        if part.sampling_rate < 1.0:
            event = dp_accounting.PoissonSampledDpEvent(part.sampling_rate, event)
        accountant.compose(event, part.count)
    return max(0.0, float(accountant.get_epsilon(delta)))
