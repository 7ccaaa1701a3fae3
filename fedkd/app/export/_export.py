"""Writing the student of a finished run, and seeing that what was written answers as the student does."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from fedkd.app.export._facts import facts_of
from fedkd.app.export._formats import FORMATS, Network, require_extra
from fedkd.core.errors import FolderError, RunError
from fedkd.core.faults import described
from fedkd.core.files import checked_path, replace_file, writing
from fedkd.server.finished import Finished

ALL = "all"
TOLERANCE = 1e-5
"""The largest difference of a logit that may be, as a share of the largest logit's size."""
BATCHES = (1, 3, 32)
"""How many test samples are given at once when a file is compared with the student."""


@dataclass(frozen=True)
class Exported:
    """A file that was written, how large it is, and how far its logits are from the student's, by batch size."""

    format: str
    path: Path
    bytes: int
    differences: dict[int, float]


def export_run(folder: str | PathLike[str], format: str = ALL, out: str | Path | None = None) -> list[Exported]:
    """Write the student of the finished run in ``folder``; ``format`` is one of ``FORMATS``, or ``all`` of them.

    Files go into the folder ``out`` (None: ``export`` in the run's own), called ``student``; of a single format ``out``
    may be the file's own path, which has a suffix. Each is read back before it gets its name. Raises ``ConfigError``
    for a format whose packages are missing, ``FolderError`` for a folder without a finished run, ``RunError`` where the
    student cannot be exported, or what is read back answers otherwise than it.
    """
    names = tuple(FORMATS) if format == ALL else (format,)
    require_extra(*names)
    folder = Path(folder)
    target = folder / "export" if out is None else checked_path("--out", Path(out))
    finished = Finished.of(folder)
    experiment, student = finished.experiment, finished.student()
    if student is None:
        rule = experiment.config.student.rule.name
        raise FolderError(f"{folder} holds a run of student.rule={rule}, which has no model on the server")
    samples, facts = experiment.data.test_inputs[: max(BATCHES)], facts_of(experiment, student)
    if len(samples) == 1:
        # What is traced with a single sample takes no other number.
        samples = torch.cat([samples, samples])
    done = []
    for name in names:
        try:
            content = FORMATS[name].write(copy.deepcopy(student), samples[:2], facts)
            network = FORMATS[name].read(content, copy.deepcopy(student))
        except Exception as error:
            model = experiment.config.student.model.name
            raise RunError(f"--format: model {model!r} cannot be written as {name} ({_in_short(error)})") from error
        differences = dict(_differences(network, student, samples))
        if not all(share <= TOLERANCE for share in differences.values()):
            told = ", ".join(f"{share:.1e} in batches of {batch}" for batch, share in differences.items())
            raise RunError(
                f"--format: as {name} the network answers otherwise than the student, by {told} of its largest logit, "
                f"and at most {TOLERANCE:g} may be; no such file was written; choose another format"
            )
        path = _file(target, name, alone=format != ALL)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content)
        done.append(Exported(name, path, len(content), differences))
    return done


def _file(target: Path, name: str, *, alone: bool) -> Path:
    return target if alone and target.suffix and not target.is_dir() else target / f"student{FORMATS[name].suffix}"


@torch.no_grad()
def _differences(network: Network, student: nn.Module, samples: Tensor) -> Iterator[tuple[int, float]]:
    """By batch size, the largest difference of a logit as a share of the student's largest."""
    for batch in sorted({min(count, len(samples)) for count in BATCHES}):
        wanted = student(samples[:batch])
        yield batch, float((network(samples[:batch]) - wanted).abs().max() / wanted.abs().max().clamp_min(1e-30))


def _in_short(error: BaseException) -> str:
    lines: Sequence[str] = described(error).splitlines()
    return lines[0][:300]
