"""What `fedkd list` says of plug-ins."""

import pytest

from fedkd.app.cli.listing import catalogue
from fedkd.data.datasets.watch import Watch
from fedkd.data.datasets.word_lists import WordLists


def test_data_sources_of_the_users_own_files_say_what_must_be_named() -> None:
    entries = {entry.name: entry for entry in catalogue("datasets")}
    assert not [name for name, entry in entries.items() if entry.broken]
    assert entries["digits"].note == "found here"
    for name in ("csv", "huggingface", "image_folder", "npz", "text", "torchvision"):
        assert entries[name].note == "reads what its options name"
    options = dict(entries["csv"].options)
    assert (options["path"], options["label"], options["test_share"]) == (
        "(str, required)",
        "(str | list, required)",
        "0.2",
    )


def test_what_is_installed_rather_than_downloaded_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (WordLists, Watch):
        monkeypatch.setattr(source, "available", lambda self, root: False)
    entries = {entry.name: entry for entry in catalogue("datasets")}
    assert entries["word_lists"].note.startswith("not here; apt-get install wdutch wamerican")
    assert entries["watch"].note == "not here; pip install 'fedkd[watch]'"
