"""Which obs columns look like cell type, donor, batch and condition."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

Role = Literal["cell type", "donor", "batch", "condition"]

# In order of preference, the most telling name first; matched against the whole name, ignoring case and separators.
_NAMES: Final[dict[Role, tuple[str, ...]]] = {
    "cell type": (
        r"celltype",
        r"celltypes?(ontology.*|major|fine|coarse|l\d|level\d|main|names?|labels?|annotations?)",
        r".*celltype.*",
        r"(cell)?(annotations?|annot|labels?|identity|ident|class|subclass|subset)",
        r"(bulk|final|author|manual|curated|singler|azimuth|predicted)(labels?|annotations?|identity)",
        r"cellontologyclass|cellontology",
        r"seuratannotations|annotated.*|.*annotations?",
        r"cluster(names?|labels?)",
        r"seuratclusters|louvain|leiden|clusters?|paul15clusters",
    ),
    "donor": (
        r"donor(id)?",
        r"(donor|patient|individual|subject|participant)(ids?|names?|numbers?|s)?",
        r".*(donor|patient|individual|participant).*",
        r"ind|mouse(id)?|animal(id)?",
    ),
    "batch": (
        r"batch(id)?",
        r"(sample|library|lane|channel|run|plate|replicate|origident|sampleid|libraryid|gemgroup)s?",
        r".*(batch|sample|library).*",
        r"(data ?set|study|project|assay|technology|tech|platform|protocol|chemistry)(id|name)?",
    ),
    "condition": (
        r"condition",
        r"(disease|diagnosis|treatment|stim|stimulation|perturbation|drug|phenotype|groups?|genotype)(state|status|id)?",
        r".*(condition|disease|treatment|perturb).*",
    ),
}

NOT_KNOWN: Final = frozenset(
    {"unknown", "unassigned", "na", "n/a", "nan", "none", "", "-", "undefined", "not available"}
)
"""Values, in lower case, that mean that a label is not known."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """An obs column and what it seems to be."""

    name: str
    role: Role
    n_values: int
    """Distinct values, missing and "unknown" ones aside."""
    examples: list[str]
    """The most frequent values, at most five."""
    n_missing: int
    """Cells without a value, or with one that means so."""
    not_known: list[str]
    """Values that mean that the label is not known."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def guess_columns(obs: pd.DataFrame) -> list[Column]:
    """Guess the columns for cell type, donor, batch and condition: at most one each, by name and contents."""
    guessed: list[Column] = []
    for role, patterns in _NAMES.items():
        candidates = [_column(obs, name, role) for name in _ranked(obs.columns, patterns)]
        candidates = [
            one for one in candidates if _plausible(one, len(obs)) and one.name not in {c.name for c in guessed}
        ]
        # A column with several values says more than a constant one, whatever the names.
        candidates.sort(key=lambda one: one.n_values < 2)
        guessed += candidates[:1]
    return guessed


def _ranked(names: Iterable[str], patterns: tuple[str, ...]) -> list[str]:
    plain = {name: re.sub(r"[^a-z0-9]", "", str(name).lower()) for name in names}
    ranked = []
    for pattern in patterns:
        ranked += [name for name, text in plain.items() if re.fullmatch(pattern, text) and name not in ranked]
    return ranked


def _column(obs: pd.DataFrame, name: str, role: Role) -> Column:
    counts = obs[name].value_counts(dropna=True)
    counts = counts[counts > 0]
    texts = [str(value) for value in counts.index]
    hidden = [text for text in texts if text.strip().lower() in NOT_KNOWN]
    known = [text for text in texts if text not in hidden]
    n_hidden = int(sum(n for text, n in zip(texts, counts, strict=True) if text in hidden))
    return Column(
        name=str(name),
        role=role,
        n_values=len(known),
        examples=known[:5],
        n_missing=int(obs[name].isna().sum()) + n_hidden,
        not_known=hidden,
    )


def _plausible(column: Column, n_cells: int) -> bool:
    """Leave out numbers measured per cell and columns that are a name per cell."""
    return 0 < column.n_values <= max(2, n_cells // 4)
