"""The work of configs/benchmarks/ with the least in the way: PyTorch, NumPy, and two forked processes.

    python -m benchmarks.bare_given fedavg|ds_fl FOLDER WORKERS

``FOLDER`` has ``given/partition.json`` and ``given/init.pt``. What the processes share lies in shared memory, the
largest client is trained first, tensors are channels_last, and batches are views of one shuffled tensor. Prints, as
JSON, the seconds of the rounds and the test accuracy after each.
"""

import gzip
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES, ROUNDS, BATCH, RATE, MOMENTUM = 10, 3, 32, 0.02, 0.9
STEPS, STUDENT_BATCH, SHARPNESS = 800, 64, 0.1
PREDICTED = 250
"""Samples that are predicted at once."""

FASHION_MNIST = Path(os.environ.get("FASHION_MNIST_DIR", "/usr/share/datasets/fashion-mnist"))


@dataclass(frozen=True)
class Work:
    """All tensors of the run, read before the fork."""

    images: Tensor
    labels: Tensor
    clients: list[Tensor]
    public: Tensor
    tests: Tensor
    test_labels: Tensor
    start: dict[str, Tensor]


def read(folder: Path, *, distils: bool) -> Work:
    given = json.loads((folder / "given/partition.json").read_text())
    pixels, all_labels = _pixels("train-images-idx3-ubyte.gz"), _labels("train-labels-idx1-ubyte.gz")
    private = np.concatenate([np.array(each) for each in given["clients"]])
    clients = torch.arange(len(private)).split([len(each) for each in given["clients"]])
    public = _images(pixels[np.array(given["public"] if distils else [], dtype=np.int64)])
    tests, test_labels = _images(_pixels("t10k-images-idx3-ubyte.gz")), _labels("t10k-labels-idx1-ubyte.gz")
    start: dict[str, Tensor] = torch.load(folder / "given/init.pt", weights_only=True)
    return Work(_images(pixels[private]), all_labels[private], list(clients), public, tests, test_labels, start)


def _bytes(name: str, header: int) -> Any:
    return np.frombuffer(gzip.decompress((FASHION_MNIST / name).read_bytes()), np.uint8, offset=header)


def _pixels(name: str) -> Any:
    return _bytes(name, 16).reshape(-1, 1, 28, 28)


def _images(pixels: Any) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255).contiguous(memory_format=torch.channels_last)


def _labels(name: str) -> Tensor:
    return torch.from_numpy(_bytes(name, 8).astype(np.int64))


def new_model() -> nn.Module:
    """The layers of fedkd's ``cnn``."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    ).to(memory_format=torch.channels_last)


def train(model: nn.Module, images: Tensor, labels: Tensor, draw: torch.Generator) -> None:
    model.train()
    sgd = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    order = torch.randperm(len(labels), generator=draw)
    for x, y in zip(images[order].split(BATCH), labels[order].split(BATCH), strict=True):
        sgd.zero_grad()
        F.cross_entropy(model(x), y).backward()
        sgd.step()


@torch.inference_mode()
def probabilities(model: nn.Module, images: Tensor) -> Tensor:
    model.eval()
    return torch.cat([model(batch).softmax(dim=1) for batch in images.split(PREDICTED)])


def distil(model: nn.Module, images: Tensor, teacher: Tensor, draw: torch.Generator) -> None:
    model.train()
    sgd = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    for _, chosen in zip(range(STEPS), _batches(len(images), draw), strict=False):
        sgd.zero_grad()
        F.cross_entropy(model(images[chosen]), teacher[chosen]).backward()
        sgd.step()


def _batches(count: int, draw: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from torch.randperm(count, generator=draw).split(STUDENT_BATCH)


def to_vector(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


@torch.no_grad()
def load_vector(model: nn.Module, vector: Tensor) -> None:
    sizes = [parameter.numel() for parameter in model.parameters()]
    for parameter, values in zip(model.parameters(), vector.split(sizes), strict=True):
        parameter.copy_(values.view(parameter.shape))


def serve(tasks: Any, done: Any, work: Work, broadcast: Tensor, updates: Tensor, reports: Tensor) -> None:
    """A worker: trains a client, or counts the hits on some test samples, until it is told None."""
    torch.set_num_threads(1)
    model = new_model()
    while (task := tasks.get()) is not None:
        load_vector(model, broadcast)
        if task[0] == "train":
            _, round, client = task
            mine = work.clients[client]
            draw = torch.Generator().manual_seed(1000 * round + client)
            train(model, work.images[mine], work.labels[mine], draw)
            if len(work.public):
                reports[client].copy_(probabilities(model, work.public))
            else:
                updates[client].copy_(to_vector(model))
            done.put(0)
        else:
            _, first, last = task
            found = probabilities(model, work.tests[first:last]).argmax(dim=1)
            done.put(int((found == work.test_labels[first:last]).sum()))


def main(kind: str, folder: Path, workers: int) -> None:
    distils = kind == "ds_fl"
    torch.set_num_threads(1)  # until the fork, which threads of OpenMP would not survive
    context = mp.get_context("fork")
    tasks, done = context.SimpleQueue(), context.SimpleQueue()
    work = read(folder, distils=distils)
    model = new_model()
    model.load_state_dict(work.start)
    train(new_model(), work.images[:BATCH], work.labels[:BATCH], torch.Generator())  # what the first step costs extra
    clients, size = len(work.clients), to_vector(model).numel()
    broadcast = torch.zeros(size).share_memory_()
    updates = torch.zeros(clients, size).share_memory_()
    reports = torch.zeros(clients, len(work.public), CLASSES).share_memory_()
    shared = (tasks, done, work, broadcast, updates, reports)
    processes = [context.Process(target=serve, args=shared, daemon=True) for _ in range(workers)]
    for process in processes:
        process.start()
    torch.set_num_threads(workers)
    sizes = torch.tensor([len(each) for each in work.clients], dtype=torch.float64)
    weights = (sizes / sizes.sum()).float()
    largest_first = sizes.argsort(descending=True, stable=True).tolist()
    cuts = torch.linspace(0, len(work.tests), 2 * workers + 1).long().tolist()

    def ask(asked: list[tuple[Any, ...]]) -> int:
        for each in asked:
            tasks.put(each)
        return sum(done.get() for _ in asked)

    accuracies = []
    begun = time.perf_counter()
    broadcast.copy_(to_vector(model))
    for round in range(1, ROUNDS + 1):
        ask([("train", round, client) for client in largest_first])
        if distils:
            teacher = (reports.mean(dim=0) / SHARPNESS).softmax(dim=1)
            distil(model, work.public, teacher, torch.Generator().manual_seed(round))
            broadcast.copy_(to_vector(model))
        else:
            broadcast.copy_(weights @ updates)
        hits = ask([("test", first, last) for first, last in pairwise(cuts)])
        accuracies.append(hits / len(work.tests))
    seconds = time.perf_counter() - begun
    for _ in processes:
        tasks.put(None)
    for process in processes:
        process.join()
    print(json.dumps({"seconds": seconds, "accuracies": accuracies}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
