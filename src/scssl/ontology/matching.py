"""match_labels: which term of the Cell Ontology a free-text label means, and how sure that is."""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
import pandas as pd

from scssl.errors import DataError
from scssl.ontology.spelling import UNSETTLED, conventions, form, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scssl.ontology.cell_ontology import CellOntology
    from scssl.ontology.spelling import Form

How = Literal["given", "id", "exact", "convention", "synonym", "normalised", "fuzzy", "none"]
CERTAIN: Final = ("given", "id", "exact", "convention", "synonym", "normalised")
"""Ways of matching that are taken; what is only similar is proposed, and never taken."""
LEAST: Final = 0.5
"""Cosine of character n-grams below which names are not even proposed."""
ACRONYM: Final = 5
"""Longest synonym that is taken for an acronym, which may be short for other things too."""
MOST_SUBSETS: Final = 100
"""Ways to leave out words of a long label that are tried."""

_BOTH = re.compile(r"\s+(?:&|and|or|\+)\s+|\s*/\s*", flags=re.IGNORECASE)


class Candidate(NamedTuple):
    """A term that a label may mean."""

    term: str
    name: str
    score: float


def match_labels(
    labels: Iterable[str],
    *,
    ontology: CellOntology,
    known: Mapping[str, str | None] | None = None,
    n_candidates: int = 3,
) -> pd.DataFrame:
    """Find the term of the Cell Ontology that each label means.

    In this order: ``given`` (by `known`), ``id`` (the label is an ID such as CL:0000236, as in CELLxGENE's files),
    ``exact`` (the name of a term, but for case), ``convention`` (a short or usual name from this package's table: "NK",
    "CD14+ Mono", "Treg"), ``synonym`` (an exact synonym of one term), ``normalised`` (a name or exact synonym but for
    plurals, word order, hyphens, signs, Greek letters and abbreviations). Everything else is not matched: ``fuzzy`` has
    candidates of a similar name, ``none`` has not.

    Conventions come before synonyms because usage and ontology differ: "CD14+ monocytes" are classical ones to those
    who also speak of "CD16+ monocytes", while the ontology's CD14-positive monocytes include non-classical ones.
    Synonyms that only mean something broader, narrower or related are proposed, not taken, and so are acronyms
    that the table does not have, as the same letters mean different things in different tissues.

    Parameters
    ----------
    labels
        Names, or IDs; doubles and missing ones are left out.
    ontology
        Where to look.
    known
        Terms already decided for some labels, by ID or name; None or "" means that a label has none.
    n_candidates
        Most candidates for a label that is not matched.

    Returns
    -------
    pandas.DataFrame
        A row per label, in order of appearance: ``label``, ``term`` (ID or None), ``name`` (of the term, or None),
        ``how``, ``score`` (1 for what is matched, that of the first candidate otherwise, 0 without any),
        ``candidates`` (list of `Candidate`; empty for what is matched). First come the term that the parts of a label
        such as "T cells & NK cells" share, and those that are certain once some words of the label are left out; then
        those with the most similar names. The score is the similarity, or the share of the words that were kept if
        that is more.

    Raises
    ------
    SettingsError
        If `known` has a term that the ontology does not know.

    Examples
    --------
    >>> from scssl.ontology import CellOntology, Term
    >>> terms = [Term(id="CL:0000236", name="B cell"), Term(id="CL:0000786", name="plasma cell")]
    >>> table = match_labels(["B cells", "plasma cell", "B plasmoid"], ontology=CellOntology(terms, source="example"))
    >>> table[["label", "name", "how"]].values.tolist()
    [['B cells', 'B cell', 'normalised'], ['plasma cell', 'plasma cell', 'exact'], ['B plasmoid', None, 'fuzzy']]
    """
    names = list(dict.fromkeys(str(label) for label in labels if isinstance(label, str) and label.strip()))
    index = _Index(ontology)
    found = [index.certain(label, known or {}) for label in names]
    unmatched = [label for label, (_, how) in zip(names, found, strict=True) if how == "none"]
    near = dict(zip(unmatched, index.candidates(unmatched, n_candidates), strict=True))
    rows = []
    for label, (term, how) in zip(names, found, strict=True):
        candidates = near.get(label, [])
        score = 1.0 if how in CERTAIN else candidates[0].score if candidates else 0.0
        name = None if term is None else ontology.name(term)
        rows.append((label, term, name, "fuzzy" if candidates else how, score, candidates))
    table = pd.DataFrame(rows, columns=["label", "term", "name", "how", "score", "candidates"])
    return table.astype({"label": object, "term": object, "name": object, "how": object, "score": float})


def terms_of(table: pd.DataFrame) -> dict[str, str | None]:
    """Return the term of each label in a table of `match_labels`, None for those that were not matched.

    Parameters
    ----------
    table
        What `match_labels` returned.
    """
    if not {"label", "term"} <= set(table.columns):
        message = f"a table of labels has the columns 'label' and 'term'; this one has {', '.join(map(str, table))}"
        raise DataError(message)
    return {
        str(label): str(term) if isinstance(term, str) and term else None
        for label, term in zip(table["label"], table["term"], strict=True)
    }


