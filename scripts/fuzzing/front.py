"""The command line of ``scripts/fuzz.py``, and what it prints."""

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, cycle, islice
from typing import Any

from fuzzing.families import FAMILIES, TURNS
from fuzzing.outcome import FAULTS, Verdict
from fuzzing.trial import attempt, scratch, work_in
from fuzzing.workers import Finished, Task, try_all

PLURALS = {Verdict.traceback: "tracebacks", Verdict.nonsense: "nonsense", Verdict.hang: "hangs"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Try cases and say what came of them; 1 where any is a fault."""
    parser = argparse.ArgumentParser(description="Try bad inputs on fedkd, repeatably.")
    parser.add_argument("--seconds", type=float, default=math.inf, help="give out no case after so many")
    parser.add_argument("--cases", type=int, help="how many to try (default: 10000, any number with --seconds)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed has the same cases in the same order")
    parser.add_argument("--family", choices=sorted(FAMILIES), action="append", help="only this one; several times")
    parser.add_argument("--case", type=int, help="try one case of a family in this process, and print what it is")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--json", action="store_true", help="print the counts only, as JSON")
    asked = parser.parse_args(arguments)
    families = asked.family or list(FAMILIES)
    if asked.case is not None:
        if asked.family is None or len(families) != 1:
            parser.error("--case: needs one --family")
        return _one(Task(families[0], asked.case, asked.seed))
    cases = asked.cases if asked.cases is not None else 10_000 if math.isinf(asked.seconds) else None
    begun = time.monotonic()
    found = []
    tasks = islice(_tasks(families, asked.seed), cases)
    for finished in try_all(tasks, until=begun + asked.seconds, count=asked.workers):
        found.append(finished)
        if finished.outcome.verdict in FAULTS:
            print(described(finished), file=sys.stderr if asked.json else sys.stdout, flush=True)
        if not asked.json and len(found) % 500 == 0:
            print(f"{len(found)} tried, {time.monotonic() - begun:.0f} s", flush=True)
    result = summed_up(found, asked.seed, time.monotonic() - begun)
    if not asked.json:
        _print_families(found, families)
    print(json.dumps(result))
    return int(any(result[PLURALS[verdict]] for verdict in FAULTS))


def described(finished: Finished) -> str:
    """A finding with the command that brings it back."""
    task, outcome = finished.task, finished.outcome
    again = f"python scripts/fuzz.py --family {task.family} --case {task.number} --seed {task.seed}"
    return f"{outcome.verdict}: {finished.title}\n  {outcome.reason}\n  again: {again}"


def summed_up(found: Sequence[Finished], seed: int, seconds: float) -> dict[str, Any]:
    """The counts by verdict, and how many were tried of each family."""
    verdicts = Counter(finished.outcome.verdict for finished in found)
    families = Counter(finished.task.family for finished in found)
    return {
        "tried": len(found),
        "refused": verdicts[Verdict.refused],
        "accepted": verdicts[Verdict.accepted],
        **{PLURALS[verdict]: verdicts[verdict] for verdict in FAULTS},
        **{family: families[family] for family in FAMILIES},
        "seed": seed,
        "seconds": round(seconds, 1),
    }


def _tasks(families: Sequence[str], seed: int) -> Iterator[Task]:
    """The families' cases in turn, without end."""
    numbers = {family: count() for family in families}
    for family in cycle(family for family in TURNS if family in numbers):
        yield Task(family, next(numbers[family]), seed)


def _one(task: Task) -> int:
    case = FAMILIES[task.family](task.seed, task.number)
    with scratch() as folder:
        work_in(folder)
        finished = Finished(task, case.title, attempt(case, math.inf))
    print(described(finished))
    return int(finished.outcome.verdict in FAULTS)


def _print_families(found: Sequence[Finished], families: Sequence[str]) -> None:
    for family in families:
        counts: Mapping[Verdict, int] = Counter(each.outcome.verdict for each in found if each.task.family == family)
        print(f"{family:16}" + "  ".join(f"{verdict} {counts[verdict]}" for verdict in Verdict))
