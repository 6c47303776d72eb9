"""Writes the tables of docs/ on naming cells, trust, replication and pretext tasks from benchmarks/results/.

    python -m benchmarks.pages

A table is known by its first header cells; everything around it is left as it is. What the text says of the numbers has
to be read again by somebody whenever a table changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
Rows = list[list[str]]
DASH = "–"  # noqa: RUF001
TASKS = {
    "kang_donors": "Kang's other donors → Kang",
    "pbmc3k_to_kang": "pbmc3k → Kang",
    "corpus_to_kang": "corpus → Kang",
    "kang_to_pbmc3k": "Kang → pbmc3k",
    "corpus_to_pbmc3k": "corpus → pbmc3k",
    "corpus_to_pdacA": "corpus → pancreatic tumour",
    "corpus_to_lymph_ref": "corpus → lymphoid organs",
}
ARMS = {"masked": "masked", "byol": "BYOL", "barlow_twins": "Barlow Twins", "none": "untrained", "PCA (50)": "PCA (50)"}
EVALUATIONS = {
    "ours": "ours", "validation_reference": "validation split as reference",
    "nearest_dropped": "nearest neighbour dropped", "unequal_k": "one neighbour for baselines",
    "relu": "ReLU for SELU", "donors_inside": "target inside the corpus", "all_together": "all together",
}  # fmt: skip


def main() -> None:
    for page, tables in PAGES.items():
        path = ROOT / "docs" / page
        text = path.read_text(encoding="utf-8")
        for header, result, rows in tables:
            text = replaced(text, header, rows(read(result)))
        path.write_text(text, encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """Return what a benchmark found."""
    return dict(json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8")))


def replaced(text: str, header: str, rows: Rows) -> str:
    """Put rows below the header line that starts with some words, in place of those that are there."""
    lines = text.split("\n")
    (start,) = [i for i, line in enumerate(lines) if line.startswith(header)]
    end = start
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return "\n".join([*lines[: start + 2], *("| " + " | ".join(row) + " |" for row in rows), *lines[end:]])


def annotate(found: dict[str, Any]) -> Rows:
    """Return methods against tasks of `benchmarks.annotate`."""
    scores = {(each["task"], each["method"]): each for each in found["scores"]}
    return [
        [method, *(_naming(scores.get((task, method))) for task in TASKS)]
        for method in dict.fromkeys(each["method"] for each in found["scores"])
    ]


def _naming(score: dict[str, Any] | None) -> str:
    if score is None:
        return ""
    seeds, words = score["macro_f1_seeds"], f"{score['macro_f1']:.3f}"
    if len(seeds) == 1:
        words += " (one seed)"
    elif max(seeds) - min(seeds) > 0.0005:
        words += f" ({min(seeds):.3f}{DASH}{max(seeds):.3f})"
    return f"{words} [{score['interval']['low']:.3f}, {score['interval']['high']:.3f}]"


def trust_donors(found: dict[str, Any]) -> Rows:
    """Return Kang's donors left out, of `benchmarks.trust`."""
    rows = []
    for each in found["summary"]["donors"]:
        row = [each["encoder"], f"`{each['mode']}`", f"{each['accuracy']:.3f}", _ece(each)]
        row += [_covered(each, "0.1"), f"{each['size_0.1_donors']:.2f}", f"{each['single_0.1_donors']:.0%}"]
        row += [_covered(each, "0.05"), f"{each['size_0.05_donors']:.2f}", f"{each['rejected']:.1%}"]
        rows.append([cell.replace("%", " %") for cell in row])
    return rows


def trust_types(found: dict[str, Any]) -> Rows:
    """Return types taken out of the reference, of `benchmarks.trust`."""
    shares = {(each["encoder"], each["type"]): f"{each['found']:.2f}" for each in found["summary"]["types"]}
    types = dict.fromkeys(kind for _, kind in shares)
    return [[kind, shares["PCA", kind], shares["masked", kind]] for kind in types]


def trust_other(found: dict[str, Any]) -> Rows:
    """Return Kang's donors as the reference for pbmc3k, of `benchmarks.trust`."""
    rows = []
    for each in found["summary"]["other data"]:
        encoder = "PCA on shared genes" if each["encoder"] == "PCA" else each["encoder"]
        row = [encoder, f"`{each['mode']}`", f"{each['accuracy']:.3f}", _ece(each)]
        row += [_covered(each, "0.1"), _covered(each, "0.05")]
        share = each["rejected"]
        rows.append([*row, f"{share:.0%}".replace("%", " %") if share > 0.995 else f"{share:.1%}".replace("%", " %")])
    return rows


def trust_elsewhere(found: dict[str, Any]) -> Rows:
    """Return tasks and modes of `benchmarks.trust_elsewhere`."""
    rows = []
    for each in found["summary"]:
        row = [TASKS[each["task"]], f"`{each['mode']}`", f"{each['accuracy']:.3f}", f"{each['confidence']:.3f}"]
        lowest = f" ({each['coverage_lowest']:.3f})" if each["donors"] > 1 else ""
        row += [f"{each['ece']:.3f}", f"{each['coverage']:.3f}{lowest}", f"{each['labels_per_set']:.2f}"]
        rows.append([*row, f"{each['rejected']:.1%}".replace("%", " %")])
    return rows


