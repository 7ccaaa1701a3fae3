"""Which temperature is chosen, by hand, and that trying others leaves the student as it was."""

import copy
from collections.abc import Mapping
from itertools import count

import pytest
import torch
from torch import Tensor, nn

from fedkd.aggregation.types import Teacher
from fedkd.config.schema import DistillationConfig
from fedkd.core.errors import DivergedError
from fedkd.distillation.balancer import build_balancer
from fedkd.distillation.distiller import DistillationResult, Distiller
from fedkd.distillation.temperature import TemperatureSchedule, build_temperature
from fedkd.distillation.temperature_choice import Progress, TemperatureChoice, choose
from fedkd.distillation.validation import Validation

SAMPLES = 10
EVERYTHING = Validation(torch.ones(SAMPLES, dtype=torch.bool), torch.zeros(SAMPLES, dtype=torch.long))
"""All samples are of the first of two classes."""
WRONG = 4
"""On how many of the last of them the teacher is wrong."""


class Answers(nn.Module):
    """The logits of each sample, which its input names."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits[inputs.long().flatten()]


def answers(right: str, sure: float = 2.0) -> Answers:
    """As ``right`` says of each sample: right (r), wrong (w), or not a number (n)."""
    margin = {"r": sure, "w": -sure, "n": float("nan")}
    return Answers(torch.tensor([[margin[each], 0.0] for each in right]))


def chosen(students: Mapping[str, Answers], validation: Validation | None = EVERYTHING) -> TemperatureChoice:
    schedules = {name: build_temperature("constant", value=1.0 + at) for at, name in enumerate(students)}
    by_schedule = {id(schedule): students[name] for name, schedule in schedules.items()}

    def taught(schedule: TemperatureSchedule, progress: Progress) -> nn.Module:
        progress(1, 1)
        return by_schedule[id(schedule)]

    teacher = answers("r" * (SAMPLES - WRONG) + "w" * WRONG).logits.detach().log_softmax(dim=-1)
    inputs = torch.arange(float(SAMPLES)).unsqueeze(1)
    return choose(schedules, taught, teacher, inputs, validation, lambda done, total: None)


def test_a_clearly_better_student_wins_whatever_it_does_where_the_teacher_is_wrong() -> None:
    # 3 against 8 right; on 9 samples one alone is right: the lead of 5 is more than √9.
    found = chosen({"low": answers("wwwwwwrrrw"), "high": answers("rrrrrrwwrr"), "none": answers("w" * 10)})
    assert (found.chosen, found.close) == ("high", ("high",))
    report = found.trials[1].validation
    assert report is not None
    assert (report.accuracy, report.accuracy_where_teacher_right, report.accuracy_where_teacher_wrong) == (
        0.8,
        1.0,
        0.5,
    )


def test_among_those_that_chance_may_have_kept_apart_the_one_counts_that_copies_fewest_mistakes() -> None:
    # 8 against 7 right; on 3 samples one alone is right: a lead of 1 is less than √3. Where the teacher is wrong: 2, 3.
    close = {"copies": answers("rrrrrrrrww"), "corrects": answers("rrrrwwrrrw")}
    found = chosen(close)
    assert (found.chosen, found.close) == ("corrects", ("copies", "corrects"))
    # A lead of 2 on 2 samples is more than √2.
    assert chosen({"copies": answers("rrrrrrrrww"), "less": answers("rrrrwwrrww")}).close == ("copies",)
    # And one of 1 on 1 sample is one standard error.
    assert chosen({"copies": answers("rrrrrrrrww"), "less": answers("rrrrrwrrww")}).close == ("copies", "less")


def test_of_equals_the_more_likely_one_wins_and_then_the_first() -> None:
    unsure, sure = answers("rrrrrrrrww", 0.5), answers("rrrrrrrrww", 1.5)
    # −ln p is ln(1 + e^−1.5) on 8 samples and ln(1 + e^1.5) on 2: 0.501, and 0.574 with 0.5 in place of 1.5.
    found = chosen({"unsure": unsure, "sure": sure})
    assert [trial.loss for trial in found.trials] == pytest.approx([0.5741, 0.5014], abs=1e-3)
    assert found.chosen == "sure"
    assert chosen({"one": sure, "same": copy.deepcopy(sure)}).chosen == "one"


def test_a_student_that_diverges_is_out_and_all_of_them_are_an_error() -> None:
    found = chosen({"hot": answers("nrrrrrrrrr"), "cold": answers("rwwwwwwwww")})
    assert found.chosen == "cold"
    assert (found.trials[0].validation, found.trials[0].loss) == (None, None)
    assert "hot: diverged" in found.text
    with pytest.raises(DivergedError, match="under all 2 temperatures"):
        chosen({"hot": answers("n" * 10), "hotter": answers("n" * 10)})


@pytest.mark.parametrize(
    "validation", [None, Validation(torch.zeros(SAMPLES, dtype=torch.bool), torch.zeros(0).long())]
)
def test_without_validation_samples_nothing_is_chosen(validation: Validation | None) -> None:
    with pytest.raises(ValueError, match=r"raise data\.public\.labelled or data\.public\.validation"):
        chosen({"one": answers("r" * 10), "two": answers("r" * 10)}, validation)


class Trials(TemperatureSchedule):
    """Contenders of the test's own."""

    def __init__(self, contenders: Mapping[str, TemperatureSchedule], steps: int | None = None) -> None:
        self._contenders, self._steps = contenders, steps

    @property
    def contenders(self) -> Mapping[str, TemperatureSchedule]:
        return self._contenders

    @property
    def trial_steps(self) -> int | None:
        return self._steps

    def at(self, progress: float, teacher: Tensor) -> float:
        raise AssertionError("a contender takes its place")


