"""What DP-SGD and secure sums cost, and what a malicious server finds, for the pages about protection and attacks."""

from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

from site_pages.results import interval, results, table_row

_SETTINGS = {"none": "no protection", "label_only": "labels only", "dp_sgd_8": "DP-SGD, ε = 8"}
_AUDITS = {
    "gaussian_logits": "`audit_logit_mechanism`, `gaussian_logits`",
    "dp_sgd": "`audit_dp_sgd`",
    "gnmax": "`audit_teacher`, `gnmax`",
}
_FAULTS = {
    "correct": "correct",
    "a tenth": "a tenth of σ",
    "none": "none",
    "drawn once": "drawn once for both rounds",
    "shared": "the same for all clients",
}


def _price() -> Iterator[str]:
    """What DP-SGD costs in other experiments."""
    found = results("privacy_tuning")
    yield from (
        table_row("experiment", "no protection (%)", "DP-SGD, ε = 8 (%)", "points it costs"),
        "|---|---|---|---|",
    )
    for row in found["experiments"]:
        cost = fmean(row["none"]) - fmean(row["dp_sgd"])
        figures = (f"{100 * each:.1f}" for each in (fmean(row["none"]), fmean(row["dp_sgd"]), cost))
        yield table_row(row["name"], *figures)


def _membership() -> Iterator[str]:
    """How well a malicious server's attacks tell members."""
    yield (
        "| | `lira_online` | `lira_offline` | `optimised_queries`, `reach`=0 | `optimised_queries` | over "
        "`lira_online` | over `lira_offline` |"
    )
    yield "|---|---|---|---|---|---|---|"
    for row in results("malicious_server")["rows"]:
        attacks = ("lira_online", "lira_offline", "left at the candidates", "optimised_queries")
        aucs = [interval(row["auc"][name], digits=3) for name in attacks]
        gains = [interval(row["gain"][name], signed=True, digits=3) for name in ("lira_online", "lira_offline")]
        yield f"| {' | '.join([_SETTINGS[row['setting']], *aucs, *gains])} |"


def _membership_words() -> Iterator[str]:
    """What optimised queries gain where logits are released, with and without DP."""
    rows = {row["setting"]: row for row in results("malicious_server")["rows"]}
    plain, private = rows["none"]["gain"]["lira_online"], rows["dp_sgd_8"]
    gained = "nothing" if all(map(_may_be_chance, private["gain"].values())) else "something"
    yield (
        "Where whole logits are released there is little left to gain: candidates are already nearly the best "
        f"questions, and the gain of {plain[0]:.3f}, whose interval "
        f"{'reaches' if _may_be_chance(plain) else 'does not reach'} 0, is the scoring's (`reach`=0 asks about nothing "
        f"but candidates). With DP-SGD {gained} is gained that the intervals tell from 0, and "
        f"{'attacks refute' if private['refutations'] else 'no attack refutes'} ε = 8."
    )


def _may_be_chance(gain: tuple[float, float]) -> bool:
    return gain[0] <= gain[1]


def _shares_asked() -> Iterator[str]:
    """What the figures of class shares and class means are."""
    guess = fmean(
        run["inference"]["label_distribution"]["l1_uniform"] for run in results("malicious_server")["runs"].values()
    )
    yield (
        "The same clients' class shares and class means; AUC tells whether a client holds more of a class than its "
        f'even share, L1 is the sum of absolute errors ({guess:.2f} for a uniform guess), "beyond" is the '
        "correlation of what is found with the truth, both less the public mean, for the client itself and for other "
        "clients:"
    )


