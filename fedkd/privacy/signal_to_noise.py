"""Whether anything is left of the signal, before a run is started."""

import math

from fedkd.privacy.guarantee import Adversary, Release


def signal_to_noise(
    *, noise_multiplier: float, clients: int, queries: int, classes: int, adversary: Adversary, replace_one: bool
) -> float:
    """The expected signal-to-noise ratio of a coordinate of the mean of ``clients`` noised reports.

    A report of norm C spread evenly over ``queries`` × ``classes`` coordinates has C/√(queries·classes) in each; the
    mean's noise is zΔ/√clients where each client adds its own (``local``), zΔ/clients where the sum gets one draw
    (``central``). Δ is C, under ``replace_one`` 2C.
    """
    share = clients if adversary == "central" else math.sqrt(clients)
    return share / (noise_multiplier * (2.0 if replace_one else 1.0) * math.sqrt(queries * classes))


def verdict(ratio: float) -> str:
    """What a signal-to-noise ratio means."""
    if ratio >= 3:
        return "the signal dominates the noise"
    if ratio >= 1:
        return "the signal is as large as the noise; expect to lose accuracy"
    if ratio >= 0.3:
        return "there is more noise than signal; expect a poor teacher"
    return "the noise dominates the signal; expect an uninformative teacher"


def mean_sentence(release: Release, noise_multiplier: float, adversary: Adversary) -> str:
    """What to expect of a mean of noised reports: the ratio, what it means, and how many clients would change it."""
    clients = release.clients
    ratio = signal_to_noise(
        noise_multiplier=noise_multiplier,
        clients=clients,
        queries=release.queries,
        classes=release.classes,
        adversary=adversary,
        replace_one=True,
    )
    needed = clients / ratio if adversary == "central" else clients / ratio**2
    text = (
        f"expected signal-to-noise ratio {ratio:.2g} per coordinate of the mean of {clients} clients: {verdict(ratio)}"
    )
    return text if ratio >= 1 else f"{text}; a ratio of 1 takes about {math.ceil(needed):,} clients at this noise"
