"""What a client answers with: any model's logits, or a reason why there are none."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from flwr.app import Message, RecordDict
from torch import nn

from fedkd import logits_of, public_of
from fedkd.app.plain_clients.protocol import PUBLIC, REQUEST, Request, as_samples, digest_of, divided
from fedkd.core.errors import RunError
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("task_identity", "flower_home")

SAMPLES = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)


def asking(positions: npt.NDArray[Any] | None = None, *, shipped: bool = True) -> Message:
    request = Request(digest_of(SAMPLES), 3, positions, divided(SAMPLES) if shipped else ())
    return Message(RecordDict({REQUEST: request.config, PUBLIC: request.arrays}), 1, "train")


def linear(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return samples[:, :3].astype(np.float64) * 2


def test_any_function_answers_on_what_is_asked() -> None:
    assert np.array_equal(logits_of(linear, asking())["logits"].numpy(), SAMPLES[:, :3] * 2)
    positions = np.array([1, 4, 6])
    answer = logits_of(linear, asking(positions, shipped=False), batch_size=2)["logits"].numpy()
    assert answer.dtype == np.float32
    assert np.array_equal(answer, SAMPLES[positions, :3] * 2)
    own = logits_of(linear, asking(shipped=False), public=torch.from_numpy(SAMPLES).double())
    assert np.array_equal(own["logits"].numpy(), SAMPLES[:, :3] * 2)


def test_a_module_answers_in_evaluation_mode_and_goes_on_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
    before = {name: each.clone() for name, each in model.state_dict().items()}
    answer = logits_of(model, asking(), batch_size=2)["logits"].numpy()
    assert model.training
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    with torch.no_grad():
        assert np.allclose(answer, model.eval()(torch.from_numpy(SAMPLES)).numpy(), atol=1e-6)


def test_what_a_model_changes_is_its_own_copy() -> None:
    def greedy(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        samples *= 0
        return samples[:, :3]

    logits_of(greedy, asking())
    assert np.array_equal(public_of(asking(shipped=False)), SAMPLES)
    public_of(asking(shipped=False))[:] = 0
    assert np.array_equal(logits_of(linear, asking(shipped=False))["logits"].numpy(), SAMPLES[:, :3] * 2)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda x: x[:, :2], r"numbers \[samples, classes\] = \(7, 3\), got float32 of shape \(7, 2\).*leave a column"),
        (lambda x: x[:3, :3], r"got float32 of shape \(3, 3\)"),
        (lambda x: [["a"] * 3] * 7, "got <U1"),
        (lambda x: x[:, :3] / 0.0, "NaN or infinity.*add 1e-6"),
        (lambda x: np.full((7, 3), 1 / 3), "probabilities, which are no logits"),
        (3, "a torch.nn.Module or a function from samples to logits, got int"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_is_no_answer_is_refused(model: object, words: str) -> None:
    with pytest.raises(RunError, match=words):
        logits_of(model, asking())


def test_other_samples_and_other_messages_are_refused() -> None:
    with pytest.raises(RunError, match=r"public: must be the server's.*got float32 of shape \(6, 4\)"):
        logits_of(linear, asking(), public=SAMPLES[1:])
    with pytest.raises(RunError, match="the message has no record 'fedkd'"):
        logits_of(linear, Message(RecordDict(), 1, "evaluate"))
    for positions in (np.array([7]), np.array([-1]), np.array([0.0])):
        with pytest.raises(RunError, match="positions beyond the 7 public samples"):
            logits_of(linear, asking(positions))


def test_tokens_stay_whole_numbers() -> None:
    assert as_samples(np.array([[1, 2]], dtype=np.uint8)).dtype == np.int64
    assert as_samples([[1.0, 2.0]]).dtype == np.float32


CLIENT = """
import sys
import numpy as np
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from fedkd import logits_of
from fedkd.app.plain_clients.protocol import PUBLIC, REQUEST, Request, digest_of, divided
from sklearn.linear_model import LogisticRegression

TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
samples = np.arange(12, dtype=np.float32).reshape(6, 2)
model = LogisticRegression().fit(samples, [0, 0, 1, 1, 2, 2])
request = Request(digest_of(samples), 3, None, divided(samples))
message = Message(RecordDict({REQUEST: request.config, PUBLIC: request.arrays}), 1, "train")
assert logits_of(model.decision_function, message)["logits"].numpy().shape == (6, 3)
heavy = {"torch", "ray", "matplotlib", "pydantic", "jaxtyping"} & set(sys.modules)
sys.exit(f"loaded {sorted(heavy)}" if heavy else 0)
"""


def test_a_client_needs_no_torch(flower_home: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CLIENT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
