"""Networks as users write them without fedkd: classes and functions, for images, series and texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torchvision import models

from tests.support.data_files import write_table
from tests.support.federations import SMALL


class Attention(nn.Module):
    """Attention over the rows of an image, with a class token of its own."""

    def __init__(self, shape: tuple[int, ...], classes: int, heads: int = 2) -> None:
        super().__init__()
        channels, _, width = shape
        self.token = nn.Parameter(torch.randn(1, 1, channels * width))
        self.attend = nn.MultiheadAttention(channels * width, heads, batch_first=True)
        self.head = nn.Linear(channels * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.transpose(1, 2).flatten(2)
        rows = torch.cat([self.token.expand(len(rows), -1, -1), rows], dim=1)
        logits: Tensor = self.head(self.attend(rows, rows, rows)[0][:, 0])
        return logits


class Lstm(nn.Module):
    """An LSTM over the rows of an image."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, *, width: int = 6) -> None:
        super().__init__()
        self.rows = nn.LSTM(shape[0] * shape[2], width, batch_first=True)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.rows(images.transpose(1, 2).flatten(2))[0][:, -1])
        return logits


class Tied(nn.Module):
    """Words are predicted by the table that reads them, as in language models, and classes by their number."""

    def __init__(self, vocabulary: int, classes: int, width: int = 6) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, width)
        self.back = nn.Linear(width, vocabulary, bias=False)
        self.back.weight = self.table.weight
        self.head = nn.Linear(vocabulary, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.back(self.table(tokens).mean(dim=1)).tanh())
        return logits


class TiedRows(nn.Module):
    """One table reads the rows of an image and writes them."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        width = shape[-1]
        self.read, self.write = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.write.weight = self.read.weight
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.write(torch.relu(self.read(images.flatten(1, 2))))
        logits: Tensor = self.head(rows.mean(dim=1))
        return logits


class Words(nn.Module):
    """A table of words and torch's GRU."""

    def __init__(self, vocabulary: int, classes: int, width: int = 6) -> None:
        super().__init__()
        self.table, self.states = nn.Embedding(vocabulary, width), nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.states(self.table(tokens))[0][:, -1])
        return logits


class _Mixed(nn.Module):
    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(vocabulary, 6), nn.Linear(6, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        words = self.table(tokens).mean(dim=1)
        logits: Tensor = self.head(words - words.mean(dim=0))
        return logits


def mixed_words(vocabulary: int, classes: int) -> nn.Module:
    """Texts that are compared with the others of their batch."""
    return _Mixed(vocabulary, classes)


class Options(nn.Module):
    """Every kind of option."""

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        width: Annotated[int, Field(ge=1, le=64)],
        widths: list[int] = [8],  # noqa: B006
        *,
        kind: Literal["relu", "tanh"] = "relu",
        scale: "float" = 1.0,
        make: Callable[[], nn.Module] = nn.ReLU,
        anything: Any = None,
    ) -> None:
        super().__init__()
        self.given: dict[str, Any] = {"width": width, "widths": widths, "kind": kind, "scale": scale}
        self.given |= {"anything": anything, "shape": shape, "made": type(make())}
        self.head = nn.Linear(shape[0], classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(inputs.flatten(2).mean(dim=2) if inputs.ndim > 2 else inputs)
        return logits


def transfer(shape: tuple[int, ...], classes: int, value: float = 0.125) -> nn.Module:
    """A frozen backbone, whose weights come from elsewhere, under a head of its own."""
    body = nn.Sequential(nn.Conv2d(shape[0], 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    with torch.no_grad():
        for parameter in body.parameters():
            parameter.fill_(value)
    return nn.Sequential(body.requires_grad_(False), nn.Linear(16, classes))


def patches(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A small vision transformer of torchvision, after a grey image is made a coloured one."""
    vit: nn.Module = models.VisionTransformer(
        image_size=shape[1], patch_size=4, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=classes
    )
    vit.conv_proj = nn.Conv2d(shape[0], 8, 4, 4)
    return vit


def nothing(shape: tuple[int, ...]) -> dict[str, int]:
    return {"channels": shape[0]}


def breaks(shape: tuple[int, ...]) -> nn.Module:
    return {3: nn.Flatten()}[shape[0]]


def reserved(shape: tuple[int, ...], classes: int, build: int = 3) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * build, classes))


def unreadable(classes: "Unknown") -> nn.Module:  # type: ignore[name-defined]
    return nn.Linear(3, classes)


NUMBER = 3
"""No network at all."""

PRETRAINED = "torchvision:shufflenet_v2_x0_5"


def pretrained(folder: Path) -> Path:
    """A file with the weights of ``PRETRAINED`` for a thousand other classes."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = models.get_model_builder(PRETRAINED.partition(":")[2])(num_classes=1000)
    torch.save(network.state_dict(), folder / "pretrained.pt")
    return folder / "pretrained.pt"


def zoo(weights: Path) -> dict[str, Any]:
    """The configuration of a run with a frozen pretrained student, and clients with networks of every kind."""
    student = {"name": PRETRAINED, "weights": str(weights), "freeze": True}
    own = ("patches", "Lstm", "Attention", "transfer", "TiedRows")
    networks = [student, *(f"{__name__}:{name}" for name in own)]
    clients = {"count": 6, "rule": "own_model", "models": networks}
    return SMALL | {"rounds": 2, "student": {"model": student}, "clients": clients}


def letters(folder: Path) -> dict[str, Any]:
    """The configuration of a run on texts, which are friendly or not by a word, with networks for texts."""
    draw = torch.Generator().manual_seed(0)
    rows = []
    for number in range(260):
        words = [f"word{int(word)}" for word in torch.randint(9, (3 + number % 5,), generator=draw)]
        words[number % 3] = ("dear", "oi")[number % 2]
        rows.append((" ".join(words), ("kind", "rude")[number % 2]))
    write_table(folder / "letters.csv", {"text": [row[0] for row in rows], "tone": [row[1] for row in rows]})
    dataset = {"name": "text", "path": str(folder / "letters.csv"), "text": "text", "label": "tone", "length": 8}
    student, adam = {"name": "transformer", "width": 16, "depth": 1}, {"optimiser": "adam", "learning_rate": 0.01}
    networks = [student, {"name": "gru", "width": 16}, f"{__name__}:Tied", f"{__name__}:Words"]
    return SMALL | {
        "rounds": 2,
        "data": {"dataset": dataset, "private_size": 120, "public": {"size": 60, "labelled": 30}},
        "clients": {"count": 4, "rule": "own_model", "models": networks, "epochs": 4, **adam},
        "student": {"model": student},
        "distillation": {"steps": 40, **adam},
        "controls": ["public_only"],
    }
