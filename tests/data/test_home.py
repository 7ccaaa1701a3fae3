"""What an operator calls private data: a folder, a file, a class, or a data set with options."""

from pathlib import Path

import numpy as np
import pytest

from fedkd.config.load import parse_config
from fedkd.config.values import Plugin
from fedkd.core.errors import HomeError
from fedkd.data.common import CommonData
from fedkd.data.home import home_data, named_source, private_source


def test_a_path_is_read_as_the_experiments_data_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.zeros(3))
    server = Plugin("csv", {"path": "server.csv", "label": "sick", "test": "tests.csv", "test_share": 0.3})
    found = private_source(f" {tmp_path}/own.npz ", server)
    assert found == Plugin("csv", {"path": f"{tmp_path}/own.npz", "label": "sick", "test_share": 0.0})
    assert named_source(f"{tmp_path}/own.npz", server).options["test"] == "tests.csv", "public data have the server's"


def test_a_path_is_read_by_what_it_is_where_the_experiment_has_no_files(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    np.savez(tmp_path / "own.npz", x=np.zeros(3))
    assert private_source(str(tmp_path), Plugin("digits")).name == "image_folder"
    assert private_source(str(tmp_path / "own.npz"), Plugin("digits")).name == "npz"


def test_classes_and_sections_name_other_data_sets() -> None:
    assert private_source("tests.data.test_common:Odd", Plugin("digits")) == Plugin("tests.data.test_common:Odd")
    section = "{name: csv, path: here.csv, label: sick, test_share: 0.5}"
    assert private_source(section, Plugin("digits")).options == {"path": "here.csv", "label": "sick", "test_share": 0.0}


def test_classes_are_known_by_their_names(tmp_path: Path) -> None:
    """A node that has two of the server's three classes numbers them as the server does."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 6, 6), dtype=np.uint8)
    np.savez(tmp_path / "server.npz", x=pixels, y=np.arange(24) % 3)
    np.savez(tmp_path / "own.npz", x=pixels, y=1 + np.arange(24) % 2)
    data = {"dataset": {"name": "npz", "path": f"{tmp_path}/server.npz"}, "public": {"size": 12, "labelled": 6}}
    config = parse_config(
        {"data": {**data, "partition": {"scheme": "at_home"}}, "clients": {"count": 2, "max_examples": 50}}
    )
    found = home_data(config, 0, f"{tmp_path}/own.npz", CommonData.of(config))
    assert found.labels.tolist() == [1, 2] * 12
    assert found.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("/not/there", "not where its operator says"),
        ("{path: here}", "are not named by a section as data.dataset has it"),
        ("{name: [", "are not named by a section"),
    ],
)
def test_what_names_nothing_is_told_without_its_words(named: str, words: str) -> None:
    with pytest.raises(HomeError, match=words) as raised:
        private_source(named, Plugin("digits"))
    assert named not in str(raised.value)
