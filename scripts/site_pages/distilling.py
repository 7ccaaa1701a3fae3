"""What was found about λ and about distillation, for docs/distillation.md and docs/analysing.md."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from itertools import takewhile
from operator import getitem
from statistics import fmean
from typing import Any

from site_pages.results import bounds, interval, results, word

_TWISTS = {
    "changing": "a teacher that changes in every round",
    "foreign": "public samples from another data set",
    "misled": "a majority that names the wrong classes",
    "noised": "noise on every logit",
}


def _leads() -> Iterator[str]:
    """How far the default policy is ahead of its rivals."""
    found = results("lambda_study")
    whole, hard = found["versus_clock"], found["versus_clock_unforeseeable"]
    yield f"| default minus | all {whole['cells']} cells | the {hard['cells']} in which no clock can know |"
    yield "|---|---|---|"
    yield f"| the tuned clock ({found['clock']}) | {bounds(whole)} | {bounds(hard)} |"
    yield f"| itself without its gradient terms | {bounds(found['versus_without_gradients'])} | |"
    yield f"| the best fixed λ of each cell, chosen on other seeds | {bounds(found['versus_best_fixed'])} | |"


def _cells() -> Iterator[str]:
    """In which cells the default policy gains and loses."""
    found = results("lambda_study")
    mean, regret, terms = found["mean"], found["default_regret"], found["versus_without_gradients"]
    gains = {cell: value - mean["without_gradients"][cell] for cell, value in mean["default"].items()}
    worst, most, least = (
        max(regret, key=regret.get),
        max(gains, key=gains.__getitem__),
        min(gains, key=gains.__getitem__),
    )
    chance = ", which may be chance" if terms["low"] < 0 < terms["high"] else ""
    misled = "alpha=1 labelled=500 mean_probabilities misled"
    yield (
        f"The default is at worst {regret[worst]:.2f} points behind the best fixed λ of a cell ({_in_words(worst)}). "
        f"Its gradient terms earn {terms['mean']:.2f} points on average{chance}: they gain most with {_in_words(most)} "
        f"({mean['default'][most]:.1f} % with them, {mean['without_gradients'][most]:.1f} % without, "
        f"{mean['clock'][most]:.1f} % by the clock), and lose most with {_in_words(least)} "
        f"({mean['default'][least]:.1f} % with them, {mean['without_gradients'][least]:.1f} % without). Read with "
        "care: the lead over the clock comes from few cells, most of all from the changing teacher, where a clock "
        "begins every round by following a worse teacher than the last; behind a majority that names the wrong classes "
        f"the clock has {mean['clock'][misled]:.1f} %, and the default {mean['default'][misled]:.1f} %."
    )


def _in_words(cell: str) -> str:
    alpha, labels, strategy, *odd = cell.split()
    words = [alpha.replace("alpha=", "α = "), f"{labels.removeprefix('labelled=')} labels", f"`{strategy}`"]
    return ", ".join(words + [_TWISTS.get(each, f"{each.removeprefix('clients=')} clients") for each in odd])


def _teacher_alone() -> Iterator[str]:
    """What the labels are worth to the reference experiment's student."""
    found = results("fashion_mnist")
    yield (
        "In the reference experiment, [`configs/fashion_mnist.yaml`](../configs/fashion_mnist.yaml), the default is "
        f"{interval(found['student_lead']['λ = 1'])} points ahead of λ = 1 with all else equal "
        f"({word(len(found['accuracy']['student']['values']))} seeds, "
        "[fashion_mnist.json](results/fashion_mnist.json))."
    )


