"""TensorBoard: curves, tables and figures as event files in the run's folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedkd.config.strict_yaml import dump_yaml
from fedkd.results.tracker import Point, TrackedRun, Tracker, require_extra

_MOST_ROWS = 200
"""Of a table: it is shown as text."""


@dataclass
class TensorBoard(Tracker):
    """Event files in the run's folder, for `tensorboard --logdir` of it or of a folder above; extra ``tensorboard``."""

    folder: str = "tensorboard"
    _writer: Any = field(init=False, repr=False)

    def begin(self, run: TrackedRun) -> None:
        """What an earlier attempt has written goes: everything that the run has on disk is told again."""
        require_extra("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        folder = run.folder / self.folder
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder), flush_secs=10)
        self._writer.add_text("configuration", f"```yaml\n{dump_yaml(dict(run.config))}```")

    def curves(self, points: Sequence[Point]) -> None:
        for point in points:
            for name, value in point.values.items():
                self._writer.add_scalar(name, value, point.step)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows[:_MOST_ROWS])]
            self._writer.add_text(name, "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))

    def figure(self, name: str, png: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(png) as image:
            self._writer.add_image(f"figures/{name}", np.asarray(image.convert("RGB")), dataformats="HWC")

    def end(self, *, finished: bool) -> None:
        self._writer.close()
