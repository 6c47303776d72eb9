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
    >>> count(1, "cell"), count(1200, "cell"), count(0, "study")
    ('1 cell', '1,200 cells', '0 studies')
    """
    if n == 1:
        return f"1 {what}"
    if what.endswith("y") and what[-2] not in "aeiou":
        return f"{n:,} {what[:-1]}ies"
    return f"{n:,} {what}{'es' if what.endswith(('ch', 'sh', 'x', 's')) else 's'}"
