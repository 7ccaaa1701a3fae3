"""Networks for texts and time series: padding does not count, order does, and they learn."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedkd.config.values import Plugin
from fedkd.core.errors import PluginError
from fedkd.core.samples import SampleSpec
from fedkd.models import build_model, embed, profile, try_model

TEXTS, SERIES = SampleSpec((12,), 30), SampleSpec((3, 12))
CASES = [(name, sample) for name in ("attention", "fixed_context", "gru", "transformer") for sample in (TEXTS, SERIES)]


def build(name: str, sample: SampleSpec, seed: int = 0, **options: object) -> nn.Module:
    return build_model(Plugin(name, dict(options)), sample, 4, torch.Generator().manual_seed(seed))


def samples(sample: SampleSpec, count: int = 3) -> Tensor:
    made_up = sample.made_up(count)
    return made_up if sample.vocabulary else made_up * 2 - 1


@pytest.mark.parametrize(("name", "sample"), CASES, ids=str)
@pytest.mark.parametrize("options", [{}, {"depth": 3, "width": 24}, {"dropout": 0.2}], ids=str)
def test_they_work_with_every_option(name: str, sample: SampleSpec, options: dict[str, Any]) -> None:
    model = build(name, sample, **options)
    assert try_model(model, name, sample, 4).remarks == ()
    seen, _ = embed(model, samples(sample))
    assert seen.shape == (3, options.get("width", 64))


@pytest.mark.parametrize(("name", "sample"), CASES, ids=str)
def test_padding_counts_for_nothing_in_training_and_in_evaluation(name: str, sample: SampleSpec) -> None:
    short = SampleSpec((*sample.shape[:-1], 8), sample.vocabulary)
    long, model = build(name, sample), build(name, short)
    state = long.state_dict()
    for key in {"positions", "weights.scores"} & set(state):
        state[key] = state[key][:8]
    model.load_state_dict(state)
    inputs = samples(sample)
    inputs[..., 8:] = 0
    for mode in (True, False):
        torch.testing.assert_close(long.train(mode)(inputs), model.train(mode)(inputs[..., :8].clone()))
    # Nor in the other samples' company, nor where there is nothing else.
    torch.testing.assert_close(long(inputs)[:1], long(inputs[:1]))
    assert long(torch.zeros_like(inputs)).isfinite().all()


@pytest.mark.parametrize(("name", "sample"), CASES, ids=str)
def test_the_order_of_steps_matters(name: str, sample: SampleSpec) -> None:
    model, inputs = build(name, sample), samples(sample)
    assert not torch.allclose(model(inputs), model(inputs.flip(-1)), atol=1e-3)


@pytest.mark.parametrize(("name", "sample"), CASES, ids=str)
def test_they_learn_which_of_two_comes_first(name: str, sample: SampleSpec) -> None:
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (64,), generator=draw)
    first, second = 2 + 4 * labels, 7 - 3 * labels
    inputs = torch.zeros(64, *sample.shape).to(samples(sample)) + 1
    rows = torch.arange(64)
    for place, mark in ((first, 2), (second, 3)):
        if sample.vocabulary:
            inputs[rows, place] = mark
        else:
            inputs[rows, :, place] = 2.0 * mark - 5
    model = build(name, sample, width=16)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimiser.step()
    assert (model(inputs).argmax(dim=1) == labels).float().mean() > 0.95


@pytest.mark.parametrize(("name", "sample"), CASES, ids=str)
def test_the_seed_alone_sets_their_weights(name: str, sample: SampleSpec) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (build(name, sample, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_parameter_counts_by_hand() -> None:
    # 30·8 table, 2 · (8·24+24) gates, 8·4+4 head.
    assert profile(build("gru", TEXTS, width=8), TEXTS).parameters == 240 + 432 + 36
    # Table, positions, one layer (2 norms, 8·24+24, 8·8+8, 8·10+10, 10·8+8), a norm and the head.
    assert profile(build("transformer", TEXTS, width=8, depth=1, heads=2, feed_forward=10), TEXTS).parameters == (
        240 + 96 + (32 + 216 + 72 + 90 + 88) + 16 + 36
    )
    # Table, units both ways and for the four queries, these, W, U, v, the head.
    assert profile(build("attention", TEXTS, width=8), TEXTS).parameters == 240 + 3 * 432 + 32 + (72 + 64 + 8) + 36
    # Table, positions, one convolution over three steps, the pattern, the head.
    assert profile(build("fixed_context", TEXTS, width=8), TEXTS).parameters == 240 + 96 + (3 * 64 + 8) + 12 + 36


def test_torchs_recurrent_units_are_the_same() -> None:
    model = build("gru", SERIES, width=8)
    torchs = nn.GRU(8, 8, batch_first=True)
    torchs.load_state_dict(
        {
            f"{kind}_{way}_l0": model.get_parameter(f"layers.0.{layer}.{kind}")
            for way, layer in (("ih", "given"), ("hh", "remembered"))
            for kind in ("weight", "bias")
        }
    )
    vectors = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(0))
    ours = model.get_submodule("layers.0")(vectors, torch.ones(3, 12, dtype=torch.bool))
    torch.testing.assert_close(ours, torchs(vectors)[0])


def seen_at(model: nn.Module, inputs: Tensor, *names: str) -> list[Tensor]:
    """What the modules of these names put out."""
    found: dict[str, Tensor] = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda module, given, out, name=name: found.update({name: out}))
    model(inputs)
    return [found[name] for name in names]


def test_attention_weighs_the_steps_as_bahdanau_does() -> None:
    """Energies vᵀ tanh(W s + U h) by hand: without W and with U, v = 1 they are tanh(h) of a step's only annotation."""
    model = build("attention", SERIES, width=1, queries=2)
    with torch.no_grad():
        for layer, value in (
            ("asked.weight", 0.0),
            ("asked.bias", 0.0),
            ("offered.weight", 1.0),
            ("energy.weight", 1.0),
        ):
            model.get_parameter(layer).fill_(value)
    inputs = samples(SERIES)
    inputs[0, :, 9:] = 0
    steps, kept = model.get_submodule("steps")(inputs)
    annotations = model.get_submodule("layers.0")(steps, kept)
    weights, context = seen_at(model, inputs, "weights", "context")
    exponentials = torch.tanh(annotations[..., 0]).exp() * (inputs != 0).any(dim=1)
    expected = exponentials / exponentials.sum(dim=1, keepdim=True)
    assert weights.shape == (3, 2, 12)
    for query in range(2):
        torch.testing.assert_close(weights[:, query], expected)
        torch.testing.assert_close(context[:, query], (expected.unsqueeze(2) * annotations).sum(dim=1))
    torch.testing.assert_close(model(inputs), model.get_submodule("head")(context[:, 0]))


