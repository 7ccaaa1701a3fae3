"""The data of an experiment, divided into roles."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from fedkd.core.compute import to_device
from fedkd.core.messages import UNKNOWN_LABEL
from fedkd.core.samples import Inputs, LazySamples, SampleSpec
from fedkd.core.seeding import torch_generator


@dataclass(frozen=True)
class ClientData:
    """One client's samples: sorted positions in ``ExperimentData.inputs``."""

    train: Int[Tensor, " train"]
    validation: Int[Tensor, " validation"]


@dataclass(frozen=True)
class PublicSet:
    """The public samples.

    ``told`` are the labels that the server has been given, some of which may be wrong: −1 where it does not know the
    class. ``truth`` is for evaluation only: the true class of every sample, or −1 when the samples come from another
    data set (``shared_label_space`` is False). ``validation`` marks the samples on which the server validates.
    """

    inputs: Shaped[Tensor, "samples ..."]
    told: Int[Tensor, " samples"]
    truth: Int[Tensor, " samples"]
    validation: Bool[Tensor, " samples"]
    shared_label_space: bool = True

    @cached_property
    def labels(self) -> Int[Tensor, " samples"]:
        """What the server may train on: −1 where it does not know the class, and on its validation samples."""
        return self.told.masked_fill(self.validation, UNKNOWN_LABEL)

    @property
    def labelled(self) -> Int[Tensor, " labelled"]:
        """Sorted positions of the samples with a label to train on."""
        return (self.labels >= 0).nonzero().flatten()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the inputs in their order, in hexadecimal: what servers and clients must agree on."""
        digest = hashlib.sha256(str(tuple(self.inputs.shape)).encode())
        digest.update(self.inputs.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def subset(self, round_size: int | None, seed: int, round: int) -> Int[Tensor, " subset"]:
        """Sorted positions of the samples used in a round.

        All of them when ``round_size`` is None. Else the labelled and the validation samples, and ``round_size`` of the
        rest, drawn without replacement by (seed, round); all of the rest when there are not so many.
        """
        if round_size is None:
            return torch.arange(len(self.labels))
        chosen = (self.labels >= 0) | self.validation
        rest = (~chosen).nonzero().flatten()
        order = torch.randperm(len(rest), generator=torch_generator(seed, round=round, purpose="public_subset"))
        chosen[rest[order[:round_size]]] = True
        return chosen.nonzero().flatten()


@dataclass(frozen=True)
class TaskLabels:
    """The labels of a further task, int64, positions in ``class_names``; −1 where a public sample has none."""

    private: Int[Tensor, " private"]
    public: Int[Tensor, " samples"]
    test: Int[Tensor, " test"]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class TaskNumbers:
    """The number, from 0, of the task that each sample is of; −1 where a public sample has none."""

    private: Int[Tensor, " private"]
    public: Int[Tensor, " samples"]
    test: Int[Tensor, " test"]


@dataclass(frozen=True)
class Places:
    """Where samples were in the data set's train split; ``public`` is None where they are of another data set.

    Where they are ``listed``, a file gave everybody's in an order of its own, which the public ones are shuffled from.
    """

    private: Int[Tensor, " private"]
    public: Int[Tensor, " public"] | None
    listed: bool = False


@dataclass(frozen=True)
class ExperimentData:
    """Every sample of an experiment, in exactly one role.

    ``inputs`` and ``labels`` are the private samples of all clients together, as ``data.transform`` makes them: float32
    numbers or int64 tokens, read when they are asked for where the data set stays in its file. There are none, and no
    ``clients``, where they are at home on other machines. ``other_labels`` are those of further tasks, by name;
    ``places`` say where the samples were before they had a role, where it is known; ``tasks`` are those of
    ``data.tasks``, where there are several. ``heads`` name the other labels that networks learn beside the class.
    """

    spec: SampleSpec
    class_names: tuple[str, ...]
    inputs: Inputs
    labels: Int[Tensor, " private"]
    clients: tuple[ClientData, ...]
    public: PublicSet
    test_inputs: Inputs
    test_labels: Int[Tensor, " test"]
    other_labels: Mapping[str, TaskLabels] = field(default_factory=dict)
    places: Places | None = None
    tasks: TaskNumbers | None = None
    heads: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample."""
        return self.spec.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def head_sizes(self) -> tuple[int, ...]:
        """The number of classes of each task, the main one first; () where networks learn that alone."""
        if not self.heads:
            return ()
        return self.classes, *(len(self.other_labels[name].class_names) for name in self.heads)

    @property
    def outputs(self) -> int:
        """How many numbers a network puts out for a sample."""
        return sum(self.head_sizes) if self.heads else self.classes

    def on(self, device: torch.device) -> "ExperimentData":
        """The same data with all inputs on ``device``, copied there once; labels and positions stay on the CPU."""
        if device == self.inputs.device:
            return self
        if device not in self._copies:
            self._copies[device] = replace(
                self,
                inputs=_on(self.inputs, device),
                public=replace(self.public, inputs=to_device(self.public.inputs, device)),
                test_inputs=_on(self.test_inputs, device),
            )
        return self._copies[device]

    @cached_property
    def _copies(self) -> "dict[torch.device, ExperimentData]":
        return {}


def _on(inputs: Inputs, device: torch.device) -> Inputs:
    return inputs.to(device) if isinstance(inputs, LazySamples) else to_device(inputs, device)