class Watched(TemperatureSchedule):
    """T = 2, noting what is asked for."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def at(self, progress: float, teacher: Tensor) -> float:
        self.seen.append(progress)
        return 2.0


HELD_OUT = torch.arange(200) % 4 == 0


def problem() -> tuple[Tensor, Tensor, Tensor, Teacher]:
    """Noisy two-class inputs, their truth, labels on some, and a teacher that is wrong now and then."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 2, (200,), generator=draw)
    inputs = torch.randn(200, 8, generator=draw) + (truth * 2.0 - 1.0).unsqueeze(1) * 0.3
    labels = torch.where(torch.arange(200) % 8 == 1, truth, -1)
    logits = torch.randn(200, 2, generator=draw) + 3.0 * nn.functional.one_hot(truth, 2)
    return inputs, truth, labels, Teacher.from_logits(logits)


def distiller(schedule: TemperatureSchedule, rounds: int = 2) -> Distiller:
    torch.random.set_rng_state(torch.Generator().manual_seed(0).get_state())
    student = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    config = DistillationConfig(steps=30, batch_size=16, labelled_batch_size=8)
    balancer = build_balancer("task_decrease")
    return Distiller(student, balancer, config, temperature=schedule, seed=0, rounds=rounds)


def distil(trainer: Distiller, round: int) -> DistillationResult:
    inputs, truth, labels, teacher = problem()
    return trainer.distil(teacher, inputs, labels, round=round, validation=Validation(HELD_OUT, truth[HELD_OUT]))


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


def test_a_trial_is_what_its_temperature_alone_would_give_and_leaves_no_trace() -> None:
    temperatures = (1.0, 3.0, 9.0)
    trainer = distiller(build_temperature("auto", candidates=list(temperatures)))
    # Momenta and a balancer that has seen something go into the trials, too.
    inputs, _, labels, _ = problem()
    trainer.fit_labels(inputs, labels, round=0)
    result = distil(trainer, 1)
    assert result.choice is not None
    for value, trial in zip(temperatures, result.choice.trials, strict=True):
        alone = distiller(build_temperature("constant", value=value))
        alone.fit_labels(inputs, labels, round=0)
        rows = distil(alone, 1).rows
        alone.student.eval()
        hits = alone.student(inputs[HELD_OUT]).argmax(1) == problem()[1][HELD_OUT]
        assert trial.validation is not None
        assert trial.validation.accuracy == pytest.approx(float(hits.double().mean()))
        if trial.candidate == result.choice.chosen:
            assert rows == result.rows
            assert same(alone.student, trainer.student)


def test_the_choice_is_made_once_and_kept_over_an_interruption() -> None:
    schedule = build_temperature("auto", candidates=[1, 3, 9])
    whole = distiller(schedule)
    first = distil(whole, 1)
    resumed = distiller(schedule)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    results = [distil(trainer, 2) for trainer in (whole, resumed)]
    assert first.choice is not None
    assert [result.choice for result in results] == [None, None]
    assert results[0].rows == results[1].rows
    assert {f"{row.temperature:g}" for row in results[0].rows} == {first.choice.chosen}
    assert same(whole.student, resumed.student)


@pytest.mark.parametrize(("steps", "tried"), [(None, 30), (5, 5)])
def test_a_schedule_goes_through_all_its_values_in_a_trial(steps: int | None, tried: int) -> None:
    first, second = Watched(), Watched()
    trainer = distiller(Trials({"first": first, "second": second}, steps))
    done: list[tuple[int, int]] = []
    inputs, truth, labels, teacher = problem()
    trainer.distil(
        teacher,
        inputs,
        labels,
        round=1,
        validation=Validation(HELD_OUT, truth[HELD_OUT]),
        progress=lambda *at: done.append(at),
    )
    # Two that are equal: the first one it is, which goes on with the first of two rounds.
    assert second.seen == pytest.approx([step / (tried - 1) for step in range(tried)])
    assert first.seen[:tried] == second.seen
    assert first.seen[tried:] == pytest.approx([step / 59 for step in range(30)])
    assert done[: 2 * tried] == [(step, 2 * tried) for step in range(1, 2 * tried + 1)]
    assert done[2 * tried :] == [(step, 30) for step, _ in zip(count(1), range(30), strict=False)]
