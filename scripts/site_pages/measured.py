"""Tables and sentences of measured figures in the pages, made of docs/results, between comments that name them."""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from site_pages import costs, distilling, guarding, sentences, toolkit
from site_pages.results import ROOT, comparable, interval, percent, results, table_row

PAGES = (
    "README.md",
    "docs/analysing.md",
    "docs/auditing.md",
    "docs/distillation.md",
    "docs/flower.md",
    "docs/measured.md",
    "docs/own_data.md",
    "docs/privacy.md",
    "docs/scaling.md",
    "docs/secure_aggregation.md",
    "docs/toolkit.md",
)

_BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(\n<!-- measured: end -->)", re.DOTALL)

_EXAMPLES = {
    "table": "569 tumours in 30 measurements (scikit-learn), five hospitals, 20 known diagnoses; `mlp`",
    "series": "two seconds of a smartwatch, seven exercises; eight people are the clients, two others the test; "
    "`transformer`",
    "text": "the language of a word, of eight (Debian's word lists), letter by letter, 200 known; `gru`",
}

_MET, _UNSURE = "met", "undecided"


def main() -> None:
    """Write them into the pages."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name in PAGES:
        page = ROOT / name
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


def written(text: str) -> str:
    """A page with its figures as docs/results has them."""
    return _BLOCK.sub(lambda block: block[1] + "\n".join(_PARTS[block[2]]()) + block[3], text)


def _reference() -> Iterator[str]:
    found = results("fashion_mnist")
    yield from ("| after 10 rounds | test accuracy (%) | Δ vs. student |", "|---|---|---|")
    for name in ("student", "teacher_only", "λ = 1", "fedavg", "public_only", "local_only", "centralised"):
        shown = {"student": "student", "λ = 1": "the same with λ = 1"}.get(name, f"`{name}`")
        behind = ""
        if name != "student":
            lead, half = found["student_lead"][name]
            behind = interval((0.0 - lead, half), signed=True) + " "
        yield f"| {shown} | {interval(found['accuracy'][name]['mean_ci95'])} | {behind}|"


def _algorithms() -> Iterator[str]:
    yield (
        "| algorithm | seeds | student | vs. `fedavg` | gap closed (%) | clients, test samples | clients, own "
        "validation samples | MB up | MB down |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in results("algorithms")["rows"]:
        over = "" if row["name"] == "fedavg" else interval(row.get("over_fedavg"), signed=True)
        cells = (
            f"`{row['name']}`",
            str(len(row["seeds"])),
            interval(row.get("student")),
            over,
            interval(row.get("gap")),
            interval(row["clients_test"]),
            interval(row["clients_own"]),
            *(f"{row[key]:.2f}" for key in ("megabytes_up", "megabytes_down")),
        )
        yield table_row(*cells)


def _tuning() -> Iterator[str]:
    yield from ("| algorithm | chosen | as shipped (%) | as chosen (%) |", "|---|---|---|---|")
    for name, each in results("algorithms_tuning")["algorithms"].items():
        chosen = next(trial for trial in each["trials"] if trial["setting"] == each["chosen"])
        setting = ", ".join(f"`{key}={value}`" for key, value in each["chosen"].items()) or "as shipped"
        yield table_row(f"`{name}`", setting, *(f"{100 * trial['mean']:.1f}" for trial in (each["trials"][0], chosen)))


def _privacy() -> Iterator[str]:
    found = results("privacy_frontier")
    yield "| protection | protects | ε | student (%) | strongest attack | AUC | TPR at 1 % FPR (%) | MB up |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in found["rows"]:
        attack = row["attacks"][0]
        cells = (
            f"`{row['row']}`",
            row["protects"] or "no guarantee",
            "–" if row["epsilon"] is None else f"{row['epsilon']:.3g}",
            percent(row, "student_accuracy"),
            f"`{attack['attack']}`, {attack['observation']}",
            f"{attack['auc']:.3f} ± {attack['auc_ci95']:.3f}",
            percent(attack, "tpr_at_1pct_fpr"),
            f"{row['megabytes_up']:.2f}",
        )
        yield table_row(*cells)
    bars = (f"`{name}` {percent(bar, 'accuracy')}" for name, bar in found["controls"].items())
    yield from ("", f"Controls: {', '.join(bars)}.")


def _robustness() -> Iterator[str]:
    found = results("robustness_study")
    partitions = list(found["mean"])
    yield table_row("strategy", *map(_in_words, partitions))
    yield f"|---|{'---|' * len(partitions)}"
    for defence in found["defences"]:
        cells = []
        for partition in partitions:
            mean = found["mean"][partition]
            worst = found["beyond_absence"][partition]["30%"][defence]["attack"]
            shown = (f"{mean[case][defence][0]:.1f}" for case in ("none", "absent 30%", worst))
            cells.append(f"{' / '.join(shown)} (`{worst.removesuffix(' 30%')}`)")
        yield table_row(f"`{defence}`", *cells)
    beyond = []
    for partition in partitions:
        rows = found["beyond_absence"][partition]["30%"]
        pair = (interval(rows[name]["points"]) for name in ("stacked", "mean_probabilities"))
        beyond.append(f"{' and '.join(pair)} ({_in_words(partition)})")
    yield ""
    first = "In points, with `stacked` and `mean_probabilities`, that worst attack costs beyond the attackers' absence"
    yield f"{first}: {'; '.join(beyond)}."


def _in_words(partition: str) -> str:
    return partition.replace("alpha=", "Dirichlet ")


def _client_level() -> Iterator[str]:
    found = results("client_level")
    yield "| protection | clients | labels | ε | student (%) | `public_only` | points over it | best attack | AUC |"
    yield "|---|---|---|---|---|---|---|---|---|"
    alone = {(bar["clients"], bar["labels"]): percent(bar["public_only"], "accuracy") for bar in found["controls"]}
    for row in found["rows"]:
        attack = row["attacks"][0]
        cells = (
            f"`{row['mechanism']}`",
            f"{row['clients']:,}",
            str(row["labels"]),
            "–" if row["epsilon"] is None else f"{row['epsilon']:.3g}",
            percent(row, "student_accuracy"),
            alone[row["clients"], row["labels"]],
            interval(row["lead"], signed=True),
            f"`{attack['attack']}`, {attack['observation']}",
            f"{attack['auc']:.3f} ± {attack['auc_ci95']:.3f}",
        )
        yield table_row(*cells)


def _examples() -> Iterator[str]:
    yield from ("| `fedkd run` | data | student | `public_only` | `centralised` |", "|---|---|---|---|---|")
    for name, words in _EXAMPLES.items():
        found: Mapping[str, Any] = results(f"example_{name}")["accuracy"]
        cells = (interval(found[each]["mean_ci95"]) for each in ("student", "public_only", "centralised"))
        yield table_row(f"`examples/{name}`", words, *cells)


def _reproductions() -> Iterator[str]:
    rows = [row for row in results("reproductions")["references"] if row["mean"] is not None]
    verdicts, papers = [*map(_verdict, rows)], {row["source"].partition(",")[0] for row in rows}
    met, unsure = verdicts.count(_MET), verdicts.count(_UNSURE)
    yield (
        f"Of {len(rows)} published figures from {len(papers)} papers, {met} are met: our mean lies in a band that was "
        f"chosen before any run. {unsure} more lie in theirs by intervals wider than it, which decides nothing."
    )
    yield from ("", "| result | published | here | seeds | band | |", "|---|---|---|---|---|---|")
    for row, verdict in zip(rows, verdicts, strict=True):
        figures = [(row["published"], None), (row["mean"], row["ci95"]), *((end, None) for end in row["band"])]
        published, ours, low, high = (comparable(figure, row["measure"]) for figure in figures)
        cells = (row["title"], published, ours, str(len(row["values"])), f"{low} to {high}", verdict)
        yield table_row(*cells)


def _verdict(row: Mapping[str, Any]) -> str:
    low, high = row["band"]
    if row["met"]:
        return _UNSURE if 2 * (row["ci95"] or 0.0) > high - low else _MET
    return "above" if row["mean"] > high else "below"


def _public_data() -> Iterator[str]:
    found = results("public_data")
    strategies = list(found["strategies"])
    partition = found["rows"][0]["partition"]
    rows = [row for row in found["rows"] if row["partition"] == partition]
    names = (f"`{values['strategy']}`" for values in found["strategies"].values())
    yield f"| public set | `public_only` | {' | '.join(names)} |"
    yield f"|---|---{'|---' * len(strategies)}|"
    for cell in dict.fromkeys(row["cell"] for row in rows):
        by = {row["strategy"]: row for row in rows if row["cell"] == cell}
        shown = [_with_gain(by.get(name)) for name in strategies]
        yield f"| {cell} | {interval(next(iter(by.values()))['public_only'])} | {' | '.join(shown)} |"


def _public_choice() -> Iterator[str]:
    """What the study of public sets says to whoever has to choose one."""
    found = results("public_data")
    reference = {"partition": "alpha=0.1", "size": 4_000, "labels": 500, "origin": "same data", "wrong": 0.0}
    alike = {"partition": "alpha=1"}

    def of(strategy: str, measure: str = "test", **changes: Any) -> str:
        wanted = reference | changes | {"strategy": strategy}
        (row,) = (row for row in found["rows"] if all(row[key] == value for key, value in wanted.items()))
        return interval(row[measure], signed=measure == "gain")

    sizes = [of("stacked", size=size) for size in (500, 1_000, 4_000, 16_000)]
    alone = [of("stacked", "public_only", labels=labels) for labels in (100, 500, 2_000)]
    gains = [of("stacked", "gain", labels=labels) for labels in (100, 500, 2_000)]
    wrong = [of("stacked", "public_only", wrong=0.4), of("stacked", wrong=0.4), of("mean", wrong=0.4)]
    kinds = [
        of("mean", labels=0, origin=origin) for origin in ("same data", "noisy", "rotated", "inverted", "pure noise")
    ]
    few = [of("mean", labels=0, origin=origin, size=1_400) for origin in ("digits", "same data")]
    yield (
        f"- **Size matters little.** With `stacked` the student has {sizes[0]} % after 500 public samples, {sizes[1]} "
        f"after 1,000, {sizes[2]} after 4,000 and {sizes[3]} after 16,000."
    )
    yield (
        f"- **Known labels are worth a lot, and leave less to gain.** 100 labels alone give {alone[0]} %, and the "
        f"clients add {gains[0]} points with `stacked`; 500 labels {alone[1]} % and {gains[1]}, 2,000 labels "
        f"{alone[2]} % and {gains[2]}. Without any, `era` reaches {of('era', labels=0)} %."
    )
    yield (
        "- **Where clients are more alike, labels matter less.** At Dirichlet 1 `era` reaches "
        f"{of('era', labels=0, **alike)} % without any, {of('era', labels=100, **alike)} with 100 and "
        f"{of('era', **alike)} with 500, and 2,000 labels with `stacked` {of('stacked', labels=2_000, **alike)} "
        f"({of('stacked', 'gain', labels=2_000, **alike)} points)."
    )
    yield (
        f"- **Wrong labels cost the student less than they cost without clients.** With 40 % of the 500 wrong, the "
        f"labels alone give {wrong[0]} %; the student has {wrong[1]} % with `stacked`, and {wrong[2]} % with "
        f"`mean_probabilities`. At Dirichlet 1 `stacked`, which is fitted on labels, has "
        f"{of('stacked', wrong=0.4, **alike)} %, and `era`, which is not, {of('era', wrong=0.4, **alike)}."
    )
    yield (
        "- **Samples have to look like the private ones.** Without labels and with `mean_probabilities` the student "
        f"has {kinds[0]} % on the same data, {kinds[1]} where they are noisy, {kinds[2]} where they are turned by 30°, "
        f"{few[0]} on pictures of digits ({few[1]} on as few of the same data), {kinds[3]} on negatives and {kinds[4]} "
        "on noise, which is guessing."
    )
    yield (
        "- **Labels of samples that are unlike the private ones can hurt.** With 500 labels of the turned samples the "
        f"same student has {of('mean', origin='rotated')} %."
    )
    yield (
        "- **`selective` asks most of the public set.** Without labels its student has "
        f"{of('selective', labels=0)} % on the same data, and {of('selective', labels=0, origin='noisy')} % on noisy "
        "samples."
    )


def _with_gain(row: Mapping[str, Any] | None) -> str:
    """A student's accuracy, and in brackets the points over the labels alone, where there are labels."""
    if row is None or row["gain"] is None:
        return interval(None if row is None else row["test"])
    return f"{row['test'][0]:.1f} ({interval(row['gain'], signed=True)})"


_PARTS: Mapping[str, Callable[[], Iterator[str]]] = {
    "reference": _reference,
    "reference_words": sentences.reference,
    "privacy": _privacy,
    "privacy_words": sentences.privacy,
    "frontier_words": sentences.frontier,
    "algorithms": _algorithms,
    "algorithms_best": sentences.best_algorithms,
    "algorithms_words": sentences.algorithms,
    "algorithms_tuning": _tuning,
    "algorithms_tuning_words": sentences.tuning,
    "client_level": _client_level,
    "client_level_words": sentences.client_level,
    "examples": _examples,
    "robustness": _robustness,
    "reproductions": _reproductions,
    "public_data": _public_data,
    "public_choice": _public_choice,
    **costs.PARTS,
    **distilling.PARTS,
    **guarding.PARTS,
    **toolkit.PARTS,
}