def test_attention_depends_on_the_sample_and_on_what_was_seen_before() -> None:
    weights, _ = seen_at(build("attention", SERIES), samples(SERIES), "weights", "context")
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 4))
    assert not torch.allclose(weights[0], weights[1], atol=1e-4)
    assert not torch.allclose(weights[:, 0], weights[:, 3], atol=1e-4)


def test_a_fixed_context_is_one_pattern_over_the_steps_that_are_there() -> None:
    model = build("fixed_context", SampleSpec((2, 3)), width=2)
    with torch.no_grad():
        model.get_parameter("weights.scores").copy_(torch.tensor([1.0, 2.0, 5.0]).log())
        model.get_parameter("positions").zero_()
        for name in ("weight", "bias"):
            # Nothing is added to a step's vector, which is the step itself.
            model.get_parameter(f"layers.0.seen.{name}").zero_()
        model.get_parameter("steps.vectors.weight").copy_(torch.eye(2))
        model.get_parameter("steps.vectors.bias").zero_()
    whole, short = [[8.0, 16.0, 24.0], [0.0, 8.0, -8.0]], [[3.0, 6.0, 0.0], [-3.0, 3.0, 0.0]]
    weights, context = seen_at(model, torch.tensor([whole, short]), "weights", "context")
    torch.testing.assert_close(weights, torch.tensor([[1 / 8, 2 / 8, 5 / 8], [1 / 3, 2 / 3, 0.0]]))
    # (8 + 32 + 120)/8 and (16 − 40)/8; (3 + 12)/3 and (−3 + 6)/3.
    torch.testing.assert_close(context, torch.tensor([[20.0, -3.0], [5.0, 1.0]]))


def test_bad_options_are_refused() -> None:
    with pytest.raises(PluginError, match=r"width: must be a multiple of heads, got 30 for 4 heads; change one"):
        build("transformer", TEXTS, width=30)
    with pytest.raises(PluginError, match=r"dropout: .*less than 1"):
        build("gru", TEXTS, dropout=1.0)
