"""The section of the configuration that says which data there are, and who gets which."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from fedkd.config.values import Count, Digest, Fraction, Natural, Plugin, PluginValue, Positive, Samples


@dataclass(frozen=True)
class PartitionConfig:
    """How the private samples are divided among the clients."""

    scheme: Annotated[
        Literal["iid", "dirichlet", "pathological", "shards", "quantity", "natural", "given", "at_home"],
        Field(
            description="iid; dirichlet (label skew); pathological (few classes each); shards; quantity (sizes); "
            "natural (whose samples they are); given (by the file path); at_home (each client's are on its own node)"
        ),
    ] = "dirichlet"
    alpha: Annotated[Positive, Field(description="concentration of dirichlet and quantity; smaller is more skewed")] = (
        0.5
    )
    classes_per_client: Annotated[Count, Field(description="classes each client holds under pathological")] = 2
    shards_per_client: Annotated[Count, Field(description="label-sorted shards each client holds under shards")] = 2
    min_samples: Annotated[
        Samples,
        Field(
            description="fewest private samples of a client; smaller ones are topped up from the largest, or refused "
            "under natural and given"
        ),
    ] = 2
    path: Annotated[
        str | None,
        Field(
            description="the file under given: the clients' positions, as in a run's partition.json, or class counts"
        ),
    ] = None
    sha256: Annotated[
        Digest | None, Field(description="SHA-256 of that file; a run fills it in (null: whatever is in it)")
    ] = None


@dataclass(frozen=True)
class CorruptionConfig:
    """How public images differ from private ones, in this order: rotated, inverted, noisy."""

    rotate: Annotated[float, Field(ge=-360, le=360, description="degrees by which they are turned to the left")] = 0.0
    invert: Annotated[bool, Field(description="their negatives")] = False
    noise: Annotated[
        float,
        Field(
            ge=0, le=100, description="standard deviation of normal noise on every pixel, 1 being from black to white"
        ),
    ] = 0.0

    @property
    def nothing(self) -> bool:
        """Whether images stay as they are."""
        return self == CorruptionConfig()


@dataclass(frozen=True)
class PublicConfig:
    """The public set, on which clients answer and the student is distilled."""

    size: Annotated[
        int,
        Field(
            ge=0,
            le=100_000_000,
            description="public samples in all, labelled and unlabelled (0: none, for algorithms that use none)",
        ),
    ] = 400
    labelled: Annotated[int, Field(ge=0, le=100_000_000, description="public samples whose label the server knows")] = (
        100
    )
    validation: Annotated[
        Fraction, Field(description="share of the labelled ones kept as server validation, never trained on")
    ] = 0.2
    dataset: Annotated[
        PluginValue | None,
        Field(description="another data set to take the public samples from (null: the private one's); unlabelled"),
    ] = None
    corruption: Annotated[CorruptionConfig, Field(description="")] = field(default_factory=CorruptionConfig)
    label_noise: Annotated[
        Fraction, Field(description="share of the known labels, those for validation too, that name another class")
    ] = 0.0
    pseudo_labels: Annotated[
        bool, Field(description="without labels, use the teacher's top class as label in L_cls (else λ is 1)")
    ] = False
    round_size: Annotated[
        Samples | None, Field(description="public samples drawn per round beside the labelled ones (null: all)")
    ] = None


@dataclass(frozen=True)
class TasksConfig:
    """Tasks that one model learns in sequence; one of the first three keys says which they are."""

    count: Annotated[
        Count | None, Field(ge=2, description="the classes in so many parts, as equal as can be, in their order")
    ] = None
    classes: Annotated[
        tuple[tuple[Natural, ...], ...] | None,
        Field(description="the classes of each task, by their positions from 0: [[0, 1, 2], [3, 4]]"),
    ] = None
    path: Annotated[
        str | None,
        Field(description="file of JSON with the number, from 0, of each sample's task: {train: [...], test: [...]}"),
    ] = None
    sha256: Annotated[
        Digest | None, Field(description="SHA-256 of that file; a run fills it in (null: whatever is in it)")
    ] = None
    rehearsed: Annotated[
        Natural,
        Field(description="samples of every class of a task that are rehearsed with each later task (0: none)"),
    ] = 20


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how much of it plays which role."""

    dataset: Annotated[PluginValue, Field(description="see `fedkd list datasets`, or module:Class")] = field(
        default_factory=lambda: Plugin("digits")
    )
    transform: Annotated[
        PluginValue, Field(description="what is made of the samples, by the public ones; see `fedkd list transforms`")
    ] = field(default_factory=lambda: Plugin("standardise"))
    root: Annotated[str | None, Field(description="folder of downloaded data sets (null: ~/.cache/fedkd)")] = None
    private_size: Annotated[Samples | None, Field(description="private samples over all clients (null: all left)")] = (
        None
    )
    client_validation: Annotated[
        Fraction, Field(description="share of each client's samples kept for its own validation")
    ] = 0.1
    partition: Annotated[PartitionConfig, Field(description="")] = field(default_factory=PartitionConfig)
    public: Annotated[PublicConfig, Field(description="")] = field(default_factory=PublicConfig)
    tasks: Annotated[
        TasksConfig | None, Field(description="null: one task; a section: several, one after the other (fedkd distill)")
    ] = None
    heads: Annotated[
        tuple[str, ...],
        Field(description="other labels of the data that networks learn beside the class, by name (fedkd distill)"),
    ] = ()

    @property
    def at_home(self) -> bool:
        """Whether private samples never leave the nodes of a deployment, and ``dataset`` is what the server has."""
        return self.partition.scheme == "at_home"
