"""What a user should read about privacy before a run starts."""

from collections.abc import Mapping

from fedkd.privacy.accounting import repeated
from fedkd.privacy.accounting._events import compress
from fedkd.privacy.guarantee import Release
from fedkd.privacy.ledger import largest_epsilon
from fedkd.privacy.private import Private

NOTHING_PROVED = "privacy: no formal privacy guarantee (no DP)"


def private_part(*parts: object) -> Private | None:
    """The one part of an experiment, mechanism or teacher, that has a proof; None where there is none.

    Raises ``ValueError`` for two: they protect different things from different adversaries, and have no common ε.
    """
    found = [part for part in parts if isinstance(part, Private)]
    if len(found) > 1:
        names = " and ".join(type(part).__name__ for part in found)
        raise ValueError(f"{names} each prove a privacy of their own, which have no common ε; use one of them")
    return found[0] if found else None


def largest_planned_epsilon(part: Private, releases: Mapping[int, tuple[Release, int]], delta: float) -> float:
    """The largest ε of any client after the whole run.

    ``releases`` holds, for each client, its round and the number of rounds it takes part in.
    """
    return largest_epsilon(
        (compress(repeated(part.dp_event(release), rounds)) for release, rounds in releases.values()), delta
    )


def smallest_release(releases: Mapping[int, tuple[Release, int]]) -> Release:
    """The round of the client with the fewest samples."""
    return min((release for release, _ in releases.values()), key=lambda release: release.examples)


def preview(part: Private | None, releases: Mapping[int, tuple[Release, int]], delta: float) -> tuple[str, ...]:
    """The lines to print before a run: the guarantee in words, ε over all rounds, and whether any signal is left.

    They are about the client with the fewest samples; ``releases`` is as for ``largest_planned_epsilon``.
    """
    if part is None or not releases:
        return (NOTHING_PROVED,)
    epsilon = largest_planned_epsilon(part, releases, delta)
    smallest = smallest_release(releases)
    rounds = max(rounds for _, rounds in releases.values())
    return (
        f"privacy: {part.guarantee(smallest).sentence()}",
        f"privacy: ε = {epsilon:.4g} at δ = {delta:g} for the worst-case client, over up to {rounds} rounds",
        f"privacy: {part.signal_to_noise(smallest)}",
    )