def _shares() -> Iterator[str]:
    """How well a malicious server tells class shares and class means."""
    yield (
        "| | AUC, `crafted_queries` | AUC, `optimised_shares` | L1, `crafted_queries` | L1, `optimised_shares` | class "
        "means | public means | beyond, own | beyond, others |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in results("malicious_server")["rows"]:
        shares = [
            interval(row[figure][name], digits=2)
            for figure in ("shares", "error of shares")
            for name in ("crafted_queries", "optimised_shares")
        ]
        means = [interval(row["class means"][name], digits=3) for name in ("correlation", "correlation_public")]
        beyond = [interval(row["class means"][name], digits=2) for name in ("beyond_public", "beyond_public_others")]
        yield f"| {' | '.join([_SETTINGS[row['setting']], *shares, *means, *beyond])} |"


def _shares_words() -> Iterator[str]:
    """How optimised inputs compare with crafted ones and with ordinary public samples."""
    errors = {
        name: {attack: found["l1"] for attack, found in run["inference"].items() if "l1" in found}
        for name, run in results("malicious_server")["runs"].items()
        if not name.startswith("dp_sgd_8")
    }
    better = sum(each["optimised_shares"] < each["crafted_queries"] for each in errors.values())
    *most, last = (f"{each['label_distribution']:.2f}" for name, each in errors.items() if name.startswith("none"))
    yield (
        f"Without DP, optimised inputs tell shares better than crafted ones in {better} of {len(errors)} runs; "
        f"ordinary public samples (`label_distribution`, L1 of {', '.join(most)} and {last}) tell nearly as much."
    )


def _memorising() -> Iterator[str]:
    """How well attacks tell members of clients that memorise."""
    found = results("audit_study")
    names = list(found["memorising"][0]["auc"])
    yield table_row("local epochs, α, private samples", "members per run", *(f"`{name}`" for name in names))
    yield f"|{'---|' * (2 + len(names))}"
    for row in found["memorising"]:
        setting = f"{row['epochs']}, {row['alpha']:g}, {row['private_size']:,}"
        members = ", ".join(map(str, row["members"]))
        yield table_row(setting, members, *(interval(row["auc"][name], digits=3) for name in names))


def _faults() -> Iterator[str]:
    """Lower bounds of ε for mechanisms with and without faults."""
    rows = results("audit_study")["mechanisms"]
    bounds = {(row["mechanism"], row["fault"]): row["bounds"] for row in rows}
    names = list(dict.fromkeys(row["mechanism"] for row in rows))
    yield table_row("noise", *(_AUDITS[name] for name in names))
    yield f"|{'---|' * (1 + len(names))}"
    for fault, words in _FAULTS.items():
        cells = (
            f"{min(found):.2f} to {max(found):.2f}" if (found := bounds.get((name, fault))) else "–" for name in names
        )
        yield table_row(words, *cells)


def _faults_words() -> Iterator[str]:
    """Which audits refute the claim."""
    found = results("audit_study")
    claim, runs = found["claim"]["epsilon"], len(found["seeds"])
    refuted = {(row["mechanism"], row["fault"]): row["refuted"] for row in found["mechanisms"]}
    wrong = sum(count for (_, fault), count in refuted.items() if fault == "correct")
    faults = [count for (_, fault), count in refuted.items() if fault != "correct"]
    most = max(max(row["bounds"]) for row in found["mechanisms"])
    yield (
        f"A bound above {claim:.2f} refutes the claim: {sum(faults)} of the {runs * len(faults)} audits of a fault do, "
        f"and {wrong or 'none'} of the {runs * (len(refuted) - len(faults))} of correct noise. With "
        f"{found['trials']:,} runs per data set, or {found['canaries']:,} canaries, no bound was above {most:.1f}."
    )


def _sums() -> Iterator[str]:
    """What a secure sum costs without dropouts."""
    yield "| clients | largest error | stated bound | s per client | s on the server | kB up per client | kB down |"
    yield "|---|---|---|---|---|---|---|"
    for row in _measured_sums():
        if row["phase"] == "none":
            up, down = (sum(row[f"bytes_{way}"].values()) / 1_000 for way in ("up", "down"))
            yield (
                f"| {row['clients']} | {row['error']:.1e} | {row['bound']:.1e} | {row['seconds_per_client']:.3f} | "
                f"{row['seconds_on_server']:.3f} | {up:.0f} | {down:.0f} |"
            )


def _dearest_sum() -> Iterator[str]:
    """What the most expensive of all secure sums costs."""
    row = max(_measured_sums(), key=lambda row: row["seconds_on_server"])
    yield (
        f"With {row['share'] * row['clients']:.0f} of {row['clients']} clients lost at `{row['phase']}`, the most "
        f"expensive case, the server takes {row['seconds_on_server']:.2f} s."
    )


def _measured_sums() -> list[dict[str, Any]]:
    rows: Any = results("secure_sum")
    return list(rows)


PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "privacy_tuning": _price,
    "malicious_server_members": _membership,
    "malicious_server_members_words": _membership_words,
    "malicious_server_shares_asked": _shares_asked,
    "malicious_server_shares": _shares,
    "malicious_server_shares_words": _shares_words,
    "audit_memorising": _memorising,
    "audit_faults": _faults,
    "audit_faults_words": _faults_words,
    "secure_sum": _sums,
    "secure_sum_dearest": _dearest_sum,
}
