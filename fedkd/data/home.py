"""A client's private data on its own machine, where nobody else has them: read, checked, made as the server's are.

What is wrong with them is told in words that give nothing of them away; the error that it came from says more, to
whoever sees the machine.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from fedkd.config.schema import ExperimentConfig
from fedkd.config.strict_yaml import parse_yaml
from fedkd.config.values import Plugin, as_plugin
from fedkd.core import plugins
from fedkd.core.errors import DataError, HomeError, TooFewClassesError
from fedkd.core.samples import Inputs
from fedkd.data._preparation import Preparation
from fedkd.data._types import ClientData, ExperimentData
from fedkd.data.common import CommonData, digest_of_public
from fedkd.data.roles import client_of, loaded, public_of, source_of
from fedkd.data.source import SampleSet, resolve_root

NPZ, FOLDER = "npz", "image_folder"

_TESTS = ("test", "test_inputs", "test_labels", "test_split")
"""Options that name test samples, of which a node has none."""


def home_data(config: ExperimentConfig, client: int, named: str, common: CommonData) -> ExperimentData:
    """The experiment's data as the node of one client has them: the public samples, and those private ones alone.

    ``named`` is what its operator calls them: a folder or a file, which is read by ``data.dataset`` with its options
    where that reads one, ``module:Class``, or a data set with options as in ``data.dataset``. Their train split is the
    client's, in its order. There are no public labels but for which samples have one, and no test samples. Raises
    ``HomeError``.
    """
    with _told("its private data cannot be read"):
        own = loaded(source_of(private_source(named, config.data.dataset)), resolve_root(config.data.root))
    labels = _numbered(own, common.class_names)
    with _told("its private data cannot be made what the server's are"):
        prepared = Preparation(config, own, common.public)
        inputs = prepared.of(own.train_inputs, torch.arange(len(labels)))
    if prepared.spec.shape != common.spec.shape or (prepared.spec.vocabulary is None) != (
        common.spec.vocabulary is None
    ):
        raise HomeError("its private samples have another shape, or are of another kind, than the server's")
    if digest_of_public(prepared.public) != common.public_digest:
        raise HomeError(
            "it makes something else of the public samples than the server does; use the same versions, and private "
            "data of the same kind"
        )
    if common.spec.vocabulary is not None and _largest(inputs) >= common.spec.vocabulary:
        raise HomeError("its private samples have tokens that the server's data do not have")
    own_client = client_of(config, client, torch.arange(len(labels)))
    _check_count(config, len(labels), own_client)
    nobody = ClientData(torch.arange(0), torch.arange(0))
    return ExperimentData(
        spec=common.spec,
        class_names=common.class_names,
        inputs=inputs,
        labels=labels,
        clients=tuple(own_client if each == client else nobody for each in range(config.clients.count)),
        public=public_of(
            config, prepared.public, torch.zeros(len(prepared.public), dtype=torch.int64), len(common.class_names)
        ),
        test_inputs=prepared.public[:0],
        test_labels=labels[:0],
    )


def own_common(config: ExperimentConfig, named: str) -> CommonData:
    """What the server would tell of its data if it had the node's own public ones; raises ``HomeError``."""
    with _told("its public data cannot be read"):
        return CommonData.of(config, named_source(named, config.data.dataset))


def private_source(named: str, dataset: Plugin) -> Plugin:
    """The data source that is meant by what an operator calls private data; raises ``HomeError``."""
    spec = named_source(named, dataset)
    options = {field.name for field in plugins.options_of(plugins.resolve(plugins.DATASET, spec.name))}
    kept = {key: value for key, value in spec.options.items() if key not in _TESTS}
    # Nobody tests on private samples, so that all are there to train on.
    return Plugin(spec.name, kept | ({"test_share": 0.0} if "test_share" in options else {}))


def named_source(named: str, dataset: Plugin) -> Plugin:
    """The data source that is meant by what an operator calls data; ``dataset`` is the experiment's."""
    text = named.strip()
    if text.startswith("{"):
        with _told("its data are not named by a section as data.dataset has it"):
            return Plugin(**as_plugin(parse_yaml(text)))
    path = Path(text).expanduser().resolve()
    if ":" in text and not path.exists():
        return Plugin(text)
    if not path.exists():
        raise HomeError("its data are not where its operator says; correct the path")
    if path.is_dir() and not any(path.rglob("*")):
        raise HomeError("its data are an empty folder")
    options = plugins.options_of(plugins.resolve(plugins.DATASET, dataset.name))
    if any(field.name == "path" for field in options):
        return Plugin(dataset.name, dataset.options | {"path": str(path)})
    return Plugin(FOLDER if path.is_dir() else NPZ, {"path": str(path)})


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turns whatever is raised inside into a ``HomeError``, which it is the cause of."""
    try:
        yield
    except HomeError:
        raise
    except TooFewClassesError as error:
        raise HomeError("its private data have samples of fewer than two classes") from error
    except (Exception, SystemExit) as error:
        raise HomeError(f"{what} ({type(error).__name__}); its log says why") from error


def _numbered(own: SampleSet, class_names: Sequence[str]) -> Tensor:
    """The labels of the client's samples by the server's numbers."""
    numbers = {name: number for number, name in enumerate(class_names)}
    if unknown := [name for name in own.class_names if name not in numbers]:
        raise HomeError(
            "its private data have classes that the server's do not have; its log names them"
        ) from DataError(
            f"the server's classes are {', '.join(class_names)}, and the node has {', '.join(unknown)} besides"
        )
    return torch.tensor([numbers[name] for name in own.class_names])[own.train_labels]


def _largest(tokens: Inputs) -> int:
    return max(int(part.max()) for part in tokens.split(4096))


def _check_count(config: ExperimentConfig, count: int, own: ClientData) -> None:
    least, most = config.data.partition.min_samples, config.clients.max_examples
    if count < least:
        raise HomeError(f"it has fewer private samples than data.partition.min_samples = {least}")
    if most is not None and own.train.numel() > most:
        raise HomeError(f"it has more private samples than clients.max_examples = {most}")
