"""The clients and the server of one secure sum, in this process."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedkd.core.messages import Arrays
from fedkd.privacy.secure_sum.client import ClientSession
from fedkd.privacy.secure_sum.entropy import SeededEntropy
from fedkd.privacy.secure_sum.fixed_point import Words
from fedkd.privacy.secure_sum.identities import Directory, Identity
from fedkd.privacy.secure_sum.server import SecureServer
from fedkd.privacy.secure_sum.terms import Phase, Terms

RUN = b"run".ljust(32)
Step = Callable[[ClientSession], Arrays]
Tamper = Callable[[Phase, int, Arrays], Arrays]


def as_it_is(phase: Phase, client: int, message: Arrays) -> Arrays:
    return message


def session_of(terms: Terms, client: int, *, seed: int = 0, signer: int | None = None) -> ClientSession:
    """A client's side; ``signer`` is whose signing key it has, if not its own."""
    return ClientSession(
        terms,
        client,
        Identity.seeded(seed, client if signer is None else signer),
        Directory.seeded(seed),
        SeededEntropy(seed, round=terms.round, client=client, session=0),
    )


@dataclass
class Parties:
    """All of them. ``tamper`` changes messages on their way, ``lost`` says who falls silent at which step."""

    terms: Terms
    vectors: Mapping[int, Words]
    tamper: Tamper = as_it_is
    lost: Mapping[Phase, Collection[int]] = field(default_factory=dict)
    sessions: dict[int, ClientSession] = field(init=False)
    server: SecureServer = field(init=False)
    messages: list[tuple[Phase, int, Arrays]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sessions = {client: session_of(self.terms, client) for client in self.terms.clients}
        size = next(iter(self.vectors.values())).size
        self.server = SecureServer(self.terms, Directory.seeded(0), size)

    def answers(self, phase: Phase, step: Callable[[int, ClientSession], Arrays]) -> Iterator[tuple[int, Arrays]]:
        """What the server gets in one step."""
        for client in self.server.alive:
            if client not in self.lost.get(phase, ()):
                message = self.tamper(phase, client, step(client, self.sessions[client]))
                self.messages.append((phase, client, message))
                yield client, message

    def advertise(self) -> None:
        self.server.take_keys(self.answers("advertise", lambda client, session: session.advertise()))

    def share(self) -> None:
        request = self.server.share_request()
        self.server.take_shares(self.answers("share", lambda client, session: session.share(request)))

    def mask(self) -> None:
        server = self.server
        requests = {client: server.mask_request(client) for client in server.alive}
        server.take_masked(
            self.answers("mask", lambda client, session: session.mask(requests[client], lambda: self.vectors[client]))
        )

    def confirm(self) -> None:
        request = self.server.confirm_request()
        self.server.take_confirmations(self.answers("confirm", lambda client, session: session.confirm(request)))

    def unmask(self) -> None:
        request = self.server.unmask_request()
        self.server.take_revealed(self.answers("unmask", lambda client, session: session.unmask(request)))

    def until(self, phase: Phase) -> None:
        """All steps before ``phase``."""
        for name, step in self._steps():
            if name == phase:
                return
            step()

    def play(self) -> Words:
        """All steps, and the sum."""
        for _, step in self._steps():
            step()
        return self.server.total()

    def plain_sum(self) -> Words:
        """What the sum should be."""
        total = np.zeros_like(next(iter(self.vectors.values())))
        for client in self.server.survivors:
            total += self.vectors[client]
        return total

    def _steps(self) -> list[tuple[Phase, Callable[[], None]]]:
        return [
            ("advertise", self.advertise),
            ("share", self.share),
            ("mask", self.mask),
            ("confirm", self.confirm),
            ("unmask", self.unmask),
        ]


def threshold_for(count: int) -> int:
    """Two thirds, as configured by default."""
    return int(0.67 * count + 0.5)


def parties(
    count: int,
    size: int = 7,
    *,
    threshold: int | None = None,
    round: int = 1,
    run: bytes = RUN,
    tamper: Tamper = as_it_is,
    lost: Mapping[Phase, Collection[int]] | None = None,
    words: Callable[[int], Words] | None = None,
) -> Parties:
    """``count`` clients with vectors of random words, or with those that ``words`` gives for a client."""
    draw = np.random.default_rng(count)
    terms = Terms(run, round, tuple(range(count)), threshold_for(count) if threshold is None else threshold)
    vectors = {
        client: draw.integers(0, 2**32, size, dtype=np.uint32) if words is None else words(client)
        for client in terms.clients
    }
    return Parties(terms, vectors, tamper, lost or {})