def _ece(each: dict[str, Any]) -> str:
    return f"{each['ece_before']:.3f} → {each['ece']:.3f}"


def _covered(each: dict[str, Any], rate: str) -> str:
    return f"{each[f'coverage_{rate}_donors']:.3f} ({each[f'coverage_{rate}_donors_lowest']:.3f})"


def replication(data: str) -> Callable[[dict[str, Any]], Rows]:
    """Make a table of evaluations against arms of `benchmarks.replication`, on one of its targets."""

    def rows(found: dict[str, Any]) -> Rows:
        scores = {(each["evaluation"], each["arm"]): each for each in found["summary"] if each["data"] == data}
        return [
            [words, *(_replicated(scores[name, arm], ours=name == "ours") for arm in ARMS)]
            for name, words in EVALUATIONS.items()
        ]

    return rows


def _replicated(each: dict[str, Any], *, ours: bool) -> str:
    words = f"{each['macro_f1']:.3f} ({each['rank']})"
    if ours:
        return words
    return f"{words} {each['shift']:+.3f} [{each['shift_lowest']:+.3f}, {each['shift_highest']:+.3f}]"


def source_decoder(found: dict[str, Any]) -> Rows:
    """Return methods against data sets of `benchmarks.source_decoder`."""
    rows = []
    for each in found["summary"]:
        low, high = each["lowest_seed"], each["highest_seed"]
        spread = f" ({low:.3f}{DASH}{high:.3f})" if low != high else ""
        names = ("pbmc3k_10xv1", "human_lymph_ref_330", "pdacA_indrop_moncada")
        rows.append([each["method"], f"{each['mean']:.3f}{spread}", *(f"{each[name]:.3f}" for name in names)])
    return rows


def source_decoder_simulated(found: dict[str, Any]) -> Rows:
    """Return batch effects of `benchmarks.source_decoder_simulated`."""
    n = len({each["seed"] for each in found["scores"]})
    return [
        [
            str(each["batch_effect"]),
            f"{each['told']:.3f}",
            f"{each['not_told']:.3f}",
            f"{each['gain']:+.3f} ± {each['gain_standard_error']:.3f}",
            f"{each['seeds_won']} of {n}",
        ]
        for each in found["summary"]
    ]


def small_panels(found: dict[str, Any]) -> Rows:
    """Return tests against arms of `benchmarks.small_panels`."""
    scores = {(each["test"], each["arm"]): each for each in found["summary"]}
    arms = ("both", "totals not corrected", "not weighted up")
    return [[test, *(_ranged(scores[test, arm]) for arm in arms)] for test in dict.fromkeys(test for test, _ in scores)]


def _ranged(each: dict[str, Any]) -> str:
    return f"{each['macro_f1']:.3f} ({each['lowest_seed']:.3f}{DASH}{each['highest_seed']:.3f})"


def pretexts(found: dict[str, Any]) -> Rows:
    """Return tasks against data of `benchmarks.pretexts`, with ten labels per type."""
    few = {(e["data"], e["on"], e["arm"]): e for e in found["summary"] if e["labels"] == "10 per type"}
    rows = []
    for arm in dict.fromkeys(arm for _, _, arm in few):
        row = [arm]
        for data, on in (("simulated", "held-out donors"), ("immune", "held-out donors"), ("immune", "pbmc3k")):
            each = few[data, on, arm]
            row += [_of_seeds(each, "knn"), _of_seeds(each, "probe")]
        rows.append([*row, f"{few['immune', 'pbmc3k', arm]['cpu_seconds']:.0f}"])
    return rows


def _of_seeds(each: dict[str, Any], name: str) -> str:
    low, high = each[f"{name}_lowest"], each[f"{name}_highest"]
    return f"{each[name]:.3f}" + (f" ({low:.3f}{DASH}{high:.3f})" if low != high else "")


PAGES: dict[str, list[tuple[str, str, Callable[[dict[str, Any]], Rows]]]] = {
    "benchmarks.md": [
        ("| task | simulated, new donors", "pretexts", pretexts),
        ("| method | Kang's donors left out", "annotate", annotate),
        ("| method | mean | pbmc3k", "source_decoder", source_decoder),
        ("| batch effect | told", "source_decoder_simulated", source_decoder_simulated),
        ("| test | both | totals", "small_panels", small_panels),
    ],
    "trust.md": [
        ("| embedding | mode | accuracy | ECE, before → after | sets at 0.1: coverage (lowest", "trust", trust_donors),
        ("| type taken out", "trust", trust_types),
        ("| embedding | mode | accuracy | ECE, before → after | sets at 0.1: coverage | sets", "trust", trust_other),
        ("| reference → query | mode", "trust_elsewhere", trust_elsewhere),
    ],
    "replication.md": [
        ("| kang | masked", "replication", replication("kang")),
        ("| simulated | masked", "replication", replication("simulated")),
    ],
}
"""Per page the start of a table's header, the result that it is of, and what makes its rows."""

if __name__ == "__main__":
    main()
