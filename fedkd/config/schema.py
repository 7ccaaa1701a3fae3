"""The whole experiment as frozen dataclasses; every key is documented here, and those of data beside it."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from fedkd.config.data_schema import DataConfig
from fedkd.config.values import (
    Count,
    Digest,
    Entropy,
    Fraction,
    Natural,
    NonNegative,
    Plugin,
    PluginValue,
    Positive,
    Seed,
    Share,
    Threads,
    as_plugin,
    spelt_out,
)

Control = Literal["public_only", "local_only", "fedavg", "centralised", "teacher_only"]


@dataclass(frozen=True)
class AttackersConfig:
    """Clients that do not do what they should; the seed draws which."""

    share: Annotated[Fraction, Field(description="share of the clients that behave so, rounded to whole clients")] = 0.0
    behaviour: Annotated[PluginValue, Field(description="what they do; see `fedkd list behaviours`")] = field(
        default_factory=lambda: Plugin("random")
    )


@dataclass(frozen=True)
class ClientsConfig:
    """The clients and their local training."""

    count: Annotated[Count, Field(description="number of clients")] = 8
    fraction: Annotated[Share, Field(description="share of the clients sampled each round")] = 1.0
    models: Annotated[
        tuple[PluginValue, ...],
        Field(description="the clients' architectures, dealt out in turn (empty: all have the student's)"),
    ] = ()
    rule: Annotated[
        PluginValue, Field(description="what a client starts from and sends; see `fedkd list client-rules`")
    ] = field(default_factory=lambda: Plugin("broadcast"))
    epochs: Annotated[Count, Field(description="local epochs per round")] = 1
    batch_size: Annotated[Count, Field(description="local batch size")] = 32
    optimiser: Annotated[Literal["sgd", "adam"], Field(description="sgd (with momentum) or adam")] = "sgd"
    learning_rate: Annotated[Positive, Field(description="local learning rate")] = 0.05
    momentum: Annotated[Fraction, Field(description="momentum of sgd")] = 0.9
    weight_decay: Annotated[NonNegative, Field(description="L2 penalty")] = 0.0
    logit_adjustment: Annotated[
        NonNegative,
        Field(description="τ of logit-adjusted cross-entropy, against a client's label skew (0: plain; usual: 1)"),
    ] = 0.0
    proximal: Annotated[NonNegative, Field(description="FedProx μ: pull towards the received model")] = 0.0
    self_distillation: Annotated[
        NonNegative,
        Field(
            description="β: pull of a client's answers to its own samples towards those of the model that it begins "
            "local training with, against forgetting (0: off; usual: 1)"
        ),
    ] = 0.0
    self_temperature: Annotated[Positive, Field(description="T of the softened softmax there")] = 1.0
    self_classes: Annotated[
        Literal["all", "others"],
        Field(description="classes that it is about: all, or others (than the sample's label; FedNTD)"),
    ] = "all"
    keep_batch_norm: Annotated[
        Literal["none", "statistics", "all"],
        Field(
            description="what of batch normalisation clients keep to themselves, where they start from the server's "
            "model: its running statistics, or all (γ and β too; FedBN)"
        ),
    ] = "none"
    measure_test: Annotated[
        bool,
        Field(
            description="measure the clients' models on the test samples after the last round, as local_only, "
            "teacher_only and algorithms without a student do anyway"
        ),
    ] = False
    behaviour: Annotated[PluginValue, Field(description="how clients keep to it; see `fedkd list behaviours`")] = field(
        default_factory=lambda: Plugin("honest")
    )
    attackers: Annotated[AttackersConfig, Field(description="")] = field(default_factory=AttackersConfig)
    max_examples: Annotated[
        int | None, Field(ge=1, lt=2**31, description="most private samples of a client (null: what data deals it)")
    ] = None
    min_reports: Annotated[Count, Field(description="valid reports a round needs; fewer stop the run")] = 1

    @property
    def per_round(self) -> int:
        """How many clients take part in a round: the nearest whole number to fraction × count, at least 1."""
        return max(1, int(self.fraction * self.count + 0.5))


@dataclass(frozen=True)
class StudentConfig:
    """The server's model."""

    model: Annotated[PluginValue, Field(description="see `fedkd list models`")] = field(
        default_factory=lambda: Plugin("cnn")
    )
    rule: Annotated[
        PluginValue, Field(description="what the server makes of the answers; see `fedkd list student-rules`")
    ] = field(default_factory=lambda: Plugin("distil"))
    init: Annotated[
        str | None,
        Field(description="file of weights to start from, a state dict of model (null: drawn from the seed)"),
    ] = None
    init_sha256: Annotated[
        Digest | None, Field(description="SHA-256 of that file; a run fills it in (null: whatever is in it)")
    ] = None


