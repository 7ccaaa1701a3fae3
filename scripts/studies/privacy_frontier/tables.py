"""The privacy frontier's table."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.results.report.statistics import mean_and_ci
from studies.study import markdown_table, plus_minus

Row = dict[str, Any]

NOTHING: Row = {"unit": None, "adversary": None, "neighbouring": None, "noise": None, "noise_multiplier": None}
FALSE_POSITIVES = tuple(float(rate) for rate in np.round(np.geomspace(1e-3, 1.0, 61), 5))
"""Where curves of different seeds are averaged."""


def spent(folder: Path) -> Row:
    """The number of releases of the worst-case client, by the run's ledger, and how they are accounted for."""
    path = folder / "privacy_ledger.json"
    if not path.is_file():
        return {"releases": None, "accountant": None}
    charges = json.loads(path.read_text(encoding="utf-8"))["charges"]
    releases: dict[int, int] = {}
    for charge in charges:
        releases[charge["client"]] = releases.get(charge["client"], 0) + sum(part["count"] for part in charge["event"])
    sampled = any(part["sampling_rate"] < 1 for charge in charges for part in charge["event"])
    return {"releases": max(releases.values()), "accountant": "PLD" if sampled else "exact"}


def summarise(
    name: str, seeds: Sequence[int], runs: Sequence[Row], attacked: Sequence[int], audits: Sequence[Row]
) -> Row:
    """A row of the table: means over seeds, each with the half-width of its 95 % interval; attacks on some of them."""
    guarantee = runs[0]["guarantee"] or NOTHING
    epsilons = [run["epsilon"] for run in runs]
    return {
        "row": name,
        "mechanism": name.rstrip("_0123456789"),
        "seeds": list(seeds),
        "attacked_seeds": list(attacked),
        "protects": guarantee["unit"],
        "adversary": guarantee["adversary"],
        "neighbouring": guarantee["neighbouring"],
        "epsilon": None if None in epsilons else max(epsilons),
        "delta": runs[0]["delta"],
        "accountant": runs[0]["accountant"],
        "releases": runs[0]["releases"],
        "noise": guarantee["noise"],
        **measured("student_accuracy", [run["student"] for run in runs]),
        **measured("client_accuracy", [run["clients"] for run in runs]),
        "attacks": attacks(audits, None if None in epsilons else max(epsilons), runs[0]["delta"]),
        "violations": [violation for audit in audits for violation in audit["ceiling"]],
        "megabytes_up": float(np.mean([run["bytes_up"] for run in runs])) / 1e6,
        "cpu_seconds": float(np.mean([run["cpu_seconds"] for run in runs])),
        "audit_cpu_seconds": float(np.mean([audit["cpu_seconds"] for audit in audits])),
    }


def attacks(audits: Sequence[Row], epsilon: float | None, delta: float) -> list[Row]:
    """One row per attack and observation, the strongest first."""
    found = []
    for (attack, observation), same in by_kind(audits).items():
        bounds = [each["epsilon_lower_bound"] for each in same if each["epsilon_lower_bound"] is not None]
        covered = all(each["covered"] for each in same)
        found.append(
            {
                "attack": attack,
                "observation": observation,
                "covered": covered,
                **measured("auc", [each["auc"] for each in same]),
                **measured("tpr_at_1pct_fpr", [each["tpr_at_1pct_fpr"] for each in same]),
                "epsilon_lower_bound": max(bounds, default=None),
                "ceiling_at_1pct_fpr": ceiling(0.01, epsilon, delta) if covered and epsilon is not None else None,
                "members": sum(each["members"] for each in same),
                "non_members": sum(each["non_members"] for each in same),
                "shadows": same[0]["shadows"],
            }
        )
    return sorted(found, key=lambda row: -row["auc"])


