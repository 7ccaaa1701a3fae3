"""What `fedkd list` says of plug-ins."""

from fedkd.app.cli.listing import catalogue


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
