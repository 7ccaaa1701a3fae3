"""Which strategy withstands which attack? Attacks × strategies × share of attackers, on the same clients' logits.

    python scripts/robustness_study.py [--preset small|core|full] [--out docs/results] [--runs DIR]

Clients are trained once per partition and seed; attacks are replayed on their logits, and every table cell is a
teacher fitted and a student distilled from it alone (λ = 1), so that the labels cannot hide a wrong teacher. Which
clients attack is drawn from the seed. A strategy with state first sees the public set in parts, one after another, as
it would in rounds. The attack called absent is none: the attackers do not take part, so that only their data are lost.
In the last partition the attackers hold all private samples of a class, which the seed draws.
The study is resumable, uses all cores, and writes robustness_study.json, .csv and .png.

The best defence against an attack is the one whose teacher has the highest mean accuracy over the seeds on the public
samples of which the server knows no label; the test set is not used for it. A loss is the same strategy's test accuracy
without attackers minus that with them, in points.
"""

import itertools
from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from fedkd.config.load import to_mapping
from studies.robustness.replay import defend, train_client
from studies.robustness.settings import (
    ABSENT,
    ATTACKS,
    DEFENCES,
    NONE,
    PRESETS,
    TRAINED,
    case_name,
    cases_of,
    configured,
    experiment_of,
    shares_of,
)
from studies.robustness.tables import beyond_absence, csv_rows, draw, summarise, table
from studies.study import Report, Stage, Study, study_parser
from studies.tasks import Results, Task


def clients(preset: str, seeds: Sequence[int]) -> Iterator[Task]:
    """All clients as honest ones, and the attackers once more where an attack trains a model of its own."""
    spec = PRESETS[preset]
    trained = [attack for attack in spec["attacks"] if attack in TRAINED]
    for partition, seed in itertools.product(spec["partitions"], seeds):
        yield from ((preset, partition, seed, client, NONE) for client in range(spec["base"]["clients"]["count"]))
        shares = shares_of(preset, partition)
        by_share = (experiment_of(preset, partition, seed, share).attackers for share in shares)
        for attack, client in itertools.product(trained, sorted(frozenset().union(*by_share))):
            yield preset, partition, seed, client, attack


def stages(asked: Namespace) -> list[Stage]:
    """What has to be trained before attacks can be replayed, and the cells of the table."""
    preset, spec = asked.preset, PRESETS[asked.preset]
    seeds = asked.seeds or spec["seeds"]
    table_cells = [
        (preset, partition, seed, *case, defence)
        for partition, seed in itertools.product(spec["partitions"], seeds)
        for case, defence in itertools.product(cases_of(preset, partition), spec["defences"])
    ]
    return [Stage("clients", train_client, clients(preset, seeds)), Stage("table cells", defend, table_cells)]


def reported(asked: Namespace, results: Results) -> Report:
    """The whole table: JSON, CSV and heat map."""
    preset, spec = asked.preset, PRESETS[asked.preset]
    seeds, first = asked.seeds or spec["seeds"], next(iter(spec["partitions"]))

    def values(measure: str) -> dict[str, Any]:
        return {
            partition: {
                case_name(*case): {
                    defence: [100 * results[preset, partition, seed, *case, defence][measure] for seed in seeds]
                    for defence in spec["defences"]
                }
                for case in cases_of(preset, partition)
            }
            for partition in spec["partitions"]
        }

    teacher, test = values("teacher"), values("test")
    report = summarise(teacher, test) | {
        "beyond_absence": beyond_absence(test),
        "values": test,
        "teacher_values": teacher,
        "preset": preset,
        "seeds": seeds,
        "attackers": {
            f"seed {seed}, {share:.0%}": sorted(experiment_of(preset, first, seed, share).attackers)
            for seed, share in itertools.product(seeds, spec["shares"])
        },
        "attacks": {name: {"name": ATTACKS[name][0], **ATTACKS[name][1]} for name in spec["attacks"] if name != ABSENT},
        "defences": {name: {"name": DEFENCES[name][0], **DEFENCES[name][1]} for name in spec["defences"]},
        "configs": {partition: to_mapping(configured(preset, partition, seeds[0])) for partition in spec["partitions"]},
    }
    return Report(report, table(report), csv=csv_rows(report), figures={"": draw(report)})


STUDY = Study("robustness_study", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
