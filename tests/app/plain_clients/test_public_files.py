"""The public samples on a node: filed once, checked whenever they are read, and only a few of them."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fedkd.app.plain_clients import public_files
from fedkd.app.plain_clients.protocol import as_samples, digest_of, divided
from fedkd.core.errors import RunError
from fedkd.data import PublicSet

SAMPLES = as_samples(np.arange(12).reshape(6, 2) / 8)


def stored(samples: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> str:
    digest = digest_of(samples)
    public_files.keep(samples, digest)
    monkeypatch.setattr(public_files, "_last", {})
    return digest


def test_the_digest_is_that_of_the_public_set() -> None:
    for samples in (SAMPLES, np.arange(6).reshape(2, 3)):
        labels = torch.zeros(len(samples), dtype=torch.long)
        public = PublicSet(torch.from_numpy(as_samples(samples).copy()), labels, labels, labels > 0)
        assert digest_of(as_samples(samples)) == public.digest


def test_samples_travel_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedkd.app.plain_clients.protocol._PART_BYTES", 2 * SAMPLES[0].nbytes)
    parts = [part.numpy() for part in divided(SAMPLES)]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert np.array_equal(np.concatenate(parts), SAMPLES)


def test_they_are_found_again_by_another_process(flower_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = stored(SAMPLES.copy(), monkeypatch)
    assert [path.name for path in (flower_home / "fedkd-public").iterdir()] == [f"{digest}.npy"]
    assert np.array_equal(public_files.load(digest), SAMPLES)


def test_what_is_damaged_missing_or_no_digest_is_refused(flower_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = stored(SAMPLES.copy(), monkeypatch)
    np.save(flower_home / f"fedkd-public/{digest}.npy", SAMPLES + 1)
    with pytest.raises(RunError, match=r"does not have the public samples .* damaged: their digest is .* again"):
        public_files.load(digest)
    with pytest.raises(RunError, match="No such file"):
        public_files.load("0" * 64)
    for path in ("../../etc/passwd", "A" * 64, ""):
        with pytest.raises(RunError, match="must be 64 hexadecimal digits"):
            public_files.load(path)
    with pytest.raises(RunError, match="that were sent are damaged"):
        public_files.keep(SAMPLES.copy(), "0" * 64)


def test_those_that_were_used_last_are_kept(flower_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = stored(SAMPLES.copy(), monkeypatch)
    for number in range(1, 6):
        stored(SAMPLES + number, monkeypatch)
        for age, path in enumerate(
            sorted((flower_home / "fedkd-public").iterdir(), key=lambda each: -each.stat().st_mtime)
        ):
            os.utime(path, (1000 - age, 1000 - age))
        public_files.load(first)
        monkeypatch.setattr(public_files, "_last", {})
    assert len(list((flower_home / "fedkd-public").iterdir())) == public_files.KEPT
    public_files.load(first)


def test_a_folder_that_cannot_be_written_is_named(flower_home: Path) -> None:
    flower_home.write_text("a file")
    with pytest.raises(RunError, match="cannot be written"):
        public_files.keep(SAMPLES.copy(), digest_of(SAMPLES))