@dataclass(frozen=True)
class TeacherConfig:
    """One large network that teaches the student in place of the clients."""

    model: Annotated[PluginValue, Field(description="see `fedkd list models`")] = field(
        default_factory=lambda: Plugin("resnet18")
    )
    init: Annotated[
        str | None,
        Field(description="file of weights to start from, a state dict of model (null: drawn from the seed)"),
    ] = None
    init_sha256: Annotated[Digest | None, Field(description="SHA-256 of that file (null: whatever is in it)")] = None
    trained_on: Annotated[
        Literal["all", "public"],
        Field(description="all labelled samples, those of all clients together too, or the public ones alone"),
    ] = "all"
    epochs: Annotated[Natural, Field(description="passes over these samples (0: it stays as it was loaded)")] = 10
    batch_size: Annotated[Count, Field(description="samples per step")] = 64
    optimiser: Annotated[Literal["sgd", "adam"], Field(description="sgd (with momentum) or adam")] = "adam"
    learning_rate: Annotated[Positive, Field(description="peak learning rate, lowered along half a cosine")] = 0.001


def _as_schedule(value: Any) -> Any:
    return as_plugin(spelt_out("distillation.temperature", value))


@dataclass(frozen=True)
class GeometryConfig:
    """Where and how often the two gradients are compared."""

    mode: Annotated[
        Literal["exact", "last_layer", "logits"],
        Field(description="exact (all parameters), last_layer, or logits (the student's outputs)"),
    ] = "exact"
    every: Annotated[Count, Field(description="steps between two measurements; λ stays in between")] = 1


@dataclass(frozen=True)
class DistillationConfig:
    """How the student learns from the teacher and from the labelled public samples."""

    steps: Annotated[Count, Field(description="optimiser steps per round")] = 500
    batch_size: Annotated[Count, Field(description="public samples per step, for L_dist")] = 32
    labelled_batch_size: Annotated[Count, Field(description="labelled samples per step, for L_cls")] = 16
    mixed: Annotated[
        bool, Field(description="one batch of both kinds of samples, L_dist over all of it (else two batches)")
    ] = False
    loss: Annotated[
        tuple[PluginValue, ...],
        Field(min_length=1, description="L_dist: one loss, or several with their weights; see `fedkd list losses`"),
    ] = field(default_factory=lambda: (Plugin("kl"),))
    align_batch_norm: Annotated[
        dict[str, str],
        Field(
            description="layers of batch normalisation of the student, each with one of the teacher network that it "
            "does the same as at the start: {bn1: layer1.bn2}"
        ),
    ] = field(default_factory=dict)
    temperature: Annotated[
        Plugin,
        BeforeValidator(_as_schedule),
        Field(description="T of the softened softmax, a number or a schedule; see `fedkd list temperatures`"),
    ] = field(default_factory=lambda: Plugin("constant", {"value": 3.0}))
    label_share: Annotated[
        float,
        Field(ge=0, le=1, description="share α of the (smoothed) label in the target of labelled samples (0: off)"),
    ] = 0.0
    label_smoothing: Annotated[Fraction, Field(description="ε of the label in the target")] = 0.0
    augment: Annotated[
        tuple[Literal["flip", "shift"], ...],
        Field(description="change the images of every batch: flip (left to right), shift (by up to 2 pixels)"),
    ] = ()
    optimiser: Annotated[Literal["sgd", "adam"], Field(description="sgd (with momentum) or adam")] = "sgd"
    learning_rate: Annotated[Positive, Field(description="peak learning rate, lowered in a round by schedule")] = 0.03
    schedule: Annotated[
        Literal["linear", "cosine", "constant"],
        Field(description="how the learning rate falls to 0 in a round: linear or cosine; constant: it stays"),
    ] = "linear"
    fresh_optimiser: Annotated[
        bool,
        Field(
            description="begin every round without the momenta of the round before, as clients always do (else the "
            "student's go on)"
        ),
    ] = False
    patience: Annotated[
        Count | None,
        Field(description="stop after so many steps without gain in validation accuracy, keep the best (null: never)"),
    ] = None
    average: Annotated[Fraction, Field(description="share of the past in a round's mean of weights (0: off)")] = 0.0
    warmup: Annotated[Natural, Field(description="steps over which the learning rate rises at a round's start")] = 50
    clip_norm: Annotated[Positive | None, Field(description="bound on the combined gradient's norm (null: none)")] = (
        None
    )
    momentum: Annotated[Fraction, Field(description="momentum of sgd")] = 0.9
    weight_decay: Annotated[NonNegative, Field(description="L2 penalty")] = 0.0
    balancer: Annotated[PluginValue, Field(description="sets λ at every step; see `fedkd list balancers`")] = field(
        default_factory=lambda: Plugin("task_decrease")
    )
    geometry: Annotated[GeometryConfig, Field(description="")] = field(default_factory=GeometryConfig)
    validate_every: Annotated[
        Count, Field(description="steps between validation measurements, for balancers that ask for them")
    ] = 25
    measure_every: Annotated[
        Natural, Field(description="steps between measured decreases in distillation.csv (0: never)")
    ] = 0
    measure_classes_every: Annotated[Natural, Field(description="steps between measurements by class (0: never)")] = 0
    measure_geometry_every: Annotated[
        Natural,
        Field(
            description="steps between predicted decreases in distillation.csv, and between norms and cosine where λ "
            "does not depend on them (0: never)"
        ),
    ] = 10


