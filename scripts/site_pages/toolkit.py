"""Measured figures of docs/toolkit.md: of compression, losses and temperature here, of new skills in ``skills``."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from typing import Any

import numpy as np

from fedkd.results.report.statistics import mean_and_ci
from site_pages import skills
from site_pages.results import bounds, interval, percent, results, table_row

_TEACHINGS = {
    "transfer": ("16,000 labels, the student's among them", "12,000 samples without labels, too"),
    "same labels": ("the student's labels", "12,000 samples without labels, too"),
    "same samples": ("the student's labels", "the same samples"),
}
_TEACHERS = ("one network", "ensemble")
_BESIDE = "kl + "
_TARGETS = {
    **{f"T = {value}": f"T = {value}" for value in (1, 2, 3, 5, 8)},
    **{f"{name} 5→1": f"{name} 5 → 1" for name in ("linear", "cosine", "exponential")},
    "per_sample": "`per_sample` (half of the largest entropy)",
    "T = 2, label_share 0.3": "T = 2, `label_share` 0.3",
    "T = 2, label_share 0.3, label_smoothing 0.1": "T = 2, `label_share` 0.3, `label_smoothing` 0.1",
}


def _compression() -> Iterator[str]:
    """What a student keeps, by what its teacher has seen."""
    titles = ("the teacher has seen", "and the student hears it on", "teacher (%)", "student", "without teacher")
    yield from (table_row(*titles, "points by the teacher"), "|---|---|---|---|---|---|")
    for name, words in _TEACHINGS.items():
        found = results("compression")["settings"][name]
        networks = (found["networks"][each] for each in ("teacher", "student", "student_without_teacher"))
        accuracies = (percent(each, "accuracy") for each in networks)
        yield table_row(*words, *accuracies, bounds(found["gain_over_no_teacher"]))


def _compression_kept() -> Iterator[str]:
    """How much smaller and faster the student is, and what it keeps."""
    found = results("compression")
    networks = found["settings"]["transfer"]["networks"]
    teacher, student, whole, small = (networks[name] for name in ("teacher", "student", "student_onnx", "student_int8"))
    yield (
        f"{found['parameters_ratio']:.1f} times fewer parameters keep {100 * found['accuracy_kept']:.1f} % of the "
        f"teacher's accuracy, and are {teacher['latency_ms_1'] / student['latency_ms_1']:.1f} times as fast; in 8 bits "
        f"the file is {whole['bytes'] / small['bytes']:.1f} times smaller again, and keeps "
        f"{100 * small['accuracy'] / whole['accuracy']:.1f} % of the student's accuracy."
    )


def _compression_words() -> Iterator[str]:
    """What a teacher's further labels give to itself, and to its student."""
    found = results("compression")
    best, same = (found["settings"][name]["networks"] for name in ("transfer", "same labels"))
    own, handed_on = (100 * (best[who]["accuracy"] - same[who]["accuracy"]) for who in ("teacher", "student"))
    ahead = 100 * (same["teacher"]["accuracy"] - same["student_without_teacher"]["accuracy"])
    yield (
        f"Of the {own:.2f} points that the teacher's further labels are worth to itself, {handed_on:.2f} come through "
        f"to a network of 1/{found['parameters_ratio']:.0f} of its size. A teacher that knows no more labels than its "
        f"student is {ahead:.2f} points better than the student would be by itself."
    )


def _losses() -> Iterator[str]:
    """Every loss, alone and beside KL, against KL alone."""
    yield table_row("loss", "one network: alone", "beside KL", "ensemble: alone", "beside KL")
    yield "|---|---|---|---|---|"
    versus = results("loss_study")["versus_kl"]
    for name in versus["one network"]:
        if not name.startswith(_BESIDE):
            found = (versus[teacher].get(before + name) for teacher in _TEACHERS for before in ("", _BESIDE))
            yield table_row(_loss(name), *("–" if each is None else bounds(each) for each in found))


def _losses_words() -> Iterator[str]:
    """What students have by KL, and which losses are better or worse than it."""
    found = results("loss_study")
    students = []
    for teacher in _TEACHERS:
        accuracy = interval(mean_and_ci(found["values"][teacher]["kl"]))
        students.append(f"{accuracy} % where {_which(teacher)} teaches ({np.mean(found['teacher'][teacher]):.1f} %)")
    yield f"By `kl` alone the student has {' and '.join(students)}."
    yield ""
    versus = [(name, teacher) for teacher in _TEACHERS for name in found["versus_kl"][teacher] if name != "labels"]
    alone = [each for each in versus if not each[0].startswith(_BESIDE)]
    beside = [each for each in versus if each[0].startswith(_BESIDE)]
    yield f"- Better than KL by itself: {_told(alone, better=True)}."
    yield f"- Better beside KL than KL alone: {_told(beside, better=True)}."
    yield f"- Worse beside KL than KL alone: {_told(beside, better=False)}."


