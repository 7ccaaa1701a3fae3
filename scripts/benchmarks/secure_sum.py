"""How exact, how fast and how large is a secure sum?

    python scripts/benchmark.py secure_sum [--clients 3,5,10,30,100] [--samples 2000] [--out docs/results]

For every number of clients, and 0, 10 and 30 % of them dropping out at each step: the largest error of the sum beside
its stated bound, seconds of processor time per client and on the server, and the bytes that each client sends and
receives at each step. All parties in one process and thread, without an engine.
"""

import argparse
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.core.messages import Arrays
from fedkd.privacy.secure_sum.client import ClientSession
from fedkd.privacy.secure_sum.entropy import SeededEntropy
from fedkd.privacy.secure_sum.fixed_point import FixedPoint, to_words
from fedkd.privacy.secure_sum.identities import Directory, Identity
from fedkd.privacy.secure_sum.server import SecureServer
from fedkd.privacy.secure_sum.terms import PHASES, Phase, Terms

SHARES = (0.0, 0.1, 0.3)
THRESHOLD = 0.67

Step = Callable[[int, ClientSession, Arrays], Arrays]


class Measured:
    """A secure sum that is timed and weighed."""

    def __init__(self, reports: "np.ndarray[Any, np.dtype[np.float64]]", lost: dict[str, Collection[int]]) -> None:
        count = len(reports)
        self.fixed_point = FixedPoint.finest(count)
        self.reports, self._lost = reports, lost
        terms = Terms(bytes(32), 1, tuple(range(count)), int(THRESHOLD * count + 0.5))
        directory = Directory.seeded(0)
        self.server = SecureServer(terms, directory, reports[0].size)
        self._clients = {
            client: ClientSession(
                terms,
                client,
                Identity.seeded(0, client),
                directory,
                SeededEntropy(0, round=1, client=client, session=0),
            )
            for client in terms.clients
        }
        self.client_seconds = 0.0
        self.up = dict.fromkeys(PHASES, 0)
        self.down = dict.fromkeys(PHASES, 0)

    def run(self) -> dict[str, Any]:
        """The whole sum, and what it took."""
        server, begun = self.server, time.process_time()
        server.take_keys(
            self._replies("advertise", lambda client: {}, lambda client, session, asked: session.advertise())
        )
        request = server.share_request()
        server.take_shares(
            self._replies("share", lambda client: request, lambda client, session, asked: session.share(asked))
        )
        server.take_masked(self._masked())
        request = server.confirm_request()
        server.take_confirmations(
            self._replies("confirm", lambda client: request, lambda client, session, asked: session.confirm(asked))
        )
        request = server.unmask_request()
        server.take_revealed(
            self._replies("unmask", lambda client: request, lambda client, session, asked: session.unmask(asked))
        )
        total = self.fixed_point.decode(server.total()).reshape(self.reports[0].shape)
        seconds = time.process_time() - begun
        left = list(server.survivors)
        return {
            "clients": len(self.reports),
            "in_sum": len(left),
            "revealing": len(server.alive),
            "error": float(np.abs(total - self.reports[left].sum(axis=0)).max()),
            "bound": self.fixed_point.error_of(len(left)),
            "bits": self.fixed_point.bits,
            "seconds": seconds,
            "seconds_per_client": self.client_seconds / len(self.reports),
            "seconds_on_server": seconds - self.client_seconds,
            "bytes_up": self.up,
            "bytes_down": self.down,
        }

    def _masked(self) -> Iterator[tuple[int, Arrays]]:
        inboxes = {client: self.server.mask_request(client) for client in self.server.alive}

        def reply(client: int, session: ClientSession, request: Arrays) -> Arrays:
            return session.mask(request, lambda: to_words(self.fixed_point.encode(self.reports[client])).ravel())

        return self._replies("mask", inboxes.__getitem__, reply)

    def _replies(self, phase: Phase, request: Callable[[int], Arrays], step: Step) -> Iterator[tuple[int, Arrays]]:
        for client in self.server.alive:
            asked = request(client)
            self.down[phase] = max(self.down[phase], _bytes(asked))
            if client not in self._lost.get(phase, ()):
                begun = time.process_time()
                message = step(client, self._clients[client], asked)
                self.client_seconds += time.process_time() - begun
                self.up[phase] = max(self.up[phase], _bytes(message))
                yield client, message


def _bytes(message: Arrays) -> int:
    return sum(array.nbytes for array in message.values())


def measured(clients: int, samples: int, classes: int, phase: str, share: float) -> dict[str, Any]:
    """One sum of random reports in which a share of the clients drops out at one step."""
    draw = np.random.default_rng((clients, samples, classes))
    reports = draw.dirichlet(np.full(classes, 0.5), (clients, samples))
    lost = draw.choice(clients, int(share * clients + 0.5), replace=False).tolist()
    return {"phase": phase, "share": share, **Measured(reports, {phase: lost}).run()}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", default="3,5,10,30,100")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--out", type=Path, help="folder for secure_sum.json")
    arguments = parser.parse_args(argv)
    rows = []
    print(f"reports of {arguments.samples} x {arguments.classes} probabilities, threshold {THRESHOLD:g}")
    print("clients  dropouts           in sum  largest error  bound     s/client  s server  KB up  KB down  exact")
    for clients in map(int, arguments.clients.split(",")):
        for phase, share in [("none", 0.0), *((phase, share) for phase in PHASES for share in SHARES if share)]:
            row = measured(clients, arguments.samples, arguments.classes, phase, share)
            rows.append(row)
            print(
                f"{clients:7}  {f'{share:.0%} at {phase}':17}  {row['in_sum']:6}  {row['error']:13.2e}  "
                f"{row['bound']:.2e}  {row['seconds_per_client']:8.3f}  {row['seconds_on_server']:8.3f}  "
                f"{sum(row['bytes_up'].values()) / 1e3:5.0f}  {sum(row['bytes_down'].values()) / 1e3:7.0f}  "
                f"{'yes' if row['error'] <= row['bound'] else 'NO'}",
                flush=True,
            )
    print("\nlargest message of a client, in bytes, without dropouts: up / down")
    print("clients  " + "  ".join(f"{phase:>16}" for phase in PHASES))
    for row in rows:
        if row["phase"] == "none":
            cells = (f"{row['bytes_up'][phase]:,} / {row['bytes_down'][phase]:,}" for phase in PHASES)
            print(f"{row['clients']:7}  " + "  ".join(f"{cell:>16}" for cell in cells))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "secure_sum.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["error"] <= row["bound"] for row in rows) else 1