@dataclass(frozen=True)
class CommunicationConfig:
    """How logits are written down for the way between clients and server."""

    uplink: Annotated[PluginValue, Field(description="the clients' logits; see `fedkd list codecs`")] = field(
        default_factory=lambda: Plugin("float32")
    )
    downlink: Annotated[PluginValue, Field(description="the consensus that clients are sent, where they are")] = field(
        default_factory=lambda: Plugin("float32")
    )
    cache_rounds: Annotated[
        Natural, Field(description="rounds for which an unlabelled sample's target is used again (0: ask every time)")
    ] = 0


@dataclass(frozen=True)
class SecureAggregationConfig:
    """How the server gets to know the sum of the clients' reports, and no single one."""

    threshold: Annotated[
        Share,
        Field(
            description="share of the round's clients that a sum is made of at least; the others may drop out at any "
            "step. More than half, and more with colluders"
        ),
    ] = 0.67
    colluders: Annotated[
        Natural, Field(description="clients that may conspire with the server; threshold × 2 − 1 leaves room for them")
    ] = 0
    bits: Annotated[
        int | None,
        Field(ge=1, le=24, description="fractional bits of the fixed point that is summed (null: as many as fit)"),
    ] = None
    repeats: Annotated[
        Natural,
        Field(
            description="sums of a run that clients give a second time over other clients, where one was lost: each "
            "with noise of its own, and charged; without noise none is given"
        ),
    ] = 3
    entropy: Entropy = "seed"


@dataclass(frozen=True)
class AuditConfig:
    """Which attacks show what a finished run leaks, and how hard they try."""

    attacks: Annotated[
        tuple[PluginValue, ...],
        Field(description="what to run after the last round (empty: nothing); see `fedkd list attacks`"),
    ] = ()
    observations: Annotated[
        tuple[Literal["queried", "transcript", "consensus", "student"], ...],
        Field(description="where attackers stand: queried, transcript, consensus, student; see docs/auditing.md"),
    ] = ("queried", "transcript", "consensus", "student")
    targets: Annotated[Count, Field(description="clients attacked, drawn from the honest ones of the last round")] = 1
    shadows: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            multiple_of=2,
            description="repetitions of a client's part with half of the candidates; even",
        ),
    ] = 32
    rounds: Annotated[Count, Field(description="last rounds observed; more than 1 repeats the run")] = 1
    views: Annotated[int, Field(ge=1, le=6, description="views of a candidate queried: itself, mirrored, shifted")] = 1
    candidates: Annotated[
        Count | None, Field(description="most candidates per client, half of them members (null: as many as there are)")
    ] = None
    surrogate_epochs: Annotated[
        Count, Field(description="passes over the public set by which a surrogate model is distilled from a transcript")
    ] = 5
    level: Annotated[float, Field(gt=0, lt=1, description="confidence level of every interval and bound")] = 0.95


