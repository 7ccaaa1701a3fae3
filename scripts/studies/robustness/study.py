"""Which teacher survives which attack? Attacks × teachers × share of attackers, from the same clients' honest answers.

    python scripts/robustness_study.py [--preset small|core|full] [--out docs/results] [--cache DIR]

Clients are trained once per partition and seed; attacks are replayed on their answers, and every table cell is a
teacher fitted and a student distilled from it alone (λ = 1), so that the labels cannot hide a wrong teacher. Which
clients attack is drawn from the seed. A teacher with memory first sees the public set in parts, one after another, as
it would in rounds. The attack called absent is none: the attackers stay away, and what is lost then is what they know.
The study is resumable, uses all cores, and writes robustness_study.json, .csv and .png.

The best defence against an attack is the one whose teacher is most often right about the public samples of which the
server knows no label, the mean over the seeds; the test set has no say in it. A loss is the same teacher's test
accuracy without attackers minus that with them, in points.
"""

import itertools
from pathlib import Path

from fedkd.app.summary import versions
from fedkd.config.load import to_mapping
from fedkd.core.files import write_json
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
    place_of,
)
from studies.robustness.tables import draw, print_table, summarise, write_table
from studies.tasks import Results, cache_folder, counter, run_tasks, study_parser


def prepare_answers(preset: str, cache: Path, results: Results) -> None:
    """Everything that has to be trained before attacks can be replayed."""
    spec = PRESETS[preset]
    everybody = range(spec["base"]["clients"]["count"])
    tasks = []
    for partition, seed in itertools.product(spec["partitions"], spec["seeds"]):
        tasks += [(preset, str(cache), partition, seed, client, NONE) for client in everybody]
        attackers = {
            client for share in spec["shares"] for client in place_of(preset, partition, seed, share).attackers
        }
        tasks += [
            (preset, str(cache), partition, seed, client, attack)
            for attack, client in itertools.product(spec["attacks"], sorted(attackers))
            if attack in TRAINED
        ]
    run_tasks(train_client, tasks, results, progress=counter("clients"))


def study(preset: str, out: Path, cache: Path) -> None:
    """The whole table: JSON, CSV and heat map."""
    spec, cases = PRESETS[preset], cases_of(preset)
    results = Results(cache / "results.jsonl")
    prepare_answers(preset, cache, results)
    tasks = {
        (partition, attack, share, defence, seed): (preset, str(cache), partition, seed, attack, share, defence)
        for partition, seed, (attack, share), defence in itertools.product(
            spec["partitions"], spec["seeds"], cases, spec["defences"]
        )
    }
    run_tasks(defend, tasks.values(), results, progress=counter("table cells"))
    values = {
        kind: {
            partition: {
                case_name(*case): {
                    defence: [100 * results[tasks[partition, *case, defence, seed]][kind] for seed in spec["seeds"]]
                    for defence in spec["defences"]
                }
                for case in cases
            }
            for partition in spec["partitions"]
        }
        for kind in ("teacher", "test")
    }
    report = summarise(values["teacher"], values["test"])
    report |= {
        "values": values["test"],
        "teacher_values": values["teacher"],
        "preset": preset,
        "seeds": spec["seeds"],
        "attackers": {
            f"seed {seed}, {share:.0%}": sorted(place_of(preset, next(iter(spec["partitions"])), seed, share).attackers)
            for seed, share in itertools.product(spec["seeds"], spec["shares"])
        },
        "attacks": {name: {"name": ATTACKS[name][0], **ATTACKS[name][1]} for name in spec["attacks"] if name != ABSENT},
        "defences": {name: {"name": DEFENCES[name][0], **DEFENCES[name][1]} for name in spec["defences"]},
        "config": to_mapping(configured(preset, next(iter(spec["partitions"])), spec["seeds"][0])),
        "versions": versions(),
    }
    write_json(out / "robustness_study.json", report)
    write_table(out / "robustness_study.csv", report)
    draw(out / "robustness_study.png", report)
    print_table(report)


def main() -> int:
    arguments = study_parser(__doc__, PRESETS).parse_args()
    study(arguments.preset, arguments.out, cache_folder(arguments, "robustness_study"))
    return 0
