"""Images in folders of classes, and of clients above them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.data_files import finished, loaded, pixels, refusal, write_image

SOURCE = {"name": "image_folder", "path": "photos"}


def write_classes(folder: Path, classes: dict[str, int], shape: tuple[int, ...] = (6, 5), ending: str = "png") -> None:
    for name, count in classes.items():
        for number in range(count):
            write_image(folder / name / f"{number:02}.{ending}", pixels(*shape, seed=number))


def test_a_folder_of_classes_runs(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"cat": 20, "dog": 20})
    assert finished(tmp_path, SOURCE)["rounds"] == 1


def test_pixels_classes_and_the_division_are_those_of_the_files(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"dog": 10, "cat": 5})
    data = loaded(tmp_path, SOURCE)
    assert data.class_names == ("cat", "dog")
    assert data.train_labels.tolist() == [0] * 4 + [1] * 8
    assert data.test_labels.tolist() == [0, 1, 1]
    assert isinstance(data.test_inputs, torch.Tensor)
    # Every fifth image of a class, in the order of the names.
    assert data.test_inputs[:, 0].tolist() == [pixels(6, 5, seed=number).tolist() for number in (4, 4, 9)]


def test_images_are_in_colour_when_one_of_them_is_and_resized_when_that_is_said(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"cat": 5, "dog": 4})
    write_image(tmp_path / "photos/dog/red.png", np.full((6, 5, 3), (200, 0, 0), dtype=np.uint8))
    colour = loaded(tmp_path, SOURCE)
    assert colour.train_inputs[:].shape == (8, 3, 6, 5)
    assert colour.test_inputs[:][1, :, 0, 0].tolist() == [200, 0, 0]
    grey = loaded(tmp_path, SOURCE | {"channels": 1, "size": [3, 4]})
    assert grey.train_inputs[:].shape == (8, 1, 3, 4)
    # The luma of that red.
    assert grey.test_inputs[:][1].unique().tolist() == [60]


def test_folders_of_clients_lie_above_those_of_classes_and_need_not_have_them_all(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos/ann", {"cat": 5, "dog": 5})
    write_classes(tmp_path / "photos/bob", {"dog": 5, "owl": 5}, ending="jpg")
    data = loaded(tmp_path, SOURCE | {"clients": True})
    assert data.class_names == ("cat", "dog", "owl")
    assert data.client_names == ("ann", "bob")
    assert data.train_clients is not None
    per_client = [data.train_labels[data.train_clients == client].bincount(minlength=3).tolist() for client in (0, 1)]
    assert per_client == [[4, 4, 0], [0, 4, 4]]


def test_a_folder_of_test_images_is_the_test_set(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"cat": 3, "dog": 3})
    write_classes(tmp_path / "later", {"dog": 2})
    data = loaded(tmp_path, SOURCE | {"test": "later"})
    assert (len(data.train_labels), data.test_labels.tolist()) == (6, [1, 1])


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    write_classes(tmp_path / "photos", {"cat": 5, "dog": 4})
    deep = tmp_path / "photos/dog/99.png"
    Image.fromarray(np.full((6, 5), 65535, dtype=np.uint16)).save(deep)
    assert loaded(tmp_path, SOURCE).test_inputs[:][1].unique().tolist() == [255]


def cut_off(photos: Path) -> None:
    file = photos / "dog/03.png"
    write_image(file, pixels(60, 50))
    file.write_bytes(file.read_bytes()[:1000])


def enormous(photos: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(photos / "dog/03.png")


def other_size(photos: Path) -> None:
    write_image(photos / "dog/03.png", pixels(6, 4))


def no_image(photos: Path) -> None:
    (photos / "dog/03.png").write_text("no image", encoding="utf-8")


def empty_class(photos: Path) -> None:
    (photos / "owl").mkdir()


def only_cats(photos: Path) -> None:
    for path in photos.glob("dog/*"):
        path.unlink()
    (photos / "dog").rmdir()


def deeper(photos: Path) -> None:
    photos.rename(photos.with_name("ann"))
    photos.mkdir()
    photos.with_name("ann").rename(photos / "ann")


def flat(photos: Path) -> None:
    for number, path in enumerate(photos.glob("*/*")):
        path.rename(photos / f"{number}.png")
    (photos / "dog").rmdir()
    (photos / "cat").rmdir()


def new_class_in_test(photos: Path) -> None:
    write_classes(photos.with_name("later"), {"owl": 2})


WRONG: dict[str, tuple[Callable[[Path], object], dict[str, object], list[str]]] = {
    "cut off": (cut_off, {}, ["dog/03.png cannot be read as an image", "truncated", "replace it"]),
    "a bomb": (enormous, {}, ["dog/03.png cannot be read as an image", "decompression bomb"]),
    "no image": (no_image, {}, ["dog/03.png cannot be read as an image", "take it away"]),
    "of another size": (other_size, {}, ["6×5 in", "cat/00.png", "6×4 in", "dog/03.png", "data.dataset.size=[6,5]"]),
    "an empty class": (empty_class, {}, ["data.dataset.path", "photos/owl of a class holds no image"]),
    "one class": (only_cats, {}, ["two classes at least", "photos are of the class 'cat'"]),
    "clients without saying so": (deeper, {}, ["photos/ann/cat", "data.dataset.clients=true"]),
    "no classes": (flat, {}, ["one folder for each class", "0.png, 1.png"]),
    "a class that is tested alone": (new_class_in_test, {"test": "later"}, ["got 'owl', of which", "has none"]),
    "no folder": (lambda _: None, {"path": "photo"}, ["data.dataset.path", "there is no folder", "mean 'photos'"]),
    "a file": (lambda _: None, {"path": "photos/cat/00.png"}, ["must be a folder, got the file", "name the folder"]),
    "no share": (lambda _: None, {"test_share": 1.5}, ["data.dataset.test_share", "less than 1", "1.5"]),
    "nothing to test": (lambda _: None, {"test_share": 0.01}, ["data.dataset.test_share", "raise it"]),
    "no channels": (lambda _: None, {"channels": 2}, ["data.dataset.channels", "1 or 3", "2"]),
    "no size": (lambda _: None, {"size": [0, 4]}, ["data.dataset.size.0", "greater than or equal to 1"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_its_remedy(case: str, tmp_path: Path) -> None:
    change, options, words = WRONG[case]
    write_classes(tmp_path / "photos", {"cat": 20, "dog": 20})
    change(tmp_path / "photos")
    message = refusal(tmp_path, SOURCE | options)
    assert [word for word in words if word not in message] == [], message