def by_kind(audits: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """What was found on the seeds, by attack and observation, where every seed has them."""
    found: dict[tuple[str, str], list[Row]] = {}
    for each in (each for audit in audits for each in audit["attacks"]):
        found.setdefault((each["attack"], each["observation"]), []).append(each)
    return {kind: same for kind, same in found.items() if len(same) == len(audits)}


def curves(audits: Sequence[Row]) -> Row:
    """Per attack and observation the TPR at ``FALSE_POSITIVES``, mean over seeds; the largest that is not exceeded."""
    means = {kind: np.mean([at_rates(each["roc"]) for each in same], axis=0) for kind, same in by_kind(audits).items()}
    named = {f"{attack} {observation}": rates.round(5).tolist() for (attack, observation), rates in means.items()}
    return {"fpr": list(FALSE_POSITIVES), **named}


def at_rates(roc: Sequence[Sequence[float]]) -> list[float]:
    """The largest TPR at no more than each of ``FALSE_POSITIVES``."""
    return [max((point[1] for point in roc if point[0] <= rate), default=0.0) for rate in FALSE_POSITIVES]


def ceiling(fpr: float, epsilon: float, delta: float) -> float:
    """The largest TPR that (ε, δ)-differential privacy allows at a false-positive rate."""
    return min(1.0, math.exp(min(epsilon, 700.0)) * fpr + delta)


def controls(runs: Sequence[Row]) -> dict[str, Row]:
    """The controls' accuracies."""
    return {name: measured("accuracy", [run["controls"][name] for run in runs]) for name in runs[0]["controls"]}


def measured(name: str, values: Sequence[float | None]) -> Row:
    """The mean, and the half-width of its 95 % interval, None for a single value; None for what was never measured."""
    known = [value for value in values if value is not None]
    if not known:
        return {name: None, f"{name}_ci95": None}
    mean, half = mean_and_ci(known)
    return {name: mean, f"{name}_ci95": half if math.isfinite(half) else None}


def ceilings(rows: Sequence[Row]) -> list[str]:
    """For every row with a formal guarantee, whether an attack refutes it."""
    lines = []
    for row in rows:
        if row["epsilon"] is None:
            continue
        tried = [attack for attack in row["attacks"] if attack["covered"]]
        claim = f"{row['row']}: ε = {row['epsilon']:.3g}"
        if row["violations"]:
            worst = row["violations"][0]
            lines.append(
                f"{claim} REFUTED: {worst['attack']} from {worst['observation']} has a true-positive rate of at least "
                f"{worst['tpr_lower']:.3f} at a false-positive rate of at most {worst['fpr_upper']:.3f}, and the "
                f"ceiling is {worst['ceiling']:.3f}"
            )
        else:
            runs = len(row["attacked_seeds"])
            lines.append(
                f"{claim} stands: no lower confidence limit of {len(tried)} attacks on {runs} runs is above e^ε·FPR + δ"
            )
    return lines


def csv_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A line per row and attack."""
    wide = [{**row, **attack} for row in rows for attack in row["attacks"]]
    return [{key: _cell(cell) for key, cell in row.items() if key not in {"attacks", "violations"}} for row in wide]


def markdown(rows: Sequence[Row], bars: Mapping[str, Row]) -> str:
    """The table with the strongest attack of each row, and the controls."""
    lines = markdown_table([*map(_cells, rows)])
    seeds = len(rows[0]["seeds"])
    attacked = len(rows[0]["attacked_seeds"])
    told = f"Mean ± 95 % confidence interval over {seeds} seeds; attacks on {attacked} of them."
    lines += ["", told if seeds > 1 else "One seed."]
    if bars:
        cells = [{"control": f"`{name}`", "test accuracy (%)": percent(bar, "accuracy")} for name, bar in bars.items()]
        lines += ["", *markdown_table(cells)]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> dict[str, str]:
    strongest = row["attacks"][0]
    bound, bar = strongest["epsilon_lower_bound"], strongest["ceiling_at_1pct_fpr"]
    return {
        "mechanism": f"`{row['mechanism']}`",
        "protects": row["protects"] or "–",
        "adversary": row["adversary"] or "–",
        "neighbouring": (row["neighbouring"] or "–").replace("_", " "),
        "ε": "none" if row["epsilon"] is None else f"{row['epsilon']:.3g}",
        "δ": "–" if row["epsilon"] is None else f"{row['delta']:g}",
        "accountant": row["accountant"] or "–",
        "releases": "–" if row["releases"] is None else str(row["releases"]),
        "noise σ": "–" if row["noise"] is None else f"{row['noise']:.3g}",
        "student acc (%)": percent(row, "student_accuracy"),
        "client acc (%)": percent(row, "client_accuracy"),
        "strongest attack and observation": f"{strongest['attack']}, {strongest['observation']}",
        "AUC": _shown(strongest["auc"], strongest["auc_ci95"], 3),
        "TPR at 1 % FPR (%)": percent(strongest, "tpr_at_1pct_fpr"),
        "ε lower bound": "–" if bound is None else f"{bound:.2f}",
        "ceiling at 1 % FPR (%)": "–" if bar is None else f"{100 * bar:.1f}",
        "MB up": f"{row['megabytes_up']:.2f}",
        "CPU s": f"{row['cpu_seconds']:.0f}",
    }


def percent(row: Row, name: str) -> str:
    """A mean and its interval in per cent."""
    half = row[f"{name}_ci95"]
    return _shown(row[name] and 100 * row[name], half and 100 * half, 1)


def _shown(mean: float | None, half: float | None, digits: int) -> str:
    return plus_minus(None if mean is None else (mean, math.inf if half is None else half), f".{digits}f")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:.5g}" if isinstance(value, float) else value