def _statements() -> Iterator[str]:
    """What the importance analysis says, and what holds."""
    study, found, taylor = results("lambda_study"), results("lambda_tuning")["statements"], results("taylor_fidelity")
    above, cells = found["best_fixed_above_half"], found["cells"]
    teacher, labels = (found[f"{name}_alone_behind_best_fixed"] for name in ("teacher", "labels"))
    one, behind = found["one_fixed_for_all"].removeprefix("fixed "), found["one_fixed_for_all_behind_best_fixed"]
    rates = zip(taylor["rates"], taylor["median_ratio"], strict=True)
    *_, (rate, _) = takewhile(lambda each: abs(each[1] - 1) <= 0.1, rates)
    yield from ("| statement | here |", "|---|---|")
    yield (
        f"| distillation should outweigh the labels (its premise) | {_answer(2 * above > cells)}: the best fixed λ is "
        f"above ½ in {above} of {cells} cells |"
    )
    yield (
        f"| the teacher alone can do harm | {_answer(teacher > labels)}: λ = 1 is {teacher:.2f} points behind the best "
        f"fixed λ of each cell, the labels alone {labels:.2f} |"
    )
    yield (
        f"| λ should be dynamic | {_answer(behind > 0)}: the best fixed λ for all cells ({one}) is {behind:.2f} points "
        f"behind the best of each, the default {study['versus_best_fixed']['mean']:.2f} ahead of that |"
    )
    yield (
        f"| λ should follow the gradients' norms and angle | hardly: {bounds(study['versus_without_gradients'])} "
        "points for the gradient terms; order within a round, and held-out labels, are worth more |"
    )
    yield (
        f"| the loss falls as first order predicts | to within a tenth up to a learning rate of about {rate:.2g} "
        "(below) |"
    )


def _answer(holds: bool) -> str:
    return "yes" if holds else "no"


def _asked() -> Iterator[str]:
    """What the study of distillation asks, and of whom."""
    found = results("analysis_study")
    teacher, student, alone = (
        100 * _mean("own", "calibration", "models", name, "accuracy")
        for name in ("teacher", "student", "without_teacher")
    )
    yield (
        "`python scripts/analysis_study.py --preset full` ([results](results/analysis_study.json)) asks of "
        "distillation what is said of it. On Fashion-MNIST with 4,000 public samples, 500 of them labelled, a "
        f"convolutional network ({teacher:.1f} % right) or an ensemble of ten clients teaches LeNet-5 ({student:.1f} % "
        f"at T = 4, {alone:.1f} % without a teacher); {word(len(found['seeds']))} seeds, {word(found['students'])} "
        "students each where students are compared with one another. A claim is a difference that it says is above 0, "
        "with Student's 95 % interval over seeds."
    )


def _claims() -> Iterator[str]:
    """Every claim with its difference and verdict."""
    yield from ("| what is said | measured | difference | |", "|---|---|---|---|")
    for said, claim in results("analysis_study")["claims"].items():
        yield f"| {said} | {claim['measured']} | {bounds(claim)} | {claim['verdict']} |"


def _students() -> Iterator[str]:
    """What comes of distilling from one network."""
    claims = results("analysis_study")["claims"]
    scaled = [f"{_mean('own', 'curvature', 'logits', 'scaled', place):.2f}" for place in range(4)]
    cosines = [_mean("own", "saliency", place, "gradient", "student", "mean") for place in range(4)]
    unaided = _mean("own", "saliency", 0, "gradient", "without_teacher", "mean")
    names = ("student", "teacher", "without_teacher")
    errors = [100 * _mean("own", "calibration", "models", name, "ece") for name in names]
    afterwards = [100 * _mean("own", "calibration", "models", name, "ece_scaled") for name in names]
    pixels, last, alone = (
        100 * _mean("own", "probes", "networks", name, "layers", layer, "accuracy")
        for name, layer in (("student", 0), ("student", -1), ("without_teacher", -1))
    )
    yield (
        "- **The landscape is not smoother by itself.** The bare KL is flatter at a higher T, as 1/T² says. The loss "
        "that is trained has the factor T², and its largest eigenvalue in the student's parameters is "
        f"{math.exp(-claims['curvature of T²·KL falls with T']['mean']):.1f} times as large at T = 8 as at T = 1: a "
        "student that is sure of itself curves little at T = 1, and T undoes that. At the logits it is "
        f"{', '.join(scaled[:-1])} and {scaled[-1]} at T = 1, 2, 4 and 8."
    )
    yield (
        f"- **Saliency is aligned a little**: cosines of {min(cosines):.2f} to {max(cosines):.2f} with the teacher's "
        f"gradients, against {unaided:.2f} without a teacher."
    )
    yield (
        f"- **Calibration is inherited**: a calibration error of {errors[0]:.1f} % against the teacher's "
        f"{errors[1]:.1f} % and {errors[2]:.1f} % from labels alone (the two rows of the table are one number, for the "
        "teacher's error is the smallest). Temperature scaling on the validation samples brings all three to "
        f"{min(afterwards):.1f} to {max(afterwards):.1f} %."
    )
    yield (
        "- **Layers separate better at every depth, but not earlier.** The student's layers are worth "
        f"{100 * claims['its layers separate better']['mean']:.1f} points more on average, and most in the last ones; "
        f"95 % of its last probe is reached later, because the last probe is better ({last:.1f} against {alone:.1f} "
        "%). Without a teacher layers add next to nothing to what a linear classifier sees in the pixels "
        f"({pixels:.1f} %). *Representational compression* is not what is seen here."
    )


