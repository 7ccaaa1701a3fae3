"""Who has given away how much so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedkd.privacy.accounting import DpEvent, GaussianEvent, composed_epsilon
from fedkd.privacy.accounting._compose import COARSE, upper_epsilon
from fedkd.privacy.accounting._events import compress


@dataclass
class _Charge:
    """What one attempt takes; ``attempt`` is None while it is not known of what it will release."""

    event: DpEvent
    attempt: str | None


class PrivacyLedger:
    """Each client's releases over all rounds, and the ε they add up to.

    Charge a round before anything of it is released, and save the ledger before that: what was charged stays charged,
    whether the client answers, fails, or the run is interrupted. A client pays only for rounds in which it took part.
    What is charged is an attempt (``fedkd.privacy.attempts``): charging the same one again is free, because it releases
    the same values with the same noise; any other in the same round is charged on top.

    No amplification is claimed for the sampling of clients, whose choice the server knows. That of a client's own
    records counts where its event says so.
    """

    def __init__(self) -> None:
        self._charges: dict[int, dict[int, list[_Charge]]] = {}

    def charge(self, client: int, round: int, event: DpEvent, attempt: str | None = None) -> None:
        """Note what an attempt at ``round`` takes from ``client``.

        With ``attempt`` None, where what it releases is known only once reports are in: one is owed, unless one was
        charged before. The first attempt by name is then that one.
        """
        if not event:
            raise ValueError("event must hold at least one release; what is not private has no place in a ledger")
        noted = self._charges.setdefault(client, {}).setdefault(round, [])
        equal = [charge for charge in noted if charge.event == event]
        if any(attempt in (None, charge.attempt) for charge in equal):
            return
        for charge in equal:
            if charge.attempt is None:
                charge.attempt = attempt
                return
        noted.append(_Charge(event, attempt))

    def attempts(self, round: int) -> int:
        """How many attempts at ``round`` were charged, to the client that has most of them."""
        return max((len(rounds.get(round, ())) for rounds in self._charges.values()), default=0)

    @property
    def clients(self) -> tuple[int, ...]:
        """The clients that were charged, in rising order."""
        return tuple(sorted(self._charges))

    def releases(self, client: int) -> int:
        """In how many rounds ``client`` took part."""
        return len(self._charges.get(client, {}))

    def composed(self, client: int) -> DpEvent:
        """Everything that ``client`` was charged, as one composition; empty for a client that was not."""
        rounds = self._charges.get(client, {})
        return compress(part for charges in rounds.values() for charge in charges for part in charge.event)

    def epsilon_of(self, client: int, delta: float) -> float:
        """ε of ``client`` at ``delta``; 0 for a client that was never charged."""
        return composed_epsilon(self.composed(client), delta)

    def per_client(self, delta: float) -> dict[int, float]:
        """ε of every client that was charged. With Poisson sampling about 0.1 s for each different composition."""
        return {client: self.epsilon_of(client, delta) for client in self.clients}

    def per_client_bounds(self, delta: float) -> dict[int, float]:
        """ε of every client that was charged, rounded up by less than 1 %, in little time.

        The largest of them is ``epsilon``.
        """
        largest = self.epsilon(delta)
        return {client: min(largest, upper_epsilon(self.composed(client), delta, COARSE)) for client in self.clients}

    def epsilon(self, delta: float) -> float:
        """The largest ε of any client; 0 when nobody was charged."""
        return largest_epsilon((self.composed(client) for client in self._charges), delta)

    def state_dict(self) -> dict[str, Any]:
        """All charges, of types that JSON has."""
        return {
            "charges": [
                {
                    "client": client,
                    "round": round,
                    "attempt": charge.attempt,
                    "event": [part.to_mapping() for part in charge.event],
                }
                for client, rounds in sorted(self._charges.items())
                for round, charges in sorted(rounds.items())
                for charge in charges
            ]
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Add what ``state_dict`` returned to what is there: nothing that was charged is ever taken back."""
        for entry in state["charges"]:
            event = tuple(GaussianEvent.from_mapping(part) for part in entry["event"])
            attempt = entry["attempt"]
            self.charge(int(entry["client"]), int(entry["round"]), event, None if attempt is None else str(attempt))


def largest_epsilon(compositions: Iterable[DpEvent], delta: float) -> float:
    """The largest ε of some compressed compositions; 0 for none."""
    # Quick upper bounds tell which few compositions are worth the exact computation.
    bounds = sorted(((upper_epsilon(each, delta, COARSE), each) for each in set(compositions)), reverse=True)
    best = 0.0
    for bound, composition in bounds:
        if bound <= best:
            break
        best = max(best, composed_epsilon(composition, delta))
    return best
