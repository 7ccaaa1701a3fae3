"""Faults that are planted are found."""

import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fuzzing import configurations, directories, replies, texts, trial
from fuzzing.configurations import Target
from fuzzing.outcome import Case, Outcome, Verdict

import fedkd.app.cli.main as cli
import fedkd.config.load as loading
from fedkd.config.strict_yaml import YamlDocument
from fedkd.core.errors import ConfigError, RunError
from fedkd.core.messages import Reply
from fedkd.server import server


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where cases are tried; what they make once does not outlive a test, some of which plant faults."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    replies._with_everybody.cache_clear()
    replies._without_liar.cache_clear()


def tried(attempt: Callable[[Path], bool]) -> Outcome:
    return trial.attempt(Case("planted", attempt))


def run(path: str, value: Any, *, again: bool = False) -> Outcome:
    """A key of the quickstart with a value, from a file."""
    target = Target("quickstart", path)
    return tried(lambda folder: configurations._attempt(target, value, folder, by_file=True, apart=False, again=again))


def test_what_is_sound_is_accepted_or_refused() -> None:
    assert run("seed", 3, again=True) == Outcome(Verdict.accepted)
    assert run("seed", -3) == Outcome(Verdict.refused)


def test_a_number_that_is_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "accuracy_on_test", lambda *_: float("nan"))
    outcome = run("seed", 3)
    assert outcome.verdict is Verdict.nonsense
    assert "nan" in outcome.reason.lower()


def test_a_loader_that_swallows_a_key_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = loading.parse_config
    monkeypatch.setattr(
        loading, "parse_config", lambda raw: parse({key: value for key, value in raw.items() if key != "seed"})
    )
    outcome = run("seed", 3)
    assert outcome == Outcome(Verdict.nonsense, "seed: 3 was taken for 0")


def test_a_loader_that_takes_truth_for_a_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = loading.parse_config
    monkeypatch.setattr(loading, "parse_config", lambda raw: parse({**raw, "rounds": int(raw["rounds"])}))
    outcome = run("rounds", True)
    assert outcome == Outcome(Verdict.nonsense, "rounds: True was taken for 1")


def test_a_student_that_depends_on_more_than_the_configuration_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = iter("ab")
    monkeypatch.setattr(configurations, "digest_of", lambda folder: next(digests))
    assert run("seed", 3, again=True) == Outcome(Verdict.nonsense, "another student when config.yaml is run again")


def test_an_error_that_escapes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise KeyError("clients")

    monkeypatch.setattr(loading, "parse_config", fail)
    outcome = run("seed", 3)
    assert outcome.verdict is Verdict.traceback
    assert "KeyError: 'clients'" in outcome.reason


@pytest.mark.parametrize(
    ("error", "complaint"),
    [
        (ConfigError(["data.seed: wrong"]), "an error without a remedy"),
        (ConfigError(["x: wrong; mend it"]), "an error that does not name seed"),
        (ConfigError(["seed: wrong \x07; mend it"]), "an error with the control character"),
        (ConfigError([f"seed: wrong, got {'1' * 30_000}; mend it"]), "an error of 30"),
        (RunError("seed: too late; mend it"), "refused with status 1 instead of 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_unclear_error_is_found(monkeypatch: pytest.MonkeyPatch, error: Exception, complaint: str) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(loading, "parse_config", refuse)
    outcome = run("seed", 3)
    assert outcome.verdict is Verdict.nonsense
    assert outcome.reason.startswith(complaint)


def test_a_refusal_that_writes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def litter() -> None:
        (Path.cwd() / "litter").touch()
        raise SystemExit(2)

    monkeypatch.setattr(cli, "main", litter)
    outcome = run("seed", -3)
    assert outcome.verdict is Verdict.nonsense
    assert outcome.reason.startswith("files beside the run were written")


def test_a_key_that_is_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "clients: {learning_rate: 0.1}\nclients: {learning_rate: 0.2}\n"
    assert tried(lambda folder: texts._attempt(text, "quickstart", folder)) == Outcome(Verdict.refused)
    content = {"clients": {"learning_rate": 0.2}}
    monkeypatch.setattr(loading, "read_document", lambda path: YamlDocument(content))
    outcome = tried(lambda folder: texts._attempt(text, "quickstart", folder))
    assert outcome == Outcome(Verdict.nonsense, "accepted, though it means nothing ('a key twice')")


def test_what_never_ends_is_found() -> None:
    def forever(folder: Path) -> bool:
        while True:
            pass

    outcome = trial.attempt(Case("endless", forever), seconds=0.2)
    assert outcome.verdict is Verdict.hang
    assert "test_faults.py" in outcome.reason
    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_a_lie_that_ends_the_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(reply: Reply) -> replies.Told:
        return [replace(reply, examples=-1)], "-1 examples", False

    assert tried(lambda folder: replies.attempt("quickstart", lie, folder)) == Outcome(Verdict.refused)

    def end(sent: Iterable[Reply], *_: Any) -> Any:
        raise RunError(f"{len(list(sent))} replies, one of which is no reply; stop it")

    monkeypatch.setattr(server, "collect_reports", end)
    outcome = tried(lambda folder: replies.attempt("quickstart", lie, folder))
    assert outcome.verdict is Verdict.nonsense
    assert outcome.reason.startswith("-1 examples: one client ended the run")


def test_a_lie_that_changes_the_student_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(reply: Reply) -> replies.Told:
        return [reply], "nothing", True

    assert tried(lambda folder: replies.attempt("quickstart", lie, folder)) == Outcome(Verdict.accepted)
    monkeypatch.setattr(replies, "_with_everybody", lambda setting: ({}, "another digest"))
    outcome = tried(lambda folder: replies.attempt("quickstart", lie, folder))
    assert outcome == Outcome(Verdict.nonsense, "nothing: taken, and the student is another")


def test_a_lie_that_harms_the_others_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(reply: Reply) -> replies.Told:
        return [], "nothing", False

    monkeypatch.setattr(replies, "_without_liar", lambda setting, step: ({}, "another digest"))
    outcome = tried(lambda folder: replies.attempt("quickstart", lie, folder))
    assert outcome == Outcome(Verdict.nonsense, "nothing: dropped, and the round is not that without this client")


def resumed(folder: Path) -> bool:
    """Resume a run that was interrupted, and is undamaged."""
    shutil.copytree(directories._run_of("averaging", finished=False), folder / "run")
    return directories._resume(folder, folder / "run", "averaging", random.Random(1), covered=False)


def test_another_student_after_a_resume_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried(resumed) == Outcome(Verdict.accepted)
    monkeypatch.setattr(directories, "digest_of", str)
    assert tried(resumed) == Outcome(Verdict.nonsense, "resumed, and the student is another")
