"""How names of cell types are spelled: the same words for "CD4+ T cells", "T_CD4" and "CD4-positive T cell"."""

from __future__ import annotations

import csv
import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final

GREEK: Final = "GREEK SMALL LETTER "
"""How Unicode names begin of the letters that are written out: gamma-delta T cells."""
BRITISH: Final = {"haem": "hem", "oesoph": "esoph", "tumour": "tumor", "leuco": "leuko", "centre": "center"}
SIGNS: Final = {
    **dict.fromkeys(("positive", "pos"), "+"),
    **dict.fromkeys(("negative", "neg"), "-"),
    **dict.fromkeys(("high", "hi", "bright"), "^"),
    **dict.fromkeys(("low", "lo", "dim"), "~"),
}
SHORT: Final = 4
"""A name of one word shorter than this keeps its "cell": "C cell" is a type, "C" is a cluster."""
UNSETTLED: Final = "?"
"""Meaning, in the table of conventions, of what is short for different things in different tissues."""

Form = tuple[str, ...]

_MARKER: Final = re.compile(r"cd\d+\w*")
_NEGATIVE: Final = re.compile(r"(?<=\w)-(?!\w)|(?<=\bcd\d)-(?=cd\d)|(?<=\bcd\d\d)-(?=cd\d)|(?<=\bcd\d\d\d)-(?=cd\d)")


def words(text: str) -> list[str]:
    """Split a name into plain words, in their order: lower case, singular, with abbreviations written out.

    Signs are bound to what they are about ("CD16-negative" and "CD16-" are ``cd16-``, "CD56 bright" is ``cd56^``), and
    a surface marker without a sign is taken as present, as is usual ("CD4 T cells").

    Parameters
    ----------
    text
        Name of a cell type, however spelled.
    """
    found: list[str] = []
    for token in _tokens(text):
        if token in SIGNS and found:
            found[-1] = found[-1].rstrip("+-^~") + SIGNS[token]
            continue
        for part in conventions()[0].get(_singular(token), _singular(token)).split():
            found.append(f"{part}+" if _MARKER.fullmatch(part) else part)
    return found


def form(text: str) -> Form:
    """Return what two spellings of a name have in common: their words in sorted order, without "cell".

    Parameters
    ----------
    text
        Name of a cell type, however spelled.
    """
    found = words(text)
    telling = [word for word in found if word != "cell"]
    if not telling or (len(telling) == 1 and len(telling[0]) < SHORT):
        return tuple(sorted(found))
    return tuple(sorted(telling))


@cache
def conventions() -> tuple[dict[str, str], dict[str, str]]:
    """Read the table of what is usually meant by short names.

    Returns
    -------
    words : dict of str
        Abbreviation to the words that it stands for, inside names.
    labels : dict of str
        Whole name to the ID of its term, or to `UNSETTLED`.
    """
    text = files("scssl.ontology").joinpath("data/conventions.tsv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    settled = {row["written"]: row["means"] for row in rows if _is_label(row["means"])}
    return {row["written"]: row["means"] for row in rows if not _is_label(row["means"])}, settled


def _is_label(meaning: str) -> bool:
    return meaning == UNSETTLED or meaning.startswith("CL:")


def _tokens(text: str) -> list[str]:
    plain = "".join(map(_written_out, unicodedata.normalize("NFKD", text).casefold()))
    plain = re.sub(r"\0(?=[^\W_])", " ", plain).replace("\0", "")
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    plain = re.sub(r"[‐-―−]", "-", plain)  # noqa: RUF001 (the hyphens and dashes that people paste)
    for british, american in BRITISH.items():
        plain = plain.replace(british, american)
    plain = _NEGATIVE.sub(" neg ", re.sub(r"(?<=\w)\+", " pos ", plain.replace("_", " ")))
    return re.findall(r"[^\W_]+(?:\.[^\W_]+)*", plain)


def _written_out(character: str) -> str:
    # The mark at the end becomes a space between two letters that stand together, as in gamma-delta T cells.
    name = unicodedata.name(character, "")
    return f"{name.removeprefix(GREEK).lower()}\0" if name.startswith(GREEK) else character


def _singular(token: str) -> str:
    if token.endswith("ies") and len(token) > 4:
        return f"{token[:-3]}y"
    if token.endswith("s") and len(token) > 2 and not token.endswith(("ss", "us", "is")) and token not in _ENDS_IN_S:
        return token[:-1]
    return token


_ENDS_IN_S: Final = {"eos", "cns", "pns", "dss"}
