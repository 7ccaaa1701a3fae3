"""What makes a run the same run."""

import pytest

from fedkd.config.digest import configuration_digest
from fedkd.config.identity import run_digest, settled
from fedkd.config.load import load_config, to_mapping


def test_keys_that_hold_what_is_usual_do_not_change_a_run() -> None:
    usual = to_mapping(load_config({}))
    without = to_mapping(load_config({}))
    del (
        without["data"]["transform"],
        without["data"]["tasks"],
        without["data"]["heads"],
        without["data"]["public"]["corruption"],
        without["data"]["public"]["label_noise"],
        without["student"]["init"],
        without["student"]["init_sha256"],
    )
    assert run_digest(usual) == run_digest(without)
    assert settled(usual)["data"].keys() == without["data"].keys()


@pytest.mark.parametrize(
    "override",
    [
        "data.transform=scale",
        "distillation.fresh_optimiser=true",
        "data.heads=[parity]",
        "data.public.corruption.rotate=90",
        "data.public.label_noise=0.1",
        "distillation.loss=[kl,kl]",
        "distillation.loss.weight=2",
        "clients.self_distillation=1",
        "clients.self_classes=others",
        "seed=1",
    ],
)
def test_other_values_make_another_run(override: str) -> None:
    usual, other = load_config({}), load_config({}, [override])
    assert run_digest(to_mapping(usual)) != run_digest(to_mapping(other))
    assert configuration_digest(usual) != configuration_digest(other)


def test_who_follows_a_run_is_no_part_of_it() -> None:
    alone, followed = load_config({}), load_config({}, ["tracking=[tensorboard,mlflow]"])
    assert run_digest(to_mapping(alone)) == run_digest(to_mapping(followed))
    assert configuration_digest(alone) == configuration_digest(followed)
