"""Damage is noticed, gone around where that is possible, and never made worse."""

from pathlib import Path

import pytest

from tests.support.interrupted import PLAIN, REMEMBERING, Zygote, results


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["plain", "remembering"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    zygote: Zygote, tmp_path: Path, name: str, request: pytest.FixtureRequest
) -> None:
    out, config = tmp_path / "run", {"plain": PLAIN, "remembering": REMEMBERING}[name]
    rounds = config["rounds"]
    # When all clients of the last round have written down what they remember.
    zygote.killed(out, config, {"stage": "clients", "round": rounds, "done": 3})
    damage(out / "checkpoints" / f"round_{rounds - 1:05d}.pt")
    notices = zygote.complete(out, config, resume=True)
    assert f"round_{rounds - 1:05d}.pt is damaged" in notices[0]
    assert f"going on with round {rounds - 1} of {rounds}" in notices[1]
    assert results(out) == request.getfixturevalue(name)


def test_without_any_whole_checkpoint_nothing_is_touched(zygote: Zygote, tmp_path: Path) -> None:
    out = tmp_path / "run"
    zygote.killed(out, PLAIN, {"stage": "clients", "round": 3, "done": 2})
    for path in (out / "checkpoints").iterdir():
        damage(path)
    before = (out / "rounds.jsonl").read_bytes()
    error = zygote.run(out, PLAIN, resume=True)["error"]
    for word in ("cannot be resumed", "round_00001.pt is damaged", "round_00002.pt is damaged", "--out"):
        assert word in error
    assert (out / "rounds.jsonl").read_bytes() == before


def test_a_log_that_somebody_shortened_is_refused(zygote: Zygote, tmp_path: Path) -> None:
    out = tmp_path / "run"
    zygote.killed(out, PLAIN, {"stage": "clients", "round": 3, "done": 2})
    (out / "distillation.csv").write_text("mine\n")
    error = zygote.run(out, PLAIN, resume=True)["error"]
    assert "distillation.csv has 5 bytes" in error
    assert (out / "distillation.csv").read_text() == "mine\n"
