"""What the server of a deployment tells its nodes of its data, where each of them has private ones of its own."""

import io
import json
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedkd.config.schema import ExperimentConfig
from fedkd.config.values import Plugin
from fedkd.core.errors import ConfigError, FolderError
from fedkd.core.files import reading
from fedkd.core.samples import SampleSpec
from fedkd.data._division import divide
from fedkd.data._preparation import Preparation
from fedkd.data.roles import raw_public, sources_of, unlabelled
from fedkd.privacy.attempts import name_of

_SAMPLES, _HEADER = "samples", "header"


@dataclass(frozen=True, eq=False)
class CommonData:
    """The public samples as their source has them, without labels, and what all samples and classes are like.

    ``public`` are a tensor, texts, or the rows of a table: what samples are prepared by. ``public_digest`` is that of
    the prepared ones (``PublicSet.digest``), by which a node finds out that it prepares samples as the server does.
    """

    public: Any
    class_names: tuple[str, ...]
    spec: SampleSpec
    public_digest: str

    @classmethod
    def of(cls, config: ExperimentConfig, dataset: Plugin | None = None) -> "CommonData":
        """That of an experiment; with ``dataset`` as if this were the experiment's.

        Raises ``ConfigError`` for samples that cannot be sent, else as ``prepare`` does.
        """
        if dataset is not None:
            config = replace(config, data=replace(config.data, dataset=dataset))
        source, _ = sources_of(config)
        public = raw_public(config, source, None, divide(config, source, config.data.public.size).public)
        prepared = Preparation(config, source, public)
        if _kind_of(public) is None:
            raise ConfigError(
                [
                    f"data.dataset: nodes are sent public samples that are tensors, texts or rows of a table, and "
                    f"{config.data.dataset.name} has them as {type(public).__name__}; make tensors of them in its "
                    "load()"
                ]
            )
        return cls(public, source.class_names, prepared.spec, digest_of_public(prepared.public))

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of everything in it."""
        header, arrays = self._parts()
        return name_of(header, arrays)

    def to_bytes(self) -> bytes:
        """All of it as a file of NumPy's, in which nothing is executed when it is read."""
        header, arrays = self._parts()
        buffer = io.BytesIO()
        np.savez(buffer, **{_HEADER: _written(header)}, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def read(cls, path: Path, digest: str) -> "CommonData":
        """What ``to_bytes`` gave, from a file; raises ``FolderError`` for anything that has not this digest."""
        with reading(path):
            content = path.read_bytes()
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                header = json.loads(bytes(arrays[_HEADER]))
                kept = {name: arrays[name] for name in arrays.files if name != _HEADER}
            spec = SampleSpec(tuple(header["shape"]), header["vocabulary"])
            found = cls(_raw(header, kept), tuple(header["class_names"]), spec, header["public_digest"])
            whole = found.digest == digest
        except Exception as error:  # whatever a damaged file provokes
            raise FolderError(f"{path} is damaged ({type(error).__name__}); remove it, and it is sent again") from error
        if not whole:
            raise FolderError(f"{path} is not what it is named after; remove it, and it is sent again")
        return found

    def _parts(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        kind, arrays = _kind_of(self.public), {}
        header = {
            "kind": kind,
            "class_names": list(self.class_names),
            "shape": list(self.spec.shape),
            "vocabulary": self.spec.vocabulary,
            "public_digest": self.public_digest,
        }
        if kind == "tensor":
            arrays[_SAMPLES] = self.public.numpy()
        elif kind == "texts":
            arrays[_SAMPLES] = _written(self.public)
        else:
            header["columns"] = [str(name) for name in self.public.columns]
            for index, name in enumerate(self.public.columns):
                column = self.public[name].to_numpy()
                arrays[str(index)] = column if column.dtype.kind == "f" else _written(column.tolist())
        return header, arrays


def digest_of_public(prepared: Tensor) -> str:
    """The digest that a public set of these prepared samples has."""
    return unlabelled(prepared).digest


def _kind_of(raw: Any) -> str | None:
    """How samples travel; None for those that cannot."""
    pandas = sys.modules.get("pandas")
    if isinstance(raw, Tensor):
        return "tensor"
    if isinstance(raw, list) and all(type(each) is str for each in raw):
        return "texts"
    return "table" if pandas is not None and isinstance(raw, pandas.DataFrame) else None


def _raw(header: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> Any:
    match header["kind"]:
        case "tensor":
            return torch.from_numpy(arrays[_SAMPLES])
        case "texts":
            return json.loads(bytes(arrays[_SAMPLES]))
        case _:
            import pandas as pd

            columns = [arrays[str(index)] for index in range(len(header["columns"]))]
            return pd.DataFrame(
                {
                    name: column if column.dtype.kind == "f" else pd.Series(json.loads(bytes(column)), dtype="object")
                    for name, column in zip(header["columns"], columns, strict=True)
                }
            )


def _written(content: Any) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
