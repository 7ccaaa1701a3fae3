"""Plain Flower clients of digits, quick ones: each classifies by the nearest mean of the classes that it has seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.datasets import load_digits
from torch import nn

from fedkd import LogitDistillation, logits_of

CLASSES, PUBLIC, LABELLED, EACH = 10, 60, 30, 80
"""How many classes, public samples, labelled ones among them, and private samples of each client."""

NDArray = npt.NDArray[Any]


@cache
def digits() -> tuple[NDArray, NDArray]:
    """All samples, float32 from 0 to 1, and labels, in one random order."""
    inputs, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (inputs[order] / 16).astype(np.float32), labels[order]


def private(client: int) -> tuple[NDArray, NDArray]:
    """The samples of a client."""
    inputs, labels = digits()
    own = slice(PUBLIC + client * EACH, PUBLIC + (client + 1) * EACH)
    return inputs[own], labels[own]


@dataclass(frozen=True)
class NearestMeans:
    """Logits are minus the squared distances to the means of the classes."""

    means: NDArray

    @classmethod
    def of(cls, client: int) -> "NearestMeans":
        inputs, labels = private(client)
        return cls(np.stack([inputs[labels == label].mean(axis=0) for label in range(CLASSES)]))

    def __call__(self, samples: NDArray) -> NDArray:
        return np.asarray(-((samples[:, None, :] - self.means) ** 2).sum(axis=-1))


def plain_app(client: int) -> ClientApp:
    """An app that says how many samples it has, and its partition-id where its node was told one."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        counts = np.bincount(private(client)[1], minlength=CLASSES).tolist()
        said: dict[str, Any] = {"num-examples": EACH, "label-counts": counts}
        said |= {name: context.node_config[name] for name in ("partition-id",) if name in context.node_config}
        answer = logits_of(NearestMeans.of(client), message)
        return Message(RecordDict({"arrays": answer, "metrics": MetricRecord(said)}), reply_to=message)

    return app


def plain_apps(count: int = 3) -> Sequence[ClientApp]:
    return [plain_app(client) for client in range(count)]


def student() -> nn.Module:
    """A small network, always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, CLASSES))


def plain_strategy(**changes: Any) -> LogitDistillation:
    """A strategy of three steps a round on the public digits."""
    inputs, labels = digits()
    usual: dict[str, Any] = {
        "student": student(),
        "public": inputs[:PUBLIC],
        "labels": labels[:LABELLED],
        "distillation": {"steps": 3},
    }
    return LogitDistillation(**(usual | changes))
