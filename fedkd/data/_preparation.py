"""From a source's samples to the tensors that models see."""

from typing import Any

import torch
from torch import Tensor

from fedkd.config.schema import ExperimentConfig
from fedkd.core import plugins
from fedkd.core.errors import ConfigError, DataError, PluginError
from fedkd.core.faults import told_by_line
from fedkd.core.samples import Inputs, LazySamples, RawSamples, SampleSpec
from fedkd.data._images import fit_to_shape
from fedkd.data._mapped import MappedSamples
from fedkd.data.source import Encoding, SampleSet
from fedkd.data.transform import Transform, Transformation

_FIRST = torch.arange(1)


class _AsItIs(Encoding):
    """Samples that are tensors already."""

    def __call__(self, raw: Tensor) -> Tensor:
        return raw


def plain_encoding(samples: SampleSet) -> Encoding | None:
    """The encoding of a data set whose samples say by themselves what they are; None for one that has to be learned."""
    if samples.encoder is None:
        return _AsItIs()
    return None if samples.encoder.learns else samples.encoder.fit(samples.train_inputs[_FIRST])


class Preparation:
    """Encoding and transform, fitted on the public samples alone; ``spec`` is what models see.

    ``public`` are these samples as their source has them, which is ``other`` where that is not ``source``: its images
    get the shape of the task's.

    Raises ``ConfigError`` where they need public samples and there are none, ``DataError`` for samples that are not
    finite numbers, ``PluginError`` where a transform's own code fails.
    """

    def __init__(
        self, config: ExperimentConfig, source: SampleSet, public: Any, other: SampleSet | None = None
    ) -> None:
        spec = config.data.transform
        transform: Transform = plugins.build(plugins.TRANSFORM, spec.name, spec.options)
        self._name, count = spec.name, len(public)
        if source.encoder is not None and source.encoder.learns and count == 0:
            raise ConfigError(
                [
                    f"data.public.size: {config.data.dataset.name} learns its columns or words from public samples, "
                    "and there are none; raise it"
                ]
            )
        self._encode = _AsItIs() if source.encoder is None else source.encoder.fit(public)
        encoded = self._encoded(public) if other is None else self._encoded_alike(source, other, public)
        self._transform = self._fitted(transform, encoded)
        self.public = self._transformed(encoded)
        first = self(source.train_inputs[_FIRST])
        self.spec = SampleSpec(tuple(first.shape[1:]), self._vocabulary(source) if first.dtype == torch.int64 else None)

    def __call__(self, raw: Any) -> Tensor:
        """Raw samples as models see them."""
        return self._transformed(self._encoded(raw))

    def of(self, samples: Tensor | RawSamples, positions: Tensor | None = None) -> Inputs:
        """The samples at ``positions`` (None: all), at once, or when they are asked for where they are in a file."""
        rows = torch.arange(len(samples)) if positions is None else positions
        if len(rows) == 0:
            return self.public[:0]
        if isinstance(samples, MappedSamples):
            return LazySamples(samples, rows, self)
        return self(samples[rows] if positions is not None or not isinstance(samples, Tensor) else samples)

    def alike(self, source: SampleSet, other: SampleSet, samples: Any) -> Tensor:
        """Raw samples of another data set as models see them: images in the shape of the task's."""
        return self._transformed(self._encoded_alike(source, other, samples))

    def _fitted(self, transform: Transform, public: Tensor) -> Transformation:
        with told_by_line(f"data.transform: {self._name!r}, fit() on {len(public)} samples", PluginError):
            try:
                return transform.fit(public)
            except ValueError as error:
                if len(public) > 0:
                    raise
                raise ConfigError(
                    [f"data.transform: {self._name} {error}; raise data.public.size, or set data.transform=none"]
                ) from error

    def _encoded(self, raw: Any) -> Tensor:
        samples = self._encode(raw)
        _check_finite(samples)
        return samples

    def _encoded_alike(self, source: SampleSet, other: SampleSet, raw: Any) -> Tensor:
        """Samples of another data set, encoded as they are there where that is nothing that is learned."""
        plain = plain_encoding(other)
        samples, task = (self._encode if plain is None else plain)(raw), self._encoded(source.train_inputs[_FIRST])
        _check_finite(samples)
        if samples.dtype == task.dtype == torch.uint8 and samples.ndim == task.ndim == 4:
            return fit_to_shape(samples, (task.shape[1], task.shape[2], task.shape[3]))
        return samples

    def _transformed(self, samples: Tensor) -> Tensor:
        with told_by_line(f"data.transform: {self._name!r}", PluginError):
            found: object = self._transform(samples)
        made = {torch.float32, torch.int64}
        if not isinstance(found, Tensor) or len(found) != len(samples) or found.dtype not in made:
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise PluginError(
                f"data.transform: {self._name!r} must make float32 or int64 [{len(samples)}, ...] of "
                f"{list(samples.shape)}, got {got}; convert it there"
            )
        found = _padded(found, samples)
        if found.is_floating_point() and not bool(found.isfinite().all()):
            wild = float(found[~found.isfinite()][0])
            raise PluginError(
                f"data.transform: {self._name!r} must make finite numbers, got {wild}; look for divisions by 0, "
                "logarithms of 0, and numbers beyond float32"
            )
        return found

    def _vocabulary(self, source: SampleSet) -> int:
        if self._encode.vocabulary is not None:
            return self._encode.vocabulary
        largest = max(_largest(source.train_inputs), _largest(source.test_inputs))
        return max(largest, 1) + 1


def _largest(tokens: Tensor | RawSamples) -> int:
    parts = (tokens[rows] for rows in torch.arange(len(tokens)).split(4096))
    return max((int(part.max()) for part in parts if len(part)), default=0)


def _padding(samples: Tensor) -> Tensor | None:
    """Where all channels of a series are NaN, [samples, 1, time]; None for samples of another kind."""
    if samples.ndim != 3 or not samples.is_floating_point():
        return None
    return samples.isnan().all(dim=1, keepdim=True)


def _padded(made: Tensor, samples: Tensor) -> Tensor:
    """What was made of samples, 0 where a series is padding."""
    padding = _padding(samples)
    if padding is None or made.ndim != 3 or made.shape[2] != samples.shape[2]:
        return made
    return made.masked_fill(padding, 0.0)


def _check_finite(samples: Tensor) -> None:
    """Raise ``DataError`` for NaN and infinity, but for the steps of a series that are padding."""
    if not samples.is_floating_point():
        return
    wild = ~samples.isfinite()
    if (padding := _padding(samples)) is not None:
        wild &= ~padding
    if bool(wild.any()):
        place = wild.nonzero()[0].tolist()
        raise DataError(
            f"data.dataset: samples must be finite numbers, got {float(samples[tuple(place)])} at {place[1:]} of a "
            "sample; replace it in the file, or leave the sample out"
        )
