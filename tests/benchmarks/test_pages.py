"""The tables of the pages are those of the committed results."""

from __future__ import annotations

import pytest

from benchmarks.pages import PAGES, ROOT, read, replaced

TABLES = [(page, *table) for page, tables in PAGES.items() for table in tables]


@pytest.mark.parametrize(
    ("page", "header", "result", "rows"), TABLES, ids=[f"{page}-{header}" for page, header, *_ in TABLES]
)
def test_tables_are_those_of_the_results(page, header, result, rows):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert replaced(text, header, rows(read(result))) == text, "run python -m benchmarks.pages, and read the text"


def test_only_the_rows_change():
    text = "before\n\n| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n\n| other |\n|---|\n| 5 |"
    assert replaced(text, "| a |", [["6", "7"]]) == text.replace("| 1 | 2 |\n| 3 | 4 |", "| 6 | 7 |")
