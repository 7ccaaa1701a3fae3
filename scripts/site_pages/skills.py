"""Measured figures of docs/toolkit.md: former selves, tasks one after the other and at once, sequences."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from site_pages.results import bounds, interval, results, row_of, table_row

_DATA = {"digits": "digits", "fashion_mnist": "Fashion-MNIST"}
_FORMER_SELF = {
    "absent_before": "absent classes, as received",
    "absent_after": "absent, after local training",
    "forgotten": "forgotten",
    "own_after": "own, after training",
    "server": "server's model",
}
_NETWORKS = {
    "teacher": "teacher, dynamic attention",
    "kl + context": "fixed, by `kl` and `context`",
    "kl": "fixed, by `kl`",
    "labels": "fixed, by the labels alone",
    "the same weight for all": "the same weight for every step",
}
_TAUGHT = ("relations", "kl", "kl + relations")


def _former_self() -> Iterator[str]:
    """What clients know and forget, by how much their former selves count."""
    yield from (table_row("", *_FORMER_SELF.values()), "|---|---|---|---|---|---|")
    for row in results("former_self")["rows"]:
        weight, classes = row["setting"]
        setting = f"β = {weight:g}, {classes}" if weight else "β = 0"
        yield table_row(setting, *(interval(row[key]) for key in _FORMER_SELF))


def _former_self_words() -> Iterator[str]:
    """How much more of the classes they lack clients know after training."""
    after = [row["absent_after"][0] for row in results("former_self")["rows"]]
    yield (
        f"After local training clients know up to {max(after) / after[0]:.1f} times as much of the classes they lack "
        f"({after[0]:.1f} to {max(after):.1f} %, though the seeds differ widely)."
    )


def _continual() -> Iterator[str]:
    """What every learner knows after all tasks, and what it has forgotten."""
    yield table_row("tasks", "learner", "all tasks", "new task", "forgotten", "forgotten, task told")
    yield "|---|---|---|---|---|---|"
    for row in results("continual")["rows"]:
        learner = row["learner"].replace("fine_tuning", "fine-tuning").replace("_", " ")
        learner += "" if row["lambda"] is None else f", λ = {row['lambda']:g}"
        cells = (interval(row[key]) if key in row else "" for key in ("average", "new", "forgetting", "within"))
        yield table_row(str(row["tasks"]), learner, *cells)


def _continual_words() -> Iterator[str]:
    """How much the former self takes away from the forgetting, and at what price."""
    two, five = _learner(2, 0.5), _learner(5, 0.7)
    weak = [_learner(tasks, 0.2) for tasks in (2, 5)]
    rises = [row["average"][0] - _learner(row["tasks"], None, "rehearsal")["average"][0] for row in (two, five)]
    left = [
        100 * _learner(tasks, 0.5)["forgetting"][0] / _learner(tasks, None, "fine_tuning")["forgetting"][0]
        for tasks in (2, 5)
    ]
    yield (
        f"Of rehearsal's forgetting {two['of_rehearsal'][0]:.0f} % is left at λ = 0.5 with two tasks and "
        f"{five['of_rehearsal'][0]:.0f} % at λ = 0.7 with five, for {two['new_lost'][0]:.1f} and "
        f"{five['new_lost'][0]:.1f} points on a new task; for {weak[0]['new_lost'][0]:.1f} and "
        f"{weak[1]['new_lost'][0]:.1f} points (λ = 0.2), {weak[0]['of_rehearsal'][0]:.0f} % (two tasks) and "
        f"{weak[1]['of_rehearsal'][0]:.0f} % (five). The mean over all tasks rises by {rises[0]:.1f} points (two "
        f"tasks, λ = 0.5) and {rises[1]:.1f} (five, λ = 0.7). Of fine-tuning's forgetting {left[0]:.0f} and "
        f"{left[1]:.0f} % are left (λ = 0.5)."
    )


def _learner(tasks: int, share: float | None, learner: str = "former_self") -> Mapping[str, Any]:
    return row_of("continual", tasks=tasks, learner=learner, **{"lambda": share})


def _sequences() -> Iterator[str]:
    """How far students with a fixed pattern come, on both data sets."""
    titles = (f"{words}: accuracy (%) | to the teacher | pattern" for words in _DATA.values())
    yield from (table_row("", *titles), "|---|---|---|---|---|---|---|")
    for network, words in _NETWORKS.items():
        cells = []
        for data in _DATA:
            row = row_of("sequences", data=data, network=network)
            cells.append(interval(row["accuracy"]) if "accuracy" in row else "")
            cells.append(interval(row["minus_teacher"], signed=True) if "minus_teacher" in row else "")
            cells.append(f"{row['variation'][0]:.2f}" if "variation" in row else "")
        yield table_row(words, *cells)


def _sequences_words() -> Iterator[str]:
    """How near the student is to its teacher, and how much faster."""
    rows = [row_of("sequences", data=data, network="kl + context") for data in _DATA]
    points, alone, many = (
        [row[key][0] for row in rows] for key in ("minus_teacher", "times_faster_1", "times_faster_64")
    )
    yield (
        f"Its accuracy is {' and '.join(interval((each, None), signed=True) for each in points)} points from its "
        f"teacher's, and it is {min(alone):.0f} to {max(alone):.0f} times as fast for one sequence, {min(many):.0f} to "
        f"{max(many):.0f} times for 64 (on one thread of the CPU, medians)."
    )


def _multi_task() -> Iterator[str]:
    """What relations and answers add, by data set and task."""
    titles = ("data, task", "teacher (%)", "labels alone (%)")
    yield table_row(*titles, "relations − labels alone", "KL − labels alone", "KL and relations − KL")
    yield "|---|---|---|---|---|---|"
    for data, task in dict.fromkeys((row["data"], row["task"]) for row in results("multi_task")["rows"]):
        found = {"data": data, "task": task}
        rows = [row_of("multi_task", network=name, **found) for name in _TAUGHT]
        accuracies = (
            interval(row_of("multi_task", network=name, **found)["accuracy"]) for name in ("teacher", "labels")
        )
        yield table_row(f"{_DATA[data]}, {task}", *accuracies, *(bounds(row["difference"]) for row in rows))


def _multi_task_words() -> Iterator[str]:
    """Where relations and answers teach something, and how near the student's relations come to the teacher's."""
    rows = [row for row in results("multi_task")["rows"] if "difference" in row]
    by_network = {name: [row["difference"] for row in rows if row["network"] == name] for name in _TAUGHT}
    above = {name: sum(each["low"] > 0 for each in found) for name, found in by_network.items()}
    nearer = []
    for data, words in _DATA.items():
        both, answers = (row_of("multi_task", data=data, network=name)["apart"][0] for name in ("kl + relations", "kl"))
        nearer.append(f"{both:.4f} from {answers:.4f} on {words}")
    yield (
        f"Of {len(by_network['kl'])} intervals, {above['kl']} are above 0 for the answers, {above['relations']} for "
        f"the relations alone, and {above['kl + relations']} for the relations beside the answers. Beside KL the "
        f"relations come nearer to the teacher's: {', '.join(nearer)} (Huber's loss between distances, on test "
        "samples; not tested for significance)."
    )


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "former_self": _former_self,
    "former_self_words": _former_self_words,
    "continual": _continual,
    "continual_words": _continual_words,
    "sequences": _sequences,
    "sequences_words": _sequences_words,
    "multi_task": _multi_task,
    "multi_task_words": _multi_task_words,
}
