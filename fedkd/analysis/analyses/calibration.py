"""Whether the models are as often right as they say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from fedkd.analysis.analysis import Analysis, Finding, NotKnown
from fedkd.analysis.answers import NAMES, answers, key
from fedkd.analysis.calibration import (
    BINS,
    Reliability,
    brier_score,
    fitted_temperature,
    negative_log_likelihood,
    reliability,
    scaled,
)
from fedkd.analysis.subject import ALONE, STUDENT, TEACHER, Samples, Subject
from fedkd.models import hit_rate, predict
from fedkd.results.report.style import BLUE, GREY, ORANGE, Figure, dress, new_figure

Figures = dict[str, float | None]
_CLIENT = "a client, on average"


@dataclass(frozen=True)
class Calibration(Analysis):
    """Calibration error (15 bins), Brier score and NLL of all models, before and after temperature scaling.

    Guo et al. 2017 (arXiv 1706.04599). Each model's temperature is fitted on the server's validation samples; figures
    are of ``samples`` test samples at most, the same for all models.
    """

    samples: Annotated[int, Field(ge=1)] = 2000

    def measure(self, subject: Subject) -> Finding:
        test = subject.test.some(self.samples, subject.generator("calibration"))
        asked = answers(subject, test.inputs)
        held_out, reasons = _validation(subject)
        to_fit = {} if held_out is None else answers(subject, held_out.inputs).of
        models, curves = {}, {}
        for name, said in asked.of.items():
            best = None if held_out is None else fitted_temperature(to_fit[name], held_out.labels)
            models[name], curves[name] = _measured(said, test, best)
        clients = {}
        for client, network in sorted(subject.clients.items()):
            best = None
            if held_out is not None:
                best = fitted_temperature(predict(network, held_out.inputs), held_out.labels)
            clients[client], _ = _measured(predict(network, test.inputs).log_softmax(dim=-1), test, best)
        shown = {NAMES[name]: each for name, each in models.items()}
        if clients:
            shown[_CLIENT] = _mean(list(clients.values()))
        figures: dict[str, Any] = {
            "samples": len(test.labels),
            "validation_samples": None if held_out is None else len(held_out.labels),
            "bins": BINS,
            "models": {key(name): each for name, each in models.items()},
            "clients": {str(client): each for client, each in clients.items()},
            "clients_mean": shown.get(_CLIENT),
        }
        return Finding(
            figures,
            (*_before(shown), *_after(shown, held_out), *reasons, *asked.missing),
            lambda: _draw(curves),
            "Of the test samples of which a model is about so sure, so many are right: on the dashed diagonal it is as "
            "often right as it says, below it is too sure. Dots are larger where there are more samples.",
        )


def _validation(subject: Subject) -> tuple[Samples | None, tuple[str, ...]]:
    try:
        return subject.validation, ()
    except NotKnown as reason:
        return None, (f"The figures after temperature scaling are left out, for nothing is fitted on test: {reason}.",)


def _measured(
    said: Float[Tensor, "samples classes"], test: Samples, temperature: float | None
) -> tuple[Figures, tuple[Reliability, Reliability | None]]:
    """Figures and curves of one model, those after scaling None where there is no temperature."""
    figures: Figures = {"accuracy": hit_rate(said, test.labels), "temperature": temperature}
    curves: list[Reliability | None] = []
    mended = None if temperature is None else scaled(said, temperature)
    for ending, each in (("", said), ("_scaled", mended)):
        curve = None if each is None else reliability(each, test.labels)
        figures[f"confidence{ending}"] = None if each is None else float(each.double().exp().amax(dim=-1).mean())
        figures[f"ece{ending}"] = None if curve is None else curve.error
        figures[f"brier{ending}"] = None if each is None else brier_score(each, test.labels)
        figures[f"nll{ending}"] = None if each is None else negative_log_likelihood(each, test.labels)
        curves.append(curve)
    before, after = curves
    assert before is not None
    return figures, (before, after)


def _mean(clients: list[Figures]) -> Figures:
    """The means over the clients that have a figure; None where none has."""
    result: Figures = {}
    for name in clients[0]:
        known = [value for each in clients if (value := each[name]) is not None]
        result[name] = sum(known) / len(known) if known else None
    return result


def _before(shown: Mapping[str, Figures]) -> tuple[str, ...]:
    errors = ", ".join(f"{name} {_percent(each['ece'])} ({_sureness(each)})" for name, each in shown.items())
    scores = ", ".join(f"{name} {each['brier']:.3f} and {each['nll']:.3f}" for name, each in shown.items())
    found = [
        f"Calibration error, the gap between how sure a model is and how often it is right (0 is best): {errors}.",
        f"Brier score and negative log-likelihood, which reward being right as well (less is better): {scores}.",
    ]
    student, alone, teacher = (shown.get(NAMES[name]) for name in (STUDENT, ALONE, TEACHER))
    if student is not None and alone is not None:
        gain = (alone["ece"] or 0.0) - (student["ece"] or 0.0)
        nearer = "" if teacher is None else f"; its teacher's is {_percent(teacher['ece'])}"
        better = f"{100 * abs(gain):.1f} points {'better' if gain >= 0 else 'worse'}"
        found.append(f"Taught, the student is calibrated {better} than from labels alone{nearer}.")
    return tuple(found)


def _after(shown: Mapping[str, Figures], held_out: Samples | None) -> tuple[str, ...]:
    if held_out is None:
        return ()
    fitted = {name: each for name, each in shown.items() if each["temperature"] is not None}
    found = []
    if fitted:
        changes = ", ".join(
            f"{name} {_percent(each['ece_scaled'])} (T = {each['temperature']:.2f})" for name, each in fitted.items()
        )
        found.append(
            f"After temperature scaling on {len(held_out.labels)} validation samples the calibration error is: "
            f"{changes}; T above 1 says that a model was too sure."
        )
    if left := [name for name in shown if name not in fitted]:
        found.append(
            f"No temperature suits {', '.join(left)}: on the {len(held_out.labels)} validation samples all answers are "
            "right, or none better than a guess."
        )
    return tuple(found)


def _sureness(figures: Figures) -> str:
    excess = (figures["confidence"] or 0.0) - (figures["accuracy"] or 0.0)
    if abs(excess) < 0.005:
        return "as sure as it should be, on average"
    return "too sure" if excess > 0 else "not sure enough"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.1f}%"


def _draw(curves: Mapping[str, tuple[Reliability, Reliability | None]]) -> Figure:
    """A reliability diagram per model, before and after temperature scaling."""
    figure = new_figure(width=3.6 * len(curves) + 0.8, height=4.2)
    for axes, (name, pair) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        dress(axes, NAMES[name].removeprefix("the ").capitalize(), "how sure (%)", "how often right (%)")
        axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle="--")
        looks = ((BLUE, "as it is"), (ORANGE, "at its best temperature"))
        for curve, (colour, label) in zip(pair, looks, strict=True):
            if curve is None:
                continue
            there = curve.share > 0
            x, y = 100 * curve.confidence[there], 100 * curve.accuracy[there]
            title = f"{label}: error {_percent(curve.error)}"
            axes.plot(x.tolist(), y.tolist(), color=colour, linewidth=1.2, label=title)
            sizes = (12 + 160 * curve.share[there]).tolist()
            axes.scatter(x.tolist(), y.tolist(), s=sizes, color=colour, linewidths=0)
        axes.set_xlim(0, 102)
        axes.set_ylim(0, 102)
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure
