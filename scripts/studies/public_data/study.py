"""How much does the public set matter? Its size, known labels, origin and wrong labels, one after the other.

    python scripts/public_data_study.py [--preset small|core|full] [--out docs/results] [--runs DIR]

One axis at a time is varied around a reference: how many public samples there are, how many of their labels the server
knows, how many of these are wrong, and where the samples are from: the data of the task, the same rotated, inverted
or noisy, another data set (of which fewer may be had), and pure noise.

Clients are trained once per partition and seed, and asked about every public set; each cell is a teacher made of the
answers by a strategy and a student distilled from it in one round, as the library does both: labels count in the
teacher where the strategy uses them, and in the student's loss. Under ``selective`` clients withhold answers by the
client rule of that name. Beside each cell is ``public_only``, a student of the known labels alone with the same
steps. The gain is the student's test accuracy minus that one's, in points, by seed; intervals are Student's over
seeds. Every student is measured on the test samples once. Nothing was tuned: models, epochs, steps and rates were
fixed beforehand, and whether everything works was tried on the development seeds alone.

Resumable. Writes public_data.json, .csv, .md and .png.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import astuple, replace

from studies.public_data.replay import answer, learn, learn_alone, train_client
from studies.public_data.settings import PRESETS, Cell, Preset
from studies.public_data.tables import Row, content_of, csv_rows, draw, markdown, text
from studies.study import Report, Stage, Study, study_parser
from studies.tasks import Results, Task


def stages(asked: Namespace) -> Iterator[Stage]:
    """Partition by partition: the clients, their answers on each public set, and the students."""
    found = PRESETS[asked.preset]
    seeds = asked.seeds or found.seeds
    alone = dict.fromkeys(_alone(found, seed, cell) for seed in seeds for cell in found.cells if cell.labels)
    yield Stage("labels alone", learn_alone, alone)
    for partition in found.partitions:
        where = [(found.setting, partition, seed) for seed in seeds]
        clients = range(found.base["clients"]["count"])
        yield Stage(f"clients, {partition}", train_client, [(*each, client) for each in where for client in clients])
        sets = dict.fromkeys((cell.size, cell.origin) for cell in found.cells)
        yield Stage(f"answers, {partition}", answer, [(*each, *public) for each in where for public in sets])
        students = [_student(found, partition, seed, cell, name) for seed in seeds for cell, name in _taught(found)]
        yield Stage(f"students, {partition}", learn, students)


def _taught(found: Preset) -> list[tuple[Cell, str]]:
    return [(cell, strategy) for cell in found.cells for strategy in cell.strategies]


def _student(found: Preset, partition: str, seed: int, cell: Cell, strategy: str) -> Task:
    return found.setting, partition, seed, astuple(cell), strategy


def _alone(found: Preset, seed: int, cell: Cell) -> Task:
    """The same for all sizes, whose known labels are the same, and for all partitions of the private samples."""
    of_reference = replace(cell, size=found.reference.size)
    return found.setting, next(iter(found.partitions)), seed, astuple(of_reference)


def reported(asked: Namespace, results: Results) -> Report:
    found = PRESETS[asked.preset]
    seeds: Sequence[int] = asked.seeds or found.seeds

    def row(partition: str, cell: Cell, strategy: str) -> Row:
        of_seeds = [results[_student(found, partition, seed, cell, strategy)] for seed in seeds]
        alone = [100 * results[_alone(found, seed, cell)] for seed in seeds] if cell.labels else None
        return Row(partition, cell, strategy, of_seeds, alone)

    rows = [row(partition, *each) for partition in found.partitions for each in _taught(found)]
    content = content_of(asked.preset, found, list(seeds), rows)
    table = csv_rows(rows)
    return Report(
        content, text(found, rows), csv=table, markdown=markdown(found, rows), figures={"": draw(found, rows)}
    )


STUDY = Study("public_data", stages, reported)


def main(argv: Sequence[str] | None = None) -> int:
    return STUDY.carry_out(study_parser(__doc__, STUDY.name, PRESETS).parse_args(argv))
