"""The noise of differential privacy: full tails, streams that never meet, secrets of its own where it protects."""

import math

import numpy as np

from fedkd.privacy.noise import gaussian, seeded_noise, system_noise


def test_seeded_noise_repeats_and_every_part_of_its_name_gives_another_stream() -> None:
    plain = {"seed": 0, "round": 1, "client": 2, "purpose": "mechanism", "attempt": "a"}
    draws = [
        tuple(seeded_noise(**{**plain, name: value}).integers(2**63, size=2))  # type: ignore[arg-type]
        for name, value in (("seed", 0), ("seed", 1), ("round", 2), ("client", 1), ("purpose", "m"), ("attempt", "b"))
    ]
    assert tuple(seeded_noise(0, round=1, client=2, purpose="mechanism", attempt="a").integers(2**63, size=2)) in draws
    assert len(set(draws)) == len(draws)


def test_a_hundred_thousand_streams_have_no_draw_in_common() -> None:
    # 100 rounds × 1,000 clients; with 32 bits of seed a common stream is likely (1 − e^(−10¹⁰/2³³) = 69 %).
    firsts = {
        int(seeded_noise(0, round=round, client=client, purpose="mechanism", attempt="").integers(2**64, dtype="u8"))
        for round in range(100)
        for client in range(1000)
    }
    assert len(firsts) == 100_000


def test_gaussian_noise_has_the_tails_of_the_normal_distribution() -> None:
    draws = gaussian((20_000_000,), 1.0, seeded_noise(3, round=1, client=0, purpose="tails", attempt="")).numpy()
    assert draws.dtype == np.float64
    assert abs(draws.std() - 1) < 1e-3
    # P(|Z| > 4.5) = 6.8e-6: 136 of 20 million, with a standard deviation of 11.7.
    expected = 20_000_000 * math.erfc(4.5 / math.sqrt(2))
    assert abs((np.abs(draws) > 4.5).sum() - expected) < 5 * math.sqrt(expected)
    # Not on the grid of float32, whose uniform numbers end at 5.77 standard deviations.
    assert np.unique(draws[:100_000]).size == 100_000


def test_system_noise_never_repeats() -> None:
    assert system_noise().integers(2**63) != system_noise().integers(2**63)
    assert abs(gaussian((1_000_000,), 2.0, system_noise()).std().item() - 2.0) < 0.01
