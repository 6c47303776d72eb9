"""Words for people."""

from __future__ import annotations


def count(n: int, what: str) -> str:
    """Say a number of things.

    Parameters
    ----------
    n
        How many.
    what
        One of them.

    Examples
    --------
    >>> count(1, "cell"), count(1200, "cell"), count(0, "study"), count(2, "batch"), count(3, "epoch")
    ('1 cell', '1,200 cells', '0 studies', '2 batches', '3 epochs')
    """
    if n == 1:
        return f"1 {what}"
    if what.endswith("y") and what[-2] not in "aeiou":
        return f"{n:,} {what[:-1]}ies"
    hissing = what.endswith(("ch", "sh", "x", "s")) and not what.endswith("epoch")
    return f"{n:,} {what}{'es' if hissing else 's'}"
