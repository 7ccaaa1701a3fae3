"""What a client keeps of secure sums: in a file of its own, and nowhere else."""

import hashlib
import hmac
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config

from fedkd.core.errors import RunError
from fedkd.core.files import held, replace_file, writing
from fedkd.privacy.secure_sum import ProtocolError
from fedkd.privacy.secure_sum.entropy import SystemEntropy

SECRET_BYTES = 32

_TWICE = "have a client give away both of its secrets"

Count = Annotated[int, Field(ge=0)]
Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$")]
_STRICT = ConfigDict(strict=True, extra="forbid")


@with_config(_STRICT)
@dataclass(frozen=True)
class Released:
    """A sum that a client helped to unmask: in which round and attempt, and over whom."""

    round: Count
    attempt: Count
    survivors: tuple[Count, ...]


@with_config(_STRICT)
@dataclass(frozen=True)
class _Report:
    """The one report (a digest) that a client has in an attempt at a round."""

    round: Count
    attempt: Count
    report: Hex


@with_config(_STRICT)
@dataclass(frozen=True)
class _Session:
    """The sum that is going on: its round and attempt, and the protocol's state after the last step."""

    round: Count
    attempt: Count
    state: dict[str, Any] | None = None


@with_config(_STRICT)
@dataclass(frozen=True)
class _Content:
    client: Count
    run: Hex
    sessions: Count
    secret: Hex
    reports: tuple[_Report, ...] = ()
    released: tuple[Released, ...] = ()
    session: _Session | None = None


_CONTENT = TypeAdapter(_Content)


class SessionStore:
    """The file of one client for one run, which only its owner may read.

    ``sessions`` counts the secure sums that the client has begun, over all rounds and attempts. Of every sum that it
    helped to unmask it remembers what is needed to tell the same sum, which may be asked for again, from another.
    """

    def __init__(self, path: Path, content: _Content) -> None:
        self._path, self._content = path, content

    @classmethod
    @contextmanager
    def of(cls, memory: str, run: bytes, client: int) -> Iterator["SessionStore"]:
        """The client's file, for this process alone: another step of the same client waits.

        Raises ``RunError`` when the file cannot be read, written or locked, or is not what was written for this client
        and run. It is never begun anew while it is there: a client without its memory would answer twice.
        """
        path = Path(memory) / "secure_sums" / run.hex()[:32] / f"client_{client:06d}.json"
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with held(path.with_suffix(".lock"), _TWICE):
            if path.exists():
                yield cls(path, _read(path, run, client))
            else:
                secret = SystemEntropy().draw("noise", SECRET_BYTES).hex()
                yield cls(path, _Content(client, run.hex(), 0, secret))

    @property
    def sessions(self) -> int:
        return self._content.sessions

    def begin(self, round: int, attempt: int) -> None:
        """Count a new session."""
        self._content = replace(self._content, sessions=self.sessions + 1, session=_Session(round, attempt))

    @property
    def attempt(self) -> int:
        """That of the sum that is going on."""
        return self._session.attempt

    def state(self, round: int) -> dict[str, Any]:
        """The session's state after its last step; raises ``ProtocolError`` when there is none of this round."""
        session = self._session
        if session.round != round or session.state is None:
            raise ProtocolError(
                f"this client has begun no secure sum in round {round}; it has to advertise its keys first"
            )
        return dict(session.state)

    def noise_key(self, name: str) -> bytes:
        """The secret key of the noise of that name: always the same, lest asking for it again averages it out."""
        return hmac.digest(bytes.fromhex(self._content.secret), name.encode(), "sha256")

    def note_report(self, report: str) -> None:
        """Note what the client adds to the sum that is going on, by a digest.

        Raises ``ProtocolError`` when it had another report in this attempt: the sum that had that may be known, and the
        difference would be the two reports'.
        """
        wanted = _Report(self._session.round, self._session.attempt, report)
        if wanted in self._content.reports:
            return
        if any((other.round, other.attempt) == (wanted.round, wanted.attempt) for other in self._content.reports):
            raise ProtocolError(
                f"round {wanted.round}: this client had another report in attempt {wanted.attempt}, and the difference "
                "of two sums would tell of it"
            )
        self._content = replace(self._content, reports=(*self._content.reports, wanted))

    def check_release(self, survivors: Collection[int], *, noisy: bool, repeats: int) -> None:
        """Raises ``ProtocolError`` when a sum over ``survivors`` would tell more than those that were unmasked before.

        The same sum again tells nothing new. Another one of the same round is refused, since the difference of the two
        tells of single clients, unless it is another attempt and reports are ``noisy``, with noise that belongs to
        theirs; ``repeats`` is how many of those a run may have.
        """
        released, wanted = self._content.released, self._release(survivors)
        before = [other for other in released if other.round == wanted.round]
        if not before or wanted in before:
            return
        told = f"round {wanted.round} was unmasked before, over clients {list(before[-1].survivors)}"
        if not noisy or any(other.attempt == wanted.attempt for other in before):
            raise ProtocolError(f"the difference of the two would tell of single ones: {told}; bring those back")
        if len(released) - len({other.round for other in released}) >= repeats:
            raise ProtocolError(
                f"this client has repeated {repeats} sums of this run, as many as privacy.secure_aggregation.repeats "
                f"allows: {told}"
            )

    def note_release(self, survivors: Collection[int]) -> None:
        """Remember that a round is unmasked, and over whom."""
        wanted = self._release(survivors)
        if wanted not in self._content.released:
            self._content = replace(self._content, released=(*self._content.released, wanted))

    def save(self, state: dict[str, Any]) -> None:
        """Keep the state, on disk on return, in place of the one before."""
        self._content = replace(self._content, session=replace(self._session, state=state))
        content = asdict(self._content)
        whole = json.dumps({"content": content, "sha256": _digest(content)}).encode()
        replace_file(self._path, whole, mode=0o600)

    @property
    def _session(self) -> _Session:
        if self._content.session is None:
            raise ProtocolError("this client has begun no secure sum; it has to advertise its keys first")
        return self._content.session

    def _release(self, survivors: Collection[int]) -> Released:
        return Released(self._session.round, self._session.attempt, tuple(sorted(survivors)))


def _read(path: Path, run: bytes, client: int) -> _Content:
    try:
        whole = json.loads(path.read_bytes())
        if set(whole) != {"content", "sha256"} or whole["sha256"] != _digest(whole["content"]):
            raise ValueError("its content is not what its digest says")
        content = _CONTENT.validate_json(json.dumps(whole["content"]))
        if (content.client, content.run) != (client, run.hex()):
            raise ValueError(f"it is that of client {content.client} in run {content.run[:32]}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        bad = f"{error.error_count()} bad values" if isinstance(error, ValidationError) else error
        raise RunError(
            f"{path} cannot be used ({bad}); it is client {client}'s memory of what it has given away in secure sums, "
            "and without it the client could be made to answer twice: bring back the file as it was, or start a new run"
        ) from error
    return content


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
