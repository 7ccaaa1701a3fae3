"""The figure of classes per client."""

import dataclasses
from pathlib import Path

import matplotlib
import matplotlib.pyplot
import pytest
import torch

from fedkd.config.load import parse_config
from fedkd.data.roles import prepare
from fedkd.results.report.figures._label_distribution import (
    LabelCounts,
    draw_label_distribution,
    save_label_distribution,
)
from fedkd.results.report.style import drawing, png

pytestmark = pytest.mark.usefixtures("drawn_figures")


@pytest.mark.parametrize(("clients", "classes"), [(1, 10), (8, 10), (8, 1), (200, 10), (30, 15), (30, 100)])
def test_any_number_of_clients_and_classes_gives_a_png(clients: int, classes: int, tmp_path: Path) -> None:
    backend, settings = matplotlib.get_backend(), dict(matplotlib.rcParams)
    data = prepare(parse_config({"clients": {"count": clients}}))
    generator = torch.Generator().manual_seed(0)
    data = dataclasses.replace(
        data,
        labels=torch.randint(classes, data.labels.shape, generator=generator),
        class_names=tuple(f"class {number}" for number in range(classes)),
    )
    path = tmp_path / "new" / "labels.png"
    save_label_distribution(data, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    image = matplotlib.image.imread(path)
    assert len(image.reshape(-1, image.shape[-1]).round(2)) > 0
    colours = {tuple(pixel) for pixel in image[:, : image.shape[1] // 2, :3].reshape(-1, 3).round(2).tolist()}
    assert len(colours) > min(classes, 10), "every class has its own colour"
    assert matplotlib.get_backend() == backend
    assert dict(matplotlib.rcParams) == settings
    assert matplotlib.pyplot.get_fignums() == []


def test_names_of_classes_are_drawn_whatever_they_hold(tmp_path: Path) -> None:
    names = ("under $5", "$5 to $10", "$10^_ to $20", "_x", "猫", "<b>&鸟", "two\nlines", "n" * 500, r"\frac{", "{}")
    data = dataclasses.replace(prepare(parse_config({"clients": {"count": 2}})), class_names=names)
    save_label_distribution(data, tmp_path / "labels.png")
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")


def test_the_numbers_are_beside_the_figure_and_give_it_again(tmp_path: Path) -> None:
    data = dataclasses.replace(prepare(parse_config({"clients": {"count": 3}})), class_names=tuple('ab,"éfghij'))
    save_label_distribution(data, tmp_path / "labels.png")
    found = LabelCounts.read(tmp_path / "labels.csv")
    assert list(found.classes) == list(data.class_names)
    assert found.counts.sum(axis=1).tolist() == [len(each.train) + len(each.validation) for each in data.clients]
    with drawing():
        assert png(draw_label_distribution(found)) == (tmp_path / "labels.png").read_bytes()
    (tmp_path / "labels.csv").write_text("client,a,b\n0,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="other lengths"):
        LabelCounts.read(tmp_path / "labels.csv")
