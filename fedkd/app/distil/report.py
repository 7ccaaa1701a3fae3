"""What compressing a network has cost and gained: size, work, speed and accuracy, network by network."""

import copy
import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fedkd.app.export import FORMATS, Session, int8_onnx, to_onnx
from fedkd.core.faults import described
from fedkd.core.files import replace_file, write_json
from fedkd.core.samples import Inputs
from fedkd.distillation.heads import split
from fedkd.experiment import Experiment
from fedkd.models import forward_pass, hit_rate, latencies, profile
from fedkd.results.report.figures import attempt_figure
from fedkd.server.finished import ALONE, STUDENT, TEACHER

ONNX, INT8 = "student_onnx", "student_int8"
BATCHES = (1, 64)
"""Of the passes that are timed."""
JSON, CSV, FIGURE, INT8_FILE = "compression.json", "compression.csv", "compression", "student_int8.onnx"
_BATCH = 128

Notice = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """What one network costs, and how well it does.

    ``parameters`` are trainable numbers, ``flops`` those of one sample's pass (a multiply-add counts as two), ``bytes``
    the network as stored: its parameters and buffers, or its file. ``latency_ms_1`` and ``latency_ms_64`` are the
    median milliseconds of a pass of one and of 64 samples on one thread of the CPU, in ``runtime``. ``accuracy`` and
    ``agreement``, the share with the teacher's top class, are on the test samples, in [0, 1].
    """

    network: str
    runtime: str
    parameters: int
    flops: int
    bytes: int
    latency_ms_1: float
    latency_ms_64: float
    accuracy: float
    agreement: float


@dataclass(frozen=True)
class CompressionReport:
    """The networks' rows, and the 8-bit student as an ONNX file, where it could be made."""

    rows: tuple[Row, ...]
    int8: bytes | None = None

    def row(self, network: str) -> Row | None:
        """That of a network."""
        return next((row for row in self.rows if row.network == network), None)

    @property
    def summary(self) -> dict[str, float]:
        """How often the student goes into the teacher, what it keeps, and what the teacher was good for.

        ``parameters_ratio`` is the teacher's over the student's, ``accuracy_kept`` the student's accuracy over the
        teacher's, ``gain_over_no_teacher`` how many points it is above the student's without a teacher, and
        ``int8_bytes_ratio`` the student's ONNX file over that in 8 bits.
        """
        rows = {row.network: row for row in self.rows}
        teacher, student = rows[TEACHER], rows[STUDENT]
        found = {"parameters_ratio": teacher.parameters / student.parameters}
        if teacher.accuracy > 0:
            found["accuracy_kept"] = student.accuracy / teacher.accuracy
        if ALONE in rows:
            found["gain_over_no_teacher"] = 100 * (student.accuracy - rows[ALONE].accuracy)
        if INT8 in rows:
            found["int8_bytes_ratio"] = rows[ONNX].bytes / rows[INT8].bytes
        return found

    def write(self, folder: Path, notice: Notice) -> None:
        """Write ``compression.json``, ``.csv``, the figure, and the 8-bit student; raises ``RunError``."""
        rows = [asdict(row) for row in self.rows]
        write_json(folder / JSON, {**self.summary, "networks": rows})
        table = io.StringIO()
        writer = csv.DictWriter(table, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        replace_file(folder / CSV, table.getvalue().encode())
        if self.int8 is not None:
            replace_file(folder / INT8_FILE, self.int8)

        def draw() -> None:
            from fedkd.results.report.figures.compression import save_compression

            save_compression(rows, folder / "plots" / f"{FIGURE}.png")

        attempt_figure(FIGURE, draw, notice)


def compression_report(
    experiment: Experiment,
    networks: Mapping[str, nn.Module],
    outputs: Mapping[str, Float[Tensor, "tests outputs"]],
    notice: Notice,
) -> CompressionReport:
    """The report on ``networks``, named ``teacher``, ``student`` and, where there is one, ``student_without_teacher``.

    ``outputs`` are theirs on the test samples, of which the main task's logits count. Beside them stand the student in
    ONNX Runtime, in float32 and in 8 bits; where these cannot be made, ``notice`` is told why.
    """
    data, sample = experiment.data, experiment.data.spec
    # A teacher that is used has no trainable numbers, but had some.
    models = {name: copy.deepcopy(model).cpu().eval().requires_grad_() for name, model in networks.items()}
    costs = {name: profile(model, sample) for name, model in models.items()}
    passes = {batch: {name: forward_pass(model, sample, batch) for name, model in models.items()} for batch in BATCHES}
    bytes_of, runtimes = {name: cost.bytes for name, cost in costs.items()}, dict.fromkeys(models, "torch")
    outputs, int8 = dict(outputs), None
    for name, content in _onnx_students(models[STUDENT], data.test_inputs[:2], notice).items():
        session = Session(content)
        int8 = content if name == INT8 else int8
        costs[name], bytes_of[name], runtimes[name] = costs[STUDENT], len(content), "onnxruntime"
        # In floating point it answers as the student, whose logits are known.
        outputs[name] = _predicted(session, data.test_inputs) if name == INT8 else outputs[STUDENT]
        for batch in BATCHES:
            passes[batch][name] = _pass(session, sample.made_up(batch))
    taken = {batch: latencies(calls) for batch, calls in passes.items()}
    scores = {name: split(each, data.head_sizes)[0] for name, each in outputs.items()}
    chosen = scores[TEACHER].argmax(dim=-1)
    rows = [
        Row(
            network=name,
            runtime=runtimes[name],
            parameters=cost.parameters,
            flops=cost.flops,
            bytes=bytes_of[name],
            latency_ms_1=taken[1][name],
            latency_ms_64=taken[64][name],
            accuracy=hit_rate(scores[name], data.test_labels),
            agreement=hit_rate(scores[name], chosen),
        )
        for name, cost in costs.items()
    ]
    return CompressionReport(tuple(rows), int8)


def _onnx_students(student: nn.Module, samples: Tensor, notice: Notice) -> dict[str, bytes]:
    """The student as ONNX files; none, with a notice, without their packages or where it cannot be written so."""
    missing = [name for name in FORMATS["onnx"].packages if find_spec(name) is None]
    if missing:
        notice(f"no 8-bit student: {', '.join(missing)} not installed; pip install 'fedkd[export]'")
        return {}
    if len(samples) == 1:
        samples = torch.cat([samples, samples])
    try:
        network = to_onnx(copy.deepcopy(student), samples, {})
        return {ONNX: network, INT8: int8_onnx(network)}
    except Exception as error:
        notice(f"no 8-bit student: it cannot be written as ONNX ({described(error).splitlines()[0][:200]})")
        return {}


def _predicted(session: Session, inputs: Inputs) -> Tensor:
    return torch.cat([session(batch.cpu()) for batch in inputs.split(_BATCH)])


def _pass(session: Session, samples: Tensor) -> Callable[[], object]:
    return lambda: session(samples)