class _Index:
    """Names of an ontology, in all spellings."""

    def __init__(self, ontology: CellOntology) -> None:
        self.ontology = ontology
        self.names: dict[str, set[str]] = {}
        self.synonyms: dict[str, set[str]] = {}
        self.forms: dict[Form, set[str]] = {}
        self.written: list[tuple[str, str]] = []
        for key, term in ontology.terms.items():
            self._add(self.names, term.name, key)
            self.written.append((key, term.name))
            for text, scope in term.synonyms:
                self.written.append((key, text))
                if scope == "EXACT" and not _is_acronym(text):
                    self._add(self.synonyms, text, key)
        # A name beats a synonym of the same form: the latter may be an old name of something else.
        by_name = {form(term.name): key for key, term in ontology.terms.items()}
        self.forms = {written: keys for written, keys in self.forms.items() if written not in by_name}
        for key, term in ontology.terms.items():
            self.forms.setdefault(form(term.name), set()).add(key)
        self.conventions = {_telling(text): meaning for text, meaning in conventions()[1].items()}

    def _add(self, names: dict[str, set[str]], text: str, key: str) -> None:
        names.setdefault(text.casefold(), set()).add(key)
        self.forms.setdefault(form(text), set()).add(key)

    def certain(self, label: str, known: Mapping[str, str | None]) -> tuple[str | None, How]:
        """Return the term of a label, and how it was found."""
        text, written = " ".join(label.casefold().split()), form(label)
        if label in known:
            given = known[label]
            return (self.ontology.find(given) if given else None), "given"
        key = self.ontology.resolve(label)
        if key is not None:
            return key, "id"
        if len(self.names.get(text, ())) == 1:
            return next(iter(self.names[text])), "exact"
        # A label of two types is neither of them, and what has both words in its name is another type still.
        composed = len(_parts(label)) > 1
        usual = None if composed else self.conventions.get(_telling(label))
        if usual == UNSETTLED:
            return None, "none"
        same = self.forms.get(written, set()) if not composed else set()
        if usual is not None and (key := self.ontology.resolve(usual)) is not None:
            return key, "normalised" if same == {key} else "convention"
        if len(self.synonyms.get(text, ())) == 1:
            return next(iter(self.synonyms[text])), "synonym"
        return (next(iter(same)), "normalised") if len(same) == 1 else (None, "none")

    def candidates(self, labels: Sequence[str], n: int) -> list[list[Candidate]]:
        """Return the terms of the most similar names, and what the parts of a composed label have in common."""
        if not labels or n < 1:
            return [[] for _ in labels]
        from sklearn.feature_extraction.text import TfidfVectorizer

        spelled = [" ".join(words(text)) for _, text in self.written]
        similar = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), lowercase=False)
        known = similar.fit_transform(spelled)
        asked = similar.transform([" ".join(words(label)) for label in labels])
        found = []
        for i_label, label in enumerate(labels):
            row = np.asarray((known @ asked[i_label].T).todense()).ravel()
            best = self._within(label)
            for i in np.argsort(-row, kind="stable"):
                key, similarity = self.written[i][0], float(row[i])
                if key in best:
                    best[key] = max(best[key], similarity)
                elif similarity >= LEAST and len(best) < n:
                    best[key] = similarity
                elif similarity < LEAST:
                    break
            shared = self._shared(label)
            if shared is not None:
                best = {shared: 1.0, **{key: score for key, score in best.items() if key != shared}}
            found.append([Candidate(key, self.ontology.name(key), round(best[key], 3)) for key in list(best)[:n]])
        return found

    def _within(self, label: str) -> dict[str, float]:
        """Return what is certain once some words are left out ("Macrophages A"), with the share of words that remain.

        As few words as possible are left out, so that all candidates come from equally many.
        """
        every = words(label)
        for n_left in range(len(every) - 1, 0, -1):
            found: dict[str, float] = {}
            if math.comb(len(every), n_left) > MOST_SUBSETS:
                continue
            for kept in itertools.combinations(every, n_left):
                # "Cancer clone B" is no B cell, but "T other" may be a T cell.
                if kept == ("cell",) or (n_left == 1 and len(kept[0]) == 1 and kept[0] != every[0]):
                    continue
                form_kept = tuple(sorted(word for word in kept if word != "cell"))
                usual = self.conventions.get(form_kept)
                terms = {usual} if usual is not None and usual in self.ontology else self.forms.get(form_kept, set())
                if len(terms) == 1:
                    found.setdefault(next(iter(terms)), n_left / len(every))
            if found:
                return found
        return {}

    def _shared(self, label: str) -> str | None:
        """Return what the parts of "T cells & NK cells" have in common, if each of them is certain."""
        parts = _parts(label)
        terms = [self.certain(part, {})[0] for part in parts]
        known = [term for term in terms if term is not None]
        if len(parts) < 2 or len(known) < len(parts):
            return None
        return self.ontology.common_ancestor(known)


def _parts(label: str) -> list[str]:
    return [part for part in _BOTH.split(label) if part.strip()]


def _telling(text: str) -> Form:
    """Return the words of a name in sorted order, without "cell" however short the rest is."""
    return tuple(sorted(word for word in words(text) if word != "cell"))


def _is_acronym(text: str) -> bool:
    return len(text) <= ACRONYM and " " not in text and any(c.isupper() or c.isdigit() for c in text)