def _told(losses: Sequence[tuple[str, str]], *, better: bool) -> str:
    """How many losses are better, or worse, than KL beyond chance, and which."""
    told = []
    for name, teacher in losses:
        found = results("loss_study")["versus_kl"][teacher][name]
        if found["low"] > 0 if better else found["high"] < 0:
            told.append(f"{_loss(name)} with {_which(teacher)}, {bounds(found)}")
    listed = f" ({'; '.join(told)})" if told else ""
    return f"{_count(told)} of {len(losses)}{listed}"


def _loss(name: str) -> str:
    base, _, layers = name.removeprefix(_BESIDE).partition(", ")
    return "labels alone" if base == "labels" else f"`{base}`{' between layers' if layers else ''}"


def _which(teacher: str) -> str:
    return "one network" if teacher == "one network" else "the ensemble"


def _count(found: Sized) -> str:
    return str(len(found) or "none")


def _temperature() -> Iterator[str]:
    """Every target against T = 2, beside the labels and by the teacher alone."""
    found = results("temperature_study")
    versus = found["versus_reference"]
    yield from (table_row("target", "with labels (λ by `task_decrease`)", "teacher alone (λ = 1)"), "|---|---|---|")
    for name, words in _TARGETS.items():
        cells = (versus.get(each) for each in (name, f"{name}, teacher alone"))
        yield table_row(words, *("–" if each is None else bounds(each) for each in cells))
    chosen = found["auto"]["chosen"].values()
    yield table_row(f"`auto` (chose {', '.join(chosen)})", bounds(versus["auto"]), "–")
    accuracy, teacher = (np.mean(found["values"]["T = 2"][each]) for each in ("accuracy", "teacher_accuracy"))
    yield from ("", f"At T = 2, with labels, the student has {accuracy:.1f} %; the teacher has {teacher:.1f}.")


def _temperature_words() -> Iterator[str]:
    """What the study says to the dilemma, to the choice of T and to other targets."""
    found = results("temperature_study")
    versus, auto = found["versus_reference"], found["auto"]
    split, means = found["lowest_minus_highest"]["teacher alone"], _means(found["values"])
    low, high = (means[f"T = {value}, teacher alone"] for value in (1, 8))
    with_labels = [means[f"T = {value}"]["copied_mistakes"] for value in (1, 2, 3, 5, 8)]
    others = [versus[name] for name in _TARGETS if name in versus and not re.fullmatch(r"T = \d", name)]
    samples = auto["choices"]["0"]["trials"][0]["validation"]["samples"]
    yield (
        f"- **Too high underfits: {_seen(split['accuracy'])}**, where nothing but the teacher is heard. T = 8 is "
        f"{bounds(split['accuracy'], signed=False)} points behind T = 1, and "
        f"{bounds(split['accuracy_where_teacher_right'], signed=False)} where the teacher is right. The student's "
        f"entropy is {low['student_entropy']:.2f} nats at T = 1 and {high['student_entropy']:.2f} at T = 8 (difference "
        f"{bounds(split['student_entropy'])}). With labels beside the teacher, T = 8 has {bounds(versus['T = 8'])} "
        "points against T = 2."
    )
    yield (
        f"- **Too low copies mistakes: {_seen(split['copied_mistakes'])}.** The student repeats "
        f"{low['copied_mistakes']:.1f} % of the teacher's mistakes at T = 1 and {high['copied_mistakes']:.1f} % at "
        f"T = 8 (difference {bounds(split['copied_mistakes'])}). With labels it is {min(with_labels):.1f} to "
        f"{max(with_labels):.1f} %."
    )
    yield (
        f"- `auto` is {bounds(auto['regret'], signed=False)} points behind the best candidate, which only test "
        f"samples tell ({auto['best']}); the worst one ({auto['worst']}) "
        f"{bounds(auto['regret_of_worst'], signed=False)}. It has {samples} validation samples."
    )
    better = [each for each in others if each["low"] > 0]
    yield (
        f"- Of {len(others)} schedules, temperatures by sample and consensus targets, {_count(better)} is better than "
        "a constant T = 2 beyond chance."
    )


def _means(values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    return {name: {key: float(np.mean(each)) for key, each in found.items()} for name, found in values.items()}


def _seen(found: Mapping[str, float]) -> str:
    return "yes" if found["low"] > 0 else "not here"


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "compression": _compression,
    "compression_kept": _compression_kept,
    "compression_words": _compression_words,
    "losses": _losses,
    "losses_words": _losses_words,
    "temperature": _temperature,
    "temperature_words": _temperature_words,
    **skills.PARTS,
}