def _ensembles() -> Iterator[str]:
    """What comes of distilling from an ensemble, and of the number of public samples."""
    aleatoric, epistemic = (
        [_mean("ensemble", "uncertainty", "inherited", name, part) for name in ("student", "without_teacher")]
        for part in ("aleatoric_alone", "epistemic_alone")
    )
    auroc = [
        _mean("ensemble", "uncertainty", "auroc", name)
        for name in ("student_entropy", "teacher_entropy", "without_teacher_entropy", "epistemic")
    ]
    sizes = list(results("analysis_study")["found"][0]["own"]["risk"])
    slack, alone, gap, error = (
        [100 * _mean("own", "risk", size, figure) for size in sizes]
        for figure in ("slack", "right_alone", "gap", "error")
    )
    yield (
        f"- **Aleatoric uncertainty is inherited** (a rank correlation of {aleatoric[0]:.2f} against "
        f"{aleatoric[1]:.2f}, the epistemic part held fixed), and the epistemic part shrinks from "
        f"{_mean('ensemble', 'clients'):.2f} nats between clients to {_mean('ensemble', 'taught'):.2f} between their "
        f"students. But students inherit some of the clients' disagreement as well ({epistemic[0]:.2f} against "
        f"{epistemic[1]:.2f}): where clients disagree, their mean is flat, and the student learns that flatness as if "
        "it were in the data."
    )
    yield (
        "- **Strange samples** (digits) are told from test samples by the student's entropy as well as by the "
        f"teacher's (AUROC {auroc[0]:.2f} and {auroc[1]:.2f}; {auroc[2]:.2f} without a teacher), and by the clients' "
        f"disagreement not at all ({auroc[3]:.2f})."
    )
    yield (
        f"- **The bound R(h) ≤ ε_T + a generalisation term** holds by {min(slack):.0f} to {max(slack):.0f} points to "
        f"spare: on {min(alone):.1f} to {max(alone):.1f} % of test samples the student is right where its teacher is "
        f"wrong. From {int(sizes[0]):,} to {int(sizes[-1]):,} public samples the generalisation gap of the "
        f"disagreement falls from {gap[0]:.1f} to {gap[-1]:.1f} points and the student's error from {error[0]:.1f} to "
        f"{error[-1]:.1f} %; what the gap loses, the disagreement on samples learned from partly wins."
    )


def _mean(*keys: str | int) -> float:
    """The mean over seeds of the figure that has these keys in the study of distillation."""
    seeds: list[Any] = results("analysis_study")["found"]
    return fmean(reduce(getitem, keys, seed) for seed in seeds)


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "lambda_study": _leads,
    "lambda_study_cells": _cells,
    "lambda_study_statements": _statements,
    "fashion_mnist_lambda": _teacher_alone,
    "analysis_study_asked": _asked,
    "analysis_study": _claims,
    "analysis_study_students": _students,
    "analysis_study_ensembles": _ensembles,
}