@dataclass(frozen=True)
class PrivacyConfig:
    """What happens to the logits before they leave a client."""

    mechanism: Annotated[PluginValue, Field(description="see `fedkd list mechanisms`")] = field(
        default_factory=lambda: Plugin("none")
    )
    delta: Annotated[float, Field(gt=0, lt=0.1, description="δ at which ε is stated; far below 1/n")] = 1e-5
    entropy: Entropy = "seed"
    secure_aggregation: Annotated[
        SecureAggregationConfig | None,
        Field(description="null: the server sees every report; a section ({}: its defaults): only the reports' sum"),
    ] = None
    audit: Annotated[AuditConfig, Field(description="")] = field(default_factory=AuditConfig)


@dataclass(frozen=True, order=True)
class ResourceConfig:
    """What a client of one architecture needs while it works; clients with the same needs form a class."""

    threads: Annotated[Threads, Field(description="torch threads; part of the result")] = 1
    gpu: Annotated[Annotated[float, Field(ge=0, le=1)], Field(description="share of a GPU")] = 0.0


@dataclass(frozen=True)
class EngineConfig:
    """Where the clients' work is done; but for threads, device and vectorisation it has no influence on results."""

    kind: Annotated[Literal["ray", "inline"], Field(description="ray (parallel processes) or inline (one process)")] = (
        "ray"
    )
    workers: Annotated[Count | None, Field(description="parallel workers of ray (null: one per core)")] = None
    address: Annotated[str | None, Field(description="host:port of a running Ray cluster (null: start one)")] = None
    clients_per_node: Annotated[
        Count | None, Field(description="clients per message (null: balanced over the workers)")
    ] = None
    resources: Annotated[
        dict[str, ResourceConfig],
        Field(description="by name of a client architecture: {resnet18: {threads: 2}}; the others need one core"),
    ] = field(default_factory=dict)
    device: Annotated[Literal["cpu", "cuda"], Field(description="device of training and distillation")] = "cpu"
    vectorise: Annotated[
        Literal["auto", "never", "always"],
        Field(description="train a cohort's models as one batched model: auto (on cuda only), never, or always"),
    ] = "auto"
    server_threads: Annotated[Threads, Field(description="torch threads of the server step; part of the result")] = 1
    timeout: Annotated[float, Field(gt=0, le=1e7, description="seconds a round's client work may take")] = 3600.0

    @property
    def vectorises(self) -> bool:
        """Whether clients are trained together where they can be."""
        return self.vectorise == "always" or (self.vectorise == "auto" and self.device == "cuda")


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment, resolved."""

    seed: Annotated[Seed, Field(description="the source of every random draw")] = 0
    rounds: Annotated[Count, Field(description="federated rounds")] = 5
    data: Annotated[DataConfig, Field(description="")] = field(default_factory=DataConfig)
    clients: Annotated[ClientsConfig, Field(description="")] = field(default_factory=ClientsConfig)
    student: Annotated[StudentConfig, Field(description="")] = field(default_factory=StudentConfig)
    strategy: Annotated[PluginValue, Field(description="aggregation strategy; see `fedkd list strategies`")] = field(
        default_factory=lambda: Plugin("stacked")
    )
    teacher: Annotated[
        TeacherConfig | None,
        Field(description="null; the network that `fedkd distill` takes as the teacher, in place of the clients"),
    ] = None
    distillation: Annotated[DistillationConfig, Field(description="")] = field(default_factory=DistillationConfig)
    communication: Annotated[CommunicationConfig, Field(description="")] = field(default_factory=CommunicationConfig)
    privacy: Annotated[PrivacyConfig, Field(description="")] = field(default_factory=PrivacyConfig)
    controls: Annotated[tuple[Control, ...], Field(description="comparisons to compute after the last round")] = ()
    tracking: Annotated[
        tuple[PluginValue, ...],
        Field(description="where curves, tables and figures go besides; see `fedkd list trackers`"),
    ] = ()
    engine: Annotated[EngineConfig, Field(description="")] = field(default_factory=EngineConfig)
