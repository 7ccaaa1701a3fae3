"""Runs whose files a test has changed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fedkd.config.identity import run_digest
from fedkd.config.load import read_yaml
from fedkd.core.documents import DIGEST, RUN, write_document
from fedkd.results.summary_file import LOGS, SUMMARY


def make_agree(run: Path, **changes: Any) -> None:
    """Change ``summary.json``, and have it agree with the files beside it as they are now."""
    content = json.loads((run / SUMMARY).read_text(encoding="utf-8"))
    logs = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in content[LOGS]}
    kept = {name: value for name, value in content.items() if name not in {RUN, DIGEST}}
    write_document(run / SUMMARY, kept | changes | {LOGS: logs}, run_digest(read_yaml(run / "config.yaml").content))
