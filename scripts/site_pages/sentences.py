"""Sentences with measured figures in the pages, made of docs/results."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fedkd.results.report.statistics import mean_and_ci
from site_pages.results import interval, results, row_of, word


def reference() -> Iterator[str]:
    """How far the reference experiment's student comes, and what it costs to send."""
    found, fedavg = results("fashion_mnist"), row_of("algorithms", name="fedavg")
    gap, points, values = found["gap_closed"], found["gap_closed_points"], found["accuracy"]
    whole = values["centralised"]["mean_ci95"][0] - values["public_only"]["mean_ci95"][0]
    up, down = (float(np.mean(found[f"megabytes_{way}"])) for way in ("up", "down"))
    both = (fedavg["megabytes_up"] + fedavg["megabytes_down"]) / (up + down)
    ours, theirs = (values[name]["values"] for name in ("student", "fedavg"))
    ahead = sum(mine > its for mine, its in zip(ours, theirs, strict=True))
    yield (
        f"The student covers {gap['mean']:.0f} % (95 % confidence interval {gap['low']:.0f} to {gap['high']:.0f}) of "
        f"the way from `public_only` to `centralised`, {points['mean']:.1f} of {whole:.1f} points. All clients "
        f"together send {up:.1f} MB and receive {down:.1f} MB: 1/{fedavg['megabytes_up'] / up:.0f} of what `fedavg` "
        f"sends, and 1/{both:.0f} of it both ways. It is ahead of `fedavg` in {ahead} of {len(ours)} seeds."
    )


def privacy() -> Iterator[str]:
    """What record-level privacy costs, in accuracy and in what attackers still learn."""
    plain, private = (row_of("privacy_frontier", row=name) for name in ("none", "dp_sgd_8"))
    before, after = (100 * row["student_accuracy"] for row in (plain, private))
    aucs = [max(each["auc"] for each in row["attacks"] if each["observation"] == "queried") for row in (plain, private)]
    yield (
        f"On Fashion-MNIST (ten clients, 400 samples each, one upload, {_seeds(plain)} seeds) DP-SGD at ε = 8 costs "
        f"{before - after:.1f} points of accuracy, {before:.1f} → {after:.1f} %, and reduces the AUC of the best "
        f"attack on queried candidates from {aucs[0]:.2f} to {aucs[1]:.2f}."
    )


def frontier() -> Iterator[str]:
    """What was found on the privacy frontier as a whole."""
    found = results("privacy_frontier")
    alone = 100 * found["controls"]["public_only"]["accuracy"]
    rows = {row["row"]: row for row in found["rows"]}
    cost = 100 * (rows["none"]["student_accuracy"] - rows["dp_sgd_8"]["student_accuracy"])
    gains = ", ".join(
        f"`{name}` {interval((100 * rows[name]['student_accuracy'] - alone, None), signed=True)}"
        for name in ("central_gaussian", "gnmax")
    )
    yield (
        f"{_refuted(rows.values())}. DP-SGD at ε = 8 costs {cost:.1f} points. With a hundred clients a guarantee for "
        f"all that a client has is worth little beside the server's labels alone: {gains} points to `public_only`."
    )


def client_level() -> Iterator[str]:
    """Where a guarantee for all that a client has is worth having."""
    found = results("client_level")
    private = [row for row in found["rows"] if row["epsilon"] is not None]
    paying = [row for row in private if row["lead"][0] - row["lead"][1] > 0]
    shown = ", ".join(
        f"{interval(row['lead'], signed=True)} points with `{row['mechanism']}`, {row['clients']} clients and "
        f"{row['labels']} known labels"
        for row in paying
    )
    yield (
        f"Of {len(private)} rows with a guarantee at ε = 8, these are better than `public_only` beyond chance: "
        f"{shown or 'none'}. {_refuted(private)}."
    )


def algorithms() -> Iterator[str]:
    """How the reference algorithm does against the others, and where three seeds do not say."""
    found = results("algorithms")
    ours = next(row for row in found["rows"] if row["name"] == "stacked_codistillation")
    others = [row for row in found["rows"] if row is not ours and row.get("student")]
    leads = {row["name"]: _lead(found, row) for row in others}
    unsure = [f"`{name}` ({interval(lead, signed=True)})" for name, lead in leads.items() if abs(lead[0]) <= lead[1]]
    beyond = sum(mean > half for mean, half in leads.values())
    yield (
        f"Seed by seed, `stacked_codistillation` is ahead beyond chance of {beyond} of {len(others)} algorithms with a "
        f"student (no correction for their number); its lead over {', '.join(unsure) or 'none'} may be chance."
    )


def best_algorithms() -> Iterator[str]:
    """Which other algorithms come near the reference algorithm when they are tuned, and what they send."""
    rows = [row for row in results("algorithms")["rows"] if row.get("student")]
    ours = next(row for row in rows if row["name"] == "stacked_codistillation")
    best, *others = (row for row in rows if row is not ours)
    shown = ", ".join(f"`{row['name']}` {interval(row['student'])}" for row in others[:3])
    yield (
        f"Of the other algorithms with a student, each tuned with the same budget, `{best['name']}` is the best on the "
        f"same task: {interval(best['student'])} % over {_seeds(best)} seeds, with {best['megabytes_up']:.1f} MB sent "
        f"up; after it come {shown}. Our student has {interval(ours['student'])} % over these seeds, with "
        f"{ours['megabytes_up']:.1f} MB."
    )


def _lead(found: dict[str, Any], row: dict[str, Any]) -> tuple[float, float]:
    """By how many points the reference algorithm's student is ahead, over the seeds that both have."""
    runs = found["runs"]
    return mean_and_ci(
        [
            100 * (runs[f"stacked_codistillation-{seed}"]["student"] - runs[f"{row['name']}-{seed}"]["student"])
            for seed in row["seeds"]
        ]
    )


def tuning() -> Iterator[str]:
    """What tuning changed, on the samples that were held out for it."""
    found = results("algorithms_tuning")["algorithms"]
    kept = [name for name, each in found.items() if not each["chosen"]]
    yield (
        f"{len(found) - len(kept)} of {len(found)} algorithms were given another setting than the shipped one; those "
        f"that kept it are {', '.join(f'`{name}`' for name in kept) or 'none'}."
    )


def _refuted(rows: Iterable[dict[str, Any]]) -> str:
    names = [row["row"] for row in rows if row["violations"]]
    return f"Attacks refute the ε of {', '.join(names)}" if names else "No attack refutes an ε"


def _seeds(row: dict[str, Any]) -> str:
    return word(len(row["seeds"]))
