"""The Flower app of docs/flower.md, on real Flower processes: simulated, and deployed on SuperNodes."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from deployments.flower_run import flower_run
from deployments.processes import CONNECTION, superlink, supernodes

from tests.support import ROOT
from tests.support.documents import blocks_of

NODES = 2
ROUNDS: Mapping[str, Any] = {"rounds": 2}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the app, as the page has it."""
    folder = tmp_path_factory.mktemp("page")
    page = ROOT / "docs/flower.md"
    for block in blocks_of(page.name, page.read_text(encoding="utf-8")):
        if block.text.startswith("# digits_app/"):
            path = folder / block.text.splitlines()[0].removeprefix("# ")
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    assert (folder / "digits_app/federated.py").is_file()
    assert (folder / "digits_app/federated.py").read_text(encoding="utf-8").count("\n") <= 60
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield folder / "digits_app"


def test_the_app_teaches_the_same_simulated_and_deployed(
    app: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Clients are known by their partition-id, whatever ids Flower gives their nodes."""
    home = tmp_path / "simulated"
    with superlink(home, simulation=True):
        status = flower_run(home, CONNECTION, {**ROUNDS, "out": str(tmp_path / "one")}, app=app, simulated=NODES)
    shown = capfd.readouterr()
    assert status == 0, shown
    assert "test accuracy 0.9" in shown.out
    home = tmp_path / "deployed"
    held = [{"partition-id": node, "num-partitions": NODES} for node in range(NODES)]
    with superlink(home) as address, supernodes(home, address, held):
        status = flower_run(home, CONNECTION, {**ROUNDS, "out": str(tmp_path / "two")}, app=app)
    assert status == 0, capfd.readouterr()
    one, two = (tmp_path / name for name in ("one", "two"))
    assert (one / "rounds.jsonl").read_bytes() == (two / "rounds.jsonl").read_bytes()
    digests = [json.loads((run / "summary.json").read_text(encoding="utf-8"))["student_sha256"] for run in (one, two)]
    assert digests[0] == digests[1]
    # The deployed nodes were sent the public samples in the first round alone.
    assert len(list((home / "fedkd-public").iterdir())) == 1
